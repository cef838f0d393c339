"""Adaptation of a lifter without adversaries: the loop.

An epoch is a number of updates of the lifter. When a round begins, the averaged lifter lifts the
target's 2D, and the makers of windows that build on its poses are made anew. The target comes in
as `TargetData`, which has no 3D; `monitor` may look at test labels, but what it returns is only
written down. Every step draws from its own stream and the state is saved after every epoch, so a
run that was stopped at any moment and resumed ends with the weights of one that never stopped.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from adaptpose import distributed
from adaptpose.bones import mirror_pose
from adaptpose.clips import Normalisation, PoseData, TargetData, normalise_pose2d
from adaptpose.config import check_config
from adaptpose.epoch_scores import Monitor, epoch_scores
from adaptpose.errors import ConfigError, DataError, SkeletonError, expected_message
from adaptpose.lifter import Lifter, check_lifter_skeleton, dropout_of, save_lifter
from adaptpose.pairs import Pairs, join_pairs
from adaptpose.progress import ProgressHook, silent
from adaptpose.rounds_config import RoundsConfig
from adaptpose.rounds_makers import Feed, make_feeds
from adaptpose.rounds_state import RoundsData, RoundsState, create_state, set_learning_rate
from adaptpose.rundir import RunDirectory
from adaptpose.runtime import stream
from adaptpose.section import MeanLog
from adaptpose.skeleton import Skeleton
from adaptpose.store import write_json
from adaptpose.windows import build_labelled_bank, build_target_bank

_STAGE = "rounds"


def adapt_in_rounds(
    run: RunDirectory,
    lifter: Lifter,
    source: PoseData,
    target: TargetData,
    config: RoundsConfig,
    device: torch.device,
    *,
    normalisation: Normalisation = "screen",
    monitor: Monitor | None = None,
    progress: ProgressHook = silent,
) -> None:
    """Adapt a pretrained lifter; the result is `lifter.safetensors` in the run directory.

    Goes on from the run's saved state if there is one; a finished run is left as it is. Raises
    ConfigError for impossible configurations and for several processes, CheckpointError or
    SkeletonError if lifter, source and target do not have one skeleton, and DataError if a loss is
    not finite, with the saved state as it was before that epoch.
    """
    check_config(config)
    check_alone()
    check_lifter_skeleton(lifter, source.skeleton, f"adapting from '{source.name}'")
    if target.skeleton != source.skeleton:
        wanted, got = f"skeleton '{source.skeleton.name}' of the source", target.skeleton.name
        raise SkeletonError(expected_message(f"target '{target.name}'", wanted, got))
    if run.done:
        return
    config = config.fitted_to(sum(int(clip.valid.sum()) for clip in target.clips))
    lifter.to(device)
    lifter.context_stride = config.strides[0]
    banks = build_labelled_bank(source, device), build_target_bank(target, device)
    data = RoundsData(*banks, replace(target, normalisation=normalisation), normalisation)
    state = create_state(lifter, config)
    saved = run.load_state()
    if saved is not None:
        state.load_state_dict(saved)
    feeds: list[Feed] = []
    while state.epoch < config.epochs:
        feeds = _feeds_of_epoch(state, data, config, feeds)
        _epoch(run, state, data, config, feeds, monitor, progress)
    run.finish()
    (run.path / "state.safetensors").unlink(missing_ok=True)


def check_alone() -> None:
    """Raise ConfigError if several processes share the run: these methods run in one."""
    if distributed.world_size() > 1:
        raise ConfigError(
            f"--method: only adaptpose can be shared by several processes, got "
            f"{distributed.world_size()} (fix: --method adaptpose, or start without torchrun)"
        )


def training_step(
    state: RoundsState,
    feeds: Sequence[Feed],
    config: RoundsConfig,
    normalisation: Normalisation,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """One update of the lifter on a fresh batch; losses (m) and shares of usable windows by maker.

    The average does not move here. Nothing waits for the device.
    """
    pairs = draw_batch(feeds, rng)
    skeleton = state.lifter.skeleton_in
    if config.mirror:
        pairs = mirror_half(pairs, skeleton, rng)
    seen = normalise_pose2d(pairs.pose2d, normalisation, skeleton.root)
    state.lifter.train()
    state.lifter.set_generator(rng)
    halved = torch.autocast(seen.device.type, torch.bfloat16, config.precision == "bfloat16")
    with torch.set_grad_enabled(state.optimiser is not None):
        with halved, dropout_of(state.lifter, config.dropout):
            poses = state.lifter.lift_window(seen)
        errors = (poses.float() - pairs.pose3d).norm(dim=-1).mean(dim=-1)
        loss = weighted_mean(errors, pairs.weight)
    if state.optimiser is not None:
        weights = [w for group in state.optimiser.param_groups for w in group["params"]]
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=weights)
        nn.utils.clip_grad_norm_(weights, config.gradient_clip)
        state.optimiser.step()
    return {"lifter_loss": loss.detach()} | _by_maker(feeds, errors.detach(), pairs.weight)


def draw_batch(feeds: Sequence[Feed], rng: torch.Generator) -> Pairs:
    """A batch in the feeds' order, its unusable windows replaced (`without_unusable`)."""
    parts = [feed.maker.make(feed.count, rng) for feed in feeds]
    labelled = [part for part, feed in zip(parts, feeds, strict=True) if feed.labelled]
    others = [part for part, feed in zip(parts, feeds, strict=True) if not feed.labelled]
    return join_pairs([without_unusable(join_pairs(labelled)), *others])


