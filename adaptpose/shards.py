"""Generated windows on disk: shards of tensors and one index. What `adapt generate` writes.

    index.json               what is in the shards: shapes, units, skeleton, lenses, seed, files
    shard-R-NNNNN.safetensors (or .npz)   windows made by rank R

Tensors of a "motion" shard, n windows of T frames and J joints:
    pose2d    (n, T, J, 2)  normalised screen coordinates
    pose3d    (n, T, J, 3)  metres, each frame relative to its root: half precision keeps 0.5 mm
    root      (n, T, 3)     metres, the root in camera axes, always single precision
    lens      (n,)          row of the index's table of lenses
    frame, stride (n,)      supervised frame in the source, and the window's stride
Tensors of a "recipe" shard: `frame`, `stride`, `bone` (rotation vectors, or shifts), `length`,
`rotation`, `translation`; see `adaptpose.recipe`.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.errors import CheckpointError, DataError
from adaptpose.store import read_json, read_tensors, write_bytes, write_json

FORMAT = 1
"""Version of the folder's layout."""
UNITS = {
    "pose2d": "normalised screen coordinates",
    "pose3d": "metres, relative to the root of the frame, camera axes",
    "root": "metres, camera axes",
    "translation": "metres, camera axes",
    "bone": "radians (bg3) or unit bones (bg1, bg2)",
    "length": "share of the bone's length",
}
Content = Literal["motion", "recipe"]
FileKind = Literal["safetensors", "npz"]


@dataclass
class ShardIndex:
    """What a folder of shards holds; `shards` are (file name, windows) in order."""

    content: Content
    file_kind: FileKind
    dtype: str
    skeleton: str
    window: int
    middle: int
    frame_rate_hz: float
    seed: int
    synthetic: bool
    normalisation: str
    source: dict[str, Any]
    """The source dataset's specification, needed to expand recipes."""
    rule: dict[str, Any]
    """How recipes are applied."""
    lenses: dict[str, Any]
    """Normalised intrinsics, one row per source clip, and their distortion model."""
    shards: list[list[Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Windows drawn, by outcome of the selection."""
    format: int = FORMAT
    units: dict[str, str] = field(default_factory=lambda: dict(UNITS))

    @property
    def num_windows(self) -> int:
        """Number of windows in all shards."""
        return sum(int(count) for _, count in self.shards)

    def intrinsics(self) -> Intrinsics:
        """The table of lenses."""
        return Intrinsics(
            torch.tensor(self.lenses["focal"]),
            torch.tensor(self.lenses["centre"]),
            torch.tensor(self.lenses["distortion"]),
            self.lenses["model"],
        )


def lens_table(intrinsics: Intrinsics) -> dict[str, Any]:
    """A table of lenses as plain data for the index."""
    return {
        "focal": intrinsics.focal.tolist(),
        "centre": intrinsics.centre.tolist(),
        "distortion": intrinsics.distortion.tolist(),
        "model": intrinsics.model,
    }


def write_index(folder: Path, index: ShardIndex, name: str = "index.json") -> None:
    """Write the index atomically."""
    write_json(folder / name, asdict(index))


def read_index(folder: Path, name: str = "index.json") -> ShardIndex:
    """The index of a folder of shards; CheckpointError if it is not one, or unfinished."""
    path = folder / name
    if not path.is_file() and any(folder.glob("progress-*.json")):
        fix = "run the same `adapt generate` again to go on"
        raise CheckpointError(f"{folder}: generation has not come to its end (fix: {fix})")
    values = read_json(path, "the index of generated windows")
    known = set(ShardIndex.__dataclass_fields__)
    if not isinstance(values, dict) or not known >= set(values) or "shards" not in values:
        raise CheckpointError(f"{path}: not an index of generated windows")
    if values["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {values['format']}, this version reads up to {FORMAT} "
            "(fix: install a newer adaptpose)"
        )
    return ShardIndex(**values)


def write_shard(path: Path, tensors: dict[str, Tensor]) -> int:
    """Write one shard atomically, as its suffix says; the number of bytes written."""
    stored = {name: value.contiguous() for name, value in tensors.items()}
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, value in stored.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, value.numpy(), allow_pickle=False)
        content = buffer.getvalue()
    else:
        content = safetensors_bytes(stored)
    write_bytes(path, content)
    return len(content)


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one shard; CheckpointError naming the file if it is damaged."""
    if path.suffix != ".npz":
        return read_tensors(path, "a shard of generated windows")[0]
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: missing, damaged or foreign shard ({error})") from error


def iterate_shards(folder: Path, index: ShardIndex) -> Iterator[dict[str, Tensor]]:
    """The tensors of each shard in order; DataError if a shard holds other than the index says."""
    for name, count in index.shards:
        tensors = read_shard(folder / str(name))
        found = {value.shape[0] for value in tensors.values()}
        if found != {int(count)}:
            raise DataError(f"{folder / str(name)}: expected {count} windows, got {sorted(found)}")
        yield tensors
