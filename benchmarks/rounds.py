"""Measuring pieces of work in turn, so that whatever else the machine does hits all of them."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

Work = Callable[[], int]
"""A piece of work; returns how many items (windows, frames) it dealt with."""


@dataclass
class Rate:
    """Items per second of one piece of work, of every round."""

    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds)


def measure(works: dict[str, Work], rounds: int, device: torch.device) -> dict[str, Rate]:
    """Rates of all pieces of work, each once per round, in alternating order, after one warm-up."""
    rates = {name: Rate() for name in works}
    for work in works.values():
        work()
    for number in range(rounds):
        names = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in names:
            seconds, items = timed(works[name], device)
            rates[name].rounds.append(items / seconds)
    return rates


def timed(work: Work, device: torch.device) -> tuple[float, int]:
    """Wall-clock seconds and items of one piece of work."""
    _wait(device)
    began = time.perf_counter()
    items = work()
    _wait(device)
    return time.perf_counter() - began, items


def ratio(above: Rate, below: Rate) -> float:
    """Median over the rounds of the ratio within a round."""
    pairs = zip(above.rounds, below.rounds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def peak_memory_mib(device: torch.device) -> dict[str, float]:
    """Largest resident memory of the process so far, and of the device if it has its own."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    found = {"host": peak / 2**20}
    if device.type == "cuda":
        found["device"] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
