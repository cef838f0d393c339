"""An ablation on disk: one adaptation per distinct row and seed, done once whatever interrupts.

    ablation.json           settings, fingerprints of the data, scores of every finished run
    source/<input>-seed<n>  lifters trained on the source alone, shared by the rows
    rows/<row>-seed<n>      one fit run per distinct row and seed
    ablation.md             the tables, once all is done

A run whose scores are in ablation.json is done; another goes on from its own state.
"""

import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptpose import distributed
from adaptpose.cli.ablation_rows import METRICS, changed
from adaptpose.cli.ablation_study import (
    Results,
    Study,
    Task,
    check_window,
    read_description,
    task_plan,
    write_description,
)
from adaptpose.cli.experiment import (
    LABELS,
    Material,
    Plan,
    adapt,
    plan_of_run,
    source_lifter,
    test_set_pick,
)
from adaptpose.cli.resume import changed_roles
from adaptpose.clips import PoseData
from adaptpose.errors import CheckpointError
from adaptpose.evaluate import EvalOptions, evaluate
from adaptpose.lifter import Lifter
from adaptpose.lifters import load_lifter
from adaptpose.progress import ProgressHook
from adaptpose.rundir import RunDirectory, create_run, open_run, provenance

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
    """Run what is missing and score it; the results of all the study's runs by name and seed.

    CheckpointError if the data, or a row's run, are not those that the folder began with.
    """
    tasks = bench.study.tasks()
    results = _begin(bench)
    for number, task in enumerate(tasks):
        bench.hook("ablation runs", number, len(tasks))
        change = changed(task.row, bench.study.plan.fit)
        if results.get(task.key, {}).get("changes") != change:
            results[task.key] = {"row": task.name, "seed": task.seed, "changes": change}
            results[task.key] |= _outcome(bench, task)
            _write(bench, results)
    bench.hook("ablation runs", len(tasks), len(tasks))
    return {task.key: results[task.key] for task in tasks}


def _begin(bench: Bench) -> Results:
    """The results so far; a new folder gets its description."""
    path, results = bench.study.path, {}
    if (path / "ablation.json").is_file():
        found, marks = read_description(path), bench.material.fingerprints()
        other = changed_roles(found["datasets"], marks, f"{path}: the ablation")
        if other:
            fix = "restore the data, or another --out"
            what = f"the data of {', '.join(other)} is not what the ablation began with"
            raise CheckpointError(f"{path}: {what} (fix: {fix})")
        results = found["results"]
    # No process may write before all have read.
    distributed.barrier()
    _write(bench, results)
    return results


def _write(bench: Bench, results: Results) -> None:
    if distributed.rank() == 0:
        write_description(bench.study, bench.material.fingerprints(), results)


def _outcome(bench: Bench, task: Task) -> dict[str, Any]:
    """Folder, receptive field and scores of one run, after doing what is left of it."""
    plan = task_plan(bench.study, task)
    lifter, start = _source(bench, task, plan)
    folder, run = start.parent, None
    if task.row.adapted:
        plan = dataclasses.replace(plan, pretrained=str(start.resolve()))
        run = _row_run(bench, task, plan)
        adapt(run, plan, bench.material, bench.device, _named(bench.hook, task.key))
        lifter, _ = load_lifter(run.path / f"{LABELS['adapted']}.safetensors")
        folder = run.path
    scores = pick = None
    if distributed.rank() == 0:
        assert bench.material.test is not None
        scores = _scores(lifter, bench.material.test, bench.device)
        pick = None if run is None else test_set_pick(run)
        # A complete run needs no state, which is larger than all else.
        (folder / "state.safetensors").unlink(missing_ok=True)
    found = distributed.from_every_rank(
        {
            "receptive_field": lifter.receptive_field,
            "folder": folder.relative_to(bench.study.path).as_posix(),
            "scores": scores,
            "test_set_pick": pick,
        }
    )[0]
    assert isinstance(found, dict)
    return found


def _source(bench: Bench, task: Task, plan: Plan) -> tuple[Lifter, Path]:
    """The lifter a row starts from, and its file; trained for the first row that needs it."""
    name = f"{'single' if task.row.single_frame else 'window'}-seed{task.seed}"
    folder = bench.study.path / "source" / name
    if distributed.rank() == 0:
        _clear_half_made(folder / "pretrain")
    distributed.barrier()
    run = RunDirectory(folder, "fit", plan.to_dict())
    hook = _named(bench.hook, f"source {name}")
    lifter = source_lifter(run, plan, bench.material, bench.device, hook)
    if not task.row.single_frame:
        check_window(bench.study, lifter.receptive_field)
    if distributed.rank() == 0:
        (folder / "pretrain" / "state.safetensors").unlink(missing_ok=True)
    return lifter, folder / f"{LABELS['source-only']}.safetensors"


def _row_run(bench: Bench, task: Task, plan: Plan) -> RunDirectory:
    """The run of a row, new or old; CheckpointError for an old one of other settings."""
    path = bench.study.path / "rows" / task.key
    if distributed.rank() == 0:
        _clear_half_made(path)
        if not path.is_dir():
            marks, command = bench.material.fingerprints(), ["adapt", *sys.argv[1:]]
            made_by = provenance(command, task.seed, marks, str(bench.device))
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


def _named(hook: ProgressHook, name: str) -> ProgressHook:
    def told(stage: str, done: int, total: int) -> None:
        hook(f"{name}: {stage}", done, total)

    return told
