"""The lifter as critic: how hard generated windows are for it, against their source windows."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.clips import Normalisation, normalise_pose2d
from adaptpose.lifter import Lifter
from adaptpose.losses import group_errors
from adaptpose.windows import FrameBank, LabelledBank, stride_in_frames

_CHUNK = 16384
"""Frames lifted at once."""


def lift_all_frames(
    lifter: Lifter, bank: FrameBank, stride: int, normalisation: Normalisation
) -> Float[Tensor, "frames joints 3"]:
    """Root-relative pose (m) of every frame of a bank, with context of the given stride at 50 Hz.

    Dilated inference over all clips laid end to end, one lane per clip and phase of the stride,
    each padded by replication. The lifter is left in eval mode.
    """
    lifter.eval()
    index, frame, position = _lanes(bank, stride, lifter.frames_before, lifter.frames_after)
    context = lifter.receptive_field - 1
    root = bank.skeleton.root
    result = bank.pose2d.new_zeros(bank.pose2d.shape[0], lifter.skeleton_out.num_joints, 3)
    with torch.no_grad():
        lifted = []
        for start in range(0, index.shape[0] - context, _CHUNK):
            rows = index[start : start + _CHUNK + context]
            pose2d = normalise_pose2d(bank.pose2d[rows], normalisation, root)
            lifted.append(lifter(pose2d[None])[0])
        result[frame] = torch.cat(lifted)[position]
    return result


def source_error_table(
    lifter: Lifter, bank: LabelledBank, stride: int, normalisation: Normalisation
) -> Float[Tensor, "frames 3"]:
    """Grouped errors (m) of the lifter on every source frame, at one stride.

    The denominators of the hard ratio, computed once per epoch instead of once per window: the
    lifter changes little within an epoch, and its error little with the stride.
    """
    prediction = lift_all_frames(lifter, bank, stride, normalisation)
    frames = torch.arange(bank.pose2d.shape[0], device=bank.device)
    return group_errors(prediction, bank.root_relative(frames), bank.skeleton)


def _lanes(
    bank: FrameBank, stride: int, before: int, after: int
) -> tuple[Int[Tensor, "lanes"], Int[Tensor, "frames"], Int[Tensor, "frames"]]:
    index, frame, position, offset = [], [], [], 0
    clips = (bank.clip_start.tolist(), bank.clip_end.tolist(), bank.clip_rate_hz.tolist())
    for start, end, rate_hz in zip(*clips, strict=True):
        step = stride_in_frames(stride, rate_hz)
        for phase in range(min(step, end - start)):
            lane = torch.arange(start + phase, end, step)
            index += [lane[:1].expand(before), lane, lane[-1:].expand(after)]
            frame.append(lane)
            position.append(torch.arange(offset, offset + lane.shape[0]))
            offset += before + lane.shape[0] + after
    tables = (torch.cat(index), torch.cat(frame), torch.cat(position))
    return tuple(table.to(bank.device) for table in tables)  # type: ignore[return-value]
