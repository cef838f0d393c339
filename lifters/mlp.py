"""The single-frame lifter SimpleBaseline (Martinez et al., ICCV 2017).

A layer into 1024 channels, two residual blocks of two layers each, a layer out; every inner layer
is followed by batch norm, ReLU and dropout (published: 0.5; here the configured one).
"""

from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.config import LifterConfig
from adaptpose.lifter import Lifter, SeededDropout
from adaptpose.lifters.layers import FrameFilter, activate, check_input, describe, insert_root
from adaptpose.skeleton import Skeleton

_INNER_LAYERS = 4
"""Two residual blocks of two layers."""


class ResidualLifter(Lifter):
    """SimpleBaseline; of the configuration it uses channels, dropout and predict_root."""

    def __init__(self, config: LifterConfig, skeleton_in: Skeleton, skeleton_out: Skeleton) -> None:
        super().__init__()
        self.config, self.skeleton_in, self.skeleton_out = config, skeleton_in, skeleton_out
        self.receptive_field, self.frames_before, self.frames_after = 1, 0, 0
        channels = config.channels
        self.expand = FrameFilter(2 * skeleton_in.num_joints, channels, bias=True)
        self.expand_bn = nn.BatchNorm1d(channels)
        inner = range(_INNER_LAYERS)
        self.layers = nn.ModuleList(FrameFilter(channels, channels, bias=True) for _ in inner)
        self.layers_bn = nn.ModuleList(nn.BatchNorm1d(channels) for _ in inner)
        predicted = skeleton_out.num_joints - (0 if config.predict_root else 1)
        self.shrink = FrameFilter(channels, 3 * predicted, bias=True)
        self.drop = SeededDropout(config.dropout)

    def spec(self) -> dict[str, Any]:
        """Configuration and skeletons as plain data."""
        return describe(self.config, self.skeleton_in, self.skeleton_out)

    def forward(
        self, pose2d: Float[Tensor, "batch frames joints_in 2"]
    ) -> Float[Tensor, "batch frames joints_out 3"]:
        """The pose of every frame, from that frame alone."""
        check_input(self, pose2d)
        x = activate(self.expand.strided(pose2d.flatten(2)), self.expand_bn, self.drop)
        for first in range(0, _INNER_LAYERS, 2):
            y = x
            for number in (first, first + 1):
                norm = cast(nn.BatchNorm1d, self.layers_bn[number])
                y = activate(cast(FrameFilter, self.layers[number]).strided(y), norm, self.drop)
            x = x + y
        joints = self.shrink.strided(x).unflatten(-1, (-1, 3))
        return joints if self.config.predict_root else insert_root(joints, self.skeleton_out.root)
