"""What a report shows of a run in rounds: windows such as its batches were made of."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adaptpose.cli.experiment import Plan
from adaptpose.cli.report_data import CLIP_FRAMES, ReportData, sample_clips
from adaptpose.clips import Clip3D, PoseData, TargetData
from adaptpose.errors import ConfigError
from adaptpose.lifter import Lifter
from adaptpose.round_sampler import RoundSampler, config_as_run, made_shares
from adaptpose.rounds_config import RoundsConfig, SharesConfig
from adaptpose.runtime import stream
from adaptpose.windows import build_labelled_bank

LIFTED_FRAMES = 4000
"""Frames of the target that are lifted and refined for a report, about."""


@dataclass(frozen=True)
class MadePoses:
    """Supervised frames of made windows: absolute poses (m) and their 2D, on the CPU."""

    pose3d: Tensor
    pose2d: Tensor


def shares_of(config: RoundsConfig, target: TargetData | None) -> SharesConfig | None:
    """Shares of the kinds of windows that can be drawn; None if there are none."""
    try:
        return made_shares(config_as_run(config, target).shares)
    except ConfigError:
        return None


def made_windows(
    data: ReportData, part: tuple[Clip3D, ...], plan: Plan, seed: int
) -> MadePoses | None:
    """Usable windows of a block, made of a part of the source; None where something is missing."""
    lifter = data.lifters.get("adapted")
    if plan.rounds is None or data.source is None or lifter is None:
        return None
    shares = shares_of(plan.rounds, data.target)
    if shares is None or (shares.lifted and data.target is None):
        return None
    small = PoseData(data.source.name, data.source.skeleton, part)
    sampler = RoundSampler(
        build_labelled_bank(small, _device(lifter)),
        _some_frames(data.target, seed),
        lifter,
        _fewer_frames(config_as_run(plan.rounds, data.target)),
        seed,
        data.source.normalisation,
    )
    block = sampler.block(0)
    if not bool(block.keep.any()):
        return None
    pose3d, pose2d = block.pose3d_cam[block.keep], block.pose2d[block.keep]
    return MadePoses(pose3d[:, sampler.middle].cpu(), pose2d[:, sampler.middle].cpu())


def _fewer_frames(config: RoundsConfig) -> RoundsConfig:
    frames = min(config.pseudo.frames or LIFTED_FRAMES, LIFTED_FRAMES)
    return replace(config, pseudo=replace(config.pseudo, frames=frames))


def _some_frames(target: TargetData | None, seed: int) -> TargetData | None:
    if target is None:
        return None
    parts = sample_clips(target.clips, CLIP_FRAMES, stream(seed, "report", "lifted"))
    return replace(target, clips=parts)


def _device(lifter: Lifter) -> torch.device:
    return next(lifter.parameters()).device
