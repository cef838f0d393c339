"""How strong the perspective of an image is, told by the two sides of a body.

The left and the right bone of a limb are equally long. Of the two the nearer looks larger, and by
how much, for a given difference in depth, depends on the focal length alone: with r image units per
metre at the person, a bone d metres farther away looks smaller by the share d r / f. Errors of
lifted depths and of left against right do not depend on one another, so a regression over many
frames gives 1 / f without a word about rays or sizes, at which residuals of lifted poses fail.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.camera import pinhole
from adaptpose.rays import root_from_rays
from adaptpose.skeleton import Skeleton

LIMBS = (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
"""Bones that are there on both sides, by their ends."""

_SHARPNESS = 2.0
_FLATTEST = 0.05  # share of a bone's length that lies across the line of sight, at least
_LARGEST = 0.5  # difference of logarithms: beyond, a joint is where it is not
_ALIKE_FRAMES = 25.0  # neighbouring frames err alike


@dataclass(frozen=True)
class Perspective:
    """Estimate of 1 / f (f in normalised screen units) and its standard error."""

    inverse_focal: float
    error: float


def read_perspective(
    pose: Float[Tensor, "frames joints 3"],
    pose2d: Float[Tensor, "frames joints 2"],
    weights: Float[Tensor, "frames joints"],
    skeleton: Skeleton,
) -> Perspective | None:
    """The perspective of frames of one camera; None if limbs or joints for it are missing.

    `pose` is root-relative (m), of any person's frames, `pose2d` normalised. Joints of weight 0 do
    not count.
    """
    ends = _limb_ends(skeleton)
    if ends is None or not len(pose):
        return None
    # Under a long lens: perspective must not enter what it is measured by.
    root = root_from_rays(pose, pose2d, weights, pinhole(100.0))
    rate = 100.0 / root[:, 2].clamp_min(1e-3)
    near, far = ends.to(pose.device).unbind(-1)
    bones = pose[:, far] - pose[:, near]
    length = bones.norm(dim=-1).clamp_min(1e-4)
    across = (bones[..., :2].norm(dim=-1) / length).clamp_min(_FLATTEST)
    seen = (pose2d[:, far] - pose2d[:, near]).norm(dim=-1).clamp_min(1e-5) / across
    depth = (pose[:, far, 2] + pose[:, near, 2]) / 2
    larger = (seen[..., 0] / seen[..., 1]).log().clamp(-_LARGEST, _LARGEST)
    nearer = (depth[..., 1] - depth[..., 0]) * rate[:, None]
    sure = (weights[:, near] * weights[:, far]).clamp(0, 1)
    weight = (across**_SHARPNESS * sure).prod(dim=-1)
    return _regression(nearer, larger, weight)


def _regression(x: Tensor, y: Tensor, weight: Tensor) -> Perspective | None:
    total = float((weight * x * x).sum())
    if not total > 1e-9:
        return None
    slope = float((weight * x * y).sum()) / total
    left = float((weight * x * (y - slope * x)).square().sum())
    return Perspective(slope, (_ALIKE_FRAMES * left) ** 0.5 / total)


def _limb_ends(skeleton: Skeleton) -> Tensor | None:
    """(limbs, 2 sides, 2 ends) joints, or None where the skeleton lacks one of them."""
    names = [[(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right")] for a, b in LIMBS]
    if any(name not in skeleton.joints for limb in names for pair in limb for name in pair):
        return None
    return torch.tensor([[skeleton.ids(list(pair)) for pair in limb] for limb in names])
