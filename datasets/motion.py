"""Motion without a camera: what readers of motion capture and the synthetic actor produce.

World coordinates: metres, z up, right-handed. Joints: `H36M_17`. A rig (`datasets.rigs`) films
motions and so turns them into clips.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.errors import DataError, expected_message
from adaptpose.skeleton import H36M_17


@dataclass(frozen=True)
class Motion:
    """One take of one person."""

    subject: str
    action: str
    take: str
    frame_rate_hz: float
    joints_world: Float[Tensor, "frames 17 3"]

    @property
    def name(self) -> str:
        """Subject, action and take in one word."""
        return f"{self.subject}/{self.action}/{self.take}"


def check_motion(motion: Motion, where: str) -> None:
    """Raise DataError if a motion is empty, not finite, or not in metres."""
    thing = f"{where}, motion '{motion.name}'"
    joints = motion.joints_world
    if joints.shape[0] == 0:
        raise DataError(f"{thing}: no frames")
    if not bool(torch.isfinite(joints).all()):
        raise DataError(f"{thing}: NaN or infinite joint positions")
    hip, ankle = H36M_17.id("right_knee"), H36M_17.id("right_ankle")
    shin = float((joints[:, hip] - joints[:, ankle]).norm(dim=-1).median())
    if not 0.2 < shin < 0.7:
        fix = "check the file's unit"
        raise DataError(expected_message(thing, "a shin of 0.2 to 0.7 m", f"{shin:.3g}", fix))


def resample(motion: Motion, frame_rate_hz: float) -> Motion:
    """The motion at another frame rate, by linear interpolation in time between its frames."""
    if motion.frame_rate_hz == frame_rate_hz:
        return motion
    joints = motion.joints_world
    duration = (joints.shape[0] - 1) / motion.frame_rate_hz
    count = int(duration * frame_rate_hz + 1e-6) + 1
    position = torch.arange(count, dtype=torch.float64) * (motion.frame_rate_hz / frame_rate_hz)
    low = position.floor().long().clamp(max=joints.shape[0] - 1)
    high = (low + 1).clamp(max=joints.shape[0] - 1)
    weight = (position - low).to(joints.dtype)[:, None, None]
    resampled = joints[low] * (1 - weight) + joints[high] * weight
    return Motion(motion.subject, motion.action, motion.take, frame_rate_hz, resampled)
