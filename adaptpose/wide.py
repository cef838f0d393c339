"""Wide augmentation: source windows with changed bodies, filmed from anywhere.

Target-free, and so the baseline of all adaptation: a method that does not beat it has not adapted.
Bodies change as in `adaptpose.body_changes`; cameras stand all around the person, from below the
hips to high above, and the person anywhere in the image at any plausible size.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.augment_config import WideConfig
from adaptpose.body_changes import change_points
from adaptpose.config_values import check_config
from adaptpose.shots import (
    CutWindows,
    FilmedWindows,
    Shots,
    SourceFilmer,
    as_poses,
    film_points,
    in_view,
)
from adaptpose.windows import LabelledBank


class WideMaker(SourceFilmer):
    """Makes pairs of a source by wide augmentation.

    Windows have `frames_before` and `frames_after` frames around the supervised one, with random
    `strides` at 50 Hz. ConfigError if the config is not possible.
    """

    name = "wide"

    def __init__(
        self,
        bank: LabelledBank,
        frames_before: int,
        frames_after: int,
        strides: tuple[int, int],
        config: WideConfig,
    ) -> None:
        check_config(config)
        self.bank = bank
        self.frames_before = frames_before
        self.frames_after = frames_after
        self.strides = strides
        self.config = config

    @torch.no_grad()
    def film(self, cut: CutWindows, rng: torch.Generator) -> FilmedWindows:
        """The windows with changed bodies, filmed anew."""
        config, middle, skeleton = self.config, self.frames_before, self.bank.skeleton
        points = change_points(cut.points, skeleton, config, rng)
        shots = draw_shots(self._up(cut.frame), config, rng)
        filmed, image = film_points(points, shots, middle, skeleton.root)
        pose2d = as_poses(image)
        pose3d = filmed.permute(3, 2, 0, 1)
        seen = in_view(pose3d, pose2d, middle, config.view_limit, config.nearest_m)
        return FilmedWindows(pose3d, pose2d, shots.focal, seen)

    def _up(self, centre: Tensor) -> Tensor:
        if self.bank.up_cam is not None:
            return self.bank.up_cam[centre]
        up = self.bank.pose3d_cam.new_zeros(*centre.shape, 3)
        up[:, 1] = -1
        return up


def draw_shots(up_cam: Float[Tensor, "batch 3"], config: WideConfig, rng: torch.Generator) -> Shots:
    """Cameras all around people whose up direction, in the axes of their poses, is `up_cam`.

    The azimuth is uniform, so it need not start at the person's front.
    """
    batch, like = len(up_cam), {"device": up_cam.device, "dtype": up_cam.dtype}
    azimuth, height, lens, extent, right, down = torch.rand(6, batch, generator=rng, **like)
    roll = torch.randn(batch, generator=rng, **like) * math.radians(config.roll_sd_deg)
    low, high = (math.radians(angle) for angle in config.elevation_deg)
    view = view_rotation(azimuth * math.tau, low + height * (high - low), roll)
    size = _log_uniform(extent, config.size)
    room = (1 - config.room_share * size).clamp_min(config.least_room)
    return Shots(
        rotation=view @ upright_axes(up_cam),
        place=(torch.stack([right, down], dim=-1) * 2 - 1) * room[:, None],
        rate=size / config.half_height_m,
        focal=_log_uniform(lens, config.focal),
    )


def view_rotation(
    azimuth_rad: Float[Tensor, "*batch"],
    elevation_rad: Float[Tensor, "*batch"],
    roll_rad: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from axes forward, left, up to the ray axes of cameras at the given angles.

    Azimuth and elevation as in `adaptpose.viewpoint`; the camera turns clockwise by the roll, so
    the person leans the other way. Not defined straight above and below.
    """
    ahead, aside = azimuth_rad.cos(), azimuth_rad.sin()
    flat, steep = elevation_rad.cos(), elevation_rad.sin()
    none = torch.zeros_like(ahead)
    forward = torch.stack([-flat * ahead, -flat * aside, -steep], dim=-1)
    right = torch.stack([-aside, ahead, none], dim=-1)
    down = torch.stack([steep * ahead, steep * aside, -flat], dim=-1)
    cos, sin = roll_rad.cos()[..., None], roll_rad.sin()[..., None]
    return torch.stack([cos * right + sin * down, cos * down - sin * right, forward], dim=-2)


def upright_axes(up: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Right-handed axes as rows whose third is the unit vector `up`; the others are any.

    Defined for every direction (Duff et al. 2017, "Building an orthonormal basis, revisited").
    """
    x, y, z = up.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(z)
    a = -1 / (sign + z)
    b = x * y * a
    first = torch.stack([1 + sign * x * x * a, sign * b, -sign * x], dim=-1)
    second = torch.stack([b, sign + y * y * a, -y], dim=-1)
    return torch.stack([first, second, up], dim=-2)


def _log_uniform(uniform: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return low * (high / low) ** uniform
