"""`adapt predict`: people's own 2D detections to 3D files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from adaptpose.cli.console import notice, print_json, progress_hook
from adaptpose.cli.failures import INTERRUPTED
from adaptpose.cli.heights import parse_heights
from adaptpose.cli.options import (
    CamerasOption,
    DeviceOption,
    FormatOption,
    FpsOption,
    JsonOption,
    KeypointsOption,
    RefineOption,
    SizeOption,
    ThreadsOption,
    choose,
    choose_word,
    parse_size,
)
from adaptpose.cli.predict_mesh import MESHES
from adaptpose.errors import (
    CheckpointError,
    ConfigError,
    SkeletonError,
    expected_message,
    unknown_name_message,
)

if TYPE_CHECKING:
    from adaptpose.predict import PredictOptions
else:
    PredictOptions = Any

KINDS = ("npz", "csv", "trc", "bvh", "html")

DetectionsArgument = Annotated[
    Path,
    typer.Argument(help="File or folder of a detector's output, or a Pose2Sim session."),
]
LifterOption = Annotated[
    Path | None,
    typer.Option("--lifter", help="Folder of a run, whose result is used, or a lifter file."),
]
FolderOption = Annotated[Path | None, typer.Option("--out", help="New folder to write to.")]
ExportOption = Annotated[
    str, typer.Option("--export", help=f"Kinds of files between commas: {', '.join(KINDS)}.")
]
MeshOption = Annotated[
    str | None,
    typer.Option("--mesh", help="Meshes as well, of lifters with a body: obj (a file per frame) or "
                 "glb (one that plays)."),
]  # fmt: skip
HeightOption = Annotated[
    str | None,
    typer.Option("--height", metavar="M", help="Stature in metres, of all (1.75) or by person "
                 "(1=1.75,2=1.6); by default the lifter's size is kept."),
]  # fmt: skip
FocalOption = Annotated[
    float | None,
    typer.Option("--focal", help="Focal length in pixels; by default that of the calibration, "
                 "else it is estimated."),
]  # fmt: skip
CalibrationOption = Annotated[
    Path | None,
    typer.Option("--calibration", help="Calibration of the cameras in Pose2Sim's form (.toml)."),
]
TtaOption = Annotated[
    str,
    typer.Option("--tta", help="Passes averaged: none, flip, reverse, both, or auto (both where "
                 "the lifter can, at four times the work of none)."),
]  # fmt: skip
BonesOption = Annotated[
    bool,
    typer.Option("--constant-bones/--free-bones", help="One length per bone and person, or the "
                 "lifter's own in every frame."),
]  # fmt: skip
CutoffOption = Annotated[
    float | None,
    typer.Option("--root-cutoff", help="Low-pass on the distance from the camera (Hz); 0: none."),
]


def predict(
    detections: DetectionsArgument,
    lifter: LifterOption = None,
    out: FolderOption = None,
    size: SizeOption = None,
    fps: FpsOption = None,
    height: HeightOption = None,
    focal: FocalOption = None,
    calibration: CalibrationOption = None,
    detector_format: FormatOption = None,
    keypoints: KeypointsOption = None,
    cameras: CamerasOption = None,
    export: ExportOption = "npz,csv,trc,bvh,html",
    mesh: MeshOption = None,
    tta: TtaOption = "auto",
    constant_bones: BonesOption = True,
    root_cutoff: CutoffOption = None,
    refine: RefineOption = "none",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift 2D detections of people to 3D in metres and write them for other programs."""
    from adaptpose.cli.predict_files import print_manifest

    kinds = _kinds(export)
    folder = _folder(out)
    if focal is not None and calibration is not None:
        raise ConfigError("--focal and --calibration: expected one of them, got both")
    reading = {"format": detector_format, "keypoints": keypoints, "cameras": cameras,
               "image_size_px": parse_size(size), "frame_rate_hz": fps,
               "calibration": calibration}  # fmt: skip
    options = _options(height, focal, tta, constant_bones, root_cutoff, refine)
    file = _lifter_file(lifter)
    body = None if mesh is None else choose_word(mesh, MESHES, "--mesh")
    try:
        manifest = _predict(file, detections, reading, options, choose(device, threads),
                            folder, kinds, as_json, body)  # fmt: skip
    except KeyboardInterrupt as error:
        notice("adapt predict: stopped; nothing was written")
        raise typer.Exit(INTERRUPTED) from error
    if as_json:
        print_json(manifest)
    else:
        print_manifest(folder, manifest)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"--export: {unknown_name_message('kind of file', kind, KINDS)}")
    if not kinds:
        raise ConfigError(expected_message("--export", f"some of {', '.join(KINDS)}", "none"))
    return kinds


