"""The camera's elevation, learned: ElePose (Wandt et al., CVPR 2022) beside PoseNet3D's teacher.

Each window gets an elevation. Random views undo it first, so that they turn about the true
vertical, and take new elevations from the distribution that the batch shows, not from a range.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.posenet import ResidualBlock, linear
from adaptpose.posenet_config import PoseNetConfig, ViewRange
from adaptpose.posenet_geometry import draw_views

LIMIT_RAD = math.pi / 3
"""No elevation is predicted beyond this."""

_EPS = 1e-8


class ElevationHead(nn.Module):
    """One residual block, then the elevation of a window; it starts near 0 at every window."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.block = ResidualBlock(config.channels, config.dropout)
        self.out = linear(config.channels, 1)

    def forward(self, features: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch"]:
        """Elevation (rad), positive where the camera looks down, within `LIMIT_RAD`."""
        angle = self.out(self.block(features))[:, 0]
        return LIMIT_RAD * torch.tanh(angle / LIMIT_RAD)


def draw_elevations(
    predicted: Float[Tensor, "batch"], generator: torch.Generator
) -> Float[Tensor, "batch"]:
    """Elevations from the normal distribution with mean and spread of those predicted.

    Differentiable in both: views that look wrong correct the predicted distribution.
    """
    noise = torch.randn(
        predicted.shape, generator=generator, device=predicted.device, dtype=predicted.dtype
    )
    mean = predicted.mean()
    # A batch of one, or of equal elevations, has no spread; its gradient stays finite.
    spread = ((predicted - mean).square().mean() + _EPS).sqrt()
    return mean + spread * noise


def draw_levelled_views(
    predicted: Float[Tensor, "batch"], views: ViewRange, generator: torch.Generator
) -> Float[Tensor, "batch 3 3"]:
    """Q of eq. 1: out of the predicted elevation, about the vertical, to a drawn elevation.

    Azimuth and roll come from the range, whose elevations are not used.
    """
    drawn = draw_elevations(predicted, generator)
    return draw_views(len(predicted), views, generator, drawn, predicted)
