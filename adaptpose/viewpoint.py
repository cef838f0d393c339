"""From where a camera sees a person: azimuth, elevation, roll, and size and place in the image.

Poses are in camera axes (x right, y down, z forward; metres), absolute or root-relative. The body
frame has its up axis along the trunk (middle of the hips to middle of the shoulders) or along a
given direction such as gravity's opposite, its left axis from right to left hip and shoulder made
perpendicular to up, and forward = left x up. Angles (rad):

- azimuth: 0 for a camera in front of the person, positive on the person's left side, +-pi behind;
- elevation: positive for a camera above the plane through the root that is normal to up;
- roll: turn of the up axis in the image, from the image's up, clockwise.

People who lie. With the trunk as up, "above" means on the head's side: a camera over a person on
their back stands in front at elevation 0. With gravity as up, it is at elevation pi/2, forward is
where the feet point for a person on their back and where the head points for one on their belly;
on the side, the left axis is vertical and the azimuth is not defined. An angle that is not defined
is NaN: the azimuth also straight above and below, the roll of an axis seen end-on.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.skeleton import Skeleton

UNDEFINED_BELOW = 1e-6
"""Length (m for axes, share for directions) below which a direction is not defined."""


@dataclass(frozen=True)
class Viewpoint:
    """Angles (rad) under which a camera sees poses; see the module for zero and sign."""

    azimuth_rad: Float[Tensor, "*batch"]
    elevation_rad: Float[Tensor, "*batch"]
    roll_rad: Float[Tensor, "*batch"]


def viewpoint(
    pose3d_cam: Float[Tensor, "*batch joints 3"],
    skeleton: Skeleton,
    up_cam: Float[Tensor, "*#batch 3"] | None = None,
) -> Viewpoint:
    """Azimuth, elevation and roll of the camera relative to each person's body frame.

    The line of sight goes to the root; a root-relative pose, whose root is the origin, counts as
    seen along the optical axis. `up_cam` is a direction in camera axes for the up axis, see
    `world_up_in_camera`; without it the trunk is up.
    """
    axes = body_axes(pose3d_cam, skeleton, up_cam)
    to_camera = -pose3d_cam[..., skeleton.root, :]
    distance = to_camera.norm(dim=-1, keepdim=True)
    optical = torch.zeros_like(to_camera)
    optical[..., 2] = -1
    direction = torch.where(distance > UNDEFINED_BELOW, to_camera / distance, optical)
    ahead, left, up = (axes @ direction[..., None])[..., 0].unbind(-1)
    lean_right, lean_up = axes[..., 2, 0], -axes[..., 2, 1]
    return Viewpoint(_angle(left, ahead), torch.asin(up.clamp(-1, 1)), _angle(lean_right, lean_up))


def body_axes(
    pose3d_cam: Float[Tensor, "*batch joints 3"],
    skeleton: Skeleton,
    up_cam: Float[Tensor, "*#batch 3"] | None = None,
) -> Float[Tensor, "*batch 3 3"]:
    """Unit vectors forward, left and up of every person as rows, in the axes of the pose.

    Rows that are not defined are NaN: all of a trunk without length, forward and left of a person
    whose left axis is parallel to up.
    """
    left_hip, right_hip, left_shoulder, right_shoulder = (
        pose3d_cam[..., skeleton.id(joint), :]
        for joint in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
    )
    trunk = (left_shoulder + right_shoulder - left_hip - right_hip) / 2
    up = _unit(trunk if up_cam is None else up_cam.expand(trunk.shape))
    across = left_hip - right_hip + left_shoulder - right_shoulder
    left = _unit(across - (across * up).sum(dim=-1, keepdim=True) * up)
    return torch.stack([torch.linalg.cross(left, up), left, up], dim=-2)


def world_up_in_camera(T_cam_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 3"]:
    """The world's z axis (up) in camera axes, as `up_cam` of the functions here."""
    return T_cam_world[..., :3, 2]


def image_scale(pose2d: Float[Tensor, "*batch joints 2"]) -> Float[Tensor, "*batch"]:
    """Frobenius norm of each 2D pose about its mean joint, in the unit of the coordinates.

    Grows with the number of joints: compare poses of one skeleton only.
    """
    return (pose2d - pose2d.mean(dim=-2, keepdim=True)).flatten(-2).norm(dim=-1)


def image_extent(pose2d: Float[Tensor, "*batch joints 2"]) -> Float[Tensor, "*batch"]:
    """Larger side of the box around each 2D pose; 2 fills the image in normalised coordinates."""
    return (pose2d.amax(dim=-2) - pose2d.amin(dim=-2)).amax(dim=-1)


def camera_distribution(
    pose3d_cam: Float[Tensor, "*batch joints 3"],
    pose2d: Float[Tensor, "*batch joints_2d 2"],
    skeleton: Skeleton,
    up_cam: Float[Tensor, "*#batch 3"] | None = None,
) -> dict[str, Float[Tensor, "*batch"]]:
    """What a report shows of a domain's cameras, by name and unit, for absolute poses.

    azimuth_deg, elevation_deg, roll_deg, depth_m of the root, and image_scale.
    """
    view = viewpoint(pose3d_cam, skeleton, up_cam)
    return {
        "azimuth_deg": torch.rad2deg(view.azimuth_rad),
        "elevation_deg": torch.rad2deg(view.elevation_rad),
        "roll_deg": torch.rad2deg(view.roll_rad),
        "depth_m": pose3d_cam[..., skeleton.root, 2],
        "image_scale": image_scale(pose2d),
    }


def _unit(vector: Tensor) -> Tensor:
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > UNDEFINED_BELOW, vector / length, torch.nan)


def _angle(opposite: Tensor, adjacent: Tensor) -> Tensor:
    """atan2, but NaN where both are as good as 0."""
    defined = torch.hypot(opposite, adjacent) > UNDEFINED_BELOW
    return torch.where(defined, torch.atan2(opposite, adjacent), torch.nan)
