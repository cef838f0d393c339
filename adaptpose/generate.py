"""Generated motion as a stream to disk: any number of windows, bounded memory, any shard size.

Kept windows of a sampler's blocks are numbered through the blocks and cut into shards, so the size
of a shard changes no window. Rank r of w processes takes the blocks r, r + w, ... A stopped
generation goes on from the last complete shard of each rank, with shards of any size.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from adaptpose import distributed
from adaptpose.errors import AdaptError, ConfigError, DataError
from adaptpose.generation import Job, Place, begin, clear, merge, prepare_folder, record
from adaptpose.progress import ProgressHook, silent
from adaptpose.sampling import WindowSampler
from adaptpose.shards import (
    Content,
    FileKind,
    Origin,
    ShardIndex,
    bank_probe,
    read_index,
    write_shard,
)

SHARD_SIZE = 16384
"""Most windows of a shard where no size is asked for."""
SHARD_BYTES = 2**26
"""Most bytes of a shard where no size is asked for."""
MAX_SHARD_BYTES = 2**29
"""Most bytes of a shard: some shards are in memory at a time."""
_PATIENCE = 200
"""Blocks without a single kept window after which generation gives up."""


@dataclass(frozen=True)
class GenerateRequest:
    """How much to generate, and in which form."""

    count: int
    folder: Path
    shard_size: int | None = None
    """Windows per shard; None: as many as fit in `SHARD_BYTES`, at most `SHARD_SIZE`."""
    content: Content = "motion"
    file_kind: FileKind = "safetensors"
    half: bool = True
    """2D and relative 3D of motion in half precision."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of 2D and relative 3D."""
        half = self.half and self.content == "motion"
        return torch.float16 if half else torch.float32

    def windows_per_shard(self, sampler: WindowSampler) -> int:
        """Windows of a full shard; ConfigError if such a shard is too large for memory."""
        if self.count < 1:
            raise ConfigError(f"--n: expected a number above 0, got {self.count}")
        size = sampler.window_bytes(self.content, self.dtype)
        most = max(1, MAX_SHARD_BYTES // size)
        if self.shard_size is None:
            return max(1, min(SHARD_SIZE, SHARD_BYTES // size))
        if not 1 <= self.shard_size <= most:
            raise ConfigError(f"--shard-size: expected 1 to {most}, got {self.shard_size}")
        return self.shard_size


def generate(
    sampler: WindowSampler,
    request: GenerateRequest,
    origin: Origin,
    progress: ProgressHook = silent,
) -> ShardIndex:
    """Write `count` kept windows to the folder, going on where an earlier call stopped.

    Collective when several processes share the run; each writes its own shards, rank 0 the index.
    ConfigError for an impossible request, CheckpointError if the folder holds other things,
    DataError if the disk is full or nothing that is generated passes the selection; all complete
    shards stay then.
    """
    job, index = _plan(sampler, request, origin)
    with _Together() as all_ranks:
        if job.rank == 0:
            prepare_folder(job.folder)
    all_ranks.agree()
    own, place = index, Place(job.rank)
    with _Together() as all_ranks:
        own, place = begin(job, index)
    all_ranks.agree()
    with _Together() as all_ranks:
        clear(job, own)
        record(job, own, place)
        _stream_shards(job, own, place, progress)
    all_ranks.agree()
    with _Together() as all_ranks:
        if job.rank == 0:
            merge(job, index)
    all_ranks.agree()
    return read_index(job.folder)


class _Together:
    """Keeps the failure of one process until all can fail: none waits for a dead one."""

    def __init__(self) -> None:
        self.failure: AdaptError | None = None

    def __enter__(self) -> "_Together":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if isinstance(error, AdaptError):
            self.failure = error
            return True
        return False

    def agree(self) -> None:
        """Wait for all processes; raise this one's failure, or DataError for another's."""
        own = self.failure
        said = distributed.from_every_rank(None if own is None else str(own))
        if own is not None:
            raise own
        for rank, message in enumerate(said):
            if message is not None:
                raise DataError(f"process {rank} of this generation stopped: {message}")


def _plan(
    sampler: WindowSampler, request: GenerateRequest, origin: Origin
) -> tuple[Job, ShardIndex]:
    size = request.windows_per_shard(sampler)
    index = ShardIndex(
        content=request.content,
        file_kind=request.file_kind,
        dtype=str(request.dtype).removeprefix("torch."),
        skeleton=sampler.source.skeleton.name,
        window=sampler.window,
        middle=sampler.middle,
        seed=sampler.seed,
        normalisation=sampler.normalisation,
        origin=asdict(origin),
        source_probe=bank_probe(sampler.source),
        made_by=sampler.mark(),
        **sampler.layout(),
    )
    form = (request.content, request.dtype, request.file_kind)
    rank, world = distributed.rank(), distributed.world_size()
    return Job(sampler, request.folder, *form, size, request.count, rank, world), index


def _stream_shards(job: Job, own: ShardIndex, place: Place, progress: ProgressHook) -> None:
    done, writing = own.num_windows, None
    progress("generating", done, job.share)
    # One thread writes a shard while the next is made; never more than one waits.
    with ThreadPoolExecutor(1) as writer:
        for tensors, place_after, counts in _shards(job, place, job.share - done):
            name = f"shard-{job.rank}-{len(own.shards):05d}.{job.file_kind}"
            size = tensors["frame"].shape[0]
            total = {k: own.counts.get(k, 0) + n for k, n in counts.items()}
            own = replace(own, shards=[*own.shards, [name, size]], counts=total)
            _wait(writing)
            writing = writer.submit(_write, job, name, tensors, own, place_after)
            done += size
            progress("generating", done, job.share)
        _wait(writing)


def _wait(writing: "Future[None] | None") -> None:
    if writing is not None:
        writing.result()


def _shards(
    job: Job, place: Place, missing: int
) -> Iterator[tuple[dict[str, Tensor], Place, dict[str, int]]]:
    """Shards of kept windows: tensors, where the stream stands after it, outcomes counted."""
    number, offset, idle = place.block, place.offset, 0
    counts: dict[str, int] = dict.fromkeys(job.sampler.reasons, 0)
    buffer: dict[str, Tensor] = {}
    filled = 0
    while missing > 0:
        block = job.sampler.draw(number, job.content, job.dtype)
        rows = block.keep.nonzero()[offset:, 0]
        if offset == 0:
            for reason, drawn in zip(job.sampler.reasons, block.counts.tolist(), strict=True):
                counts[reason] += drawn
            idle = 0 if rows.shape[0] else idle + 1
            _check_patience(idle, block.counts, job.sampler)
        while rows.shape[0] and missing > 0:
            size = min(job.shard_size, filled + missing)
            take = min(rows.shape[0], size - filled)
            _fill(buffer, block.stored(rows[:take]), filled, size)
            rows, offset = rows[take:], offset + take
            filled, missing = filled + take, missing - take
            if filled == size:
                yield buffer, Place(number, offset), counts
                counts, buffer, filled = dict.fromkeys(counts, 0), {}, 0
        number, offset = number + job.world, 0


def _fill(buffer: dict[str, Tensor], part: dict[str, Tensor], start: int, size: int) -> None:
    """Copy a part into the buffer of a shard, which is made at its first part."""
    for name, value in part.items():
        if name not in buffer:
            buffer[name] = value.new_empty(size, *value.shape[1:])
        buffer[name][start : start + value.shape[0]] = value


def _check_patience(idle: int, counts: Tensor, sampler: WindowSampler) -> None:
    if idle >= _PATIENCE:
        last = dict(zip(sampler.reasons, counts.tolist(), strict=True))
        raise DataError(
            f"generation gave up: no window of the last {idle} blocks passed the selection (the "
            f"last block: {last}; fix: {sampler.remedy})"
        )


def _write(job: Job, name: str, tensors: dict[str, Tensor], own: ShardIndex, place: Place) -> None:
    write_shard(job.folder / name, tensors)
    record(job, own, place)
