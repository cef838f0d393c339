"""An ablation on disk: one adaptation per distinct row and seed, done once whatever interrupts.

    ablation.json           settings, fingerprints of the data, scores of every finished run
    source/<input>-seed<n>  lifters trained on the source alone, shared by the rows
    rows/<row>-seed<n>      one fit run per distinct row and seed
    ablation.md             the tables, once all is done

A run whose scores are in ablation.json is done; another goes on from its own state.
"""

import dataclasses
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptpose import distributed
from adaptpose.cli.ablation_rows import (
    METRICS,
    TABLES,
    Row,
    changed,
    distinct_rows,
    single_frame_widths,
)
from adaptpose.cli.experiment import (
    LABELS,
    Material,
    Plan,
    adapt,
    plan_from_dict,
    plan_of_run,
    source_lifter,
    test_set_pick,
)
from adaptpose.clips import PoseData
from adaptpose.errors import CheckpointError, ConfigError, expected_message
from adaptpose.evaluate import EvalOptions, evaluate
from adaptpose.lifter import Lifter
from adaptpose.lifters import load_lifter
from adaptpose.progress import ProgressHook
from adaptpose.rundir import RunDirectory, create_run, open_run, provenance
from adaptpose.store import read_json, write_json

SCORING = EvalOptions(tuple(METRICS), tta="none", scale_aligned=False, bootstrap_samples=0)
"""Raw figures over all frames, without test-time augmentation."""


@dataclass(frozen=True)
class Bench:
    """Where and on what a study runs."""

    study: Study
    material: Material
    device: torch.device
    hook: ProgressHook


def carry_out(bench: Bench) -> Results:
    """Run what is missing and score it; the results of all runs by name and seed."""
    study, tasks = bench.study, bench.study.tasks()
    results = _begin(bench)
    for number, (name, row, seed) in enumerate(tasks):
        bench.hook("ablation runs", number, len(tasks))
        key = f"{name}-seed{seed}"
        if results.get(key, {}).get("changes") != changed(row, study.plan.fit):
            results[key] = _result(bench, key, row, seed)
            _write(bench, results)
    bench.hook("ablation runs", len(tasks), len(tasks))
    wanted = [f"{name}-seed{seed}" for name, _, seed in study.tasks()]
    return {key: results[key] for key in wanted}


def _begin(bench: Bench) -> Results:
    """The results so far; a new folder gets its description."""
    path, marks = bench.study.path, bench.material.fingerprints()
    results: Results = {}
    if (path / "ablation.json").is_file():
        found = _description(path)
        other = [role for role, mark in marks.items() if found["datasets"].get(role) != mark]
        if other:
            fix = "restore the data, or another --out"
            what = f"the data of {', '.join(other)} is not what the ablation began with"
            raise CheckpointError(f"{path}: {what} (fix: {fix})")
        results = found["results"]
    distributed.barrier()
    _write(bench, results)
    return results


def _result(bench: Bench, key: str, row: Row, seed: int) -> dict[str, Any]:
    """What is told of one run, after doing what is left of it."""
    plan = _row_plan(bench.study, row, seed)
    hook = _named(bench.hook, key)
    lifter, path = _source(bench, plan, row, hook)
    run = None
    if row.adapted:
        run = _row_run(bench, dataclasses.replace(plan, pretrained=str(path.resolve())), key)
        adapt(run, plan, bench.material, bench.device, hook)
        lifter, _ = load_lifter(run.path / f"{LABELS['adapted']}.safetensors")
    scores = pick = None
    if distributed.rank() == 0:
        assert bench.material.test is not None
        scores = _scores(lifter, bench.material.test, bench.device)
        pick = None if run is None else test_set_pick(run)
        if run is not None:
            # A complete run needs no state, which is thrice the size of its lifter.
            (run.path / "state.safetensors").unlink(missing_ok=True)
    result = {
        "row": key.removesuffix(f"-seed{seed}"),
        "seed": seed,
        "changes": changed(row, bench.study.plan.fit),
        "receptive_field": lifter.receptive_field,
        "folder": (path.parent if run is None else run.path)
        .relative_to(bench.study.path)
        .as_posix(),
        "scores": scores,
        "test_set_pick": pick,
    }
    found = distributed.from_every_rank(result)[0]
    assert isinstance(found, dict)
    return found


def _source(bench: Bench, plan: Plan, row: Row, hook: ProgressHook) -> tuple[Lifter, Path]:
    """The lifter a row starts from, and its file; trained for the first row that needs it."""
    name = "single" if row.single_frame else "window"
    folder = bench.study.path / "source" / f"{name}-seed{plan.fit.seed}"
    if distributed.rank() == 0:
        _clear_half_made(folder / "pretrain")
    distributed.barrier()
    run = RunDirectory(folder, "fit", plan.to_dict())
    lifter = source_lifter(run, plan, bench.material, bench.device, hook)
    if not row.single_frame:
        _check_window(bench.study, lifter.receptive_field)
    if distributed.rank() == 0:
        (folder / "pretrain" / "state.safetensors").unlink(missing_ok=True)
    return lifter, folder / f"{LABELS['source-only']}.safetensors"


def _row_run(bench: Bench, plan: Plan, key: str) -> RunDirectory:
    path = bench.study.path / "rows" / key
    if distributed.rank() == 0:
        _clear_half_made(path)
        if not path.is_dir():
            marks, command = bench.material.fingerprints(), ["adapt", *sys.argv[1:]]
            made_by = provenance(command, plan.fit.seed, marks, str(bench.device))
            create_run(path, "fit", plan.to_dict(), made_by)
    distributed.barrier()
    run = open_run(path)
    if plan_of_run(run).fit != plan.fit:
        fix = "remove the folder, or another --out"
        raise CheckpointError(f"{path}: the run was made with other settings (fix: {fix})")
    return run


def _clear_half_made(path: Path) -> None:
    """Remove a run that was stopped while its directory was made: provenance comes last."""
    if path.is_dir() and not (path / "provenance.json").is_file():
        shutil.rmtree(path)


def _scores(lifter: Lifter, test: PoseData, device: torch.device) -> dict[str, float]:
    found = evaluate(lifter.to(device), test, SCORING)
    return {name: found.row(name).value for name in METRICS}


def _named(hook: ProgressHook, key: str) -> ProgressHook:
    def told(stage: str, done: int, total: int) -> None:
        hook(f"{key}: {stage}", done, total)

    return told


def _write(bench: Bench, results: Results) -> None:
    if distributed.rank() != 0:
        return
    content = {
        "format": FORMAT,
        "settings": bench.study.settings(),
        "datasets": bench.material.fingerprints(),
        "results": results,
    }
    write_json(bench.study.path / "ablation.json", content)
