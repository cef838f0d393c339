"""Sums of every metric over every clip: what means and intervals are made of.

A metric gives one value per frame (or per step between frames), so a clip is summed up by a total
and a count; means over any set of clips follow from these. Clips are scored many at a time, in
blocks of whole clips of bounded size, in float64: no figure depends on how they are cut.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose import metrics
from adaptpose.bones import bone_lengths
from adaptpose.clips import Clip3D, PoseData
from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message
from adaptpose.skeleton import Skeleton

METRIC_UNITS: dict[str, str] = {
    "mpjpe": "mm", "pmpjpe": "mm", "nmpjpe": "mm", "pck": "%", "auc": "%", "mpjve": "mm/frame",
    "accel": "m/s^2", "mblstd": "mm",
}  # fmt: skip
"""The metrics by name, in the order they are reported, with their units."""

_ALIASES = {"pampjpe": "pmpjpe", "pa-mpjpe": "pmpjpe", "p-mpjpe": "pmpjpe", "n-mpjpe": "nmpjpe"}
_BLOCK_FRAMES = 32768


@dataclass(frozen=True)
class ScoringRules:
    """Which metrics are taken, over which joints.

    `count_root` keeps the root, whose error is 0, in the means over joints; `pck_joints` names the
    joints of PCK and AUC.
    """

    metrics: tuple[str, ...]
    pck_joints: tuple[str, ...]
    count_root: bool = True


@dataclass(frozen=True)
class ClipScores:
    """Totals and counts of every metric (in the order of the rules) for every clip.

    `joint_total_mm` sums each joint's error over a clip's valid frames, of which there are
    `num_frames`.
    """

    total: Float[Tensor, "clips metrics"]
    count: Float[Tensor, "clips metrics"]
    joint_total_mm: Float[Tensor, "clips joints"]
    num_frames: Float[Tensor, "clips"]


def metric_names(asked: Sequence[str] | str) -> tuple[str, ...]:
    """The metrics asked for, by name, alias or "all", in reporting order and once each.

    A string may hold several names between commas. ConfigError with the nearest name otherwise.
    """
    words = asked.split(",") if isinstance(asked, str) else asked
    chosen: set[str] = set()
    for word in (word.strip().lower() for word in words):
        name = _ALIASES.get(word, word)
        if name != "all" and name not in METRIC_UNITS:
            known = ["all", *METRIC_UNITS, *_ALIASES]
            raise ConfigError(unknown_name_message("metric", word, known))
        chosen |= set(METRIC_UNITS) if name == "all" else {name}
    if not chosen:
        raise ConfigError(expected_message("metrics", "at least one name", "none"))
    return tuple(name for name in METRIC_UNITS if name in chosen)


def action_name(action: str) -> str:
    """The action of a take: Human3.6M's second takes ("Walking 1") count with the first."""
    return re.sub(r"\s+\d+$", "", action)


def score_clips(
    predictions: Sequence[Float[Tensor, "_ joints 3"]],
    data: PoseData,
    rules: ScoringRules,
    scale_aligned: bool = False,
) -> ClipScores:
    """Totals and counts of the metrics of predictions, one per clip of the data, root-relative.

    Only valid frames count, and only steps between valid neighbours. `scale_aligned` multiplies
    every clip's prediction by the one factor that fits its valid frames best, before all metrics.
    DataError if a prediction has another shape than its clip or is not finite in a valid frame.
    """
    _check_predictions(predictions, data)
    parts = [
        _score_block(_block(predictions[low:high], data, low, scale_aligned), data.skeleton, rules)
        for low, high in _block_bounds(data.clips)
    ]
    return ClipScores(
        total=torch.cat([part.total for part in parts]),
        count=torch.cat([part.count for part in parts]),
        joint_total_mm=torch.cat([part.joint_total_mm for part in parts]),
        num_frames=torch.cat([part.num_frames for part in parts]),
    )


@dataclass(frozen=True)
class _Block:
    """Frames of several whole clips end to end, root-relative; `clip` numbers them from 0."""

    prediction: Float[Tensor, "frames joints 3"]
    truth: Float[Tensor, "frames joints 3"]
    valid: Bool[Tensor, "frames"]
    clip: Int[Tensor, "frames"]
    rate_hz: Float[Tensor, "clips"]

    def valid_poses(self) -> tuple[Tensor, Tensor]:
        return self.prediction[self.valid], self.truth[self.valid]

    def steps(self, order: int) -> Tensor:
        """Mask of the frames that start a run of order + 1 valid frames of one clip."""
        last = self.valid.shape[0] - order
        mask = self.valid[: max(last, 0)].clone()
        for ahead in range(1, order + 1):
            same = self.clip[ahead : last + ahead] == self.clip[: max(last, 0)]
            mask &= self.valid[ahead : last + ahead] & same
        return mask

    def sum_per_clip(self, values: Tensor, clip: Tensor) -> Tensor:
        out = values.new_zeros(self.rate_hz.shape[0], *values.shape[1:])
        return out.index_add(0, clip, values)


_Values = tuple[Tensor, Tensor]
"""Values of a metric, and the clip each belongs to."""


