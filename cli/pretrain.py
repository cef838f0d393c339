"""`adapt pretrain`: train a lifter on a source, supervised. Makes a run directory."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from adaptpose.cli.console import notice, notice_of, print_json, print_table, progress_hook
from adaptpose.cli.options import (
    BodyModelOption,
    CamerasOption,
    ChannelsOption,
    ConfigOption,
    DataRootOption,
    DeviceOption,
    FrameRateOption,
    JsonOption,
    KeypointsOption,
    LifterNameOption,
    MaxClipsOption,
    NoiseOption,
    OutOption,
    ResumeOption,
    RigOption,
    RunsOption,
    SeedOption,
    SetOption,
    SkeletonOption,
    SourceOption,
    SplitOption,
    ThreadsOption,
    TruthOption,
    WidthsOption,
    choose,
    parse_count,
)
from adaptpose.cli.resume import check_resumable, check_same_data, refuse_with_resume
from adaptpose.cli.settings import settle
from adaptpose.config import LifterConfig, PretrainConfig, config_from_dict, config_to_dict
from adaptpose.errors import CheckpointError, ConfigError, unknown_name_message

if TYPE_CHECKING:
    from torch import device as Device

    from adaptpose.clips import Normalisation, PoseData
    from adaptpose.datasets.generated import GeneratedSource
    from adaptpose.datasets.registry import DatasetSpec
    from adaptpose.rundir import RunDirectory

    Source = PoseData | GeneratedSource
else:
    Source = Device = Normalisation = PoseData = DatasetSpec = RunDirectory = Any

NORMALISATIONS = ("screen", "root_frobenius")

EpochsOption = Annotated[int | None, typer.Option("--epochs", help="Epochs to train.")]
WindowsOption = Annotated[
    str | None, typer.Option("--windows", help="Windows per epoch, e.g. 200k; 0: one per frame.")
]
NormalisationOption = Annotated[
    str | None,
    typer.Option("--normalisation", help="screen or root_frobenius; by default the source's."),
]
DataSeedOption = Annotated[
    int | None, typer.Option("--data-seed", help="Seed of synthetic people, cameras and noise.")
]


@dataclass(frozen=True)
class Plan:
    """What a pretraining is made of; the configuration in its run directory.

    `normalisation` None is the source's own.
    """

    source: DatasetSpec
    lifter: LifterConfig
    pretrain: PretrainConfig
    normalisation: Normalisation | None

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for JSON."""
        from adaptpose.cli.specs import spec_to_dict

        return {
            "source": spec_to_dict(self.source),
            "lifter": config_to_dict(self.lifter),
            "pretrain": config_to_dict(self.pretrain),
            "normalisation": self.normalisation,
        }


