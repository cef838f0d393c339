"""Bodies of the synthetic actor: segment lengths from published anthropometry.

Lengths are stature times a ratio. The ratios of limbs and heights are those of Drillis & Contini
(1966) as drawn in Winter, Biomechanics and Motor Control of Human Movement (4th ed. 2009, fig.
4.1). Breadths there are of the body's surface; joint centres lie further in, at
`JOINT_CENTRE_SHARE` of them. Statures of adults are those of ANSUR (Gordon et al. 1989), of
children those of the CDC growth charts (2000), 8 to 12 years. Statures of athletes and what sets
the builds' ratios apart are choices, not measurements. People differ from the mean ratios by
`RATIO_SD`; left and right never differ. Metres.
"""

from dataclasses import dataclass
from typing import Literal

import torch

RATIOS: dict[str, float] = {
    "ankle_height": 0.039,
    "shin": 0.285 - 0.039,
    "thigh": 0.530 - 0.285,
    "trunk": 0.818 - 0.530,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hip_breadth": 0.191,
    "shoulder_breadth": 0.259,
    "head_and_neck": 0.936 - 0.818,
}
"""Segment lengths as shares of stature (Drillis & Contini; head and neck up to the eyes)."""

JOINT_CENTRE_SHARE = 0.8
"""Distance between two hip or shoulder joint centres, as a share of the body's breadth there."""

LUMBAR_SHARE = 0.475
"""Share of the trunk below the spine joint, as in Human3.6M's skeletons."""

RATIO_SD = 0.03
"""Standard deviation of a person's ratio around the mean ratio, relative."""

Build = Literal["woman", "man", "child", "athlete"]

_STATURE_M: dict[str, tuple[float, float]] = {
    "woman": (1.629, 0.064),
    "man": (1.756, 0.067),
    "child": (1.38, 0.08),
    "athlete": (1.93, 0.05),
}
_BUILD_FACTORS: dict[str, dict[str, float]] = {
    "woman": {"shoulder_breadth": 0.95, "hip_breadth": 1.04},
    "man": {},
    "child": {"head_and_neck": 1.15, "shin": 0.97, "thigh": 0.97, "shoulder_breadth": 0.95},
    "athlete": {"shin": 1.03, "thigh": 1.02, "forearm": 1.03, "shoulder_breadth": 1.05},
}


@dataclass(frozen=True)
class Body:
    """Lengths (m) of one person; a pair of limbs has one length.

    `hip` and `shoulder` go from the middle of the body to one joint centre, `lumbar` from the hip
    centre to the spine joint, `thoracic` from there to the thorax (between the shoulders).
    """

    stature: float
    ankle_height: float
    shin: float
    thigh: float
    lumbar: float
    thoracic: float
    neck: float
    head: float
    upper_arm: float
    forearm: float
    hip: float
    shoulder: float

    @property
    def leg(self) -> float:
        """Length of the stretched leg from hip to ankle (m)."""
        return self.thigh + self.shin


def draw_body(build: Build, generator: torch.Generator) -> Body:
    """A person of the given build: stature and ratios drawn, at most 2 SD from their means."""
    draw = torch.randn(1 + len(RATIOS), generator=generator, dtype=torch.float64).clamp(-2, 2)
    mean, sd = _STATURE_M[build]
    stature = mean + sd * float(draw[0])
    length = {
        name: stature * ratio * _BUILD_FACTORS[build].get(name, 1.0) * (1 + RATIO_SD * float(noise))
        for (name, ratio), noise in zip(RATIOS.items(), draw[1:], strict=True)
    }
    return Body(
        stature=stature,
        ankle_height=length["ankle_height"],
        shin=length["shin"],
        thigh=length["thigh"],
        lumbar=length["trunk"] * LUMBAR_SHARE,
        thoracic=length["trunk"] * (1 - LUMBAR_SHARE),
        neck=length["head_and_neck"] / 2,
        head=length["head_and_neck"] / 2,
        upper_arm=length["upper_arm"],
        forearm=length["forearm"],
        hip=length["hip_breadth"] * JOINT_CENTRE_SHARE / 2,
        shoulder=length["shoulder_breadth"] * JOINT_CENTRE_SHARE / 2,
    )
