"""Several poses of every frame of a target by one lifter, weighed against each other and fused.

The passes of a lifter are the clips, their mirror images, both reversed in time, longer steps
between the frames of a window, and dropout. Each frame's poses are weighed by how near they are to
their rays and how constant they leave the bones, so no label enters.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adaptpose.bones import bone_lengths, mirror_pose
from adaptpose.camera import pinhole
from adaptpose.clips import Clip2D, TargetData, hold_seen
from adaptpose.inference import predict_clips
from adaptpose.lifter import Lifter, SeededDropout
from adaptpose.rays import ray_distances, root_from_rays
from adaptpose.rounds_config import SelfTrainConfig
from adaptpose.windows import stride_in_frames

_EXACT = 1e-4
"""Ray residual and bones' deviation below which poses count as free of error: no rounding."""


@dataclass(frozen=True)
class Hypotheses:
    """Poses (m, root-relative) of every frame of a target, clips end to end, one per pass.

    `counts` is False where a pass is no other than an earlier one; it is True for the first pass.
    """

    pose3d: Float[Tensor, "passes frames joints 3"]
    counts: Bool[Tensor, "passes frames"]


@dataclass(frozen=True)
class Agreement:
    """How far a lifter's passes agree on every frame of a target, clips end to end.

    `pose3d` is root-relative (m), the weighted mean over the passes; `spread_m` the weighted mean
    distance of the passes from it; `residual` the mean distance of its joints from their rays, by
    confidence, over the mean distance of joints from the root.
    """

    pose3d: Float[Tensor, "frames joints 3"]
    spread_m: Float[Tensor, "frames"]
    residual: Float[Tensor, "frames"]


def compare_passes(
    lifter: Lifter, target: TargetData, config: SelfTrainConfig, rng: torch.Generator
) -> Agreement:
    """Lift a target in all ways the config asks for and the lifter can, and fuse; on the CPU.

    The generator, on the lifter's device, is drawn from by dropout alone.
    """
    return fuse(make_hypotheses(lifter, target, config, rng), target, config)


def make_hypotheses(
    lifter: Lifter, target: TargetData, config: SelfTrainConfig, rng: torch.Generator
) -> Hypotheses:
    """The poses of every pass, on the CPU: passes x frames are in memory at once.

    First the clips and their mirror images; both reversed in time, if the lifter sees as far ahead
    as back; a pass per stride of `config.context_strides`; `config.dropout_passes` with dropout.
    Passes that could not differ are left out: a lifter of single frames has no reversed ones and no
    strides, and one without dropout no passes with it. A stride counts only in clips whose frame
    rate makes another step of it than of the strides before it.
    """
    found, steps = [], [_steps(lifter.context_stride, target)]
    turns = lifter.receptive_field > 1 and lifter.frames_before == lifter.frames_after
    for reverse in (False, True)[: 1 + turns]:
        found += [_lift(lifter, target, mirror, reverse) for mirror in (False, True)]
    counts = [torch.ones(len(found[0]), dtype=torch.bool)] * len(found)
    for stride in config.context_strides if lifter.receptive_field > 1 else ():
        own = _steps(stride, target)
        new = torch.stack([own != other for other in steps]).all(dim=0)
        steps.append(own)
        if bool(new.any()):
            with _stride(lifter, stride):
                found.append(_lift(lifter, target))
            counts.append(new)
    with dropout_on(lifter, rng) as drops:
        for _ in range(config.dropout_passes if drops else 0):
            found.append(_lift(lifter, target))
            counts.append(counts[0])
    root = target.skeleton.root
    return Hypotheses(torch.stack([pose - pose[:, root, None] for pose in found]), _stack(counts))


def fuse(hypotheses: Hypotheses, target: TargetData, config: SelfTrainConfig) -> Agreement:
    """The mean of the passes by `weigh`, how far they are from it, and its own ray residual."""
    weight = weigh(hypotheses, target, config)
    pose = torch.einsum("pf,pfjc->fjc", weight, hypotheses.pose3d)
    spread = torch.zeros_like(weight[0])
    for own, share in zip(hypotheses.pose3d, weight, strict=True):
        spread += share * (own - pose).norm(dim=-1).mean(dim=-1)
    return Agreement(pose, spread, ray_residual(pose, target, config.focal))


