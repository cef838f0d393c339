"""A benchmark's tables as texts and Markdown."""

from collections.abc import Sequence
from typing import Any

from adaptpose.cli.bench_tasks import METRICS, TASKS, Setting
from adaptpose.cli.console import format_time

Cells = tuple[list[str], list[list[str]]]
"""Header and rows of a table."""
PARTS_TITLE = "Which part of the score orders checkpoints: rank correlation with the error"
PARTS = {
    "rays": "rays", "constancy": "constant bones", "symmetry": "symmetric bones",
    "flip": "mirrored", "flip_mm": "mirrored (mm)", "reversal": "backwards",
    "view": "turned", "unlikely_2d": "unlikely 2D",
}  # fmt: skip
"""Parts of the label-free score as they are headed; others stand under their own names."""


def table_title(one: dict[str, Any]) -> str:
    """What a setting's table is about."""
    setting = Setting(one["task"], one["input"], one["frames"])
    task = TASKS.get(one["task"])
    return f"{setting.title}: {task.title}" if task is not None else setting.title


def setting_table(one: dict[str, Any]) -> Cells:
    """Errors and fractions of a setting's rows: all metrics raw, the first of other variants."""
    lines = one["lines"]
    variants = list(dict.fromkeys(v for line in lines for v in line["errors"]))
    header = ["row"]
    shown = {v: one["metrics"] if v == "raw" else one["metrics"][:1] for v in variants}
    for variant, metrics in shown.items():
        header += [f"{METRICS[m]}, {variant}" for m in metrics]
        header += [f"gap closed, {variant} (%)"]
    rows = []
    for line in lines:
        cells = [line["row"]]
        for variant, metrics in shown.items():
            errors, closed = line["errors"].get(variant, {}), line["closed"].get(variant, {})
            cells += [figure(errors.get(m)) for m in metrics]
            cells += [figure(closed.get(metrics[0]), 100, 0)]
        rows.append([*cells, *_spent(line)])
    return [*header, "steps", "time"], rows


def choice_table(settings: Sequence[dict[str, Any]]) -> Cells:
    """How the label-free score chose, setting by setting."""
    header = ["setting", "checkpoints", "rank correlation", "regret (mm)", "picked"]
    rows = []
    for one in settings:
        choice = one["choice"]
        if choice is None:
            continue
        picks = [seed["picked"] for seed in choice["seeds"]]
        words = "; ".join(f"{pick['row']}, epoch {pick['epoch']}" for pick in picks)
        count = sum(seed["checkpoints"] for seed in choice["seeds"])
        title = Setting(one["task"], one["input"], one["frames"]).title
        rho = _rho({"spearman": choice["spearman"], "checkpoints": count}, count)
        rows.append([title, str(count), rho, f"{choice['regret_mm']:.1f}", words])
    return header, rows


def parts_table(settings: Sequence[dict[str, Any]]) -> Cells:
    """How each part of the label-free score orders checkpoints, setting by setting.

    A part that only some of the checkpoints have comes with their number.
    """
    choices = [(one, one["choice"]) for one in settings if one["choice"] is not None]
    found = {name for _, choice in choices for name in choice["parts"]}
    names = [name for name in PARTS if name in found] + sorted(found - set(PARTS))
    rows = []
    for one, choice in choices:
        count = sum(seed["checkpoints"] for seed in choice["seeds"])
        cells = [_rho(choice["parts"].get(name), count) for name in names]
        whole = _rho({"spearman": choice["spearman"], "checkpoints": count}, count)
        title = Setting(one["task"], one["input"], one["frames"]).title
        rows.append([title, whole, *cells])
    return ["setting", "total", *(PARTS.get(name, name) for name in names)], rows


def how_to_read(found: dict[str, Any]) -> list[str]:
    """What must be known to compare the figures, line by line."""
    budget, lifter = found["budget"], found["lifter"]
    steps = budget["epochs"] * budget["steps_per_epoch"]
    source = budget["source_epochs"] * budget["source_windows"]
    lines = [
        f"budget '{budget['name']}': {steps:,} updates of the lifter on batches of "
        f"{budget['batch_size']:,}, source lifter from {source:,} windows, "
        f"{lifter['channels']} channels",
        "errors in mm, root-relative, mean over frames, the last epoch; ± is the standard "
        "deviation over seeds, of the source lifter too",
        "gap closed: (source - row) / (source - oracle) of the first metric, options being equal",
        "tta: mirrored and time-reversed passes averaged",
        "test-set pick: the epoch with the lowest test MPJPE; no result, shown because the "
        "released code picks so",
        "adaptpose: a step has as many source windows beside its generated ones; its steps follow "
        "from how many windows pass its selection, its time includes its generator's",
        "time: of training alone, without the test monitor; of the source row that of its lifter",
        "rank correlation: Spearman's, of the label-free score with the true error, over all "
        "checkpoints of all rows but the oracle's, mean over seeds",
        "parts of the score: mirrored, backwards and turned are distances by the pose's size; "
        "backwards, turned and unlikely 2D are no part of the total; (n): of only n checkpoints",
    ]
    data = [part for one in found["data"].values() for part in one.values()]
    parts = [part for part in data if isinstance(part, dict) and "clips" in part]
    for part in {part["name"]: part for part in parts}.values():
        who = " SYNTHETIC people," if part.get("synthetic") else ""
        lines.append(f"{part['name']}:{who} {part['clips']} clips, {part['frames']:,} frames")
    credits = ["; ".join(t for t in (p.get("licence"), p.get("credit")) if t) for p in parts]
    return lines + list(dict.fromkeys(text for text in credits if text))


def markdown(found: dict[str, Any]) -> str:
    """All tables as one Markdown document."""
    settings = list(found["summary"].values())
    parts = ["# Open benchmark"]
    parts += [f"## {table_title(one)}\n\n{_markdown_table(*setting_table(one))}"
              for one in settings]  # fmt: skip
    parts.append(f"## Label-free choice\n\n{_markdown_table(*choice_table(settings))}")
    parts.append(f"## {PARTS_TITLE}\n\n{_markdown_table(*parts_table(settings))}")
    notes = "\n".join(f"- {text}" for text in how_to_read(found))
    return "\n\n".join([*parts, f"## How to read this\n\n{notes}"]) + "\n"


def figure(value: dict[str, Any] | None, factor: float | int = 1, digits: int = 1) -> str:
    """Mean and spread as text; empty for nothing."""
    if value is None:
        return ""
    mean, spread = value["mean"] * factor, value["standard_deviation"]
    text = f"{mean:.{digits}f}"
    return text if spread is None else f"{text} ± {spread * factor:.{digits}f}"


def _rho(part: dict[str, Any] | None, count: int) -> str:
    if part is None or part["spearman"] is None:
        return ""
    text = f"{part['spearman']:.2f}"
    return text if part["checkpoints"] == count else f"{text} ({part['checkpoints']})"


def _spent(line: dict[str, Any]) -> list[str]:
    steps = "" if not line["steps"] else f"{line['steps']:,.0f}"
    return [steps, "" if not line["seconds"] else format_time(line["seconds"])]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], f"|{' --- |' * len(header)}", *lines[1:]])
