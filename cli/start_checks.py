"""What must hold before a run's folder is made: data, lifter and settings fit together.

A command that is refused here has written nothing and trained nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.clips import PoseData, TargetData
from adaptpose.datasets.registry import DatasetSpec, check_spec, open_dataset
from adaptpose.errors import AdaptError, ConfigError, DataError
from adaptpose.lifter import Lifter, check_lifter_skeleton
from adaptpose.lifters import build_lifter, load_lifter
from adaptpose.rundir import open_run
from adaptpose.runtime import stream

if TYPE_CHECKING:
    from adaptpose.cli.experiment import Material, Plan
else:
    Material = Plan = Any


def check_specs(specs: dict[str, DatasetSpec | None]) -> None:
    """Raise what is wrong with datasets by flag, as far as that shows before any is read."""
    for flag, spec in specs.items():
        try:
            if spec is not None:
                check_spec(spec)
        except AdaptError as error:
            raise type(error)(f"{flag}: {error}") from error


def check_start(plan: Plan, material: Material) -> None:
    """Raise unless an adaptation can begin: usable frames, a lifter that fits, oracle labels."""
    check_frames(material.source, "--source")
    check_frames(material.target, "--target")
    source = material.source
    if plan.pretrained is None:
        build_lifter(plan.lifter, source.skeleton, source.skeleton, stream(0, "check"))
    else:
        lifter, meta = given_lifter(plan.pretrained)
        check_given(lifter, meta, source, f"--pretrained {plan.pretrained}")
    if plan.oracle_epochs and Path(plan.target.name).suffix == ".npz":
        try:
            open_dataset(plan.target)
        except AdaptError as error:
            fix = "leave --oracle out, or a target with 3D"
            raise type(error)(f"--oracle: {error} (fix: {fix})") from error


def check_frames(data: PoseData | TargetData, flag: str) -> None:
    """DataError unless some frame of the data is valid and, of a target, some joint was seen."""
    if not any(bool(clip.valid.any()) for clip in data.clips):
        raise DataError(f"{flag} {data.name}: no frame is marked valid")
    if isinstance(data, TargetData) and not any(
        bool((clip.confidence[clip.valid] > 0).any()) for clip in data.clips
    ):
        fix = "leave the array 'confidence' out if it is not known"
        raise DataError(f"{flag} {data.name}: every keypoint has confidence 0 (fix: {fix})")


def given_lifter(pretrained: str) -> tuple[Lifter, dict[str, Any]]:
    """The lifter of a file, or the one a run started from or made, with its metadata."""
    path = Path(pretrained)
    if not path.is_dir():
        return load_lifter(path)
    run = open_run(path)
    stem = "source_lifter" if run.kind == "fit" else "lifter"
    return load_lifter(run.path / f"{stem}.safetensors")


def check_given(lifter: Lifter, meta: dict[str, Any], source: PoseData, where: str) -> None:
    """Raise unless a lifter reads the joints and the normalisation that the data has."""
    check_lifter_skeleton(lifter, source.skeleton, where)
    wanted = source.normalisation
    if meta.get("normalisation", wanted) != wanted:
        raise ConfigError(
            f"{where}: expected a lifter of 2D normalised as '{wanted}', which the "
            f"target asks for, got '{meta['normalisation']}' (fix: pretrain one with "
            f"--normalisation {wanted})"
        )
