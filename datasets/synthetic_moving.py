"""Running, jumping and gliding: the actions of the "field" preset in which the feet do the work.

As in `synthetic_studio`: an action fills a take; tables of poses are in degrees.
"""

import math
from dataclasses import dataclass, replace

import torch

from adaptpose.datasets.synthetic_blend import Action, bend, blend_arm, leg_ratio, lower, pace
from adaptpose.datasets.synthetic_curves import (
    Take,
    degrees,
    ease,
    hump,
    keyed,
    pulse,
    schedule,
    spline,
    wander,
)
from adaptpose.datasets.synthetic_figure import Figure
from adaptpose.datasets.synthetic_steps import (
    Course,
    Gait,
    Step,
    placed,
    standing,
    stepping,
    travelling,
)

GRAVITY = 9.81
"""m/s²."""

# Arm poses in degrees: flexion, abduction, internal rotation, elbow flexion.
READY = (25, 18, 25, 85)
OVERHEAD = (162, 8, 0, 14)
ARMS_BACK = (-34, 10, 0, 14)


@dataclass(frozen=True)
class _Jump:
    """One jump: take-off at `start` + 0.7 s, rising by `rise` and going `ahead` metres."""

    start: float
    rise: float
    ahead: float
    tuck: float


def _running(take: Take) -> Figure:
    speed = pace(take) * take.uniform(2.3, 3.2)
    gait = Gait(
        speed=speed,
        stride_s=0.68 * leg_ratio(take),
        planted=0.05,
        under=0.03,
        height=0.93,
        bounce=-0.035,
        lift=0.42,
        width=0.08,
        arm_swing_deg=38.0,
        elbow_deg=85.0,
        lean_deg=9.0,
    )
    course = Course(_side(take) * take.uniform(0.24, 0.36), take.uniform(0, 0.1), 12.0)
    return travelling(take, gait, course)


def _skipping(take: Take) -> Figure:
    gait = Gait(
        speed=pace(take) * take.uniform(1.5, 2.0),
        stride_s=0.85 * leg_ratio(take),
        planted=0.1,
        under=0.055,
        height=0.93,
        bounce=-0.05,
        lift=0.26,
        width=0.12,
        arm_swing_deg=45.0,
        elbow_deg=45.0,
        lean_deg=4.0,
    )
    return travelling(take, gait, Course(_side(take) * take.uniform(0.2, 0.4)))


def _crouch_walk(take: Take) -> Figure:
    gait = Gait(
        speed=pace(take) * take.uniform(0.6, 0.9),
        stride_s=1.35,
        height=take.uniform(0.58, 0.74),
        bounce=0.02,
        lift=0.15,
        width=0.24,
        arm_swing_deg=14.0,
        elbow_deg=60.0,
        lean_deg=take.uniform(38, 60),
    )
    figure = travelling(take, gait, Course(_side(take) * take.uniform(0.1, 0.5)))
    trunk = figure.trunk.clone()
    trunk[:, 1] += math.radians(8)
    neck = figure.neck - degrees(0, 25, 0)
    return replace(figure, trunk=trunk, neck=neck)


def _jumping(take: Take) -> Figure:
    figure = standing(take)
    for start in schedule(take, (1.9, 2.4), take.uniform(0, 0.3))[:-1]:
        rise = take.uniform(0.1, 0.26) * take.style.energy * take.body.leg
        jump = _Jump(start, rise, 0.0, take.uniform(0, 0.25))
        figure = _leaping(take, figure, jump)
    return figure


def _long_jump(take: Take) -> Figure:
    figure = standing(take)
    for start in schedule(take, (2.4, 3.0), take.uniform(0, 0.4))[:-1]:
        ahead = take.body.leg * take.uniform(0.8, 1.5)
        figure = _leaping(take, figure, _Jump(start, take.uniform(0.12, 0.22), ahead, 0.3))
    root, ankles, half = figure.root.clone(), figure.ankles.clone(), figure.root[-1, 0] / 2
    root[:, 0] -= half
    ankles[..., 0] -= half
    return replace(figure, root=root, ankles=ankles)


def _leaping(take: Take, figure: Figure, jump: _Jump) -> Figure:
    time, leg = take.time - jump.start, take.body.leg
    speed = math.sqrt(2 * GRAVITY * jump.rise)
    off, heel = 0.7, 0.10
    down = off + 2 * speed / GRAVITY
    dip, soft = -0.28 * leg, -0.22 * leg
    pelvis = spline(
        time,
        [0, 0.45, off, down, down + 0.28, down + 0.9],
        [0, dip, heel, heel, soft, 0],
        [0, 0, speed, -speed, 0, 0],
    )
    lift = spline(
        time,
        [off - 0.16, off, down, down + 0.16],
        [0, heel, heel, 0],
        [0, speed, -speed, 0],
    )
    lift = lift + jump.tuck * leg * hump((time - off) / (down - off))
    forwards = jump.ahead * ease((time - off + 0.12) / (down - off + 0.2))
    root, ankles = figure.root.clone(), figure.ankles.clone()
    root[:, 2] += pelvis
    root[:, 0] += jump.ahead * ease((time - off + 0.3) / (down - off + 0.55))
    ankles[..., 2] += lift[:, None]
    ankles[..., 0] += forwards[:, None]
    crouch = pulse(time, -0.1, 0.5, 0.0, 0.45) + 0.7 * pulse(time, down - 0.12, 0.36, 0.05, 0.6)
    figure = bend(replace(figure, root=root, ankles=ankles), crouch, (24, 20), 0.12 * leg)
    for side in (0, 1):
        figure = blend_arm(figure, side, degrees(*ARMS_BACK), pulse(time, -0.1, 0.45, 0.0, 0.5))
        figure = blend_arm(
            figure, side, take.jitter(degrees(*OVERHEAD), 0.2), pulse(time, 0.25, 0.75, 0, 0.8)
        )
    return figure