def without_unusable(pairs: Pairs) -> Pairs:
    """The batch with every window of weight 0 a copy of the nearest usable one before it.

    It keeps weight 0, so no loss sees it; but batch norm would see what must not be used. The first
    window has to be usable.
    """
    row = torch.arange(pairs.weight.shape[0], device=pairs.weight.device)
    row = torch.where(pairs.weight > 0, row, 0).cummax(dim=0).values
    return Pairs(pairs.pose2d[row], pairs.pose3d[row], pairs.weight)


def mirror_half(pairs: Pairs, skeleton: Skeleton, rng: torch.Generator) -> Pairs:
    """The batch with about half of its windows mirrored, in 2D and 3D alike."""
    weight = pairs.weight
    chosen = torch.rand(weight.shape[0], generator=rng, device=weight.device) < 0.5
    flat, body = mirror_pose(pairs.pose2d, skeleton), mirror_pose(pairs.pose3d, skeleton)
    pose2d = torch.where(chosen[:, None, None, None], flat, pairs.pose2d)
    return Pairs(pose2d, torch.where(chosen[:, None, None], body, pairs.pose3d), weight)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """The mean of values by weight; 0 where all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def _by_maker(feeds: Sequence[Feed], errors: Tensor, weight: Tensor) -> dict[str, Tensor]:
    ordered = [f for f in feeds if f.labelled] + [f for f in feeds if not f.labelled]
    sizes = [feed.count for feed in ordered]
    found = {}
    for feed, error, own in zip(ordered, errors.split(sizes), weight.split(sizes), strict=True):
        if feed.labelled:
            found[f"lifter_{feed.maker.name}"] = weighted_mean(error, own)
            if feed.maker.name != "source":
                found[f"usable_{feed.maker.name}"] = (own > 0).float().mean()
    return found


def _feeds_of_epoch(
    state: RoundsState, data: RoundsData, config: RoundsConfig, feeds: list[Feed]
) -> list[Feed]:
    """The feeds of the state's epoch: those of before unless a round begins.

    A resumed run comes without feeds into a round that has begun, and makes them by its teacher.
    """
    number, shares = config.round_of(state.epoch), config.shares_in(state.epoch)
    fresh = state.epoch == 0 or number != config.round_of(state.epoch - 1)
    begins = fresh and shares.lifted > 0
    if feeds and not begins:
        return feeds
    if begins:
        state.begin_round()
    return make_feeds(data, state.lifter, state.teacher, shares, config, number)


def _epoch(
    run: RunDirectory,
    state: RoundsState,
    data: RoundsData,
    config: RoundsConfig,
    feeds: Sequence[Feed],
    monitor: Monitor | None,
    progress: ProgressHook,
) -> None:
    log, rate = MeanLog(), 0.0
    for step in range(config.steps_per_epoch):
        number = state.epoch * config.steps_per_epoch + step
        rate = set_learning_rate(state, config, number)
        rng = stream(config.seed, _STAGE, state.epoch, step, device=data.device)
        log.add(training_step(state, feeds, config, data.normalisation, rng))
        state.average.follow(number)
        done = (number + 1) * config.batch_size
        progress("adapting", done, config.epochs * config.steps_per_epoch * config.batch_size)
    state.lifter.set_generator(None)
    record = log.means() | {"learning_rate": rate, "lifter_steps": config.steps_per_epoch}
    _check_finite(state, record)
    record["round"] = config.round_of(state.epoch)
    record |= epoch_scores(state.average.lifter, data.clips, monitor)
    record = {"stage": "fit", "epoch": state.epoch + 1} | record
    _save_epoch(run, state, data, config, record)
    state.epoch += 1
    run.log(record)
    run.save_state(state.state_dict())


def _save_epoch(
    run: RunDirectory,
    state: RoundsState,
    data: RoundsData,
    config: RoundsConfig,
    record: dict[str, Any],
) -> None:
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
        save_lifter(result, state.average.lifter, meta)
    write_json(run.path / "statistics.json", _statistics(config, state.epoch + 1))


def _statistics(config: RoundsConfig, epochs: int) -> dict[str, Any]:
    """Steps of the lifter in so many epochs, and windows that were made for them by kind."""
    steps, windows = config.steps_per_epoch, Counter()
    for epoch in range(epochs):
        for name, count in config.shares_in(epoch).counts(config.batch_size).items():
            windows[name] += count * steps
    return {"lifter_steps": epochs * steps, "windows": dict(windows)}


def _check_finite(state: RoundsState, record: dict[str, float]) -> None:
    """DataError if losses or weights are not numbers, before any of the epoch is saved."""
    broken = sorted(name for name, value in record.items() if not math.isfinite(value))
    tensors = [
        value for value in state.average.lifter.state_dict().values() if value.is_floating_point()
    ]
    if not math.isfinite(float(torch.stack([value.sum() for value in tensors]).sum())):
        broken.append("weights of the lifter")
    if broken:
        raise DataError(
            f"epoch {state.epoch + 1}: expected finite losses and weights, got others: "
            f"{', '.join(broken)}; the state before this epoch is kept "
            "(fix: lower rounds.learning_rate)"
        )
