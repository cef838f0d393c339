"""Where a generation stands: what of it is on disk, and how it goes on after a stop.

Every rank writes down, with each complete shard, what it has and where its stream stands. A stopped
generation goes on with the same settings, except for the size of shards, which changes no window.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adaptpose.errors import CheckpointError, DataError
from adaptpose.sampling import WindowSampler
from adaptpose.shards import Content, FileKind, ShardIndex, index_from_dict, write_index
from adaptpose.store import read_json, write_json


@dataclass(frozen=True)
class Place:
    """Where a rank's stream stands: kept windows of a block that are already stored."""

    block: int
    offset: int = 0


@dataclass(frozen=True)
class Job:
    """One rank's part of a generation."""

    sampler: WindowSampler
    folder: Path
    content: Content
    dtype: torch.dtype
    file_kind: FileKind
    shard_size: int
    count: int
    rank: int
    world: int

    @property
    def share(self) -> int:
        """Windows this rank makes."""
        return self.count // self.world + (self.rank < self.count % self.world)

    def progress_path(self, rank: int) -> Path:
        """The file that says where a rank stands."""
        return self.folder / f"progress-{rank}.json"


def prepare_folder(folder: Path) -> None:
    """Make the folder; CheckpointError if it holds other things than a stopped generation."""
    if (folder / "index.json").is_file():
        fix = "choose another --out"
        raise CheckpointError(f"{folder}: already holds generated windows (fix: {fix})")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What is left of a file that was being written says nothing.
        found = [p for p in folder.iterdir() if not (p.name[0] == "." and p.suffix == ".tmp")]
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{folder}: cannot be made or read: {reason} (fix: --out)") from error
    if found and not any(folder.glob("progress-*.json")):
        raise CheckpointError(f"{folder}: expected a new or empty folder (fix: another --out)")


def begin(job: Job, index: ShardIndex) -> tuple[ShardIndex, Place]:
    """This rank's index and place: those of a stopped generation, or new ones.

    Writes nothing. CheckpointError if the stopped generation is not this one.
    """
    path = job.progress_path(job.rank)
    own, place = index, Place(job.rank)
    if path.is_file():
        saved = read_json(path, "the state of a stopped generation")
        own, place = _same_generation(job, index, saved, path)
    elif any(job.folder.glob(f"shard-{job.rank}-*")):
        raise CheckpointError(f"{path}: is not there, but shards are (fix: another --out)")
    return own, place


def clear(job: Job, own: ShardIndex) -> None:
    """Remove what a killed process left: shards nobody has counted, half-written files."""
    listed, rank = {name for name, _ in own.shards}, job.rank
    for pattern in (f"shard-{rank}-*", f".shard-{rank}-*.tmp", f".progress-{rank}.json.*.tmp"):
        for path in job.folder.glob(pattern):
            if path.name not in listed:
                path.unlink(missing_ok=True)


def record(job: Job, own: ShardIndex, place: Place) -> None:
    """Write down what a rank has and where it stands, atomically."""
    saved = {
        "world": job.world,
        "count": job.count,
        "place": asdict(place),
        "index": asdict(own),
    }
    write_json(job.progress_path(job.rank), saved)


def merge(job: Job, index: ShardIndex) -> None:
    """One index of all ranks' shards; only then is the generation complete."""
    paths = [job.progress_path(rank) for rank in range(job.world)]
    parts = [index_from_dict(read_json(p, "a rank's progress")["index"], p) for p in paths]
    counts = {k: sum(part.counts.get(k, 0) for part in parts) for k in job.sampler.reasons}
    shards = [shard for part in parts for shard in part.shards]
    write_index(job.folder, replace(index, shards=shards, counts=counts))
    for path in paths:
        path.unlink()


def _same_generation(
    job: Job, index: ShardIndex, saved: Any, path: Path
) -> tuple[ShardIndex, Place]:
    if not isinstance(saved, dict) or not {"index", "place", "world", "count"} <= set(saved):
        raise CheckpointError(f"{path}: not the state of a stopped generation")
    earlier = index_from_dict(saved["index"], path)
    then, now = asdict(replace(earlier, shards=[], counts={})), asdict(index)
    then |= {"number of processes": saved["world"], "--n": saved["count"]}
    now |= {"number of processes": job.world, "--n": job.count}
    differing = [key for key, value in now.items() if then[key] != value]
    if differing:
        raise CheckpointError(
            f"{job.folder}: holds a stopped generation with another {', '.join(differing)} "
            f"({_shown(then, differing)} instead of {_shown(now, differing)}; fix: the same "
            "settings, or another --out)"
        )
    return earlier, Place(**saved["place"])


def _shown(values: dict[str, Any], keys: list[str]) -> str:
    texts = [str(values[key]) for key in keys]
    return ", ".join(text if len(text) <= 40 else f"{text[:37]}..." for text in texts)
