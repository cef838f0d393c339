"""`adapt generate`: windows of a fit run, written to disk in shards.

They are those of its generator or, of a run that adapted in rounds, such as its batches were made
of. Stopped, the same command goes on. Under torchrun every process writes shards of its own:

    torchrun --nproc-per-node 2 --no-python -- adapt generate --n 1.5e6 --out synth

The lone -- keeps torchrun from taking --n and --run for short forms of its own options.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.console import (
    format_count,
    format_rate,
    format_time,
    notice,
    print_json,
    print_table,
    progress_hook,
)
from adaptpose.cli.failures import INTERRUPTED
from adaptpose.cli.options import (
    DataRootOption,
    DeviceOption,
    JsonOption,
    RunOption,
    RunsOption,
    SeedOption,
    ThreadsOption,
    choose,
    parse_count,
)
from adaptpose.cli.samplers import Choices, sampler_of_run
from adaptpose.errors import ConfigError, expected_message, unknown_name_message

if TYPE_CHECKING:
    from adaptpose.generate import GenerateRequest
    from adaptpose.rundir import RunDirectory
    from adaptpose.shards import ShardIndex
else:
    GenerateRequest = RunDirectory = ShardIndex = Any

DTYPES = {"fp16": True, "fp32": False}
FORMATS = ("safetensors", "npz")

CountOption = Annotated[
    str | None, typer.Option("--n", help="Windows to generate, e.g. 200k or 1.5e6.")
]
FolderOption = Annotated[
    Path | None, typer.Option("--out", help="Folder to write to, or to go on in.")
]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="fp16 (default; keeps 0.5 mm) or fp32.")
]
ShardSizeOption = Annotated[
    str | None, typer.Option("--shard-size", help="Windows per file; by default about 64 MB.")
]
FormatOption = Annotated[str, typer.Option("--format", help="safetensors or npz.")]
RecipeOption = Annotated[
    bool,
    typer.Option("--recipe", help="Store how windows are made of the source: many times smaller."),
]
HardnessOption = Annotated[
    bool | None,
    typer.Option("--hardness/--no-hardness", help="Leave out what is too easy or too hard for the "
                 "run's lifter; by default as in the run."),
]  # fmt: skip
ScreenOption = Annotated[
    bool, typer.Option("--no-screen", help="Keep windows that leave the image.")
]


def generate(
    n: CountOption = None,
    out: FolderOption = None,
    run: RunOption = None,
    runs: RunsOption = Path("runs"),
    recipe: RecipeOption = False,
    dtype: DtypeOption = None,
    file_format: FormatOption = "safetensors",
    shard_size: ShardSizeOption = None,
    hardness: HardnessOption = None,
    no_screen: ScreenOption = False,
    data_root: DataRootOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate windows as a fit run learned to make them. Stopped, the same command goes on."""
    from adaptpose import distributed

    request = _request(n, out, recipe, dtype, file_format, shard_size)
    directory = find_fit(run, runs)
    chosen = distributed.start(choose(device, threads))
    try:
        choices = Choices(seed, hardness, no_screen)
        index, seconds, fresh = _generate(directory, request, choices, data_root, chosen, as_json)
        if distributed.rank() == 0:
            _print_result(request.folder, index, seconds, fresh, as_json)
    except KeyboardInterrupt as error:
        notice("adapt generate: stopped; complete shards stay, the same command goes on")
        raise typer.Exit(INTERRUPTED) from error
    finally:
        distributed.stop()


def find_fit(run: Path | None, runs: Path) -> RunDirectory:
    """The fit run of --run, or the latest below --runs; CheckpointError for another kind."""
    from adaptpose.errors import CheckpointError
    from adaptpose.rundir import latest_run, open_run

    if run is None:
        found = latest_run(runs, "fit")
        notice(f"generating with the latest fit, {found.path}")
        return found
    found = open_run(run)
    if found.kind != "fit":
        raise CheckpointError(expected_message(str(run), "a fit run", f"a {found.kind} run"))
    return found


def _request(
    n: str | None,
    out: Path | None,
    recipe: bool,
    dtype: str | None,
    file_format: str,
    shard_size: str | None,
) -> GenerateRequest:
    from adaptpose.generate import GenerateRequest

    if n is None:
        raise ConfigError("--n: expected a number of windows, got none (fix: --n 200k)")
    count = parse_count(n, "--n")
    if count < 1:
        raise ConfigError(expected_message("--n", "at least 1", f"'{n}'"))
    if out is None:
        raise ConfigError("--out: expected a folder for the windows, got none (fix: --out synth)")
    if file_format not in FORMATS:
        raise ConfigError(f"--format: {unknown_name_message('format', file_format, FORMATS)}")
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype: {unknown_name_message('precision', dtype, DTYPES)}")
    if recipe and dtype is not None:
        raise ConfigError("--dtype: recipes are always fp32 (fix: leave out --dtype or --recipe)")
    return GenerateRequest(
        count=count,
        folder=out,
        shard_size=None if shard_size is None else parse_count(shard_size, "--shard-size"),
        content="recipe" if recipe else "motion",
        file_kind=file_format,
        half=DTYPES[dtype or "fp16"],
    )


def _generate(
    run: RunDirectory,
    request: GenerateRequest,
    choices: Choices,
    data_root: Path | None,
    device: Any,
    quiet: bool,
) -> tuple[ShardIndex, float, int]:
    """The index of what was written, the seconds it took, and how many windows were new."""
    from adaptpose import distributed
    from adaptpose.generate import generate as write

    sampler, origin = sampler_of_run(run, choices, request.content, data_root, device)
    request.windows_per_shard(sampler)
    earlier: list[int] = []
    with progress_hook(quiet or distributed.rank() != 0) as show:

        def hook(stage: str, done: int, total: int) -> None:
            if not earlier:
                earlier.append(done)
            show(stage, done, total)

        start = time.perf_counter()
        index = write(sampler, request, origin, hook)
        seconds = time.perf_counter() - start
    fresh = index.num_windows - distributed.world_size() * sum(earlier)
    return index, seconds, max(0, fresh)


def _print_result(
    folder: Path, index: ShardIndex, seconds: float, fresh: int, as_json: bool
) -> None:
    size = sum((folder / name).stat().st_size for name, _ in index.shards)
    size += (folder / "index.json").stat().st_size
    drawn = max(1, sum(index.counts.values()))
    shares = {reason: count / drawn for reason, count in index.counts.items()}
    rate = fresh / max(seconds, 1e-9)
    if as_json:
        print_json({"folder": str(folder), "windows": index.num_windows, "content": index.content,
                    "drawn": index.counts, "shares": shares, "bytes": size, "seconds": seconds,
                    "windows_per_s": rate})  # fmt: skip
        return
    rows = [
        ("windows", format_count(index.num_windows)),
        ("of", f"{index.window} frames, {index.skeleton}, {index.content}, {index.dtype}"),
        *((f"drawn, {why.replace('_', ' ')}", f"{share:.1%}") for why, share in shares.items()),
        ("on disk", f"{size / 1e6:.1f} MB in {len(index.shards)} shards, "
                    f"{size / index.num_windows:.0f} bytes a window"),
        ("time", f"{format_time(seconds)}, {format_rate(rate)}"),
    ]  # fmt: skip
    kind = "SYNTHETIC, generated from" if index.origin["synthetic"] else "generated from"
    print_table(f"Generated motion in {folder}", ("", f"{kind} {index.origin['name']}"), rows)
    notice(f"next: adapt pretrain --source {folder}")
