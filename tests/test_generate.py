"""Generation to disk: shards of any size, stops at any moment, several processes, full disks."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from generated_data import CPU, WINDOW, fit_run, origin_of, small_sampler, walks_file
from test_cli import adapt, fails
from torch import Tensor

from adaptpose import distributed, sampling
from adaptpose.config import SelectionConfig
from adaptpose.errors import AdaptError, CheckpointError, ConfigError, DataError
from adaptpose.generate import GenerateRequest, generate
from adaptpose.packing import read_windows, window_bytes
from adaptpose.sampling import Sampler, draw_block
from adaptpose.selection import REASONS
from adaptpose.shards import ShardIndex, iterate_shards, read_index, same_source
from adaptpose.store import read_json, write_json


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    return walks_file(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def sampler(walks) -> Sampler:
    return small_sampler(walks)


@pytest.fixture(autouse=True)
def _small_blocks_unsynced(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_BLOCK", 64)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Stopped(Exception):
    """What a test kills a generation with."""


def stop_after(windows: int):
    """A progress hook that raises when so many windows are done."""

    def hook(stage: str, done: int, total: int) -> None:
        if done >= windows:
            raise Stopped

    return hook


def joined(folder: Path) -> dict[str, Tensor]:
    """All shards of a folder as one."""
    parts = list(iterate_shards(folder, read_index(folder)))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0)


def _make(sampler: Sampler, walks: Path, folder: Path, **changes: object) -> ShardIndex:
    values = {"count": 150, "folder": folder, "shard_size": 40, **changes}
    return generate(sampler, GenerateRequest(**values), origin_of(walks))  # type: ignore[arg-type]


def test_stored_windows_are_the_kept_ones_of_the_blocks(sampler, walks, tmp_path):
    index = _make(sampler, walks, tmp_path / "a", half=False)
    found, want, number = joined(tmp_path / "a"), [], 0
    root = sampler.source.skeleton.root
    while sum(len(part) for part in want) < 150:
        block = draw_block(sampler, number)
        want.append(block.generated.pose3d_cam[block.keep])
        number += 1
    kept = torch.cat(want)[:150]
    torch.testing.assert_close(found["root"], kept[:, :, root], rtol=0, atol=0)
    torch.testing.assert_close(found["pose3d"], kept - kept[:, :, root, None], rtol=0, atol=0)
    assert [count for _, count in index.shards] == [40, 40, 40, 30]
    assert sum(index.counts.values()) == number * 64
    assert set(index.counts) == set(REASONS)
    assert index.origin["credit"] == "a stick"
    assert not list((tmp_path / "a").glob("*.tmp"))
    assert not list((tmp_path / "a").glob("progress-*"))


@pytest.mark.parametrize("content", ["motion", "recipe"])
def test_the_size_of_shards_changes_no_window(sampler, walks, tmp_path, content):
    folders = {size: tmp_path / str(size) for size in (1, 19, None)}
    for size, folder in folders.items():
        _make(sampler, walks, folder, count=40, shard_size=size, content=content)
        assert_same(joined(folder), joined(folders[1]))


def test_seeds_decide_and_blocks_do_not_depend_on_each_other(sampler, walks, tmp_path):
    _make(sampler, walks, tmp_path / "a")
    _make(replace(sampler, seed=6), walks, tmp_path / "b")
    one, two = joined(tmp_path / "a"), joined(tmp_path / "b")
    assert not torch.equal(one["frame"], two["frame"])
    late, again = draw_block(sampler, 3), draw_block(sampler, 3)
    assert torch.equal(late.generated.pose2d, again.generated.pose2d)


def test_long_windows_come_in_smaller_blocks(sampler, monkeypatch):
    monkeypatch.setattr(sampling, "MAX_BLOCK", 4096)
    sizes = [replace(sampler, window=window).block_size for window in (1, 27, 243)]
    assert sizes == [4096, 4096, 455]


@pytest.mark.parametrize(("windows", "hard"), [(0, False), (40, True), (80, False), (150, False)])
def test_stopped_generations_end_as_if_they_never_stopped(walks, tmp_path, windows, hard):
    sampler = small_sampler(walks, hard=hard)
    _make(sampler, walks, tmp_path / "whole")
    request = GenerateRequest(150, tmp_path / "parts", 40)
    with pytest.raises(Stopped):
        generate(sampler, request, origin_of(walks), stop_after(windows))
    with pytest.raises(CheckpointError, match="not come to its end"):
        read_index(request.folder)
    again = small_sampler(walks, hard=hard)
    index = generate(again, request, origin_of(walks))
    assert index == read_index(tmp_path / "whole")
    assert_same(joined(request.folder), joined(tmp_path / "whole"))
    names = {path.name for path in request.folder.iterdir()}
    assert names == {"index.json", *(name for name, _ in index.shards)}


def test_a_stopped_generation_goes_on_with_other_shard_sizes(sampler, walks, tmp_path):
    _make(sampler, walks, tmp_path / "whole")
    for size, windows in ((40, 40), (13, 66), (200, 120)):
        request = GenerateRequest(150, tmp_path / "parts", size)
        with pytest.raises(Stopped):
            generate(sampler, request, origin_of(walks), stop_after(windows))
    index = _make(sampler, walks, tmp_path / "parts", shard_size=50)
    assert_same(joined(tmp_path / "parts"), joined(tmp_path / "whole"))
    assert index.counts == read_index(tmp_path / "whole").counts


def test_what_a_killed_process_leaves_does_no_harm(sampler, walks, tmp_path):
    _make(sampler, walks, tmp_path / "whole")
    request = GenerateRequest(150, tmp_path / "killed", 40)
    request.folder.mkdir()
    (request.folder / ".progress-0.json.x1.tmp").write_text("{")
    with pytest.raises(Stopped):
        generate(sampler, request, origin_of(walks), stop_after(40))
    # Killed while a shard was written, and after a shard before it was counted.
    (request.folder / ".shard-0-00002.safetensors.x2.tmp").write_text("half")
    (request.folder / "shard-0-00009.safetensors").write_text("not counted")
    generate(sampler, request, origin_of(walks))
    assert_same(joined(request.folder), joined(tmp_path / "whole"))
    assert {p.name for p in request.folder.iterdir()} == {
        p.name for p in (tmp_path / "whole").iterdir()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 151}, "another --n \\(150 instead of 151"),
        ({"content": "recipe"}, "another content"),
        ({"file_kind": "npz"}, "another file_kind"),
        ({"half": False}, "another dtype \\(float16 instead of float32"),
    ],
)
def test_other_settings_do_not_go_on(sampler, walks, tmp_path, changes, message):
    request = GenerateRequest(150, tmp_path / "a", 40)
    with pytest.raises(Stopped):
        generate(sampler, request, origin_of(walks), stop_after(40))
    before = {path: path.read_bytes() for path in request.folder.iterdir()}
    with pytest.raises(CheckpointError, match=message):
        _make(sampler, walks, tmp_path / "a", **changes)
    assert before == {path: path.read_bytes() for path in request.folder.iterdir()}


def test_other_weights_selections_and_worlds_do_not_go_on(sampler, walks, tmp_path, monkeypatch):
    request = GenerateRequest(150, tmp_path / "a", 40)
    with pytest.raises(Stopped):
        generate(sampler, request, origin_of(walks), stop_after(40))
    trained = small_sampler(walks)
    with torch.no_grad():
        next(trained.generator.parameters()).add_(1e-3)
    loose = replace(sampler, selection=SelectionConfig(screen=False))
    for other in (trained, loose, replace(sampler, strides=(1, 1))):
        with pytest.raises(CheckpointError, match="another made_by"):
            generate(other, request, origin_of(walks))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(CheckpointError, match=r"number of processes \(1 instead of 2"):
        generate(sampler, request, origin_of(walks))


def test_folders_of_others_are_left_alone(sampler, walks, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="expected a new or empty folder"):
        _make(sampler, walks, tmp_path)
    _make(sampler, walks, tmp_path / "done")
    with pytest.raises(CheckpointError, match="already holds generated windows"):
        _make(sampler, walks, tmp_path / "done")
    with pytest.raises(DataError, match="cannot be made or read"):
        _make(sampler, walks, tmp_path / "mine.txt" / "below")
    for name, text in (("broken", "{"), ("foreign", "[]"), ("odd", '{"index": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "progress-0.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"progress-0\.json"):
            _make(sampler, walks, tmp_path / name)


@pytest.mark.parametrize("file_kind", ["safetensors", "npz"])
@pytest.mark.parametrize("writes", [0, 1, 4])
def test_a_full_disk_is_one_message_and_nothing_half_written(
    sampler, walks, tmp_path, monkeypatch, file_kind, writes
):
    request = GenerateRequest(150, tmp_path / "a", 40, file_kind=file_kind)
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > writes:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot be written: No space left.*\(fix: free space"):
        generate(sampler, request, origin_of(walks))
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    assert not list(request.folder.glob(".*"))
    assert not (request.folder / "index.json").exists()
    generate(sampler, request, origin_of(walks))
    _make(sampler, walks, tmp_path / "whole", file_kind=file_kind)
    assert_same(joined(request.folder), joined(tmp_path / "whole"))


def test_nothing_that_passes_is_an_error_not_an_endless_loop(sampler, walks, tmp_path, monkeypatch):
    monkeypatch.setattr("adaptpose.generate._PATIENCE", 3)
    far = replace(sampler, selection=SelectionConfig(min_depth=1e6))
    with pytest.raises(DataError, match=r"gave up.*too_close.*fix"):
        _make(far, walks, tmp_path / "a")


@pytest.mark.parametrize("content", ["motion", "recipe"])
def test_both_forms_of_files_hold_the_same(sampler, walks, tmp_path, content):
    for kind in ("npz", "safetensors"):
        _make(sampler, walks, tmp_path / kind, content=content, file_kind=kind)
    assert_same(joined(tmp_path / "npz"), joined(tmp_path / "safetensors"))
    _make(sampler, walks, tmp_path / "again", content=content, file_kind="npz")
    for path in (tmp_path / "npz").glob("*.npz"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    half = torch.float16 if content == "motion" else torch.float32
    size = window_bytes(content, half, sampler.generator.rule, WINDOW)
    stored = joined(tmp_path / "npz").values()
    assert sum(t.numel() * t.element_size() for t in stored) == 150 * size


def test_half_precision_is_near_enough(sampler, walks, tmp_path):
    for half in (True, False):
        _make(sampler, walks, tmp_path / str(half), half=half)
    rough, exact = (
        list(read_windows(tmp_path / name, read_index(tmp_path / name)))
        for name in ("True", "False")
    )
    for one, two in zip(rough, exact, strict=True):
        assert float((one.pose2d - two.pose2d).abs().max()) < 1e-3
        assert float((one.pose3d_cam - two.pose3d_cam).norm(dim=-1).max()) < 1e-3
        assert float((one.pose3d_cam - two.pose3d_cam).norm(dim=-1).max()) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bones": "bg1"},
        {"bones": "bg2", "camera": "deterministic", "rotation": "euler"},
        {"bones": "none", "angle_profile": "paper", "keep_trajectory": False},
    ],
)
def test_recipes_expand_to_the_motion(walks, tmp_path, changes):
    sampler = small_sampler(walks, **changes)
    for content in ("motion", "recipe"):
        _make(sampler, walks, tmp_path / content, count=100, content=content, half=False)
    motion, recipe = (read_index(tmp_path / name) for name in ("motion", "recipe"))
    one = list(read_windows(tmp_path / "motion", motion))
    two = list(read_windows(tmp_path / "recipe", recipe, sampler.source))
    for name in ("pose2d", "pose3d_cam", "lens", "stride"):
        want, found = (torch.cat([getattr(part, name) for part in parts]) for parts in (one, two))
        torch.testing.assert_close(found, want, rtol=1e-5, atol=3e-5)
    assert same_source(recipe.source_probe, sampler.source)
    other = replace(sampler.source, pose3d_cam=sampler.source.pose3d_cam + 0.01)
    with pytest.raises(DataError, match="is not the one that the recipes were made from"):
        list(read_windows(tmp_path / "recipe", recipe, other))


def test_impossible_requests(sampler, walks, tmp_path):
    with pytest.raises(ConfigError, match="--n: expected a number above 0"):
        _make(sampler, walks, tmp_path / "a", count=0)
    for size in (0, 10**7):
        with pytest.raises(ConfigError, match=r"--shard-size: expected 1 to \d+, got"):
            _make(sampler, walks, tmp_path / "a", shard_size=size)
    assert not (tmp_path / "a").exists()


def test_foreign_newer_and_damaged_folders(sampler, walks, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        read_index(tmp_path / "none")
    index = _make(sampler, walks, tmp_path / "a")
    path = tmp_path / "a" / "index.json"
    values = read_json(path, "")
    for changed, message in (
        ([], "not an index"),
        ({"a": 1}, "not an index"),
        ({**values, "surprise": 1}, "not an index"),
        ({**values, "format": 99, "surprise": 1}, "format 99, this version reads up to 2"),
    ):
        write_json(path, changed)
        with pytest.raises(CheckpointError, match=message):
            read_index(tmp_path / "a")
    write_json(path, values)
    shard = tmp_path / "a" / index.shards[1][0]
    whole = shard.read_bytes()
    other = tmp_path / "a" / index.shards[3][0]
    for content, message in (
        (whole[:-50], "damaged or foreign"),
        (b"not a shard", "damaged or foreign"),
        (other.read_bytes(), "expected 40 windows, got"),
    ):
        shard.write_bytes(content)
        with pytest.raises(AdaptError, match=f"{shard.name}.*{message}"):
            joined(tmp_path / "a")
    shard.unlink()
    with pytest.raises(AdaptError, match=f"{shard.name}.*is not there"):
        joined(tmp_path / "a")


def _rank_generates(rank: int, world: int, walks: Path, folder: Path, stop: int) -> None:
    torch.set_num_threads(1)
    sampling.MAX_BLOCK = 64
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    distributed.start(CPU)
    try:
        request = GenerateRequest(101, folder, 20)
        if stop:
            with pytest.raises(Stopped):
                generate(small_sampler(walks), request, origin_of(walks), stop_after(stop))
        else:
            generate(small_sampler(walks), request, origin_of(walks))
    finally:
        distributed.stop()


def _spawn(monkeypatch, port: int, *arguments: object) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    mp.spawn(_rank_generates, args=(2, *arguments), nprocs=2)


@pytest.mark.slow
def test_two_processes_make_one_folder(sampler, walks, tmp_path, monkeypatch, unused_port):
    _spawn(monkeypatch, unused_port(), walks, tmp_path / "a", 0)
    index = read_index(tmp_path / "a")
    assert [name for name, _ in index.shards] == [
        f"shard-{rank}-{k:05d}.safetensors" for rank in (0, 1) for k in range(3)
    ]
    assert [count for _, count in index.shards] == [20, 20, 11, 20, 20, 10]
    found, want = joined(tmp_path / "a"), {0: [], 1: []}
    for number in range(8):
        block = draw_block(sampler, number)
        want[number % 2].append(block.source.frame[block.keep])
    both = torch.cat([torch.cat(want[0])[:51], torch.cat(want[1])[:50]])
    assert torch.equal(found["frame"], both.int())
    _spawn(monkeypatch, unused_port(), walks, tmp_path / "b", 20)
    _spawn(monkeypatch, unused_port(), walks, tmp_path / "b", 0)
    assert_same(joined(tmp_path / "b"), found)


@pytest.fixture
def unused_port():
    """Ports that nothing listens on."""
    import socket

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture(scope="module")
def run(tmp_path_factory, walks) -> Path:
    """A tiny fit run."""
    return fit_run(tmp_path_factory.mktemp("runs") / "tiny", walks)


def test_the_command_from_run_to_training_and_scores(run, walks, tmp_path):
    common = ("--n", "1.2e2", "--run", run, "--shard-size", "50", "--threads", "1")
    result = adapt("generate", *common, "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["windows"], said["content"]) == (120, "motion")
    assert said["shares"]["kept"] == pytest.approx(said["drawn"]["kept"] / 64 / 3, abs=0.5)
    assert said["bytes"] == sum(p.stat().st_size for p in (tmp_path / "a").iterdir())
    table = adapt("generate", *common, "--runs", run.parent, "--recipe", "--out", tmp_path / "b")
    assert table.exit_code == 0, table.output
    assert "SYNTHETIC, generated from walks" in table.stdout
    assert "recipe, float32" in table.stdout
    tiny = ("--channels", "16", "--windows", "64", "--set", "pretrain.batch_size=32", "--widths",
            "3,3", "--epochs", "1", "--threads", "1", "--json")  # fmt: skip
    records = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}-run"
        trained = adapt("pretrain", "--source", tmp_path / name, *tiny, "--out", out)
        assert trained.exit_code == 0, trained.output
        records.append(json.loads(trained.stdout)["last_record"]["loss_mm"])
    assert records[0] == pytest.approx(records[1], rel=1e-2)
    scores = ("--metric", "mpjpe", "--max-clips", "30", "--json")
    scored = adapt("eval", "--run", out, "--dataset", tmp_path / "a", *scores)
    assert scored.exit_code == 0, scored.output
    evaluation = json.loads(scored.stdout)["evaluations"][0]
    assert evaluation["synthetic"] is True
    assert evaluation["num_clips"] == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--n: expected a number of windows, got none (fix: --n"),
        (("--n", "lots"), "--n: expected a whole number"),
        (("--n", "0", "--out", "x"), "--n: expected at least 1, got '0'"),
        (("--n", "1.5", "--out", "x"), "--n: expected a whole number"),
        (("--n", "9"), "--out: expected a folder for the windows, got none"),
        (("--n", "9", "--out", "x", "--format", "npy"), "did you mean 'npz'?"),
        (("--n", "9", "--out", "x", "--dtype", "fp61"), "did you mean 'fp16'?"),
        (("--n", "9", "--out", "x", "--recipe", "--dtype", "fp16"), "recipes are always fp32"),
        (("--n", "9", "--out", "x", "--runs", "none"), "no fit run below it"),
        (("--n", "9", "--out", "x", "--run", "none"), "none: no such run directory"),
    ],
)
def test_the_command_refuses_before_it_works(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    last_line = fails("generate", *arguments).splitlines()[-1]
    assert last_line.startswith("adapt generate: ")
    assert message in last_line
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_how_to_go_on(run, tmp_path, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    common = ("--n", "100", "--run", run, "--shard-size", "40", "--out", tmp_path / "a")
    monkeypatch.setattr("adaptpose.generate.write_shard", interrupted)
    stopped = adapt("generate", *common)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    monkeypatch.undo()
    text = fails("pretrain", "--source", tmp_path / "a")
    assert "generation has not come to its end (fix: run the same `adapt generate`" in text
    monkeypatch.setattr(sampling, "MAX_BLOCK", 64)
    assert adapt("generate", *common).exit_code == 0
    assert "already holds generated windows" in fails("generate", *common)


def test_the_command_wants_a_complete_fit_run(run, walks, tmp_path):
    common = ("--n", "100", "--out", tmp_path / "a", "--run")
    broken = fit_run(tmp_path / "broken", walks)
    (broken / "generator.safetensors").unlink()
    assert "the run's generator is not there" in fails("generate", *common, broken)
    other = read_json(run / "run.json", "")
    other["config"]["fit"]["generator"]["hidden"] = 48
    write_json(broken / "run.json", other)
    (broken / "generator.safetensors").write_bytes((run / "generator.safetensors").read_bytes())
    assert "does not fit the run's configuration" in fails("generate", *common, broken)
    write_json(broken / "run.json", {**other, "config": {}})
    assert "no 'fit' in the configuration" in fails("generate", *common, broken)
    assert not (tmp_path / "a").exists()
