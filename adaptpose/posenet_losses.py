"""Losses of PoseNet3D (Tripathi et al., 3DV 2020, sections 3.2 and 3.4).

As printed: squared errors are summed over joints and frames. Over the batch they are averaged.
3D is in units of about one head-root distance.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from adaptpose.bones import pose_to_bones
from adaptpose.posenet_config import LossWeights
from adaptpose.posenet_geometry import POSENET_15, with_root

AdversarialRule = Literal["non-saturating", "saturating"]

_EPS = 1e-6
"""Length that keeps the gradient of a bone without length finite."""


def self_supervision_loss(
    turned: Float[Tensor, "batch frames joints 3"],
    lifted_again: Float[Tensor, "batch frames joints 3"],
) -> Float[Tensor, ""]:
    """Eq. 2: turned bodies Y against what the teacher makes of their projection."""
    return _squared(turned - lifted_again)


def overlapping_windows(
    long: Float[Tensor, "batch frames_and_one joints dims"],
) -> Float[Tensor, "both frames joints dims"]:
    """The windows at t, then those at t + 1, of windows that are one frame too long.

    Normalise before, so that both see the same numbers in the frames they share.
    """
    return torch.cat([long[:, :-1], long[:, 1:]])


def consistency_loss(lifted: Float[Tensor, "both frames joints 3"]) -> Float[Tensor, ""]:
    """Eq. 3 on bodies lifted from `overlapping_windows`: the T - 1 shared frames must agree."""
    at_t, after = lifted.chunk(2)
    return _squared(at_t[:, 1:] - after[:, :-1])


def bone_length_loss(points: Float[Tensor, "batch frames 14 3"]) -> Float[Tensor, ""]:
    """Eq. 4: variances of bone lengths over the frames (mean of squares), summed.

    Bones are those of `POSENET_15`: with the root, which joins legs and trunk. Each counts twice,
    once from either end, as the double sum is printed.
    """
    bones = pose_to_bones(with_root(points), POSENET_15)
    lengths = (bones.square().sum(dim=-1) + _EPS**2).sqrt()
    return 2 * lengths.var(dim=1, correction=0).sum(dim=1).mean()


def discriminator_loss(
    real: Float[Tensor, "real"], fake: Float[Tensor, "fake"]
) -> Float[Tensor, ""]:
    """Eq. 5 as the discriminator minimises it: binary cross entropy of logits, real is 1."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def adversarial_loss(
    fake: Float[Tensor, "fake"], rule: AdversarialRule = "non-saturating"
) -> Float[Tensor, ""]:
    """Eq. 5 as the networks minimise it, on logits of their projections.

    "saturating" is log(1 - D) as printed, which has no slope where the discriminator is sure;
    "non-saturating" is -log D, which has the same optimum, and with which Goodfellow et al. 2014,
    whom the paper cites for the loss, say to train.
    """
    if rule == "saturating":
        return -functional.softplus(fake).mean()
    return functional.softplus(-fake).mean()


def distillation_loss(
    teacher: Float[Tensor, "batch frames joints 3"], student: Float[Tensor, "batch frames joints 3"]
) -> Float[Tensor, ""]:
    """Eq. 7: joints of the teacher against those of the student's body.

    Both with their roots at one place (`place_at_depth`): the student's body has no position.
    """
    return _squared(teacher - student)


def pose_loss(
    rotations: Float[Tensor, "batch frames joints 3 3"], root: int | None = None
) -> Float[Tensor, ""]:
    """Eq. 8: squared distance of all rotations from the identity.

    As printed it counts all K joints, the root too, whose rotation is the way the body faces and
    says nothing of its pose; given `root`, that joint is left out.
    """
    away = rotations - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    each = away.square().sum(dim=(-1, -2))
    if root is not None:
        each = torch.cat([each[..., :root], each[..., root + 1 :]], dim=-1)
    return each.sum(dim=(1, 2)).mean()


def shape_loss(betas: Float[Tensor, "batch shapes"]) -> Float[Tensor, ""]:
    """Square of the shape coefficients: 0 is the average body."""
    return betas.square().sum(dim=1).mean()


def reprojection_loss(
    projected: Float[Tensor, "batch frames joints 2"],
    pose2d: Float[Tensor, "batch frames joints 2"],
) -> Float[Tensor, ""]:
    """Squared 2D error, which the baselines without a teacher minimise (section 4.5)."""
    return _squared(projected - pose2d)


def teacher_loss(
    weights: LossWeights,
    self_supervision: Tensor,
    consistency: Tensor,
    bones: Tensor,
    adversarial: Tensor,
) -> Float[Tensor, ""]:
    """L_T, step 1 of section 3.5."""
    return (
        weights.self_supervision * self_supervision
        + weights.consistency * consistency
        + weights.bones * bones
        + weights.adversarial * adversarial
    )


def student_loss(
    weights: LossWeights, distillation: Tensor, pose: Tensor, shape: Tensor
) -> Float[Tensor, ""]:
    """L_S, steps 2 and 3."""
    return distillation + weights.pose * pose + weights.shape * shape


def joint_loss(
    weights: LossWeights, teacher: Tensor, student: Tensor, student_adversarial: Tensor
) -> Float[Tensor, ""]:
    """L_T + lambda_S L_S + L_D^S, step 4."""
    return teacher + weights.student * student + weights.adversarial * student_adversarial


def _squared(difference: Tensor) -> Tensor:
    return difference.square().flatten(1).sum(dim=1).mean()
