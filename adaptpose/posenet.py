"""Networks of PoseNet3D (Tripathi et al., 3DV 2020, section 4.1).

The backbone turns a window into one feature vector. Its filter over 3 frames, then over 3 frames 3
apart, sees 9 frames and leaves one, so it runs as VideoPose3D's strided model: groups of frames
side by side, no padding. Of the last filter, 3 wide in the paper, only the middle tap would
meet a frame; it is made 1 wide.
"""

import math
from typing import NamedTuple, cast

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from adaptpose.errors import DataError, expected_message
from adaptpose.lifter import SeededDropout
from adaptpose.posenet_config import PoseNetConfig
from adaptpose.posenet_geometry import JOINTS, to_points

_STUDENT_BLOCKS = 4

_START = 0.01
"""Share of the usual size at which the student's last weights start: near the rest pose."""

_DAMPING = 0.05
"""Gradients of an orthonormalisation stay below 1 / (2 * this), however small its input."""


class Block(nn.Module):
    """A linear layer, batch norm if wanted, ReLU, dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float, norm: bool = True) -> None:
        super().__init__()
        self.linear = linear(inputs, outputs, bias=not norm)
        self.norm = nn.BatchNorm1d(outputs) if norm else None
        self.drop = SeededDropout(dropout)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layer on every row."""
        x = self.linear(x)
        if self.norm is not None:
            x = self.norm(x.flatten(0, -2)).view_as(x)
        return self.drop(functional.relu(x))


class ResidualBlock(nn.Module):
    """Two blocks, added to their input."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(channels, channels, dropout) for _ in range(2)))

    def forward(self, x: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch channels"]:
        """Input plus what the blocks make of it."""
        return x + self.blocks(x)


class Backbone(nn.Module):
    """Temporal features: a filter over frames, then a residual block over the groups of frames.

    Input is multiplied by c, which makes a body about 1 in size: a matter of the start alone.
    """

    def __init__(self, config: PoseNetConfig, norm: bool = True) -> None:
        super().__init__()
        self.config = config
        first, second = config.widths
        size, dropout = config.channels, config.dropout
        self.expand = Block(first * 2 * len(JOINTS), size, dropout, norm)
        self.over_groups = Block(second * size, size, dropout, norm)
        self.last = Block(size, size, dropout, norm)

    def forward(
        self, windows: Float[Tensor, "batch frames 14 2"]
    ) -> Float[Tensor, "batch channels"]:
        """One feature vector per normalised window; DataError unless windows have T frames."""
        config = self.config
        if windows.shape[1] != config.frames:
            frames = f"{config.frames} frames"
            got = f"{windows.shape[1]} frames"
            raise DataError(expected_message("a window for PoseNet3D", frames, got))
        groups = (windows * config.distance).flatten(2).unflatten(1, config.widths[::-1])
        x = self.expand(groups.flatten(2))
        return x[:, config.widths[1] // 2] + self.last(self.over_groups(x.flatten(1)))


class TeacherHead(nn.Module):
    """One residual block, then the depth offset of every joint in every frame."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.frames = config.frames
        self.block = ResidualBlock(config.channels, config.dropout)
        self.out = linear(config.channels, config.frames * len(JOINTS))

    def forward(
        self, features: Float[Tensor, "batch channels"]
    ) -> Float[Tensor, "batch frames 14"]:
        """Offsets o from depth c, in the unit of c."""
        return self.out(self.block(features)).unflatten(1, (self.frames, -1))


class BodyPose(NamedTuple):
    """What the student predicts: shape coefficients and rotations of joints per frame."""

    betas: Float[Tensor, "batch shapes"]
    rotations: Float[Tensor, "batch frames body_joints 3 3"]


class StudentHead(nn.Module):
    """Four residual blocks, then 10 shape coefficients and 9 K T rotation entries."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.config = config
        size = config.channels
        blocks = (ResidualBlock(size, config.dropout) for _ in range(_STUDENT_BLOCKS))
        self.blocks = nn.Sequential(*blocks)
        self.out = linear(size, config.shapes + 9 * config.body_joints * config.frames)

    def forward(self, features: Float[Tensor, "batch channels"]) -> BodyPose:
        """Shape, shared over the window, and rotations, orthonormalised."""
        config = self.config
        numbers = self.out(self.blocks(features))
        entries = numbers[:, config.shapes :]
        entries = entries.unflatten(1, (config.frames, config.body_joints, 3, 3))
        return BodyPose(numbers[:, : config.shapes], orthonormalise(entries))

    def start_at_rest(self) -> None:
        """Make the first predictions lie near the mean shape and near identity rotations."""
        with torch.no_grad():
            self.out.weight.mul_(_START)
            self.out.bias.zero_()
            rotations = self.out.bias[self.config.shapes :].view(-1, 3, 3)
            rotations.copy_(torch.eye(3).expand_as(rotations))


class TemporalDiscriminator(nn.Module):
    """The backbone without batch norm, and one logit: real windows are positive."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.frames = config.frames
        self.backbone = Backbone(config, norm=False)
        self.out = linear(config.channels, 1)

    def forward(self, windows: Float[Tensor, "batch frames 14 2"]) -> Float[Tensor, "batch"]:
        """Logits of normalised windows."""
        return self.out(self.backbone(windows))[:, 0]


class Teacher(nn.Module):
    """Backbone and teacher branch: G_T of eq. 2."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.head = TeacherHead(config)

    def forward(
        self, windows: Float[Tensor, "batch frames 14 2"]
    ) -> Float[Tensor, "batch frames 14 3"]:
        """3D of every frame of normalised windows, in camera axes, about c units away."""
        return self.points(windows, self.backbone(windows))

    def points(
        self,
        windows: Float[Tensor, "batch frames 14 2"],
        features: Float[Tensor, "batch channels"],
    ) -> Float[Tensor, "batch frames 14 3"]:
        """`forward` from features of the backbone, which the student needs too."""
        return to_points(windows, self.head(features), self.config.distance, self.config.nearest)


def orthonormalise(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The nearest rotation of each matrix, always in SO(3), with bounded gradients.

    Special orthogonal Procrustes. Its gradient, which grows as the matrix gets singular or
    reflected, is damped there (`_DAMPING`); elsewhere it is exact to a few parts in a thousand.
    """
    return cast(Tensor, roma.special_procrustes(matrices, gradient_eps=_DAMPING))


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer of zeros, for `initialise` or a file to fill."""
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias))
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all linear layers from the generator alone, uniform within 1 / sqrt(inputs).

    A student starts near the rest pose.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                for parameter in layer.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)
    for layer in module.modules():
        if isinstance(layer, StudentHead):
            layer.start_at_rest()


def set_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Give every dropout of a network the generator its masks are drawn from."""
    for layer in module.modules():
        if isinstance(layer, SeededDropout):
            layer.generator = generator
