"""The files of a Pose2Sim session, one by one: calibration, detections of a frame, TRC points.

Everything comes out in this package's conventions: `T_cam_world` with world z up, metres, radians;
image coordinates stay in pixels. TRC files are Y up and are turned: z-up = (z, x, y).
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.datasets.tomltext import parse_toml
from adaptpose.errors import DataError, expected_message

_TRC_NAMES = {
    "Neck": "upper_neck", "Head": "head_top", "Nose": "nose",
    **{side[0].upper() + joint.title().replace("_", ""): f"{side}_{joint}"
       for side in ("left", "right")
       for joint in ("hip", "knee", "ankle", "big_toe", "small_toe", "heel", "shoulder", "elbow",
                     "wrist")},
}  # fmt: skip
_TRC_UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}


@dataclass(frozen=True)
class CalibratedCamera:
    """One fixed camera: name, image size, intrinsics in pixels (model "opencv"), `T_cam_world`."""

    name: str
    image_size_px: tuple[int, int]
    intrinsics_px: Intrinsics
    T_cam_world: Float[Tensor, "4 4"]


@dataclass(frozen=True)
class MarkerTrack:
    """Named points over time, world coordinates (m, z up); NaN where a point was not found."""

    names: tuple[str, ...]
    frame_rate_hz: float
    points_world: Float[Tensor, "frames markers 3"]


def read_calibration(path: Path) -> tuple[CalibratedCamera, ...]:
    """The cameras of a Pose2Sim calibration file, in its order.

    `rotation` is the Rodrigues vector and `translation` the shift (m) from world to camera;
    `distortions` are k1, k2, p1, p2 (and k3). Fisheye lenses raise DataError, as damage does.
    """
    tables = parse_toml(_read_text(path), str(path))
    cameras = [
        _camera(table, f"{path}, [{name}]")
        for name, table in tables.items()
        if isinstance(table, dict) and name != "metadata"
    ]
    if not cameras:
        raise DataError(expected_message(str(path), "tables of cameras", "none"))
    return tuple(cameras)


def read_detections(
    folder: Path,
) -> tuple[Float[Tensor, "frames 25 2"], Float[Tensor, "frames 25"]]:
    """Pixels and confidence of the first person in each frame's JSON, in the order of `BODY_25B`.

    Frames follow the last number in the file names. Joints that were not detected, and all joints
    of a frame without a person, are NaN with confidence 0. DataError names a damaged file.
    """
    files = sorted(folder.glob("*.json"), key=_frame_number)
    if not files:
        raise DataError(expected_message(str(folder), "one JSON file per frame", "none"))
    points = torch.stack([_read_frame(path) for path in files])
    confidence = points[..., 2]
    missing = (confidence <= 0)[..., None]
    pose2d = torch.where(missing, torch.full_like(points[..., :2], torch.nan), points[..., :2])
    return pose2d, confidence


def read_trc(path: Path) -> MarkerTrack:
    """Points of a TRC file in metres with z up; blanks are NaN.

    Known OpenPose markers get this package's names, others keep theirs. DataError names the line
    that is cut short, a row count below the header's, or a foreign header.
    """
    lines = _read_text(path).splitlines()
    header = dict(zip(*(line.split("\t") for line in lines[1:3]), strict=False))
    names = [name.strip() for name in lines[3].split("\t")[2::3]] if len(lines) > 3 else []
    names = [name for name in names if name]
    scale = _TRC_UNITS_M.get(header.get("Units", "").strip())
    if not lines or not lines[0].startswith("PathFileType") or scale is None or not names:
        raise DataError(
            expected_message(str(path), "a TRC header with units m, cm or mm", repr(lines[:1]))
        )
    rows = [
        _trc_row(line, len(names), f"{path}, line {number}")
        for number, line in enumerate(lines[5:], start=6)
        if line.strip()
    ]
    expected = _number(header.get("NumFrames", ""), f"{path}, NumFrames")
    if len(rows) != int(expected):
        raise DataError(expected_message(str(path), f"{int(expected)} frames", f"{len(rows)}"))
    rate = _number(header.get("DataRate", ""), f"{path}, DataRate")
    points = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(names), 3) * scale
    return MarkerTrack(
        tuple(_TRC_NAMES.get(name, name) for name in names), rate, points[..., [2, 0, 1]]
    )


def last_number(name: str) -> int:
    """The last number in a name, by which cameras and frames are paired; -1 without one."""
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits else -1


def _camera(table: dict[str, Any], where: str) -> CalibratedCamera:
    if table.get("fisheye"):
        raise DataError(expected_message(where, "a pinhole lens", "fisheye = true"))
    matrix = _tensor(table, "matrix", where, (3, 3))
    values = [*table.get("distortions", []), 0.0][:5] if "distortions" in table else []
    k1, k2, p1, p2, k3 = _tensor({"distortions": values}, "distortions", where, (5,)).tolist()
    width, height = _tensor(table, "size", where, (2,)).tolist()
    T_cam_world = torch.eye(4, dtype=torch.float64)
    T_cam_world[:3, :3] = roma.rotvec_to_rotmat(_tensor(table, "rotation", where, (3,)))
    T_cam_world[:3, 3] = _tensor(table, "translation", where, (3,))
    distortion = torch.tensor([k1, k2, k3, p1, p2], dtype=torch.float64)
    lens = Intrinsics(matrix.diagonal()[:2].clone(), matrix[:2, 2].clone(), distortion, "opencv")
    name = str(table.get("name", where))
    return CalibratedCamera(name, (round(width), round(height)), lens, T_cam_world)


def _tensor(table: dict[str, Any], key: str, where: str, shape: tuple[int, ...]) -> Tensor:
    try:
        value = torch.tensor(table[key], dtype=torch.float64)
    except (KeyError, TypeError, ValueError) as error:
        message = expected_message(f"{where}, {key}", f"numbers of shape {shape}", "none")
        raise DataError(message) from error
    if tuple(value.shape) != shape or not bool(torch.isfinite(value).all()):
        got = f"shape {tuple(value.shape)} or values that are not finite"
        raise DataError(
            expected_message(f"{where}, {key}", f"finite numbers of shape {shape}", got)
        )
    return value


def _read_frame(path: Path) -> Tensor:
    """(25, 3) of x, y, confidence; zeros without a person."""
    try:
        people = json.loads(_read_text(path))["people"]
        # Person association leaves {} where it found nobody.
        found = bool(people) and people[0] != {}
        values = people[0]["pose_keypoints_2d"] if found else [0.0] * 75
        points = torch.tensor(values, dtype=torch.float64)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        fix = "run the detection of this frame again"
        message = expected_message(str(path), "OpenPose's JSON of one frame", repr(error), fix)
        raise DataError(message) from error
    if points.numel() != 75 or not bool(torch.isfinite(points).all()):
        got = f"{points.numel()} numbers"
        raise DataError(expected_message(str(path), "25 joints of BODY_25B (75 numbers)", got))
    return points.reshape(25, 3)


def _frame_number(path: Path) -> tuple[int, str]:
    return last_number(path.stem), path.name


def _trc_row(line: str, markers: int, where: str) -> list[float]:
    cells = line.split("\t")[2 : 2 + 3 * markers]
    if len(cells) != 3 * markers:
        raise DataError(
            expected_message(
                where, f"{3 * markers} coordinates", f"{len(cells)}", "file cut short?"
            )
        )
    return [_number(cell, where) if cell.strip() else math.nan for cell in cells]


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(expected_message(where, "a number", repr(text))) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(expected_message(str(path), "a readable text file", str(error))) from error
