"""Supervised training of a lifter on one or several labelled datasets (VideoPose3D's recipe).

The loss is MPJPE of the root-relative pose of one frame per window; windows have a random frame
stride and half of them are mirrored. A trajectory lifter can be trained beside it, on the root's
position. All frames lie on the device; a step makes no host wait for it.

Every draw is named by seed, epoch and step, and the state is saved after every epoch: a run that
is stopped at any moment and started again ends with the same weights as one that never was.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptpose.camera import MIN_DEPTH
from adaptpose.clips import Normalisation, PoseData
from adaptpose.config import PretrainConfig, check_config
from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.feeds import BankFeed, StreamFeed, check_context
from adaptpose.inference import predict_clips
from adaptpose.lifter import Lifter, check_lifter_skeleton, load_weights, save_lifter
from adaptpose.metrics import mpjpe_mm
from adaptpose.progress import ProgressHook, silent
from adaptpose.rundir import RunDirectory
from adaptpose.runtime import stream
from adaptpose.store import read_tensors
from adaptpose.supervised import draw_batch, pose_loss, training_bank, trajectory_loss
from adaptpose.window_source import WindowSource
from adaptpose.windows import LabelledBank

Feed = BankFeed | StreamFeed
_STAGE = "pretrain"


def pretrain(
    run: RunDirectory,
    lifter: Lifter,
    source: PoseData | list[PoseData] | WindowSource,
    config: PretrainConfig,
    device: torch.device,
    *,
    normalisation: Normalisation = "screen",
    trajectory: Lifter | None = None,
    validation: PoseData | None = None,
    progress: ProgressHook = silent,
) -> None:
    """Train `lifter` in place from where it or the run stands and leave its weights in the run.

    Writes one record per epoch to the run's log and at the end `lifter.safetensors` (and
    `trajectory.safetensors`). A run with a saved state goes on from it; a finished one only loads
    its result. Several sources are trained on as one; ready windows (`WindowSource`) are read bank
    by bank, one frame apart whatever the strides of the configuration. `validation` is scored after
    every epoch and chooses nothing. Raises ConfigError, DataError or CheckpointError before the
    first step if configuration, data and lifters do not fit together, and ConfigError if training
    diverges.
    """
    lifters = {"lifter": lifter, **({"trajectory": trajectory} if trajectory else {})}
    sources = source if isinstance(source, list) else [source]
    _check(lifters, [*sources, *([validation] if validation else [])], config, normalisation)
    if run.done:
        _load_results(run, lifters)
        return
    feed = _feed(source, lifter, config, normalisation, device)
    for one in lifters.values():
        one.context_stride = config.strides[0]
    state = _PretrainState.begin(run, lifters, config, device)
    while state.epoch < config.epochs:
        record = _train_epoch(state, feed, config, progress)
        if validation is not None:
            record["validation_mpjpe_mm"] = _score(lifter, validation, normalisation)
        run.log(record)
        state.epoch += 1
        run.save_state(state.to_dict())
    names = [data.name for data in sources]
    strides = list(config.strides)
    _finish(run, lifters, {"normalisation": normalisation, "strides": strides, "sources": names})


def batch_norm_momentum(epoch: int, config: PretrainConfig) -> float:
    """Momentum in an epoch counted from 0: from the first value exponentially to the last."""
    first, last = config.batch_norm_momentum
    return first * (last / first) ** (epoch / config.epochs)


@dataclass
class _PretrainState:
    """All that changes while training: the next epoch, weights, moments of the optimiser."""

    lifters: dict[str, Lifter]
    optimiser: torch.optim.Adam
    config: PretrainConfig
    epoch: int = 0

    @classmethod
    def begin(
        cls,
        run: RunDirectory,
        lifters: dict[str, Lifter],
        config: PretrainConfig,
        device: torch.device,
    ) -> "_PretrainState":
        """The run's saved state, or a new one, which is saved before anything is drawn."""
        for lifter in lifters.values():
            lifter.to(device)
        parameters = [p for lifter in lifters.values() for p in lifter.parameters()]
        optimiser = torch.optim.Adam(parameters, config.learning_rate, amsgrad=True)
        state = cls(lifters, optimiser, config)
        stored = run.load_state()
        if stored is None:
            run.save_state(state.to_dict())
            return state
        for name, lifter in lifters.items():
            load_weights(lifter, stored["weights"].get(name, {}), f"{run.path}, state of {name}")
        optimiser.load_state_dict(stored["optimiser"])
        state.epoch = int(stored["epoch"])
        return state

    def to_dict(self) -> dict[str, Any]:
        """The state as nested containers of tensors and plain values."""
        weights = {name: dict(lifter.state_dict()) for name, lifter in self.lifters.items()}
        return {
            "epoch": self.epoch,
            "weights": weights,
            "optimiser": self.optimiser.state_dict(),
        }

    def set_schedules(self) -> float:
        """Learning rate and momentum of this epoch; returns the learning rate."""
        rate = self.config.learning_rate * self.config.learning_rate_decay**self.epoch
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        momentum = batch_norm_momentum(self.epoch, self.config)
        for lifter in self.lifters.values():
            lifter.train()
            for module in lifter.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.momentum = momentum
        return rate


