"""Settings of PoseNet3D (Tripathi et al., 3DV 2020). Standard library only.

[PN] marks what its paper says (section 4.1); [own] what it leaves open.
"""

import math
from dataclasses import dataclass

from adaptpose.config_values import positive_problems


@dataclass(frozen=True)
class PoseNetConfig:
    """Architecture: temporal backbone, teacher, student and temporal discriminator."""

    widths: tuple[int, int] = (3, 3)
    """Widths of the two temporal filters; their product is T, 9 frames [PN]. (1, 1) is the paper's
    ablation with one frame."""
    channels: int = 1024
    """Width of every hidden layer [PN]."""
    dropout: float = 0.25
    """Dropout probability; the paper does not give it, this is VideoPose3D's."""
    distance: float = 10.0
    """c: depth at which bodies stand, in units of the head-root distance [PN]."""
    nearest: float = 1.0
    """Least depth of a joint: z = max(1, c + o) [PN]."""
    body_joints: int = 24
    """K, joints whose rotations the student predicts: SMPL has 24 [PN]."""
    shapes: int = 10
    """Shape coefficients that the student predicts, one set per window [PN]."""

    @property
    def frames(self) -> int:
        """T, frames of a window."""
        return math.prod(self.widths)

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(
            self, "posenet", "channels", "distance", "nearest", "body_joints", "shapes"
        )
        if any(width < 1 or width % 2 == 0 for width in self.widths):
            found.append(f"posenet.widths: expected odd positive numbers, got {self.widths}")
        if not 0 <= self.dropout < 1:
            found.append(f"posenet.dropout: expected 0 <= p < 1, got {self.dropout}")
        if self.nearest >= self.distance:
            found.append(
                f"posenet.nearest: expected less than the distance {self.distance}, "
                f"got {self.nearest}"
            )
        return found


@dataclass(frozen=True)
class ViewRange:
    """Where the random views of eq. 1 look from; the paper gives no range.

    Full azimuth and 20 degrees of elevation to both sides, as methods that reproject to random
    views commonly take (Chen et al., CVPR 2019).
    """

    azimuth_rad: float = math.pi
    """Azimuth is uniform between minus this and this."""
    elevation_rad: tuple[float, float] = (-math.pi / 9, math.pi / 9)
    """Elevation is uniform between these; positive: the camera looks down from above."""
    roll_rad: float = 0.0
    """Roll about the optical axis is uniform between minus this and this."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = []
        for name in ("azimuth_rad", "roll_rad"):
            if not 0 <= getattr(self, name) <= math.pi:
                found.append(
                    f"views.{name}: expected an angle from 0 to pi, got {getattr(self, name)}"
                )
        low, high = self.elevation_rad
        if not -math.pi / 2 <= low <= high <= math.pi / 2:
            found.append(
                "views.elevation_rad: expected two rising angles between -pi/2 and pi/2, "
                f"got {self.elevation_rad}"
            )
        return found


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses [PN section 4.1], for sums over joints and frames as printed.

    Beware of the student's two regularisers: with lengths in head-root distances, bending one
    elbow by 30 degrees moves the wrist by 0.2, which costs 0.04 in eq. 7 if left out, and costs
    30 * 0.54 in eq. 8 if done.
    """

    self_supervision: float = 2.0
    """Eq. 2."""
    consistency: float = 1.0
    """Eq. 3."""
    bones: float = 2.0
    """Eq. 4."""
    adversarial: float = 1.0
    """Eq. 5, of teacher and student."""
    anatomy: float = 0.0
    """Knees and elbows of the teacher's bodies that bend the wrong way [own], see
    `posenet_anatomy`."""
    proportions: float = 0.0
    """How much the proportions of the teacher's bodies differ [own], see `posenet_anatomy`."""
    pose: float = 30.0
    """Eq. 8."""
    shape: float = 10.0
    """Square of the shape coefficients."""
    student: float = 2.0
    """The student's losses in the joint step."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        weights = vars(self).items()
        return [f"weights.{k}: expected at least 0, got {v}" for k, v in weights if not v >= 0]


@dataclass(frozen=True)
class DensityConfig:
    """A density of 2D poses: principal components under a small flow [own].

    The recipe is ElePose's (Wandt et al., CVPR 2022), smaller.
    """

    components: int = 20
    """Principal components that the flow sees; the rest is Gaussian."""
    layers: int = 6
    """Coupling layers."""
    hidden: int = 128
    """Hidden channels of each."""
    steps: int = 1000
    """Steps of Adam."""
    batch_size: int = 512
    learning_rate: float = 1e-3

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(self, "density", "hidden", "batch_size", "learning_rate")
        if not 2 <= self.components <= 26:
            found.append(f"density.components: expected 2 to 26, got {self.components}")
        for name in ("layers", "steps"):
            if getattr(self, name) < 0:
                found.append(f"density.{name}: expected at least 0, got {getattr(self, name)}")
        return found
