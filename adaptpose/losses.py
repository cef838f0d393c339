"""Losses of generator and discriminators: tensors in, a scalar or per-sample tensor out."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.skeleton import Skeleton

_GROUPS = (
    ("hip", "shoulder"),
    ("knee", "elbow", "head"),
    ("ankle", "wrist"),
)
"""Joints near the trunk, in the middle of limbs, at their ends: the ratio is taken per group."""
_WEIGHTS = {"hip": 5.0, "shoulder": 5.0, "knee": 2.0, "elbow": 2.0}
"""Weights of joint errors in the hard ratio; 1 for the others [PA, APc]."""


def discriminator_loss(real: Float[Tensor, "*real"], fake: Float[Tensor, "*fake"]) -> Tensor:
    """Least-squares GAN loss of a discriminator (AdaptPose eq. 15, 16)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def adversarial_loss(fake: Float[Tensor, "*fake"]) -> Tensor:
    """Least-squares GAN loss of the generator (AdaptPose eq. 17)."""
    return 0.5 * (fake - 1).square().mean()


def angle_loss(turn: Float[Tensor, "batch frames bones"], band: tuple[float, float]) -> Tensor:
    """Penalty on windows whose mean 1 - cos(angle) leaves the band (centre, half-width) [PA].

    The mean is over bones and frames: taken per frame, as released, the first frames, which a
    growing angle never turns, would push all angles up.
    """
    away = turn.mean(dim=(1, 2)) - band[0]
    return torch.where(away.abs() > band[1], away.square(), torch.zeros_like(away)).mean()


def length_loss(change: Float[Tensor, "batch bones"], free: float) -> Tensor:
    """Mean square of the length changes beyond the free range [PA]."""
    return torch.where(change.abs() > free, change.square(), torch.zeros_like(change)).mean()


def group_errors(
    prediction: Float[Tensor, "batch joints 3"],
    truth: Float[Tensor, "batch joints 3"],
    skeleton: Skeleton,
) -> Float[Tensor, "batch 3"]:
    """Weighted joint errors (m) averaged over three groups of joints, for the hard ratio [PA]."""
    matrix = _group_table(skeleton, prediction.device, prediction.dtype)
    # Not `norm`: its gradient is not finite where prediction and truth meet, as at the root.
    distance = ((prediction - truth).square().sum(-1) + 1e-12).sqrt()
    return distance @ matrix.T


def hard_ratio(
    generated: Float[Tensor, "batch 3"], source: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch 3"]:
    """Errors on generated samples over errors on the source samples they were made from."""
    return generated / source.clamp_min(1e-4)


def hardness_loss(
    ratio: Float[Tensor, "batch 3"], centre: float, width: float, rule: str
) -> Tensor:
    """Fixed hard ratio feedback (AdaptPose eq. 20, 21).

    "outside" penalises ratios out of [centre - width, centre + width], which drives them back in;
    "inside" is eq. 21 as printed. Ratios are cut at 100: one wild sample is not the batch.
    """
    away = ratio.clamp(max=100.0) - centre
    counted = away.abs() > width if rule == "outside" else away.abs() < width
    return torch.where(counted, away.square(), torch.zeros_like(away)).mean()


def reprojection_loss(
    prediction: Float[Tensor, "batch joints 3"],
    pose2d: Float[Tensor, "batch joints 2"],
    root: int,
) -> Tensor:
    """L1 between predicted x, y and the 2D they were lifted from, both normalised (eq. 18, 19).

    Both are centred on the root first: predictions are root-relative, and the orthographic view
    of eq. 19 says nothing about position.
    """
    return (_shape(prediction[..., :2], root) - _shape(pose2d, root)).abs().sum((1, 2)).mean()


def lifter_loss(
    prediction: Float[Tensor, "batch joints 3"], truth: Float[Tensor, "batch joints 3"], kind: str
) -> Tensor:
    """MPJPE in metres (eq. 23) or the mean squared coordinate error [APc]."""
    if kind == "mse":
        return (prediction - truth).square().mean()
    return ((prediction - truth).square().sum(-1) + 1e-12).sqrt().mean()


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept, and may be met by autograd later
def _group_table(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(len(_GROUPS), skeleton.num_joints)
    for row, names in enumerate(_GROUPS):
        members = [j for j in skeleton.joints if _plain(j) in names and j != "hip"]
        for joint in members:
            matrix[row, skeleton.id(joint)] = _WEIGHTS.get(_plain(joint), 1.0) / len(members)
    return matrix.to(device, dtype)


def _shape(points: Tensor, root: int) -> Tensor:
    centred = points - points[:, root : root + 1]
    norm = centred.flatten(1).norm(dim=1).clamp_min(1e-6)
    return centred / norm[:, None, None]


def _plain(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")
