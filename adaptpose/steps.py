"""The steps of adversarial adaptation: generator, discriminators, judgement.

Each takes the state and a batch, updates what it owns, and gives losses as tensors on the device:
nothing here waits for the device or reads a number.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from adaptpose import losses
from adaptpose.bones import index_on
from adaptpose.clips import normalise_pose2d
from adaptpose.config import FitConfig
from adaptpose.discriminator import perturb_bones
from adaptpose.lifter import Lifter
from adaptpose.planes import project_planes
from adaptpose.recipe import Generated, SourceWindows, cut_source_windows, take_frames
from adaptpose.selection import Selection, select, selection_of
from adaptpose.state import FitData, FitState
from adaptpose.taps import tap
from adaptpose.windows import FrameBank

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class GeneratorOutcome:
    """What a generator step leaves for the steps after it."""

    generated: Generated
    seen2d: Float[Tensor, "batch frames joints 2"]
    """The generated 2D as lifter and domain discriminator see it; detached."""
    ratio: Float[Tensor, "part 3"] | None
    """Hard ratios of the part of the batch that got feedback."""
    losses: Losses


@dataclass(frozen=True)
class _Pieces:
    """Of all windows the frames that the 3D discriminator reads; the part that gets feedback."""

    judged: Tensor
    posed: Tensor
    pose2d: Tensor
    middle: Tensor


def draw_windows(
    bank: FrameBank, count: int, lifter: Lifter, config: FitConfig, rng: torch.Generator
) -> tuple[Int[Tensor, "count"], Int[Tensor, "count window"]]:
    """Supervised frames drawn from a bank, and the frame indices of their windows."""
    frame = bank.draw_centres(count, rng)
    stride = bank.draw_strides(frame, *config.strides, rng)
    index = bank.window_index(frame, lifter.receptive_field, stride, lifter.frames_before)
    return frame, index


def draw_source(
    state: FitState, data: FitData, config: FitConfig, count: int, rng: torch.Generator
) -> SourceWindows:
    """Source windows for the generator."""
    frame, index = draw_windows(data.source, count, state.lifter, config, rng)
    return cut_source_windows(data.source, frame, index)


def draw_real2d(
    state: FitState, data: FitData, config: FitConfig, count: int, rng: torch.Generator
) -> Float[Tensor, "count frames joints 2"]:
    """Real 2D windows for the domain discriminator: the target's, or the source's (ablation)."""
    bank = data.target if config.discriminator.real_2d == "target" else data.source
    _, index = draw_windows(bank, count, state.lifter, config, rng)
    return normalise_pose2d(take_frames(bank.pose2d, index), data.normalisation, bank.skeleton.root)


def generator_step(
    state: FitState, data: FitData, config: FitConfig, source: SourceWindows, rng: torch.Generator
) -> GeneratorOutcome:
    """One update of the generator (AdaptPose eq. 22)."""
    feedback = state.epoch >= config.warmup_epochs
    state.generator.train()
    state.lifter.set_generator(rng)
    noise = state.generator.draw_noise(source.pose3d_cam.shape[0], rng)
    fake: Generated = state.shared["generator"](source, noise)
    weights = config.loss
    part = max(1, round(weights.feedback_fraction * noise.shape[0]))
    fake, pieces = _split_off(fake, state, part)
    seen = normalise_pose2d(fake.pose2d, data.normalisation, data.source.skeleton.root)
    with frozen(state.domain, state.pose, state.lifter):
        parts: Losses = {
            "g_adversarial_2d": losses.adversarial_loss(state.domain(seen)),
            "g_adversarial_3d": losses.adversarial_loss(state.pose(pieces.judged, pieces.judged)),
            "g_angle": losses.angle_loss(fake.turn, weights.angle_band),
            "g_length": losses.length_loss(fake.length_change, weights.free_length_change),
        }
        loss = weights.adversarial_2d * parts["g_adversarial_2d"]
        if config.generator.bones != "none":
            loss = loss + weights.adversarial_3d * parts["g_adversarial_3d"]
            loss = loss + weights.regularisation * (parts["g_angle"] + parts["g_length"])
        ratio = None
        if feedback and weights.feedback_fraction > 0:
            terms, ratio = _feedback(state, data, config, source, pieces)
            parts |= terms
            bones, camera, view = (
                parts[k] for k in ("g_hard_bones", "g_hard_camera", "g_reproject")
            )
            loss = loss + weights.hardness_bones * bones + weights.hardness_camera * camera
            if weights.reprojection == "generator":
                loss = loss + weights.reprojection_weight * view
        if "generator" in state.optimisers:
            update(state, "generator", loss, config)
    return GeneratorOutcome(_detached(fake), seen.detach(), ratio, detach_all(parts))


def _feedback(
    state: FitState, data: FitData, config: FitConfig, source: SourceWindows, pieces: _Pieces
) -> tuple[Losses, Tensor]:
    weights, skeleton = config.loss, data.source.skeleton
    part = pieces.posed.shape[0]
    lens = source.intrinsics.select(slice(0, part))
    posed2d = project_planes(pieces.posed.movedim(-1, 0), lens)
    pose2d = torch.cat([posed2d, pieces.pose2d])
    seen = normalise_pose2d(pose2d, data.normalisation, skeleton.root)
    lifted_bones, lifted = _criticise(state, config, seen).split(part)
    source_error = _source_errors(state)[source.frame[:part]]
    truth_bones = _supervised(pieces.posed, state.lifter, skeleton.root)
    truth = _root_relative(pieces.middle, skeleton.root)
    ratio_bones = _ratio(lifted_bones, truth_bones, source_error, data)
    ratio = _ratio(lifted, truth, source_error, data)
    start, end, width = weights.hardness_bones_band
    centre = start + (end - start) * state.epoch / max(1, config.epochs - 1)
    rule = weights.hardness_rule
    middle2d = seen[part:, state.lifter.frames_before]
    terms = {
        "g_hard_bones": losses.hardness_loss(ratio_bones, centre, width, rule),
        "g_hard_camera": losses.hardness_loss(ratio, *weights.hardness_camera_band, rule),
        "g_reproject": losses.reprojection_loss(lifted, middle2d, skeleton.root),
        "ratio_bones": ratio_bones.mean(),
        "ratio_camera": ratio.mean(),
    }
    return terms, ratio.detach()


def discriminator_step(
    state: FitState,
    data: FitData,
    config: FitConfig,
    outcome: GeneratorOutcome,
    source: SourceWindows,
    rng: torch.Generator,
) -> Losses:
    """One update of both discriminators on real windows and pooled generated ones (eq. 15, 16)."""
    real2d = draw_real2d(state, data, config, outcome.seen2d.shape[0], rng)
    fake2d = state.pools["domain"].exchange(outcome.seen2d, rng)
    scores = state.shared["domain"](torch.cat([real2d, fake2d]))
    parts = {"d_domain": losses.discriminator_loss(*scores.split(real2d.shape[0]))}
    update(state, "domain", parts["d_domain"], config)
    if config.generator.bones != "none":
        judged = state.pose.judged
        fake3d = state.pools["pose"].exchange(judged(outcome.generated.posed), rng)
        real3d = judged(source.pose3d_cam)
        angle = math.radians(config.discriminator.max_perturbation_deg)
        perturbed = perturb_bones(real3d, angle, data.source.skeleton, rng)
        scores = state.shared["pose"](torch.cat([perturbed, fake3d]), torch.cat([real3d, fake3d]))
        parts["d_pose"] = losses.discriminator_loss(*scores.split(real3d.shape[0]))
        update(state, "pose", parts["d_pose"], config)
    return detach_all(parts)


def judge(
    state: FitState, data: FitData, config: FitConfig, outcome: GeneratorOutcome, frame: Tensor
) -> Selection:
    """Which windows of a generator step the lifter may learn from (eq. 14)."""
    fake = outcome.generated
    ratio = None
    if config.selection.hardness:
        done = outcome.ratio.shape[0] if outcome.ratio is not None else 0
        ratio = outcome.ratio
        if done < frame.shape[0]:
            with torch.no_grad(), frozen(state.lifter):
                lifted = _criticise(state, config, outcome.seen2d[done:])
            root = data.source.skeleton.root
            truth = _supervised(fake.pose3d_cam[done:], state.lifter, root)
            rest = _ratio(lifted, truth, _source_errors(state)[frame[done:]], data)
            ratio = rest if ratio is None else torch.cat([ratio, rest])
    rules = selection_of(config.selection, data.normalisation)
    return select(fake.pose3d_cam, fake.pose2d, ratio, rules)


def update(state: FitState, name: str, loss: Tensor, config: FitConfig) -> None:
    """One optimiser step of one network, its gradient norm clipped."""
    optimiser = state.optimisers[name]
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
    optimiser.step()


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within it the networks pass gradients on but collect none: no weight gradients computed."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def autocast(config: FitConfig, device: torch.device) -> torch.autocast:
    """bfloat16 for the lifter where the configuration asks for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _criticise(state: FitState, config: FitConfig, seen: Tensor) -> Tensor:
    state.lifter.train(config.critic_mode == "train")
    with autocast(config, seen.device):
        return state.lifter.lift_window(seen).float()


