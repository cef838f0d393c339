"""Training of PoseNet3D (Tripathi et al., 3DV 2020, section 3.5): the loop over its stages.

2D keypoints alone come in, as `TargetData`, which has no 3D; `monitor` may look at test labels, but
what it returns is only written down. Every step draws from its own stream and the state is saved
after every epoch, so a run that was stopped and resumed ends with the weights of one that never
stopped. Results in the run directory, after every epoch:

    lifter.safetensors    the run's lifter: the average of teacher and student, or what is asked for
    teacher.safetensors   the teacher alone
    student.safetensors   the student alone, with its body
    *_before_joint.safetensors  teacher and student as the joint stage found them
"""

import math
from typing import Any

import torch

from adaptpose.clips import TargetData
from adaptpose.config_values import check_config
from adaptpose.epoch_scores import Monitor, epoch_scores
from adaptpose.errors import DataError
from adaptpose.lifter import Lifter, save_lifter
from adaptpose.pose_density import fit_density
from adaptpose.posenet import Teacher
from adaptpose.posenet_run_config import PoseNetRunConfig, Stage
from adaptpose.posenet_sign import turn_depths_if_flipped
from adaptpose.posenet_state import (
    FittedBody,
    LifterFactory,
    PoseNetState,
    create_state,
    set_learning_rate,
)
from adaptpose.posenet_steps import (
    PoseNetData,
    draw_long_windows,
    judged,
    posenet_data,
    training_step,
)
from adaptpose.progress import ProgressHook, silent
from adaptpose.rounds import check_alone
from adaptpose.rundir import RunDirectory
from adaptpose.runtime import stream
from adaptpose.section import MeanLog
from adaptpose.store import write_json

DENSITY_WINDOWS = 4096
"""Windows whose poses a density is fitted to."""

RESULTS = ("teacher", "student")
"""Results that stand in a run directory under their own names."""


def train_posenet(
    run: RunDirectory,
    target: TargetData,
    body: FittedBody | None,
    config: PoseNetRunConfig,
    device: torch.device,
    *,
    wrap: LifterFactory,
    meta: dict[str, Any] | None = None,
    start: Teacher | None = None,
    monitor: Monitor | None = None,
    progress: ProgressHook = silent,
) -> None:
    """Train PoseNet3D on a target's 2D; `start` is a trained teacher to go on from.

    Goes on from the run's saved state if there is one; a finished run is left as it is. `meta`
    (plain data) is written into the lifter files. Raises ConfigError for impossible
    configurations, a missing body or teacher and for several processes, SkeletonError if the
    target lacks joints, and DataError if a loss is not finite, with the state as it was before.
    """
    check_config(config)
    check_alone()
    if run.done:
        return
    data = posenet_data(target, config, device)
    state = create_state(config, body, device, start)
    saved = run.load_state()
    if saved is not None:
        state.load_state_dict(saved, config)
    elif config.density_weight:
        state.density = _fitted_density(data, config)
    results = _Results(run, wrap, {**(meta or {}), "normalisation": "screen"}, config)
    while state.stage < len(config.stages):
        _epoch(state, data, config, results, monitor, progress)
    run.finish()
    (run.path / "state.safetensors").unlink(missing_ok=True)


class _Results:
    """Lifters of the networks, and their files."""

    def __init__(
        self, run: RunDirectory, wrap: LifterFactory, meta: dict[str, Any], config: PoseNetRunConfig
    ) -> None:
        self.run, self.wrap, self.meta, self.config = run, wrap, meta, config

    def lifter(self, state: PoseNetState, output: str) -> Lifter:
        """The networks as a lifter, sharing their weights."""
        student = None if output == "teacher" else state.student
        lifter = self.wrap(state.teacher, student, output)
        lifter.context_stride = self.config.strides[0]
        return lifter

    def output(self, stage: Stage) -> str:
        """What the run's lifter gives in a stage: the teacher until there is a student."""
        if stage == "teacher":
            return "teacher"
        no_teacher = self.config.student == "reprojection"
        return "student" if no_teacher else self.config.output

    def save(self, state: PoseNetState, stage: Stage) -> None:
        """Write the lifters of this moment."""
        meta = {**self.meta, "epoch": state.epochs_done + 1, "stage": stage}
        outputs = {"lifter": self.output(stage), "teacher": "teacher"}
        if stage != "teacher":
            outputs["student"] = "student"
        if self.config.student == "reprojection":
            del outputs["teacher"]
        for stem, output in outputs.items():
            path = self.run.path / f"{stem}.safetensors"
            save_lifter(path, self.lifter(state, output), {**meta, "output": output})

    def keep_before_joint(self, state: PoseNetState) -> None:
        """Write teacher and student as the joint stage finds them."""
        for output in RESULTS:
            path = self.run.path / f"{output}_before_joint.safetensors"
            meta = {**self.meta, "output": output}
            save_lifter(path, self.lifter(state, output), meta)


