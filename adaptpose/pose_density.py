"""A density of 2D poses: how likely is a projected pose among the target's.

ElePose's (Wandt et al., CVPR 2022) instead of a discriminator: principal components of centred
2D, and on them a small RealNVP flow (Dinh et al., ICLR 2017). What the components leave
out counts as Gaussian with one variance (Tipping & Bishop 1999). Poses are those of
`normalise_windows`; each frame is judged alone.
"""

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.config_values import check_config
from adaptpose.errors import DataError, expected_message
from adaptpose.posenet import initialise, linear
from adaptpose.posenet_config import DensityConfig
from adaptpose.posenet_geometry import JOINTS

_NUMBERS = 2 * len(JOINTS)

_FREE = _NUMBERS - 2
"""Free numbers of a pose: the middle of its hips is the origin."""

_LEAST_VARIANCE = 1e-4
"""Variances count as at least this share of the mean one: clean poses may have none left."""

_MAX_LOG_SCALE = 2.0
"""Bound of the log of one coupling layer's scales."""


class Coupling(nn.Module):
    """Scales and shifts half of the numbers by what the other half says."""

    def __init__(self, mask: Float[Tensor, "numbers"], hidden: int) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        size = len(mask)
        self.net = nn.Sequential(
            linear(size, hidden), nn.LeakyReLU(0.01),
            linear(hidden, hidden), nn.LeakyReLU(0.01),
            linear(hidden, 2 * size),
        )  # fmt: skip

    def forward(
        self, x: Float[Tensor, "batch numbers"]
    ) -> tuple[Float[Tensor, "batch numbers"], Float[Tensor, "batch"]]:
        """The numbers towards a normal distribution, and the log of the volume's change."""
        mask = self.get_buffer("mask")
        scale, shift = self.net(x * mask).chunk(2, dim=1)
        log = _MAX_LOG_SCALE * torch.tanh(scale / _MAX_LOG_SCALE) * (1 - mask)
        return x * log.exp() + shift * (1 - mask), log.sum(dim=1)


class PoseDensity(nn.Module):
    """The density; `fit_density` makes a fitted one."""

    def __init__(self, config: DensityConfig) -> None:
        super().__init__()
        self.config = config
        size = config.components
        self.register_buffer("mean", torch.zeros(_NUMBERS))
        self.register_buffer("axes", torch.zeros(_NUMBERS, size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("rest_spread", torch.ones(()))
        alternate = torch.arange(size) % 2
        masks = [(alternate == layer % 2).float() for layer in range(config.layers)]
        self.layers = nn.ModuleList(Coupling(mask, config.hidden) for mask in masks)

    def log_likelihood(self, pose2d: Float[Tensor, "*batch 14 2"]) -> Float[Tensor, "*batch"]:
        """Log density of each pose over its 26 free numbers; differentiable."""
        flat = pose2d.reshape(-1, _NUMBERS) - self.get_buffer("mean")
        axes, spread = self.get_buffer("axes"), self.get_buffer("spread")
        inside = flat @ axes
        x = inside / spread
        log = -spread.log().sum() - self._rest(flat - inside @ axes.T)
        for layer in self.layers:
            x, change = layer(x)
            log = log + change
        normal = 0.5 * (x.square().sum(dim=1) + self.config.components * math.log(2 * math.pi))
        return (log - normal).view(pose2d.shape[:-2])

    def _rest(self, outside: Tensor) -> Tensor:
        """Minus the log density of what the components leave out."""
        spread, count = self.get_buffer("rest_spread"), _FREE - self.config.components
        constant = count * (spread.log() + 0.5 * math.log(2 * math.pi))
        return 0.5 * (outside / spread).square().sum(dim=1) + constant


def start_density(
    poses: Float[Tensor, "count 14 2"], config: DensityConfig, generator: torch.Generator
) -> PoseDensity:
    """Principal components and a flow that changes nothing yet: a Gaussian.

    On the device of the poses. ConfigError for impossible settings; DataError without enough
    different poses.
    """
    check_config(config)
    if len(poses) <= config.components:
        expected = f"more than {config.components} poses"
        raise DataError(expected_message("a density of 2D poses", expected, f"{len(poses)}"))
    density = PoseDensity(config)
    flat = poses.detach().flatten(1).double()
    mean = flat.mean(dim=0)
    _, sizes, axes = torch.linalg.svd(flat - mean, full_matrices=False)
    variance = torch.zeros(_NUMBERS).to(sizes)
    variance[: len(sizes)] = sizes.square() / len(poses)
    least = _LEAST_VARIANCE * variance.mean()
    if not least > 0:
        raise DataError(expected_message("a density of 2D poses", "poses that differ", "one pose"))
    kept = config.components
    density.get_buffer("mean").copy_(mean)
    density.get_buffer("axes").copy_(axes[:kept].T)
    density.get_buffer("spread").copy_(variance[:kept].clamp_min(least).sqrt())
    rest = variance[kept:].sum() / max(1, _FREE - kept)
    density.get_buffer("rest_spread").copy_(rest.clamp_min(least).sqrt())
    initialise(density, generator)
    for layer in density.layers:
        last = cast(nn.Linear, cast(Coupling, layer).net[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return density.to(poses.device)


def fit_density(
    poses: Float[Tensor, "count 14 2"], config: DensityConfig, generator: torch.Generator
) -> PoseDensity:
    """A density fitted to poses by maximum likelihood, frozen; errors as `start_density`.

    Weights and batches are drawn from the generator, which lives on the CPU.
    """
    density = start_density(poses, config, generator)
    if config.steps and config.layers:
        optimiser = torch.optim.Adam(density.parameters(), lr=config.learning_rate)
        for _ in range(config.steps):
            rows = torch.randint(len(poses), (config.batch_size,), generator=generator)
            loss = -density.log_likelihood(poses[rows.to(poses.device)].detach()).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(density.parameters(), 10.0)
            optimiser.step()
    return density.requires_grad_(False).eval()
