"""What an ablation is made of, and its description on disk (ablation.json).

The description holds settings, fingerprints of the data and the scores of every finished run, so
that an ablation goes on with what it began with.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptpose.cli.ablation_rows import TABLES, Row, distinct_rows, single_frame_widths
from adaptpose.cli.experiment import Plan, plan_from_dict
from adaptpose.errors import CheckpointError, ConfigError, expected_message
from adaptpose.store import read_json, write_json

FORMAT = 1
"""Version of ablation.json."""

Results = dict[str, dict[str, Any]]
"""Scores and more by `Task.key`; plain data."""


@dataclass(frozen=True)
class Task:
    """One run: a row, the name under which it is shared with like rows, and a seed."""

    name: str
    row: Row
    seed: int

    @property
    def key(self) -> str:
        """Name of the run's folder and of its results."""
        return run_key(self.name, self.seed)


@dataclass(frozen=True)
class Study:
    """What an ablation is made of; `plan` holds the settings of the full method."""

    path: Path
    plan: Plan
    tables: tuple[str, ...]
    seeds: tuple[int, ...]

    def settings(self) -> dict[str, Any]:
        """The settings as plain data for JSON."""
        plan = self.plan.to_dict()
        return {"tables": list(self.tables), "seeds": list(self.seeds), "plan": plan}

    def tasks(self) -> list[Task]:
        """All there is to run, one seed after the other."""
        rows = distinct_rows(self.tables, self.plan.fit)
        return [Task(name, row, seed) for seed in self.seeds for name, row in rows.items()]


def run_key(name: str, seed: int) -> str:
    """What a shared run is called for one seed."""
    return f"{name}-seed{seed}"


def task_plan(study: Study, task: Task) -> Plan:
    """The plan of one run, which starts from a given lifter or one trained for its input."""
    plan, row = study.plan, task.row
    lifter = plan.lifter
    if row.single_frame:
        lifter = dataclasses.replace(lifter, widths=single_frame_widths(lifter.widths))
    return dataclasses.replace(
        plan,
        lifter=lifter,
        pretrain=dataclasses.replace(plan.pretrain, seed=task.seed),
        fit=dataclasses.replace(row.fit_config(plan.fit) or plan.fit, seed=task.seed),
        # A given lifter has the window that it has.
        pretrained=None if row.single_frame else plan.pretrained,
    )


def check_study(study: Study) -> None:
    """Raise ConfigError for an ablation that cannot be scored or says nothing."""
    plan = study.plan
    if plan.test is None:
        what, fix = "a target with a labelled test set", "--test with a labelled dataset"
        raise ConfigError(expected_message("--target", what, plan.target.name, fix))
    if plan.fit.seed or plan.pretrain.seed:
        raise ConfigError("seed: every run of an ablation has its own (fix: --seeds)")
    if plan.pretrained is None:
        widths = plan.lifter.widths if plan.lifter.name == "tcn" else (1,)
        check_window(study, math.prod(widths))


def check_window(study: Study, receptive_field: int) -> None:
    """Raise ConfigError if windows are to be compared with single frames and there are none."""
    names = [name for name in study.tables if any(r.single_frame for r in TABLES[name].rows)]
    if names and receptive_field == 1:
        fix = "--widths 3,3,3, or leave the table out"
        thing, got = f"--tables {','.join(names)}", "one of single frames"
        raise ConfigError(expected_message(thing, "a lifter of several frames", got, fix))


def check_place(study: Study) -> None:
    """Raise CheckpointError unless the folder is free or holds runs of the same settings.

    Tables and seeds may be others: what is there already is used.
    """
    if not study.path.is_dir() or not any(study.path.iterdir()):
        return
    if not (study.path / "ablation.json").is_file():
        fix = "choose another --out"
        raise CheckpointError(f"{study.path}: expected an ablation or no folder (fix: {fix})")
    before = _comparable(find_study(study.path).plan.to_dict())
    now = _comparable(study.plan.to_dict())
    told = [
        f"{key} ({before.get(key)}, now {now.get(key)})"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
    if told:
        fix = "the same settings, or another --out"
        raise CheckpointError(f"{study.path}: begun with other {', '.join(told)} (fix: {fix})")


def find_study(path: Path) -> Study:
    """The study in a folder; CheckpointError if there is none, or one of a newer version."""
    values, where = read_description(path)["settings"], f"{path}/ablation.json"
    try:
        plan = plan_from_dict(values["plan"], where)
        return Study(path, plan, tuple(values["tables"]), tuple(values["seeds"]))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{where}: no settings of an ablation ({error})") from error


def read_description(path: Path) -> dict[str, Any]:
    """ablation.json of a folder; CheckpointError if it is missing, damaged or newer."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder (fix: --out begins a new ablation)")
    found = read_json(path / "ablation.json", "the description of an ablation")
    if not isinstance(found, dict) or not {"format", "settings", "datasets", "results"} <= set(
        found
    ):
        raise CheckpointError(f"{path}/ablation.json: not the description of an ablation")
    if found["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: ablation of format {found['format']}, this version reads up to {FORMAT} "
            "(fix: install a newer adaptpose)"
        )
    return found


def write_description(study: Study, fingerprints: dict[str, str], results: Results) -> None:
    """Write ablation.json, atomically."""
    content = {
        "format": FORMAT,
        "settings": study.settings(),
        "datasets": fingerprints,
        "results": results,
    }
    write_json(study.path / "ablation.json", content)


def _comparable(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key, without where the data lies and what follows from the data."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _comparable(value, f"{prefix}{key}.")
        elif key not in ("data_root", "normalisation"):
            found[prefix + key] = value
    return found
