"""Rotations of the generator in roma's terms, with finite gradients at the ugly points."""

import roma
import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-6
"""Added to norms before division: an axis or quaternion of zero length stays finite."""


def axis_angle_to_rotmat(
    axis: Float[Tensor, "*batch 3"], angle_rad: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices about axes of any length by angles (AdaptPose eq. 7-10).

    A zero axis gives the identity. By way of unit quaternions, as in the paper.
    """
    half = angle_rad[..., None] / 2
    quaternion = torch.cat([_unit(axis) * torch.sin(half), torch.cos(half)], dim=-1)
    return roma.unitquat_to_rotmat(_unit(quaternion))


def rotvec_to_rotmat(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of rotation vectors, whose length is the angle in radians."""
    return roma.rotvec_to_rotmat(rotvec)


def quaternion_to_rotmat(wxyz: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any length but zero (AdaptPose eq. 13)."""
    return roma.unitquat_to_rotmat(_unit(wxyz).roll(-1, dims=-1))


def euler_zyx_to_rotmat(angles_rad: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """R = Rz(a) Ry(b) Rx(c) of angles (a, b, c) (AdaptPose eq. 12)."""
    a, b, c = angles_rad.unbind(-1)
    units = torch.eye(3, dtype=angles_rad.dtype, device=angles_rad.device)
    turns = []
    for axis, angle in ((2, a), (1, b), (0, c)):
        turns.append(roma.rotvec_to_rotmat(units[axis] * angle[..., None]))
    return turns[0] @ turns[1] @ turns[2]


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + EPS**2).sqrt()
