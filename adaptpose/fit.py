"""Adversarial adaptation of a lifter to a target: the loop (AdaptPose section 5).

An epoch is a number of sections. In a section the generator and the discriminators are trained,
and what they generate is selected and kept; then the lifter is fine-tuned on it. The target comes
in as `TargetData`, which has no 3D; `monitor` may look at test labels, but what it returns is only
written down. Every section draws from its own streams, so a run that was stopped at any moment and
resumed ends with the weights of one that never stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptpose import distributed
from adaptpose.clips import Normalisation, PoseData, TargetData
from adaptpose.config import FitConfig, check_config
from adaptpose.critic import source_error_table
from adaptpose.errors import SkeletonError, expected_message
from adaptpose.label_free import label_free_score
from adaptpose.lifter import Lifter, save_lifter
from adaptpose.progress import ProgressHook, silent
from adaptpose.rundir import RunDirectory
from adaptpose.runtime import stream
from adaptpose.selection import REASONS
from adaptpose.state import FitData, FitState, create_state, set_learning_rates
from adaptpose.steps import (
    discriminator_step,
    draw_real2d,
    draw_source,
    generator_step,
    judge,
    lifter_step,
)
from adaptpose.store import write_json, write_tensors
from adaptpose.windows import build_labelled_bank, build_target_bank

Monitor = Callable[[Lifter], dict[str, float]]
"""Numbers of a lifter that are logged and never read: test errors, when labels exist."""


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


def fit(
    run: RunDirectory,
    lifter: Lifter,
    source: PoseData,
    target: TargetData,
    config: FitConfig,
    device: torch.device,
    *,
    normalisation: Normalisation = "screen",
    monitor: Monitor | None = None,
    progress: ProgressHook = silent,
) -> None:
    """Adapt a pretrained lifter; the result is `lifter.safetensors` in the run directory.

    Goes on from the run's saved state if there is one. Raises ConfigError for impossible
    configurations and SkeletonError if source, target and lifter do not have one skeleton.
    """
    check_config(config)
    _check_skeletons(lifter, source, target)
    lifter.to(device)
    lifter.context_stride = config.strides[0]
    data = FitData(
        build_labelled_bank(source, device), build_target_bank(target, device), normalisation
    )
    state = create_state(lifter, data, config)
    saved = run.load_state() if distributed.rank() == 0 else None
    saved = distributed.from_every_rank(saved)[0]
    if isinstance(saved, dict):
        state.load_state_dict(saved)
    else:
        _set_statistics(state, data, config)
    while state.epoch < config.epochs:
        _epoch(run, state, data, target, config, monitor, progress)
    if distributed.rank() == 0:
        run.finish()
    distributed.barrier()


def _epoch(
    run: RunDirectory,
    state: FitState,
    data: FitData,
    target: TargetData,
    config: FitConfig,
    monitor: Monitor | None,
    progress: ProgressHook,
) -> None:
    set_learning_rates(state, config)
    tuning = state.epoch >= config.warmup_epochs
    while state.section < config.sections:
        if state.section == 0 and tuning:
            middle = round(sum(config.strides) / 2)
            state.source_errors = source_error_table(
                state.lifter, data.source, middle, data.normalisation
            )
        record = _section(state, data, config, progress)
        state.section += 1
        last = state.section == config.sections
        if last and tuning and config.mixing == "sequential":
            record |= _source_pass(state, data, config, record["lifter_steps"])
        if last:
            record |= _score(state, target, config, monitor)
        name = {"stage": "fit", "epoch": state.epoch + 1, "section": state.section}
        if last:
            _save_epoch(run, state, data, config, record)
            state.epoch, state.section = state.epoch + 1, 0
        _save(run, state, name | record)
        if last:
            return


def _section(
    state: FitState, data: FitData, config: FitConfig, progress: ProgressHook
) -> dict[str, float]:
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
        source = draw_source(state, data, config, count, rng)
        outcome = generator_step(state, data, config, source, rng)
        log.add(outcome.losses)
        if step % config.discriminator.every == 0:
            log.add(discriminator_step(state, data, config, outcome, source, rng))
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
    kept = buffer.keep.nonzero()[:, 0]
    kept = kept[torch.randperm(kept.shape[0], generator=rng, device=data.device)]
    steps = distributed.smallest(kept.shape[0] // count, data.device)
    mixed = config.mixing == "mixed"
    for step in range(steps):
        rows = kept[step * count : (step + 1) * count]
        generated = (buffer.pose2d[rows], buffer.truth[rows])
        rng = stream(config.seed, *place, step, device=data.device)
        log.add(lifter_step(state, data, config, generated, count if mixed else 0, rng))
        _tell(progress, state, config, config.steps_per_section)
    return steps


def _tell(progress: ProgressHook, state: FitState, config: FitConfig, steps: int) -> None:
    """Windows generated so far, of all epochs; fine-tuning happens while the count stands."""
    sections = state.epoch * config.sections + state.section
    done = (sections * config.steps_per_section + steps) * config.batch_size
    total = config.epochs * config.sections * config.steps_per_section * config.batch_size
    progress("adapting", done, total)


def _source_pass(
    state: FitState, data: FitData, config: FitConfig, section_steps: float
) -> dict[str, float]:
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


def _set_statistics(state: FitState, data: FitData, config: FitConfig) -> None:
    """Standardise the discriminators' inputs by real windows: many, so that all ranks agree."""
    rng = stream(config.seed, "fit", "statistics", device=data.device)
    count = 4096
    state.domain.set_statistics(draw_real2d(state, data, config, count, rng))
    state.pose.set_statistics(draw_source(state, data, config, count, rng).pose3d_cam)


