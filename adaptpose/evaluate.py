"""Scores of a lifter on labelled clips, with intervals, per action, per joint and over all.

Predictions and truth are compared root-relative: the root is subtracted from both. Its error is
then 0 and still counts among the joints of MPJPE, PA-MPJPE and N-MPJPE, as in the literature,
unless `count_root` is off. Variants are kept apart: "raw"; "scale-aligned", with one least-squares
scale per clip, never per batch; "tta", raw with mirrored and time-reversed passes averaged; "tta +
rays" or "tta + refined", those on their rays; "tta + height" and "tta + height + rays", the same of
people made as tall as is said. Two means are kept apart too: over frames,
and over actions (Human3.6M's protocol: the mean of the actions' frame-weighted means).

Intervals are bootstrap percentiles over clips, which are the independent units at best: views of
one performance in several cameras count as several clips, so with many cameras an interval says
less than it seems to.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.body_scale import Heights, check_heights, stature_chain, stature_m
from adaptpose.bootstrap import bootstrap_intervals, mean_of_groups
from adaptpose.clip_scores import (
    METRIC_UNITS,
    ClipScores,
    ScoringRules,
    action_name,
    metric_names,
    score_clips,
)
from adaptpose.clips import PoseData
from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.inference import CHUNK_FRAMES, TestTime, predict_clips, resolve_tta
from adaptpose.inference_options import FocalFrom, InferenceOptions, Rays, apply_inference
from adaptpose.lifter import Lifter
from adaptpose.metrics import scored_joints
from adaptpose.skeleton import Skeleton

ALL_FRAMES = "all frames"
"""The row that weighs every frame alike."""

MEAN_OF_ACTIONS = "mean of actions"
"""The row that weighs every action alike (Human3.6M's protocol)."""


@dataclass(frozen=True)
class EvalOptions:
    """What to evaluate, and how.

    `metrics`: names, see `metric_names`. `tta`: passes of the "tta" rows; "auto" takes all four
    where the lifter's context is symmetric and the mirror image alone elsewhere, "none" leaves the
    rows out. `pck_joints`: joints of PCK and AUC, by default `scored_joints`. `bootstrap_samples`:
    draws behind each 95 % interval, 0 for none. `chunk_frames` bounds memory and changes nothing.
    `rays` adds a variant of the "tta" poses (of the raw ones if `tta` is "none") on their rays;
    its focal length is estimated from the 2D unless `focal` says that the clips' lenses are given.
    `height_m` adds the same variants of people at their height: in metres, of all or by person, or
    "given", measured on the labelled poses. Who has none keeps the lifter's size.
    """

    metrics: tuple[str, ...] = ("all",)
    tta: TestTime | Literal["auto"] = "auto"
    scale_aligned: bool = True
    count_root: bool = True
    pck_joints: tuple[str, ...] | None = None
    bootstrap_samples: int = 1000
    seed: int = 0
    chunk_frames: int = CHUNK_FRAMES
    rays: Rays = "none"
    focal: FocalFrom = "estimated"
    height_m: Heights | Literal["given"] | None = None


@dataclass(frozen=True)
class EvalRow:
    """One figure. `low` and `high` bound its 95 % interval; None where there are too few clips.

    `num_frames` counts the frames, or the steps between frames, that the metric averages.
    """

    variant: str
    action: str
    metric: str
    value: float
    low: float | None
    high: float | None
    unit: str
    num_frames: int
    num_clips: int


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation with what they were made of.

    `joint_errors_mm` holds each joint's frame-weighted mean error by variant and joint name. A
    figure for which no clip has enough frames (a velocity of single frames) has no row.
    """

    dataset: str
    skeleton: str
    synthetic: bool
    normalisation: str
    frame_rates_hz: tuple[float, ...]
    num_frames: int
    num_clips: int
    options: EvalOptions
    pck_joints: tuple[str, ...]
    rows: tuple[EvalRow, ...]
    joint_errors_mm: dict[str, dict[str, float]]
    licence: str = ""
    credit: str = ""

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants evaluated, in order."""
        return tuple(self.joint_errors_mm)

    def row(self, metric: str, variant: str = "raw", action: str = ALL_FRAMES) -> EvalRow:
        """The row of a metric (or its alias); ConfigError if it was not evaluated."""
        name = metric_names([metric])[0]
        for row in self.rows:
            if (row.metric, row.variant, row.action) == (name, variant, action):
                return row
        raise ConfigError(f"evaluation of '{self.dataset}' has no {variant} {metric} of '{action}'")

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain dictionaries, lists and numbers."""
        return asdict(self)

    def table(self, variant: str = "raw") -> list[list[str]]:
        """Rows of text for one variant: a header, one row per action, the two means."""
        rows = [row for row in self.rows if row.variant == variant]
        header = list(dict.fromkeys(row.metric for row in rows))
        units = {row.metric: row.unit for row in rows}
        cells = {(row.action, row.metric): f"{row.value:.1f}" for row in rows}
        table = [["action", *(f"{metric} ({units[metric]})" for metric in header)]]
        for action in dict.fromkeys(row.action for row in rows):
            table.append([action, *(cells.get((action, metric), "") for metric in header)])
        return table

    def csv(self) -> str:
        """The rows as CSV text with a header; an interval that does not exist is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(EvalRow.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()


def evaluate(lifter: Lifter, data: PoseData, options: EvalOptions | None = None) -> Evaluation:
    """Scores of a lifter on every valid frame of the data, in the variants of the options.

    The clips are brought to the lifter's skeletons by joint name and normalised as the data says.
    ConfigError for unknown metrics or people and for impossible options, SkeletonError for missing
    joints, DataError if no frame is valid, a prediction is not finite, or there are no rays to use.
    """
    options = options or EvalOptions()
    _check_options(options)
    tta = resolve_tta(lifter, options.tta)
    data = _with_valid_frames(data)
    scored = _on_skeleton(data, lifter.skeleton_out)
    scored.skeleton.ids(list(options.pck_joints or ()))
    _check_heights(scored, options)
    clips = _on_skeleton(data, lifter.skeleton_in).clips
    raw = predict_clips(lifter, clips, data.normalisation, "none", options.chunk_frames)
    passes = {"raw": raw}
    if tta != "none":
        passes["tta"] = predict_clips(lifter, clips, data.normalisation, tta, options.chunk_frames)
    device = next(lifter.parameters(), torch.empty(0)).device
    return _evaluation(passes, scored, replace(options, tta=tta), device)


def evaluate_predictions(
    predictions: Sequence[Float[Tensor, "_ joints 3"]],
    data: PoseData,
    options: EvalOptions | None = None,
) -> Evaluation:
    """Scores of given poses, one (frames, joints, 3) in metres per clip of the data.

    For baselines and for poses made elsewhere; the root is subtracted here. There are no "tta"
    rows; `rays` gives "raw + rays" or "raw + refined". Raises as `evaluate`, and DataError for a
    prediction of another shape than its clip.
    """
    options = options or EvalOptions()
    _check_options(options)
    if len(predictions) != len(data.clips):
        clips = f"{len(data.clips)} clips of '{data.name}'"
        raise DataError(expected_message("predictions", clips, str(len(predictions))))
    data.skeleton.ids(list(options.pck_joints or ()))
    _check_heights(data, options)
    pairs = zip(predictions, data.clips, strict=True)
    kept = [prediction for prediction, clip in pairs if bool(clip.valid.any())]
    return _evaluation({"raw": kept}, _with_valid_frames(data), replace(options, tta="none"))


def _evaluation(
    passes: dict[str, list[Tensor]],
    data: PoseData,
    options: EvalOptions,
    device: torch.device | None = None,
) -> Evaluation:
    names = metric_names(options.metrics)
    joints = options.pck_joints or scored_joints(data.skeleton)
    rules = ScoringRules(names, joints, options.count_root)
    scores = {"raw": score_clips(passes["raw"], data, rules)}
    if options.scale_aligned:
        scores["scale-aligned"] = score_clips(passes["raw"], data, rules, scale_aligned=True)
    others = {name: poses for name, poses in passes.items() if name != "raw"}
    lenses = [clip.intrinsics for clip in data.clips] if options.focal == "given" else None
    last = passes.get("tta", passes["raw"])
    for wanted in _improvements(data, options):
        better = apply_inference(last, data.clips, lenses, data.skeleton, wanted, device)
        others[wanted.variant] = better
    scores |= {name: score_clips(poses, data, rules) for name, poses in others.items()}
    actions = [action_name(clip.action) for clip in data.clips]
    rates = tuple(sorted({float(clip.frame_rate_hz) for clip in data.clips}))
    rows = [
        replace(row, unit=_unit(row.metric, rates))
        for variant, score in scores.items()
        for row in _rows(variant, score, actions, options)
    ]
    return Evaluation(
        dataset=data.name,
        skeleton=data.skeleton.name,
        synthetic=data.synthetic,
        normalisation=data.normalisation,
        frame_rates_hz=rates,
        num_frames=int(scores["raw"].num_frames.sum()),
        num_clips=len(data.clips),
        options=options,
        pck_joints=joints,
        rows=tuple(rows),
        joint_errors_mm={v: _joint_means(s, data.skeleton.joints) for v, s in scores.items()},
        licence=data.licence,
        credit=data.credit,
    )


def _improvements(data: PoseData, options: EvalOptions) -> list[InferenceOptions]:
    """What is done to the poses of all passes: each gives one more variant."""
    heights = _true_heights(data) if options.height_m == "given" else options.height_m
    plain = InferenceOptions(options.tta, options.rays, options.focal)
    found = [] if options.rays == "none" else [plain]
    if heights is not None:
        found.append(replace(plain, rays="none", height_m=heights))
        found += [] if options.rays == "none" else [replace(plain, height_m=heights)]
    return found


def _check_heights(data: PoseData, options: EvalOptions) -> None:
    if options.height_m == "given":
        stature_chain(data.skeleton)
    else:
        check_heights(options.height_m, data.clips, data.skeleton)


def _true_heights(data: PoseData) -> dict[str, float]:
    """The stature (m) of everybody by their labelled poses."""
    heights = {}
    for subject in dict.fromkeys(clip.subject for clip in data.clips):
        own = [clip for clip in data.clips if clip.subject == subject]
        pose = torch.cat([clip.pose3d_cam[clip.valid] for clip in own])
        heights[subject] = stature_m(pose, torch.ones(pose.shape[:2]), data.skeleton)
    return heights


def _unit(metric: str, rates_hz: tuple[float, ...]) -> str:
    """The metric's unit; a length per frame means nothing without the frame rate."""
    unit = METRIC_UNITS[metric]
    rates = ", ".join(f"{rate:g}" for rate in rates_hz)
    return f"{unit} at {rates} Hz" if unit.endswith("/frame") else unit


def _joint_means(scores: ClipScores, joints: tuple[str, ...]) -> dict[str, float]:
    mean = scores.joint_total_mm.sum(dim=0) / scores.num_frames.sum()
    return dict(zip(joints, mean.tolist(), strict=True))


def _rows(
    variant: str, scores: ClipScores, actions: list[str], options: EvalOptions
) -> list[EvalRow]:
    """Rows of every action in alphabetic order, then of both means."""
    groups = {
        name: [place for place, action in enumerate(actions) if action == name]
        for name in sorted(set(actions))
    }
    everything = list(range(len(actions)))
    rows = []
    for name, clips in groups.items():
        rows += _group_rows(variant, name, scores, [clips], options)
    rows += _group_rows(variant, ALL_FRAMES, scores, [everything], options)
    return rows + _group_rows(variant, MEAN_OF_ACTIONS, scores, list(groups.values()), options)


def _group_rows(
    variant: str, action: str, scores: ClipScores, groups: list[list[int]], options: EvalOptions
) -> list[EvalRow]:
    """One row per metric: the mean over groups of clips of the groups' frame-weighted means."""
    value = mean_of_groups(scores, groups)
    intervals = bootstrap_intervals(scores, groups, options.bootstrap_samples, options.seed)
    count = scores.count[[clip for group in groups for clip in group]]
    return [
        EvalRow(
            variant, action, metric, float(value[k]), *intervals[k], METRIC_UNITS[metric],
            int(count[:, k].sum()), int((count[:, k] > 0).sum()),
        )
        for k, metric in enumerate(metric_names(options.metrics))
        if count[:, k].any()
    ]  # fmt: skip


def _check_options(options: EvalOptions) -> None:
    metric_names(options.metrics)
    if options.bootstrap_samples < 0:
        got = str(options.bootstrap_samples)
        raise ConfigError(expected_message("bootstrap_samples", "0 or more", got))


def _on_skeleton(data: PoseData, skeleton: Skeleton) -> PoseData:
    return data if data.skeleton == skeleton else data.with_skeleton(skeleton)


def _with_valid_frames(data: PoseData) -> PoseData:
    clips = tuple(clip for clip in data.clips if bool(clip.valid.any()))
    if not clips:
        raise DataError(f"dataset '{data.name}': no valid frame to evaluate")
    return replace(data, clips=clips)
