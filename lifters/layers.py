"""Layers of the lifters: matrices over neighbouring frames, and what stands between them.

A filter over k frames is stored as one matrix (outputs, k x inputs), frame by frame, so that both
uses of it are plain matrix products: windows side by side (strided, for training) and windows that
overlap (dilated, for inference).
"""

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from adaptpose.config import LifterConfig, config_to_dict
from adaptpose.errors import DataError, SkeletonError, expected_message
from adaptpose.lifter import Lifter, SeededDropout
from adaptpose.skeleton import Skeleton


class FrameFilter(nn.Module):
    """A linear filter over `width` frames of `inputs` numbers, giving `outputs` numbers.

    Made with zeros; `initialise` or a checkpoint fills it.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width
        self.weight = nn.Parameter(torch.zeros(outputs, width * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def strided(
        self, x: Float[Tensor, "batch frames inputs"]
    ) -> Float[Tensor, "batch groups outputs"]:
        """The filter on consecutive groups of `width` frames; frames must be a multiple of it."""
        groups = x.shape[1] // self.width
        return functional.linear(x.reshape(x.shape[0], groups, -1), self.weight, self.bias)

    def dilated(
        self, x: Float[Tensor, "batch frames inputs"], dilation: int
    ) -> Float[Tensor, "batch outputs_in_time outputs"]:
        """The filter at every frame, on frames `dilation` apart; no padding."""
        count = x.shape[1] - (self.width - 1) * dilation
        taps = [x[:, k * dilation : k * dilation + count] for k in range(self.width)]
        return functional.linear(torch.cat(taps, dim=-1), self.weight, self.bias)

    def pair_taps(self) -> list[Float[Tensor, "outputs inputs"]]:
        """The four matrices from which `dilated_in_pairs` makes two outputs of a 3-frame filter."""
        first, middle, last = self.weight.split(self.inputs, dim=1)
        outer = first + last
        return [first, (outer + middle) / 2, (outer - middle) / 2, last]

    def dilated_in_pairs(
        self,
        x: Float[Tensor, "batch frames inputs"],
        dilation: int,
        taps: list[Float[Tensor, "outputs inputs"]],
    ) -> Float[Tensor, "batch outputs_in_time outputs"]:
        """What `dilated` gives for a 3-frame filter without bias, in two thirds of the products.

        Outputs `dilation` apart share four products where they took six: minimal filtering
        F(2, 3) (Winograd 1980). Agrees with `dilated` to rounding.
        """
        count = x.shape[1] - 2 * dilation
        pairs = math.ceil(count / (2 * dilation))
        x = functional.pad(x, (0, 0, 0, (2 * pairs + 2) * dilation - x.shape[1]))
        steps = x.unflatten(1, (2 * pairs + 2, dilation))
        a, b, c, d = (steps[:, k : k + 2 * pairs : 2] for k in range(4))
        mixed = (a - c, b + c, c - b, b - d)
        p, q, r, s = (functional.linear(m, tap) for m, tap in zip(mixed, taps, strict=True))
        both = torch.stack([p.add_(q).add_(r), q.sub_(r).sub_(s)], dim=2)
        return both.flatten(1, 3)[:, :count]


def activate(x: Tensor, norm: nn.BatchNorm1d, dropout: SeededDropout) -> Tensor:
    """Batch norm, ReLU and dropout over the last axis of (batch, frames, channels)."""
    rows = norm(x.flatten(0, 1))
    return dropout(functional.relu_(rows)).unflatten(0, x.shape[:2])


def initialise(lifter: Lifter, generator: torch.Generator) -> None:
    """Draw the filters from the generator alone, distributed as torch's own layers start.

    Weights and biases are uniform within 1 / sqrt(inputs of one output); batch norms start as the
    identity.
    """
    with torch.no_grad():
        for layer in lifter.modules():
            if isinstance(layer, FrameFilter):
                bound = 1 / math.sqrt(layer.weight.shape[1])
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)


def insert_root(
    joints: Float[Tensor, "*batch others 3"], root: int
) -> Float[Tensor, "*batch joints 3"]:
    """Root-relative poses from all joints but the root: zeros put in at its place."""
    zero = torch.zeros_like(joints[..., :1, :])
    return torch.cat([joints[..., :root, :], zero, joints[..., root:, :]], dim=-2)


def describe(config: LifterConfig, skeleton_in: Skeleton, skeleton_out: Skeleton) -> dict[str, Any]:
    """Plain data from which a lifter's architecture can be made again."""
    return {
        "config": config_to_dict(config),
        "skeleton_in": dataclasses.asdict(skeleton_in),
        "skeleton_out": dataclasses.asdict(skeleton_out),
    }


def check_input(lifter: Lifter, pose2d: Float[Tensor, "batch frames joints 2"]) -> None:
    """Raise if 2D has another skeleton's joints, or fewer frames than the receptive field."""
    frames, joints = pose2d.shape[1:3]
    skeleton = lifter.skeleton_in
    if joints != skeleton.num_joints:
        wanted = f"{skeleton.num_joints} joints of '{skeleton.name}'"
        raise SkeletonError(expected_message("2D for the lifter", wanted, f"{joints} joints"))
    if frames < lifter.receptive_field:
        wanted = f"at least {lifter.receptive_field} frames (the receptive field)"
        fix = "pad by repeating the first and last frame"
        raise DataError(expected_message("2D for the lifter", wanted, f"{frames} frames", fix))
