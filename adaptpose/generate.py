"""Generated motion as a stream: any number of windows, bounded memory, the same for any shard size.

Windows are drawn in blocks of fixed size. A block has its own random stream, named by seed and
number, so what it holds depends on nothing else; kept windows are numbered through the blocks and
cut into shards. A stopped run goes on from the last complete shard.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import roma
import torch
from torch import Tensor

from adaptpose import distributed
from adaptpose.clips import Normalisation, normalise_pose2d
from adaptpose.config import SelectionConfig
from adaptpose.errors import CheckpointError, ConfigError, DataError
from adaptpose.generator import MotionGenerator
from adaptpose.lifter import Lifter
from adaptpose.losses import group_errors, hard_ratio
from adaptpose.progress import ProgressHook, silent
from adaptpose.recipe import Generated, Recipe, SourceWindows, apply_recipe, cut_source_windows
from adaptpose.runtime import stream
from adaptpose.selection import REASONS, select
from adaptpose.shards import (
    Content,
    FileKind,
    ShardIndex,
    lens_table,
    read_index,
    write_index,
    write_shard,
)
from adaptpose.store import read_json, write_json
from adaptpose.windows import LabelledBank

BLOCK = 4096
"""Windows drawn at once; part of what a seed means, so not an option."""
_PATIENCE = 200
"""Blocks without a single kept window after which generation gives up."""


@dataclass(frozen=True)
class Sampler:
    """A trained generator with the source it changes: draws blocks of windows."""

    generator: MotionGenerator
    source: LabelledBank
    strides: tuple[int, int]
    window: int
    selection: SelectionConfig
    seed: int
    critic: Lifter | None = None
    """With a lifter, windows are also selected by how hard they are (eq. 14)."""
    critic_errors: Tensor | None = None
    normalisation: Normalisation = "screen"


@dataclass(frozen=True)
class Block:
    """The windows of one block before selection, and which are kept."""

    generated: Generated
    recipe: Recipe
    source: SourceWindows
    stride: Tensor
    keep: Tensor
    counts: Tensor


def draw_block(sampler: Sampler, number: int, size: int = BLOCK) -> Block:
    """The `number`-th block of the sampler's stream."""
    bank, generator = sampler.source, sampler.generator.eval()
    rng = stream(sampler.seed, "generate", number, device=bank.device)
    frame = bank.draw_centres(size, rng)
    stride = bank.draw_strides(frame, *sampler.strides, rng)
    index = bank.window_index(frame, sampler.window, stride, generator.rule.middle)
    source = cut_source_windows(bank, frame, index)
    with torch.no_grad():
        recipe = generator.recipe(source, generator.draw_noise(size, rng))
        generated = apply_recipe(source, recipe, generator.rule)
        ratio = _hardness(sampler, generated, frame)
    chosen = select(generated.pose3d_cam, generated.pose2d, ratio, sampler.selection)
    return Block(generated, recipe, source, stride, chosen.keep, chosen.counts)


def _hardness(sampler: Sampler, generated: Generated, frame: Tensor) -> Tensor | None:
    if sampler.critic is None or sampler.critic_errors is None:
        return None
    root, middle = sampler.source.skeleton.root, sampler.generator.rule.middle
    seen = normalise_pose2d(generated.pose2d, sampler.normalisation, root)
    lifted = sampler.critic.eval().lift_window(seen)
    pose = generated.pose3d_cam[:, middle]
    error = group_errors(lifted, pose - pose[:, root : root + 1], sampler.source.skeleton)
    return hard_ratio(error, sampler.critic_errors[frame])


@dataclass(frozen=True)
class GenerateRequest:
    """How much to generate, and in which form."""

    count: int
    folder: Path
    shard_size: int = 16384
    content: Content = "motion"
    file_kind: FileKind = "safetensors"
    half: bool = True

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = []
        if self.count < 1:
            found.append(f"--n: expected a number above 0, got {self.count}")
        if not 1 <= self.shard_size <= 262144:
            found.append(f"--shard-size: expected 1 to 262144, got {self.shard_size}")
        return found


