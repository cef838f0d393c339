"""One section of an epoch: adversarial steps, selection, then fine-tuning on what was kept.

Nothing here reads or writes files. Every step draws from a stream named by epoch, section, rank
and step.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptpose import distributed
from adaptpose.config import FitConfig
from adaptpose.progress import ProgressHook
from adaptpose.runtime import stream
from adaptpose.selection import REASONS
from adaptpose.starts import begin_from
from adaptpose.state import FitData, FitState
from adaptpose.steps import (
    discriminator_step,
    draw_source,
    generator_step,
    judge,
)
from adaptpose.tuning import lifter_step


@dataclass
class SectionBuffer:
    """Generated windows of one section on the device, and which of them were kept."""

    pose2d: Tensor
    truth: Tensor
    keep: Tensor
    counts: Tensor


class MeanLog:
    """Running means of loss tensors, read once at the end."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one step's values."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean of every value over the steps that had it."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


def run_section(
    state: FitState, data: FitData, config: FitConfig, progress: ProgressHook
) -> dict[str, float]:
    """Train generator and discriminators, then the lifter on what was kept; means for the log.

    Without fine-tuning in the warm-up epochs. `lifter_steps` and the counts of the selection by
    outcome are in the record beside the losses.
    """
    log = MeanLog()
    tuning = state.epoch >= config.warmup_epochs
    buffer = _adversarial_part(state, data, config, log, progress)
    steps = 0
    if tuning and buffer is not None:
        steps = _tuning_part(state, data, config, buffer, log, progress)
    record = log.means() | {"lifter_steps": float(steps)}
    if buffer is not None:
        counts = distributed.total(buffer.counts).tolist()
        record |= {f"selection_{k}": float(n) for k, n in zip(REASONS, counts, strict=True)}
    return record


def _adversarial_part(
    state: FitState, data: FitData, config: FitConfig, log: MeanLog, progress: ProgressHook
) -> SectionBuffer | None:
    place = ("fit", state.epoch, state.section, "adversarial", distributed.rank())
    count = max(1, config.batch_size // distributed.world_size())
    tuning = state.epoch >= config.warmup_epochs
    steps = config.steps_per_section
    buffer = _new_buffer(state, data, steps * count) if tuning else None
    for step in range(steps):
        rng = stream(config.seed, *place, step, device=data.device)
        real = draw_source(state, data, config, count, rng)
        source, told = begin_from(state, real, rng)
        outcome = generator_step(state, data, config, source, rng)
        log.add(outcome.losses | told)
        if step % config.discriminator.every == 0:
            log.add(discriminator_step(state, data, config, outcome, real, rng))
        if buffer is not None:
            selection = judge(state, data, config, outcome, source.frame)
            rows = slice(step * count, (step + 1) * count)
            middle = outcome.generated.pose3d_cam[:, state.lifter.frames_before]
            root = data.source.skeleton.root
            buffer.pose2d[rows] = outcome.seen2d
            buffer.truth[rows] = middle - middle[:, root : root + 1]
            buffer.keep[rows] = selection.keep
            buffer.counts += selection.counts
        _tell(progress, state, config, step + 1)
    return buffer


def _tuning_part(
    state: FitState,
    data: FitData,
    config: FitConfig,
    buffer: SectionBuffer,
    log: MeanLog,
    progress: ProgressHook,
) -> int:
    place = ("fit", state.epoch, state.section, "tuning", distributed.rank())
    rng = stream(config.seed, *place, device=data.device)
    count = max(1, config.batch_size // distributed.world_size())
    kept = _order(buffer.keep.nonzero()[:, 0], count, config, rng)
    steps = distributed.smallest(kept.shape[0] // count, data.device)
    mixed = config.mixing == "mixed"
    for step in range(steps):
        rows = kept[step * count : (step + 1) * count]
        generated = (buffer.pose2d[rows], buffer.truth[rows])
        rng = stream(config.seed, *place, step, device=data.device)
        log.add(lifter_step(state, data, config, generated, count if mixed else 0, rng))
        _tell(progress, state, config, config.steps_per_section)
    return steps


def _order(kept: Tensor, count: int, config: FitConfig, rng: torch.Generator) -> Tensor:
    """Kept windows shuffled, and again shuffled ones for as many updates as were planned."""
    wanted = config.steps_per_section * count
    rounds = math.ceil(wanted / max(1, kept.shape[0])) if config.repeat_kept else 1
    shuffled = [
        kept[torch.randperm(kept.shape[0], generator=rng, device=kept.device)]
        for _ in range(rounds if kept.shape[0] else 1)
    ]
    return torch.cat(shuffled)[:wanted]


def _tell(progress: ProgressHook, state: FitState, config: FitConfig, steps: int) -> None:
    """Windows generated so far, of all epochs; fine-tuning happens while the count stands."""
    sections = state.epoch * config.sections + state.section
    done = (sections * config.steps_per_section + steps) * config.batch_size
    total = config.epochs * config.sections * config.steps_per_section * config.batch_size
    progress("adapting", done, total)


def source_pass(
    state: FitState, data: FitData, config: FitConfig, section_steps: float
) -> dict[str, float]:
    """Tune the lifter on source windows alone, as many steps as the epoch's generated ones."""
    log = MeanLog()
    count = max(1, config.batch_size // distributed.world_size())
    place = ("fit", state.epoch, "source pass", distributed.rank())
    for step in range(int(section_steps) * config.sections):
        rng = stream(config.seed, *place, step, device=data.device)
        log.add(lifter_step(state, data, config, None, count, rng))
    return log.means()


def _new_buffer(state: FitState, data: FitData, size: int) -> SectionBuffer:
    skeleton, device = data.source.skeleton, data.device
    shape = (size, state.lifter.receptive_field, skeleton.num_joints, 2)
    return SectionBuffer(
        torch.empty(shape, device=device),
        torch.empty(size, skeleton.num_joints, 3, device=device),
        torch.zeros(size, dtype=torch.bool, device=device),
        torch.zeros(len(REASONS), dtype=torch.long, device=device),
    )
