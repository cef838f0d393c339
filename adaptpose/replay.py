"""Replay: a target's refined pseudo-poses as motions of their own, filmed anew.

Pseudo-poses are wrong, but a pose and its new projection are an exact pair: the lifter learns the
target's kinds of motion, and not the errors that its own lifting made against the 2D.
"""

import torch

from adaptpose.config_values import check_config
from adaptpose.pairs import Pairs
from adaptpose.pseudo import PseudoPoses
from adaptpose.pseudo_config import RefineConfig, ReplayConfig
from adaptpose.refine import refine
from adaptpose.shots import CutWindows, FilmedWindows, cut_windows
from adaptpose.transfer import film_windows


def refined_pseudo(pseudo: PseudoPoses, config: RefineConfig | None = None) -> PseudoPoses:
    """Pseudo-poses refined on their device: bones constant and symmetric in every clip."""
    return pseudo.with_poses(refine(pseudo.lifted, config, pseudo.lengths))


class ReplayMaker:
    """Makes pairs of pseudo-poses filmed from their own or another frame's viewpoint.

    Poses are taken as they are: give refined ones, see `refined_pseudo`. Windows have
    `frames_before` and `frames_after` frames around the supervised one, with random `strides` at
    50 Hz. ConfigError if the config is not possible.
    """

    name = "replay"

    def __init__(
        self,
        pseudo: PseudoPoses,
        frames_before: int,
        frames_after: int,
        strides: tuple[int, int],
        config: ReplayConfig | None = None,
    ) -> None:
        self.config = config or ReplayConfig()
        check_config(self.config)
        self.pseudo = pseudo
        self.frames_before = frames_before
        self.frames_after = frames_after
        self.strides = strides

    def make(self, count: int, rng: torch.Generator) -> Pairs:
        """`count` new pairs; weight 0 for windows that are not usable, see `film_windows`."""
        windows = self.film(self.cut(count, rng), rng)
        return windows.pairs(self.frames_before, self.pseudo.bank.skeleton.root)

    def cut(self, count: int, rng: torch.Generator) -> CutWindows:
        """`count` windows of pseudo-poses as they are; frames are those of the target's bank."""
        pseudo, around = self.pseudo, (self.frames_before, self.frames_after)
        centre = pseudo.draw(count, rng)
        return cut_windows(pseudo.bank, pseudo.pose3d_cam, centre, around, self.strides, rng)

    @torch.no_grad()
    def film(self, cut: CutWindows, rng: torch.Generator) -> FilmedWindows:
        """The windows filmed from their own viewpoint or another frame's."""
        pseudo, count = self.pseudo, len(cut.frame)
        other = pseudo.draw(count, rng)
        own = torch.rand(count, generator=rng, device=cut.frame.device) < self.config.own_share
        view = torch.where(own, cut.frame, other)
        return film_windows(cut.points, self.frames_before, pseudo, view, self.config, rng)
