"""Blending poses into a figure: what the actions of both presets are put together with."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.synthetic_curves import Take
from adaptpose.datasets.synthetic_figure import Figure

Action = Callable[[Take], Figure]
"""Fills a take with a figure that starts near the origin and faces x."""

MEAN_LEG_M = 0.86
"""Leg length to which speeds and stride times of the actions refer."""


def blend_arm(
    figure: Figure,
    side: int,
    pose: Float[Tensor, "4"] | Float[Tensor, "frames 4"],
    weight: Float[Tensor, "frames"] | float,
) -> Figure:
    """The figure with one arm (0 left, 1 right) moved towards a pose by a weight from 0 to 1."""
    arms = figure.arms.clone()
    share = torch.as_tensor(weight, dtype=arms.dtype).reshape(-1, 1)
    arms[:, side] += share * (pose - arms[:, side])
    return replace(figure, arms=arms)


def bend(
    figure: Figure,
    weight: Float[Tensor, "frames"],
    angles_deg: tuple[float | int, float | int],
    back: float,
) -> Figure:
    """The figure bent forwards by (pelvis, trunk) degrees, the hips going back by `back` metres."""
    pelvis, trunk, root = figure.pelvis.clone(), figure.trunk.clone(), figure.root.clone()
    pelvis[:, 1] += weight * math.radians(angles_deg[0])
    trunk[:, 1] += weight * math.radians(angles_deg[1])
    root[:, 0] -= weight * back
    return replace(figure, pelvis=pelvis, trunk=trunk, root=root)


def lower(figure: Figure, metres: Float[Tensor, "frames"]) -> Figure:
    """The figure with its pelvis lower by a number of metres."""
    root = figure.root.clone()
    root[:, 2] -= metres
    return replace(figure, root=root)


def leg_ratio(take: Take) -> float:
    """Root of the leg's length over the mean one: how stride times and speeds scale with size.

    Motions of equal Froude number v²/gL (Alexander 1989) keep both proportional to it.
    """
    return math.sqrt(take.body.leg / MEAN_LEG_M)


def pace(take: Take) -> float:
    """How fast this person likes to go, 1 for the mean adult: tempo times size."""
    return take.style.tempo * leg_ratio(take)