def pretrain(
    source: SourceOption = None,
    rig: RigOption = None,
    split: SplitOption = None,
    noise: NoiseOption = None,
    frame_rate: FrameRateOption = None,
    max_clips: MaxClipsOption = None,
    data_root: DataRootOption = None,
    data_seed: DataSeedOption = None,
    keypoints: KeypointsOption = None,
    cameras: CamerasOption = None,
    truth: TruthOption = None,
    body_model: BodyModelOption = None,
    skeleton: SkeletonOption = None,
    lifter: LifterNameOption = None,
    channels: ChannelsOption = None,
    widths: WidthsOption = None,
    epochs: EpochsOption = None,
    windows: WindowsOption = None,
    normalisation: NormalisationOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    resume: ResumeOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a lifter on a dataset with 3D. A stopped run goes on with --resume."""
    flags = {"--lifter": lifter, "--channels": channels, "--widths": widths, "--epochs": epochs,
             "--windows": windows, "--seed": seed}  # fmt: skip
    data = {"--source": source, "--rig": rig, "--split": split, "--noise": noise,
            "--frame-rate": frame_rate, "--max-clips": max_clips,
            "--data-seed": data_seed, "--keypoints": keypoints, "--cameras": cameras,
            "--truth": truth, "--body-model": body_model, "--skeleton": skeleton}  # fmt: skip
    chosen = choose(device, threads)
    if resume is not None:
        rest = {"--normalisation": normalisation, "--config": config, "--set": assignments}
        refuse_with_resume({**flags, **data, **rest, "--out": out})
        work = _resumed(resume, data_root, chosen)
    else:
        sections = {"lifter": LifterConfig(), "pretrain": PretrainConfig()}
        sections = settle(sections, config, assignments, _settings(flags))
        spec = _source_spec(data, data_root)
        plan = Plan(spec, sections["lifter"], sections["pretrain"], _checked(normalisation))
        work = _begun(plan, out, runs, chosen)
    _train(work, quiet=as_json)
    _print_result(work.run, as_json)


@dataclass(frozen=True)
class Work:
    """A pretraining that is ready to run: everything checked and opened."""

    run: RunDirectory
    plan: Plan
    data: Source
    validation: PoseData | None
    device: Device


def _settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags as settings by dotted key."""
    count = flags["--windows"]
    return {
        "lifter.name": flags["--lifter"],
        "lifter.channels": flags["--channels"],
        "lifter.widths": flags["--widths"],
        "pretrain.epochs": flags["--epochs"],
        "pretrain.windows_per_epoch": None if count is None else parse_count(count, "--windows"),
        "pretrain.seed": flags["--seed"],
    }


def _source_spec(options: dict[str, Any], data_root: Path | None) -> DatasetSpec:
    from adaptpose.cli.specs import new_spec

    if options["--source"] is None:
        fix = "--source synthetic-studio for a first try; see `adapt datasets`"
        raise ConfigError(f"--source: expected the name of a dataset, got none (fix: {fix})")
    return new_spec(
        options["--source"],
        split=options["--split"],
        rig=options["--rig"],
        noise=options["--noise"],
        frame_rate_hz=options["--frame-rate"],
        max_clips=options["--max-clips"],
        seed=options["--data-seed"],
        data_root=data_root,
        keypoints=options["--keypoints"],
        cameras=options["--cameras"],
        truth=options["--truth"],
        body_model=options["--body-model"],
        skeleton=options["--skeleton"],
    )


def _checked(normalisation: str | None) -> Normalisation | None:
    if normalisation is not None and normalisation not in NORMALISATIONS:
        message = unknown_name_message("normalisation", normalisation, NORMALISATIONS)
        raise ConfigError(f"--normalisation: {message}")
    return cast("Normalisation | None", normalisation)


def _begun(plan: Plan, out: Path | None, runs: Path, device: Device) -> Work:
    """A new run; its directory is made only after lifter and data have proved possible."""
    from adaptpose.rundir import check_new_folder, create_run, new_run_path, provenance

    if out is not None:
        check_new_folder(out)
    data, validation = _open(plan.source)
    plan = dataclasses.replace(plan, normalisation=plan.normalisation or data.normalisation)
    _new_lifters(plan, data)
    name = f"{Path(plan.source.name).stem}-{plan.lifter.name}"
    path = out or new_run_path(runs, "pretrain", name)
    command = ["adapt", *sys.argv[1:]]
    marks = _fingerprints(data, validation)
    made_by = provenance(command, plan.pretrain.seed, marks, str(device))
    run = create_run(path, "pretrain", plan.to_dict(), made_by)
    return Work(run, plan, data, validation, device)


def _resumed(path: Path, data_root: Path | None, device: Device) -> Work:
    """A run that goes on with its own settings, on the data it began with."""
    from adaptpose.cli.specs import change_spec, spec_from_dict
    from adaptpose.rundir import open_run

    run = open_run(path)
    check_resumable(run, "pretrain")
    spec = spec_from_dict(run.config.get("source"), f"{path}/run.json, source")
    try:
        plan = Plan(
            change_spec(spec, data_root=data_root),
            config_from_dict(LifterConfig, run.config["lifter"], "lifter."),
            config_from_dict(PretrainConfig, run.config["pretrain"], "pretrain."),
            run.config["normalisation"],
        )
    except KeyError as error:
        message = f"{path}/run.json: no {error} in the configuration of the run"
        raise CheckpointError(message) from error
    data, validation = _open(plan.source)
    check_same_data(run, _fingerprints(data, validation))
    return Work(run, plan, data, validation, device)


def _open(spec: DatasetSpec) -> tuple[Source, PoseData | None]:
    """The data of a spec, and the validation part of its dataset if "train" is trained on."""
    from adaptpose.cli.specs import has_split
    from adaptpose.cli.start_checks import check_specs
    from adaptpose.datasets.generated import is_generated
    from adaptpose.datasets.registry import open_dataset, open_windows

    check_specs({"--source": spec})
    notice(f"reading {spec.name}")
    if is_generated(spec.name):
        return open_windows(spec), None
    data = open_dataset(spec)
    notice_of(data)
    if spec.split != "train" or not has_split(spec.name, "validation"):
        return data, None
    return data, open_dataset(dataclasses.replace(spec, split="validation"))


def _fingerprints(data: Source, validation: PoseData | None) -> dict[str, str]:
    from adaptpose.clips import PoseData
    from adaptpose.datasets.fingerprints import fingerprint

    # Generated windows are too many to be read for this: their index names them.
    marks = {"source": fingerprint(data) if isinstance(data, PoseData) else data.fingerprint}
    return marks if validation is None else {**marks, "validation": fingerprint(validation)}


def _new_lifters(plan: Plan, data: Source) -> tuple[Any, Any]:
    """The lifter, and the trajectory lifter if the plan has one, with their first weights."""
    from adaptpose.lifters import build_lifter, build_trajectory_lifter
    from adaptpose.runtime import stream

    seed, skeleton = plan.pretrain.seed, data.skeleton
    lifter = build_lifter(plan.lifter, skeleton, skeleton, stream(seed, "lifter"))
    if not plan.pretrain.trajectory:
        return lifter, None
    draws = stream(seed, "trajectory_lifter")
    return lifter, build_trajectory_lifter(plan.lifter, skeleton, draws)


def _train(work: Work, quiet: bool) -> None:
    from adaptpose.pretrain import pretrain as train

    lifter, trajectory = _new_lifters(work.plan, work.data)
    with progress_hook(quiet) as hook:
        train(
            work.run,
            lifter,
            work.data,
            work.plan.pretrain,
            work.device,
            normalisation=work.plan.normalisation or work.data.normalisation,
            trajectory=trajectory,
            validation=work.validation,
            progress=hook,
        )


def _print_result(run: RunDirectory, as_json: bool) -> None:
    records = run.records()
    last = records[-1] if records else {}
    if as_json:
        print_json({"run": str(run.path), "lifter": str(run.path / "lifter.safetensors"),
                    "last_record": last})  # fmt: skip
        return
    rows = [(key, f"{v:.4g}" if isinstance(v, float) else str(v)) for key, v in last.items()]
    print_table(f"Run {run.path}", ("last record", "value"), rows)
    notice(f"next: adapt eval --run {run.path}")
