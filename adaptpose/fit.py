"""Adversarial adaptation of a lifter to a target: the loop (AdaptPose section 5).

An epoch is a number of sections. In a section the generator and the discriminators are trained,
and what they generate is selected and kept; then the lifter is fine-tuned on it. The target comes
in as `TargetData`, which has no 3D; `monitor` may look at test labels, but what it returns is only
written down. Every section draws from its own streams, so a run that was stopped at any moment and
resumed ends with the weights of one that never stopped.
"""

import math
from typing import Any

import torch

from adaptpose import distributed
from adaptpose.clips import Normalisation, PoseData, TargetData
from adaptpose.config import FitConfig, check_config
from adaptpose.critic import source_error_table
from adaptpose.epoch_scores import Monitor, epoch_scores
from adaptpose.errors import DataError, SkeletonError, expected_message
from adaptpose.lifter import Lifter, save_lifter
from adaptpose.progress import ProgressHook, silent
from adaptpose.rundir import RunDirectory
from adaptpose.runtime import stream
from adaptpose.section import run_section, source_pass
from adaptpose.selection import REASONS
from adaptpose.starts import prepare_start
from adaptpose.state import FitData, FitState, create_state, set_learning_rates
from adaptpose.steps import draw_real2d, draw_source
from adaptpose.store import write_json, write_tensors
from adaptpose.windows import build_labelled_bank, build_target_bank


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

    Goes on from the run's saved state if there is one; a finished run is left as it is. Raises
    ConfigError for impossible configurations, SkeletonError if source, target and lifter do not
    have one skeleton, and DataError if a loss is not finite, with the saved state as it was
    before that section.
    """
    check_config(config)
    _check_skeletons(lifter, source, target)
    if run.done:
        return
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
    distributed.barrier()
    if distributed.rank() == 0:
        run.finish()
        (run.path / "state.safetensors").unlink(missing_ok=True)
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
        prepare_start(state, data, target, config)
        if state.section == 0 and tuning:
            middle = round(sum(config.strides) / 2)
            state.source_errors = source_error_table(
                state.lifter, data.source, middle, data.normalisation
            )
        record = run_section(state, data, config, progress)
        _check_finite(state, record)
        state.section += 1
        last = state.section == config.sections
        if last and tuning and config.mixing == "sequential":
            record |= source_pass(state, data, config, record["lifter_steps"])
        if last:
            record |= _score(state, target, monitor)
        name = {"stage": "fit", "epoch": state.epoch + 1, "section": state.section}
        if last:
            _save_epoch(run, state, data, config, record)
            state.epoch, state.section = state.epoch + 1, 0
        _save(run, state, name | record)
        if last:
            return


def _set_statistics(state: FitState, data: FitData, config: FitConfig) -> None:
    """Standardise the discriminators' inputs by real windows: many, so that all ranks agree."""
    rng = stream(config.seed, "fit", "statistics", device=data.device)
    count = 4096
    state.domain.set_statistics(draw_real2d(state, data, config, count, rng))
    state.pose.set_statistics(draw_source(state, data, config, count, rng).pose3d_cam)


def _score(state: FitState, target: TargetData, monitor: Monitor | None) -> dict[str, float]:
    """Label-free numbers of the epoch's lifter, and the monitor's."""
    if distributed.rank() != 0:
        return {}
    return epoch_scores(state.lifter, target, monitor)


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
    result = run.path / "lifter.safetensors"
    if better or config.checkpoint_rule == "last" or not result.is_file():
        save_lifter(result, state.lifter, meta)
    write_tensors(run.path / "generator.safetensors", state.generator.state_dict(), meta)
    write_json(run.path / "statistics.json", _statistics([*run.records(), record]))


def _statistics(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of the whole run: generated windows by outcome, and steps of the lifter."""
    names = [*(f"selection_{reason}" for reason in REASONS), "lifter_steps"]
    return {name: sum(record.get(name, 0.0) for record in records) for name in names}


def _save(run: RunDirectory, state: FitState, record: dict[str, object]) -> None:
    content = state.state_dict()
    if distributed.rank() == 0:
        run.log(record)
        run.save_state(content)


def _check_finite(state: FitState, record: dict[str, float]) -> None:
    """DataError if a section's losses or weights are not numbers, before any of it is saved."""
    broken = sorted(name for name, value in record.items() if not math.isfinite(value))
    for name, network in state.networks().items():
        sums = [p.detach().sum() for p in network.parameters()]
        if sums and not math.isfinite(float(torch.stack(sums).sum())):
            broken.append(f"weights of the {name} network")
    if broken:
        raise DataError(
            f"epoch {state.epoch + 1}, section {state.section + 1}: expected finite losses and "
            f"weights, got others: {', '.join(broken)}; the state before this section is kept "
            "(fix: lower fit.learning_rate_generator and its like)"
        )


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
