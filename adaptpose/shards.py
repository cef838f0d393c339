"""Generated windows on disk: shards of tensors and one index. What `adapt generate` writes.

    index.json               what is in the shards: shapes, units, skeleton, lenses, seed, files
    shard-R-NNNNN.safetensors (or .npz)   windows made by rank R
    progress-R.json          only while the generation is not complete

Tensors of a "motion" shard, n windows of T frames and J joints:
    pose2d    (n, T, J, 2)  normalised screen coordinates
    pose3d    (n, T, J, 3)  metres, each frame relative to its root: half precision keeps 0.5 mm
    root      (n, T, 3)     metres, the root in camera axes, always single precision
Tensors of a "recipe" shard, with N bones; always single precision, see `adaptpose.recipe`:
    bone      (n, N, 3)     rotation vectors (bg3), or shifts of the unit bones (bg1, bg2)
    length    (n, N)        change of each bone, as a share of its length
    rotation  (n, 4)        unit quaternion, x y z w
    translation (n, 3)      metres
Tensors of both: frame (n,), the supervised frame in the source; stride (n,), in its frames; lens
(n,), the row of the index's table of lenses.

Motion of an adaptation in rounds (format 2) was filmed by new cameras. Every window has a lens of
its own: focal (n,), by which the focal length of its row is multiplied. A window of the target's
people as lifted has frame -1, as no frame of the source shows it, and counts its stride in frames
of its target clip, whose rate its row has.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.clips import Normalisation
from adaptpose.errors import CheckpointError, DataError
from adaptpose.store import atomic_file, read_json, read_tensors, write_bytes, write_json
from adaptpose.windows import LabelledBank

FORMAT = 2
"""Newest version of the folder's layout; a folder says the lowest one that describes it."""
NO_FRAME = -1
"""Supervised frame of a window that is not of the source."""
UNITS = {
    "pose2d": "normalised screen coordinates",
    "pose3d": "metres, relative to the root of the frame, camera axes",
    "root": "metres, camera axes",
    "translation": "metres, camera axes",
    "bone": "radians (bg3) or unit bones (bg1, bg2)",
    "length": "share of the bone's length",
    "stride": "frames of the source",
}
Content = Literal["motion", "recipe"]
FileKind = Literal["safetensors", "npz"]


@dataclass(frozen=True)
class Origin:
    """The dataset that windows were generated from: how to open it, and whose it is."""

    spec: dict[str, Any]
    """Plain data that describes the dataset, needed to expand recipes."""
    name: str
    synthetic: bool
    licence: str = ""
    credit: str = ""


