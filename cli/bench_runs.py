"""A benchmark on disk: every row of every setting and seed, done once whatever interrupts.

    bench.json                              budget, data, results and what follows from them
    source/<source>-<frames>-seed<n>        lifters trained on a source, shared by tasks and rows
    rows/<task>/<input>-<frames>/seed<n>/<row>   one fit run per row
    bench.md, gap-closed.png, curves.png    tables and figures

The target's labels enter the oracle, the monitor, which only writes down, and the scores.
"""

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptpose.cli.bench_data import BenchData, DataStore
from adaptpose.cli.bench_rows import source_settings
from adaptpose.cli.bench_sources import Bench, clear_half_made, named, source_of, timed
from adaptpose.cli.bench_study import (
    Cell,
    Study,
    begin,
    check_rows,
    forget,
    plain,
    write_description,
)
from adaptpose.cli.bench_tasks import METRICS, widths_of
from adaptpose.cli.experiment import LABELS, Material, Plan, plan_of_run, source_lifter
from adaptpose.clips import PoseData
from adaptpose.config import FitConfig
from adaptpose.epoch_scores import epoch_scores
from adaptpose.errors import CheckpointError
from adaptpose.evaluate import EvalOptions, evaluate, evaluate_predictions
from adaptpose.fit import fit
from adaptpose.lifter import Lifter
from adaptpose.lifters import load_lifter
from adaptpose.progress import ProgressHook
from adaptpose.rounds import adapt_in_rounds
from adaptpose.rounds_config import RoundsConfig
from adaptpose.rundir import RunDirectory, create_run, open_run, provenance
from adaptpose.store import read_json

SCORING = EvalOptions(tuple(METRICS), tta="auto", scale_aligned=False, bootstrap_samples=0)
"""How a result is scored. Every variant that `evaluate` gives for it becomes a column of its own
("raw", "tta"), compared with the same variant of source-only and oracle. A study adds what is
done about rays."""
WATCHING = dataclasses.replace(SCORING, tta="none")
"""How the monitor scores the lifter of an epoch."""
WATCHED_FRAMES = 15_000
"""Test frames that the monitor looks at, about: the curve and the test-set pick are of these alone,
scores of all."""


def carry_out(
    study: Study,
    device: torch.device,
    hook: ProgressHook,
    redo: tuple[str, ...] = (),
    rescore: bool = False,
) -> dict[str, Any]:
    """Run what is missing; the content of bench.json, with the results of other rows too.

    `redo` names rows that are run again, `rescore` scores all rows of the study again without
    running them. CheckpointError if folder, rows or data are not those that were begun with.
    """
    found = begin(study)
    forget(study, found["results"], redo, runs=True)
    if rescore:
        forget(study, found["results"], tuple(row.name for row in study.rows), runs=False)
    check_rows(study, found["results"])
    write_description(study.path, found)
    bench, store, cells = Bench(study, device, hook, found), DataStore(study), study.cells()
    for number, cell in enumerate(cells):
        hook("bench rows", number, len(cells))
        if cell.key not in found["results"]:
            data = store.open(cell.setting, found["data"])
            found["results"][cell.key] = _outcome(bench, cell, data)
            bench.made.add(cell.key)
            bench.write()
    hook("bench rows", len(cells), len(cells))
    return found


def _outcome(bench: Bench, cell: Cell, data: BenchData) -> dict[str, Any]:
    """Everything that is kept of a row, after doing what is left of it."""
    start = source_of(bench, cell.setting, cell.seed, data)
    about = {"task": cell.setting.task, "input": cell.setting.input,
             "frames": cell.setting.frames, "seed": cell.seed, "row": cell.row.name,
             "settings": plain(bench.study.config_of(cell))}  # fmt: skip
    if cell.row.kind == "mean":
        scores = _mean_pose_scores(data)
        return about | _result(scores, start, 0, 0.0, 0.0, [], bench)
    if cell.row.kind == "source":
        lifter, _ = load_lifter(start)
        lifter.to(bench.device)
        seconds = bench.found["sources"][start.parent.name]["seconds"]
        monitor = _Monitor(_some_clips(data.test), {"monitor_seconds": 0.0})
        record = epoch_scores(lifter, data.material.target, monitor)
        curve = [{"epoch": 0, "steps": 0, **_watch(record)}]
        scores = _scores(lifter, data.test, bench)
        return about | _result(scores, start.parent, 0, seconds, 0.0, curve, bench)
    run = _run(bench, cell, data, start)
    lifter, _ = load_lifter(run.path / f"{LABELS['adapted']}.safetensors")
    spent = read_json(run.path / "seconds.json", "the time a row took")
    steps = read_json(run.path / "statistics.json", "the run's statistics")["lifter_steps"]
    scores = _scores(lifter, data.test, bench)
    times = spent["seconds"], spent["monitor_seconds"]
    return about | _result(scores, run.path, int(steps), *times, learning_curve(run), bench)


def _result(
    scores: dict[str, dict[str, float]],
    folder: Path,
    steps: int,
    seconds: float,
    monitor_seconds: float,
    curve: list[dict[str, Any]],
    bench: Bench,
) -> dict[str, Any]:
    return {
        "folder": folder.relative_to(bench.study.path).as_posix(),
        "steps": steps,
        "seconds": seconds,
        "monitor_seconds": monitor_seconds,
        "scores": scores,
        "curve": curve,
    }


