"""The tables of evaluations, and what must be known to read them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptpose.cli.console import print_table

if TYPE_CHECKING:
    from adaptpose.evaluate import EvalOptions, Evaluation
else:
    EvalOptions = Evaluation = Any

VARIANT_NOTES = {
    "raw": "raw: the lifter's output as it is",
    "scale-aligned": "scale-aligned: one best scale per clip, which uses the truth",
    "tta": "tta: raw, averaged over mirrored and time-reversed passes",
    "rays": "rays: joints moved onto the rays of their keypoints, as far as confidence and jitter "
    "allow",
    "height": "height: people scaled to the stature that is given, before and after rays are used",
    "refined": "refined: clips fitted to rays, lifted poses, constant symmetric bones and smooth "
    "motion",
}
LENS_NOTES = {
    "estimated": "focal length estimated per camera from 2D and poses",
    "given": "focal length given: the clips' true lenses, which a target does not show",
}


def print_evaluations(
    labels: list[str], evaluations: list[Evaluation], actions: bool = False
) -> None:
    """Print the figures of lifters on one dataset, one table per variant, with the protocol."""
    from adaptpose.evaluate import ALL_FRAMES, MEAN_OF_ACTIONS

    first = evaluations[0]
    kind = "SYNTHETIC people" if first.synthetic else "recorded people"
    notice_of_data = (
        f"{first.dataset} ({kind}), {first.num_clips} clips, {first.num_frames:,} frames"
    )
    for variant in first.variants:
        columns, rows = _variant_table(labels, evaluations, variant)
        means = (ALL_FRAMES, MEAN_OF_ACTIONS)
        shown = [row for row in rows if actions or row[1] in means]
        print_table(f"{notice_of_data}: {variant}", columns, shown, variant_note(variant, first))
    print_table("", ("protocol",), [(line,) for line in protocol(first)])


def variant_note(variant: str, evaluation: Evaluation) -> str:
    """What a variant is, in words, and where its heights and its focal length are from."""
    parts, options = variant.split(" + "), evaluation.options
    lines = [VARIANT_NOTES[part] for part in parts]
    lines += [height_note(options)] if "height" in parts else []
    lines += [LENS_NOTES[options.focal]] if {"rays", "refined"} & {*parts} else []
    return "\n".join(lines)


def height_note(options: EvalOptions) -> str:
    """Whose heights an evaluation used."""
    heights = options.height_m
    if heights == "given":
        return "heights given: the people's own by their labels, which a target does not show"
    if isinstance(heights, Mapping):
        people = ", ".join(f"{name} {height:g} m" for name, height in heights.items())
        return f"heights given: {people}; others keep the lifter's size"
    return f"height given: {heights:g} m for everybody"


def protocol(evaluation: Evaluation) -> list[str]:
    """What must be known to compare the figures of an evaluation, line by line."""
    options = evaluation.options
    root = "counts as a joint" if options.count_root else "is left out"
    rates = ", ".join(f"{rate:g}" for rate in evaluation.frame_rates_hz)
    lines = [
        f"root-relative; skeleton {evaluation.skeleton}; the root {root}",
        f"2D: {evaluation.normalisation}; {rates} Hz; test-time augmentation: {options.tta}",
        f"PCK and AUC over {len(evaluation.pck_joints)} joints",
    ]
    if options.rays != "none":
        lines.append(f"{options.rays}: {LENS_NOTES[options.focal]}")
    if options.height_m is not None:
        lines.append(height_note(options))
    if options.bootstrap_samples:
        count = options.bootstrap_samples
        lines.append(f"second lines: 95 % intervals, bootstrap over clips, {count} draws")
    return lines + [text for text in (evaluation.licence, evaluation.credit) if text]


def _variant_table(
    labels: list[str], evaluations: list[Evaluation], variant: str
) -> tuple[list[str], list[list[str]]]:
    first = [row for row in evaluations[0].rows if row.variant == variant]
    units = {row.metric: row.unit for row in first}
    rows = []
    for action in dict.fromkeys(row.action for row in first):
        for label, evaluation in zip(labels, evaluations, strict=True):
            figures = {
                row.metric: _figure(row.value, row.low, row.high)
                for row in evaluation.rows
                if (row.variant, row.action) == (variant, action)
            }
            rows.append([label, action, *(figures.get(metric, "") for metric in units)])
    return ["lifter", "mean over", *(f"{m} ({unit})" for m, unit in units.items())], rows


def _figure(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.1f}" if low is None else f"{value:.1f}\n{low:.1f}-{high:.1f}"
