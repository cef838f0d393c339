"""Meshes over time as files: an OBJ per frame, or one GLB that plays.

glTF 2.0 (Khronos, 2021): one node per frame, all of the same triangles; each node's scale is 1
during its frame and 0 otherwise, which the format names as the way to hide a node (section 3.5.3,
"scale is zero on all three axes"). A viewer that does not play shows the first frame.
Coordinates are written as given; viewers expect y up.
"""

import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.errors import DataError, expected_message
from adaptpose.store import atomic_file, write_bytes

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_FLOAT, _UINT = 5126, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963


def write_obj_frames(
    folder: Path,
    vertices: Float[Tensor, "frames vertices 3"],
    faces: Int[Tensor, "faces 3"],
    stem: str = "frame",
) -> list[Path]:
    """Write `<stem>_000000.obj` and so on (m), each whole or not at all; returns their paths.

    DataError if there is no frame, a number is not finite or a face names no vertex.
    """
    places, corners = _checked(folder, vertices, faces)
    below = "".join(f"f {a} {b} {c}\n" for a, b, c in (corners + 1).tolist())
    digits = max(6, len(str(len(places) - 1)))
    paths = []
    for number, frame in enumerate(places):
        above = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in frame.tolist())
        path = folder / f"{stem}_{number:0{digits}d}.obj"
        write_bytes(path, f"# metres\n{above}{below}".encode())
        paths.append(path)
    return paths


def write_glb(
    path: Path,
    vertices: Float[Tensor, "frames vertices 3"],
    faces: Int[Tensor, "faces 3"],
    frame_rate_hz: float | int,
) -> None:
    """Write frames (m) as one animated GLB, whole or not at all; nodes are `frame_0` and so on.

    DataError as `write_obj_frames`, for a frame rate that is not above 0, and beyond the 4 GB
    that the format can hold.
    """
    places, corners = _checked(path, vertices, faces)
    if not 0 < frame_rate_hz < math.inf:
        raise DataError(expected_message(str(path), "a frame rate above 0", f"{frame_rate_hz}"))
    buffer = _Buffer()
    document = _document(buffer, places, corners, float(frame_rate_hz))
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + buffer.size
    if total >= 2**32:
        fix = "fewer frames or vertices, or OBJ files"
        got = f"{total / 2**30:.1f} GB"
        raise DataError(expected_message(str(path), "less than 4 GB", got, fix))
    with atomic_file(path) as file:
        file.write(struct.pack("<4sII", b"glTF", 2, total))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", buffer.size, _BIN))
        for chunk in buffer.chunks:
            file.write(chunk)


@dataclass
class _Buffer:
    """Arrays that a document refers to, one after another."""

    chunks: list[bytes] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0

    def add(self, array: np.ndarray, shape: str, target: int | None = None) -> int:
        """The number under which an array (items, ...) is found."""
        kind, stored = (_UINT, "<u4") if array.dtype.kind in "iu" else (_FLOAT, "<f4")
        data = array.astype(stored)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self.size, "byteLength": data.nbytes}
        self.views.append(view if target is None else {**view, "target": target})
        rows = data.reshape(len(data), -1)
        # Bounds are asked for of positions and of times (sections 3.7.2.1 and 3.11).
        self.accessors.append({
            "bufferView": len(self.views) - 1, "componentType": kind, "count": len(data),
            "type": shape, "min": rows.min(0).tolist(), "max": rows.max(0).tolist(),
        })  # fmt: skip
        self.chunks.append(data.tobytes())
        self.size += data.nbytes
        return len(self.accessors) - 1


def _document(
    buffer: _Buffer, places: np.ndarray, corners: np.ndarray, rate_hz: float
) -> dict[str, Any]:
    """The glTF document, whose arrays go to the buffer."""
    frames = len(places)
    triangles = buffer.add(corners.reshape(-1), "SCALAR", _INDEX_BUFFER)
    positions = [buffer.add(frame, "VEC3", _VERTEX_BUFFER) for frame in places]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "adaptpose"},
        "scene": 0,
        "scenes": [{"nodes": list(range(frames))}],
        "nodes": [{"mesh": k, "name": f"frame_{k}"} for k in range(frames)],
        "meshes": [
            {
                "name": f"frame_{k}",
                "primitives": [{"attributes": {"POSITION": place}, "indices": triangles}],
            }
            for k, place in enumerate(positions)
        ],
    }
    if frames > 1:
        for node in document["nodes"][1:]:
            node["scale"] = [0.0, 0.0, 0.0]
        document["animations"] = [_animation(buffer, frames, rate_hz)]
    return {
        **document,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.size}],
    }


def _animation(buffer: _Buffer, frames: int, rate_hz: float) -> dict[str, Any]:
    """Each node is shown from its frame's time to that of the next, in steps."""
    shown, hidden = [1.0] * 3, [0.0] * 3
    first = buffer.add(np.array([shown, hidden]), "VEC3")
    between = buffer.add(np.array([hidden, shown, hidden]), "VEC3")
    last = buffer.add(np.array([hidden, shown, shown]), "VEC3")
    samplers, channels = [], []
    for frame in range(frames):
        times = [frame / rate_hz, (frame + 1) / rate_hz]
        keys = buffer.add(np.array(times if frame == 0 else [0.0, *times]), "SCALAR")
        scale = first if frame == 0 else last if frame == frames - 1 else between
        samplers.append({"input": keys, "output": scale, "interpolation": "STEP"})
        channels.append({"sampler": frame, "target": {"node": frame, "path": "scale"}})
    return {"name": "frames", "samplers": samplers, "channels": channels}


def _checked(where: Path, vertices: Tensor, faces: Tensor) -> tuple[np.ndarray, np.ndarray]:
    places = vertices.detach().cpu().float().numpy()
    corners = faces.detach().cpu().long().numpy()
    if not places.shape[0] or not places.shape[1]:
        raise DataError(expected_message(str(where), "frames of vertices", "none"))
    bad = np.nonzero(~np.isfinite(places).all(axis=(1, 2)))[0]
    if len(bad):
        got = f"NaN or infinity in frame {bad[0]}"
        raise DataError(expected_message(str(where), "finite vertices", got))
    if not len(corners) or corners.min() < 0 or corners.max() >= places.shape[1]:
        got = f"{corners.min()} to {corners.max()}" if len(corners) else "no faces"
        expected = f"faces of vertices 0 to {places.shape[1] - 1}"
        raise DataError(expected_message(str(where), expected, got))
    return places, corners