def _source_errors(state: FitState) -> Tensor:
    assert state.source_errors is not None, "the loop fills the table before the first feedback"
    return state.source_errors


def _ratio(lifted: Tensor, truth: Tensor, source_error: Tensor, data: FitData) -> Tensor:
    error = losses.group_errors(lifted, truth, data.source.skeleton)
    return losses.hard_ratio(error, source_error)


def _supervised(pose3d: Tensor, lifter: Lifter, root: int) -> Tensor:
    return _root_relative(pose3d[:, lifter.frames_before], root)


def _root_relative(pose3d: Tensor, root: int) -> Tensor:
    return pose3d - pose3d[:, root : root + 1]


def _split_off(fake: Generated, state: FitState, part: int) -> tuple[Generated, _Pieces]:
    """The generated windows, and the pieces of them that losses look at apart."""
    first, frames = slice(0, part), index_on(state.pose.frames.kcs, fake.posed.device)
    posed, judged, posed_first = tap(fake.posed, (slice(None), frames), (first,))
    pose2d, pose2d_first = tap(fake.pose2d, (first,))
    pose3d, middle = tap(fake.pose3d_cam, (first, state.lifter.frames_before))
    whole = replace(fake, posed=posed, pose2d=pose2d, pose3d_cam=pose3d)
    return whole, _Pieces(judged, posed_first, pose2d_first, middle)


def _detached(fake: Generated) -> Generated:
    return Generated(**{name: value.detach() for name, value in vars(fake).items()})


def detach_all(parts: Losses) -> Losses:
    """The losses as numbers to log, without their graphs."""
    return {name: value.detach() for name, value in parts.items()}