def _folder(out: Path | None) -> Path:
    from adaptpose.cli.predict_files import check_folder

    if out is None:
        raise ConfigError("--out: expected a folder for the result, got none (fix: --out result)")
    check_folder(out)
    return out


def _lifter_file(lifter: Path | None) -> Path:
    """The lifter file of --lifter: itself, or the result of a run."""
    from adaptpose.rundir import open_run

    if lifter is None:
        fix = "--lifter RUN, the folder of a run of `adapt fit`, or a .safetensors file"
        raise ConfigError(f"--lifter: expected a run or a lifter file, got none (fix: {fix})")
    if not lifter.is_dir():
        return lifter
    file = open_run(lifter).path / "lifter.safetensors"
    if not file.is_file():
        fix = f"finish it with --resume {lifter}, or give a lifter file of it"
        raise CheckpointError(f"--lifter {lifter}: the run has no lifter yet (fix: {fix})")
    return file


def _options(
    height: str | None,
    focal: float | None,
    tta: str,
    constant_bones: bool,
    cutoff: float | None,
    refine: str,
) -> PredictOptions:
    from adaptpose.inference import TestTime
    from adaptpose.inference_options import Rays
    from adaptpose.predict import PredictOptions
    from adaptpose.root_path import ROOT_CUTOFF_HZ

    known: Any = ("auto", *get_args(TestTime))
    if tta not in known:
        raise ConfigError(f"--tta: {unknown_name_message('kind of passes', tta, known)}")
    if focal is not None and not focal > 0:
        raise ConfigError(expected_message("--focal", "a length above 0 px", f"{focal:g}"))
    passes: Any = tta
    return PredictOptions(
        tta=passes,
        height_m=parse_heights(height),
        constant_bones=constant_bones,
        focal_px=focal,
        root_cutoff_hz=ROOT_CUTOFF_HZ if cutoff is None else cutoff,
        rays=choose_word(refine, get_args(Rays), "--refine"),
    )


def _check_joints(kinds: tuple[str, ...], joints: tuple[str, ...]) -> None:
    """Raise SkeletonError if a kind of file needs joints that the lifter does not give."""
    from adaptpose.skeleton import H36M_16

    missing = [joint for joint in H36M_16.joints if joint not in joints]
    if "bvh" in kinds and missing:
        fix = "leave bvh out"
        raise SkeletonError(f"--export bvh: the lifter gives no {', '.join(missing)} (fix: {fix})")


def _by_name(heights: Any, people: set[str]) -> Any:
    """Heights with "1" read as "person1", as people are called whom the files give no name."""
    if not isinstance(heights, dict):
        return heights
    called = {name: f"person{name}" for name in heights if name not in people}
    return {
        called[name] if called.get(name) in people else name: height
        for name, height in heights.items()
    }


def _predict(
    file: Path,
    source: Path,
    reading: dict[str, Any],
    options: PredictOptions,
    device: Any,
    folder: Path,
    kinds: tuple[str, ...],
    quiet: bool,
    mesh: str | None = None,
) -> dict[str, Any]:
    """Read, check, lift, write; the manifest."""
    import dataclasses

    from adaptpose.cli.predict_files import write_predictions
    from adaptpose.cli.predict_mesh import mesh_writer
    from adaptpose.datasets.detections import open_detections
    from adaptpose.lifters import load_lifter
    from adaptpose.predict import check_predict, predict, resolve_tta
    from adaptpose.version import __version__

    lifter, meta = load_lifter(file)
    meshes = None if mesh is None else mesh_writer(mesh, lifter, meta, device)
    _check_joints(kinds, lifter.skeleton_out.joints)
    tta = resolve_tta(lifter, options.tta)
    detections = open_detections(source, **reading)
    heights = _by_name(options.height_m, {clip.subject for clip in detections.data.clips})
    seen = meta.get("normalisation", detections.data.normalisation)
    options = dataclasses.replace(options, normalisation=seen, tta=tta, height_m=heights)
    check_predict(lifter, detections, options)
    with progress_hook(quiet) as hook:
        predictions = predict(lifter.to(device), detections, options, hook)
        about = {
            "adaptpose": __version__,
            "detections": str(source),
            "notes": list(detections.notes),
            "lifter": {"file": str(file), "reads": lifter.skeleton_in.name,
                       "joints": list(lifter.skeleton_out.joints)},
            "options": dataclasses.asdict(options),
        }  # fmt: skip
        return write_predictions(folder, predictions, kinds, about, hook, meshes)
