"""One update of each stage of PoseNet3D (Tripathi et al., 3DV 2020, section 3.5).

Windows are drawn one frame too long and normalised together, so that windows at t and t + 1 see the
same numbers (eq. 3). What the discriminator judges is normalised window by window, real and
projected alike: it must not tell them by their size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.clips import TargetData
from adaptpose.elevation import draw_levelled_views
from adaptpose.posenet import BodyPose
from adaptpose.posenet_anatomy import anatomy_loss, proportion_loss, share_bent_wrong
from adaptpose.posenet_body import StudentPose
from adaptpose.posenet_geometry import (
    draw_views,
    joint_choice,
    normalise_windows,
    place_at_depth,
    project_points,
    turn_about_root,
    window_scale,
)
from adaptpose.posenet_losses import (
    adversarial_loss,
    bone_length_loss,
    consistency_loss,
    discriminator_loss,
    distillation_loss,
    joint_loss,
    overlapping_windows,
    pose_loss,
    reprojection_loss,
    self_supervision_loss,
    shape_loss,
    student_loss,
    teacher_loss,
)
from adaptpose.posenet_run_config import PoseNetRunConfig, Stage
from adaptpose.posenet_state import PoseNetState
from adaptpose.windows import FrameBank, build_target_bank

Log = dict[str, Tensor]


@dataclass(frozen=True)
class PoseNetData:
    """A target's 2D: its frames with the 14 joints, a scale per clip if wanted, and its clips."""

    bank: FrameBank
    scale: Float[Tensor, "clips"] | None
    clips: TargetData

    @property
    def device(self) -> torch.device:
        """Where the frames are."""
        return self.bank.device


def posenet_data(target: TargetData, config: PoseNetRunConfig, device: torch.device) -> PoseNetData:
    """The 2D of a target on a device; SkeletonError if it lacks one of the 14 joints."""
    choice = joint_choice(target.skeleton)
    bank = build_target_bank(target, device)
    bank = replace(bank, pose2d=bank.pose2d[:, choice])
    if config.scale == "window":
        return PoseNetData(bank, None, target)
    bounds = zip(bank.clip_start.tolist(), bank.clip_end.tolist(), strict=True)
    distance = config.network.distance
    scales = [window_scale(bank.pose2d[low:high], distance) for low, high in bounds]
    return PoseNetData(bank, torch.stack(scales), target)


def draw_long_windows(
    data: PoseNetData, config: PoseNetRunConfig, count: int, rng: torch.Generator
) -> Float[Tensor, "count frames_and_one 14 2"]:
    """Normalised windows of T + 1 frames, drawn uniformly with replacement."""
    before = config.network.frames // 2
    after = config.network.frames - before
    frame, index = data.bank.draw_windows(count, before, after, config.strides, rng)
    scale = None if data.scale is None else data.scale[data.bank.clip_of_frame[frame]]
    return normalise_windows(data.bank.pose2d[index], scale, config.network.distance)[0]


def judged(
    windows: Float[Tensor, "batch frames 14 2"], config: PoseNetRunConfig
) -> Float[Tensor, "batch frames 14 2"]:
    """Windows as discriminator, density and student see them: each centred and scaled for itself.

    Where clips scale, it keeps that scale.
    """
    kept = None if config.scale == "window" else windows.new_ones(len(windows))
    return normalise_windows(windows, kept, config.network.distance)[0]


def training_step(
    state: PoseNetState,
    data: PoseNetData,
    config: PoseNetRunConfig,
    stage: Stage,
    rng: torch.Generator,
) -> Log:
    """One update of what a stage teaches, on fresh windows; losses. Nothing waits for the device.

    Networks that learn are left in training mode, the others in evaluation mode.
    """
    for network in state.networks.values():
        network.eval()
    state.set_generator(rng)
    long = draw_long_windows(data, config, config.windows_in(stage), rng)
    if stage in ("distill", "sja"):
        return _student_step(state, config, long[:, :-1])
    for network in state.networks.values():
        network.train(network is not state.student or stage == "joint")
    lifted = _lift(state, config, long, rng)
    log, fakes, total = lifted.log, [lifted.projected], lifted.loss
    if stage == "joint":
        more, total, fake = _joint_part(state, config, lifted, rng)
        log, fakes = log | more, [*fakes, fake]
    _update(state.optimisers["lifters"], total)
    fake = torch.cat(fakes).detach()
    real_logits = _logits(state, judged(lifted.windows, config))
    loss = discriminator_loss(real_logits, _logits(state, fake))
    _update(state.optimisers["discriminator"], loss)
    return log | {"discriminator": loss.detach()}


@dataclass(frozen=True)
class _Lifted:
    """A batch through the teacher: windows at t, features, 3D, what of them is judged, loss."""

    windows: Tensor
    features: Tensor
    points: Tensor
    projected: Tensor
    loss: Tensor
    log: Log


