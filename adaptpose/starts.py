"""Where the windows come from that the generator starts from.

The source as it is, wide augmentation of it, or its motions filmed from the target's viewpoints.
Windows are then exact pairs already, and the generator learns what they still differ in from the
target. Those that cannot be used, such as a person outside the image, are real source windows.
"""

from dataclasses import replace

import torch
from torch import Tensor

from adaptpose import distributed
from adaptpose.augment_config import WideConfig
from adaptpose.clips import TargetData
from adaptpose.config import FitConfig
from adaptpose.lifter import Lifter
from adaptpose.recipe import SourceWindows
from adaptpose.rounds_config import METHODS
from adaptpose.rounds_makers import lifted_poses
from adaptpose.runtime import stream
from adaptpose.state import FitData, FitState
from adaptpose.transfer import TransferMaker
from adaptpose.wide import WideMaker


def prepare_start(state: FitState, data: FitData, target: TargetData, config: FitConfig) -> None:
    """Make ready what films the windows of the state's section; nothing to do for the source.

    Viewpoints are those of the target as lifted, with settings as in the method "viewpoint", when
    one of every `start_epochs` epochs begins. A resumed run lifts by the lifter of that moment,
    which is saved. Raises as `lift_target`.
    """
    window = (state.lifter.frames_before, state.lifter.frames_after, config.strides)
    if config.start == "wide" and state.maker is None:
        state.maker = WideMaker(data.source, *window, WideConfig())
    if config.start != "viewpoint":
        return
    begins = state.section == 0 and state.epoch % config.start_epochs == 0
    if state.maker is not None and not begins:
        return
    if begins:
        state.set_teacher(_shared_weights(state.lifter))
    assert state.teacher is not None, "a state that is saved between two liftings has it"
    seen = replace(target, normalisation=data.normalisation)
    rng = stream(config.seed, "fit", "start", state.epoch // config.start_epochs)
    # As in the method of that name, so that both see the target's viewpoints alike.
    _, pseudo = lifted_poses(seen, state.teacher, data.source, METHODS["viewpoint"], rng)
    state.maker = TransferMaker(data.source, pseudo, *window)


def begin_from(
    state: FitState, real: SourceWindows, rng: torch.Generator
) -> tuple[SourceWindows, dict[str, Tensor]]:
    """Windows for the generator, as many as real ones are given, and the share that is not those.

    Without a maker they are the real windows.
    """
    if state.maker is None:
        return real, {}
    frame, filmed = state.maker.windows(len(real.frame), rng)
    usable, lens, own = filmed.usable, filmed.intrinsics, real.intrinsics
    intrinsics = replace(
        own,
        focal=_chosen(usable, lens.focal, own.focal),
        centre=_chosen(usable, lens.centre, own.centre),
        distortion=_chosen(usable, lens.distortion, own.distortion),
    )
    pose = _chosen(usable, filmed.pose3d_cam, real.pose3d_cam)
    windows = SourceWindows(pose, intrinsics, torch.where(usable, frame, real.frame))
    return windows, {"usable_start": usable.float().mean()}


def mix_in_start(
    state: FitState,
    config: FitConfig,
    pose2d: Tensor,
    truth: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Source windows for the lifter, of which a share are exact pairs as the generator gets them.

    2D (batch, frames, joints, 2) in normalised screen coordinates, poses (batch, joints, 3)
    root-relative (m). Without a maker they stay as they are.
    """
    count = round(config.start_share * len(truth))
    if state.maker is None or not count:
        return pose2d, truth
    _, filmed = state.maker.windows(count, rng)
    skeleton = state.lifter.skeleton_in
    pairs = filmed.pairs(state.lifter.frames_before, skeleton.root)
    seen = _chosen(filmed.usable, pairs.pose2d, pose2d[:count])
    body = _chosen(filmed.usable, pairs.pose3d, truth[:count])
    return torch.cat([seen, pose2d[count:]]), torch.cat([body, truth[count:]])


def _chosen(usable: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Rows of the one where it is usable, of the other elsewhere; laid out in memory as usual."""
    mask = usable.view(-1, *[1] * (other.ndim - 1))
    return torch.where(mask, one, other).contiguous()


def _shared_weights(lifter: Lifter) -> dict[str, Tensor]:
    """The lifter's weights; with several processes those of the first, whose state is saved."""
    weights = {name: value.cpu() for name, value in lifter.state_dict().items()}
    shared = distributed.from_every_rank(weights if distributed.rank() == 0 else None)[0]
    assert isinstance(shared, dict)
    return shared
