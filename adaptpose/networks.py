"""Building blocks of generator and discriminators, initialised from a given generator alone."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SLOPE = 0.01
"""Negative slope of every LeakyReLU [PA]."""


BOUND = 5.0
"""Spreads from the mean that a standardised feature can reach."""


class Trunk(nn.Module):
    """Linear + batch norm + LeakyReLU, five times, without skip connections [PA, APc]."""

    def __init__(self, inputs: int, hidden: int, depth: int = 5) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * depth]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [
                nn.Linear(size_in, size_out),
                nn.BatchNorm1d(size_out),
                nn.LeakyReLU(SLOPE, True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch hidden"]:
        """Features of each row."""
        return self.layers(x)


class SkipBranch(nn.Module):
    """Three hidden layers, the first added to the third, then a linear layer [PA, APc].

    As many separate branches side by side as `inputs` has sizes.
    """

    def __init__(self, inputs: Sequence[int], hidden: int, outputs: int) -> None:
        super().__init__()
        groups, rest = len(inputs), [(hidden, hidden), (hidden, hidden), (hidden, outputs)]
        self.first_weights = nn.ParameterList(torch.empty(size, hidden) for size in inputs)
        self.weights = nn.ParameterList(torch.empty(groups, *size) for size in rest)
        sizes = (hidden, *(out for _, out in rest))
        self.biases = nn.ParameterList(torch.empty(groups, 1, out) for out in sizes)

    def forward(
        self, inputs: Sequence[Float[Tensor, "batch _"]]
    ) -> Float[Tensor, "groups batch outputs"]:
        """Outputs of each branch for each row of its own input."""
        pairs = zip(self.biases[0], inputs, self.first_weights, strict=True)
        first = torch.stack([torch.addmm(bias, x, weight) for bias, x, weight in pairs])
        first = nn.functional.leaky_relu_(first, SLOPE)
        second = nn.functional.leaky_relu_(self._layer(1, first), SLOPE)
        third = nn.functional.leaky_relu_(self._layer(2, second).add_(first), SLOPE)
        return self._layer(3, third)

    def _layer(self, number: int, x: Tensor) -> Tensor:
        return torch.baddbmm(self.biases[number], x, self.weights[number - 1])


class Standardise(nn.Module):
    """Features shifted and scaled by fixed statistics of real data, and softly bounded.

    KCS entries of normalised 2D are of the order 0.01; raw, they would hardly reach a layer. A
    generated person just in front of the camera has entries a thousand spreads away; unbounded,
    one such window outweighs its batch.
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
        """Standardised features within +-BOUND spreads, nearly linear up to half of that."""
        gain = 1 / (BOUND * self.scale)
        return _SoftBound.apply(x, gain, -self.mean * gain)  # type: ignore[return-value]


class _SoftBound(torch.autograd.Function):
    """BOUND tanh(x gain + offset), features in the last axis, with one tensor kept for later."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        # tanh z = 2 sigmoid(2 z) - 1, which a CPU has in a sixth of the time.
        result = x.mul(2 * gain).add_(2 * offset).sigmoid_().mul_(2 * BOUND).sub_(BOUND)
        ctx.save_for_backward(result, gain)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        result, gain = ctx.saved_tensors
        slope = result.square().mul_(-1 / BOUND).add_(BOUND).mul_(gain)
        return slope.mul_(grad), None, None


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight of the module from the generator: Kaiming normal, biases 0 [PA].

    torch's own constructors draw from its global generator; this overwrites what they drew.
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            _kaiming(child.weight, child.weight.shape[1], generator)
            nn.init.zeros_(child.bias)
        elif isinstance(child, SkipBranch):
            for weight in (*child.first_weights, *child.weights):
                _kaiming(weight, weight.shape[-2], generator)
            for bias in child.biases:
                nn.init.zeros_(bias)


def _kaiming(weight: Tensor, fan_in: int, generator: torch.Generator) -> None:
    spread = math.sqrt(2 / ((1 + SLOPE**2) * fan_in))
    drawn = torch.randn(weight.shape, generator=generator, device=generator.device) * spread
    with torch.no_grad():
        weight.copy_(drawn)
