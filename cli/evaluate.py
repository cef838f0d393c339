"""`adapt eval`: scores of a run's lifters, or of a lifter file, on labelled data.

A pretraining is evaluated on its source's test people, a fit on its target's, before (the source
lifter) and after; other data is named by --dataset. A published dataset is scored by its own
protocols unless --protocol none asks for the plain evaluation (`cli/protocols.py`).
"""

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from adaptpose.cli.candidates import Candidate, candidates
from adaptpose.cli.console import notice, notice_of, print_json
from adaptpose.cli.evaluation_tables import print_evaluations
from adaptpose.cli.heights import GIVEN, parse_heights
from adaptpose.cli.options import (
    BodyModelOption,
    CamerasOption,
    DataRootOption,
    DatasetOption,
    DeviceOption,
    FrameRateOption,
    JsonOption,
    KeypointsOption,
    MaxClipsOption,
    NoiseOption,
    ProtocolOption,
    RefineOption,
    RigOption,
    RunOption,
    RunsOption,
    SplitOption,
    ThreadsOption,
    TruthOption,
    choose,
    choose_word,
)
from adaptpose.errors import CheckpointError, ConfigError, SkeletonError

if TYPE_CHECKING:
    from adaptpose.datasets.registry import DatasetSpec
    from adaptpose.evaluate import EvalOptions, Evaluation
    from adaptpose.rundir import RunDirectory
else:
    DatasetSpec = EvalOptions = Evaluation = RunDirectory = Any

MetricOption = Annotated[
    str, typer.Option("--metric", help="Names between commas, e.g. pmpjpe,mpjpe, or all.")
]
LifterFileOption = Annotated[
    Path | None, typer.Option("--lifter", help="Lifter file, instead of a run's lifters.")
]
CsvOption = Annotated[Path | None, typer.Option("--csv", help="Write every figure to this file.")]
ActionsOption = Annotated[bool, typer.Option("--actions", help="Show every action as well.")]

LensOption = Annotated[
    str | None,
    typer.Option("--focal", help="Lenses of --refine: estimated from the 2D (default), or given, "
                 "those that the labelled clips were filmed with."),
]  # fmt: skip

HeightOption = Annotated[
    str | None,
    typer.Option("--height", metavar="M", help="Statures in metres, of all (1.75) or by person "
                 "(S9=1.75,S11=1.6), or given, by the labels: adds tables of people that tall."),
]  # fmt: skip


