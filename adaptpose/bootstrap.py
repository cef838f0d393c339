"""Means over clips, and how far they would move with other clips (percentile bootstrap)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.clip_scores import ClipScores
from adaptpose.runtime import stream

_ENDS = (0.025, 0.975)
_MOST_WEIGHTS = 2_000_000


def mean_of_groups(scores: ClipScores, groups: Sequence[Sequence[int]]) -> Float[Tensor, "metrics"]:
    """The mean over groups of clips of each group's frame-weighted mean, of every metric.

    One group of all clips gives the mean over frames, a group per action the mean over actions.
    A group without a value of a metric does not count; NaN where no group has one.
    """
    weights = torch.ones(1, len(scores.total), dtype=scores.total.dtype)
    return _weighted_means(scores, groups, weights)[0]


def bootstrap_intervals(
    scores: ClipScores, groups: Sequence[Sequence[int]], samples: int, seed: int
) -> list[tuple[float | None, float | None]]:
    """95 % interval of every metric's `mean_of_groups`, from clips drawn with replacement.

    Percentiles of `samples` draws; the same seed and number of clips give the same draws, so
    variants scored on the same clips share them. (None, None) where fewer than two clips have a
    value, or for 0 samples. A group that a draw leaves empty does not count in that draw.
    """
    clips = torch.tensor(sorted(clip for group in groups for clip in group))
    measured = (scores.count[clips] > 0).sum(dim=0)
    if samples == 0 or int(measured.max()) < 2:
        return [(None, None)] * len(measured)
    generator = stream(seed, "bootstrap", len(clips))
    at_once = max(1, _MOST_WEIGHTS // len(scores.total))
    means = []
    for start in range(0, samples, at_once):
        shape = (min(at_once, samples - start), len(clips))
        pick = clips[torch.randint(len(clips), shape, generator=generator)]
        weights = torch.zeros(shape[0], len(scores.total), dtype=scores.total.dtype)
        weights.scatter_add_(1, pick, torch.ones_like(pick, dtype=weights.dtype))
        means.append(_weighted_means(scores, groups, weights))
    means = torch.cat(means)
    low, high = means.nanquantile(means.new_tensor(_ENDS), dim=0)
    return [
        (float(low[k]), float(high[k])) if measured[k] >= 2 else (None, None)
        for k in range(len(measured))
    ]


def _weighted_means(scores: ClipScores, groups: Sequence[Sequence[int]], weights: Tensor) -> Tensor:
    """(draws, metrics) means under (draws, clips) weights."""
    means = []
    for group in (list(group) for group in groups):
        count = weights[:, group] @ scores.count[group]
        means.append(weights[:, group] @ scores.total[group] / count)
    return torch.stack(means).nanmean(dim=0)
