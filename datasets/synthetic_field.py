"""Sports and other lively actions of the synthetic actor's "field" preset.

As in `synthetic_studio`: an action fills a take; tables of poses are in degrees.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.synthetic_blend import Action, bend, blend_arm, lower
from adaptpose.datasets.synthetic_curves import (
    Take,
    degrees,
    keyed,
    pulse,
    schedule,
    wander,
)
from adaptpose.datasets.synthetic_figure import Figure
from adaptpose.datasets.synthetic_moving import MOVING_ACTIONS, OVERHEAD
from adaptpose.datasets.synthetic_steps import (
    Step,
    placed,
    standing,
    stepping,
)

# Arm poses in degrees: flexion, abduction, internal rotation, elbow flexion.
GUARD = (38, 12, 42, 128)
PUNCH = (84, -4, 30, 12)
COCKED = (5, 88, -78, 95)
RELEASE = (88, 30, -20, 25)
FOLLOW_THROUGH = (45, -12, 30, 25)
CROSSED_LOW = (42, 10, 55, 105)
ARMS_AHEAD = (82, 6, 8, 14)


def _kicking(take: Take) -> Figure:
    figure, leg = standing(take), take.body.leg
    for start in schedule(take, (2.6, 3.2), take.uniform(0.1, 0.5))[:-1]:
        foot = take.style.hand if take.uniform(0, 1) < 0.8 else 1 - take.style.hand
        high = take.uniform(0.25, 0.75)
        ahead = 0.95 * math.sin(math.acos(max(-1.0, 1 - high)))
        moves = torch.tensor([[0, 0], [-0.45, 0.36], [ahead, high], [0.1, 0.15], [0, 0]]) * leg
        key = [0.0, 0.5, 0.92, 1.5, 1.85]
        path = keyed(take.time - start, key, moves.double())
        ankles = figure.ankles.clone()
        ankles[:, foot, 0] += path[:, 0]
        ankles[:, foot, 2] += path[:, 1]
        weight = pulse(take.time - start, -0.35, 0.6, 1.0, 0.7)
        root, pelvis = figure.root.clone(), figure.pelvis.clone()
        aside = ankles[0, 1 - foot, 1] - root[:, 1]
        root[:, 1] += 0.75 * weight * aside
        swing = keyed(take.time - start, key, degrees(0, 16, -18, -6, 0))
        pelvis[:, 0] += (1 - 2 * foot) * swing
        pelvis[:, 1] += swing
        figure = replace(figure, ankles=ankles, root=root, pelvis=pelvis)
        figure = blend_arm(figure, 1 - foot, take.jitter(degrees(45, 45, 10, 30), 0.1), weight)
        figure = blend_arm(figure, foot, take.jitter(degrees(-20, 45, 0, 30), 0.1), weight)
    return figure


def _boxing(take: Take) -> Figure:
    leg, hand = take.body.leg, take.style.hand
    front = 1 - hand
    rear_place, front_place = (-0.2 * leg, 0.16 * leg), (0.22 * leg, 0.16 * leg)
    places = [(x, y * (1 - 2 * foot)) for foot, (x, y) in _by_foot(front, front_place, rear_place)]
    figure = placed(standing(take), places[0], places[1])
    spring = 0.012 * torch.cos(2 * math.pi * take.uniform(1.6, 2.2) * take.time)
    figure = lower(figure, 0.07 * leg + spring)
    for side in (0, 1):
        figure = blend_arm(
            figure, side, take.jitter(degrees(*GUARD), 0.06) + wander(take, 0.1, 0.8, 4), 1.0
        )
    pelvis, trunk = figure.pelvis.clone(), figure.trunk.clone()
    pelvis[:, 0] -= (1 - 2 * front) * math.radians(28)
    for start in schedule(take, (0.55, 1.1), take.uniform(0.1, 0.4)):
        side = front if take.uniform(0, 1) < 0.6 else hand
        out = pulse(take.time, start, 0.26, 0.02, 0.32)
        aim = degrees(*PUNCH) + degrees(take.uniform(-15, 15), take.uniform(-6, 10), 0, 0)
        figure = blend_arm(figure, side, aim, out)
        trunk[:, 0] -= (1 - 2 * side) * math.radians(take.uniform(15, 30)) * out
        trunk[:, 1] += math.radians(6) * out
    return replace(figure, pelvis=pelvis, trunk=trunk)


def _by_foot(front: int, ahead: tuple[float, float], behind: tuple[float, float]) -> list:
    return [(foot, ahead if foot == front else behind) for foot in (0, 1)]


def _throwing(take: Take) -> Figure:
    leg, hand = take.body.leg, take.style.hand
    figure, front, outwards = standing(take), 1 - hand, 1 - 2 * hand
    home = figure.ankles[0, front, :2].tolist()
    starts, steps = schedule(take, (2.8, 3.2), take.uniform(0.0, 0.3))[:-1], []
    for start in starts:
        stride = (home[0] + take.uniform(0.4, 0.65) * leg, home[1])
        steps.append(Step(start + 0.5, 0.5, front, stride, 0.2 * leg))
        steps.append(Step(start + 1.9, 0.6, front, (home[0], home[1]), 0.08 * leg))
    figure = stepping(take, figure, steps)
    trunk, pelvis = figure.trunk.clone(), figure.pelvis.clone()
    for start in starts:
        key = [start + k for k in (0.0, 0.8, 1.2, 1.5, 2.3)]
        twist = keyed(take.time, key, degrees(0, 38, -18, -34, 0))
        trunk[:, 0] += outwards * twist
        pelvis[:, 0] += 0.6 * outwards * twist
        trunk[:, 1] += keyed(take.time, key, degrees(0, -12, 10, 26, 0))
        way = (COCKED, COCKED, RELEASE, FOLLOW_THROUGH)
        poses = [take.jitter(degrees(*pose), 0.08) for pose in way]
        thrown = keyed(take.time, key, torch.stack([*poses, degrees(*FOLLOW_THROUGH)]))
        figure = blend_arm(figure, hand, thrown, pulse(take.time, start, 0.8, 0.7, 0.8))
        ahead = pulse(take.time, start, 0.7, 0.2, 0.9)
        figure = blend_arm(figure, front, degrees(70, 25, 10, 25), ahead)
    return replace(figure, trunk=trunk, pelvis=pelvis)


def _squats(take: Take) -> Figure:
    leg, figure = take.body.leg, standing(take)
    half = take.uniform(0.17, 0.26) * leg
    figure = placed(figure, (0.0, half), (0.0, -half))
    figure = replace(figure, toe_out=figure.toe_out + math.radians(14))
    reach = take.choice(2)
    for start in schedule(take, (1.9, 2.5), take.uniform(0, 0.4))[:-1]:
        down = pulse(take.time, start, 0.8, take.uniform(0.05, 0.3), 0.75)
        figure = lower(figure, down * take.uniform(0.38, 0.58) * leg)
        figure = bend(figure, down, (26, 14), 0.2 * leg)
        for side in (0, 1):
            pose = degrees(*ARMS_AHEAD) if reach else degrees(*CROSSED_LOW)
            figure = blend_arm(figure, side, take.jitter(pose, 0.06), down)
    return figure


def _lunges(take: Take) -> Figure:
    leg, figure = take.body.leg, standing(take)
    foot, home = take.choice(2), figure.ankles[0, :, :2].tolist()
    starts, steps = schedule(take, (2.5, 2.9), take.uniform(0.0, 0.3))[:-1], []
    for k, start in enumerate(starts):
        side = (foot + k) % 2
        away = (home[side][0] + take.uniform(0.75, 0.95) * leg, home[side][1])
        steps.append(Step(start, 0.65, side, away, 0.12 * leg))
        steps.append(Step(start + 1.55, 0.65, side, (home[side][0], home[side][1]), 0.12 * leg))
    figure = stepping(take, figure, steps)
    for start in starts:
        down = pulse(take.time, start + 0.2, 0.8, 0.1, 0.75)
        figure = lower(figure, down * take.uniform(0.3, 0.42) * leg)
        figure = _rear_heel_up(figure, down * 0.08 * leg)
        for side in (0, 1):
            figure = blend_arm(figure, side, degrees(-14, 38, 60, 95), down)
    return figure


def _rear_heel_up(figure: Figure, metres: Float[Tensor, "frames"]) -> Figure:
    ankles = figure.ankles.clone()
    behind = torch.sigmoid((ankles[:, [1, 0], 0] - ankles[..., 0] - 0.25) * 20)
    ankles[..., 2] += metres[:, None] * behind
    return replace(figure, ankles=ankles)


def _reaching_up(take: Take) -> Figure:
    figure, leg = standing(take), take.body.leg
    side = take.choice(2)
    for start in schedule(take, (1.2, 1.7), take.uniform(0, 0.3))[:-1]:
        up = pulse(take.time, start, 0.75, take.uniform(0.1, 0.5), 0.8)
        pose = take.jitter(degrees(*OVERHEAD), 0.18)
        figure = blend_arm(figure, side, pose, up)
        ankles, trunk, root = figure.ankles.clone(), figure.trunk.clone(), figure.root.clone()
        tiptoe = up * take.uniform(0.02, 0.09) * leg
        ankles[..., 2] += tiptoe[:, None]
        root[:, 2] += tiptoe + 0.02 * leg * up
        trunk[:, 2] += (2 * side - 1) * -1 * up * math.radians(take.uniform(2, 12))
        trunk[:, 1] -= up * math.radians(6)
        neck = figure.neck - up[:, None] * degrees(0, 22, 0)
        figure = replace(figure, ankles=ankles, trunk=trunk, root=root, neck=neck)
        side = 1 - side if take.uniform(0, 1) < 0.8 else side
    return figure


def _dancing(take: Take) -> Figure:
    leg, figure = take.body.leg, standing(take)
    rate = take.uniform(1.6, 2.1) * take.style.tempo
    home = figure.ankles[0, :, :2].tolist()
    steps = []
    for k in range(int(take.seconds * rate / 2)):
        foot = k % 2
        x, y = home[foot]
        out = (x + take.uniform(-0.2, 0.3) * leg, y + (0.5 - foot) * take.uniform(0.1, 0.6) * leg)
        steps.append(Step(2 * k / rate, 0.8 / rate, foot, out, 0.08 * leg))
        steps.append(Step((2 * k + 1) / rate, 0.8 / rate, foot, (x, y), 0.08 * leg))
    figure = stepping(take, figure, steps)
    beat = 2 * math.pi * rate * take.time[:, None]
    sway = torch.sin(beat / 2 + take.uniform(0, 6)) * take.style.energy
    figure = lower(figure, leg * (0.06 + 0.022 * torch.cos(beat[:, 0])))
    figure = replace(
        figure,
        pelvis=figure.pelvis + sway * degrees(8, 2, 7),
        trunk=figure.trunk - sway * degrees(14, 4, 12),
    )
    for side in (0, 1):
        middle = take.jitter(degrees(45, 45, 0, 70), 0.35)
        phase = torch.tensor([take.uniform(0, 6) for _ in range(4)], dtype=torch.float64)
        swing = torch.sin(beat / 2 + phase) * degrees(24, 20, 22, 28) * take.style.energy
        figure = blend_arm(figure, side, middle + swing + wander(take, 0.4, 0.25, 4), 1.0)
    return figure


FIELD_ACTIONS: dict[str, Action] = {
    **MOVING_ACTIONS,
    "kicking": _kicking,
    "boxing": _boxing,
    "throwing": _throwing,
    "squats": _squats,
    "lunges": _lunges,
    "reaching_up": _reaching_up,
    "dancing": _dancing,
}
"""The field actions by name; each fills a take with a figure that starts at the origin."""
