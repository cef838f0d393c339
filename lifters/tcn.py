"""The temporal convolutional lifter of VideoPose3D (Pavllo et al., CVPR 2019).

2D of a window passes a filter over the first width of frames, then one residual block per further
width: a filter over that many frames, a filter over one frame, added to the block's middle frame
(its last one if causal). Widths multiply to the receptive field. One set of weights is used in two
ways that agree: dilated over whole clips, and strided over single windows, which leaves out
everything a single output does not need.
"""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.config import LifterConfig
from adaptpose.errors import DataError, expected_message
from adaptpose.lifter import Lifter, SeededDropout
from adaptpose.lifters.layers import FrameFilter, activate, check_input, describe, insert_root
from adaptpose.skeleton import Skeleton

_BLOCK_NUMBERS = 2**20
"""Activations of one layer kept at a time at inference: small enough for a processor's cache."""

_PAIRED_FRAMES = 256
"""Frames from which on the cheaper products are worth the preparation of their matrices."""


class TemporalLifter(Lifter):
    """VideoPose3D's temporal model; parameters are named and counted as there.

    Without `config.predict_root` the root is fixed at 0 and J - 1 joints are predicted (AdaptPose);
    with it the root is a free output (VideoPose3D).
    """

    def __init__(self, config: LifterConfig, skeleton_in: Skeleton, skeleton_out: Skeleton) -> None:
        super().__init__()
        self.config, self.skeleton_in, self.skeleton_out = config, skeleton_in, skeleton_out
        self.receptive_field = math.prod(config.widths)
        context = self.receptive_field - 1
        self.frames_before = context if config.causal else context // 2
        self.frames_after = context - self.frames_before
        channels, first, *rest = config.channels, *config.widths
        self.expand_conv = FrameFilter(2 * skeleton_in.num_joints, channels, first)
        self.expand_bn = nn.BatchNorm1d(channels)
        widths = [width for block in rest for width in (block, 1)]
        self.layers_conv = nn.ModuleList(FrameFilter(channels, channels, w) for w in widths)
        self.layers_bn = nn.ModuleList(nn.BatchNorm1d(channels) for _ in widths)
        predicted = skeleton_out.num_joints - (0 if config.predict_root else 1)
        self.shrink = FrameFilter(channels, 3 * predicted, bias=True)
        self.drop = SeededDropout(config.dropout)

    def spec(self) -> dict[str, Any]:
        """Configuration and skeletons as plain data."""
        return describe(self.config, self.skeleton_in, self.skeleton_out)

    def forward(
        self, pose2d: Float[Tensor, "batch frames joints_in 2"]
    ) -> Float[Tensor, "batch outputs joints_out 3"]:
        """Poses for every frame that has its whole context; DataError for too short clips.

        In evaluation mode and without gradients, a single window takes the strided path, and a
        CPU does long clips in blocks that fit its cache.
        """
        check_input(self, pose2d)
        x = pose2d.flatten(2)
        if self.training or torch.is_grad_enabled():
            return self._to_pose(self._dilated(x))
        if x.shape[1] == self.receptive_field:
            return self._to_pose(self._strided(x))
        if x.device.type != "cpu":
            return self._to_pose(self._dilated(x))
        return self._to_pose(self._dilated_in_blocks(x))

    def lift_window(
        self, pose2d: Float[Tensor, "batch window joints_in 2"]
    ) -> Float[Tensor, "batch joints_out 3"]:
        """The pose of one frame per window; DataError unless windows are `receptive_field` long."""
        check_input(self, pose2d)
        if pose2d.shape[1] != self.receptive_field:
            frames = f"{self.receptive_field} frames"
            raise DataError(expected_message("a window", frames, f"{pose2d.shape[1]} frames"))
        return self._to_pose(self._strided(pose2d.flatten(2)))[:, 0]

    def _dilated_in_blocks(self, x: Tensor) -> Tensor:
        outputs = x.shape[1] - self.receptive_field + 1
        length = max(1, _BLOCK_NUMBERS // self.config.channels)
        size = length + self.receptive_field - 1
        pairs = self._pair_taps() if outputs * len(x) >= _PAIRED_FRAMES else {}
        blocks = []
        for clips in x.split(max(1, length // outputs)):
            starts = range(0, outputs, length)
            blocks.append(
                torch.cat([self._dilated(clips[:, s : s + size], pairs) for s in starts], 1)
            )
        return torch.cat(blocks)

    def _dilated(self, x: Tensor, pairs: dict[int, list[Tensor]] | None = None) -> Tensor:
        x = activate(self.expand_conv.dilated(x, 1), self.expand_bn, self.drop)
        dilation = self.config.widths[0]
        for block, width in enumerate(self.config.widths[1:]):
            first, second = self._filter(2 * block), self._filter(2 * block + 1)
            if pairs and 2 * block in pairs:
                y = first.dilated_in_pairs(x, dilation, pairs[2 * block])
            else:
                y = first.dilated(x, dilation)
            y = activate(y, self._norm(2 * block), self.drop)
            y = activate(second.dilated(y, 1), self._norm(2 * block + 1), self.drop)
            start = self._kept_frame(width) * dilation
            x = x[:, start : start + y.shape[1]] + y
            dilation *= width
        return self.shrink.dilated(x, 1)

    def _pair_taps(self) -> dict[int, list[Tensor]]:
        filters = {n: self._filter(n) for n in range(0, len(self.layers_conv), 2)}
        return {n: layer.pair_taps() for n, layer in filters.items() if layer.width == 3}

    def _strided(self, x: Tensor) -> Tensor:
        x = activate(self.expand_conv.strided(x), self.expand_bn, self.drop)
        for block, width in enumerate(self.config.widths[1:]):
            kept = x.unflatten(1, (-1, width))[:, :, self._kept_frame(width)]
            for number in (2 * block, 2 * block + 1):
                x = activate(self._filter(number).strided(x), self._norm(number), self.drop)
            x = kept + x
        return self.shrink.strided(x)

    def _filter(self, number: int) -> FrameFilter:
        return cast(FrameFilter, self.layers_conv[number])

    def _norm(self, number: int) -> nn.BatchNorm1d:
        return cast(nn.BatchNorm1d, self.layers_bn[number])

    def _kept_frame(self, width: int) -> int:
        """Which of a block's frames its output stands for."""
        return width - 1 if self.config.causal else width // 2

    def _to_pose(self, numbers: Tensor) -> Tensor:
        joints = numbers.unflatten(-1, (-1, 3))
        if self.config.predict_root:
            return joints
        return insert_root(joints, self.skeleton_out.root)