@dataclass(frozen=True)
class ShardIndex:
    """What a folder of shards holds; `shards` are (file name, windows) in order."""

    content: Content
    file_kind: FileKind
    dtype: str
    """Of pose2d and pose3d: "float16" or "float32"."""
    skeleton: str
    window: int
    middle: int
    """Index of the supervised frame in a window."""
    seed: int
    normalisation: Normalisation
    origin: dict[str, Any]
    """An `Origin` as plain data."""
    source_probe: dict[str, Any]
    """By which the source is recognised when recipes are expanded: see `bank_probe`."""
    made_by: str
    """Mark of the generator's weights and of the selection."""
    rule: dict[str, Any]
    """How recipes are applied; of an adaptation in rounds, the share of each kind of window."""
    lenses: dict[str, Any]
    """Normalised intrinsics, their distortion model and the source's frame rate, row by row."""
    shards: list[list[Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Windows drawn, by outcome of the selection."""
    format: int = 1
    units: dict[str, str] = field(default_factory=lambda: dict(UNITS))

    @property
    def num_windows(self) -> int:
        """Number of windows in all shards."""
        return sum(int(count) for _, count in self.shards)

    @property
    def own_lenses(self) -> bool:
        """Whether every window has a lens of its own."""
        return bool(self.lenses.get("own", False))

    def intrinsics(self) -> Intrinsics:
        """The table of lenses."""
        return Intrinsics(
            torch.tensor(self.lenses["focal"]),
            torch.tensor(self.lenses["centre"]),
            torch.tensor(self.lenses["distortion"]),
            self.lenses["model"],
        )

    def rates_hz(self) -> Float[Tensor, "lenses"]:
        """Frame rate of the source for each lens; a window's is this divided by its stride."""
        return torch.tensor(self.lenses["frame_rate_hz"])


def lens_table(bank: LabelledBank) -> tuple[dict[str, Any], Int[Tensor, "clips"]]:
    """The different lenses (with frame rates) of a bank as plain data, and each clip's row."""
    lens = bank.intrinsics
    numbers = torch.cat(
        [lens.focal, lens.centre, lens.distortion, bank.clip_rate_hz[:, None]], dim=1
    )
    rows, of_clip = torch.unique(numbers, dim=0, return_inverse=True)
    focal, centre, distortion, rate = rows.cpu().split([2, 2, 5, 1], dim=1)
    table = {
        "focal": focal.tolist(),
        "centre": centre.tolist(),
        "distortion": distortion.tolist(),
        "frame_rate_hz": rate[:, 0].tolist(),
        "model": lens.model,
    }
    return table, of_clip


def own_lens_layout(rates_hz: Float[Tensor, "rates"]) -> dict[str, Any]:
    """Fields of an index whose windows have pinhole lenses of their own, a row per frame rate."""
    ones = [[1.0, 1.0] for _ in rates_hz]
    lenses = {
        "focal": ones,
        "centre": [[0.0, 0.0] for _ in ones],
        "distortion": [[0.0] * 5 for _ in ones],
        "frame_rate_hz": rates_hz.tolist(),
        "model": "h36m",
        "own": True,
    }
    units = {
        "focal": "of the row's focal length",
        "frame": f"frames of the source; {NO_FRAME} for a window of the target's people as lifted",
        "stride": "frames of the clip that the window is of",
    }
    return {"lenses": lenses, "format": 2, "units": {**UNITS, **units}}


def bank_probe(bank: LabelledBank) -> dict[str, Any]:
    """Number of frames, and the mean joint (m) of 32 evenly spaced ones, as plain data."""
    frames = bank.pose3d_cam.shape[0]
    rows = torch.linspace(0, frames - 1, min(32, frames)).long().to(bank.device)
    return {"frames": frames, "means": bank.pose3d_cam[rows].mean(dim=1).cpu().tolist()}


def same_source(probe: dict[str, Any], bank: LabelledBank) -> bool:
    """Whether a bank is the one of a probe, to 0.1 mm: machines round a little differently."""
    own = bank_probe(bank)
    if probe["frames"] != own["frames"]:
        return False
    return torch.allclose(
        torch.tensor(probe["means"]), torch.tensor(own["means"]), atol=1e-4, rtol=0
    )


def write_index(folder: Path, index: ShardIndex) -> None:
    """Write the index atomically."""
    write_json(folder / "index.json", asdict(index))


def read_index(folder: Path) -> ShardIndex:
    """The index of a folder of shards; CheckpointError if it is not one, or unfinished."""
    path = folder / "index.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder of generated windows")
    if not path.is_file() and any(folder.glob("progress-*.json")):
        fix = "run the same `adapt generate` again to go on"
        raise CheckpointError(f"{folder}: generation has not come to its end (fix: {fix})")
    return index_from_dict(read_json(path, "the index of generated windows"), path)


def index_from_dict(values: Any, path: Path) -> ShardIndex:
    """The index of plain data; CheckpointError naming the file if it is foreign or newer."""
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise CheckpointError(f"{path}: not an index of generated windows")
    if values["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {values['format']}, this version reads up to {FORMAT} "
            "(fix: install a newer adaptpose)"
        )
    try:
        return ShardIndex(**values)
    except TypeError as error:
        raise CheckpointError(f"{path}: not an index of generated windows") from error


def write_shard(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write one shard atomically, in the form its suffix says."""
    stored = {name: value.contiguous() for name, value in tensors.items()}
    if path.suffix != ".npz":
        write_bytes(path, safetensors_bytes(stored))
        return
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in stored.items():
            # A bare ZipInfo has no time of day: the same windows are the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, value.numpy(), allow_pickle=False)


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one shard; CheckpointError naming the file if it is damaged."""
    if path.suffix != ".npz":
        return read_tensors(path, "a shard of generated windows")[0]
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: missing, damaged or foreign shard ({error})") from error


def iterate_shards(
    folder: Path, index: ShardIndex, first: int = 0, count: int | None = None
) -> Iterator[dict[str, Tensor]]:
    """Tensors of `count` windows from number `first` on (all by default), shard by shard.

    DataError if a shard holds other than the index says.
    """
    last = index.num_windows if count is None else min(first + count, index.num_windows)
    start = 0
    for name, size in index.shards:
        low, high = max(first - start, 0), min(last - start, int(size))
        start += int(size)
        if low >= high:
            continue
        path = folder / Path(str(name)).name
        tensors = read_shard(path)
        found = {value.shape[0] for value in tensors.values()}
        if found != {int(size)}:
            raise DataError(f"{path}: expected {size} windows, got {sorted(found)}")
        yield {key: value[low:high] for key, value in tensors.items()}
