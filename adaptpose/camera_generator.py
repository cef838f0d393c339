"""Camera generation: a rotation about the person and a position (AdaptPose section 4.2).

Probabilistic cameras draw by mu + sigma * noise, so mean and spread both receive gradients; the
released code samples with an operation that passes none to either.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.camera import Intrinsics
from adaptpose.config import GeneratorConfig
from adaptpose.networks import Trunk
from adaptpose.rotations import (
    axis_angle_to_rotmat,
    euler_zyx_to_rotmat,
    quaternion_to_rotmat,
    rotvec_to_rotmat,
)

START_DEPTH = 4.5
"""Root depth (m) that an untrained generator starts at: people are filmed from a few metres."""
START_SPREAD = {"axis_angle": 1.0, "quaternion": 0.3, "euler": 0.5}
"""Spread of the untrained rotation distribution, in the unit of the representation."""
HEAD_GAIN = 0.1
"""Scale of the untrained heads' weights: the first cameras hardly depend on the pose."""
_SIZES = {"axis_angle": 3, "quaternion": 4, "euler": 3}


class CameraGenerator(nn.Module):
    """Rotation R and root position T of eq. 3 from features of a pose and noise."""

    def __init__(self, config: GeneratorConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        self.size = _SIZES[config.rotation]
        self.probabilistic = config.camera == "probabilistic"
        angle = int(config.rotation == "axis_angle" and self.probabilistic)
        outputs = self.size * (2 if self.probabilistic else 1) + angle
        self.rotation_trunk = Trunk(inputs, config.hidden)
        self.rotation_head = nn.Linear(config.hidden, outputs)
        self.position_trunk = Trunk(inputs, config.hidden)
        self.position_head = nn.Linear(config.hidden, 3)

    @property
    def noise_size(self) -> int:
        """Numbers drawn per window for the rotation."""
        return self.size if self.probabilistic else 0

    def set_start(self) -> None:
        """Set the heads so that an untrained camera is a sensible one."""
        with torch.no_grad():
            for head in (self.rotation_head, self.position_head):
                head.weight.mul_(HEAD_GAIN)
            if self.probabilistic:
                spread = slice(self.size, 2 * self.size)
                self.rotation_head.bias[spread] = math.log(START_SPREAD[self.config.rotation])
            if self.config.rotation == "quaternion":
                self.rotation_head.bias[0] = 1
            if self.config.rotation == "axis_angle" and self.probabilistic:
                self.rotation_head.bias[-1] = 0.3
            self.position_head.bias[2] = self._start_depth_raw()

    def forward(
        self,
        features: Float[Tensor, "batch inputs"],
        draw: Float[Tensor, "batch noise"],
        intrinsics: Intrinsics,
    ) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
        """Rotation matrices and root positions (m) before the camera."""
        raw = self.rotation_head(self.rotation_trunk(features))
        rotation = self._rotation(raw, draw)
        return rotation, self._position(
            self.position_head(self.position_trunk(features)), intrinsics
        )

    def distribution(
        self, features: Float[Tensor, "batch inputs"]
    ) -> tuple[Float[Tensor, "batch size"], Float[Tensor, "batch size"]]:
        """Mean and standard deviation of the drawn rotation parameters (probabilistic only)."""
        raw = self.rotation_head(self.rotation_trunk(features))
        return raw[:, : self.size], self._spread(raw)

    def _spread(self, raw: Tensor) -> Tensor:
        return raw[:, self.size : 2 * self.size].clamp(-6, 3).exp()

    def _rotation(self, raw: Tensor, draw: Tensor) -> Tensor:
        sample = raw[:, : self.size]
        if self.probabilistic:
            sample = sample + self._spread(raw) * draw
        if self.config.rotation == "quaternion":
            return quaternion_to_rotmat(sample)
        if self.config.rotation == "euler":
            return euler_zyx_to_rotmat(sample)
        if self.probabilistic:
            return axis_angle_to_rotmat(sample, math.pi * torch.tanh(raw[:, -1]))
        return rotvec_to_rotmat(sample)

    def _position(self, raw: Tensor, intrinsics: Intrinsics) -> Tensor:
        config = self.config
        if config.depth == "softplus":
            depth = config.min_depth + nn.functional.softplus(raw[:, 2:])
        else:
            depth = config.min_depth + raw[:, 2:].square()
        if config.translation == "metric":
            return torch.cat([raw[:, :2], depth], dim=1)
        ray = (torch.tanh(raw[:, :2]) - intrinsics.centre) / intrinsics.focal
        return torch.cat([ray * depth, depth], dim=1)

    def _start_depth_raw(self) -> float:
        above = max(START_DEPTH - self.config.min_depth, 0.1)
        if self.config.depth == "square":
            return math.sqrt(above)
        return above + math.log(-math.expm1(-above))
