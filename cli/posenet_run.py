"""A run of `adapt fit --method posenet3d` from beginning to end: data, body, training, scores."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.cli.console import notice, notice_of, print_json, print_table, progress_hook
from adaptpose.cli.methods import POSENET3D
from adaptpose.cli.posenet import PoseNetPlan, new_posenet_plan, plan_of_posenet_run
from adaptpose.cli.resume import check_same_data
from adaptpose.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from adaptpose.clips import PoseData, TargetData
    from adaptpose.posenet_scores import PoseScores
    from adaptpose.rundir import RunDirectory
else:
    RunDirectory = PoseData = TargetData = PoseScores = Any

LABELS = {
    "teacher_before_joint": "teacher before joint",
    "student_before_joint": "student before joint",
    "teacher": "teacher",
    "student": "student",
    "lifter": "average",
}
"""Lifter files of a run and what the table calls them."""


@dataclass(frozen=True)
class PoseNetMaterial:
    """2D of the target, and a labelled test set if there is one."""

    target: TargetData
    test: PoseData | None

    def fingerprints(self) -> dict[str, str]:
        """Content hashes by role."""
        from adaptpose.datasets.fingerprints import fingerprint

        parts = {"target": self.target, "test": self.test}
        return {role: fingerprint(data) for role, data in parts.items() if data is not None}


def fit_posenet(
    given: dict[str, Any],
    data_root: Path | None,
    config: Path | None,
    assignments: list[str] | None,
    device: Any,
    as_json: bool,
    out: Path | None,
    runs: Path,
) -> None:
    """Train in a new run directory and print the table; `given` are values by flag."""
    from adaptpose.cli.start_checks import check_frames
    from adaptpose.rundir import check_new_folder, create_run, new_run_path, provenance

    plan = new_posenet_plan(given, data_root, config, assignments)
    if out is not None:
        check_new_folder(out)
    notice(f"reading {plan.target.name}")
    material = _open(plan)
    notice_of(material.target)
    check_frames(material.target, "--target")
    body, plan = _body(plan)
    start = _start(plan)
    path = out or new_run_path(runs, "fit", f"{POSENET3D}-{Path(plan.target.name).stem}")
    made_by = provenance(
        ["adapt", *sys.argv[1:]], plan.posenet.seed, material.fingerprints(), str(device)
    )
    _check_state(plan, body, start)
    run = create_run(path, "fit", plan.to_dict(), made_by)
    _tell_preset(given["--preset"])
    _train(run, plan, material, body, start, device, as_json)


def resume_posenet(path: Path, device: Any, as_json: bool, data_root: Path | None) -> None:
    """Go on with a stopped run; CheckpointError if it is complete or its data has changed."""
    from adaptpose.rundir import open_run

    run = open_run(path)
    plan = plan_of_posenet_run(run)
    if data_root is not None:
        place = {"data_root": data_root}
        test = None if plan.test is None else dataclasses.replace(plan.test, **place)
        plan = dataclasses.replace(
            plan, target=dataclasses.replace(plan.target, **place), test=test
        )
    if run.done and (plan.test is None or (run.path / "scores.json").is_file()):
        fix = f"adapt eval --run {path}, or begin a new run"
        raise CheckpointError(f"{path}: the run is complete (fix: {fix})")
    material = _open(plan)
    check_same_data(run, material.fingerprints())
    body, plan = _body(plan)
    _train(run, plan, material, body, _start(plan), device, as_json)


def _open(plan: PoseNetPlan) -> PoseNetMaterial:
    from adaptpose.cli.start_checks import check_specs
    from adaptpose.datasets.registry import open_dataset, open_target

    check_specs({"--target": plan.target, "--test": plan.test})
    test = None if plan.test is None else open_dataset(plan.test)
    # Windows are normalised by the networks themselves.
    if test is not None:
        test = dataclasses.replace(test, normalisation="screen")
    target = dataclasses.replace(open_target(plan.target), normalisation="screen")
    return PoseNetMaterial(target, test)


def _body(plan: PoseNetPlan) -> tuple[Any, PoseNetPlan]:
    """The body that the stages need, None for a teacher alone, and the plan with its sizes."""
    from adaptpose.cli.specs import cache_folder
    from adaptpose.datasets.body_store import load_body
    from adaptpose.posenet_run_config import with_body
    from adaptpose.posenet_state import fitted_body

    if not plan.posenet.has_student:
        return None, plan
    notice(f"body model {plan.body}")
    model, _ = load_body(plan.body, cache_folder())
    config = with_body(plan.posenet, model.num_joints, model.shape_directions.shape[-1])
    return fitted_body(model, config.vertices), dataclasses.replace(plan, posenet=config)


def _start(plan: PoseNetPlan) -> Any:
    """The teacher to go on from, None if the run trains its own."""
    from adaptpose.lifters import load_lifter
    from adaptpose.lifters.posenet import PoseNetLifter

    if plan.pretrained is None:
        return None
    path = Path(plan.pretrained)
    path = path / "teacher.safetensors" if path.is_dir() else path
    lifter, _ = load_lifter(path)
    if not isinstance(lifter, PoseNetLifter):
        fix = "a run of --method posenet3d"
        raise ConfigError(f"--pretrained {path}: expected a teacher of PoseNet3D (fix: {fix})")
    return lifter.teacher


def _check_state(plan: PoseNetPlan, body: Any, start: Any) -> None:
    """Raise what is wrong with the networks before a run directory is made."""
    import torch

    from adaptpose.posenet_state import create_state

    create_state(plan.posenet, body, torch.device("cpu"), start)


def _tell_preset(name: str | None) -> None:
    from adaptpose.posenet_run_config import preset_changes

    changes = preset_changes(name or "published")
    if changes:
        said = ", ".join(f"{key} {new} (published {old})" for key, (old, new) in changes.items())
        notice(f"preset {name}: {said}")


def _train(
    run: RunDirectory,
    plan: PoseNetPlan,
    material: PoseNetMaterial,
    body: Any,
    start: Any,
    device: Any,
    as_json: bool,
) -> None:
    from adaptpose.cli.experiment import test_monitor
    from adaptpose.lifters.posenet import PoseNetLifter
    from adaptpose.posenet_fit import train_posenet

    skeleton = material.target.skeleton

    def wrap(teacher: Any, student: Any, output: Any) -> PoseNetLifter:
        return PoseNetLifter(teacher, skeleton, skeleton, output, student)

    with progress_hook(quiet=as_json) as hook:
        train_posenet(
            run, material.target, body, plan.posenet, device, wrap=wrap, start=start,
            meta={"body": plan.body}, monitor=test_monitor(material.test), progress=hook,
        )  # fmt: skip
    report_posenet(run, material.test, device, as_json)


def report_posenet(run: RunDirectory, test: PoseData | None, device: Any, as_json: bool) -> None:
    """Print scores of the run's lifters on a labelled test set; written as scores.json too."""
    from adaptpose.lifters import load_lifter
    from adaptpose.posenet_scores import score_lifters
    from adaptpose.store import write_json

    scores: dict[str, PoseScores] = {}
    if test is not None:
        lifters = {}
        for stem, label in LABELS.items():
            path = run.path / f"{stem}.safetensors"
            if path.is_file():
                lifter, meta = load_lifter(path)
                if stem == "lifter" and meta.get("output") != "average":
                    continue
                lifters[label] = lifter.to(device)
        scores = score_lifters(lifters, test)
        write_json(run.path / "scores.json", {k: dataclasses.asdict(v) for k, v in scores.items()})
    if as_json:
        values = {label: dataclasses.asdict(score) for label, score in scores.items()}
        print_json({"run": str(run.path), "scores": values})
        return
    if test is None:
        notice(f"lifter: {run.path / 'lifter.safetensors'} (no labelled test set)")
        return
    _print_scores(scores, test)
    notice(f"next: adapt eval --run {run.path}")


def _print_scores(scores: dict[str, PoseScores], test: PoseData) -> None:
    rates = ", ".join(f"{rate:g}" for rate in sorted({c.frame_rate_hz for c in test.clips}))
    kind = "SYNTHETIC people" if test.synthetic else "recorded people"
    columns = ("poses", "pmpjpe (mm)", "mpjve (mm/frame)", "mblstd (mm)", "pck (%)", "auc (%)",
               "flips (%)")  # fmt: skip
    rows = [
        (label, *(f"{value:.1f}" for value in dataclasses.astuple(score)))
        for label, score in scores.items()
    ]
    caption = (
        f"aligned frame by frame, without reflection; {rates} Hz; mblstd: 8 limbs at their true "
        "mean length; flips: frames whose mirror image in depth aligns better"
    )
    print_table(f"{test.name} ({kind}), {len(test.clips)} clips", columns, rows, caption)
