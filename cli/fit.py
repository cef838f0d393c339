"""`adapt fit`: adapt a lifter from a source to a target, from the target's 2D alone."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.console import notice, notice_of, print_json, print_table, progress_hook
from adaptpose.cli.methods import DEFAULT, NAMES, POSENET3D, method_words
from adaptpose.cli.options import (
    BodyModelOption,
    BodyOption,
    CamerasOption,
    ChannelsOption,
    ConfigOption,
    DataRootOption,
    DeviceOption,
    FormatOption,
    FpsOption,
    FrameRateOption,
    JsonOption,
    KeypointsOption,
    LifterNameOption,
    MaxClipsOption,
    NoiseOption,
    OutOption,
    PresetOption,
    ResumeOption,
    RigOption,
    RunsOption,
    SeedOption,
    SetOption,
    SizeOption,
    SjaOption,
    SkeletonOption,
    SourceOption,
    SplitOption,
    StepsOption,
    TargetOption,
    TargetRigOption,
    ThreadsOption,
    WidthsOption,
    choose,
)
from adaptpose.cli.plans import moved_plan, new_plan
from adaptpose.cli.resume import check_same_data, refuse_flags, refuse_with_resume
from adaptpose.errors import CheckpointError

if TYPE_CHECKING:
    from adaptpose.cli.experiment import Material, Plan
    from adaptpose.evaluate import Evaluation
    from adaptpose.rundir import RunDirectory
else:
    Material = Plan = Evaluation = RunDirectory = Any

METRICS = ("mpjpe", "pmpjpe", "nmpjpe", "pck", "auc")
"""Scores of the table at the end."""

TestOption = Annotated[
    str | None, typer.Option("--test", help="Labelled test set; by default the target's own.")
]
TargetSplitOption = Annotated[
    str | None, typer.Option("--target-split", help="Part of the target to adapt on: train.")
]
SourceNoiseOption = Annotated[
    str | None, typer.Option("--source-noise", help="The same on the source's 2D as --noise.")
]
SourceKeypointsOption = Annotated[
    str | None, typer.Option("--source-keypoints", help="The same of the source as --keypoints.")
]
SourceCamerasOption = Annotated[
    str | None, typer.Option("--source-cameras", help="The same of the source as --cameras.")
]
TestCamerasOption = Annotated[
    str | None, typer.Option("--test-cameras", help="The same of --test as --cameras.")
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help=f"How to adapt, by default {DEFAULT}: {', '.join(NAMES)}; "
                 "several with + between."),
]  # fmt: skip
PretrainedOption = Annotated[
    Path | None,
    typer.Option("--pretrained", help="Lifter file, or run, to start from; else one is trained."),
]
PretrainEpochsOption = Annotated[
    int | None, typer.Option("--pretrain-epochs", help="Epochs of training on the source.")
]
PretrainWindowsOption = Annotated[
    str | None, typer.Option("--pretrain-windows", help="Windows per epoch of that; 0: all.")
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="Epochs of adaptation.")]
SamplesOption = Annotated[
    str | None,
    typer.Option("--samples-per-epoch", help="Generated windows per epoch, e.g. 1.5e6, of "
                 "--method adaptpose."),
]  # fmt: skip
OracleOption = Annotated[
    int,
    typer.Option("--oracle", min=0, help="Also train an oracle on the target's 3D, so many "
                 "epochs; it enters nothing else."),
]  # fmt: skip


def fit(
    source: SourceOption = None,
    rig: RigOption = None,
    target: TargetOption = None,
    target_rig: TargetRigOption = None,
    split: SplitOption = None,
    target_split: TargetSplitOption = None,
    test: TestOption = None,
    data_root: DataRootOption = None,
    noise: NoiseOption = None,
    source_noise: SourceNoiseOption = None,
    frame_rate: FrameRateOption = None,
    max_clips: MaxClipsOption = None,
    keypoints: KeypointsOption = None,
    cameras: CamerasOption = None,
    source_keypoints: SourceKeypointsOption = None,
    source_cameras: SourceCamerasOption = None,
    test_cameras: TestCamerasOption = None,
    body_model: BodyModelOption = None,
    detector_format: FormatOption = None,
    size: SizeOption = None,
    fps: FpsOption = None,
    skeleton: SkeletonOption = None,
    method: MethodOption = None,
    pretrained: PretrainedOption = None,
    lifter: LifterNameOption = None,
    channels: ChannelsOption = None,
    widths: WidthsOption = None,
    pretrain_epochs: PretrainEpochsOption = None,
    pretrain_windows: PretrainWindowsOption = None,
    epochs: EpochsOption = None,
    samples_per_epoch: SamplesOption = None,
    oracle: OracleOption = 0,
    steps: StepsOption = None,
    preset: PresetOption = None,
    body: BodyOption = None,
    sja: SjaOption = None,
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
    """Adapt a lifter to a target dataset from its 2D keypoints. Stopped runs: --resume."""
    flags = {"--lifter": lifter, "--channels": channels, "--widths": widths,
             "--pretrain-epochs": pretrain_epochs, "--pretrain-windows": pretrain_windows,
             "--epochs": epochs, "--samples-per-epoch": samples_per_epoch,
             "--seed": seed}  # fmt: skip
    data = {"--source": source, "--rig": rig, "--target": target, "--target-rig": target_rig,
            "--split": split, "--target-split": target_split,
            "--test": test, "--noise": noise, "--source-noise": source_noise,
            "--frame-rate": frame_rate, "--max-clips": max_clips, "--keypoints": keypoints,
            "--cameras": cameras, "--source-keypoints": source_keypoints,
            "--source-cameras": source_cameras, "--test-cameras": test_cameras,
            "--body-model": body_model, "--format": detector_format, "--size": size,
            "--fps": fps, "--skeleton": skeleton, "--pretrained": pretrained}  # fmt: skip
    own = {"--steps": steps, "--preset": preset, "--body": body, "--sja": sja}
    chosen = choose(device, threads)
    if resume is not None:
        rest = {"--config": config, "--set": assignments, "--out": out, "--oracle": oracle or None,
                "--method": method}  # fmt: skip
        refuse_with_resume({**flags, **data, **rest, **own})
        from adaptpose.cli.posenet import is_posenet_run
        from adaptpose.cli.posenet_run import resume_posenet

        if is_posenet_run(resume):
            return resume_posenet(resume, chosen, as_json, data_root)
        return execute(None, resume, chosen, as_json, data_root)
    if method is not None and method.strip() == POSENET3D:
        from adaptpose.cli.posenet_run import fit_posenet

        given = {**flags, **data, **own, "--oracle": oracle or None}
        return fit_posenet(given, data_root, config, assignments, chosen, as_json, out, runs)
    refuse_flags(own, method_words(method), f"--method {POSENET3D}")
    plan = new_plan(flags, data, data_root, config, assignments, method)
    plan = dataclasses.replace(plan, oracle_epochs=oracle)
    return execute(plan, out, chosen, as_json, data_root, runs)


def execute(
    plan: Plan | None,
    path: Path | None,
    device: Any,
    as_json: bool,
    data_root: Path | None = None,
    runs: Path = Path("runs"),
) -> None:
    """Run a plan in a new directory, or go on with the run at `path`; print the table."""
    from adaptpose import distributed
    from adaptpose.cli.experiment import adapt

    device = distributed.start(device)
    try:
        run, plan, material = _begin(plan, path, device, data_root, runs)
        with progress_hook(quiet=as_json or distributed.rank() != 0) as hook:
            adapt(run, plan, material, device, hook)
        if distributed.rank() == 0:
            _report(run, material, device, as_json)
    finally:
        distributed.stop()


def _begin(
    plan: Plan | None, path: Path | None, device: Any, data_root: Path | None, runs: Path
) -> tuple[RunDirectory, Plan, Material]:
    """The run, new or old, with its plan and data; several processes share rank 0's."""
    from adaptpose import distributed
    from adaptpose.cli.experiment import (
        check_processes,
        is_complete,
        open_material,
        plan_of_run,
    )
    from adaptpose.cli.start_checks import check_start
    from adaptpose.rundir import check_new_folder, open_run

    if plan is None:
        assert path is not None
        run = open_run(path)
        if run.kind != "fit":
            fix = f"adapt {run.kind} --resume"
            raise CheckpointError(f"{path}: expected a fit run, got a {run.kind} (fix: {fix})")
        if is_complete(run):
            fix = f"adapt eval --run {path}, or begin a new run"
            raise CheckpointError(f"{path}: the run is complete (fix: {fix})")
        plan = moved_plan(plan_of_run(run), data_root)
        check_processes(plan)
        material = open_material(plan)
        check_same_data(run, material.fingerprints())
        return run, plan, material
    check_processes(plan)
    if path is not None and distributed.rank() == 0:
        check_new_folder(path)
    if distributed.rank() == 0:
        notice(f"reading {plan.source.name} and {plan.target.name}")
    material = open_material(plan)
    if distributed.rank() == 0:
        for data in (material.source, material.target):
            notice_of(data)
    plan = dataclasses.replace(plan, normalisation=material.source.normalisation)
    check_start(plan, material)
    path = _create(plan, material, path, device, runs) if distributed.rank() == 0 else None
    found = distributed.from_every_rank(path)[0]
    assert isinstance(found, Path)
    return open_run(found), plan, material


