"""Which way knees and elbows bend: what tells a body from its mirror image in depth [own].

From far away a body mirrored in depth has the projections of a body, so no discriminator of
2D can tell them apart. Anatomy can: in the mirror, shins fold forward and forearms backward. No 3D
is needed to know that. (Drover et al., ECCV workshops 2018, use that faces do not look backwards.)

The other loss here needs no more: people's proportions are nearly the same, and a bone that looks
short is turned towards or away from the camera (ElePose, CVPR 2022, fixes proportions likewise).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from adaptpose.posenet_geometry import JOINTS

_CHAINS = ((("hip", "knee", "ankle"), 1.0), (("shoulder", "elbow", "wrist"), -1.0))
"""Limbs, and the direction of the axis that they fold about, seen from right to left."""

HINGES = tuple(f"{side}_{chain[1]}" for chain, _ in _CHAINS for side in ("left", "right"))
"""The joints of `bends`, in its order."""

_BONES = (
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("hip", "knee"),
    ("knee", "ankle"),
    ("hip", "thorax"),
    ("thorax", "shoulder"),
    ("thorax", "head"),
)
"""Bones of `proportion_loss`, from hips over thorax to head; those in the middle count twice."""

_EPS = 1e-3
"""Length (head-root distances) below which a bone counts as shorter: its gradient stays finite."""


def bends(points: Float[Tensor, "*batch 14 3"]) -> Float[Tensor, "*batch 4"]:
    """How far knees and elbows are folded the way that people can: positive, or negative.

    Each is the triple product of the directions of upper bone, lower bone and the line from the
    right to the left hip (shoulder): the sine of the angle that the limb is folded by, times the
    cosine between its axis and that line. It is 0 for straight limbs and bones without length, does
    not change with size or rotation, and changes its sign with reflections. The trunk may lean
    in any way. Knees fold about that line; elbows do so loosely, since upper arms twist.
    """
    found = []
    for (near, middle, far), sign in _CHAINS:
        across = sign * _direction(points, f"right_{near}", f"left_{near}")
        for side in ("left", "right"):
            upper = _direction(points, f"{side}_{near}", f"{side}_{middle}")
            lower = _direction(points, f"{side}_{middle}", f"{side}_{far}")
            found.append((torch.linalg.cross(upper, lower) * across).sum(dim=-1))
    return torch.stack(found, dim=-1)


def anatomy_loss(points: Float[Tensor, "batch frames 14 3"]) -> Float[Tensor, ""]:
    """Sum over joints and frames of how far knees and elbows are folded the wrong way."""
    return functional.relu(-bends(points)).flatten(1).sum(dim=1).mean()


def proportion_loss(points: Float[Tensor, "batch frames 14 3"]) -> Float[Tensor, ""]:
    """How much the proportions of bodies differ, summed over bones and frames.

    Squared differences between bones, as shares of a window's mean bone, and the mean such bone
    of the batch; left and right count as one kind. People's proportions differ by a few per cent,
    those of bodies with wrong depths by much more.
    """
    lengths = torch.stack(
        [
            torch.stack([_length(points, side, bone) for side in ("left", "right")], dim=-1)
            for bone in _BONES
        ],
        dim=-1,
    )
    shares = lengths / lengths.mean(dim=(1, 2, 3), keepdim=True).clamp_min(_EPS)
    usual = shares.mean(dim=(0, 1, 2))
    return (shares - usual).square().flatten(1).sum(dim=1).mean()


def share_bent_wrong(points: Float[Tensor, "batch frames 14 3"]) -> Float[Tensor, ""]:
    """Share of all folding of the knees that goes the wrong way: 0 for people, 1 mirrored, 0.5 if
    there is no telling.
    """
    knees = bends(points)[..., :2]
    size = knees.abs().sum() + _EPS
    return (functional.relu(-knees).sum() + _EPS / 2) / size


def _length(points: Tensor, side: str, bone: tuple[str, str]) -> Tensor:
    near, far = (name if name in JOINTS else f"{side}_{name}" for name in bone)
    way = points[..., JOINTS.index(far), :] - points[..., JOINTS.index(near), :]
    return (way.square().sum(dim=-1) + _EPS**2).sqrt()


def _direction(points: Tensor, start: str, end: str) -> Tensor:
    bone = points[..., JOINTS.index(end), :] - points[..., JOINTS.index(start), :]
    # Not `norm`: its gradient is not finite where the bone is 0.
    return bone / (bone.square().sum(dim=-1, keepdim=True) + _EPS**2).sqrt()
