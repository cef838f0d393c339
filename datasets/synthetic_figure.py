"""The articulated figure: joint angles and ankle positions to the 17 joints of `H36M_17`.

The trunk, head and arms are posed by angles (forward kinematics), the legs by where the ankles
are: a planted foot then stays where it is, and the knee follows from the two lengths of the leg
(law of cosines), always bent forwards. Frame of the figure: x forward, y left, z up; the floor is
z = 0 and a flat foot has its ankle at `Body.ankle_height`.

Angles (rad) of pelvis, trunk and neck are (turn to the left, bend forwards, bend to the right),
composed as Rz Ry Rx. Arms are (flexion, abduction, internal rotation, elbow flexion) with sides
ordered left, right; all zero is an arm hanging straight down. Ranges of motion are about those
of the AAOS norms (Norkin & White, Measurement of Joint Motion), kept by a soft clamp.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.synthetic_body import Body
from adaptpose.skeleton import H36M_17

LIMITS_DEG: dict[str, tuple[tuple[float, float], ...]] = {
    "trunk": ((-50, 50), (-30, 85), (-35, 35)),
    "neck": ((-75, 75), (-50, 50), (-40, 40)),
    "arms": ((-55, 175), (-30, 170), (-85, 75), (4, 148)),
}
"""Lower and upper end of each angle of the figure, in the order of the angles."""

KNEE_FLEXION_DEG = (3.0, 150.0)
STANDING_REACH = 0.995
"""Share of the leg's length that a hip may be from its ankle before the pelvis is lowered."""

LUMBAR_PART = 0.45
"""Share of the trunk's angles at the bone below the spine joint; the rest is at the one above."""

NECK_PART = 0.6
NOSE_FORWARD_RAD = math.radians(25)
SHOULDER_DROP_RAD = math.radians(8)
SHRUG_PER_ELEVATION = 0.15
"""Radians the collar bone rises per radian the arm is raised (scapulohumeral rhythm)."""

_SOFT_ANGLE_RAD = math.radians(3)
_SOFT_LENGTH_M = 0.004
_SOFT_HEIGHT_M = 0.01
_SIDES = (1.0, -1.0)


@dataclass(frozen=True)
class Figure:
    """What a figure does over time: angles (rad) and positions (m), see the module for frames."""

    root: Float[Tensor, "frames 3"]
    pelvis: Float[Tensor, "frames 3"]
    trunk: Float[Tensor, "frames 3"]
    neck: Float[Tensor, "frames 3"]
    arms: Float[Tensor, "frames 2 4"]
    ankles: Float[Tensor, "frames 2 3"]
    toe_out: Float[Tensor, "frames 2"]


def figure_joints(figure: Figure, body: Body) -> Float[Tensor, "frames 17 3"]:
    """Joint positions (m) of a figure within its joint limits and with its ankles in reach."""
    return forward_kinematics(lower_to_reach(within_limits(figure), body), body)


def within_limits(figure: Figure) -> Figure:
    """The figure with every angle of trunk, neck and arms softly clamped to its range."""
    clamped = {}
    for name, ranges in LIMITS_DEG.items():
        low, high = torch.deg2rad(torch.tensor(ranges, dtype=torch.float64)).unbind(-1)
        clamped[name] = soft_clamp(getattr(figure, name), low, high, _SOFT_ANGLE_RAD)
    return replace(figure, **clamped)


def lower_to_reach(figure: Figure, body: Body) -> Figure:
    """The figure with its pelvis lowered wherever a foot would be out of the leg's reach."""
    hips = _hips(figure, body)
    across = (hips - figure.ankles)[..., :2].square().sum(-1)
    reach = STANDING_REACH * body.leg
    # A floor under the square root: a foot further away than the leg is long pulls no deeper.
    below = torch.nn.functional.softplus((reach**2 - across) * 40) / 40
    spare = figure.ankles[..., 2] + below.sqrt() - hips[..., 2]
    drop = -_SOFT_HEIGHT_M * torch.logsumexp(
        torch.cat([-spare, torch.zeros_like(spare[:, :1])], dim=-1) / _SOFT_HEIGHT_M, dim=-1
    )
    root = figure.root.clone()
    root[:, 2] += drop
    return replace(figure, root=root)


