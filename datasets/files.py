"""The one form of a dataset on disk: a plain `.npz` of named arrays, without pickle.

Keys with a slash belong to a clip, `<clip>/<key>`; any word names a clip. A key without the slash
holds for every clip that has no own. T frames, J joints in the order of `skeleton`:

    skeleton          text          name of a known skeleton, e.g. "h36m17"; whole file only
    pose2d_px         (T, J, 2)     pixels, or instead
    pose2d            (T, J, 2)     screen coordinates: (2u - w) / s, (2v - h) / s, s = max(w, h)
    image_size_px     (2,)          width w and height h
    frame_rate_hz     number
    confidence        (T, J)        0 to 1; 1 where left out
    valid             (T,) bool     frames to use; all where left out
    subject, action, camera         texts; "", the clip's name and "" where left out
    pose3d_cam        (T, J, 3)     metres, camera axes x right, y down, z forward, absolute
    intrinsics_px     (9,)          fx fy cx cy k1 k2 k3 p1 p2 in pixels, or instead
    intrinsics        (9,)          the same with fx fy cx cy in screen coordinates
    distortion_model  text          "h36m" or "opencv" (see adaptpose.camera); "opencv" if left out
    T_cam_world       (4, 4) or (T, 4, 4); the identity where left out

The whole file may also have `name`, `licence`, `credit` (texts), `synthetic` (bool) and
`normalisation` ("screen" or "root_frobenius"). Only clips with 3D need `pose3d_cam` and
intrinsics. A file of one's own, with numpy alone:

    arrays = {"skeleton": "h36m17", "frame_rate_hz": 30.0, "image_size_px": (1920, 1080)}
    for name, keypoints_px in my_videos.items():
        arrays[f"{name}/pose2d_px"] = keypoints_px
    numpy.savez("mine.npz", **arrays)
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from adaptpose.camera import Intrinsics, intrinsics_to_normalised, px_to_normalised
from adaptpose.clips import Clip2D, Clip3D, PoseData, TargetData, check_clip
from adaptpose.datasets.checks import check_reprojection, check_sides
from adaptpose.datasets.file_reader import ArchiveReader, open_archive
from adaptpose.errors import DataError, SkeletonError, expected_message
from adaptpose.skeleton import Skeleton, skeleton_by_name

_FILE_KEYS = ("skeleton", "name", "licence", "credit", "synthetic", "normalisation")
_CLIP_KEYS = (
    "pose2d_px", "pose2d", "image_size_px", "frame_rate_hz", "confidence", "valid", "subject",
    "action", "camera", "pose3d_cam", "intrinsics_px", "intrinsics", "distortion_model",
    "T_cam_world",
)  # fmt: skip
_Data = TypeVar("_Data", PoseData, TargetData)


def write_dataset(data: PoseData | TargetData, path: Path) -> None:
    """Write a dataset to a file that `read_dataset` gives back bit by bit; whole or not at all.

    DataError if the data has no clips or the place cannot be written to.
    """
    if not data.clips:
        raise DataError(f"{path}: a dataset without clips is not written")
    arrays: dict[str, Any] = {
        "skeleton": data.skeleton.name,
        "name": data.name,
        "synthetic": data.synthetic,
        "normalisation": data.normalisation,
    }
    if isinstance(data, PoseData):
        arrays |= {"licence": data.licence, "credit": data.credit}
    for number, clip in enumerate(data.clips):
        arrays |= {f"clip{number:05d}/{key}": value for key, value in _clip_arrays(clip).items()}
    _save_whole({key: np.asarray(value) for key, value in arrays.items()}, path)


@overload
def read_dataset(path: Path, need_3d: Literal[True]) -> PoseData: ...


@overload
def read_dataset(path: Path, need_3d: Literal[False]) -> TargetData: ...


def read_dataset(path: Path, need_3d: bool) -> PoseData | TargetData:
    """The dataset of a file: `PoseData` if 3D is needed, otherwise its 2D alone as `TargetData`.

    Without `need_3d` the labels of a file are not even read. DataError for a file that is missing,
    damaged or foreign, for arrays that fit neither each other nor the skeleton, for values that
    cannot be what they say (NaN, units, crossed sides, 3D that does not project to the 2D).
    Reading runs no code of the file.
    """
    with open_archive(path, _FILE_KEYS + _CLIP_KEYS) as reader:
        common: dict[str, Any] = {
            "name": reader.text("", "name", path.stem),
            "skeleton": _skeleton(reader, path),
            "synthetic": reader.has("", "synthetic") and reader.number("", "synthetic") != 0,
            "normalisation": reader.choice("", "normalisation", ("screen", "root_frobenius")),
        }
        if not need_3d:
            clips = tuple(_read_clip2d(reader, name) for name in reader.clip_names())
            return _checked(TargetData(clips=clips, **common), path)
        common |= {key: reader.text("", key, "") for key in ("licence", "credit")}
        clips = tuple(_read_clip3d(reader, name) for name in reader.clip_names())
        return _checked(PoseData(clips=clips, **common), path)


def _clip_arrays(clip: Clip2D) -> dict[str, np.ndarray]:
    arrays: dict[str, Any] = {
        "subject": clip.subject,
        "action": clip.action,
        "camera": clip.camera,
        "frame_rate_hz": clip.frame_rate_hz,
        "image_size_px": clip.image_size_px,
        "pose2d": clip.pose2d,
        "confidence": clip.confidence,
        "valid": clip.valid,
    }
    if isinstance(clip, Clip3D):
        lens = clip.intrinsics
        arrays["pose3d_cam"] = clip.pose3d_cam
        arrays["intrinsics"] = torch.cat([lens.focal, lens.centre, lens.distortion])
        arrays["distortion_model"] = lens.model
        arrays["T_cam_world"] = clip.T_cam_world
    return {key: np.asarray(value) for key, value in arrays.items()}


def _save_whole(arrays: dict[str, Any], path: Path) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _checked(data: _Data, path: Path) -> _Data:
    if not any(bool(clip.valid.any()) for clip in data.clips):
        raise DataError(f"{path}: no frame of any clip is marked valid (fix: the 'valid' arrays)")
    for clip in data.clips:
        check_clip(clip, data.skeleton, str(path))
        if isinstance(clip, Clip3D):
            check_reprojection(clip, data.skeleton, str(path))
        check_sides(clip, data.skeleton, str(path))
    return data


def _skeleton(reader: ArchiveReader, path: Path) -> Skeleton:
    try:
        return skeleton_by_name(reader.text("", "skeleton"))
    except SkeletonError as error:
        raise SkeletonError(f"{path}: {error}") from error


def _read_clip2d(reader: ArchiveReader, name: str) -> Clip2D:
    size = _image_size(reader, name)
    pose2d = _pose2d(reader, name, size)
    frames, joints = pose2d.shape[:2]
    valid = torch.ones(frames, dtype=torch.bool)
    if reader.has(name, "valid"):
        valid = reader.numbers(name, "valid", (frames,)) != 0
    confidence = torch.ones(frames, joints)
    if reader.has(name, "confidence"):
        confidence = reader.numbers(name, "confidence", (frames, joints))
    confidence = confidence * torch.where(valid[:, None], 1, torch.isfinite(pose2d).all(dim=-1))
    confidence = _finite_where(confidence, ~valid)
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise DataError(f"{reader.thing(name)}, confidence: expected numbers from 0 to 1")
    return Clip2D(
        subject=reader.text(name, "subject", ""),
        action=reader.text(name, "action", name),
        camera=reader.text(name, "camera", ""),
        frame_rate_hz=reader.number(name, "frame_rate_hz"),
        image_size_px=size,
        pose2d=_finite_where(pose2d, ~valid),
        confidence=confidence,
        valid=valid,
    )


def _read_clip3d(reader: ArchiveReader, name: str) -> Clip3D:
    clip = _read_clip2d(reader, name)
    if not reader.has(name, "pose3d_cam"):
        raise DataError(
            f"{reader.thing(name)}: 'pose3d_cam' is missing, and 3D is needed here "
            "(fix: use the file as a target, or add the labels)"
        )
    pose3d_cam = reader.numbers(name, "pose3d_cam", (*clip.pose2d.shape[:2], 3))
    T_cam_world = torch.eye(4)
    if reader.has(name, "T_cam_world"):
        moving = (clip.num_frames,) if reader.array(name, "T_cam_world").ndim == 3 else ()
        T_cam_world = reader.numbers(name, "T_cam_world", (*moving, 4, 4))
    return Clip3D(
        **vars(clip),
        pose3d_cam=_finite_where(pose3d_cam, ~clip.valid),
        intrinsics=_intrinsics(reader, name, clip.image_size_px),
        T_cam_world=T_cam_world,
    )


def _image_size(reader: ArchiveReader, name: str) -> tuple[int, int]:
    sides = reader.numbers(name, "image_size_px", (2,))
    if not bool((torch.isfinite(sides) & (sides >= 1)).all()):
        thing = f"{reader.thing(name)}, image_size_px"
        raise DataError(expected_message(thing, "width and height in pixels", f"{sides.tolist()}"))
    return int(sides[0]), int(sides[1])


def _pose2d(reader: ArchiveReader, name: str, size: tuple[int, int]) -> Tensor:
    if reader.has(name, "pose2d"):
        return reader.numbers(name, "pose2d", (None, None, 2))
    points_px = reader.numbers(name, "pose2d_px", (None, None, 2))
    if points_px.numel() and float(points_px.abs().nanmedian()) < 2 < min(size):
        thing, fix = f"{reader.thing(name)}, pose2d_px", "name the key 'pose2d' if they are"
        raise DataError(expected_message(thing, "pixels", "screen coordinates, it seems", fix))
    return px_to_normalised(points_px, size)


def _intrinsics(reader: ArchiveReader, name: str, size: tuple[int, int]) -> Intrinsics:
    model: Any = reader.choice(name, "distortion_model", ("opencv", "h36m"))
    key = "intrinsics" if reader.has(name, "intrinsics") else "intrinsics_px"
    values = reader.numbers(name, key, (9,))
    if not bool(torch.isfinite(values).all()) or not bool((values[:2] > 0).all()):
        thing = f"{reader.thing(name)}, {key}"
        want = "finite fx fy cx cy k1 k2 k3 p1 p2, fx and fy above 0"
        raise DataError(expected_message(thing, want, f"{values.tolist()}"))
    lens = Intrinsics(values[:2], values[2:4], values[4:], model)
    return lens if key == "intrinsics" else intrinsics_to_normalised(lens, size)


def _finite_where(values: Tensor, ignored: Tensor) -> Tensor:
    """The values with 0 for what is not finite in ignored frames; the others as they are."""
    ignored = ignored.reshape(-1, *[1] * (values.ndim - 1)) & ~torch.isfinite(values)
    return values.masked_fill(ignored, 0)
