"""How well a lifter fits a target of which only 2D is known: no label enters here.

Three things every true lifting obeys can be measured without 3D labels, all free of the body's
size, which 2D cannot tell:
- its joints lie on the rays of the keypoints, once the root is put where they come nearest;
- its bones keep their length over a clip, and left bones are as long as right ones;
- the mirror image of the 2D lifts to the mirror image of the pose.
Each alone can be fooled: a rigid mannequin has constant bones and agrees with its mirror image, a
flat pose lies on the rays. The total is harder to fool, but it only orders lifters of one family
(checkpoints of a run, say); it is no estimate of MPJPE.

Three more are measured and written down, but are no part of the total: whether a clip lifts to the
same poses backwards, and a person to the same pose from a little aside, and how well the target's
2D and that of the lifted people go together. See `adaptpose.label_free_parts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.bones import bone_lengths, mirror_pose
from adaptpose.camera import Intrinsics, pinhole
from adaptpose.clips import Clip2D, TargetData
from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.focal import PRIOR_MEDIAN, estimate_focal
from adaptpose.inference import CHUNK_FRAMES
from adaptpose.label_free_parts import (
    LiftedSample,
    lifted_sample,
    reversal_disagreement_mm,
    unlikely_2d,
    view_disagreement_mm,
)
from adaptpose.lifter import Lifter
from adaptpose.metrics import mpjpe_mm
from adaptpose.rays import ray_distances, root_from_rays
from adaptpose.skeleton import Skeleton

MIN_RUN_FRAMES = 60
"""Fewest neighbouring frames taken from a clip when frames must be left out: bones have to move."""

RAY_WEIGHT = 3.0
"""Weight of the ray residual in the total: that of the three other parts together, since they are
what a pose that never changes is perfect at."""

LIFTED_AGAIN = 0.5
"""Share of the clips lifted again backwards and from two new views: these three passes then cost
what one and a half over all clips do, where the rest of the score takes two."""

_MIN_SIZE_M = 1e-3


@dataclass(frozen=True)
class LabelFreeScore:
    """Parts of the score and their sum; lower is better, 0 is perfect.

    `ray_residual`: mean distance of joints from their rays, by the pose's size, which is the mean
    distance of joints from the root. `bone_constancy`: mean deviation of bone lengths over a clip,
    by the mean length. `bone_symmetry`: mean difference of left and right bones, by their mean.
    `flip_disagreement_mm`: mean distance between the poses of the 2D and of its mirror image; it
    enters the total by the pose's size `size_mm`.

    Not in the total: `reversal_disagreement_mm`, mean distance between the poses of clips and of
    the same clips backwards, always 0 for lifters of single frames and for those that do not see
    as far ahead as back; `view_disagreement_mm`, mean distance between poses and what they lift
    to when projected from a little aside; `unlikely_2d`, distance of the target's 2D poses, at
    unit size, from the nearest of the lifted people seen from other frames' viewpoints, and back,
    which even the truth does not bring to 0.

    `focal` is the focal length of rays and projections.

    All parts and the total are infinite for a lifter whose poses have no size.
    """

    ray_residual: float
    bone_constancy: float
    bone_symmetry: float
    flip_disagreement_mm: float
    reversal_disagreement_mm: float
    view_disagreement_mm: float
    unlikely_2d: float
    size_mm: float
    num_frames: int
    focal: float | int

    @property
    def total(self) -> float:
        """Sum of the parts as fractions of the body: the ray residual `RAY_WEIGHT` times, the
        others once.
        """
        flip = self.flip_disagreement_mm / max(self.size_mm, _MIN_SIZE_M * 1000)
        body = self.bone_constancy + self.bone_symmetry + flip
        return RAY_WEIGHT * self.ray_residual + body


def label_free_score(
    lifter: Lifter,
    data: TargetData,
    focal: float | int | None = None,
    max_frames: int = 5000,
    chunk_frames: int = CHUNK_FRAMES,
) -> LabelFreeScore:
    """The score of a lifter on a target's 2D, under a focal length in normalised screen units.

    Without a focal length it is that which the lifted poses show (`estimate_focal`), one for all.

    At most about `max_frames` frames are lifted: the middle parts of clips spread evenly over the
    target, always the same ones; half of them once more backwards and from new views. Only valid
    frames count, joints by their 2D confidence. ConfigError for a focal length or frame count that
    is not positive, DataError if no frame is valid or no keypoint has confidence, SkeletonError if
    the target lacks a joint of the lifter or the lifter reads joints that it does not give.
    """
    if focal is not None and focal <= 0:
        raise ConfigError(expected_message("focal", "a length above 0", str(focal)))
    if max_frames < 1:
        raise ConfigError(expected_message("max_frames", "at least 1", str(max_frames)))
    data = replace(data, clips=_sample(data, max_frames))
    sample = lifted_sample(lifter, data, pinhole(float(focal or PRIOR_MEDIAN)), chunk_frames)
    valid = sample.valid
    pose = sample.pose[valid]
    size = float(pose.norm(dim=-1).mean())
    if not size > _MIN_SIZE_M:
        endless = (float("inf"),) * 7
        return LabelFreeScore(
            *endless, size_mm=size * 1000, num_frames=len(pose), focal=focal or PRIOR_MEDIAN
        )
    pose2d = torch.cat([clip.pose2d for clip in sample.shown])[valid].to(pose)
    weights = torch.cat([clip.confidence for clip in sample.shown])[valid].to(pose)
    if not bool((weights > 0).any()):
        raise DataError(f"target '{data.name}': every keypoint has confidence 0")
    if focal is None:
        focal = estimate_focal(pose, pose2d, weights, lifter.skeleton_out)
    lens = pinhole(float(focal))
    sample = replace(sample, lens=lens)
    clips = _clip_index(data.clips)[valid]
    constancy, symmetry = _bone_parts(pose, clips, lifter.skeleton_out)
    again = sample.part(LIFTED_AGAIN)
    return LabelFreeScore(
        ray_residual=_mean_ray_distance(pose, pose2d, weights, lens) / size,
        bone_constancy=constancy,
        bone_symmetry=symmetry,
        flip_disagreement_mm=_flip_disagreement_mm(sample),
        reversal_disagreement_mm=reversal_disagreement_mm(again),
        view_disagreement_mm=view_disagreement_mm(again),
        unlikely_2d=unlikely_2d(sample),
        size_mm=size * 1000,
        num_frames=len(pose),
        focal=float(focal),
    )


def _flip_disagreement_mm(sample: LiftedSample) -> float:
    skeleton_in, skeleton_out = sample.lifter.skeleton_in, sample.lifter.skeleton_out
    clips = [replace(clip, pose2d=mirror_pose(clip.pose2d, skeleton_in)) for clip in sample.seen]
    mirrored = mirror_pose(torch.cat(sample.lift(clips)), skeleton_out)
    return float(mpjpe_mm(torch.cat(sample.poses), mirrored)[sample.valid].mean())


def _mean_ray_distance(
    pose: Float[Tensor, "frames joints 3"],
    pose2d: Float[Tensor, "frames joints 2"],
    weights: Float[Tensor, "frames joints"],
    lens: Intrinsics,
) -> float:
    root = root_from_rays(pose, pose2d, weights, lens)
    distance = ray_distances(pose + root[:, None], pose2d, lens)
    return float((distance * weights).sum() / weights.sum())


def _bone_parts(
    pose: Float[Tensor, "frames joints 3"], clip: Tensor, skeleton: Skeleton
) -> tuple[float, float]:
    """(constancy, symmetry) as fractions of the mean bone length, over frames of several clips."""
    lengths = bone_lengths(pose, skeleton)
    num_clips = int(clip.max()) + 1
    frames = lengths.new_zeros(num_clips, 1).index_add(0, clip, torch.ones_like(lengths[:, :1]))
    sums = lengths.new_zeros(num_clips, lengths.shape[1]).index_add(0, clip, lengths)
    apart = (lengths - (sums / frames.clamp_min(1))[clip]).square()
    spread = torch.zeros_like(sums).index_add(0, clip, apart) / frames.clamp_min(1)
    constancy = (spread.sqrt() * frames).sum(dim=0) / frames.sum()
    differences = (lengths - lengths[:, list(skeleton.bone_mirror)]).abs()
    sided = [bone.startswith("left_") for bone in skeleton.bone_names]
    symmetry = differences[:, torch.tensor(sided)].mean() / lengths[:, torch.tensor(sided)].mean()
    return float(constancy.mean() / lengths.mean()), float(symmetry.nan_to_num())


def _clip_index(clips: Sequence[Clip2D]) -> Tensor:
    lengths = torch.tensor([clip.num_frames for clip in clips])
    return torch.repeat_interleave(torch.arange(len(clips)), lengths)


def _sample(data: TargetData, max_frames: int) -> tuple[Clip2D, ...]:
    """Middle runs of clips spread evenly, of about `max_frames` frames together."""
    clips = [clip for clip in data.clips if bool(clip.valid.any())]
    if not clips:
        raise DataError(f"target '{data.name}': no valid frame to score")
    if sum(clip.num_frames for clip in clips) <= max_frames:
        return tuple(clips)
    run = max(min(MIN_RUN_FRAMES, max_frames), max_frames // len(clips))
    usable = sum(min(clip.num_frames, run) for clip in clips) / len(clips)
    count = max(1, min(len(clips), int(max_frames / usable)))
    chosen = [clips[(2 * k + 1) * len(clips) // (2 * count)] for k in range(count)]
    return tuple(_middle(clip, run) for clip in chosen)


def _middle(clip: Clip2D, run: int) -> Clip2D:
    """At most `run` neighbouring frames around the clip's middle valid frame."""
    valid = clip.valid.nonzero()[:, 0]
    centre = int(valid[len(valid) // 2])
    start = max(0, min(centre - run // 2, clip.num_frames - run))
    part = slice(start, start + run)
    return replace(
        clip, pose2d=clip.pose2d[part], confidence=clip.confidence[part], valid=clip.valid[part]
    )
