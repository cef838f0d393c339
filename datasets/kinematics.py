"""Forward kinematics for trees of joints, as BVH, ASF/AMC and depth cameras describe them.

Conventions. Right-handed axes, column vectors: `R_world_joint` takes a vector from a joint's axes
to the world's. Euler angles in the order "ZYX" mean R = Rz Ry Rx, so the last letter turns first.
Motion capture files are Y up; `y_up_to_z_up` is the one place where that ends.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_AXES = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}


def euler_to_matrix(
    angles_deg: Float[Tensor, "*batch k"], order: str
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of Euler angles in degrees, multiplied in the order of the letters.

    `order` holds one letter of X, Y, Z per angle; no angle at all gives the identity.
    """
    batch = angles_deg.shape[:-1]
    matrix = torch.eye(3, dtype=angles_deg.dtype, device=angles_deg.device).expand(*batch, 3, 3)
    angles = torch.deg2rad(angles_deg)
    for k, letter in enumerate(order):
        matrix = _turn_columns(matrix, angles[..., k], letter)
    return matrix


def forward_kinematics(
    parents: tuple[int, ...],
    offsets: Float[Tensor, "#frames joints 3"],
    rotations: Float[Tensor, "frames joints 3 3"],
) -> tuple[Float[Tensor, "frames joints 3"], Float[Tensor, "frames joints 3 3"]]:
    """World positions and world rotations of every joint, from local rotations and offsets.

    `parents` lists each joint after its parent and -1 for the root; `offsets[:, j]` is joint j in
    its parent's axes (for the root: in the world), `rotations[:, j]` turns joint j in its parent.
    """
    frames = rotations.shape[0]
    position: list[Tensor] = []
    R_world: list[Tensor] = []
    for joint, parent in enumerate(parents):
        shift = offsets[:, joint].expand(frames, 3)
        if parent < 0:
            position.append(shift)
            R_world.append(rotations[:, joint])
            continue
        position.append(position[parent] + apply_rotation(R_world[parent], shift))
        R_world.append(R_world[parent] @ rotations[:, joint])
    return torch.stack(position, dim=1), torch.stack(R_world, dim=1)


def apply_rotation(
    rotation: Float[Tensor, "*batch 3 3"], vector: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """Vectors turned by rotation matrices."""
    return (rotation * vector[..., None, :]).sum(dim=-1)


def y_up_to_z_up(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Points in a right-handed Y-up world, in a right-handed Z-up world: (x, y, z) to (x, -z, y).

    A quarter turn about x, so left stays left.
    """
    x, y, z = points.unbind(dim=-1)
    return torch.stack([x, -z, y], dim=-1)


def _turn_columns(
    matrix: Float[Tensor, "*batch 3 3"], angle: Float[Tensor, "*batch"], letter: str
) -> Float[Tensor, "*batch 3 3"]:
    """matrix @ R_letter(angle): an elementary turn mixes two columns and leaves the third."""
    first, second = _AXES[letter]
    columns = list(matrix.unbind(dim=-1))
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    a, b = columns[first], columns[second]
    columns[first], columns[second] = a * cos + b * sin, b * cos - a * sin
    return torch.stack(columns, dim=-1)