def evaluate(
    metric: MetricOption = "all",
    run: RunOption = None,
    lifter: LifterFileOption = None,
    dataset: DatasetOption = None,
    rig: RigOption = None,
    split: SplitOption = None,
    noise: NoiseOption = None,
    frame_rate: FrameRateOption = None,
    max_clips: MaxClipsOption = None,
    data_root: DataRootOption = None,
    protocols: ProtocolOption = None,
    keypoints: KeypointsOption = None,
    cameras: CamerasOption = None,
    truth: TruthOption = None,
    body_model: BodyModelOption = None,
    refine: RefineOption = "none",
    focal: LensOption = None,
    height: HeightOption = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    actions: ActionsOption = False,
    csv_file: CsvOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score lifters on labelled data: raw, aligned, augmented, refined, or by protocols."""
    from adaptpose.cli.protocols import (
        chosen_protocols,
        refuse_options,
        report_protocols,
        score_protocols,
    )
    from adaptpose.cli.specs import change_spec, spec_to_dict
    from adaptpose.cli.start_checks import check_specs
    from adaptpose.clip_scores import metric_names

    names = metric_names(metric)
    options = _options(names, refine, focal, height)
    if run is not None and lifter is not None:
        raise ConfigError("--run and --lifter: expected one of them, got both")
    run_directory = None if lifter else find_run(run, runs)
    changes = {"name": dataset, "rig": rig, "split": split, "noise": noise,
               "frame_rate_hz": frame_rate, "max_clips": max_clips,
               "data_root": data_root, "body_model": body_model, "keypoints": keypoints,
               "cameras": cameras, "truth": truth}  # fmt: skip
    spec = change_spec(default_spec(run_directory, dataset), **changes)
    chosen = chosen_protocols(spec.name, protocols, names)
    if chosen:
        refuse_options({"--split": split, "--noise": noise, "--frame-rate": frame_rate,
                        "--max-clips": max_clips, "--rig": rig, "--cameras": cameras,
                        "--truth": truth, "--refine": None if refine == "none" else refine,
                        "--height": height})  # fmt: skip
    found = candidates(run_directory, lifter)
    check_specs({"--dataset" if dataset else "the run's dataset": spec})
    if chosen:
        named = protocols is not None and "all" not in protocols.split(",")
        results = score_protocols(found, spec, chosen, choose(device, threads), named)
        about = {"run": str(run_directory.path) if run_directory else None,
                 "dataset": spec_to_dict(spec)}  # fmt: skip
        report_protocols(results, about if as_json else None, csv_file, actions)
        return
    evaluations = _evaluate_all(found, spec, options, choose(device, threads))
    if csv_file is not None:
        _write_csv(csv_file, found, evaluations)
    if as_json:
        print_json({"run": None if run_directory is None else str(run_directory.path),
                    "dataset": spec_to_dict(spec),
                    "evaluations": [{"lifter": c.label, "file": str(c.path), **e.to_json()}
                                    for c, e in zip(found, evaluations, strict=True)]})  # fmt: skip
        return
    print_evaluations([c.label for c in found], evaluations, actions)


def _options(
    names: tuple[str, ...], refine: str, focal: str | None, height: str | None
) -> EvalOptions:
    from adaptpose.evaluate import EvalOptions
    from adaptpose.inference_options import FocalFrom, Rays

    rays = choose_word(refine, get_args(Rays), "--refine")
    if focal is not None and rays == "none":
        raise ConfigError("--focal: expected --refine with it (fix: --refine refined)")
    lens = choose_word(focal or "estimated", get_args(FocalFrom), "--focal")
    given = height is not None and height.strip().lower() == GIVEN
    heights: Any = GIVEN if given else parse_heights(height)
    return EvalOptions(names, rays=rays, focal=lens, height_m=heights)


def find_run(run: Path | None, runs: Path) -> RunDirectory:
    """The run of --run, or the latest fit below --runs, or the latest pretraining."""
    from adaptpose.rundir import latest_run, open_run

    if run is not None:
        return open_run(run)
    try:
        found = latest_run(runs, "fit")
    except CheckpointError:
        found = latest_run(runs, "pretrain")
    notice(f"evaluating the latest run, {found.path}")
    return found


def default_spec(run: RunDirectory | None, dataset: str | None) -> DatasetSpec:
    """The test set that belongs to a run; without a run, --dataset must name one."""
    from adaptpose.cli.specs import new_spec, spec_from_dict

    if run is None:
        if dataset is None:
            raise ConfigError("--lifter: expected --dataset with it (fix: --dataset NAME)")
        return new_spec(dataset, split="test")
    key = "target" if run.kind == "fit" else "source"
    if run.kind == "fit" and run.config.get("test") is not None:
        key = "test"
    spec = spec_from_dict(run.config.get(key), f"{run.path}/run.json, {key}")
    return dataclasses.replace(spec, split="test", max_clips=None)


def _evaluate_all(
    found: list[Candidate], spec: DatasetSpec, options: EvalOptions, device: Any
) -> list[Evaluation]:
    from adaptpose.datasets.registry import open_dataset
    from adaptpose.evaluate import evaluate as score
    from adaptpose.lifters import load_lifter

    lifters = [load_lifter(candidate.path) for candidate in found]
    reads = lifters[0][0].skeleton_in.name
    data = open_dataset(dataclasses.replace(spec, skeleton=reads))
    notice_of(data)
    evaluations = []
    for candidate, (lifter, meta) in zip(found, lifters, strict=True):
        seen = candidate.normalisation or meta.get("normalisation") or data.normalisation
        as_trained = dataclasses.replace(data, normalisation=seen)
        try:
            evaluations.append(score(lifter.to(device), as_trained, options))
        except SkeletonError as error:
            raise SkeletonError(f"{candidate.path}: {error}") from error
    return evaluations


def _write_csv(path: Path, found: list[Candidate], evaluations: list[Evaluation]) -> None:
    from adaptpose.store import write_bytes

    text = io.StringIO()
    writer = None
    for candidate, evaluation in zip(found, evaluations, strict=True):
        for row in evaluation.rows:
            values = {"lifter": candidate.label, "dataset": evaluation.dataset,
                      "synthetic": evaluation.synthetic, **dataclasses.asdict(row)}  # fmt: skip
            if writer is None:
                writer = csv.DictWriter(text, list(values), lineterminator="\n")
                writer.writeheader()
            writer.writerow(values)
    write_bytes(path, text.getvalue().encode())
