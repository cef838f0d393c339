"""The source lifters of a benchmark, trained once each, and what all its runs have in common."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from adaptpose.cli.bench_data import BenchData
from adaptpose.cli.bench_rows import source_settings
from adaptpose.cli.bench_study import Study, read_description, write_description
from adaptpose.cli.bench_tasks import Setting, widths_of
from adaptpose.cli.pretrain import Plan as SourcePlan
from adaptpose.cli.specs import spec_from_dict
from adaptpose.config import LifterConfig, PretrainConfig, config_from_dict
from adaptpose.errors import CheckpointError
from adaptpose.lifters import build_lifter
from adaptpose.pretrain import pretrain
from adaptpose.progress import ProgressHook
from adaptpose.rundir import RunDirectory, create_run, open_run, provenance
from adaptpose.runtime import stream
from adaptpose.skeleton import skeleton_by_name
from adaptpose.store import read_json, write_json


@dataclass(frozen=True)
class Bench:
    """Where and on what a study runs; `found` is the content of bench.json, and `made` are the
    names in it of what this process has made."""

    study: Study
    device: torch.device
    hook: ProgressHook
    found: dict[str, Any]
    made: set[str] = field(default_factory=set)

    def write(self) -> None:
        """Write bench.json, with what another process has added to it since."""
        if (self.study.path / "bench.json").is_file():
            now = read_description(self.study.path)
            for part in ("results", "sources", "data"):
                known = self.found[part]
                # What another process has made anew counts more than what was read at the start.
                own = {name: known[name] for name in self.made if name in known}
                self.found[part] = {**known, **now[part], **own}
        write_description(self.study.path, self.found)


def source_of(bench: Bench, setting: Setting, seed: int, data: BenchData) -> Path:
    """The lifter that all rows of a setting start from; trained for the first that needs it."""
    study, spec, seen = bench.study, data.task.source, data.task.normalisation
    name = f"{Path(spec.name).stem}-{spec.rig or 'own'}-{seen}-{setting.frames}-seed{seed}"
    lifter = dataclasses.replace(study.lifter, widths=widths_of(setting.frames))
    plan = SourcePlan(spec, lifter, source_settings(study.budget, seed), seen)
    path = study.path / "source" / name
    clear_half_made(path)
    if not path.is_dir():
        marks = {k: v for k, v in data.marks.items() if k in ("source", "validation")}
        made_by = provenance(["adapt", *sys.argv[1:]], seed, marks, str(bench.device))
        create_run(path, "pretrain", plan.to_dict(), made_by)
    run = open_run(path)
    _check_same_source(run, plan)
    if name not in bench.found["sources"] or not run.done:
        _train(bench, run, plan, data)
        _describe_source(bench, run, plan)
    return path / "lifter.safetensors"


def _train(bench: Bench, run: RunDirectory, plan: SourcePlan, data: BenchData) -> None:
    skeleton = skeleton_by_name(plan.source.skeleton)
    lifter = build_lifter(plan.lifter, skeleton, skeleton, stream(plan.pretrain.seed, "lifter"))
    hook = named(bench.hook, f"source {run.path.name}")
    with timed(run):
        pretrain(run, lifter, data.material.source, plan.pretrain, bench.device,
                 normalisation=data.task.normalisation, validation=data.validation,
                 progress=hook)  # fmt: skip


def _describe_source(bench: Bench, run: RunDirectory, plan: SourcePlan) -> None:
    watched = [r["validation_mpjpe_mm"] for r in run.records() if "validation_mpjpe_mm" in r]
    windows, batch = plan.pretrain.windows_per_epoch, plan.pretrain.batch_size
    bench.found["sources"][run.path.name] = {
        "folder": run.path.relative_to(bench.study.path).as_posix(),
        "steps": plan.pretrain.epochs * -(-windows // batch),
        "seconds": read_json(run.path / "seconds.json", "the time training took")["seconds"],
        "validation_mpjpe_mm": watched,
    }
    bench.made.add(run.path.name)
    bench.write()


def _check_same_source(run: RunDirectory, plan: SourcePlan) -> None:
    """CheckpointError if a source lifter is not that of a plan, wherever the data lies."""
    where = f"{run.path}/run.json"
    try:
        before = SourcePlan(
            spec_from_dict(run.config["source"], where),
            config_from_dict(LifterConfig, run.config["lifter"], "lifter."),
            config_from_dict(PretrainConfig, run.config["pretrain"], "pretrain."),
            run.config["normalisation"],
        )
    except KeyError as error:
        raise CheckpointError(f"{where}: no {error} in the configuration of the run") from error
    spec = dataclasses.replace(before.source, data_root=plan.source.data_root)
    if dataclasses.replace(before, source=spec) != plan:
        fix = "another --out"
        raise CheckpointError(f"{run.path}: trained with other settings (fix: {fix})")


def clear_half_made(path: Path) -> None:
    """Remove a run that was stopped while its directory was made: provenance comes last."""
    if path.is_dir() and not (path / "provenance.json").is_file():
        shutil.rmtree(path)


@contextmanager
def timed(run: RunDirectory) -> Iterator[dict[str, float]]:
    """Add the time within to seconds.json of the run, also if it is stopped.

    What is added to "monitor_seconds" of the given counts is time of the monitor.
    """
    path, began = run.path / "seconds.json", time.perf_counter()
    before = read_json(path, "the time a run took") if path.is_file() else {}
    watch = {"monitor_seconds": 0.0}
    try:
        yield watch
    finally:
        watched = watch["monitor_seconds"]
        spent = time.perf_counter() - began - watched
        total = {"seconds": before.get("seconds", 0.0) + spent,
                 "monitor_seconds": before.get("monitor_seconds", 0.0) + watched}  # fmt: skip
        write_json(path, total)


def named(hook: ProgressHook, name: str) -> ProgressHook:
    """A listener that puts a name before every stage."""

    def told(stage: str, done: int, total: int) -> None:
        hook(f"{name}: {stage}", done, total)

    return told
