"""The rows of an ablation as data: what each changes, and what was published for it.

Tables 5 to 8 are those of the AdaptPose paper (CVPR 2022, section 6.3), whose figures are of
Human3.6M adapted to MPI-INF-3DHP. A row without a part has that part's settings, the rest is the
run's own. "Without DD" means a 2D discriminator that judges by the source's 2D (section 6.4);
"without Select" leaves the geometric tests of generated windows as they are.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from adaptpose.config import FitConfig, override
from adaptpose.errors import ConfigError, unknown_name_message

METRICS = {"pmpjpe": "PMPJPE (mm)", "mpjpe": "MPJPE (mm)", "pck": "PCK (%)", "auc": "AUC (%)"}
"""What a run is scored by, and how the tables call it."""
PAPER = "paper, H3.6M -> 3DHP"
"""What published figures stand under."""


@dataclass(frozen=True)
class Row:
    """One line of a table, and the run it takes.

    `name` is its own over all tables; `cells` fill the table's label columns, where "{frames}"
    stands for the lifter's receptive field in words. `changes` are settings of `FitConfig` by
    dotted key. `adapted` false is the source lifter as it is, and `single_frame` a lifter of
    single frames, with its own training on the source. `paper` holds published figures.
    """

    name: str
    cells: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)
    adapted: bool = True
    single_frame: bool = False
    paper: dict[str, float] = field(default_factory=dict)

    def fit_config(self, base: FitConfig) -> FitConfig | None:
        """What the row adapts with; None for the source lifter as it is."""
        return override(base, self.changes) if self.adapted else None


@dataclass(frozen=True)
class Table:
    """A table: its label columns, which metrics it shows, and its rows."""

    title: str
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


def chosen_tables(text: str, flag: str = "--tables") -> tuple[str, ...]:
    """The names of tables in a text like "5,6", in their order here and once each.

    ConfigError with the known names for others, or for none at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in TABLES:
            raise ConfigError(f"{flag}: {unknown_name_message('table', name, TABLES)}")
    if not names:
        raise ConfigError(f"{flag}: expected names of tables ({', '.join(TABLES)}), got none")
    return tuple(name for name in TABLES if name in names)


def run_name(row: Row, base: FitConfig) -> str:
    """The name of the first row of all tables that has the same settings as `row`.

    Rows of one run name differ in nothing, so that they share a run.
    """
    return next(other.name for other in _all_rows() if _same(row, other, base))


def distinct_rows(tables: tuple[str, ...], base: FitConfig) -> dict[str, Row]:
    """The rows that must be run for some tables, by run name, each setting once."""
    found: dict[str, Row] = {}
    for table in tables:
        for row in TABLES[table].rows:
            found.setdefault(run_name(row, base), row)
    return found


def _same(row: Row, other: Row, base: FitConfig) -> bool:
    if (row.adapted, row.single_frame) != (other.adapted, other.single_frame):
        return False
    # A seed is no difference between rows.
    return row.fit_config(base) == other.fit_config(base)


def _all_rows() -> Iterator[Row]:
    for table in TABLES.values():
        yield from table.rows


def _figures(*values: float) -> dict[str, float]:
    """PMPJPE and MPJPE as published."""
    return dict(zip(("pmpjpe", "mpjpe"), values, strict=True))


_NO_BG = {"generator.bones": "none", "generator.lengths": False}
_NO_CAM = {"generator.camera": "none"}
_NO_DD = {"discriminator.real_2d": "source"}
_NO_SELECT = {"selection.hardness": False}
_ERRORS = ("pmpjpe", "mpjpe")


def _component_row(index: str, marks: str, changes: dict[str, Any], *paper: float) -> Row:
    """A row of table 5; `marks` has an x for each of BG, Cam, DD and Select that is there."""
    cells = (index, *("x" if mark == "x" else "" for mark in marks))
    return Row(index, cells, changes, adapted=index != "Baseline", paper=_figures(*paper))


_COMPONENTS = Table(
    "components: bone generation, camera generation, domain discriminator, selection",
    ("Index", "BG", "Cam", "DD", "Select"),
    _ERRORS,
    (
        _component_row("Baseline", "....", {}, 66.5, 96.4),
        _component_row("A1", "x...", _NO_CAM | _NO_DD | _NO_SELECT, 61.7, 90.1),
        _component_row("A2", ".x..", _NO_BG | _NO_DD | _NO_SELECT, 62.0, 88.2),
        _component_row("A3", "xx..", _NO_DD | _NO_SELECT, 61.8, 88.1),
        _component_row("A4", ".xxx", _NO_BG, 59.3, 86.5),
        _component_row("A5", "xxx.", _NO_SELECT, 54.0, 78.6),
        _component_row("AdaptPose", "xxxx", {}, 53.6, 77.2),
    ),
)