def steps_of_epoch(data: PoseNetData, config: PoseNetRunConfig) -> int:
    """Updates of an epoch: as set, or enough to draw as many windows as the target has."""
    return config.steps_per_epoch or math.ceil(data.bank.num_windows / config.batch_size)


def _epoch(
    state: PoseNetState,
    data: PoseNetData,
    config: PoseNetRunConfig,
    results: _Results,
    monitor: Monitor | None,
    progress: ProgressHook,
) -> None:
    stage = config.stages[state.stage]
    if stage == "joint" and state.epoch == 0:
        results.keep_before_joint(state)
    epochs, steps = getattr(config.epochs, stage), steps_of_epoch(data, config)
    count = config.windows_in(stage)
    log, rate = MeanLog(), 0.0
    for step in range(steps):
        number = state.epoch * steps + step
        rate = set_learning_rate(state, config, number / (epochs * steps))
        rng = stream(config.seed, "posenet3d", stage, state.epoch, step, device=data.device)
        log.add(training_step(state, data, config, stage, rng))
        progress(stage, (number + 1) * count, epochs * steps * count)
    state.set_generator(None)
    record: dict[str, Any] = log.means() | {"learning_rate": rate, "lifter_steps": steps}
    if config.check_sign != "never" and stage == "teacher":
        rng = stream(config.seed, "posenet3d", "sign", state.epoch, device=data.device)
        record |= turn_depths_if_flipped(state, data, config, rng)
    _check_finite(state, record, stage)
    last = state.epoch + 1 == epochs
    if config.score_every and (last or state.epochs_done % config.score_every == 0):
        record |= _scores(state, data, config, results, stage, monitor)
    about = {"stage": "fit", "part": stage, "epoch": state.epochs_done + 1}
    results.save(state, stage)
    state.advance(config)
    write_json(results.run.path / "statistics.json", _statistics(state, config, steps))
    results.run.log(about | record)
    results.run.save_state(state.state_dict())


def _scores(
    state: PoseNetState,
    data: PoseNetData,
    config: PoseNetRunConfig,
    results: _Results,
    stage: Stage,
    monitor: Monitor | None,
) -> dict[str, float]:
    """Label-free scores of the teacher while it learns, and what the monitor says of the lifter."""
    lifter = results.lifter(state, results.output(stage)).eval()
    found = {}
    if stage in ("teacher", "joint"):
        teacher = results.lifter(state, "teacher").eval()
        found = epoch_scores(teacher, data.clips, None)
    if monitor is not None:
        found |= {f"monitor_{name}": value for name, value in monitor(lifter).items()}
    return found


def _statistics(state: PoseNetState, config: PoseNetRunConfig, steps: int) -> dict[str, Any]:
    """Updates of the epochs that are done, and windows drawn for them by stage."""
    left, windows = state.epochs_done, {}
    for stage in config.stages:
        epochs = min(left, getattr(config.epochs, stage))
        windows[stage] = epochs * steps * config.windows_in(stage)
        left -= epochs
    return {"lifter_steps": state.epochs_done * steps, "windows": windows}


def _fitted_density(data: PoseNetData, config: PoseNetRunConfig) -> Any:
    rng = stream(config.seed, "posenet3d", "density", "windows", device=data.device)
    long = draw_long_windows(data, config, DENSITY_WINDOWS, rng)
    poses = judged(long[:, :-1], config)[:, config.network.frames // 2]
    return fit_density(poses, config.density, stream(config.seed, "posenet3d", "density"))


def _check_finite(state: PoseNetState, record: dict[str, float], stage: Stage) -> None:
    """DataError if losses or weights are not numbers, before any of the epoch is saved."""
    broken = sorted(name for name, value in record.items() if not math.isfinite(value))
    sums = [
        value.sum()
        for network in state.networks.values()
        for value in network.state_dict().values()
        if value.is_floating_point()
    ]
    if not math.isfinite(float(torch.stack(sums).sum())):
        broken.append("weights of the networks")
    if broken:
        raise DataError(
            f"{stage}, epoch {state.epoch + 1}: expected finite losses and weights, got others: "
            f"{', '.join(broken)}; the state before this epoch is kept "
            "(fix: lower posenet.learning_rate)"
        )
