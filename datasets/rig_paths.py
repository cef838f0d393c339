"""Where the cameras of a rig stand and how they move: `T_cam_world` for every frame of a motion.

World: metres, z up. Distances are horizontal, from the middle of the capture area (from the
person for cameras that go along); heights are above the floor, the lowest level of the feet.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.camera import look_at
from adaptpose.datasets.lenses import uniform

REACH_M = (0.7, 1.1)
"""How far a body reaches from its hip sideways, and up or down: what a camera leaves room for."""


@dataclass(frozen=True)
class Handling:
    """How a camera is held.

    `aims` turns it after the person, `follows` carries it along; both lag by smoothing the
    person's path (standard deviations in s). Shake, roll and bob are root mean squares.
    """

    aims: bool = False
    follows: bool = False
    aim_lag_s: float = 0.25
    follow_lag_s: float = 1.0
    orbit_deg_per_s: float = 0.0
    sway_m: float = 0.0
    bob_m: float = 0.0
    shake_deg: float = 0.0
    roll_deg: float = 0.0


TRIPOD = Handling()
"""Stands still and looks at the middle of the capture area."""
PAN_HEAD = Handling(aims=True, aim_lag_s=0.15, shake_deg=0.05)
"""Stands still and turns after the person."""
HAND = Handling(
    aims=True,
    follows=True,
    orbit_deg_per_s=8.0,
    sway_m=0.4,
    bob_m=0.02,
    shake_deg=2.0,
    roll_deg=2.5,
)
"""A person who walks around the subject while filming."""
FLIGHT = Handling(
    aims=True,
    follows=True,
    aim_lag_s=0.5,
    follow_lag_s=2.0,
    orbit_deg_per_s=5.0,
    sway_m=0.8,
    bob_m=0.1,
    shake_deg=0.3,
    roll_deg=0.5,
)
"""A drone that goes along."""


@dataclass(frozen=True)
class Stand:
    """The place of one camera: distance and height (m), distance limits (m), azimuth (rad)."""

    distance_m: float
    height_m: float
    limits_m: tuple[float, float]
    azimuth_rad: float


def camera_path(
    root_world: Float[Tensor, "frames 3"],
    floor_m: float,
    frame_rate_hz: float,
    stand: Stand,
    handling: Handling,
    generator: torch.Generator,
) -> Float[Tensor, "*frames 4 4"]:
    """`T_cam_world` of one camera: (4, 4) for a tripod, (frames, 4, 4) for one that moves."""
    centre = area_centre(root_world)
    if not handling.aims:
        eye = _eye(centre, torch.tensor(stand.azimuth_rad), torch.tensor(stand.distance_m))
        eye[..., 2] = floor_m + stand.height_m
        return look_at(eye, centre)
    time = torch.arange(len(root_world)) / frame_rate_hz
    target = smooth(root_world, handling.aim_lag_s * frame_rate_hz)
    eye = _moving_eye(root_world, time, stand, handling, generator)
    eye[..., 2] = floor_m + stand.height_m + handling.bob_m * wobble(time, (0.3, 2.0), generator)
    reach = math.radians(handling.shake_deg) * stand.distance_m
    shake = [wobble(time, (0.1, 3.0), generator) for _ in range(3)]
    roll = math.radians(handling.roll_deg) * wobble(time, (0.1, 0.8), generator)
    return look_at(eye, target + reach * torch.stack(shake, dim=-1), roll)


def area_centre(root_world: Float[Tensor, "frames 3"]) -> Float[Tensor, "3"]:
    """The middle of the box that a person's root moves in, at the root's median height."""
    middle = (root_world.amin(dim=0) + root_world.amax(dim=0)) / 2
    middle[2] = root_world[:, 2].median()
    return middle


def floor_level(joints_world: Float[Tensor, "frames joints 3"]) -> float:
    """Height (m) of the floor: nearly the lowest level that any joint reaches."""
    lowest = joints_world[..., 2].amin(dim=1).sort().values
    return float(lowest[len(lowest) // 50])


def cut_into_areas(
    root_world: Float[Tensor, "frames 3"], radius_m: float, least_frames: int
) -> list[tuple[int, int]]:
    """Frame ranges (start, end) in each of which the root stays inside an area of that radius.

    A person who walks far is so filmed in several places, each with the cameras set up anew. A
    rest shorter than `least_frames` stays with the range before it.
    """
    ground, ranges, start = root_world[:, :2], [], 0
    while start < len(ground):
        rest = ground[start:]
        box = rest.cummax(dim=0).values - rest.cummin(dim=0).values
        outside = (box.norm(dim=-1) > 2 * radius_m).nonzero()
        end = start + max(int(outside[0, 0]), 1) if len(outside) else len(ground)
        if ranges and end == len(ground) and end - start < least_frames:
            start = ranges.pop()[0]
        ranges.append((start, end))
        start = end
    return ranges


def smooth(path: Float[Tensor, "frames dims"], sigma: float) -> Float[Tensor, "frames dims"]:
    """A path smoothed by a Gaussian of `sigma` frames; the ends are held."""
    half = math.ceil(3 * sigma)
    if half == 0:
        return path
    steps = torch.arange(-half, half + 1)
    weight = torch.exp(-0.5 * (steps / sigma) ** 2)
    weight = (weight / weight.sum()).to(path.dtype)
    held = torch.nn.functional.pad(path.T[:, None], (half, half), mode="replicate")
    return torch.nn.functional.conv1d(held, weight[None, None])[:, 0].T


def wobble(
    time_s: Float[Tensor, "frames"], band_hz: tuple[float, float], generator: torch.Generator
) -> Float[Tensor, "frames"]:
    """Smooth noise of root mean square about 1: six sines in a frequency band, weaker upwards."""
    spread = torch.rand(6, generator=generator)
    frequency = band_hz[0] * (band_hz[1] / band_hz[0]) ** spread
    phase = 2 * math.pi * torch.rand(6, generator=generator)
    amplitude = frequency**-0.5
    amplitude = amplitude * math.sqrt(2) / amplitude.norm()
    return torch.sin(2 * math.pi * time_s[:, None] * frequency + phase) @ amplitude


def _moving_eye(
    root: Tensor, time: Tensor, stand: Stand, handling: Handling, generator: torch.Generator
) -> Tensor:
    if not handling.follows:
        azimuth, distance = torch.tensor(stand.azimuth_rad), torch.tensor(stand.distance_m)
        return _eye(area_centre(root), azimuth, distance).repeat(len(root), 1)
    step_s = float(time[1]) if len(time) > 1 else 1.0
    centre = smooth(root, handling.follow_lag_s / step_s)
    turn = math.radians(handling.orbit_deg_per_s) * uniform((-1.0, 1.0), generator)
    azimuth = stand.azimuth_rad + turn * time + 0.1 * wobble(time, (0.03, 0.3), generator)
    return _eye(centre, azimuth, stand.distance_m + _sway(time, stand, handling, generator))


def _sway(time: Tensor, stand: Stand, handling: Handling, generator: torch.Generator) -> Tensor:
    """Slow change of the distance that never leaves the limits."""
    room = min(stand.distance_m - stand.limits_m[0], stand.limits_m[1] - stand.distance_m)
    frequency, phase = uniform((0.05, 0.25), generator), uniform((0.0, 2 * math.pi), generator)
    return max(min(room, handling.sway_m), 0.0) * torch.sin(2 * math.pi * frequency * time + phase)


def _eye(centre: Tensor, azimuth: Tensor, distance: Tensor) -> Tensor:
    ground = torch.stack([torch.cos(azimuth), torch.sin(azimuth)], dim=-1) * distance[..., None]
    return torch.cat([centre[..., :2] + ground, centre[..., 2:]], dim=-1)
