"""Batches for supervised training: from one bank in memory, or from banks that come one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from adaptpose.clips import Normalisation, normalise_pose2d
from adaptpose.config import PretrainConfig
from adaptpose.errors import DataError, expected_message
from adaptpose.lifter import Lifter
from adaptpose.runtime import stream
from adaptpose.window_source import WindowSource
from adaptpose.windows import LabelledBank

Batch = tuple[LabelledBank, Int[Tensor, "batch"]]
"""A bank with 2D as the lifter sees it, and the centre frames of one batch."""


@dataclass(frozen=True)
class BankFeed:
    """Batches of one bank that holds everything."""

    bank: LabelledBank
    config: PretrainConfig
    stage: str

    @property
    def device(self) -> torch.device:
        """Where the frames are."""
        return self.bank.device

    @property
    def per_epoch(self) -> int:
        """Windows of an epoch."""
        return self.config.windows_per_epoch or self.bank.num_windows

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch: all centres in a drawn order, or as many drawn as are asked."""
        generator = stream(self.config.seed, self.stage, epoch, "order", device=self.device)
        if self.config.windows_per_epoch:
            order = self.bank.draw_centres(self.config.windows_per_epoch, generator)
        else:
            order = shuffled(self.bank, generator)
        for centre in split_batches(order, self.config.batch_size):
            yield self.bank, centre


@dataclass(frozen=True)
class StreamFeed:
    """Batches of a source of ready windows, of which one bank is in memory at a time."""

    source: WindowSource
    config: PretrainConfig
    stage: str
    normalisation: Normalisation
    device: torch.device

    @property
    def per_epoch(self) -> int:
        """Windows of an epoch."""
        return self.config.windows_per_epoch or self.source.num_windows

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, bank by bank; the source begins again if more are asked for."""
        left, turn, number = self.per_epoch, 0, 0
        root = self.source.skeleton.root
        while left > 1:
            for bank in self.source.banks(epoch + turn * self.config.epochs, self.device):
                pose2d = normalise_pose2d(bank.pose2d, self.normalisation, root)
                bank = replace(bank, pose2d=pose2d)
                path = (self.stage, epoch, "bank", number)
                order = shuffled(bank, stream(self.config.seed, *path, device=self.device))[:left]
                left, number = left - len(order), number + 1
                # Batch norm has no statistics of a single window.
                for centre in split_batches(order, self.config.batch_size):
                    if len(centre) > 1:
                        yield bank, centre
                if left < 2:
                    return
            turn += 1


def check_context(source: WindowSource, lifter: Lifter) -> None:
    """DataError unless the windows hold the context that a lifter uses."""
    has, needs = (source.frames_before, source.frames_after), (
        lifter.frames_before, lifter.frames_after,
    )  # fmt: skip
    if has[0] < needs[0] or has[1] < needs[1]:
        wanted = f"windows with {needs[0]} frames before and {needs[1]} after the supervised one"
        fix = "a lifter of smaller receptive field, or windows of a run with this one"
        raise DataError(expected_message(source.name, wanted, f"{has[0]} and {has[1]}", fix))


def shuffled(bank: LabelledBank, generator: torch.Generator) -> Int[Tensor, "centres"]:
    """All centres of a bank in a drawn order."""
    order = torch.randperm(bank.num_windows, generator=generator, device=bank.device)
    return bank.centres[order]


def split_batches(order: Int[Tensor, "centres"], size: int) -> list[Int[Tensor, "_"]]:
    """The centres in batches; a last one of a single window joins the batch before it."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
