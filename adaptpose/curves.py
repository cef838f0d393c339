"""From the records of a run to groups of curves that can be drawn in one panel each.

A record is one line of metrics.jsonl: a dict with "stage", a place in the run ("epoch", "section"
of the epoch from 1 on, or "step") and numbers by name. A name tells its group by its beginning (g_
generator, d_ discriminators, lifter_, label_free, monitor_, selection_) and its unit by its end
(_mm, _s); a panel holds one stage, group and unit. Selection counts are not curves, see
`selection_counts`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_PLACES = ("stage", "epoch", "step", "section", "time")
_SELECTION = "selection_"
_GROUPS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("Monitored test errors", lambda name: name.startswith("monitor_")),
    ("Hard ratios", lambda name: "ratio" in name or "hardness" in name),
    ("Learning rates", lambda name: "learning_rate" in name or "lr" in name.split("_")),
    ("Generator losses", lambda name: name.startswith("g_")),
    ("Discriminator losses", lambda name: name.startswith("d_")),
    ("Lifter losses", lambda name: name.startswith("lifter_") and name != "lifter_steps"),
    ("Label-free scores", lambda name: name.startswith("label_free")),
    ("Losses", lambda name: "loss" in name),
    ("Other measures", lambda name: True),
)
_PREFIXES = {
    "Monitored test errors": "monitor_",
    "Generator losses": "g_",
    "Discriminator losses": "d_",
    "Lifter losses": "lifter_",
    "Label-free scores": "label_free_",
}
_UNITS = {
    "mm": "mm", "m": "m", "deg": "°", "rad": "rad", "s": "s", "seconds": "s", "percent": "%",
    "hz": "Hz", "px": "px", "mb": "MB",
}  # fmt: skip

_MILLIMETRES = ("monitor_mpjpe", "monitor_pmpjpe")
"""Names whose unit is a convention."""


@dataclass(frozen=True)
class CurveGroup:
    """Curves for one panel: `series` maps a name to its places (x) and values (y)."""

    title: str
    x_label: str
    unit: str
    series: dict[str, tuple[list[float], list[float]]]

    @property
    def num_points(self) -> int:
        """Points of the longest curve."""
        return max(len(x) for x, _ in self.series.values())


def curve_groups(records: Sequence[dict[str, Any]]) -> list[CurveGroup]:
    """Panels of all numeric series, by stage in order of appearance, then by group.

    x counts finished epochs where epochs, or epochs and sections, tell a stage's records apart;
    else it is the step, else the record's number. Values that are not finite leave a gap; series
    without a finite value are left out.
    """
    stages = list(dict.fromkeys(str(record.get("stage", "")) for record in records))
    groups = []
    for stage in stages:
        of_stage = [record for record in records if str(record.get("stage", "")) == stage]
        groups += _stage_groups(stage if len(stages) > 1 else "", of_stage)
    return groups


def selection_counts(records: Sequence[dict[str, Any]]) -> list[dict[str, int]]:
    """Outcomes of the selection for epochs 1, 2, ...: the sections' counts added up.

    An epoch without counts, such as one of warm-up, is an empty dict; no counts give no epochs.
    """
    counts: dict[int, dict[str, int]] = {}
    for record in records:
        epoch = counts.setdefault(int(record.get("epoch", 0)), {})
        for name, value in record.items():
            if name.startswith(_SELECTION):
                reason = name.removeprefix(_SELECTION)
                epoch[reason] = epoch.get(reason, 0) + int(value)
    last = max((epoch for epoch, found in counts.items() if found), default=0)
    return [counts.get(epoch, {}) for epoch in range(1, last + 1)]


def _stage_groups(stage: str, records: list[dict[str, Any]]) -> list[CurveGroup]:
    x_label, x = _places(records)
    found: dict[tuple[int, str, str], dict[str, tuple[list[float], list[float]]]] = {}
    names = dict.fromkeys(key for record in records for key in record if key not in _PLACES)
    for name in (name for name in names if not name.startswith(_SELECTION)):
        points = [(x[k], _number(r[name])) for k, r in enumerate(records) if name in r]
        points = [(place, value) for place, value in points if value is not None]
        if any(math.isfinite(value) for _, value in points):
            rank, title, short = _group_of(name)
            series = found.setdefault((rank, title, _unit_of(name)), {})
            series[short] = ([p for p, _ in points], [v for _, v in points])
    head = f"{stage}: " if stage else ""
    return [
        CurveGroup(head + (title[:1].lower() + title[1:] if head else title), x_label, unit, series)
        for (_, title, unit), series in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _places(records: list[dict[str, Any]]) -> tuple[str, list[float]]:
    sections = [_number(record.get("section")) for record in records]
    most = max((section for section in sections if section), default=1.0)
    epochs = [_number(record.get("epoch")) for record in records]
    finished = [
        None if epoch is None else epoch - 1 + (section or most) / most
        for epoch, section in zip(epochs, sections, strict=True)
    ]
    steps = [_number(record.get("step")) for record in records]
    for key, values in (("epoch", finished), ("step", steps)):
        places = [value for value in values if value is not None]
        if len(set(places)) == len(records):
            return key, places
    return "record", [float(number) for number in range(1, len(records) + 1)]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _group_of(name: str) -> tuple[int, str, str]:
    """(order among the groups, title, the name without its group's beginning)."""
    rank = next(k for k, (_, belongs) in enumerate(_GROUPS) if belongs(name))
    title = _GROUPS[rank][0]
    return rank, title, name.removeprefix(_PREFIXES.get(title, ""))


def _unit_of(name: str) -> str:
    if name in _MILLIMETRES:
        return "mm"
    *rest, last = name.split("_")
    unit = _UNITS.get(last, "")
    return f"1/{unit}" if unit and rest and rest[-1] == "per" else unit