def _train_epoch(
    state: _PretrainState, feed: Feed, config: PretrainConfig, progress: ProgressHook
) -> dict[str, Any]:
    began, rate = time.perf_counter(), state.set_schedules()
    total = {name: torch.zeros((), device=feed.device) for name in state.lifters}
    windows, per_epoch = 0, feed.per_epoch
    # Ready windows have their stride already.
    drawn = replace(config, strides=(1, 1)) if isinstance(feed, StreamFeed) else config
    for step, (bank, centre) in enumerate(feed.batches(state.epoch)):
        generator = stream(config.seed, _STAGE, state.epoch, step, device=bank.device)
        for name, loss in _step(state, bank, centre, drawn, generator).items():
            total[name] += loss * len(centre)
        windows += len(centre)
        progress(_STAGE, state.epoch * per_epoch + windows, config.epochs * per_epoch)
    means = {name: float(value) / windows for name, value in total.items()}
    if not all(math.isfinite(mean) for mean in means.values()):
        rate_key = "pretrain.learning_rate"
        raise ConfigError(f"training diverged in epoch {state.epoch + 1} (fix: lower {rate_key})")
    record: dict[str, Any] = {
        "stage": _STAGE,
        "epoch": state.epoch + 1,
        "loss_mm": 1000 * means["lifter"],
        "lr": rate,
        "windows_per_s": windows / (time.perf_counter() - began),
    }
    if "trajectory" in means:
        record["trajectory_loss"] = means["trajectory"]
    return record