def _create(plan: Plan, material: Material, out: Path | None, device: Any, runs: Path) -> Path:
    from adaptpose.rundir import create_run, new_run_path, provenance

    name = f"{Path(plan.source.name).stem}-{Path(plan.target.name).stem}"
    path = out or new_run_path(runs, "fit", name)
    command = ["adapt", *sys.argv[1:]]
    made_by = provenance(command, plan.settings.seed, material.fingerprints(), str(device))
    create_run(path, "fit", plan.to_dict(), made_by)
    return path


def _report(run: RunDirectory, material: Material, device: Any, as_json: bool) -> None:
    """The table of source-only, adapted and oracle, and the test-set pick under that name."""
    from adaptpose.cli.evaluation_tables import print_evaluations
    from adaptpose.cli.experiment import score_run, test_set_pick

    _warn_if_untuned(run)
    if material.test is None:
        result: dict[str, Any] = {"run": str(run.path), "evaluations": {}}
        if as_json:
            print_json(result)
        else:
            notice(f"adapted lifter: {run.path / 'lifter.safetensors'} (no labelled test set)")
        return
    evaluations = score_run(run, material.test, device, METRICS)
    pick = test_set_pick(run)
    if as_json:
        scores = {label: e.to_json() for label, e in evaluations.items()}
        print_json({"run": str(run.path), "evaluations": scores, "test_set_pick": pick})
        return
    print_evaluations(list(evaluations), list(evaluations.values()))
    if pick is not None:
        cells = [f"{pick['epoch']:.0f}", f"{pick['mpjpe_mm']:.1f}", f"{pick['pmpjpe_mm']:.1f}"]
        note = "the best epoch by test labels: not a result, shown because others report it"
        print_table("test-set pick", ("epoch", "mpjpe (mm)", "pmpjpe (mm)"), [cells], note)
    notice(f"next: adapt report --run {run.path}")


def _warn_if_untuned(run: RunDirectory) -> None:
    from adaptpose.store import read_json

    counts = read_json(run.path / "statistics.json", "the run's statistics")
    if not counts["lifter_steps"]:
        kept = f"{counts['selection_kept']:.0f} generated windows passed the selection"
        notice(f"the lifter was never tuned: {kept}, fewer than a batch in every section")
