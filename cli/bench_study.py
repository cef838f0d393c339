"""What a benchmark is made of, and its description on disk (bench.json).

The description holds budget, fingerprints of the data, and everything that is known of finished
rows, so that a benchmark goes on where it stopped and no finished row is computed again.
"""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptpose.cli.bench_rows import Budget, Row, row_settings
from adaptpose.cli.bench_tasks import Setting
from adaptpose.config import FitConfig, LifterConfig, config_to_dict
from adaptpose.errors import CheckpointError
from adaptpose.inference_options import Rays
from adaptpose.rounds_config import RoundsConfig
from adaptpose.store import read_json, write_json

FORMAT = 1
"""Version of bench.json."""

Results = dict[str, dict[str, Any]]
"""Scores and more by `Cell.key`; plain data."""


@dataclass(frozen=True)
class Cell:
    """One result: a row of a setting, with a seed for the source lifter and all that follows."""

    setting: Setting
    seed: int
    row: Row

    @property
    def key(self) -> str:
        """Name of the run's folder below rows/, and of its result."""
        return cell_key(self.setting.key, self.seed, self.row.name)


@dataclass(frozen=True)
class Study:
    """What a benchmark is made of; `oracle` is the budget of the oracle alone."""

    path: Path
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    budget: Budget
    oracle: Budget
    lifter: LifterConfig
    rays: Rays = "none"
    """What is done about rays in one more variant of the scores."""
    data_root: Path | None = None

    def cells(self) -> list[Cell]:
        """All there is to do; one setting after the other, so that its data is opened once."""
        order = sorted(self.settings, key=lambda s: (s.task, s.input))
        return [Cell(s, seed, row) for s in order for seed in self.seeds for row in self.rows]

    def config_of(self, cell: Cell) -> FitConfig | RoundsConfig | None:
        """The settings that a cell is trained with; None for one that is not."""
        if not cell.row.trains:
            return None
        budget = self.oracle if cell.row.kind == "oracle" else self.budget
        return row_settings(cell.row, budget, cell.seed)

    def folder_of(self, cell: Cell) -> Path:
        """The run directory of a cell that is trained."""
        return self.path / "rows" / cell.key

    def described(self) -> dict[str, Any]:
        """What all results of a folder have in common, as plain data."""
        names = ("name", "channels", "dropout")
        lifter = {name: getattr(self.lifter, name) for name in names}
        return {"budget": dataclasses.asdict(self.budget), "lifter": lifter}


def cell_key(setting: str, seed: int, row: str) -> str:
    """The key of a row's result for one setting and seed."""
    return f"{setting}/seed{seed}/{row}"


def plain(config: Any) -> dict[str, Any] | None:
    """Settings as they come back from JSON, to be compared with those of a finished row."""
    return None if config is None else json.loads(json.dumps(config_to_dict(config)))


def begin(study: Study) -> dict[str, Any]:
    """The description so far, or a new one.

    CheckpointError if the folder holds something else, another budget or lifter, or a finished row
    whose settings are not those of today.
    """
    if not (study.path / "bench.json").is_file():
        if study.path.exists() and (not study.path.is_dir() or any(study.path.iterdir())):
            fix = "choose another --out"
            raise CheckpointError(f"{study.path}: expected a benchmark or no folder (fix: {fix})")
        return {"format": FORMAT, **study.described(), "data": {}, "sources": {}, "results": {}}
    found = read_description(study.path)
    for name, now in study.described().items():
        if found[name] != now:
            told = [f"{key} {found[name].get(key)}, now {now[key]}" for key in now
                    if found[name].get(key) != now[key]]  # fmt: skip
            fix = "the same options, or another --out"
            raise CheckpointError(
                f"{study.path}: begun with another {name} ({'; '.join(told)}; fix: {fix})"
            )
    return found


def same_settings(before: dict[str, Any] | None, config: Any) -> bool:
    """Whether a finished row was made with these settings.

    A setting that did not exist then may be there now at its default.
    """
    if before is None or config is None:
        return before is None and config is None
    was, now, default = (_dotted(v) for v in (before, plain(config), plain(type(config)())))
    return set(was) <= set(now) and all(
        value == (was if key in was else default)[key] for key, value in now.items()
    )


def check_rows(study: Study, results: Results) -> None:
    """CheckpointError for finished rows that were made with other settings than they have now."""
    other = {
        cell.row.name
        for cell in study.cells()
        if cell.key in results
        and not same_settings(results[cell.key]["settings"], study.config_of(cell))
    }
    if other:
        names = ",".join(sorted(other))
        fix = f"--redo {names}, or another --out"
        message = f"{study.path}: rows made with other settings: {names} (fix: {fix})"
        raise CheckpointError(message)


def forget(study: Study, results: Results, rows: tuple[str, ...], runs: bool) -> None:
    """Take out the results of rows by name, and with `runs` their folders too."""
    for cell in study.cells():
        if cell.row.name in rows:
            results.pop(cell.key, None)
            if runs and cell.row.trains and study.folder_of(cell).is_dir():
                shutil.rmtree(study.folder_of(cell))


def read_description(path: Path) -> dict[str, Any]:
    """bench.json of a folder; CheckpointError if it is missing, damaged or newer."""
    found = read_json(path / "bench.json", "the description of a benchmark")
    needed = {"format", "budget", "lifter", "data", "sources", "results"}
    if not isinstance(found, dict) or not needed <= set(found):
        raise CheckpointError(f"{path}/bench.json: not the description of a benchmark")
    if found["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: benchmark of format {found['format']}, this version reads up to {FORMAT} "
            "(fix: install a newer adaptpose)"
        )
    return found


def write_description(path: Path, content: dict[str, Any]) -> None:
    """Write bench.json, atomically; numbers that are not finite become null."""
    write_json(path / "bench.json", _finite(content))


def _dotted(values: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, dict)
        found |= _dotted(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    # Infinity and NaN alone give NaN when taken from themselves.
    return None if isinstance(value, float) and value - value != 0 else value
