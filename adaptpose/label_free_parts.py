"""Three questions to a lifter that no 3D label is needed for: time, viewpoint and likelihood.

Does a clip run backwards lift to the same poses? Does a lifted person, seen from a little aside,
lift to the same pose? Does the target's 2D look like the lifted people, each seen from where others
of the target are seen? `adaptpose.label_free` puts these numbers beside its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose.camera import Intrinsics, project
from adaptpose.clips import Clip2D, Normalisation, TargetData, hold_seen, normalise_pose2d
from adaptpose.inference import CHUNK_FRAMES, predict_clips
from adaptpose.lifter import Lifter
from adaptpose.metrics import mpjpe_mm
from adaptpose.rays import root_from_rays
from adaptpose.rotations import rotvec_to_rotmat
from adaptpose.skeleton import joint_map
from adaptpose.viewpoint import body_axes

AZIMUTH_DEG = 10.0
ELEVATION_DEG = 5.0
"""Angles that a lifted person is turned by about the image's vertical and horizontal, both ways:
few enough that the new view is one that the lifter should know if it knows the old one."""

MAX_POSES = 2000
"""Most poses on either side of the comparison of 2D poses: all pairs of them are measured."""

_NEAREST_SIZES = 0.5
"""Depth, in sizes of the pose, that projection clamps to: a bad lifter's people may stand behind
the camera, and their 2D must be finite."""
_SMALLEST_M = 1e-2


@dataclass(frozen=True)
class LiftedSample:
    """Clips of a target and the poses that a lifter gives for them.

    `seen` are the clips with the joints that the lifter reads, `shown` the same with those that it
    gives. `poses` are as it gives them, metres, camera axes, one tensor per clip; `lens` is a
    pinhole camera in normalised units.
    """

    lifter: Lifter
    seen: tuple[Clip2D, ...]
    shown: tuple[Clip2D, ...]
    poses: tuple[Float[Tensor, "_ joints 3"], ...]
    normalisation: Normalisation
    lens: Intrinsics
    chunk_frames: int

    @property
    def valid(self) -> Bool[Tensor, "frames"]:
        """Which frames count, all clips end to end."""
        return torch.cat([clip.valid for clip in self.seen])

    @property
    def pose(self) -> Float[Tensor, "frames joints 3"]:
        """Root-relative poses, all clips end to end."""
        return self._centred(self.poses)

    def lift(self, clips: Sequence[Clip2D]) -> list[Float[Tensor, "_ joints 3"]]:
        """Poses of other clips as the same lifter gives them."""
        return predict_clips(self.lifter, clips, self.normalisation, chunk_frames=self.chunk_frames)

    def lift_centred(self, clips: Sequence[Clip2D]) -> Float[Tensor, "frames joints 3"]:
        """The same root-relative, end to end."""
        return self._centred(self.lift(clips))

    def roots(self) -> Float[Tensor, "frames 3"]:
        """Where the people stand, all clips end to end, by the 2D that the lifter saw."""
        pose, pose2d = self.pose, torch.cat([hold_seen(clip) for clip in self.shown])
        weights = torch.cat([clip.confidence for clip in self.shown])
        # A frame without keypoints was lifted from another's, whose confidence is not at hand.
        weights = torch.where((weights > 0).any(dim=1, keepdim=True), weights, 1.0)
        return root_from_rays(pose, pose2d.to(pose), weights.to(pose), self.lens)

    def part(self, share: float) -> "LiftedSample":
        """A random share of the clips, whole ones and at least one, always the same."""
        count = max(1, round(share * len(self.poses)))
        order = torch.randperm(len(self.poses), generator=torch.Generator().manual_seed(0))
        kept = sorted(order[:count].tolist())
        seen, shown, poses = (
            tuple(of_clips[k] for k in kept) for of_clips in (self.seen, self.shown, self.poses)
        )
        return replace(self, seen=seen, shown=shown, poses=poses)

    def _centred(self, poses: Sequence[Tensor]) -> Tensor:
        pose, root = torch.cat(list(poses)), self.lifter.skeleton_out.root
        return pose - pose[:, root : root + 1]


def lifted_sample(
    lifter: Lifter, data: TargetData, lens: Intrinsics, chunk_frames: int = CHUNK_FRAMES
) -> LiftedSample:
    """A lifter's poses of all clips of a target.

    SkeletonError if the target lacks a joint of the lifter.
    """
    seen, shown = (
        (data if data.skeleton == own else data.with_skeleton(own)).clips
        for own in (lifter.skeleton_in, lifter.skeleton_out)
    )
    poses = predict_clips(lifter, seen, data.normalisation, chunk_frames=chunk_frames)
    return LiftedSample(lifter, seen, shown, tuple(poses), data.normalisation, lens, chunk_frames)


def reversal_disagreement_mm(sample: LiftedSample) -> float:
    """Mean distance (mm) of poses from those of the same clips run backwards, over valid frames.

    0 without a question asked for a lifter of single frames, and for one that sees more frames
    before than after or the other way round: running backwards is no symmetry of it.
    """
    lifter = sample.lifter
    if lifter.receptive_field == 1 or lifter.frames_before != lifter.frames_after:
        return 0.0
    backwards = [
        replace(clip, pose2d=clip.pose2d.flip(0), confidence=clip.confidence.flip(0))
        for clip in sample.seen
    ]
    poses = sample.lift_centred(backwards).split([clip.num_frames for clip in backwards])
    forwards = torch.cat([pose.flip(0) for pose in poses])
    return float(mpjpe_mm(sample.pose, forwards)[sample.valid].mean())


def view_disagreement_mm(sample: LiftedSample) -> float:
    """Mean distance (mm) of poses from those lifted again out of a new view, over valid frames.

    Every lifted person is put on the rays of its keypoints and turned about its root by
    `turns()`, projected, lifted again and turned back. SkeletonError if the lifter reads joints
    that it does not give.
    """
    index = joint_map(sample.lifter.skeleton_out, sample.lifter.skeleton_in).complete_index()
    pose, root, valid = sample.pose, sample.roots(), sample.valid
    lengths = [clip.num_frames for clip in sample.seen]
    ways, clips = turns().to(pose), []
    for turn in ways:
        pose2d = filmed(pose @ turn.mT, root, sample.lens)[:, index].split(lengths)
        clips += [replace(c, pose2d=p) for c, p in zip(sample.seen, pose2d, strict=True)]
    again = sample.lift_centred(clips).unflatten(0, (len(ways), len(pose)))
    errors = [mpjpe_mm(one @ turn, pose)[valid] for one, turn in zip(again, ways, strict=True)]
    return float(torch.stack(errors).mean())


def turns() -> Float[Tensor, "turns 3 3"]:
    """The small rotations of `view_disagreement_mm`, in camera axes: one each way."""
    azimuth, elevation = math.radians(AZIMUTH_DEG), math.radians(ELEVATION_DEG)
    about_y = rotvec_to_rotmat(torch.tensor([[0, azimuth, 0], [0, -azimuth, 0]]))
    about_x = rotvec_to_rotmat(torch.tensor([[elevation, 0, 0], [-elevation, 0, 0]]))
    return about_x @ about_y


def unlikely_2d(sample: LiftedSample) -> float:
    """How far the target's 2D and that of the lifted people lie apart, as sets; 0 is best.

    Every lifted pose is turned to have the orientation to the camera that another frame's pose
    has, put in that one's place and projected; each frame's viewpoint is taken once. Both sets of
    2D poses are centred on the root and divided by their Frobenius norm, so that sizes do not
    count. The mean distance of the target's poses from the nearest made one, plus the mean
    distance back (Chamfer). Frames are at most `MAX_POSES` valid ones, spread evenly, with all
    keypoints if there are such, and pairs always the same; infinite if no pose has hips and
    shoulders apart. The number depends on how many frames there are: compare lifters on one
    target. That all depths have the wrong sign shows by perspective alone.
    """
    skeleton = sample.lifter.skeleton_out
    pose, root = sample.pose, sample.roots()
    axes = body_axes(pose, skeleton)
    index = _spread(sample, torch.isfinite(axes).flatten(1).all(dim=1))
    if not len(index):
        return float("inf")
    partner = index[_others(len(index))]
    turn = axes[partner].mT @ axes[index]
    made = filmed(pose[index] @ turn.mT, root[partner], sample.lens)
    real = torch.cat([clip.pose2d for clip in sample.shown])[index].to(made)
    shapes = normalise_pose2d(torch.stack([real, made]), "root_frobenius", skeleton.root)
    apart = torch.cdist(shapes[0].flatten(1), shapes[1].flatten(1))
    return float(apart.amin(dim=0).mean() + apart.amin(dim=1).mean())


def filmed(
    pose: Float[Tensor, "frames joints 3"], root: Float[Tensor, "frames 3"], lens: Intrinsics
) -> Float[Tensor, "frames joints 2"]:
    """Projection of root-relative poses put at their roots (m), finite wherever these are."""
    points = pose + root[:, None]
    size = pose.norm(dim=-1).mean(dim=1).clamp_min(_SMALLEST_M)
    depth = torch.maximum(points[..., 2], _NEAREST_SIZES * size[:, None])
    return project(torch.cat([points[..., :2], depth[..., None]], dim=-1), lens)


def _spread(sample: LiftedSample, usable: Bool[Tensor, "frames"]) -> Int[Tensor, "count"]:
    """Frames that are compared, in order."""
    usable = usable & sample.valid
    complete = usable & torch.cat([(clip.confidence > 0).all(dim=1) for clip in sample.shown])
    known = (complete if bool(complete.any()) else usable).nonzero()[:, 0]
    count = min(MAX_POSES, len(known))
    return known[torch.arange(count) * len(known) // max(1, count)]


def _others(count: int) -> Int[Tensor, "count"]:
    """For every place another one at random, each once, always the same: one random cycle."""
    cycle = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return torch.empty_like(cycle).index_copy_(0, cycle, cycle.roll(-1))
