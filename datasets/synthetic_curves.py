"""Smooth curves over time, and the take that an action fills: what every action is made of.

All curves are closed formulas of time, so a take at another frame rate is the same motion sampled
at other times. Seconds, radians, metres; float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.synthetic_body import Body


@dataclass(frozen=True)
class Style:
    """What stays the same for one person from take to take.

    `tempo` multiplies speeds, `energy` amplitudes; `hand` is the stronger side (0 left, 1 right).
    `lean_rad` and `toe_out_rad` are habits of posture, `stance` the distance between the feet as
    a share of the leg.
    """

    tempo: float
    energy: float
    hand: int
    lean_rad: float
    toe_out_rad: float
    stance: float


@dataclass(frozen=True)
class Take:
    """One take to be filled: its times and length (s), who moves, and where its draws come from."""

    time: Float[Tensor, "frames"]
    seconds: float
    body: Body
    style: Style
    generator: torch.Generator

    def uniform(self, low: float | int, high: float | int) -> float:
        """A number between low and high."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def choice(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return int(torch.randint(count, (), generator=self.generator))

    def jitter(self, values: Tensor, sd: float) -> Tensor:
        """The values with Gaussian noise of one standard deviation, at most two."""
        noise = torch.randn(values.shape, generator=self.generator, dtype=torch.float64)
        return values + sd * noise.clamp(-2, 2)


def wander(
    take: Take, amplitude: float, hz: float, *shape: int, terms: int = 4
) -> Float[Tensor, "frames *shape"]:
    """A slow aimless curve: sinusoids of random phase around `hz`, within +- amplitude."""
    size = (*shape, terms)
    frequency = hz * (0.35 + 1.3 * torch.rand(size, generator=take.generator, dtype=torch.float64))
    phase = 2 * math.pi * torch.rand(size, generator=take.generator, dtype=torch.float64)
    share = 1 / frequency
    angle = 2 * math.pi * frequency * take.time.reshape(-1, *[1] * len(size)) + phase
    return amplitude * (torch.sin(angle) * share).sum(-1) / share.sum(-1)


def ease(u: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """0 to 1 along the minimum-jerk curve (Flash & Hogan 1985), flat outside [0, 1]."""
    u = u.clamp(0, 1)
    return u**3 * (10 - 15 * u + 6 * u * u)


def hump(u: Float[Tensor, "*batch"], peak: float = 0.5) -> Float[Tensor, "*batch"]:
    """0 to 1 and back, level at both ends of [0, 1] and 0 outside; `peak` says where 1 is."""
    return ease(u / peak) * ease((1 - u) / (1 - peak))


def pulse(
    time: Float[Tensor, "frames"],
    start: float | int,
    rise: float,
    hold: float | int,
    fall: float,
) -> Float[Tensor, "frames"]:
    """0, up to 1 within `rise` seconds from `start`, held, and down to 0 within `fall`."""
    return ease((time - start) / rise) - ease((time - start - rise - hold) / fall)


def keyed(
    time: Float[Tensor, "frames"],
    keys: Sequence[float | int],
    values: Float[Tensor, "keys *shape"],
    dwell: float = 0.0,
) -> Float[Tensor, "frames *shape"]:
    """Minimum-jerk moves through values at key times, each after a pause of share `dwell`."""
    at = torch.tensor(keys, dtype=torch.float64)
    gap = at.diff()
    begin = at[:-1] + dwell * gap
    weight = ease((time[:, None] - begin) / ((1 - dwell) * gap))
    moved = torch.einsum("tk,k...->t...", weight, values.diff(dim=0))
    return values[0] + moved


def spline(
    time: Float[Tensor, "frames"],
    keys: Sequence[float | int],
    values: Sequence[float | int],
    slopes: Sequence[float | int],
) -> Float[Tensor, "frames"]:
    """Cubic Hermite curve through values with given slopes at the keys; constant outside.

    Between two keys of slope +-v that are 2v/g apart it is the parabola of free flight.
    """
    at, value, slope = (torch.tensor(x, dtype=torch.float64) for x in (keys, values, slopes))
    inside = time.clamp(at[0], at[-1])
    k = (torch.searchsorted(at, inside, right=True) - 1).clamp(0, len(keys) - 2)
    width = (at[1:] - at[:-1])[k]
    u = (inside - at[k]) / width
    before = (1 + 2 * u) * (1 - u) ** 2 * value[k] + u * (1 - u) ** 2 * width * slope[k]
    after = u * u * (3 - 2 * u) * value[k + 1] + u * u * (u - 1) * width * slope[k + 1]
    return before + after


def degrees(*values: float | int) -> Float[Tensor, "_"]:
    """Angles written in degrees, in radians."""
    return torch.deg2rad(torch.tensor(values, dtype=torch.float64))


def schedule(take: Take, gap: tuple[float, float], first: float | int = 0.0) -> list[float]:
    """Times from `first` on to the end of the take, apart by draws between the two gaps."""
    times = [first]
    while times[-1] < take.seconds:
        times.append(times[-1] + take.uniform(*gap) / take.style.tempo)
    return times
