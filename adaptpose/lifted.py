"""Lifted clips end to end: poses, where they stand, and the rays of their keypoints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.body_scale import stature_m
from adaptpose.bones import chain_matrix, pose_to_bones
from adaptpose.camera import Intrinsics, pinhole, undistort
from adaptpose.clips import Clip2D
from adaptpose.errors import DataError, SkeletonError, expected_message
from adaptpose.focal import estimate_focal
from adaptpose.root_path import ROOT_CUTOFF_HZ, root_path
from adaptpose.skeleton import Skeleton

UNKNOWN_DEPTH_M = 5.0
"""Depth of a person in clips that do not show where they stand."""

_MEDIAN_OF_NORMAL = 0.6745


@dataclass(frozen=True)
class LiftedClips:
    """Lifted clips end to end, with the rays of their keypoints.

    `pose` is root-relative (m), `root` where it stands in camera axes; `slopes` are the undistorted
    rays X/Z, Y/Z, `focal` turns them into normalised image units and `weight` is the confidence,
    0 where there is no keypoint. `clip` numbers the frames' clips from 0, in order.
    """

    skeleton: Skeleton
    pose: Float[Tensor, "frames joints 3"]
    root: Float[Tensor, "frames 3"]
    slopes: Float[Tensor, "frames joints 2"]
    weight: Float[Tensor, "frames joints"]
    focal: Float[Tensor, "frames"]
    clip: Int[Tensor, "frames"]
    lengths: tuple[int, ...]
    rates_hz: tuple[float, ...]

    def to(self, device: torch.device) -> "LiftedClips":
        """The same clips on another device."""
        names = ("pose", "root", "slopes", "weight", "focal", "clip")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def split(self, frames: Float[Tensor, "frames *rest"]) -> list[Tensor]:
        """A quantity of all frames, clip by clip."""
        return list(frames.split(list(self.lengths)))


def gather_lifted(
    poses: Sequence[Float[Tensor, "_ joints 3"]],
    clips: Sequence[Clip2D],
    intrinsics: Sequence[Intrinsics],
    skeleton: Skeleton,
    heights_m: Sequence[float | None] | None = None,
    root_cutoff_hz: float | int = ROOT_CUTOFF_HZ,
) -> LiftedClips:
    """Lifted poses (m) of clips with their rays and the root in closed form, smooth in depth.

    One `Intrinsics` per clip, normalised; `skeleton` is that of poses and clips. A clip with a
    height has its poses scaled to it first. A clip that does not show where the person stands has
    weight 0 and is put at `UNKNOWN_DEPTH_M`. SkeletonError for other joints, DataError for counts
    that differ or poses that are not finite.
    """
    _check(poses, clips, intrinsics, skeleton)
    parts: list[tuple[Tensor, ...]] = []
    for k, (pose, clip, lens) in enumerate(zip(poses, clips, intrinsics, strict=True)):
        pose = (pose - pose[:, skeleton.root : skeleton.root + 1]).cpu()
        pose2d, weight = usable_keypoints(clip)
        height = heights_m[k] if heights_m else None
        if height is not None:
            pose = pose * (height / stature_m(pose, weight, skeleton))
        root, weight = _standing(pose, pose2d, weight, lens, clip.frame_rate_hz, root_cutoff_hz)
        focal = lens.focal.mean().expand(len(pose))
        parts.append((pose, root, undistort(pose2d, lens), weight, focal))
    lengths = tuple(len(pose) for pose in poses)
    clip = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    pose, root, slopes, weight, focal = (torch.cat(part) for part in zip(*parts, strict=True))
    rates = tuple(float(c.frame_rate_hz) for c in clips)
    return LiftedClips(skeleton, pose, root, slopes, weight, focal, clip, lengths, rates)


def with_lengths(
    lifted: LiftedClips,
    lengths: Float[Tensor, "clips bones"],
    root_cutoff_hz: float | int = ROOT_CUTOFF_HZ,
) -> LiftedClips:
    """The clips with the bone lengths (m) of each clip given; directions are kept.

    The root is put where such bodies stand. Works on the CPU.
    """
    skeleton = lifted.skeleton
    bones = torch.nn.functional.normalize(pose_to_bones(lifted.pose, skeleton), dim=-1)
    pose = chain_matrix(skeleton, bones) @ (bones * lengths[lifted.clip][..., None])
    parts = (lifted.split(part) for part in (pose, lifted.slopes, lifted.weight))
    roots = [
        _standing(own, slopes, weight, pinhole(1.0), rate_hz, root_cutoff_hz)[0]
        for own, slopes, weight, rate_hz in zip(*parts, lifted.rates_hz, strict=True)
    ]
    return replace(lifted, pose=pose, root=torch.cat(roots))


def _standing(
    pose: Tensor,
    pose2d: Tensor,
    weight: Tensor,
    lens: Intrinsics,
    rate_hz: float | int,
    cutoff_hz: float | int,
) -> tuple[Tensor, Tensor]:
    """Root and weights of a clip; a clip that does not show where the person stands counts 0."""
    try:
        return root_path(pose, pose2d, weight, lens, rate_hz, cutoff_hz), weight
    except DataError:
        return pose.new_tensor([0.0, 0.0, UNKNOWN_DEPTH_M]).expand(len(pose), 3), 0 * weight


def usable_keypoints(
    clip: Clip2D,
) -> tuple[Float[Tensor, "frames joints 2"], Float[Tensor, "frames joints"]]:
    """Finite 2D of a clip and its weights: the confidence, 0 where there is no keypoint.

    Keypoints that all came without a confidence are taken as they are.
    """
    known = bool((clip.confidence > 0).any())
    weight = clip.confidence if known else torch.ones_like(clip.confidence)
    usable = torch.isfinite(clip.pose2d).all(dim=-1)
    pose2d = torch.where(usable[..., None], clip.pose2d, 0.0)
    return pose2d, torch.where(usable & torch.isfinite(weight), weight, 0.0)


def estimate_lenses(
    poses: Sequence[Float[Tensor, "_ joints 3"]],
    clips: Sequence[Clip2D],
    skeleton: Skeleton | None = None,
) -> list[Intrinsics]:
    """An estimated lens per clip, the same for clips of one camera name and image size.

    With the `skeleton` of poses and clips, perspective counts, see `estimate_focal`.
    """
    cameras: dict[tuple[str, tuple[int, int]], list[int]] = {}
    for k, clip in enumerate(clips):
        cameras.setdefault((clip.camera, clip.image_size_px), []).append(k)
    lenses = [pinhole(1.0)] * len(clips)
    for own in cameras.values():
        seen = [usable_keypoints(clips[k]) for k in own]
        pose = torch.cat([poses[k].cpu() for k in own])
        pose2d, weight = (torch.cat(part) for part in zip(*seen, strict=True))
        focal = estimate_focal(pose, pose2d, weight, skeleton)
        for k in own:
            lenses[k] = pinhole(focal)
    return lenses


def read_jitter(lifted: LiftedClips) -> Float[Tensor, "frames"]:
    """Standard deviation of each frame's keypoints in normalised coordinates, one per clip.

    Third differences of neighbouring frames are noise alone, as motion is smooth on that scale,
    and have 20 times its variance. 0 for clips that do not show four frames in a row.
    """
    image = lifted.slopes * lifted.focal[:, None, None]
    jitter = torch.zeros(len(lifted.lengths))
    pairs = zip(lifted.split(image), lifted.split(lifted.weight), strict=True)
    for k, (xy, weight) in enumerate(pairs):
        if len(xy) < 4:
            continue
        third = (xy[3:] - 3 * xy[2:-1] + 3 * xy[1:-2] - xy[:-3]).abs()
        shown = (weight.unfold(0, 4, 1) > 0).all(dim=-1)
        if bool(shown.any()):
            jitter[k] = third[shown].median() / (_MEDIAN_OF_NORMAL * math.sqrt(20))
    return jitter.to(lifted.focal)[lifted.clip]


def _check(
    poses: Sequence[Tensor],
    clips: Sequence[Clip2D],
    intrinsics: Sequence[Intrinsics],
    skeleton: Skeleton,
) -> None:
    if not len(poses) == len(clips) == len(intrinsics) or not clips:
        wanted = "as many poses and lenses as clips, at least one"
        got = f"{len(poses)} poses, {len(intrinsics)} lenses and {len(clips)} clips"
        raise DataError(expected_message("lifted clips", wanted, got))
    for pose, clip in zip(poses, clips, strict=True):
        shape = (clip.num_frames, skeleton.num_joints)
        thing = f"clip '{clip.name}'"
        if clip.pose2d.shape[:2] != shape:
            joints = f"2D of {shape[1]} joints of '{skeleton.name}'"
            raise SkeletonError(expected_message(thing, joints, f"{clip.pose2d.shape[1]} joints"))
        if tuple(pose.shape) != (*shape, 3):
            wanted = f"lifted poses of shape {(*shape, 3)}"
            raise SkeletonError(expected_message(thing, wanted, str(tuple(pose.shape))))
        if not bool(torch.isfinite(pose).all()):
            raise DataError(f"{thing}: NaN or infinite lifted poses")