def _lift(
    state: PoseNetState, config: PoseNetRunConfig, long: Tensor, rng: torch.Generator
) -> _Lifted:
    """L_T of section 3.5 on windows of T + 1 frames."""
    teacher, network = state.teacher, config.network
    both = overlapping_windows(long)
    features = teacher.backbone(both)
    lifted = teacher.points(both, features)
    windows, at_t = both[: len(long)], lifted[: len(long)]
    own = features[: len(long)]
    turned = turn_about_root(at_t, _views(state, config, own, rng), network.distance)
    flat = project_points(turned, network.nearest)
    with _keeping_statistics(teacher):
        again = teacher(flat)
    projected = judged(flat, config)
    parts = {
        "self_supervision": self_supervision_loss(turned, again),
        "consistency": consistency_loss(lifted),
        "bones": bone_length_loss(at_t),
        "adversarial": adversarial_loss(_logits(state, projected), config.adversarial),
    }
    loss = teacher_loss(config.weights, *parts.values())
    if state.density is not None:
        parts["density"] = -state.density.log_likelihood(projected).mean()
        loss = loss + config.density_weight * parts["density"]
    if config.weights.anatomy:
        parts["anatomy"] = anatomy_loss(at_t)
        loss = loss + config.weights.anatomy * parts["anatomy"]
    if config.weights.proportions:
        parts["proportions"] = proportion_loss(at_t)
        loss = loss + config.weights.proportions * parts["proportions"]
    log = {f"teacher_{name}": value.detach() for name, value in parts.items()}
    # How deep the bodies are: 0 for flat ones.
    log["teacher_depth"] = at_t[..., 2].detach().std(dim=-1).mean()
    # 0 for people, 1 for people mirrored in depth.
    log["teacher_bent_wrong"] = share_bent_wrong(at_t.detach())
    return _Lifted(windows, own, at_t, projected, loss, log)


def _joint_part(
    state: PoseNetState, config: PoseNetRunConfig, lifted: _Lifted, rng: torch.Generator
) -> tuple[Log, Tensor, Tensor]:
    """Losses for the log, L of step 4, and the student's projections as they are judged."""
    assert state.student is not None
    network, count = config.network, config.student_windows
    features = lifted.features[:count]
    predicted, posed = state.student(features)
    target = place_at_depth(lifted.points[:count], network.distance)
    main = distillation_loss(target, posed.points)
    student, log = _regularised(config, predicted, main)
    rotation = _views(state, config, features, rng)
    turned = turn_about_root(posed.points, rotation, network.distance)
    projected = judged(project_points(turned, network.nearest), config)
    judge = adversarial_loss(_logits(state, projected), config.adversarial)
    log["student_adversarial"] = judge.detach()
    return log, joint_loss(config.weights, lifted.loss, student, judge), projected


def _student_step(state: PoseNetState, config: PoseNetRunConfig, part: Tensor) -> Log:
    """L_S of section 3.4; W' learns where its optimiser holds it."""
    assert state.student is not None
    network = config.network
    windows = judged(part, config)
    state.student.train()
    if config.student == "reprojection":
        state.teacher.backbone.train()
        predicted, posed = state.student(state.teacher.backbone(windows))
        main = _seen_error(posed, windows, config)
    else:
        with torch.no_grad():
            features = state.teacher.backbone(windows)
            target = state.teacher.points(windows, features)
        predicted, posed = state.student(features)
        main = distillation_loss(place_at_depth(target, network.distance), posed.points)
    loss, log = _regularised(config, predicted, main)
    _update(state.optimisers["lifters"], loss)
    return log


def _seen_error(posed: StudentPose, windows: Tensor, config: PoseNetRunConfig) -> Tensor:
    """Squared error of the projected body in head-root distances at the body's depth."""
    projected = project_points(posed.points, config.network.nearest)
    return config.network.distance**2 * reprojection_loss(projected, windows)


def _regularised(config: PoseNetRunConfig, predicted: BodyPose, main: Tensor) -> tuple[Tensor, Log]:
    """L_S with a main loss, and its parts."""
    pose = pose_loss(predicted.rotations, None if config.pose_of_root else 0)
    shape = shape_loss(predicted.betas)
    log = {"student_main": main, "student_pose": pose, "student_shape": shape}
    loss = student_loss(config.weights, main, pose, shape)
    return loss, {name: value.detach() for name, value in log.items()}


def _views(
    state: PoseNetState, config: PoseNetRunConfig, features: Tensor, rng: torch.Generator
) -> Tensor:
    """Q of eq. 1 for every window of a batch."""
    if state.elevation is None:
        return draw_views(len(features), config.views, rng)
    return draw_levelled_views(state.elevation(features), config.views, rng)


def _logits(state: PoseNetState, windows: Tensor) -> Tensor:
    """What the discriminator says: of windows, or of one frame of each, the next one each time."""
    network = state.discriminator
    if network.frames < windows.shape[1]:
        rows = torch.arange(len(windows), device=windows.device)
        windows = windows[rows, rows % windows.shape[1]][:, None]
    return network(windows)


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    optimiser.zero_grad(set_to_none=True)
    loss.backward(inputs=weights)
    optimiser.step()


@contextmanager
def _keeping_statistics(module: nn.Module) -> Iterator[None]:
    """Within it batch norm uses a batch's statistics but does not learn them.

    Lifters meet real windows only, so the statistics they keep are those of real windows.
    """
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
