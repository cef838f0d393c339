"""Everyday actions of the synthetic actor's "studio" preset.

An action fills a take: it starts from a standing, seated or walking figure and blends poses of
arms and trunk into it, with draws for times, amounts and sides. Tables of poses are in degrees.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.synthetic_blend import Action, bend, blend_arm, leg_ratio, lower, pace
from adaptpose.datasets.synthetic_curves import Take, degrees, keyed, pulse, schedule, wander
from adaptpose.datasets.synthetic_figure import Figure
from adaptpose.datasets.synthetic_steps import Course, Gait, standing, travelling, turning

# Arm poses in degrees: flexion, abduction, internal rotation, elbow flexion.
MOUTH = (60, -8, 35, 135)
EAR = (62, 18, 12, 146)
WAVE = (20, 80, -78, 80)
POINT = (84, 8, 5, 10)
CAMERA = (62, 2, 28, 108)
LAP = (22, 8, 28, 62)
DOWN_IN_FRONT = (78, 4, 10, 24)
CROSSED = (28, 8, 62, 98)


def seat(take: Take, figure: Figure, weight: Float[Tensor, "frames"], height: float) -> Figure:
    """The figure sitting at a hip height (m) where the weight is 1, leaning forwards on the way."""
    body = take.body
    drop = figure.root[0, 2] - height
    figure = lower(figure, weight * drop)
    back = body.thigh * take.uniform(0.8, 0.95)
    figure = bend(figure, weight, (-6, 8), back)
    return bend(figure, 4 * weight * (1 - weight), (22, 18), -0.1 * back)


def talk_with_hands(take: Take, figure: Figure, sides: tuple[int, ...] = (0, 1)) -> Figure:
    """The figure accompanying speech: hands in front of the body, changing place every second."""
    times = schedule(take, (0.5, 1.4), -take.uniform(0, 1))
    centre, spread = degrees(24, 10, 18, 75), degrees(16, 9, 24, 28) * take.style.energy
    poses = torch.stack([take.jitter(centre.expand(2, 4), 1.0) for _ in times])
    poses = centre + (poses - centre) * spread
    moving = keyed(take.time, times, poses, dwell=0.15)
    awake = 0.5 + 0.5 * torch.tanh(4 * wander(take, 1.0, 0.15) + 1.2)
    for side in sides:
        figure = blend_arm(figure, side, moving[:, side], awake)
    return figure


def _talking(take: Take) -> Figure:
    turn = take.uniform(-0.9, 0.9)
    figure = turning(take, standing(take), [(take.uniform(1, 4), turn)])
    return talk_with_hands(take, figure)


def _walking(take: Take) -> Figure:
    speed = pace(take) * take.uniform(1.0, 1.35)
    gait = Gait(speed, 1.15 * leg_ratio(take) * math.sqrt(pace(take) / speed))
    side = 1 - 2 * take.choice(2)
    course = Course(side * take.uniform(0.25, 0.5), take.uniform(0, 0.4), 6.0, take.uniform(0, 6))
    return travelling(take, gait, course)


def _walking_circle(take: Take) -> Figure:
    speed = pace(take) * take.uniform(0.8, 1.0)
    side = 1 - 2 * take.choice(2)
    figure = travelling(
        take,
        Gait(speed, 1.2 * leg_ratio(take)),
        Course(side * take.uniform(0.65, 0.95)),
    )
    if take.choice(2):
        return talk_with_hands(take, figure, (take.choice(2),))
    return figure


def _waving(take: Take) -> Figure:
    figure, hand = standing(take), take.style.hand
    for start in schedule(take, (3.0, 4.0), take.uniform(0.2, 0.8))[:-1]:
        up = pulse(take.time, start, 0.7, take.uniform(1.0, 1.8), 0.8)
        beat = torch.sin(2 * math.pi * take.uniform(1.3, 2.0) * (take.time - start))
        pose = (
            take.jitter(degrees(*WAVE), 0.12)
            + beat[:, None] * degrees(0, 8, 4, 26) * take.style.energy
        )
        figure = blend_arm(figure, hand, pose, up)
    return figure


def _phoning(take: Take) -> Figure:
    hand = take.style.hand
    figure = turning(take, standing(take), [(take.uniform(1.5, 4.0), take.uniform(-1.2, 1.2))])
    figure = talk_with_hands(take, figure, (1 - hand,))
    held = take.jitter(degrees(*EAR), 0.08) + wander(take, 0.08, 0.4, 4)
    up = pulse(take.time, take.uniform(-1.0, 0.6), 0.9, take.seconds, 0.9)
    return blend_arm(figure, hand, held, up)


def _at_table(take: Take) -> Figure:
    height = take.body.ankle_height + take.body.shin * take.uniform(0.98, 1.1)
    figure = seat(take, standing(take), torch.ones_like(take.time), height)
    for side in (0, 1):
        figure = blend_arm(
            figure, side, take.jitter(degrees(*LAP), 0.12) + wander(take, 0.07, 0.3, 4), 1.0
        )
    return figure


def _eating(take: Take) -> Figure:
    figure, hand = _at_table(take), take.style.hand
    for start in schedule(take, (1.6, 2.4), take.uniform(0.1, 0.6))[:-1]:
        side = hand if take.uniform(0, 1) < 0.8 else 1 - hand
        up = pulse(take.time, start, 0.65, take.uniform(0.15, 0.4), 0.65)
        figure = blend_arm(figure, side, take.jitter(degrees(*MOUTH), 0.06), up)
    return figure


def _sitting(take: Take) -> Figure:
    figure = _at_table(take)
    if take.choice(2):
        return talk_with_hands(take, figure)
    away = pulse(take.time, take.uniform(0.5, 1.5), 1.0, take.uniform(1.5, 2.5), 1.0)
    figure = bend(figure, away, (take.uniform(-8, 8), take.uniform(-10, 22)), 0.0)
    return talk_with_hands(take, figure, (take.choice(2),))


def _sit_down_stand_up(take: Take) -> Figure:
    height = take.body.ankle_height + take.body.shin * take.uniform(0.98, 1.1)
    pause, tempo = take.uniform(0.8, 1.5), take.style.tempo
    down = pulse(take.time, take.uniform(0.3, 0.9), 1.5 / tempo, pause, 1.4 / tempo)
    figure = seat(take, standing(take), down, height)
    for side in (0, 1):
        figure = blend_arm(figure, side, take.jitter(degrees(*LAP), 0.12), down)
    return figure


def _sitting_on_floor(take: Take) -> Figure:
    body = take.body
    figure = standing(take)
    height = 0.05 * body.stature
    figure = lower(figure, figure.root[:, 2] - height)
    ahead = body.leg * take.uniform(0.62, 0.92)
    figure = bend(figure, torch.ones_like(take.time), (-14, 24), ahead)
    for side in (0, 1):
        figure = blend_arm(figure, side, take.jitter(degrees(50, 12, 18, 52), 0.1), 1.0)
    figure = talk_with_hands(take, figure, (take.choice(2),))
    # Shoulders are less than an arm's length above the floor: hands stay higher than in standing.
    return replace(figure, arms=figure.arms + degrees(14, 0, 0, 24))


def _picking_up(take: Take) -> Figure:
    figure, body, hand = standing(take), take.body, take.style.hand
    for start in schedule(take, (2.9, 3.4), take.uniform(0.1, 0.5))[:-1]:
        down = pulse(take.time, start, 1.05, 0.2, 1.05)
        depth = take.uniform(0.22, 0.38)
        figure = bend(figure, down, (48, 42), (0.12 + 0.15 * depth) * body.leg)
        figure = lower(figure, down * depth * body.leg)
        figure = blend_arm(figure, hand, take.jitter(degrees(*DOWN_IN_FRONT), 0.08), down)
        other = degrees(*DOWN_IN_FRONT) if take.choice(2) else degrees(45, 8, 25, 70)
        figure = blend_arm(figure, 1 - hand, take.jitter(other, 0.08), down)
    return figure


def _bowing(take: Take) -> Figure:
    figure, hand = standing(take), take.style.hand
    shake = take.choice(2)
    for start in schedule(take, (2.8, 3.6), take.uniform(0.2, 0.8))[:-1]:
        deep = pulse(take.time, start, 0.9, take.uniform(0.2, 0.6), 1.0)
        figure = bend(figure, deep, (take.uniform(14, 32), take.uniform(12, 28)), 0.12)
        if shake:
            offered = take.jitter(degrees(42, 4, 8, 45), 0.1)
            beat = torch.sin(2 * math.pi * 1.8 * (take.time - start))[:, None]
            figure = blend_arm(figure, hand, offered + beat * degrees(6, 0, 0, 9), deep)
    return figure


def _pointing(take: Take) -> Figure:
    figure = turning(take, standing(take), [(take.uniform(2, 4), take.uniform(-1.2, 1.2))])
    trunk, neck = figure.trunk.clone(), figure.neck.clone()
    for start in schedule(take, (2.0, 2.8), take.uniform(0.1, 0.5))[:-1]:
        up = pulse(take.time, start, 0.6, take.uniform(0.4, 0.9), 0.65)
        side = take.style.hand if take.uniform(0, 1) < 0.75 else 1 - take.style.hand
        pose = degrees(*POINT) + degrees(take.uniform(-25, 35), take.uniform(-18, 55), 0, 0)
        figure = blend_arm(figure, side, pose, up)
        aside = (1 - 2 * side) * float(pose[1])
        trunk[:, 0] += up * 0.25 * aside
        neck[:, 0] += up * 0.5 * aside
    return replace(figure, trunk=trunk, neck=neck)


def _taking_photo(take: Take) -> Figure:
    figure = turning(take, standing(take), [(take.uniform(3.2, 4.2), take.uniform(-1.0, 1.0))])
    up = pulse(take.time, take.uniform(0.1, 0.8), 0.9, take.uniform(3.2, 4.5), 0.8)
    for side in (0, 1):
        held = take.jitter(degrees(*CAMERA), 0.07) + wander(take, 0.05, 0.5, 4)
        figure = blend_arm(figure, side, held, up)
    aim = up * take.uniform(-0.1, 0.5)
    figure = lower(figure, aim.clamp(0) * 0.6 * take.body.leg)
    return bend(figure, aim, (15, 35), 0.05)


def _waiting(take: Take) -> Figure:
    turns = [(t, take.uniform(-1.1, 1.1)) for t in schedule(take, (1.8, 3.0), 0.6)[:-1]]
    figure = turning(take, standing(take), turns)
    hold = pulse(take.time, take.uniform(0.2, 1.5), 0.9, take.uniform(1.5, 3.0), 0.9)
    pose = (degrees(*CROSSED), degrees(-12, 38, 62, 95), degrees(-18, 6, 55, 60))[take.choice(3)]
    for side in (0, 1):
        figure = blend_arm(figure, side, take.jitter(pose, 0.06), hold)
    look = pulse(take.time, take.uniform(2.0, 3.5), 0.7, take.uniform(0.4, 1.0), 0.7)
    return bend(figure, look, (0, take.uniform(0, 15)), 0.0)


STUDIO_ACTIONS: dict[str, Action] = {
    "talking": _talking,
    "walking": _walking,
    "walking_circle": _walking_circle,
    "waving": _waving,
    "phoning": _phoning,
    "eating": _eating,
    "sitting": _sitting,
    "sit_down_stand_up": _sit_down_stand_up,
    "sitting_on_floor": _sitting_on_floor,
    "picking_up": _picking_up,
    "bowing": _bowing,
    "pointing": _pointing,
    "taking_photo": _taking_photo,
    "waiting": _waiting,
}
"""The studio actions by name; each fills a take with a figure that starts at the origin."""
