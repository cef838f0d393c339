"""Tables of a report as HTML: scores of several lifters side by side, and nested settings.

Scores come as `Evaluation.to_json()` gives them. All text is escaped here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from adaptpose.evaluate import ALL_FRAMES, MEAN_OF_ACTIONS

Scores = Mapping[str, dict[str, Any]]
"""Lifter name to evaluation."""

METRIC_TITLES = {
    "mpjpe": "MPJPE", "pmpjpe": "PA-MPJPE", "nmpjpe": "N-MPJPE", "pck": "PCK @ 150 mm",
    "auc": "AUC", "mpjve": "MPJVE", "accel": "Acceleration error",
    "mblstd": "Bone length deviation",
}  # fmt: skip
HIGHER_IS_BETTER = ("pck", "auc")
BEFORE, AFTER = "source-only", "adapted"
_OVERALL = (ALL_FRAMES, MEAN_OF_ACTIONS)


@dataclass(frozen=True)
class Figure:
    """One table line: the rows of all lifters that share variant, action and metric."""

    variant: str
    action: str
    metric: str
    unit: str
    by_lifter: dict[str, dict[str, Any]]

    @property
    def title(self) -> str:
        """The metric as the literature writes it."""
        return METRIC_TITLES.get(self.metric, self.metric)

    @property
    def best(self) -> str | None:
        """The lifter with the best value, if there are several."""
        if len(self.by_lifter) < 2:
            return None
        pick = max if self.metric in HIGHER_IS_BETTER else min
        return pick(self.by_lifter, key=lambda lifter: self.by_lifter[lifter]["value"])

    @property
    def change(self) -> float | None:
        """Adapted minus source-only, in the unit; None if either is missing."""
        before, after = self.by_lifter.get(BEFORE), self.by_lifter.get(AFTER)
        if before is None or after is None:
            return None
        return after["value"] - before["value"]

    @property
    def change_text(self) -> str:
        """The change in words: relative, but in points where the figure is a percentage."""
        if self.change is None:
            return "–"
        before = self.by_lifter[BEFORE]["value"]
        if self.unit == "%" or before == 0:
            text = f"{self.change:+.1f} {'points' if self.unit == '%' else self.unit}"
        else:
            text = f"{self.change / before:+.1%}"
        return text.replace("-", "−")

    @property
    def improved(self) -> bool:
        """Whether the change is for the better."""
        return (self.change or 0) * (1 if self.metric in HIGHER_IS_BETTER else -1) > 0


def figures(scores: Scores) -> list[Figure]:
    """All lines of the lifters' evaluations, in the order in which they first appear."""
    found: dict[tuple[str, str, str], Figure] = {}
    for lifter, evaluation in scores.items():
        for row in evaluation["rows"]:
            key = (row["variant"], row["action"], row["metric"])
            figure = found.setdefault(key, Figure(*key, row["unit"], {}))
            figure.by_lifter[lifter] = row
    return list(found.values())


def headline(scores: Scores) -> list[Figure]:
    """The unaligned figures over all frames: what a report shows first."""
    return [f for f in figures(scores) if (f.variant, f.action) == ("raw", ALL_FRAMES)]


def overview_table(scores: Scores) -> str:
    """The headline's table: a line per metric, a column per lifter, the change."""
    lines = headline(scores)
    with_change = any(line.change is not None for line in lines)
    head = [_th("metric"), *(_th(lifter, number=True) for lifter in scores)]
    head += [_th("change", number=True)] if with_change else []
    body = [
        [f'<th scope="row">{escape(line.title)} <span class="unit">{escape(line.unit)}</span></th>']
        + [_value_cell(line, lifter) for lifter in scores]
        + ([_change_cell(line)] if with_change else [])
        for line in lines
    ]
    return _table("overview", head, body)


def full_table(scores: Scores) -> str:
    """Every figure: variant, action, metric and one column per lifter; can be sorted, filtered."""
    keys = ("variant", "action", "metric")
    head = [*(_th(key) for key in keys), _th("unit")]
    head += [_th(lifter, number=True) for lifter in scores]
    body, classes = [], []
    for line in figures(scores):
        cells = [line.variant, line.action, line.title, line.unit]
        body.append(
            [f"<td>{escape(cell)}</td>" for cell in cells]
            + [_value_cell(line, lifter) for lifter in scores]
        )
        classes.append("overall" if line.action in _OVERALL else "")
    return _table("sortable filterable", head, body, classes)


def settings_table(settings: Mapping[str, Any]) -> str:
    """Nested settings as two columns, dotted name and value."""
    body = [
        [f'<th scope="row"><code>{escape(name)}</code></th>', f"<td>{escape(value)}</td>"]
        for name, value in _flatten(settings)
    ]
    return _table("settings", [_th("setting"), _th("value")], body)


def number(value: float | int | None) -> str:
    """A score with the digits that mean something; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)


def _value_cell(line: Figure, lifter: str) -> str:
    row = line.by_lifter.get(lifter)
    if row is None:
        return '<td class="number">–</td>'
    best = " best" if lifter == line.best else ""
    interval = ""
    if row["low"] is not None and row["high"] is not None:
        interval = f'<span class="interval">[{number(row["low"])}, {number(row["high"])}]</span>'
    value = f'data-value="{float(row["value"])!r}"'
    return f'<td class="number{best}" {value}><b>{number(row["value"])}</b> {interval}</td>'


def _change_cell(line: Figure) -> str:
    if line.change is None:
        return '<td class="number">–</td>'
    word = "better" if line.improved else "worse"
    return f'<td class="number {word}">{escape(line.change_text)}</td>'


def _th(text: str, number: bool = False) -> str:
    kind = ' class="number"' if number else ""
    return f'<th scope="col"{kind}>{escape(text)}</th>'


def _table(
    kind: str, head: list[str], body: list[list[str]], classes: list[str] | None = None
) -> str:
    names = classes or [""] * len(body)
    rows = "\n".join(
        f'<tr class="{name}">{"".join(cells)}</tr>' if name else f"<tr>{''.join(cells)}</tr>"
        for name, cells in zip(names, body, strict=True)
    )
    table = f'<table class="{kind}"><thead><tr>{"".join(head)}</tr></thead><tbody>{rows}</tbody>'
    return f'<div class="scroll">{table}</table></div>'
