"""Pieces of supervised training: labelled windows on the device, and losses in metres.

Used for pretraining, for runs on a source together with a labelled target, and wherever else a
lifter meets 3D labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.bones import mirror_pose
from adaptpose.camera import pinhole
from adaptpose.clips import Normalisation, PoseData, normalise_pose2d
from adaptpose.config import PretrainConfig
from adaptpose.lifter import Lifter
from adaptpose.windows import LabelledBank, build_labelled_bank


@dataclass(frozen=True)
class LabelledBatch:
    """Windows of 2D as the lifter sees it, and the 3D (m) of the frame each stands for."""

    pose2d: Float[Tensor, "batch window joints 2"]
    pose3d: Float[Tensor, "batch joints 3"]
    root: Float[Tensor, "batch 1 3"]


def training_bank(
    sources: Sequence[PoseData], normalisation: Normalisation, device: torch.device
) -> LabelledBank:
    """The frames of all sources on a device, 2D as the lifter sees it.

    Intrinsics are placeholders: supervised training does not read them, and sources may differ
    in their distortion models.
    """
    clips = tuple(replace(clip, intrinsics=pinhole(1.0)) for data in sources for clip in data.clips)
    bank = build_labelled_bank(replace(sources[0], clips=clips), device)
    pose2d = normalise_pose2d(bank.pose2d, normalisation, bank.skeleton.root)
    return replace(bank, pose2d=pose2d)


def draw_batch(
    bank: LabelledBank,
    centre: Int[Tensor, "batch"],
    lifter: Lifter,
    config: PretrainConfig,
    generator: torch.Generator,
) -> LabelledBatch:
    """Windows around centre frames with random strides, half of them mirrored with their 3D."""
    stride = bank.draw_strides(centre, *config.strides, generator)
    index = bank.window_index(centre, lifter.receptive_field, stride, lifter.frames_before)
    pose2d, pose3d = bank.pose2d[index], bank.pose3d_cam[centre]
    if config.mirror:
        chosen = torch.rand(centre.shape, generator=generator, device=bank.device) < 0.5
        mirrored = mirror_pose(pose2d, bank.skeleton)
        pose2d = torch.where(chosen[:, None, None, None], mirrored, pose2d)
        mirrored = mirror_pose(pose3d, bank.skeleton)
        pose3d = torch.where(chosen[:, None, None], mirrored, pose3d)
    root = pose3d[:, bank.skeleton.root, None]
    return LabelledBatch(pose2d, pose3d - root, root)


def pose_loss(
    prediction: Float[Tensor, "*batch joints 3"], truth: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, ""]:
    """Mean distance of joints in metres; its gradient is 0 where prediction and truth agree."""
    return (prediction - truth).norm(dim=-1).mean()


def trajectory_loss(
    prediction: Float[Tensor, "*batch 1 3"], root: Float[Tensor, "*batch 1 3"]
) -> Float[Tensor, ""]:
    """Mean distance of the root from its true position, divided by the true depth (VideoPose3D)."""
    return ((prediction - root).norm(dim=-1) / root[..., 2]).mean()
