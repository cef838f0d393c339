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
from adaptpose.config import FitConfig
from adaptpose.errors import CheckpointError, ConfigError, expected_message
from adaptpose.store import read_json, write_json

FORMAT = 1
"""Version of ablation.json."""

Results = dict[str, dict[str, Any]]
"""Scores and more by run name and seed; plain data."""


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

    def tasks(self) -> list[tuple[str, Row, int]]:
        """Run name, row and seed of all there is to run, one seed after the other."""
        rows = distinct_rows(self.tables, self.plan.fit)
        return [(name, row, seed) for seed in self.seeds for name, row in rows.items()]


def check_study(study: Study) -> None:
    """Raise ConfigError for an ablation that cannot be scored or says nothing."""
    plan = study.plan
    if plan.test is None:
        fix = "--test with a labelled data set"
        what = "a target with a labelled test set"
        raise ConfigError(expected_message("--target", what, plan.target.name, fix))
    if plan.fit.seed or plan.pretrain.seed:
        raise ConfigError("seed: an ablation sets the seeds of its runs (fix: --seeds)")
    for row in distinct_rows(study.tables, plan.fit).values():
        _row_config(row, plan)
    if plan.pretrained is None:
        widths = plan.lifter.widths if plan.lifter.name == "tcn" else (1,)
        _check_window(study, math.prod(widths))


def find_study(path: Path) -> Study:
    """The study in a folder; CheckpointError if there is none, or one of a newer version."""
    values = _description(path)["settings"]
    try:
        plan = plan_from_dict(values["plan"], f"{path}/ablation.json")
        return Study(path, plan, tuple(values["tables"]), tuple(values["seeds"]))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}/ablation.json: no {error} in the settings") from error


def check_place(study: Study) -> None:
    """Raise CheckpointError unless the folder is free or holds runs of the same settings.

    Tables and seeds may differ: what is there already is used.
    """
    if not study.path.is_dir() or not any(study.path.iterdir()):
        return
    if not (study.path / "ablation.json").is_file():
        fix = "choose another --out"
        raise CheckpointError(f"{study.path}: expected an ablation or no folder (fix: {fix})")
    before = _comparable(find_study(study.path).plan.to_dict())
    now = _comparable(study.plan.to_dict())
    told = [f"{key} ({before[key]}, not {now[key]})" for key in now if before[key] != now[key]]
    if told:
        fix = "the same settings, or another --out"
        raise CheckpointError(f"{study.path}: begun with other {', '.join(told)} (fix: {fix})")


def _row_plan(study: Study, row: Row, seed: int) -> Plan:
    """The plan of a row's run; without a lifter to start from, but for a given one."""
    plan = study.plan
    lifter = plan.lifter
    if row.single_frame:
        lifter = dataclasses.replace(lifter, widths=single_frame_widths(lifter.widths))
    return dataclasses.replace(
        plan,
        lifter=lifter,
        pretrain=dataclasses.replace(plan.pretrain, seed=seed),
        fit=dataclasses.replace(_row_config(row, plan), seed=seed),
        # A given lifter has the window it has.
        pretrained=None if row.single_frame else plan.pretrained,
        oracle_epochs=0,
    )


def _row_config(row: Row, plan: Plan) -> Any:
    return row.fit_config(plan.fit) or plan.fit


def _check_window(study: Study, receptive_field: int) -> None:
    alike = [name for name in study.tables if any(r.single_frame for r in TABLES[name].rows)]
    if alike and receptive_field == 1:
        fix = "a tcn of several frames, or leave the table out"
        got = "one of single frames"
        thing = f"--tables {','.join(alike)}"
        raise ConfigError(expected_message(thing, "a lifter of several frames", got, fix))


def _description(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder (fix: --out for a new ablation)")
    found = read_json(path / "ablation.json", "the description of an ablation")
    if not isinstance(found, dict) or not {"format", "settings", "results"} <= set(found):
        raise CheckpointError(f"{path}/ablation.json: not the description of an ablation")
    if found["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: ablation of format {found['format']}, this version reads up to {FORMAT} "
            "(fix: install a newer adaptpose)"
        )
    return found


def _comparable(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key, without where the data lies and what follows from the data."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _comparable(value, f"{prefix}{key}.")
        elif key not in ("data_root", "normalisation"):
            found[prefix + key] = value
    return found