def _step(
    state: _PretrainState,
    bank: LabelledBank,
    centre: Tensor,
    config: PretrainConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    batch = draw_batch(bank, centre, state.lifters["lifter"], config, generator)
    losses = {}
    for name, lifter in state.lifters.items():
        lifter.set_generator(generator)
        prediction = lifter.lift_window(batch.pose2d)
        if name == "trajectory":
            losses[name] = trajectory_loss(prediction, batch.root)
        else:
            losses[name] = pose_loss(prediction, batch.pose3d)
    state.optimiser.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    state.optimiser.step()
    return {name: loss.detach() for name, loss in losses.items()}


def _feed(
    source: PoseData | list[PoseData] | WindowSource,
    lifter: Lifter,
    config: PretrainConfig,
    normalisation: Normalisation,
    device: torch.device,
) -> Feed:
    if isinstance(source, WindowSource):
        check_context(source, lifter)
        if source.num_windows < 2:
            raise DataError(f"pretraining on '{source.name}': expected at least 2 windows")
        return StreamFeed(source, config, _STAGE, normalisation, device)
    sources = source if isinstance(source, list) else [source]
    bank = training_bank(sources, normalisation, device)
    if bank.num_windows < 2:
        raise DataError(f"pretraining on '{sources[0].name}': expected at least 2 valid frames")
    if config.trajectory:
        _check_depth(bank)
    return BankFeed(bank, config, _STAGE)


def _score(lifter: Lifter, data: PoseData, normalisation: Normalisation) -> float:
    """Mean MPJPE in mm, root-relative, over the valid frames of all clips."""
    root, errors = data.skeleton.root, []
    for clip, pose in zip(
        data.clips, predict_clips(lifter, data.clips, normalisation), strict=True
    ):
        truth = clip.pose3d_cam - clip.pose3d_cam[:, root : root + 1]
        pose = pose - pose[:, root : root + 1]
        errors.append(mpjpe_mm(pose[clip.valid], truth[clip.valid]))
    return float(torch.cat(errors).mean())


def _check(
    lifters: dict[str, Lifter],
    data: Sequence[PoseData | WindowSource],
    config: PretrainConfig,
    normalisation: Normalisation,
) -> None:
    check_config(config)
    if config.batch_size < 2 or config.windows_per_epoch == 1:
        raise ConfigError(
            "pretrain.batch_size, pretrain.windows_per_epoch: expected at least 2 windows, batch "
            "norm needs them"
        )
    if config.trajectory != ("trajectory" in lifters):
        got = "one" if "trajectory" in lifters else "none"
        wanted = "a trajectory lifter" if config.trajectory else "no trajectory lifter"
        raise ConfigError(expected_message("pretrain.trajectory", wanted, got))
    if config.trajectory and normalisation != "screen":
        raise ConfigError(
            f"pretrain.trajectory: 2D normalised as '{normalisation}' does not show where the "
            f"person is (fix: normalisation screen, or trajectory false)"
        )
    for one in data:
        check_lifter_skeleton(lifters["lifter"], one.skeleton, f"pretraining on '{one.name}'")
        if one.normalisation not in ("screen", normalisation):
            wanted = f"2D normalised as '{normalisation}' or 'screen'"
            raise ConfigError(expected_message(f"data '{one.name}'", wanted, one.normalisation))
    if "trajectory" in lifters:
        _check_trajectory(lifters["lifter"], lifters["trajectory"])


def _check_trajectory(lifter: Lifter, trajectory: Lifter) -> None:
    root = lifter.skeleton_out.joints[lifter.skeleton_out.root]
    if trajectory.skeleton_in != lifter.skeleton_in or trajectory.skeleton_out.joints != (root,):
        got = ", ".join(trajectory.skeleton_out.joints)
        raise ConfigError(expected_message("the trajectory lifter", f"joint '{root}' alone", got))
    own = (lifter.receptive_field, lifter.frames_before)
    if (trajectory.receptive_field, trajectory.frames_before) != own:
        raise ConfigError(
            "the trajectory lifter: expected the receptive field of the pose lifter beside it"
        )


def _check_depth(bank: LabelledBank) -> None:
    depth = bank.pose3d_cam[bank.centres, bank.skeleton.root, 2]
    behind = int((depth <= MIN_DEPTH).sum())
    if behind:
        raise DataError(
            f"trajectory training: expected roots in front of the camera, got {behind} of "
            f"{len(depth)} behind it"
        )


def _finish(run: RunDirectory, lifters: dict[str, Lifter], meta: dict[str, Any]) -> None:
    for name, lifter in lifters.items():
        lifter.set_generator(None)
        lifter.eval()
        save_lifter(_weights_path(run, name), lifter, {**meta, "role": name})
    run.finish()
    (run.path / "state.safetensors").unlink(missing_ok=True)


def _load_results(run: RunDirectory, lifters: dict[str, Lifter]) -> None:
    for name, lifter in lifters.items():
        path = _weights_path(run, name)
        load_weights(lifter.eval(), read_tensors(path, f"the run's {name}")[0], str(path))


def _weights_path(run: RunDirectory, name: str) -> Path:
    return run.path / f"{name}.safetensors"
