"""Geometry of PoseNet3D: 14 joints, normalised windows, points from depths, random views.

Camera axes: x right, y down, z forward. 2D has its origin in the root, the middle of the hips, and
its unit is the focal length; 3D is in units of about one head-root distance, c units from the
camera. Both follow section 3.1 of Tripathi et al., PoseNet3D, 3DV 2020.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.errors import SkeletonError
from adaptpose.posenet_config import ViewRange
from adaptpose.skeleton import H36M_16, Skeleton


def _without(skeleton: Skeleton, name: str, dropped: str) -> Skeleton:
    chains = tuple(tuple(j for j in chain if j != dropped) for chain in skeleton.chains)
    return Skeleton(name, tuple(j for j in skeleton.joints if j != dropped), chains)


POSENET_15 = _without(H36M_16, "posenet15", "spine")
"""The 14 joints and the root ("hip"), which is the middle of the hips."""

JOINTS = tuple(j for j in POSENET_15.joints if j != POSENET_15.joints[POSENET_15.root])
"""The 14 joints, in the order of the joint axis of every tensor here."""

_FILLED = {
    "hip": {"right_hip": 0.5, "left_hip": 0.5},
    "spine": {"right_hip": 0.25, "left_hip": 0.25, "thorax": 0.5},
    "neck_nose": {"thorax": 0.5, "head": 0.5},
}
"""Joints that are not lifted, as averages of those that are."""

_LEAST_SHARE = 0.2
"""Head-root distances count as at least this share of the largest distance from the root: a
person who bends towards the camera is not enlarged without bound."""

_TINY = 1e-9


def joint_choice(skeleton: Skeleton) -> list[int]:
    """Indices of the 14 joints in a skeleton, by name; SkeletonError naming those it lacks."""
    missing = [joint for joint in JOINTS if joint not in skeleton.joints]
    if missing:
        names = ", ".join(missing)
        raise SkeletonError(f"skeleton '{skeleton.name}' has no {names}, which PoseNet3D needs")
    return skeleton.ids(JOINTS)


def fill_matrix(skeleton: Skeleton) -> Float[Tensor, "joints 14"]:
    """The matrix that makes a skeleton's joints of the 14, by name.

    The root is the middle of the hips, the spine the middle of root and thorax, neck and nose
    the middle of thorax and head. SkeletonError naming joints that are none of these.
    """
    unknown = [j for j in skeleton.joints if j not in JOINTS and j not in _FILLED]
    if unknown:
        names = ", ".join(unknown)
        raise SkeletonError(f"skeleton '{skeleton.name}': PoseNet3D does not give {names}")
    matrix = torch.zeros(skeleton.num_joints, len(JOINTS))
    for row, joint in enumerate(skeleton.joints):
        for name, share in _FILLED.get(joint, {joint: 1.0}).items():
            matrix[row, JOINTS.index(name)] = share
    return matrix


def root_of(points: Float[Tensor, "*batch 14 dims"]) -> Float[Tensor, "*batch dims"]:
    """The root: the middle of the hips."""
    hips = [points[..., JOINTS.index(f"{side}_hip"), :] for side in ("left", "right")]
    return (hips[0] + hips[1]) / 2


def with_root(points: Float[Tensor, "*batch 14 dims"]) -> Float[Tensor, "*batch 15 dims"]:
    """The joints of `POSENET_15`, 2D or 3D."""
    at = POSENET_15.root
    root = root_of(points)[..., None, :]
    return torch.cat([points[..., :at, :], root, points[..., at:, :]], dim=-2)


def trunk_length(points: Float[Tensor, "*batch 14 dims"]) -> Float[Tensor, "*batch"]:
    """Way from the root over the thorax to the head, which bending changes little."""
    thorax, head = (points[..., JOINTS.index(name), :] for name in ("thorax", "head"))
    return _length(thorax - root_of(points)) + _length(head - thorax)


def window_scale(
    pose2d: Float[Tensor, "*batch frames 14 2"], distance: float | int = 10.0
) -> Float[Tensor, "*batch"]:
    """Factor that makes the mean head-root distance over the frames 1 / c.

    For one window, or for a whole clip, whose windows then share it: with a scale of its own, each
    window enlarges a body that bends. Distances count as at least a fifth of the largest
    distance from the root.
    """
    away = _length(pose2d - root_of(pose2d)[..., None, :])
    head = away[..., JOINTS.index("head")].mean(dim=-1)
    least = _LEAST_SHARE * away.amax(dim=-1).mean(dim=-1)
    return 1 / (distance * torch.maximum(head, least))


def normalise_windows(
    pose2d: Float[Tensor, "batch frames 14 2"],
    scale: Float[Tensor, "batch"] | None = None,
    distance: float | int = 10.0,
) -> tuple[Float[Tensor, "batch frames 14 2"], Float[Tensor, "batch"]]:
    """Windows of screen coordinates centred on the root frame by frame, and scaled; the scale.

    The scale is one number per window, so that depth does not pulse: `window_scale` of its
    frames, or a given one, as of the whole clip. Frames that shall be compared (overlapping
    windows) must be normalised together.
    """
    if scale is None:
        scale = window_scale(pose2d, distance)
    return (pose2d - root_of(pose2d)[..., None, :]) * scale[:, None, None, None], scale


def to_points(
    pose2d: Float[Tensor, "*batch joints 2"],
    offset: Float[Tensor, "*batch joints"],
    distance: float | int = 10.0,
    nearest: float | int = 1.0,
) -> Float[Tensor, "*batch joints 3"]:
    """Points (x z, y z, z) of depth z = max(nearest, c + offset) that project to the 2D."""
    depth = (distance + offset).clamp_min(nearest)[..., None]
    return torch.cat([pose2d * depth, depth], dim=-1)


def view_rotations(
    azimuth_rad: Float[Tensor, "*batch"],
    elevation_rad: Float[Tensor, "*batch"],
    roll_rad: Float[Tensor, "*batch"] | None = None,
    level_rad: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch 3 3"]:
    """Rotations into other views: about the vertical by the azimuth, then to the elevation.

    Elevation is positive where the camera looks down. `level_rad` is the elevation of the view
    that is left, undone first (ElePose); without it, that view's y axis counts as the vertical.
    """
    turn = _about(0, elevation_rad) @ _about(1, azimuth_rad)
    if roll_rad is not None:
        turn = _about(2, roll_rad) @ turn
    return turn if level_rad is None else turn @ _about(0, -level_rad)


def draw_views(
    count: int,
    views: ViewRange,
    generator: torch.Generator,
    elevation_rad: Float[Tensor, "count"] | None = None,
    level_rad: Float[Tensor, "count"] | None = None,
) -> Float[Tensor, "count 3 3"]:
    """Q of eq. 1, one per window, uniform in the range, on the generator's device.

    A given elevation replaces the drawn one; `level_rad` as in `view_rotations`.
    """
    share = torch.rand(3, count, generator=generator, device=generator.device)
    if elevation_rad is not None:
        share = share.to(elevation_rad)
    low, high = views.elevation_rad
    drawn = low + (high - low) * share[1]
    return view_rotations(
        (2 * share[0] - 1) * views.azimuth_rad,
        drawn if elevation_rad is None else elevation_rad,
        (2 * share[2] - 1) * views.roll_rad,
        level_rad,
    )


def turn_about_root(
    points: Float[Tensor, "batch frames 14 3"],
    rotation: Float[Tensor, "batch 3 3"],
    distance: float | int = 10.0,
) -> Float[Tensor, "batch frames 14 3"]:
    """Eq. 1: bodies turned about their root, with the root of every frame at depth c."""
    centred = points - root_of(points)[..., None, :]
    return _at_depth(centred @ rotation.mT[:, None], distance)


def place_at_depth(
    points: Float[Tensor, "*batch 14 3"], distance: float | int = 10.0
) -> Float[Tensor, "*batch 14 3"]:
    """Bodies with their root at depth c, as eq. 1 leaves them, not turned."""
    return _at_depth(points - root_of(points)[..., None, :], distance)


def project_points(
    points: Float[Tensor, "*batch joints 3"], nearest: float | int = 1.0
) -> Float[Tensor, "*batch joints 2"]:
    """Perspective projection with focal length 1; no depth counts as less than `nearest`.

    The root of the points lands in the origin. The middle of the projected hips does not quite,
    as in no real view: centre again (`normalise_windows`) before comparing with real 2D.
    """
    return points[..., :2] / points[..., 2:].clamp_min(nearest)


def _at_depth(centred: Tensor, distance: float | int) -> Tensor:
    return torch.cat([centred[..., :2], centred[..., 2:] + distance], dim=-1)


def _about(axis: int, angle: Tensor) -> Tensor:
    unit = torch.eye(3, dtype=angle.dtype, device=angle.device)[axis]
    return roma.rotvec_to_rotmat(unit * angle[..., None])


def _length(vector: Tensor) -> Tensor:
    # Not `norm`: its gradient is not finite where the vector is 0.
    return (vector.square().sum(dim=-1) + _TINY**2).sqrt()