def forward_kinematics(figure: Figure, body: Body) -> Float[Tensor, "frames 17 3"]:
    """Joint positions (m) of a figure as it stands, whatever its angles."""
    pelvis = rotation(figure.pelvis)
    lumbar = pelvis @ rotation(LUMBAR_PART * figure.trunk)
    thoracic = lumbar @ rotation((1 - LUMBAR_PART) * figure.trunk)
    neck = thoracic @ rotation(NECK_PART * figure.neck)
    head = neck @ rotation((1 - NECK_PART) * figure.neck)
    up = figure.root.new_tensor([0.0, 0.0, 1.0])
    nose = figure.root.new_tensor([math.sin(NOSE_FORWARD_RAD), 0.0, math.cos(NOSE_FORWARD_RAD)])
    crown = nose * nose.new_tensor([-0.4, 1.0, 1.0])
    at = {"hip": figure.root}
    at["spine"] = at["hip"] + lumbar @ (body.lumbar * up)
    at["thorax"] = at["spine"] + thoracic @ (body.thoracic * up)
    at["neck_nose"] = at["thorax"] + neck @ (body.neck * nose)
    at["head"] = at["neck_nose"] + head @ (body.head * crown / crown.norm())
    hips = _hips(figure, body)
    for k, side in enumerate(("left", "right")):
        at[f"{side}_hip"] = hips[:, k]
        knee, ankle = _leg(figure, pelvis, hips[:, k], k, body)
        at[f"{side}_knee"], at[f"{side}_ankle"] = knee, ankle
        arm = _arm(figure.arms[:, k], thoracic, _SIDES[k], body)
        shoulder = at["thorax"] + arm[0]
        at[f"{side}_shoulder"] = shoulder
        at[f"{side}_elbow"] = shoulder + arm[1]
        at[f"{side}_wrist"] = shoulder + arm[1] + arm[2]
    return torch.stack([at[joint] for joint in H36M_17.joints], dim=1)


def rotation(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices Rz(a0) Ry(a1) Rx(a2)."""
    turn, forwards, aside = angles.unbind(-1)
    return _about(2, turn) @ _about(1, forwards) @ _about(0, aside)


def soft_clamp(
    x: Float[Tensor, "*batch"],
    low: Float[Tensor, "..."] | float,
    high: Float[Tensor, "..."] | float,
    softness: float,
) -> Float[Tensor, "*batch"]:
    """x squeezed smoothly into (low, high); nearly unchanged a few `softness` inside the ends."""
    softplus = torch.nn.functional.softplus
    above = softplus((x - low) / softness) - softplus((x - high) / softness)
    return low + softness * above


def _about(axis: int, angle: Tensor) -> Tensor:
    cos, sin = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        0: (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        1: (cos, zero, sin, zero, one, zero, -sin, zero, cos),
        2: (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _hips(figure: Figure, body: Body) -> Tensor:
    lateral = rotation(figure.pelvis)[..., 1] * body.hip
    return figure.root[:, None] + torch.stack([lateral, -lateral], dim=1)


def _leg(
    figure: Figure, pelvis: Tensor, hip: Tensor, side: int, body: Body
) -> tuple[Tensor, Tensor]:
    to_ankle = figure.ankles[:, side] - hip
    wanted = to_ankle.norm(dim=-1)
    bent, straight = (_hip_to_ankle(body, math.radians(KNEE_FLEXION_DEG[i])) for i in (1, 0))
    reach = soft_clamp(wanted, bent, straight, _SOFT_LENGTH_M)[:, None]
    along = to_ankle / wanted.clamp_min(1e-6)[:, None]
    toe_out = _about(2, _SIDES[side] * figure.toe_out[:, side])
    lateral = (pelvis @ toe_out)[..., 1]
    ahead = torch.nn.functional.normalize(torch.linalg.cross(along, lateral), dim=-1)
    foot_of_knee = (reach**2 + body.thigh**2 - body.shin**2) / (2 * reach)
    out = (body.thigh**2 - foot_of_knee**2).clamp_min(0).sqrt()
    return hip + foot_of_knee * along + out * ahead, hip + reach * along


def _hip_to_ankle(body: Body, knee_flexion: float) -> float:
    square = body.thigh**2 + body.shin**2 + 2 * body.thigh * body.shin * math.cos(knee_flexion)
    return math.sqrt(square)


def _arm(arm: Tensor, thoracic: Tensor, side: float, body: Body) -> tuple[Tensor, Tensor, Tensor]:
    flexion, abduction, internal, elbow = arm.unbind(-1)
    elevation = 1 - torch.cos(flexion) * torch.cos(abduction)
    tilt = side * (SHRUG_PER_ELEVATION * elevation * math.pi / 2 - SHOULDER_DROP_RAD)
    collar = thoracic @ _about(0, tilt)
    upper = (
        thoracic @ _about(1, -flexion) @ _about(0, side * abduction) @ _about(2, -side * internal)
    )
    lower = upper @ _about(1, -elbow)
    shoulder = side * body.shoulder * collar[..., 1]
    return shoulder, -body.upper_arm * upper[..., 2], -body.forearm * lower[..., 2]
