"""Which generated windows the lifter is trained on, and why the others are not (eq. 14)."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose.clips import Normalisation
from adaptpose.config import SelectionConfig
from adaptpose.planes import NEAREST, STEEPEST

REASONS = ("kept", "too_close", "off_screen", "too_easy", "too_hard")
"""Outcomes in the order they are tested; each window counts once."""


@dataclass(frozen=True)
class Selection:
    """Mask of kept windows and the count of each outcome, in the order of `REASONS`."""

    keep: Bool[Tensor, "batch"]
    counts: Int[Tensor, "5"]


def selection_of(config: SelectionConfig, normalisation: Normalisation) -> SelectionConfig:
    """The selection for 2D of a normalisation: without the test of the image where it shows no
    place in it, since then nothing can teach a generator to stay inside.
    """
    return config if normalisation == "screen" else replace(config, screen=False)


def select(
    pose3d_cam: Float[Tensor, "batch frames joints 3"],
    pose2d: Float[Tensor, "batch frames joints 2"],
    ratio: Float[Tensor, "batch 3"] | None,
    config: SelectionConfig,
) -> Selection:
    """Keep windows in front of the camera, inside the image, neither too easy nor too hard.

    Windows beyond projection's range are always left out: nearer than `planes.NEAREST` as too
    close, steeper than `planes.STEEPEST` as off screen. What is not a number fails its test.
    `pose2d` is in normalised screen coordinates, where the image is within [-1, 1] on both axes
    (its larger side exactly). `ratio` are hard ratios (`losses.hard_ratio`), averaged here; None
    leaves the hardness test out. All on the device, without a synchronisation.
    """
    # Each test is the denial of what must hold, so that NaN fails it. Beyond NEAREST and STEEPEST
    # projection clamps: the 2D would not be that of the 3D, and can fall back into the image.
    near = ~(pose3d_cam[..., 2].amin((1, 2)) >= max(config.min_depth, NEAREST))
    off = ~(pose3d_cam[..., :2].abs() <= STEEPEST * pose3d_cam[..., 2:]).flatten(1).all(1)
    if config.screen:
        off = off | ~(pose2d.abs().amax((1, 2, 3)) <= 1)
    easy = hard = torch.zeros_like(near)
    if ratio is not None and config.hardness:
        centre, width = config.hardness_band
        mean = ratio.mean(dim=1)
        easy, hard = mean <= centre - width, ~(mean < centre + width)
    failed = torch.stack([near, off, easy, hard])
    # The first failed test names the reason; windows that fail none are kept.
    first = failed & (failed.cumsum(0) == 1)
    keep = ~failed.any(dim=0)
    return Selection(keep, torch.cat([keep.sum()[None], first.sum(dim=1)]))