def _side_steps(take: Take) -> Figure:
    leg, beat = take.body.leg, 0.62 / take.style.tempo
    width = 0.3 * leg
    figure = placed(standing(take), (0.0, width / 2), (0.0, -width / 2))
    figure = lower(figure, torch.full_like(take.time, 0.1 * leg))
    middle, way, steps, count = 0.0, float(_side(take)), [], 0
    length = take.uniform(0.35, 0.5) * leg
    for start in schedule(take, (0.62, 0.62))[:-1]:
        if count == 3:
            way, count = -way, 0
        middle += way * length
        count += 1
        lead = 0 if way > 0 else 1
        for delay, foot in ((0.0, lead), (0.45 * beat, 1 - lead)):
            place = (0.0, middle + (0.5 - foot) * width)
            steps.append(Step(start + delay, 0.48 * beat, foot, place, 0.07 * leg))
    figure = stepping(take, figure, steps)
    for side in (0, 1):
        figure = blend_arm(figure, side, degrees(*READY) + wander(take, 0.25, 0.8, 4), 1.0)
    return bend(figure, torch.ones_like(take.time), (10, 10), 0.05)


def _jumping_jacks(take: Take) -> Figure:
    leg, figure = take.body.leg, standing(take)
    period = take.uniform(1.15, 1.4) / take.style.tempo
    turns = [k * period / 2 for k in range(math.ceil(2 * take.seconds / period) + 1)]
    apart = keyed(take.time, turns, torch.tensor([k % 2 for k in range(len(turns))]).double(), 0.2)
    phase = (take.time / (period / 2)) % 1
    air = hump((phase - 0.2) / 0.8)
    narrow, wide = 0.10 * leg, take.uniform(0.36, 0.46) * leg
    ankles, root = figure.ankles.clone(), figure.root.clone()
    ankles[:, 0, 1] = narrow + apart * (wide - narrow)
    ankles[:, 1, 1] = -ankles[:, 0, 1]
    ankles[..., 0] = 0
    ankles[..., 2] += 0.07 * leg * air[:, None]
    root[:, 1] *= 0.2
    root[:, 2] += leg * (0.07 * air - 0.03)
    figure = replace(figure, ankles=ankles, root=root)
    for side in (0, 1):
        top = degrees(6, take.uniform(140, 158), -25, 22)
        figure = blend_arm(figure, side, top, apart)
    return figure


def _slalom(take: Take) -> Figure:
    leg, figure = take.body.leg, standing(take)
    half = 0.11 * leg
    figure = placed(figure, (0.0, half), (0.0, -half))
    rate = take.uniform(0.55, 0.8) * take.style.tempo
    turn = 2 * math.pi * rate * take.time + wander(take, 0.4, 0.2)
    swing, wide = torch.sin(turn), take.uniform(0.28, 0.42) * leg
    ankles, root, pelvis = figure.ankles.clone(), figure.root.clone(), figure.pelvis.clone()
    ankles[..., 1] += (wide * swing)[:, None]
    root[:, 1] += 0.35 * wide * swing
    root[:, 2] -= leg * (take.uniform(0.16, 0.26) - 0.07 * torch.cos(2 * turn))
    pelvis[:, 2] += math.radians(10) * swing
    pelvis[:, 0] -= math.radians(14) * torch.cos(turn)
    trunk = figure.trunk.clone()
    trunk[:, 2] -= math.radians(14) * swing
    trunk[:, 0] += math.radians(16) * torch.cos(turn)
    figure = replace(figure, ankles=ankles, root=root, pelvis=pelvis, trunk=trunk)
    for side in (0, 1):
        pole = take.jitter(degrees(42, 20, 12, 62), 0.1) + wander(take, 0.12, 0.8, 4)
        planting = (1 - 2 * side) * torch.cos(turn)[:, None] * degrees(14, 4, 0, -12)
        figure = blend_arm(figure, side, pole + planting, 1.0)
    return bend(figure, torch.ones_like(take.time), (26, 22), 0.12 * leg)


def _side(take: Take) -> int:
    return 1 - 2 * take.choice(2)


MOVING_ACTIONS: dict[str, Action] = {
    "running": _running,
    "skipping": _skipping,
    "crouch_walk": _crouch_walk,
    "jumping": _jumping,
    "long_jump": _long_jump,
    "side_steps": _side_steps,
    "jumping_jacks": _jumping_jacks,
    "slalom": _slalom,
}
"""Actions by name."""