def generate(
    sampler: Sampler,
    request: GenerateRequest,
    source: dict[str, Any],
    synthetic: bool,
    progress: ProgressHook = silent,
) -> ShardIndex:
    """Write `count` kept windows to the folder, going on where an earlier call stopped.

    `source` is the specification of the source dataset, stored so that recipes can be expanded.
    ConfigError for an impossible request, CheckpointError if the folder holds other things,
    DataError if the disk is full or nothing that is generated passes the selection.
    """
    if request.problems():
        raise ConfigError("\n".join(request.problems()))
    rank, world = distributed.rank(), distributed.world_size()
    index = _new_index(sampler, request, source, synthetic)
    _check_folder(request.folder, index)
    share = request.count // world + (rank < request.count % world)
    own, place = _resume(request, index, rank)
    _stream_shards(sampler, request, own, place, share, progress)
    distributed.barrier()
    if rank == 0:
        _merge(request.folder, own, world)
    distributed.barrier()
    return read_index(request.folder)


def _stream_shards(
    sampler: Sampler,
    request: GenerateRequest,
    own: ShardIndex,
    place: dict[str, int],
    share: int,
    progress: ProgressHook,
) -> None:
    rank, done = distributed.rank(), own.num_windows
    writing: Future[None] | None = None
    # One thread writes a shard while the next is made; never more than one waits.
    with ThreadPoolExecutor(1) as writer:
        for tensors, place_after, counts in _shards(sampler, request, place, share - done):
            name = f"shard-{rank}-{len(own.shards):05d}.{request.file_kind}"
            size = next(iter(tensors.values())).shape[0]
            if writing is not None:
                writing.result()
            total = {k: own.counts.get(k, 0) + counts[k] for k in REASONS}
            own = replace(own, shards=[*own.shards, [name, size]], counts=total)
            writing = writer.submit(_write, request.folder, name, tensors, own, place_after, rank)
            done += size
            progress("generating", done, share)
        if writing is not None:
            writing.result()
        if not own.shards:
            write_json(request.folder / f"progress-{rank}.json", _progress(own, place))


def _shards(
    sampler: Sampler, request: GenerateRequest, place: dict[str, int], missing: int
) -> Iterator[tuple[dict[str, Tensor], dict[str, int], dict[str, int]]]:
    """Shards of kept windows: tensors, where the stream stands after it, outcomes counted."""
    block_number, offset = place["block"], place["offset"]
    world, parts, filled, idle = distributed.world_size(), [], 0, 0
    counts: dict[str, int] = dict.fromkeys(REASONS, 0)
    while missing > 0:
        block = draw_block(sampler, block_number)
        rows = block.keep.nonzero()[:, 0][offset:]
        if offset == 0:
            for name, number in zip(REASONS, block.counts.tolist(), strict=True):
                counts[name] += number
        idle = 0 if rows.shape[0] or offset else idle + 1
        if idle >= _PATIENCE:
            raise DataError(
                f"generation gave up: none of {idle * BLOCK} windows passed the selection "
                f"(outcomes: {counts}; fix: train the generator longer, or --no-screen)"
            )
        while rows.shape[0] and missing > 0:
            take = min(rows.shape[0], request.shard_size - filled, missing)
            parts.append(_tensors(block, rows[:take], request, sampler))
            rows, offset = rows[take:], offset + take
            filled, missing = filled + take, missing - take
            if filled == request.shard_size or missing == 0:
                joined = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
                yield joined, {"block": block_number, "offset": offset}, counts
                parts, filled, counts = [], 0, dict.fromkeys(REASONS, 0)
        block_number, offset = block_number + world, 0


