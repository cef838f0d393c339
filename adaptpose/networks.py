"""Building blocks of generator and discriminators, initialised from a given generator alone."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.01
"""Negative slope of every LeakyReLU [PA]."""


class Trunk(nn.Module):
    """Linear + batch norm + LeakyReLU, five times, without skip connections [PA, APc]."""

    def __init__(self, inputs: int, hidden: int, depth: int = 5) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * depth]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.BatchNorm1d(size_out), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch hidden"]:
        """Features of each row."""
        return self.layers(x)


class SkipBranch(nn.Module):
    """Three hidden layers, the first added to the third, then a linear layer [PA, APc].

    With `groups` > 1, that many separate branches side by side: inputs (groups, B, inputs).
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        sizes = [(inputs, hidden), (hidden, hidden), (hidden, hidden), (hidden, outputs)]
        self.weights = nn.ParameterList(torch.empty(groups, *size) for size in sizes)
        self.biases = nn.ParameterList(torch.empty(groups, 1, out) for _, out in sizes)

    def forward(self, x: Float[Tensor, "groups batch inputs"]) -> Float[Tensor, "groups batch _"]:
        """Outputs of each branch for each row."""
        first = nn.functional.leaky_relu(self._layer(0, x), SLOPE)
        second = nn.functional.leaky_relu(self._layer(1, first), SLOPE)
        third = nn.functional.leaky_relu(self._layer(2, second) + first, SLOPE)
        return self._layer(3, third)

    def _layer(self, number: int, x: Tensor) -> Tensor:
        return torch.baddbmm(self.biases[number], x, self.weights[number])


class Standardise(nn.Module):
    """Shift and scale of features by fixed statistics of real data, set once.

    KCS entries of normalised 2D are of the order 0.01; raw, they would hardly reach a layer.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def set_statistics(self, features: Float[Tensor, "batch size"]) -> None:
        """Take mean and spread of real features; a constant feature keeps scale 1."""
        spread = features.std(dim=0)
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, x: Float[Tensor, "batch size"]) -> Float[Tensor, "batch size"]:
        """Standardised features."""
        return (x - self.mean) / self.scale


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight of the module from the generator: Kaiming normal, biases 0 [PA].

    torch's own constructors draw from its global generator; this overwrites what they drew.
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            _kaiming(child.weight, child.weight.shape[1], generator)
            nn.init.zeros_(child.bias)
        elif isinstance(child, SkipBranch):
            for weight, bias in zip(child.weights, child.biases, strict=True):
                _kaiming(weight, weight.shape[1], generator)
                nn.init.zeros_(bias)


def _kaiming(weight: Tensor, fan_in: int, generator: torch.Generator) -> None:
    spread = math.sqrt(2 / ((1 + SLOPE**2) * fan_in))
    drawn = torch.randn(weight.shape, generator=generator, device=generator.device) * spread
    with torch.no_grad():
        weight.copy_(drawn)
