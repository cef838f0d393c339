"""Pinhole cameras with lens distortion, in pixels or in normalised screen coordinates.

Conventions. Camera axes: x right, y down, z forward; metres. `T_cam_world` maps world coordinates
to camera coordinates and is (4, 4), or (T, 4, 4) for a camera that moves. Image coordinates are
pixels (names end in `_px`) or normalised by the larger side s of the image, so that a portrait
frame stays inside [-1, 1] (AdaptPose section 6; VideoPose3D for landscape frames):
u' = (2u - w) / s, v' = (2v - h) / s.

Two distortion models share five numbers (k1, k2, k3, p1, p2), with x = X/Z, y = Y/Z, r2 = x²+y²
and radial = 1 + k1 r2 + k2 r2² + k3 r2³:
- "h36m" (Human3.6M as VideoPose3D computes it): x_d = x (radial + p1 x + p2 y) + p1 r2,
  y_d = y (radial + p1 x + p2 y) + p2 r2;
- "opencv": x_d = x radial + 2 p1 x y + p2 (r2 + 2 x²), y_d = y radial + p1 (r2 + 2 y²) + 2 p2 x y.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adaptpose.errors import DataError

DistortionModel = Literal["h36m", "opencv"]
MIN_DEPTH = 1e-3
"""Depth in metres at and below which a point counts as behind the camera."""


@dataclass(frozen=True)
class Intrinsics:
    """Focal length, principal point and distortion; one camera, or a batch of them.

    `focal` and `centre` are in the unit of the image coordinates: pixels or normalised.
    """

    focal: Float[Tensor, "*batch 2"]
    centre: Float[Tensor, "*batch 2"]
    distortion: Float[Tensor, "*batch 5"]
    model: DistortionModel = "h36m"

    def to(self, device: torch.device) -> "Intrinsics":
        """The same intrinsics on another device."""
        return replace(
            self,
            focal=self.focal.to(device),
            centre=self.centre.to(device),
            distortion=self.distortion.to(device),
        )

    def select(self, index: Tensor | int | slice) -> "Intrinsics":
        """The intrinsics at an index, indices or a slice of the first batch axis."""
        return replace(
            self,
            focal=self.focal[index],
            centre=self.centre[index],
            distortion=self.distortion[index],
        )


def pinhole(focal: float | int, centre: tuple[float, float] = (0.0, 0.0)) -> Intrinsics:
    """An undistorted camera with square pixels."""
    lengths = torch.tensor([float(focal), float(focal)])
    return Intrinsics(lengths, torch.tensor(centre), torch.zeros(5))


def stack_intrinsics(cameras: list[Intrinsics]) -> Intrinsics:
    """One batched record from single cameras; DataError if their distortion models differ."""
    models: set[DistortionModel] = {camera.model for camera in cameras}
    if len(models) != 1:
        raise DataError(f"cameras of different distortion models cannot be stacked: {models}")
    return Intrinsics(
        torch.stack([c.focal for c in cameras]),
        torch.stack([c.centre for c in cameras]),
        torch.stack([c.distortion for c in cameras]),
        models.pop(),
    )


def screen_scale(image_size_px: tuple[int, int]) -> tuple[float, tuple[float, float]]:
    """(pixels per normalised unit, principal offset in pixels) of an image (width, height)."""
    width, height = image_size_px
    if width <= 0 or height <= 0:
        raise DataError(f"image size must be positive, got {width} x {height}")
    return max(width, height) / 2, (width / 2, height / 2)


def px_to_normalised(
    points_px: Float[Tensor, "*batch 2"], image_size_px: tuple[int, int]
) -> Float[Tensor, "*batch 2"]:
    """Pixels to normalised screen coordinates, by the larger side of the image."""
    scale, offset = screen_scale(image_size_px)
    return (points_px - points_px.new_tensor(offset)) / scale


def normalised_to_px(
    points: Float[Tensor, "*batch 2"], image_size_px: tuple[int, int]
) -> Float[Tensor, "*batch 2"]:
    """Normalised screen coordinates to pixels."""
    scale, offset = screen_scale(image_size_px)
    return points * scale + points.new_tensor(offset)


def intrinsics_to_normalised(
    intrinsics_px: Intrinsics, image_size_px: tuple[int, int]
) -> Intrinsics:
    """Intrinsics in pixels to intrinsics in normalised screen coordinates."""
    scale, _ = screen_scale(image_size_px)
    centre = px_to_normalised(intrinsics_px.centre, image_size_px)
    return replace(intrinsics_px, focal=intrinsics_px.focal / scale, centre=centre)


def intrinsics_to_px(intrinsics: Intrinsics, image_size_px: tuple[int, int]) -> Intrinsics:
    """Intrinsics in normalised screen coordinates to intrinsics in pixels."""
    scale, _ = screen_scale(image_size_px)
    centre = normalised_to_px(intrinsics.centre, image_size_px)
    return replace(intrinsics, focal=intrinsics.focal * scale, centre=centre)


def world_to_camera(
    points_world: Float[Tensor, "*batch joints 3"], T_cam_world: Float[Tensor, "*#batch 4 4"]
) -> Float[Tensor, "*batch joints 3"]:
    """Points from world to camera coordinates; leading axes of the transform broadcast."""
    rotation, shift = T_cam_world[..., :3, :3], T_cam_world[..., None, :3, 3]
    return points_world @ rotation.mT + shift


def camera_to_world(
    points_cam: Float[Tensor, "*batch joints 3"], T_cam_world: Float[Tensor, "*#batch 4 4"]
) -> Float[Tensor, "*batch joints 3"]:
    """Points from camera to world coordinates, for a rigid `T_cam_world`."""
    rotation, shift = T_cam_world[..., :3, :3], T_cam_world[..., None, :3, 3]
    return (points_cam - shift) @ rotation


def in_front(
    points_cam: Float[Tensor, "*batch 3"], min_depth: float = MIN_DEPTH
) -> Bool[Tensor, "*batch"]:
    """Mask of points whose depth (m) is greater than `min_depth`."""
    return points_cam[..., 2] > min_depth


def project(
    points_cam: Float[Tensor, "*batch joints 3"], intrinsics: Intrinsics
) -> Float[Tensor, "*batch joints 2"]:
    """Image coordinates of points in camera coordinates, in the unit of the intrinsics.

    Points at or behind the camera come out as NaN, never as plausible coordinates; ask
    `in_front` for the mask. The batch axes of the intrinsics must broadcast against `*batch`.
    """
    depth = points_cam[..., 2:]
    visible = depth > MIN_DEPTH
    xy = points_cam[..., :2] / torch.where(visible, depth, torch.ones_like(depth))
    image = _to_image(_distort(xy, intrinsics), intrinsics)
    return torch.where(visible, image, torch.full_like(image, torch.nan))


def project_checked(
    points_cam: Float[Tensor, "*batch joints 3"], intrinsics: Intrinsics
) -> Float[Tensor, "*batch joints 2"]:
    """As `project`, but a point at or behind the camera raises DataError with the count."""
    behind = int((~in_front(points_cam)).sum())
    if behind:
        raise DataError(f"{behind} of {points_cam[..., 0].numel()} points are behind the camera")
    return project(points_cam, intrinsics)


def unproject(
    points: Float[Tensor, "*batch joints 2"],
    depth: Float[Tensor, "*batch joints"],
    intrinsics: Intrinsics,
) -> Float[Tensor, "*batch joints 3"]:
    """Points in camera coordinates (m) at the given depth along z under image coordinates."""
    rays = undistort(points, intrinsics)
    return torch.cat([rays * depth[..., None], depth[..., None]], dim=-1)


def undistort(
    points: Float[Tensor, "*batch joints 2"], intrinsics: Intrinsics, iterations: int = 15
) -> Float[Tensor, "*batch joints 2"]:
    """Undistorted X/Z, Y/Z of image coordinates, by fixed-point iteration on the lens model.

    Converges where the distortion is a contraction, which holds inside the image of real lenses;
    round trips are exact to about 1e-6 there.
    """
    distorted = (points - intrinsics.centre[..., None, :]) / intrinsics.focal[..., None, :]
    if not bool(intrinsics.distortion.any()):
        return distorted
    xy = distorted
    for _ in range(iterations):
        xy = xy - (_distort(xy, intrinsics) - distorted)
    return xy


def _to_image(xy: Tensor, intrinsics: Intrinsics) -> Tensor:
    return xy * intrinsics.focal[..., None, :] + intrinsics.centre[..., None, :]


def _distort(xy: Tensor, intrinsics: Intrinsics) -> Tensor:
    k1, k2, k3, p1, p2 = (c[..., None, None] for c in intrinsics.distortion.unbind(-1))
    r2 = (xy * xy).sum(-1, keepdim=True)
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if intrinsics.model == "h36m":
        p = torch.cat([p1, p2], dim=-1)
        return xy * (radial + (xy * p).sum(-1, keepdim=True)) + p * r2
    x, y = xy[..., :1], xy[..., 1:]
    shift_x = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    shift_y = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return xy * radial + torch.cat([shift_x, shift_y], dim=-1)


def look_at(
    eye_world: Float[Tensor, "*batch 3"],
    target_world: Float[Tensor, "*batch 3"],
    roll_rad: Float[Tensor, "*batch"] | float = 0.0,
) -> Float[Tensor, "*batch 4 4"]:
    """`T_cam_world` of a camera at `eye_world` that looks at `target_world`; world z is up.

    Roll turns the camera about its viewing axis (radians). Degenerate straight above or below
    the target: the camera's x axis then falls back to world x.
    """
    forward = torch.nn.functional.normalize(target_world - eye_world, dim=-1)
    up = torch.zeros_like(forward)
    up[..., 2] = 1
    right = torch.linalg.cross(forward, up)
    steep = right.norm(dim=-1, keepdim=True) < 1e-6
    fallback = torch.zeros_like(forward)
    fallback[..., 0] = 1
    right = torch.nn.functional.normalize(torch.where(steep, fallback, right), dim=-1)
    down = torch.linalg.cross(forward, right)
    roll = torch.as_tensor(roll_rad, dtype=forward.dtype, device=forward.device)[..., None]
    x_axis = torch.cos(roll) * right + torch.sin(roll) * down
    y_axis = -torch.sin(roll) * right + torch.cos(roll) * down
    rotation = torch.stack([x_axis, y_axis, forward], dim=-2)
    T_cam_world = torch.zeros(*forward.shape[:-1], 4, 4, dtype=forward.dtype, device=forward.device)
    T_cam_world[..., :3, :3] = rotation
    T_cam_world[..., :3, 3] = -(rotation @ eye_world[..., None])[..., 0]
    T_cam_world[..., 3, 3] = 1
    return T_cam_world
