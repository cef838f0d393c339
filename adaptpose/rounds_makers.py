"""What the batches of a round are made by: its makers, and how many windows each gives."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.batch_norm import StatisticsMaker
from adaptpose.bones import bone_lengths
from adaptpose.clips import TargetData
from adaptpose.lifter import Lifter
from adaptpose.on_rays import on_rays
from adaptpose.pairs import PairMaker, Pairs
from adaptpose.people import find_people
from adaptpose.pseudo import PseudoPoses, lift_target, some_clips
from adaptpose.replay import ReplayMaker, refined_pseudo
from adaptpose.rounds_config import RoundsConfig, SharesConfig
from adaptpose.rounds_state import RoundsData
from adaptpose.runtime import stream
from adaptpose.seen_lengths import size_of
from adaptpose.selftrain import SelfTrainMaker, trusted_frames
from adaptpose.transfer import TransferMaker
from adaptpose.wide import WideMaker
from adaptpose.windows import LabelledBank

Window = tuple[int, int, tuple[int, int]]
"""Frames before and after a window's supervised frame, and the range of its stride."""


@dataclass(frozen=True)
class SourceMaker:
    """Real windows of the source with their poses; all of weight 1.

    A window has `frames_before` frames before its supervised frame and `frames_after` after it, at
    a stride drawn from `strides` (at 50 Hz).
    """

    bank: LabelledBank
    frames_before: int
    frames_after: int
    strides: tuple[int, int]
    name = "source"

    def make(self, count: int, rng: torch.Generator) -> Pairs:
        """`count` windows drawn uniformly with replacement."""
        window = (self.frames_before, self.frames_after, self.strides)
        frame, index = self.bank.draw_windows(count, *window, rng)
        pose2d = self.bank.pose2d[index]
        return Pairs(pose2d, self.bank.root_relative(frame), pose2d.new_ones(count))


@dataclass(frozen=True)
class Feed:
    """A maker and the number of windows it gives to every batch."""

    maker: PairMaker
    count: int
    labelled: bool = True
    """False for windows without truth, which only enter batch norm's statistics."""


def make_feeds(
    data: RoundsData,
    lifter: Lifter,
    teacher: Lifter | None,
    shares: SharesConfig,
    config: RoundsConfig,
    number: int,
) -> list[Feed]:
    """The feeds of a round: the source's first, so that a batch begins with usable windows.

    `lifter` says how long windows are; `teacher` lifts the target where shares need its poses. The
    round's `number` names its draws.
    """
    window = (lifter.frames_before, lifter.frames_after, config.strides)
    counts = shares.counts(config.batch_size)
    makers: list[PairMaker] = [SourceMaker(data.source, *window)]
    if shares.wide:
        makers.append(WideMaker(data.source, *window, config.wide))
    if teacher is not None and shares.lifted:
        makers += _lifted_makers(data, teacher, shares, config, number, window)
    feeds = [Feed(maker, counts[maker.name]) for maker in makers]
    if shares.target:
        feeds.append(Feed(StatisticsMaker(data.target, *window), counts["target"], labelled=False))
    return feeds


def _lifted_makers(
    data: RoundsData,
    teacher: Lifter,
    shares: SharesConfig,
    config: RoundsConfig,
    number: int,
    window: Window,
) -> list[PairMaker]:
    """The makers that need the target lifted."""
    rng = stream(config.seed, "rounds", "pseudo", number)
    target, pseudo = lifted_poses(data.clips, teacher, data.source, config, rng)
    makers: list[PairMaker] = [*makers_of_poses(data.source, pseudo, shares, config, window)]
    if shares.selftrain:
        rng = stream(config.seed, "rounds", "hypotheses", number, device=data.device)
        trusted, found = trusted_frames(teacher, target, config.teacher, rng)
        pose = pseudo.pose3d_cam - pseudo.pose3d_cam[:, data.target.skeleton.root, None]
        if config.teacher.taught == "fused":
            pose = found.pose3d.to(data.device)
            if config.body_size == "source":
                pose = pose * _size_factor(pose, pseudo.weight, data.source)
        makers.append(SelfTrainMaker(pseudo.bank, pose, trusted.to(data.device), *window))
    return makers


def lifted_poses(
    clips: TargetData,
    teacher: Lifter,
    source: LabelledBank,
    config: RoundsConfig,
    rng: torch.Generator,
) -> tuple[TargetData, PseudoPoses]:
    """The clips of a round and their poses on the source's device, refined as the config says.

    Raises as `lift_target`.
    """
    target = some_clips(clips, config.pseudo.frames, rng)
    pseudo = lift_target(teacher, target, config.pseudo, rng)
    if config.bone_lengths == "seen":
        own = torch.Generator(source.device)
        own.manual_seed(int(torch.randint(2**31, (), generator=rng, device=rng.device)))
        placed = pseudo.to(source.device)
        lengths = find_people(teacher, target, placed, source, config, own)
        pseudo = pseudo.with_lengths(lengths.cpu(), config.pseudo.root_cutoff_hz)
    pseudo = pseudo.to(source.device)
    if config.refinement == "full":
        pseudo = refined_pseudo(pseudo, config.refine)
    if config.refinement == "rays":
        pseudo = pseudo.with_poses(on_rays(pseudo.lifted, config.refine))
    if config.body_size == "source":
        pseudo = sized_as(pseudo, source)
    return target, pseudo


def makers_of_poses(
    source: LabelledBank,
    pseudo: PseudoPoses,
    shares: SharesConfig,
    config: RoundsConfig,
    window: Window,
) -> list[TransferMaker | ReplayMaker]:
    """Those makers that shares ask for which film people by a target's lifted poses."""
    makers: list[TransferMaker | ReplayMaker] = []
    if shares.transfer:
        makers.append(TransferMaker(source, pseudo, *window, config.transfer))
    if shares.replay:
        makers.append(ReplayMaker(pseudo, *window, config.replay))
    return makers


def sized_as(pseudo: PseudoPoses, source: LabelledBank) -> PseudoPoses:
    """Pseudo-poses whose bodies are on average as large as the source's, at the same image size.

    A lifter that is not sure makes its poses small: replayed as they are, every round would make
    them smaller. One factor for all, so that tall people stay taller than others; averages are of
    `seen_lengths.size_of`, over pseudo-poses by weight.
    """
    return pseudo.with_poses(
        pseudo.pose3d_cam * _size_factor(pseudo.pose3d_cam, pseudo.weight, source)
    )


def _size_factor(pose: Tensor, weight: Tensor, source: LabelledBank) -> Float[Tensor, ""]:
    """The source's mean sum of bone lengths over that of poses by weight."""
    skeleton = source.skeleton
    wanted = size_of(bone_lengths(source.pose3d_cam[source.centres], skeleton), skeleton).mean()
    own = size_of(bone_lengths(pose, skeleton), skeleton)
    return wanted / ((own * weight).sum() / weight.sum())
