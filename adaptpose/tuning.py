"""The lifter's step: fine-tuning on generated and source windows (AdaptPose eq. 23)."""

import torch
from torch import Tensor

from adaptpose import losses
from adaptpose.bones import mirror_pose
from adaptpose.clips import normalise_pose2d
from adaptpose.config import FitConfig
from adaptpose.starts import mix_in_start
from adaptpose.state import FitData, FitState
from adaptpose.steps import Losses, autocast, detach_all, draw_windows, take_frames, update


def lifter_step(
    state: FitState,
    data: FitData,
    config: FitConfig,
    generated: tuple[Tensor, Tensor] | None,
    source_count: int,
    rng: torch.Generator,
) -> Losses:
    """One update of the lifter on generated and source windows (eq. 23).

    `generated` are windows of 2D as the lifter sees it and their root-relative poses (m).
    """
    root = data.source.skeleton.root
    pairs = [generated] if generated is not None else []
    if source_count:
        frame, index = draw_windows(data.source, source_count, state.lifter, config, rng)
        pose2d, truth = take_frames(data.source.pose2d, index), data.source.root_relative(frame)
        pose2d, truth = mix_in_start(state, config, pose2d, truth, rng)
        pairs.append((normalise_pose2d(pose2d, data.normalisation, root), truth))
    pose2d = torch.cat([pair[0] for pair in pairs])
    truth = torch.cat([pair[1] for pair in pairs])
    if config.mirror:
        pose2d, truth = mirror_half(pose2d, truth, data, rng)
    state.lifter.train()
    state.lifter.set_generator(rng)
    with autocast(config, data.device):
        prediction = state.shared["lifter"](pose2d)
    sizes = [pair[0].shape[0] for pair in pairs]
    names = (["lifter_generated"] if generated is not None else []) + ["lifter_source"]
    parts = {
        name: losses.lifter_loss(p.float(), t, config.lifter_loss)
        for name, p, t in zip(names, prediction.split(sizes), truth.split(sizes), strict=False)
    }
    loss = torch.stack(list(parts.values())).sum()
    if config.loss.reprojection == "lifter" and generated is not None:
        parts["lifter_reproject"] = _target_reprojection(state, data, config, sizes[0], rng)
        loss = loss + config.loss.reprojection_weight * parts["lifter_reproject"]
    update(state, "lifter", loss, config)
    return detach_all(parts)


def _target_reprojection(
    state: FitState, data: FitData, config: FitConfig, count: int, rng: torch.Generator
) -> Tensor:
    _, index = draw_windows(data.target, count, state.lifter, config, rng)
    root = data.target.skeleton.root
    seen = normalise_pose2d(take_frames(data.target.pose2d, index), data.normalisation, root)
    lifted = state.lifter.lift_window(seen)
    return losses.reprojection_loss(lifted, seen[:, state.lifter.frames_before], root)


def mirror_half(
    pose2d: Tensor, truth: Tensor, data: FitData, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The windows with about half of them mirrored, in 2D and 3D alike."""
    skeleton = data.source.skeleton
    chosen = torch.rand(truth.shape[0], generator=rng, device=truth.device) < 0.5
    mirrored2d, mirrored = mirror_pose(pose2d, skeleton), mirror_pose(truth, skeleton)
    pose2d = torch.where(chosen[:, None, None, None], mirrored2d, pose2d)
    return pose2d, torch.where(chosen[:, None, None], mirrored, truth)