_BONES = Table(
    "bone generation",
    ("Method",),
    _ERRORS,
    tuple(
        Row(name, (name,), {"generator.bones": name.lower()}, paper=paper)
        for name, paper in (
            ("BG1", _figures(59.3, 85.1)),
            ("BG2", _figures(56.2, 80.0)),
            ("BG3", _figures(53.6, 77.2)),
        )
    ),
)


def _camera_row(method: str, rotation: str, words: str, *paper: float) -> Row:
    changes = {"generator.camera": method, "generator.rotation": rotation}
    cells = (method.capitalize(), words)
    return Row(f"{method}-{rotation}", cells, changes, paper=_figures(*paper))


_CAMERAS = Table(
    "camera generation",
    ("Method", "Representation"),
    _ERRORS,
    (
        _camera_row("deterministic", "axis_angle", "Axis-Angle", 58.0, 82.8),
        _camera_row("probabilistic", "axis_angle", "Axis-Angle", 53.6, 77.2),
        _camera_row("probabilistic", "quaternion", "Quaternion", 58.7, 83.5),
        _camera_row("probabilistic", "euler", "Euler-Angle", 60.9, 85.3),
    ),
)

_ONE_FRAME = {"pck": 84.6, "auc": 50.3, "mpjpe": 86.4}
_ALL_FRAMES = {"pck": 88.4, "auc": 54.2, "mpjpe": 77.2}

_TIME = Table(
    "temporal information",
    ("Input", "Lifter"),
    ("pck", "auc", "mpjpe"),
    (
        Row("single-source", ("{frames}", "source-only"), adapted=False, single_frame=True),
        Row("single-frame", ("{frames}", "adapted"), single_frame=True, paper=_ONE_FRAME),
        Row("window-source", ("{frames}", "source-only"), adapted=False),
        Row("window", ("{frames}", "adapted"), paper=_ALL_FRAMES),
    ),
)


def _fix_row(name: str, ours: str, released: str, changes: dict[str, Any]) -> Row:
    return Row(name, (name, ours, released), changes)


_FIXES = Table(
    "choices of the released code, one at a time instead of ours",
    ("Choice", "Ours", "Released"),
    _ERRORS,
    (
        Row("ours", ("none", "", "")),
        _fix_row("mixing", "source and generated in every batch", "one pass after the other",
                 {"mixing": "sequential"}),
        _fix_row("critic", "critic in evaluation mode", "critic in training mode",
                 {"critic_mode": "train"}),
        _fix_row("discriminator", "windows, with 2D-KCS", "middle frame, without 2D-KCS",
                 {"discriminator.frames": "single", "discriminator.kcs_2d": False}),
        _fix_row("angle", "full turn over a window", "last frame short of it, one frame unturned",
                 {"generator.angle_profile": "paper"}),
        _fix_row("trajectory", "root moves with the person", "static root",
                 {"generator.keep_trajectory": False}),
        _fix_row("loss", "MPJPE", "squared error", {"lifter_loss": "mse"}),
    ),
)  # fmt: skip

TABLES: dict[str, Table] = {
    "5": _COMPONENTS,
    "6": _BONES,
    "7": _CAMERAS,
    "8": _TIME,
    "fixes": _FIXES,
}
"""Every table by the name that --tables takes."""
PUBLISHED = ("5", "6", "7", "8")
"""The tables of the paper."""


def frames_in_words(receptive_field: int) -> str:
    """The receptive field as table 8 writes it: "1 frame", "27 frames"."""
    return "1 frame" if receptive_field == 1 else f"{receptive_field} frames"


def single_frame_widths(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Filter widths of a lifter of the same depth that sees single frames."""
    return tuple(1 for _ in widths)


def row_labels(row: Row, receptive_field: int) -> tuple[str, ...]:
    """A row's label cells for a lifter of that receptive field."""
    words = frames_in_words(receptive_field)
    return tuple(cell.format(frames=words) for cell in row.cells)


def changed(row: Row, base: FitConfig) -> dict[str, Any]:
    """Those of a row's settings that are not the base's, by dotted key."""
    config = row.fit_config(base)
    if config is None:
        return {}
    before, after = dataclasses.asdict(base), dataclasses.asdict(config)
    found = {}
    for key in row.changes:
        *parents, last = key.split(".")
        old, new = before, after
        for parent in parents:
            old, new = old[parent], new[parent]
        if old[last] != new[last]:
            found[key] = new[last]
    return found
