"""`adapt report`: one HTML file about a run, from its directory and the data it points to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.console import notice, print_json
from adaptpose.cli.options import (
    DataRootOption,
    DeviceOption,
    JsonOption,
    RunOption,
    RunsOption,
    SeedOption,
    ThreadsOption,
    choose,
)
from adaptpose.errors import CheckpointError

if TYPE_CHECKING:
    from adaptpose.cli.experiment import Plan
    from adaptpose.cli.report_data import ReportData
    from adaptpose.report_content import ReportContent
    from adaptpose.rundir import RunDirectory
else:
    Plan = ReportData = ReportContent = RunDirectory = Any

FileOption = Annotated[
    Path | None,
    typer.Option("--out", help="File to write; by default report.html in the run's folder."),
]
ExamplesOption = Annotated[
    int, typer.Option("--examples", min=0, max=50, help="Test clips shown before and after.")
]


def report(
    run: RunOption = None,
    runs: RunsOption = Path("runs"),
    out: FileOption = None,
    examples: ExamplesOption = 5,
    data_root: DataRootOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report about a run: one HTML file with scores, curves, motions and cameras."""
    from adaptpose.cli.experiment import plan_of_run
    from adaptpose.cli.report_data import collect
    from adaptpose.report import write_report

    chosen = choose(device, threads)
    found = _find_run(run, runs)
    plan = plan_of_run(found)
    path = out or found.path / "report.html"
    notice(f"reading {plan.source.name} and {plan.target.name}")
    data = collect(found, plan, data_root, chosen)
    drawn = plan.settings.seed if seed is None else seed
    content = build_content(found, plan, data, examples, drawn)
    write_report(path, content)
    if as_json:
        print_json(_facts(found, path, data, content))
        return
    for line in data.missing:
        notice(line)
    typer.echo(f"report: {path}")


def build_content(
    run: RunDirectory, plan: Plan, data: ReportData, examples: int, seed: int
) -> ReportContent:
    """Everything that the report of a fit run shows; what has no data is left empty."""
    from adaptpose.cli import report_examples, report_words
    from adaptpose.cli.report_domains import domains
    from adaptpose.report_content import ReportContent
    from adaptpose.store import read_json

    evaluations = _evaluations(run, data)
    shown = domains(data, plan, seed)
    provenance = read_json(run.path / "provenance.json", "the run's provenance")
    return ReportContent(
        title=report_words.title(plan),
        summary=report_words.summary(run, plan),
        synthetic=report_words.synthetic_names(data),
        run_info={"provenance": provenance, "configuration": run.config},
        curves=_curves(run),
        evaluations=evaluations,
        examples=report_examples.examples(data, examples, seed),
        gallery=shown.gallery,
        cameras=shown.cameras,
        keypoints=shown.keypoints,
        credits=report_words.credits(plan, data),
        notes=report_words.notes(run, plan, data, evaluations, seed),
        without=() if plan.rounds is None else ("gallery", "selection"),
    )


def _find_run(run: Path | None, runs: Path) -> RunDirectory:
    from adaptpose.rundir import latest_run, open_run

    found = latest_run(runs, "fit") if run is None else open_run(run)
    if found.kind != "fit":
        raise CheckpointError(
            f"{found.path}: expected a fit run, got a {found.kind} run, which has no report "
            f"(fix: adapt eval --run {found.path})"
        )
    if run is None:
        notice(f"report of the latest run, {found.path}")
    return found


def _curves(run: RunDirectory) -> list[dict[str, Any]]:
    """The records of the run, and of the trainings inside it under their names."""
    from adaptpose.rundir import open_run

    inside = [run.path / name for name in ("pretrain", "oracle")]
    records = [
        {**record, "stage": path.name}
        for path in inside
        if (path / "run.json").is_file()
        for record in open_run(path).records()
    ]
    return records + run.records()


def _evaluations(run: RunDirectory, data: ReportData) -> dict[str, dict[str, Any]]:
    """The evaluations that a finished run keeps, or fresh ones where the test data is there."""
    from adaptpose.cli.experiment import score_run
    from adaptpose.cli.fit import METRICS
    from adaptpose.evaluate import EvalOptions, evaluate
    from adaptpose.store import read_json

    path = run.path / "evaluation.json"
    if run.done and path.is_file():
        stored = read_json(path, "the run's evaluation")
        if not isinstance(stored, dict) or not all(_is_evaluation(e) for e in stored.values()):
            fix = f"delete it, or adapt fit --resume {run.path}"
            raise CheckpointError(f"{path}: not the evaluations of a run (fix: {fix})")
        if stored.keys() >= data.lifters.keys() or data.test is None:
            return stored
    if data.test is None or not data.lifters:
        return {}
    device = next(next(iter(data.lifters.values())).parameters()).device
    if run.done:
        scores = score_run(run, data.test, device, METRICS)
    else:
        # Not kept: the lifters will change.
        options = EvalOptions(METRICS)
        scores = {k: evaluate(lifter, data.test, options) for k, lifter in data.lifters.items()}
    return {label: evaluation.to_json() for label, evaluation in scores.items()}


def _is_evaluation(value: Any) -> bool:
    return isinstance(value, dict) and {"dataset", "rows", "options", "joint_errors_mm"} <= set(
        value
    )


def _facts(
    run: RunDirectory, path: Path, data: ReportData, content: ReportContent
) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "report": str(path),
        "missing": list(data.missing),
        "evaluated": list(content.evaluations),
        "examples": [motion.title for motion in content.examples],
        "gallery": [motion.title for motion in content.gallery],
        "cameras": list(content.cameras),
    }