def _score(
    state: FitState, target: TargetData, config: FitConfig, monitor: Monitor | None
) -> dict[str, float]:
    """Label-free numbers of the epoch's lifter, and the monitor's."""
    if distributed.rank() != 0:
        return {}
    focal = 2.0  # a typical lens; the score compares lifters under one focal length
    score = label_free_score(state.lifter, target, focal)
    numbers = {
        "label_free": score.total,
        "label_free_rays": score.ray_residual,
        "label_free_constancy": score.bone_constancy,
        "label_free_symmetry": score.bone_symmetry,
        "label_free_flip_mm": score.flip_disagreement_mm,
    }
    watched = monitor(state.lifter) if monitor is not None else {}
    return numbers | {f"monitor_{name}": value for name, value in watched.items()}


def _save_epoch(
    run: RunDirectory,
    state: FitState,
    data: FitData,
    config: FitConfig,
    record: dict[str, float],
) -> None:
    if distributed.rank() != 0:
        return
    better = record["label_free"] < state.best_score
    state.best_score = min(state.best_score, record["label_free"])
    meta = {
        "normalisation": data.normalisation,
        "strides": list(config.strides),
        "epoch": state.epoch + 1,
        "rule": config.checkpoint_rule,
    }
    if better or config.checkpoint_rule == "last":
        save_lifter(run.path / "lifter.safetensors", state.lifter, meta)
    write_tensors(run.path / "generator.safetensors", state.generator.state_dict(), meta)
    counts = {name: record.get(f"selection_{name}", 0.0) for name in REASONS}
    write_json(run.path / "statistics.json", {"epoch": state.epoch + 1, "selection": counts})


def _save(run: RunDirectory, state: FitState, record: dict[str, object]) -> None:
    content = state.state_dict()
    if distributed.rank() == 0:
        run.log(record)
        run.save_state(content)


def _check_skeletons(lifter: Lifter, source: PoseData, target: TargetData) -> None:
    names = {
        "the lifter's input": lifter.skeleton_in.name,
        "the lifter's output": lifter.skeleton_out.name,
        f"target '{target.name}'": target.skeleton.name,
    }
    for what, name in names.items():
        if name != source.skeleton.name:
            raise SkeletonError(
                expected_message(what, f"skeleton '{source.skeleton.name}' of the source", name)
            )
