"""Self-training: lifted poses of the target's own windows as truth, where they can be trusted.

Trusted are frames on which the lifter's passes agree (`adaptpose.hypotheses`) and whose fused pose
lies on the rays of its keypoints. No label enters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.clips import TargetData
from adaptpose.errors import DataError
from adaptpose.hypotheses import Agreement, compare_passes
from adaptpose.lifter import Lifter
from adaptpose.pairs import Pairs
from adaptpose.rounds_config import SelfTrainConfig
from adaptpose.windows import FrameBank


def trusted_frames(
    lifter: Lifter, target: TargetData, config: SelfTrainConfig, rng: torch.Generator
) -> tuple[Int[Tensor, "trusted"], Agreement]:
    """The frames whose lifted poses may be taken as truth, and what was fused for all frames.

    Both count frames of the clips end to end and are on the CPU. Of the valid frames seen well
    enough, those are trusted that are the share `keep` with the least sum of spread and residual,
    each over its median. The generator, on the lifter's device, is drawn from by dropout alone.
    DataError if no frame is seen well enough.
    """
    confidence = torch.cat([clip.confidence for clip in target.clips]).mean(dim=1)
    valid = torch.cat([clip.valid for clip in target.clips])
    usable = (valid & (confidence >= config.min_confidence)).nonzero()[:, 0]
    if not len(usable):
        raise DataError(
            f"target '{target.name}': self-training needs frames whose joints have a mean "
            f"confidence of {config.min_confidence:g} (fix: --set rounds.teacher.min_confidence=0)"
        )
    found = compare_passes(lifter, target, config, rng)
    parts = [measure[usable] for measure in (found.spread_m, found.residual)]
    badness = torch.stack([part / part.median().clamp_min(1e-9) for part in parts]).sum(dim=0)
    best = badness.sort(stable=True).indices[: max(1, round(config.keep * len(usable)))]
    return usable[best].sort().values, found


@dataclass(frozen=True)
class SelfTrainMaker:
    """The target's own windows around trusted frames, with a pose (m, root-relative) of each.

    A window has `frames_before` frames before its supervised frame and `frames_after` after it, at
    a stride drawn from `strides` (at 50 Hz).
    """

    bank: FrameBank
    pose3d: Float[Tensor, "frames joints 3"]
    trusted: Int[Tensor, "trusted"]
    frames_before: int
    frames_after: int
    strides: tuple[int, int]
    name = "selftrain"

    def make(self, count: int, rng: torch.Generator) -> Pairs:
        """`count` windows drawn uniformly from those around trusted frames; all of weight 1."""
        device = self.bank.device
        pick = torch.randint(self.trusted.shape[0], (count,), generator=rng, device=device)
        frame = self.trusted[pick]
        stride = self.bank.draw_strides(frame, *self.strides, rng)
        length = self.frames_before + 1 + self.frames_after
        index = self.bank.window_index(frame, length, stride, self.frames_before)
        pose2d = self.bank.pose2d[index]
        return Pairs(pose2d, self.pose3d[frame], pose2d.new_ones(count))