def _score_block(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> ClipScores:
    totals, counts = [], []
    for name in rules.metrics:
        values, clip = _METRICS[name](block, skeleton, rules)
        totals.append(block.sum_per_clip(values, clip))
        counts.append(block.sum_per_clip(torch.ones_like(values), clip))
    errors = metrics.joint_errors_mm(*block.valid_poses())
    clip = block.clip[block.valid]
    return ClipScores(
        total=torch.stack(totals, dim=1),
        count=torch.stack(counts, dim=1),
        joint_total_mm=block.sum_per_clip(errors, clip),
        num_frames=block.sum_per_clip(torch.ones_like(errors[:, 0]), clip),
    )


def _mpjpe(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    errors = metrics.joint_errors_mm(*block.valid_poses())
    return errors[:, _counted(skeleton, rules)].mean(dim=1), block.clip[block.valid]


def _pmpjpe(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    prediction, truth = block.valid_poses()
    errors = metrics.joint_errors_mm(metrics.align_similarity(prediction, truth), truth)
    return errors[:, _counted(skeleton, rules)].mean(dim=1), block.clip[block.valid]


def _nmpjpe(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    prediction, truth = block.valid_poses()
    scaled = prediction * metrics.best_scale(prediction, truth)[:, None, None]
    errors = metrics.joint_errors_mm(scaled, truth)
    return errors[:, _counted(skeleton, rules)].mean(dim=1), block.clip[block.valid]


def _pck(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    return _without_nan(metrics.pck(*block.valid_poses(), skeleton, rules.pck_joints), block)


def _auc(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    return _without_nan(metrics.auc(*block.valid_poses(), skeleton, rules.pck_joints), block)


def _mpjve(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    errors = metrics.velocity_errors_mm(block.prediction, block.truth)
    mask = block.steps(1)
    return errors[mask][:, _counted(skeleton, rules)].mean(dim=1), block.clip[:-1][mask]


def _accel(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    errors = metrics.acceleration_errors_mm(block.prediction, block.truth)
    mask = block.steps(2)
    clip = block.clip[: mask.shape[0]][mask]
    per_frame2 = errors[mask][:, _counted(skeleton, rules)].mean(dim=1)
    return per_frame2 * block.rate_hz[clip].square() / 1000, clip


def _mblstd(block: _Block, skeleton: Skeleton, rules: ScoringRules) -> _Values:
    """Each valid frame carries its clip's deviation, so longer clips weigh more in a mean."""
    lengths, clip = bone_lengths(block.prediction[block.valid], skeleton), block.clip[block.valid]
    frames = block.sum_per_clip(torch.ones_like(lengths), clip).clamp_min(1)
    apart = lengths - (block.sum_per_clip(lengths, clip) / frames)[clip]
    deviation = (block.sum_per_clip(apart.square(), clip) / frames).sqrt()
    return deviation.mean(dim=1)[clip] * 1000, clip


def _without_nan(values: Tensor, block: _Block) -> _Values:
    """Values of valid frames; none where a skeleton has no scored joint to take a mean over."""
    known = torch.isfinite(values)
    return values[known], block.clip[block.valid][known]


_METRICS: dict[str, Callable[[_Block, Skeleton, ScoringRules], _Values]] = {
    "mpjpe": _mpjpe, "pmpjpe": _pmpjpe, "nmpjpe": _nmpjpe, "pck": _pck, "auc": _auc,
    "mpjve": _mpjve, "accel": _accel, "mblstd": _mblstd,
}  # fmt: skip


def _counted(skeleton: Skeleton, rules: ScoringRules) -> list[int]:
    every = range(skeleton.num_joints)
    return [joint for joint in every if rules.count_root or joint != skeleton.root]


def _block_bounds(clips: Sequence[Clip3D]) -> Iterator[tuple[int, int]]:
    low, frames = 0, 0
    for place, clip in enumerate(clips):
        if place > low and frames + clip.num_frames > _BLOCK_FRAMES:
            yield low, place
            low, frames = place, 0
        frames += clip.num_frames
    yield low, len(clips)


def _block(predictions: Sequence[Tensor], data: PoseData, low: int, scale_aligned: bool) -> _Block:
    clips = data.clips[low : low + len(predictions)]
    lengths = torch.tensor([clip.num_frames for clip in clips])
    block = _Block(
        prediction=_root_relative(predictions, data.skeleton.root),
        truth=_root_relative([clip.pose3d_cam for clip in clips], data.skeleton.root),
        valid=torch.cat([clip.valid for clip in clips]),
        clip=torch.repeat_interleave(torch.arange(len(clips)), lengths),
        rate_hz=torch.tensor([float(clip.frame_rate_hz) for clip in clips], dtype=torch.float64),
    )
    return _scaled(block) if scale_aligned else block


def _root_relative(poses: Sequence[Tensor], root: int) -> Tensor:
    joined = torch.cat([pose.detach().cpu().double() for pose in poses])
    return joined - joined[:, root : root + 1]


def _scaled(block: _Block) -> _Block:
    prediction, truth = block.valid_poses()
    clip = block.clip[block.valid]
    across = block.sum_per_clip((prediction * truth).sum(dim=(1, 2)), clip)
    along = block.sum_per_clip(prediction.square().sum(dim=(1, 2)), clip)
    scale = across / along.clamp_min(torch.finfo(along.dtype).tiny)
    scaled = block.prediction * scale[block.clip][:, None, None]
    return _Block(scaled, block.truth, block.valid, block.clip, block.rate_hz)


def _check_predictions(predictions: Sequence[Tensor], data: PoseData) -> None:
    if len(predictions) != len(data.clips):
        clips = f"{len(data.clips)} clips of '{data.name}'"
        raise DataError(expected_message("predictions", clips, str(len(predictions))))
    for prediction, clip in zip(predictions, data.clips, strict=True):
        thing = f"prediction of clip '{clip.name}'"
        if prediction.shape != clip.pose3d_cam.shape:
            shape = str(tuple(clip.pose3d_cam.shape))
            raise DataError(expected_message(thing, shape, str(tuple(prediction.shape))))
        if not bool(torch.isfinite(prediction[clip.valid.to(prediction.device)]).all()):
            raise DataError(f"{thing}: NaN or infinite joints in valid frames")
