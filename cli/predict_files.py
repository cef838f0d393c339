"""The folder that `adapt predict` writes: files of tracks, a viewer, a manifest, and its table.

The folder is written beside its place under another name and takes it only when complete.
"""

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adaptpose.body_scale import stature_m
from adaptpose.camera import intrinsics_to_px
from adaptpose.cli.console import format_count, print_table
from adaptpose.cli.predict_mesh import MeshWriter
from adaptpose.datasets.bvh_skeleton import fit_bvh
from adaptpose.datasets.exports import EXPORTS
from adaptpose.errors import DataError, SkeletonError, expected_message
from adaptpose.predict import ray_residual_mm
from adaptpose.prediction import Prediction
from adaptpose.progress import ProgressHook
from adaptpose.store import write_bytes, write_json

MANIFEST = "prediction.json"
VIEWER = "viewer.html"

AXES = {
    "unit": "metre",
    "camera": "x right, y down, z forward, origin in the camera",
    "world": "z up, of the calibration; T_cam_world maps world to camera",
    "trc, bvh": "y up; without a calibration the camera's axes turned by half a turn about x",
    "meshes": "y up; the camera's axes turned by half a turn about x",
}


REFINED = {
    "rays": "refine rays: joints moved onto the rays of their keypoints as far as "
    "confidence and jitter allow",
    "refined": "refined: tracks fitted to rays, lifted poses, constant bones, smoothness",
}
"""What `--refine` made of the poses."""


def check_folder(path: Path) -> None:
    """Raise DataError unless a folder can be made at `path`: new or empty, and writable."""
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        got = f"{nearest}, which is a file"
        raise DataError(expected_message(f"--out {path}", "a folder", got, "another --out"))
    if nearest == path and any(path.iterdir()):
        wanted = "a new or empty folder"
        raise DataError(expected_message(f"--out {path}", wanted, "a full one", "another --out"))
    if not os.access(nearest, os.W_OK | os.X_OK):
        got = f"no right to write to {nearest}"
        raise DataError(expected_message(f"--out {path}", "a folder to write to", got))


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write in that takes the name `path` only if all went well.

    DataError if the disk is full or the folder cannot be written; nothing is left behind then.
    """
    path = path.absolute()
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield temporary
        temporary.chmod(0o755)
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path}: cannot be written: {reason} (fix: free space or --out)"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_predictions(
    folder: Path,
    predictions: Sequence[Prediction],
    kinds: Sequence[str],
    about: dict[str, Any],
    hook: ProgressHook,
    meshes: MeshWriter | None = None,
) -> dict[str, Any]:
    """Write all files into `folder`, which appears whole; the manifest as written.

    `about` is what the manifest says besides: lifter, options, notes. `meshes` writes a mesh of
    every track.
    """
    names = _file_names(predictions)
    tracks = []
    with whole_folder(folder) as place:
        for done, (name, prediction) in enumerate(zip(names, predictions, strict=True), 1):
            files = {kind: f"{name}.{kind}" for kind in kinds if kind in EXPORTS}
            for kind, file in files.items():
                EXPORTS[kind](prediction, place / file)
            track = {"name": name, **_describe(prediction),
                     "refine": about["options"]["rays"], "files": files}  # fmt: skip
            if "bvh" in kinds:
                # BVH has constant bones: how far that moves joints of a pose with free ones.
                track["bvh_moved_mm"] = 1000 * float(fit_bvh(prediction).moved.max())
            if meshes is not None:
                track["mesh"] = meshes(prediction, place, name)
            tracks.append(track)
            hook("writing", done, len(predictions))
        if "html" in kinds:
            _write_viewer(place / VIEWER, predictions, about)
        viewer = VIEWER if "html" in kinds else None
        manifest = _finite({**about, "axes": AXES, "viewer": viewer, "tracks": tracks})
        write_json(place / MANIFEST, manifest)
    return manifest


def _write_viewer(path: Path, predictions: Sequence[Prediction], about: dict[str, Any]) -> None:
    from adaptpose.prediction_viewer import viewer_html

    title = f"{Path(about['detections']).name} in 3D"
    write_bytes(path, viewer_html(predictions, title, about["notes"]).encode())


def _describe(prediction: Prediction) -> dict[str, Any]:
    """What a track is and how it came about, as plain data."""
    clip = prediction.clip
    lens = intrinsics_to_px(prediction.intrinsics, clip.image_size_px)
    try:
        pose, confidence = prediction.pose_root_relative, prediction.confidence
        stature = stature_m(pose, confidence, prediction.skeleton)
    except SkeletonError:
        stature = None
    return {
        "person": clip.subject,
        "camera": clip.camera,
        "first_frame": prediction.first_frame,
        "frames": clip.num_frames,
        "frame_rate_hz": clip.frame_rate_hz,
        "image_size_px": list(clip.image_size_px),
        "stature_m": stature,
        "scale": prediction.scale,
        "scale_from": prediction.scale_from,
        "focal_px": lens.focal.tolist(),
        "centre_px": lens.centre.tolist(),
        "intrinsics_from": prediction.intrinsics_from,
        "in_world": prediction.T_cam_world is not None,
        "median_distance_m": float(prediction.root_cam[:, 2].median()),
        "median_confidence": float(prediction.confidence.median()),
        "median_ray_residual_mm": ray_residual_mm(prediction),
    }


def _file_names(predictions: Sequence[Prediction]) -> list[str]:
    """A name for every track's files; equal ones are numbered."""
    names: list[str] = []
    for prediction in predictions:
        name, count = prediction.name, 1
        while name in names:
            count += 1
            name = f"{prediction.name}-{count}"
        names.append(name)
    return names


def _finite(value: Any) -> Any:
    """The same data with null for numbers that are not finite, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def print_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Print what was written: a line per track, and what must be known to read it right."""
    tracks = manifest["tracks"]
    rows = [
        (
            track["name"],
            format_count(track["frames"]),
            f"{track['frames'] / track['frame_rate_hz']:.1f}",
            "" if track["stature_m"] is None else f"{track['stature_m']:.2f}",
            track["scale_from"],
            f"{track['focal_px'][0]:.0f}",
            track["intrinsics_from"],
            f"{track['median_distance_m']:.1f}",
            "" if (value := track["median_ray_residual_mm"]) is None else f"{value:.0f}",
        )
        for track in tracks
    ]
    columns = ("track", "frames", "seconds", "stature (m)", "size of", "focal (px)", "lens",
               "distance (m)", "off rays (mm)")  # fmt: skip
    print_table(f"3D of {manifest['detections']} in {folder}", columns, rows, _caveats(tracks))
    if manifest["notes"]:
        print_table("", ("about the detections",), [(note,) for note in manifest["notes"]])


def _caveats(tracks: list[dict[str, Any]]) -> str:
    lines = [REFINED[track["refine"]] for track in tracks[:1] if track["refine"] in REFINED]
    lines += ["off rays: median distance of joints from the rays of their keypoints"]
    if any(track["intrinsics_from"] == "estimated" for track in tracks):
        lines.append(
            "lens estimated: distances from the camera are good to some 20 % "
            "(fix: --focal or --calibration)"
        )
    if any(track["scale_from"] == "lifter" for track in tracks):
        lines.append("size of lifter: that of the people it was trained on (fix: --height)")
    return "\n".join(lines)