def weigh(
    hypotheses: Hypotheses, target: TargetData, config: SelfTrainConfig
) -> Float[Tensor, "passes frames"]:
    """How much each pass counts for a frame's pose; a frame's weights sum to 1.

    In proportion to exp(-sharpness * (r / R + b / B)) [own]. r is `ray_residual`, b the mean
    deviation of bone lengths from their medians over the clip and all passes, by the mean length;
    R and B are the medians of r and b over valid frames and all passes, so weights do not depend
    on how good the lifter is.
    """
    counts = hypotheses.counts
    off_ray = _stack([ray_residual(pose, target, config.focal) for pose in hypotheses.pose3d])
    valid = counts & torch.cat([clip.valid for clip in target.clips])
    valid = valid if bool(valid.any()) else counts
    parts = (off_ray, _off_bones(hypotheses, target))
    badness = _stack([part / part[valid].median().clamp_min(_EXACT) for part in parts]).sum(dim=0)
    return (-config.sharpness * badness).masked_fill(~counts, -torch.inf).softmax(dim=0)


def ray_residual(
    pose: Float[Tensor, "frames joints 3"], target: TargetData, focal: float | int
) -> Float[Tensor, "frames"]:
    """Mean distance of the joints of root-relative poses from their rays, by confidence.

    The root is put where it fits best; rays are those of a focal length (normalised). Over the
    mean distance of joints from the root, so that poses are not better for being small.
    """
    lens = pinhole(focal)
    pose2d = torch.cat([hold_seen(clip) for clip in target.clips])
    confidence = torch.cat([clip.confidence for clip in target.clips])
    root = root_from_rays(pose, pose2d, confidence, lens)
    distance = ray_distances(pose + root[:, None], pose2d, lens)
    away = (distance * confidence).sum(dim=1) / confidence.sum(dim=1).clamp_min(1e-9)
    return away / pose.norm(dim=-1).mean(dim=1).clamp_min(1e-9)


@contextmanager
def dropout_on(lifter: Lifter, rng: torch.Generator) -> Iterator[bool]:
    """Let a lifter that is lifting in evaluation mode drop out, with masks from a generator.

    Everything else stays as the mode says, batch norm with it: its statistics do not move. Gives
    whether the lifter has any dropout. Afterwards modes and generators are as before.
    """
    drops = [module for module in lifter.modules() if isinstance(module, SeededDropout)]
    before = [(module, module.training, module.generator) for module in drops]

    def switch(*_: object) -> None:
        for module in drops:
            module.training = True

    # Before every pass, as it is inference that chooses the mode.
    hook = lifter.register_forward_pre_hook(switch)
    lifter.set_generator(rng)
    try:
        yield any(module.p > 0 for module in drops)
    finally:
        hook.remove()
        for module, training, generator in before:
            module.training, module.generator = training, generator


@contextmanager
def _stride(lifter: Lifter, stride: int) -> Iterator[None]:
    before = lifter.context_stride
    lifter.context_stride = stride
    try:
        yield
    finally:
        lifter.context_stride = before


def _steps(stride: int, target: TargetData) -> Tensor:
    """The step, in frames of its clip, that a stride at 50 Hz means for every frame."""
    steps = [stride_in_frames(stride, clip.frame_rate_hz) for clip in target.clips]
    lengths = torch.tensor([clip.num_frames for clip in target.clips])
    return torch.repeat_interleave(torch.tensor(steps), lengths)


def _lift(
    lifter: Lifter, target: TargetData, mirror: bool = False, reverse: bool = False
) -> Float[Tensor, "frames joints 3"]:
    """Poses of all frames by one pass, clips end to end."""
    clips: Sequence[Clip2D] = target.clips
    if reverse:
        clips = [_reversed(clip) for clip in clips]
    if mirror:
        clips = [replace(c, pose2d=mirror_pose(c.pose2d, target.skeleton)) for c in clips]
    poses = predict_clips(lifter, clips, target.normalisation)
    pose = torch.cat([one.flip(0) for one in poses] if reverse else poses)
    return mirror_pose(pose, target.skeleton) if mirror else pose


def _reversed(clip: Clip2D) -> Clip2D:
    names = ("pose2d", "confidence", "valid")
    return replace(clip, **{name: getattr(clip, name).flip(0) for name in names})


def _off_bones(hypotheses: Hypotheses, target: TargetData) -> Float[Tensor, "passes frames"]:
    lengths = _stack([bone_lengths(pose, target.skeleton) for pose in hypotheses.pose3d])
    parts = []
    for own in lengths.split([clip.num_frames for clip in target.clips], dim=1):
        usual = own.flatten(0, 1).median(dim=0).values
        parts.append((own - usual).abs().mean(dim=-1) / usual.mean().clamp_min(1e-6))
    return torch.cat(parts, dim=1)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts))