def _tensors(
    block: Block, rows: Tensor, request: GenerateRequest, sampler: Sampler
) -> dict[str, Tensor]:
    kind = torch.float16 if request.half else torch.float32
    frame = block.source.frame[rows]
    common = {"frame": frame.int(), "stride": block.stride[rows].to(torch.int16)}
    if request.content == "recipe":
        stored = common | _recipe_tensors(block.recipe, rows, sampler)
        return {name: value.cpu() for name, value in stored.items()}
    pose = block.generated.pose3d_cam[rows]
    root = pose[:, :, sampler.source.skeleton.root]
    stored = common | {
        "pose2d": block.generated.pose2d[rows].to(kind),
        "pose3d": (pose - root[:, :, None]).to(kind),
        "root": root,
        "lens": sampler.source.clip_of_frame[frame].int(),
    }
    return {name: value.cpu() for name, value in stored.items()}


def _recipe_tensors(recipe: Recipe, rows: Tensor, sampler: Sampler) -> dict[str, Tensor]:
    bone = recipe.bone[rows]
    if sampler.generator.rule.bones == "bg3":
        bone = bone[..., :3] * bone[..., 3:]
    return {
        "bone": bone,
        "length": recipe.length_change[rows],
        "rotation": roma.rotmat_to_unitquat(recipe.rotation[rows]),
        "translation": recipe.translation[rows],
    }


def _new_index(
    sampler: Sampler, request: GenerateRequest, source: dict[str, Any], synthetic: bool
) -> ShardIndex:
    rule = {k: v for k, v in asdict(sampler.generator.rule).items() if k != "skeleton"}
    half = request.half and request.content == "motion"
    return ShardIndex(
        content=request.content,
        file_kind=request.file_kind,
        dtype="float16" if half else "float32",
        skeleton=sampler.source.skeleton.name,
        window=sampler.window,
        middle=sampler.generator.rule.middle,
        frame_rate_hz=float(sampler.source.clip_rate_hz[0]),
        seed=sampler.seed,
        synthetic=synthetic,
        normalisation=sampler.normalisation,
        source=source,
        rule=rule,
        lenses=lens_table(sampler.source.intrinsics),
    )


def _check_folder(folder: Path, index: ShardIndex) -> None:
    if (folder / "index.json").is_file():
        fix = "choose another --out"
        raise CheckpointError(f"{folder}: already holds generated windows (fix: {fix})")
    if folder.is_dir() and any(folder.iterdir()) and not any(folder.glob("progress-*.json")):
        raise CheckpointError(f"{folder}: expected a new or empty folder (fix: another --out)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror} (fix: --out)") from error


def _resume(
    request: GenerateRequest, index: ShardIndex, rank: int
) -> tuple[ShardIndex, dict[str, int]]:
    path = request.folder / f"progress-{rank}.json"
    if not path.is_file():
        return index, {"block": rank, "offset": 0}
    saved = read_json(path, "the state of a stopped generation")
    earlier = ShardIndex(**saved["index"])
    if replace(earlier, shards=[], counts={}) != index:
        raise CheckpointError(
            f"{request.folder}: holds a stopped generation of other settings "
            "(fix: give the same settings, or another --out)"
        )
    return earlier, saved["place"]


def _write(
    folder: Path,
    name: str,
    tensors: dict[str, Tensor],
    own: ShardIndex,
    place: dict[str, int],
    rank: int,
) -> None:
    write_shard(folder / name, tensors)
    write_json(folder / f"progress-{rank}.json", _progress(own, place))


def _progress(own: ShardIndex, place: dict[str, int]) -> dict[str, Any]:
    return {"index": asdict(own), "place": place}


def _merge(folder: Path, own: ShardIndex, world: int) -> None:
    """One index of all ranks' shards; only then is the generation complete."""
    paths = [folder / f"progress-{rank}.json" for rank in range(world)]
    parts = [read_json(path, "a rank's progress")["index"] for path in paths]
    counts = {k: sum(part["counts"].get(k, 0) for part in parts) for k in REASONS}
    shards = [shard for part in parts for shard in part["shards"]]
    write_index(folder, replace(own, shards=shards, counts=counts))
    for path in paths:
        path.unlink()
