"""Generated motion as a dataset: what `adapt generate` wrote, given back as clips or as banks.

A window is a clip of its own; only its supervised frame is valid, since only that one has its whole
context inside the window. Its frame rate is the source's divided by the window's stride (of a
window of the target's people, the target's), so the next frame of a window is the next of its clip.
Recipes are expanded with the source dataset, which is opened as the index describes it. No person
performed these windows: they are always synthetic.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.clips import Clip3D, Normalisation, PoseData
from adaptpose.errors import CheckpointError, ConfigError, expected_message
from adaptpose.packing import Windows, read_windows
from adaptpose.runtime import stream
from adaptpose.shards import Origin, ShardIndex, read_index
from adaptpose.skeleton import Skeleton, skeleton_by_name
from adaptpose.window_source import WindowSource
from adaptpose.windows import LabelledBank, build_labelled_bank

if TYPE_CHECKING:
    from adaptpose.datasets.registry import DatasetSpec
else:
    DatasetSpec = Any

MOST_CLIPS = 100_000
"""Windows above which clips would fill the memory: about 1.5 GB at 27 frames."""
BANK_FRAMES = 2**19
"""Frames of one bank of `GeneratedSource.banks`."""
IMAGE_SIZE_PX = (1000, 1000)
"""Size given to the clips: windows are kept in normalised coordinates, without their image."""


def is_generated(name: str | Path) -> bool:
    """Whether a name is a folder of generated windows, complete or not."""
    folder = Path(name)
    return (folder / "index.json").is_file() or (
        folder.is_dir() and any(folder.glob("progress-*.json"))
    )


def read_generated(
    folder: Path,
    max_windows: int | None = None,
    data_root: Path | None = None,
    cache_dir: Path | None = None,
) -> PoseData:
    """The first `max_windows` windows (all by default) as clips; windows have no order of sense.

    `data_root` and `cache_dir` are for the source of recipes. ConfigError for more than
    `MOST_CLIPS`; CheckpointError for a folder that is foreign, newer, unfinished or damaged;
    DataError if the source of recipes is missing or has changed.
    """
    source = open_generated(folder, max_windows, data_root, cache_dir)
    if source.num_windows > MOST_CLIPS:
        got = f"{source.num_windows:,} windows"
        fix = f"--max-clips {MOST_CLIPS}"
        raise ConfigError(expected_message(str(folder), f"at most {MOST_CLIPS:,}", got, fix))
    index, origin = source.index, source.origin
    clips: list[Clip3D] = []
    for windows in read_windows(folder, index, source.source, 0, source.num_windows):
        clips += _clips(windows, index, origin, len(clips))
    return PoseData(
        name=source.name,
        skeleton=source.skeleton,
        clips=tuple(clips),
        synthetic=True,
        normalisation=source.normalisation,
        licence=origin.licence,
        credit=source.credit,
    )


@dataclass(frozen=True)
class GeneratedSource(WindowSource):
    """A folder of generated windows to train on, of which one bank is in memory at a time."""

    folder: Path
    index: ShardIndex
    num_windows: int
    source: LabelledBank | None = None
    """The source of recipes; None if motion is stored."""

    @property
    def origin(self) -> Origin:
        """The dataset the windows were generated from."""
        return Origin(**self.index.origin)

    @property
    def name(self) -> str:
        """Name of the folder, and that it is generated."""
        return f"generated:{self.folder.name}"

    @property
    def credit(self) -> str:
        """What the windows were made from, and the credit due for that."""
        origin = self.origin
        return f"generated from {origin.name}" + (f"; {origin.credit}" if origin.credit else "")

    @property
    def skeleton(self) -> Skeleton:
        """The joints of the windows."""
        return skeleton_by_name(self.index.skeleton)

    @property
    def normalisation(self) -> Normalisation:
        """How the lifter of the generating run sees 2D; what is stored is on the screen."""
        return self.index.normalisation

    @property
    def frames_before(self) -> int:
        """Frames of a window before its supervised one."""
        return self.index.middle

    @property
    def frames_after(self) -> int:
        """Frames of a window after its supervised one."""
        return self.index.window - 1 - self.index.middle

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the windows, whatever folder and shards they are in."""
        index = self.index
        parts = (index.content, index.dtype, index.seed, index.made_by, index.source_probe)
        text = repr((*parts, index.rule, self.num_windows))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def banks(self, epoch: int, device: torch.device) -> Iterator[LabelledBank]:
        """All windows, bank by bank in an order drawn for the epoch, whatever the shards are."""
        size = max(2, BANK_FRAMES // self.index.window)
        count = -(-self.num_windows // size)
        order = torch.randperm(count, generator=stream(self.index.seed, "banks", epoch))
        for number in order.tolist():
            first = number * size
            yield self.bank(first, min(size, self.num_windows - first), device)

    def bank(self, first: int, count: int, device: torch.device) -> LabelledBank:
        """`count` windows from number `first` on, their supervised frames as centres."""
        found = list(read_windows(self.folder, self.index, self.source, first, count))
        return _bank(found, self.index, device)


def open_generated(
    folder: Path,
    max_windows: int | None = None,
    data_root: Path | None = None,
    cache_dir: Path | None = None,
) -> GeneratedSource:
    """The windows of a folder to be read bank by bank; raises as `read_generated`."""
    index = read_index(folder)
    count = index.num_windows if max_windows is None else min(max_windows, index.num_windows)
    if count < 1:
        raise CheckpointError(f"{folder}: holds no windows")
    source = None
    if index.content == "recipe":
        source = _source_bank(index, data_root, cache_dir, folder)
    return GeneratedSource(folder, index, count, source)


def generated_bank(folder: Path, device: torch.device, first: int, count: int) -> LabelledBank:
    """`count` windows from number `first` on as a bank on a device, without an object for each."""
    return open_generated(folder).bank(first, count, device)


def _source_bank(
    index: ShardIndex, data_root: Path | None, cache_dir: Path | None, folder: Path
) -> LabelledBank:
    # Imported here: the registry knows generated folders, and so imports this module.
    from adaptpose.datasets.registry import DatasetSpec, open_dataset

    values = {**Origin(**index.origin).spec, "cache_dir": cache_dir}
    if data_root is not None or values.get("data_root") is not None:
        values["data_root"] = data_root or Path(values["data_root"])
    try:
        spec = DatasetSpec(**values)
    except TypeError as error:
        message = f"{folder}/index.json: the source of the recipes is not described ({error})"
        raise CheckpointError(message) from error
    return build_labelled_bank(open_dataset(spec), torch.device("cpu"))


def _clips(windows: Windows, index: ShardIndex, origin: Origin, start: int) -> list[Clip3D]:
    """A clip per window; what many windows have in common is one tensor for all of them."""
    frames, joints = windows.pose2d.shape[1:3]
    rates = index.rates_hz()
    lenses = index.intrinsics() if windows.focal is None else windows.intrinsics(index)
    cameras = [lenses.select(row) for row in range(len(lenses.focal))]
    camera_of = windows.lens.tolist() if windows.focal is None else range(len(cameras))
    valid = torch.zeros(frames, dtype=torch.bool)
    valid[index.middle] = True
    confidence, identity = torch.ones(frames, joints), torch.eye(4)
    rate_of = (rates[windows.lens] / windows.stride).tolist()
    pieces = zip(windows.pose2d, windows.pose3d_cam, camera_of, rate_of, strict=True)
    return [
        Clip3D(
            subject=origin.name,
            action="generated",
            camera=f"{start + number:07d}",
            frame_rate_hz=rate,
            image_size_px=IMAGE_SIZE_PX,
            pose2d=pose2d,
            confidence=confidence,
            valid=valid,
            pose3d_cam=pose3d_cam,
            intrinsics=cameras[camera],
            T_cam_world=identity,
        )
        for number, (pose2d, pose3d_cam, camera, rate) in enumerate(pieces)
    ]


def _bank(parts: list[Windows], index: ShardIndex, device: torch.device) -> LabelledBank:
    lens, stride = (torch.cat([getattr(p, key) for p in parts]) for key in ("lens", "stride"))
    count, frames = lens.shape[0], index.window
    start = torch.arange(count, device=device) * frames
    return LabelledBank(
        skeleton=skeleton_by_name(index.skeleton),
        pose2d=_joined([part.pose2d for part in parts]).to(device),
        clip_of_frame=torch.arange(count, device=device).repeat_interleave(frames),
        clip_start=start,
        clip_end=start + frames,
        clip_rate_hz=(index.rates_hz()[lens] / stride).to(device),
        centres=start + index.middle,
        pose3d_cam=_joined([part.pose3d_cam for part in parts]).to(device),
        intrinsics=_lenses(parts, index).to(device),
    )


def _lenses(parts: list[Windows], index: ShardIndex) -> Intrinsics:
    found = [part.intrinsics(index) for part in parts]
    return Intrinsics(
        torch.cat([lens.focal for lens in found]),
        torch.cat([lens.centre for lens in found]),
        torch.cat([lens.distortion for lens in found]),
        found[0].model,
    )


def _joined(parts: list[Tensor]) -> Tensor:
    """Windows one after another along the axis of frames."""
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).flatten(0, 1)