def learning_curve(run: RunDirectory) -> list[dict[str, Any]]:
    """Per epoch: updates so far, the label-free score with its parts, and what the monitor saw."""
    curve, steps = [], 0.0
    for record in run.records():
        steps += record.get("lifter_steps", 0.0)
        if "label_free" in record:
            curve.append({"epoch": record["epoch"], "steps": int(steps), **_watch(record)})
    return curve


def _run(bench: Bench, cell: Cell, data: BenchData, start: Path) -> RunDirectory:
    """The finished run of a row."""
    config = bench.study.config_of(cell)
    assert config is not None
    plan = _plan(bench.study, cell, data, config, start)
    path = bench.study.folder_of(cell)
    if path.is_dir() and (path / "seconds.json").is_file() and open_run(path).done:
        run = open_run(path)
        _check_same(run, plan)
        return run
    material = data.oracle_material() if cell.row.kind == "oracle" else data.material
    run = _opened(bench, cell, plan, material)
    hook = named(bench.hook, cell.key)
    lifter = source_lifter(run, plan, material, bench.device, hook)
    with timed(run) as watch:
        monitor = _Monitor(_some_clips(data.test), watch)
        given = (run, lifter, material.source, material.target)
        common = {"normalisation": material.source.normalisation, "monitor": monitor,
                  "progress": hook}  # fmt: skip
        if plan.rounds is None:
            fit(*given, plan.fit, bench.device, **common)
        else:
            adapt_in_rounds(*given, plan.rounds, bench.device, **common)
    return run


def _plan(
    study: Study, cell: Cell, data: BenchData, config: FitConfig | RoundsConfig, start: Path
) -> Plan:
    rounds = config if isinstance(config, RoundsConfig) else None
    task = data.task
    return Plan(
        source=task.source,
        target=task.target,
        test=task.test,
        lifter=dataclasses.replace(study.lifter, widths=widths_of(cell.setting.frames)),
        pretrain=source_settings(study.budget, cell.seed),
        fit=config if isinstance(config, FitConfig) else FitConfig(),
        normalisation=task.normalisation,
        pretrained=str(start.resolve()),
        method=cell.row.method,
        rounds=rounds,
    )


def _opened(bench: Bench, cell: Cell, plan: Plan, material: Material) -> RunDirectory:
    """The run of a row, new or begun; CheckpointError for one begun with other settings."""
    path = bench.study.folder_of(cell)
    clear_half_made(path)
    if not path.is_dir():
        command = ["adapt", *sys.argv[1:]]
        made_by = provenance(command, cell.seed, material.fingerprints(), str(bench.device))
        create_run(path, "fit", {**plan.to_dict(), "row": cell.row.name}, made_by)
    run = open_run(path)
    _check_same(run, plan)
    return run


def _check_same(run: RunDirectory, plan: Plan) -> None:
    before = plan_of_run(run)
    if (before.method, before.settings) != (plan.method, plan.settings):
        fix = f"--redo {run.path.name}, or another --out"
        raise CheckpointError(f"{run.path}: begun with other settings (fix: {fix})")


@dataclass(frozen=True)
class _Monitor:
    """Test errors of a lifter for the log; counts its own time, which is no part of a method's."""

    test: PoseData
    watch: dict[str, float]

    def __call__(self, lifter: Lifter) -> dict[str, float]:
        began = time.perf_counter()
        scores = evaluate(lifter, self.test, WATCHING)
        self.watch["monitor_seconds"] += time.perf_counter() - began
        return {name: scores.row(name).value for name in METRICS}


def _some_clips(test: PoseData) -> PoseData:
    """Clips drawn once and for all, about as many as have `WATCHED_FRAMES` frames."""
    frames = sum(clip.num_frames for clip in test.clips)
    count = max(1, min(len(test.clips), round(len(test.clips) * WATCHED_FRAMES / max(1, frames))))
    order = torch.randperm(len(test.clips), generator=torch.Generator().manual_seed(0))
    chosen = sorted(order[:count].tolist())
    return dataclasses.replace(test, clips=tuple(test.clips[k] for k in chosen))


def _scores(lifter: Lifter, test: PoseData, bench: Bench) -> dict[str, dict[str, float]]:
    """Errors in mm by variant and metric."""
    options = dataclasses.replace(SCORING, rays=bench.study.rays)
    found = evaluate(lifter.to(bench.device), test, options)
    return {
        variant: {name: found.row(name, variant).value for name in METRICS}
        for variant in found.variants
    }


def _watch(record: dict[str, Any]) -> dict[str, float]:
    """What is kept of an epoch's record: the label-free score, its parts, the monitor's errors."""
    scores = {name: value for name, value in record.items() if name.startswith("label_free")}
    return scores | {name: record[f"monitor_{name}"] for name in METRICS}


def _mean_pose_scores(data: BenchData) -> dict[str, dict[str, float]]:
    """Errors of the source's mean root-relative pose in camera axes, whatever the 2D."""
    source, test = data.material.source, data.test
    root = source.skeleton.root
    poses = torch.cat([clip.pose3d_cam[clip.valid] for clip in source.clips])
    mean = (poses - poses[:, root : root + 1]).mean(dim=0)
    copies = [mean.expand(clip.num_frames, -1, -1) for clip in test.clips]
    found = evaluate_predictions(copies, test, WATCHING)
    return {"raw": {name: found.row(name).value for name in METRICS}}
