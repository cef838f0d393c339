"""Linear blend skinning of a body model: pose and shape to vertices and joints.

Loper et al., SMPL: A Skinned Multi-Person Linear Model, 2015. The template is changed by the
shape coefficients and by the pose, then every vertex follows a blend of its joints. All metres;
the axes are those of the model's rest pose (y up, x to the body's left), turned by the rotation
of the root joint.
"""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.errors import DataError, expected_message

FRAMES_AT_ONCE = 256
"""Frames that are skinned together where no gradient is needed: some 150 MB of SMPL."""


@dataclass(frozen=True)
class BodyModel:
    """A skinned body: a template, how shape and pose change it, and which joints it follows.

    `parents` has -1 for the root, which comes first; every other parent comes before its joints.
    `pose_directions` are ordered as the entries (row by row) of the rotation matrices of all
    joints but the root; a body without such corrections has 0 entries.

    The joints' rest places are `joint_template` and `joint_directions`, linear in the shape
    coefficients, where these are given, and else what `joint_regressor` makes of the shaped
    template. `joint_names` are those of `adaptpose.skeleton` where a joint has one there.
    """

    template: Float[Tensor, "vertices 3"]
    shape_directions: Float[Tensor, "vertices 3 shapes"]
    pose_directions: Float[Tensor, "vertices 3 entries"]
    joint_regressor: Float[Tensor, "joints vertices"]
    parents: tuple[int, ...]
    weights: Float[Tensor, "vertices joints"]
    faces: Int[Tensor, "faces 3"] | None = None
    joint_template: Float[Tensor, "joints 3"] | None = None
    joint_directions: Float[Tensor, "joints 3 shapes"] | None = None
    joint_names: tuple[str, ...] = ()
    name: str = ""

    @property
    def num_joints(self) -> int:
        """Number of joints of the kinematic tree."""
        return len(self.parents)


def linear_joints(
    model: BodyModel,
) -> tuple[Float[Tensor, "joints 3"], Float[Tensor, "joints 3 shapes"]]:
    """Rest places (m) of the joints of the mean shape, and how each coefficient changes them."""
    if model.joint_template is not None and model.joint_directions is not None:
        return model.joint_template, model.joint_directions
    directions = torch.einsum("jv,vcs->jcs", model.joint_regressor, model.shape_directions)
    return model.joint_regressor @ model.template, directions


def skin(
    model: BodyModel,
    betas: Float[Tensor, "#frames shapes"],
    pose: Float[Tensor, "frames joints 3"] | Float[Tensor, "frames joints 3 3"],
    translation: Float[Tensor, "#frames 3"],
) -> tuple[Float[Tensor, "frames vertices 3"], Float[Tensor, "frames joints 3"]]:
    """Vertices and joints (m) of a body with shape coefficients in poses (SMPL, eq. 2-10).

    `pose` are rotation vectors (radians) or rotation matrices of each joint against its parent,
    the root's against the world. Fewer coefficients than the model has shape directions leave
    the others at 0. Differentiable; without gradients, frames are taken in parts, so that only
    what is returned grows with their number. DataError if joints or coefficients do not fit.
    """
    _check(model, betas, pose)
    parts = [
        _skin_part(
            model, betas[_rows(betas, rows)], pose[rows], translation[_rows(translation, rows)]
        )
        for rows in _parts(len(pose), betas, pose, translation)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def regress_joints(
    vertices: Float[Tensor, "*batch vertices 3"], regressor: Float[Tensor, "points given"]
) -> Float[Tensor, "*batch points 3"]:
    """Points as weighted sums of vertices; DataError if the regressor is of another body."""
    if regressor.shape[1] != vertices.shape[-2]:
        raise DataError(
            expected_message(
                "joint regressor",
                f"{vertices.shape[-2]} vertices, as the body model has",
                f"{regressor.shape[1]}",
                "take regressor and body model of the same kind",
            )
        )
    return regressor @ vertices


def _skin_part(
    model: BodyModel, betas: Tensor, pose: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    directions = model.shape_directions[..., : betas.shape[1]]
    shaped = model.template + torch.einsum("vcs,fs->fvc", directions, betas)
    rest = _rest_joints(model, betas, shaped)
    local = pose if pose.ndim == 4 else roma.rotvec_to_rotmat(pose)
    change = (local[:, 1:] - torch.eye(3, dtype=local.dtype, device=local.device)).flatten(1)
    posed = shaped
    if model.pose_directions.shape[-1]:
        posed = shaped + torch.einsum("vce,fe->fvc", model.pose_directions, change)
    turn, joints = _follow_tree(model.parents, local, rest.expand(len(pose), -1, -1))
    # Each joint moves a vertex v to turn @ (v - rest) + joint.
    offset = joints - (turn @ rest[..., None])[..., 0]
    blend = torch.cat([turn, offset[..., None]], dim=-1).flatten(2)
    moves = (model.weights @ blend).unflatten(-1, (3, 4))
    vertices = (moves[..., :3] @ posed[..., None])[..., 0] + moves[..., 3]
    return vertices + shift[:, None], joints + shift[:, None]


def _rest_joints(model: BodyModel, betas: Tensor, shaped: Tensor) -> Tensor:
    if model.joint_template is None or model.joint_directions is None:
        return model.joint_regressor @ shaped
    directions = model.joint_directions[..., : betas.shape[1]]
    return model.joint_template + torch.einsum("jcs,fs->fjc", directions, betas)


def _follow_tree(parents: tuple[int, ...], local: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (frames, joints, 3, 3) and positions (frames, joints, 3) of the joints."""
    turns, places = [local[:, 0]], [rest[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        bone = (rest[:, joint] - rest[:, parent])[..., None]
        turns.append(turns[parent] @ local[:, joint])
        places.append(places[parent] + (turns[parent] @ bone)[..., 0])
    return torch.stack(turns, dim=1), torch.stack(places, dim=1)


def _check(model: BodyModel, betas: Tensor, pose: Tensor) -> None:
    if pose.shape[1] != model.num_joints:
        expected = f"rotations of {model.num_joints} joints"
        raise DataError(expected_message("pose of the body model", expected, f"{pose.shape[1]}"))
    if betas.shape[1] > model.shape_directions.shape[-1]:
        expected = f"at most {model.shape_directions.shape[-1]} shape coefficients"
        raise DataError(expected_message("shape of the body model", expected, f"{betas.shape[1]}"))


def _parts(frames: int, *inputs: Tensor) -> list[slice]:
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    step = max(frames, 1) if needs_gradient else FRAMES_AT_ONCE
    return [slice(first, first + step) for first in range(0, max(frames, 1), step)]


def _rows(values: Tensor, rows: slice) -> slice:
    """The rows of values that are one for all frames, or one per frame."""
    return slice(None) if len(values) == 1 else rows
