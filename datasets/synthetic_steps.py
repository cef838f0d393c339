"""Feet on the ground: standing, stepping to places, and travelling by walking or running.

A foot that carries weight is planted: its ankle stays at one point until it swings to the next.
The pelvis is carried along between the feet; how high it may be follows from the legs' reach
(`synthetic_figure.lower_to_reach`). Frame: x forward at the start, y left, z up.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.synthetic_curves import Take, ease, hump, wander
from adaptpose.datasets.synthetic_figure import Figure, rotation

STANDING_HEIGHT = 0.99
"""Height of the hips above the ankles in easy standing, as a share of the leg."""


@dataclass(frozen=True)
class Step:
    """One foot (0 left, 1 right) goes to a place on the floor, rising by `lift` (m) on the way."""

    start: float
    seconds: float
    foot: int
    to: tuple[float, float]
    lift: float = 0.10


@dataclass(frozen=True)
class Gait:
    """How somebody gets along.

    Speed (m/s) and stride (s, two steps); `planted` is the share of the stride a foot stays in
    place, `under` the share of the stride from touchdown until the hip is above it. Heights as
    shares of the leg: `height` of the hips, `bounce` (up at mid-stance if positive, as in walking;
    down if negative, as in running), `lift` of the swinging ankle. `width` is the distance of the
    feet as a share of the leg. Angles in degrees.
    """

    speed: float
    stride_s: float
    planted: float = 0.38
    under: float = 0.2
    height: float = 0.955
    bounce: float = 0.02
    lift: float = 0.13
    width: float = 0.17
    arm_swing_deg: float = 22.0
    elbow_deg: float = 25.0
    lean_deg: float = 3.0


@dataclass(frozen=True)
class Course:
    """A path on the floor: constant curvature (1/m) plus a wave of curvature along its length."""

    curvature: float
    wave: float = 0.0
    wavelength: float = 6.0
    phase: float = 0.0


def standing(take: Take) -> Figure:
    """A figure that stands at the origin with hanging arms and sways as people do."""
    body, style, frames = take.body, take.style, take.time.shape[0]
    half = style.stance * body.leg / 2 * take.uniform(0.85, 1.2)
    ahead = take.uniform(-0.05, 0.05)
    places = torch.tensor([[ahead, half], [-ahead, -half]], dtype=torch.float64)
    ankles = torch.zeros(frames, 2, 3, dtype=torch.float64)
    ankles[..., :2] = places
    ankles[..., 2] = body.ankle_height
    root = torch.zeros(frames, 3, dtype=torch.float64)
    root[:, 0] = wander(take, 0.02, 0.3)
    root[:, 1] = wander(take, 0.6 * half, 0.12)
    root[:, 2] = body.ankle_height + STANDING_HEIGHT * body.leg
    pelvis = wander(take, math.radians(5), 0.2, 3)
    # The hip over the standing leg is the higher one.
    pelvis[:, 2] += root[:, 1] / half * math.radians(4)
    trunk = wander(take, math.radians(5), 0.25, 3)
    trunk[:, 1] += style.lean_rad
    trunk[:, 2] -= pelvis[:, 2]
    return Figure(
        root=root,
        pelvis=pelvis,
        trunk=trunk,
        neck=wander(take, math.radians(14), 0.3, 3) * torch.tensor([1.6, 0.8, 0.5]),
        arms=hanging_arms(take),
        ankles=ankles,
        toe_out=torch.full((frames, 2), style.toe_out_rad, dtype=torch.float64),
    )


def hanging_arms(take: Take) -> Float[Tensor, "frames 2 4"]:
    """Arms at rest beside the body, never quite still."""
    rest = torch.deg2rad(torch.tensor([2.0, 9.0, 12.0, 16.0], dtype=torch.float64))
    return rest + wander(take, math.radians(4), 0.35, 2, 4)


def placed(figure: Figure, left: tuple[float, float], right: tuple[float, float]) -> Figure:
    """The standing figure with its feet at other places and its pelvis between them."""
    places = figure.ankles.new_tensor([left, right])
    ankles, root = figure.ankles.clone(), figure.root.clone()
    root[:, :2] += places.mean(0) - ankles[0, :, :2].mean(0)
    ankles[..., :2] = places
    return replace(figure, ankles=ankles, root=root)


def stepping(take: Take, figure: Figure, steps: list[Step]) -> Figure:
    """The figure going the given steps in order of time, its pelvis carried between its feet."""
    ankles, root = figure.ankles.clone(), figure.root.clone()
    place = ankles[0, :, :2].clone()
    for step in steps:
        moved = ankles.new_tensor(step.to) - place[step.foot]
        u = (take.time - step.start) / step.seconds
        ankles[:, step.foot, :2] += ease(u)[:, None] * moved
        ankles[:, step.foot, 2] += step.lift * hump(u, 0.42)
        # The weight sets off before the foot and arrives after it.
        root[:, :2] += ease((u + 0.3) / 1.6)[:, None] * moved / 2
        place[step.foot] += moved
    return replace(figure, ankles=ankles, root=root)


def turning(take: Take, figure: Figure, turns: list[tuple[float, float]]) -> Figure:
    """The figure turning on the spot: (start in s, angle in rad) each, one foot after the other."""
    place, pelvis, steps = figure.ankles[0, :, :2].clone(), figure.pelvis.clone(), []
    for start, angle in turns:
        middle = place.mean(0)
        spin = rotation(place.new_tensor([angle, 0, 0]))[:2, :2]
        place = middle + (place - middle) @ spin.T
        first = int(angle < 0)
        for delay, foot in ((0.0, first), (0.5, 1 - first)):
            x, y = place[foot].tolist()
            steps.append(Step(start + delay, 0.55, foot, (x, y), 0.07))
        pelvis[:, 0] += angle * ease((take.time - start + 0.1) / 1.2)
    return stepping(take, replace(figure, pelvis=pelvis), steps)


def travelling(take: Take, gait: Gait, course: Course) -> Figure:
    """A figure that walks or runs along a course, feet planted in turn.

    The length of the stride follows from speed and stride time; phase is tied to the way covered,
    so that steps keep their length when the speed wavers.
    """
    figure, stride = standing(take), gait.speed * gait.stride_s
    way = gait.speed * take.time + wander(take, 0.04 * stride, 0.3)
    phase = way / stride + take.uniform(0, 1)
    way = phase * stride
    first = float(way[0])
    path = _Path(course, first - 2 * stride, first + gait.speed * take.seconds + 2 * stride)
    turn = 2 * math.pi * phase
    feet = [_swinging_foot(take, gait, path, phase + 0.5 * k, k) for k in (0, 1)]
    heading, middle = path.heading(way), path.place(way)
    normal = torch.stack([-torch.sin(heading), torch.cos(heading)], dim=-1)
    middle_of_stance = 2 * math.pi * gait.under
    # Left mid-stance is where sin below is 1: the weight is over the left foot there.
    aside = torch.cos(turn - middle_of_stance)
    root = figure.root.clone()
    root[:, :2] = middle + normal * (0.12 * gait.width * take.body.leg * aside)[:, None]
    bounce = gait.bounce * torch.cos(2 * (turn - middle_of_stance))
    root[:, 2] = take.body.ankle_height + (gait.height + bounce) * take.body.leg
    figure = replace(figure, root=root, ankles=torch.stack(feet, dim=1))
    return _swaying(take, gait, figure, turn, heading)


def _swaying(take: Take, gait: Gait, figure: Figure, turn: Tensor, heading: Tensor) -> Figure:
    effort = gait.arm_swing_deg / 22
    pelvis, trunk = 0.4 * figure.pelvis, figure.trunk.clone()
    pelvis[:, 0] += heading - math.radians(5) * effort**0.5 * torch.cos(turn)
    pelvis[:, 1] += math.radians(0.35 * gait.lean_deg)
    pelvis[:, 2] += math.radians(3) * torch.sin(turn)
    trunk[:, 0] += math.radians(9) * effort**0.5 * torch.cos(turn)
    trunk[:, 1] += math.radians(0.65 * gait.lean_deg)
    trunk[:, 2] -= math.radians(3) * torch.sin(turn)
    arms = figure.arms.clone()
    swing = math.radians(gait.arm_swing_deg) * take.style.energy
    for side, sign in ((0, -1.0), (1, 1.0)):
        back_and_forth = sign * torch.cos(turn)
        # Arms hang from the shoulders whatever the trunk does.
        arms[:, side, 0] += swing * (back_and_forth + 0.1) + math.radians(gait.lean_deg)
        arms[:, side, 2] += math.radians(8)
        arms[:, side, 3] += math.radians(gait.elbow_deg - 16) + 0.35 * swing * back_and_forth
    return replace(figure, pelvis=pelvis, trunk=trunk, arms=arms)


def _swinging_foot(take: Take, gait: Gait, path: "_Path", phase: Tensor, foot: int) -> Tensor:
    stride = gait.speed * gait.stride_s
    count = phase.floor()
    swing = (phase - count - gait.planted) / (1 - gait.planted)
    sideways = (0.5 - foot) * gait.width * take.body.leg
    here, there = (
        path.beside((count + k + gait.under - 0.5 * foot) * stride, sideways) for k in (0, 1)
    )
    where = here + ease(swing)[:, None] * (there - here)
    height = take.body.ankle_height + gait.lift * take.body.leg * hump(swing, 0.36)
    return torch.cat([where, height[:, None]], dim=-1)


class _Path:
    """Places and headings along a course, the middle of the part that is used at the origin."""

    def __init__(self, course: Course, first: float, last: float) -> None:
        step = 0.01
        way = torch.arange(first, last + step, step, dtype=torch.float64)
        angle = 2 * math.pi * way / course.wavelength + course.phase
        heading = course.curvature * way - course.wave * course.wavelength / (2 * math.pi) * (
            torch.cos(angle) - math.cos(course.phase)
        )
        ahead = torch.stack([torch.cos(heading), torch.sin(heading)], dim=-1)
        self._way, self._heading = way, heading
        place = torch.cumsum(ahead * step, dim=0)
        self._place = place - (place.amin(0) + place.amax(0)) / 2

    def heading(self, way: Tensor) -> Tensor:
        return self._read(self._heading[:, None], way)[:, 0]

    def place(self, way: Tensor) -> Tensor:
        return self._read(self._place, way)

    def beside(self, way: Tensor, left: float) -> Tensor:
        heading = self.heading(way)
        normal = torch.stack([-torch.sin(heading), torch.cos(heading)], dim=-1)
        return self.place(way) + left * normal

    def _read(self, table: Tensor, way: Tensor) -> Tensor:
        position = (way - self._way[0]) / (self._way[1] - self._way[0])
        low = position.floor().long().clamp(0, table.shape[0] - 2)
        weight = (position - low)[:, None]
        return table[low] * (1 - weight) + table[low + 1] * weight
