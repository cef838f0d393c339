"""An ablation's tables: mean and spread over seeds, beside what was published; text and Markdown.

Figures that mean different things stand in columns of different names: ours, what choosing the
epoch on the test set would have given, and the paper's, which are of other data.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from adaptpose.cli.ablation_rows import METRICS, PAPER, TABLES, Row, Table, row_labels, run_name
from adaptpose.cli.ablation_study import Results, Study, run_key

PICK = "test-set pick"
"""What the epoch chosen by test labels stands under."""


@dataclass(frozen=True)
class Line:
    """One row of a table with its figures by metric; `pick` and `paper` hold what there is.

    A figure of ours is its mean and its standard deviation over seeds, None for a single seed.
    """

    row: Row
    cells: tuple[str, ...]
    folders: tuple[str, ...]
    scores: dict[str, tuple[float, float | None]]
    pick: dict[str, tuple[float, float | None]]

    def to_json(self) -> dict[str, Any]:
        """The line as plain dictionaries, lists and numbers."""
        return {
            "name": self.row.name,
            "cells": list(self.cells),
            "folders": list(self.folders),
            "scores": {m: _both(v) for m, v in self.scores.items()},
            "test_set_pick": {m: _both(v) for m, v in self.pick.items()},
            PAPER: self.row.paper,
        }


def table_lines(name: str, study: Study, results: Results) -> list[Line]:
    """The lines of a table, in the paper's order."""
    return [_line(row, TABLES[name], study, results) for row in TABLES[name].rows]


def table_title(name: str) -> str:
    """A table's name and what it is about."""
    number = f"Table {name}" if name.isdecimal() else name.capitalize()
    return f"{number}: {TABLES[name].title}"


def table_texts(name: str, lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a table as texts; groups of figures that no line has are left out."""
    table = TABLES[name]
    picks = [m for m in table.metrics if any(m in line.pick for line in lines)]
    published = [m for m in table.metrics if any(m in line.row.paper for line in lines)]
    header = [*table.columns, *(METRICS[m] for m in table.metrics)]
    header += [f"{PICK}: {METRICS[m]}" for m in picks]
    header += [f"{PAPER}: {METRICS[m]}" for m in published]
    rows = []
    for line in lines:
        ours = [_figure(line.scores[m]) for m in table.metrics]
        ours += [_figure(line.pick[m]) if m in line.pick else "" for m in picks]
        paper = [f"{line.row.paper[m]:.1f}" if m in line.row.paper else "" for m in published]
        rows.append([*line.cells, *ours, *paper])
    return header, rows


def how_to_read(study: Study, about_data: Iterable[str]) -> list[str]:
    """What must be known to compare the figures, line by line."""
    plan = study.plan
    seeds = ", ".join(str(seed) for seed in study.seeds)
    mean = f"mean ± standard deviation over seeds {seeds}" if len(study.seeds) > 1 else ""
    taken = {"last": "of the last epoch", "label_free": "that the label-free score chose"}
    windows = plan.pretrain.windows_per_epoch
    start = f"epochs {plan.pretrain.epochs}, windows per epoch {windows or 'one per source frame'}"
    lines = [
        f"adaptation: epochs {plan.fit.epochs}, generated windows per epoch "
        f"{plan.fit.samples_per_epoch:,}",
        f"source lifter: {plan.pretrained or start}",
        f"ours: the lifter {taken[plan.fit.checkpoint_rule]}, raw, root-relative, mean over all "
        "frames, no test-time augmentation",
        mean or f"one run per row, seed {seeds}",
        f"{PICK}: the epoch with the lowest test MPJPE; no result, shown because the released code "
        "picks its lifter so",
    ]
    if any(row.paper for name in study.tables for row in TABLES[name].rows):
        lines.append(
            f"{PAPER}: published for Human3.6M adapted to MPI-INF-3DHP, not for these data; the "
            "inputs of its table 8 are 1 frame and 27 frames"
        )
    return [*lines, *(text for text in about_data if text)]


def markdown(study: Study, results: Results, about_data: Iterable[str]) -> str:
    """All tables of a study as one Markdown document."""
    plan = study.plan
    parts = [f"# Ablation: {plan.source.name} to {plan.target.name}"]
    for name in study.tables:
        header, rows = table_texts(name, table_lines(name, study, results))
        parts.append(f"## {table_title(name)}\n\n{_markdown_table(header, rows)}")
    notes = "\n".join(f"- {text}" for text in how_to_read(study, about_data))
    return "\n\n".join([*parts, f"## How to read this\n\n{notes}"]) + "\n"


def _line(row: Row, table: Table, study: Study, results: Results) -> Line:
    name = run_name(row, study.plan.fit)
    found = [results[run_key(name, seed)] for seed in study.seeds]
    picks = [result["test_set_pick"] for result in found]
    shown = [m for m in table.metrics if all(p is not None and f"{m}_mm" in p for p in picks)]
    return Line(
        row,
        row_labels(row, found[0]["receptive_field"]),
        tuple(result["folder"] for result in found),
        {m: _mean([result["scores"][m] for result in found]) for m in table.metrics},
        {m: _mean([p[f"{m}_mm"] for p in picks]) for m in shown},
    )


def _mean(values: list[float]) -> tuple[float, float | None]:
    if not all(math.isfinite(value) for value in values):
        return math.nan, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _both(value: tuple[float, float | None]) -> dict[str, float | None]:
    return {"mean": value[0], "standard_deviation": value[1]}


def _figure(value: tuple[float, float | None]) -> str:
    mean, spread = value
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    safe = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in safe]
    return "\n".join([lines[0], f"|{' --- |' * len(header)}", *lines[1:]])
