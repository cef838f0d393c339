"""Windows of runs in rounds on disk: exact pairs, any shard size, stops, refusals, the chain."""

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generated_data import CPU, WINDOW, small_sampler, walks_file, window_lifter
from pseudo_scenes import SAME, STILL, walks
from stick_figure import walking_motion
from test_cli import adapt, fails
from test_generate import Stopped, assert_same, joined, stop_after
from torch import Tensor

from adaptpose import distributed, round_sampler, sampling
from adaptpose.camera import project
from adaptpose.clips import PoseData, TargetData, check_clip
from adaptpose.config import config_to_dict
from adaptpose.datasets.checks import check_reprojection
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.generated import generated_bank, open_generated, read_generated
from adaptpose.datasets.rigs import FIELD, STUDIO, film
from adaptpose.errors import CheckpointError, ConfigError, DataError
from adaptpose.generate import GenerateRequest, generate
from adaptpose.pseudo_config import PseudoConfig, RefineConfig, ReplayConfig, TransferConfig
from adaptpose.round_sampler import RoundSampler, made_shares
from adaptpose.rounds_config import METHODS, RoundsConfig, SharesConfig
from adaptpose.shards import Origin, ShardIndex, read_index, read_shard, write_shard
from adaptpose.skeleton import H36M_16, H36M_17
from adaptpose.store import read_json, write_json
from adaptpose.windows import build_labelled_bank

SHARES = SharesConfig(source=0.2, wide=0.3, transfer=0.2, replay=0.2, selftrain=0.1)
ORIGIN = Origin({"name": "walks"}, "walks and others", synthetic=True, credit="sticks")


@pytest.fixture(autouse=True)
def _small_blocks_unsynced(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_BLOCK", 64)
    monkeypatch.setattr(round_sampler, "ROUND_WINDOWS", 128)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def others() -> TargetData:
    """A target of three clips at 60 Hz."""
    data = walks(3, seed=8)
    return replace(
        data.as_target(), clips=tuple(replace(c, frame_rate_hz=60.0) for c in data.clips)
    )


def config_of(**changes: Any) -> RoundsConfig:
    """All kinds of windows, by lifted poses put on their rays."""
    values = {"shares": SHARES, "refinement": "rays", "refine": RefineConfig(steps=3)}
    return RoundsConfig(**{**values, **changes})


def sampler_of(target: TargetData | None = None, seed: int = 5, **changes: Any) -> RoundSampler:
    bank = build_labelled_bank(walks(3, seed=1), CPU)
    return RoundSampler(bank, target or others(), window_lifter(), config_of(**changes), seed)


def make(sampler: RoundSampler, folder: Path, **changes: Any) -> ShardIndex:
    values = {"count": 150, "folder": folder, "shard_size": 40, **changes}
    return generate(sampler, GenerateRequest(**values), ORIGIN)


# ---- What the windows are


@pytest.mark.parametrize("kind", ["wide", "transfer", "replay"])
def test_stored_3d_projects_to_the_stored_2d_in_every_frame(tmp_path, kind):
    sampler = sampler_of(shares=SharesConfig(source=0.5, **{kind: 0.5}))
    make(sampler, tmp_path / "a", half=False)
    data = read_generated(tmp_path / "a")
    assert len(data.clips) == 150
    focals = torch.stack([clip.intrinsics.focal for clip in data.clips])
    assert torch.equal(focals[:, 0], focals[:, 1])
    # Windows of lifted people are filmed under the lens of their viewpoint's clip.
    assert (len(focals[:, 0].unique()) == 150) == (kind == "wide")
    assert len(focals[:, 0].unique()) > 1
    for clip in data.clips:
        check_clip(clip, H36M_16, kind)
        check_reprojection(clip, H36M_16, kind)
        again = project(clip.pose3d_cam, clip.intrinsics)
        torch.testing.assert_close(again, clip.pose2d, rtol=2e-5, atol=2e-5)
    make(sampler, tmp_path / "half")
    for rough, clip in zip(read_generated(tmp_path / "half").clips, data.clips, strict=True):
        assert float((rough.pose3d_cam - clip.pose3d_cam).norm(dim=-1).max()) < 1e-3
        assert torch.equal(rough.intrinsics.focal, clip.intrinsics.focal)


def test_banks_hold_the_windows_and_lenses_of_the_clips(tmp_path):
    make(sampler_of(), tmp_path / "a")
    whole = build_labelled_bank(read_generated(tmp_path / "a"), CPU)
    part = generated_bank(tmp_path / "a", CPU, 20, 95)
    rows = slice(20 * WINDOW, 115 * WINDOW)
    assert torch.equal(part.pose2d, whole.pose2d[rows])
    assert torch.equal(part.pose3d_cam, whole.pose3d_cam[rows])
    assert torch.equal(part.intrinsics.focal, whole.intrinsics.focal[20:115])
    torch.testing.assert_close(part.clip_rate_hz, whole.clip_rate_hz[20:115])


def test_source_windows_are_those_of_the_frames_that_are_named(tmp_path):
    shares = SharesConfig(source=0.5, transfer=0.25, replay=0.25)
    still = TransferConfig(noise=STILL, bodies=SAME)
    sampler = sampler_of(shares=shares, transfer=still, strides=(1, 4), bone_lengths="lifted")
    make(sampler, tmp_path / "a", half=False)
    found, bank = joined(tmp_path / "a"), sampler.source
    frame, stride = found["frame"].long(), found["stride"].long()
    ours = frame >= 0
    index = bank.window_index(frame[ours], WINDOW, stride[ours], WINDOW // 2)
    want, got = bank.pose3d_cam[index], found["pose3d"][ours]
    torch.testing.assert_close(torch.cdist(got, got), torch.cdist(want, want), rtol=0, atol=1e-4)
    path = want[:, :, 0] - want[:, :1, 0]
    own = found["root"][ours] - found["root"][ours][:, :1]
    torch.testing.assert_close(own.norm(dim=-1), path.norm(dim=-1), rtol=0, atol=1e-4)
    assert set(frame[~ours].tolist()) == {-1}
    rates = read_index(tmp_path / "a").rates_hz()[found["lens"].long()]
    assert set(rates[ours].tolist()) == {50.0}
    assert set(rates[~ours].tolist()) == {60.0}
    assert set(stride[~ours].tolist()) == {1, 2, 4, 5}  # 1 to 4 at 50 Hz, in frames of 60 Hz
    clips = read_generated(tmp_path / "a").clips
    own_rates = [clip.frame_rate_hz for clip in clips]
    torch.testing.assert_close(torch.tensor(own_rates), rates / stride)


def test_every_kind_comes_by_its_share_and_in_no_order(tmp_path):
    sampler = sampler_of(shares=SharesConfig(source=0.3, wide=0.01, transfer=0.34, replay=0.35))
    assert vars(made_shares(sampler.config.shares))["wide"] == pytest.approx(1 / 70)
    counts = Counter()
    for number in range(30):
        makers = sampler._makers(number // sampler.blocks_per_round)
        rng = torch.Generator().manual_seed(number)
        drawn = sampler._counts(makers, rng)
        assert sum(drawn) == 64
        for maker, count in zip(makers, drawn, strict=True):
            assert abs(count - 64 * getattr(sampler.shares, maker.name)) < 1 + 1e-6
            counts[maker.name] += count
    assert 0.5 < counts["wide"] / (30 * 64 / 70) < 1.5
    replayed = (sampler.block(0).frame < 0).long()
    runs = int((replayed.diff() != 0).sum())
    assert 20 < runs < 44  # 32 are expected of a random order
    index = make(sampler, tmp_path / "a")
    assert index.rule == {key: value for key, value in vars(sampler.shares).items() if value}


def test_windows_that_training_would_not_use_are_counted_and_left_out(tmp_path):
    narrow = ReplayConfig(view_limit=0.4)
    sampler = sampler_of(shares=SharesConfig(source=0.5, replay=0.5), replay=narrow)
    index = make(sampler, tmp_path / "a", half=False)
    want, drawn, number = [], Counter(), 0
    while sum(map(len, want)) < 150:
        block = sampler.block(number)
        inside = (block.pose2d[:, WINDOW // 2].abs() < 0.4).all(dim=-1).float().mean(dim=-1) >= 0.9
        near = block.pose3d_cam[..., 2].amin(dim=(1, 2)) <= 0.4
        assert not bool((block.keep & (near | ~inside)).any())
        want.append(block.pose2d[block.keep])
        drawn.update(kept=int(block.keep.sum()), unusable=int((~block.keep).sum()))
        number += 1
    assert index.counts == drawn
    assert drawn["unusable"] > 0
    assert torch.equal(joined(tmp_path / "a")["pose2d"], torch.cat(want)[:150])


# ---- The stream


@pytest.mark.parametrize("file_kind", ["safetensors", "npz"])
def test_the_size_of_shards_changes_no_window(tmp_path, file_kind):
    sampler = sampler_of()
    for size in (1, 19, None):
        folder = tmp_path / str(size)
        make(sampler, folder, count=40, shard_size=size, file_kind=file_kind)
        assert_same(joined(folder), joined(tmp_path / "1"))
    size = sampler.window_bytes("motion", torch.float16)
    assert sum(t.numel() * t.element_size() for t in joined(folder).values()) == 40 * size
    make(sampler_of(seed=6), tmp_path / "other", count=40)
    other = joined(tmp_path / "other")
    assert not torch.equal(other["pose2d"], joined(folder)["pose2d"])


@pytest.mark.parametrize("windows", [0, 120])
def test_stopped_generations_end_as_if_they_never_stopped(tmp_path, windows):
    make(sampler_of(), tmp_path / "whole", count=400)
    request = GenerateRequest(400, tmp_path / "parts", 40)
    with pytest.raises(Stopped):
        generate(sampler_of(), request, ORIGIN, stop_after(windows))
    index = make(sampler_of(), request.folder, count=400, shard_size=77)
    assert_same(joined(request.folder), joined(tmp_path / "whole"))
    assert index.counts == read_index(tmp_path / "whole").counts
    assert {**vars(index), "shards": 0} == {**vars(read_index(tmp_path / "whole")), "shards": 0}


def test_a_generation_that_goes_on_lifts_no_earlier_round_again(tmp_path, monkeypatch):
    numbers, lift = [], round_sampler.stream

    def spy(seed: int, *path: Any, **more: Any) -> torch.Generator:
        if path[:2] == ("generate", "pseudo"):
            numbers.append(path[2])
        return lift(seed, *path, **more)

    monkeypatch.setattr(round_sampler, "stream", spy)
    request = GenerateRequest(500, tmp_path / "a", 20)
    with pytest.raises(Stopped):
        generate(sampler_of(), request, ORIGIN, stop_after(300))
    begun = list(numbers)
    assert begun == list(range(len(begun)))
    assert len(begun) > 2
    numbers.clear()
    generate(sampler_of(), request, ORIGIN)
    assert numbers == list(range(begun[-1], numbers[-1] + 1))
    assert len(numbers) > 1


def test_a_large_generation_sees_the_whole_target(monkeypatch):
    seen, lift = [], round_sampler.lifted_poses

    def spy(*arguments: Any) -> Any:
        target, pseudo = lift(*arguments)
        seen.append({clip.action for clip in target.clips})
        return target, pseudo

    monkeypatch.setattr(round_sampler, "lifted_poses", spy)
    sampler = sampler_of(pseudo=PseudoConfig(frames=10))
    for number in range(20):
        sampler.block(number)
    assert len(seen) == 10
    assert all(len(actions) == 1 for actions in seen)
    assert set.union(*seen) == {"walk0", "walk1", "walk2"}
    late = sampler_of(pseudo=PseudoConfig(frames=10)).block(19)
    assert torch.equal(late.pose2d, sampler.block(19).pose2d)


def test_processes_take_turns_with_the_blocks(tmp_path, monkeypatch):
    sampler = sampler_of()
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    with pytest.raises(CheckpointError, match="has not come to its end"):
        make(sampler, tmp_path / "a", count=301)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    make(sampler, tmp_path / "a", count=301)
    want: dict[int, list[Tensor]] = {0: [], 1: []}
    for number in range(16):
        block = sampler.block(number)
        want[number % 2].append(block.focal[block.keep])
    both = torch.cat([torch.cat(want[0])[:151], torch.cat(want[1])[:150]])
    assert torch.equal(joined(tmp_path / "a")["focal"], both)


def test_other_settings_weights_and_targets_do_not_go_on(tmp_path):
    request = GenerateRequest(150, tmp_path / "a", 40)
    with pytest.raises(Stopped):
        generate(sampler_of(), request, ORIGIN, stop_after(40))
    trained = sampler_of()
    with torch.no_grad():
        next(trained.lifter.parameters()).add_(1e-3)
    moved = others()
    clip = replace(moved.clips[1], pose2d=moved.clips[1].pose2d + 1e-3)
    moved = replace(moved, clips=(moved.clips[0], clip, moved.clips[2]))
    for other in (trained, sampler_of(target=moved), sampler_of(strides=(2, 4))):
        with pytest.raises(CheckpointError, match="another made_by"):
            generate(other, request, ORIGIN)
    with pytest.raises(CheckpointError, match="another seed"):
        generate(sampler_of(seed=9), request, ORIGIN)
    alone = SharesConfig(source=0.5, wide=0.5)
    assert sampler_of(shares=alone).mark() == sampler_of(target=moved, shares=alone).mark()


# ---- The folder


def test_a_folder_says_the_lowest_format_that_describes_it(tmp_path):
    file = walks_file(tmp_path)
    generate(small_sampler(file), GenerateRequest(20, tmp_path / "plain", 40), ORIGIN)
    make(sampler_of(), tmp_path / "own", count=20)
    plain, own = (read_json(tmp_path / n / "index.json", "") for n in ("plain", "own"))
    assert (plain["format"], own["format"]) == (1, 2)
    assert "own" not in plain["lenses"]
    assert set(own["units"]) == {*plain["units"], "frame", "focal"}
    assert open_generated(tmp_path / "own").credit == "generated from walks and others; sticks"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("focal"), "a shard lacks focal"),
        (lambda t: t["focal"].mul_(-1), "impossible values"),
        (lambda t: t["lens"].add_(9), "impossible values"),
    ],
)
def test_damaged_lenses_are_noticed(tmp_path, damage, message):
    index = make(sampler_of(), tmp_path / "a", count=20)
    path = tmp_path / "a" / index.shards[0][0]
    tensors = read_shard(path)
    damage(tensors)
    write_shard(path, tensors)
    with pytest.raises(CheckpointError, match=message):
        read_generated(tmp_path / "a")


# ---- What is refused


def test_impossible_samplers_and_requests(tmp_path, monkeypatch):
    bank = build_labelled_bank(walks(2), CPU)
    with pytest.raises(DataError, match="there is no target"):
        RoundSampler(bank, None, window_lifter(), config_of(), 0)
    shares = SharesConfig(source=0.5, wide=0.5)
    RoundSampler(bank, None, window_lifter(), config_of(shares=shares), 0).block(0)
    with pytest.raises(ConfigError, match="expected motion, got 'recipe'"):
        make(sampler_of(), tmp_path / "a", content="recipe")
    for method in ("continue", "bn", "selftrain"):
        with pytest.raises(
            ConfigError, match="expected a share of wide, transfer or replay, got s"
        ):
            made_shares(METHODS[method].shares)
    monkeypatch.setattr("adaptpose.generate._PATIENCE", 2)
    hidden = ReplayConfig(view_limit=1e-6)
    sampler = sampler_of(shares=SharesConfig(0.5, replay=0.5), replay=hidden)
    with pytest.raises(DataError, match=r"gave up.*'unusable': 64.*fix: a run whose people"):
        make(sampler, tmp_path / "a")


# ---- The command


TINY = ("--channels", "16", "--widths", "3,3", "--pretrain-epochs", "1", "--pretrain-windows",
        "256", "--set", "pretrain.batch_size=128", "--epochs", "2", "--set",
        "rounds.steps_per_epoch=3", "--set", "rounds.batch_size=64", "--set",
        "rounds.refine.steps=3", "--threads", "1")  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with the data, a tiny run of "full", and copies with others' settings."""
    folder = tmp_path_factory.mktemp("rounds")
    for name, rig, speed in (("source", STUDIO, 1.0), ("target", FIELD, 1.4)):
        clips = tuple(film([walking_motion(60, speed, take=name)], rig, seed=0))[:3]
        data = PoseData(name, H36M_17, clips, synthetic=True, licence=name, credit=f"{name} man")
        write_dataset(data, folder / f"{name}.npz")
    data = ("--source", folder / "source.npz", "--target", folder / "target.npz")
    out = ("--out", folder / "full", "--json")
    result = adapt("fit", *data, *TINY, *out)
    assert result.exit_code == 0, result.output
    for method in ("augment", "continue"):
        shutil.copytree(folder / "full", folder / method)
        run = read_json(folder / method / "run.json", "")
        run["config"] |= {"method": method, "rounds": config_to_dict(METHODS[method])}
        write_json(folder / method / "run.json", run)
    return folder


def without_target(runs: Path, folder: Path, method: str) -> Path:
    """A copy of a run whose target is gone."""
    shutil.copytree(runs / method, folder / method)
    shutil.copy(runs / "source.npz", folder)
    path = folder / method / "run.json"
    path.write_text(path.read_text().replace(f"{runs}/", f"{folder}/"))
    return folder / method


def test_from_a_run_by_the_default_method_to_a_lifter_and_its_scores(runs, tmp_path):
    common = ("generate", "--run", runs / "full", "--n", "1.5e2", "--shard-size", "60")
    result = adapt(*common, "--out", tmp_path / "a", "--json", "--no-hardness")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["windows"], said["content"]) == (150, "motion")
    assert set(said["shares"]) == {"kept", "unusable"}
    assert "drawn as transfer 12%, replay 88%; left out: source" in result.stderr
    assert "--no-hardness changes nothing" in result.stderr
    index = read_index(tmp_path / "a")
    assert index.origin["name"] == "source and target"
    assert index.origin["licence"] == "source"
    table = adapt(*common, "--out", tmp_path / "b", "--seed", "3", "--dtype", "fp32")
    assert "SYNTHETIC, generated from source and target" in table.stdout
    assert "drawn, unusable" in table.stdout
    out = tmp_path / "run"
    trained = adapt("pretrain", "--source", tmp_path / "a", "--widths", "3,3", "--channels", "16",
                    "--windows", "128", "--set", "pretrain.batch_size=32", "--epochs", "1",
                    "--threads", "1", "--out", out, "--json")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["last_record"]["loss_mm"] > 0
    scores = ("--metric", "mpjpe", "--max-clips", "30", "--json")
    scored = adapt("eval", "--run", out, "--dataset", tmp_path / "a", *scores)
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["evaluations"][0]["num_clips"] == 30


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--recipe", "--recipe: windows of a run of --method full are motion before new cameras"),
        ("--hardness", "are not selected by hardness (fix: leave --hardness out)"),
        ("--no-screen", "within the view limits of its settings (fix: leave --no-screen out)"),
    ],
)
def test_flags_of_a_generator_are_refused(runs, tmp_path, flag, message):
    said = fails("generate", "--run", runs / "full", "--n", "9", "--out", tmp_path / "a", flag)
    assert message in said
    assert not (tmp_path / "a").exists()


def test_runs_that_film_nobody_anew_are_refused(runs, tmp_path):
    said = fails("generate", "--run", runs / "continue", "--n", "9", "--out", tmp_path / "a")
    assert "films nobody anew: rounds.shares: expected a share of wide" in said
    assert "(fix: a run of --method full, replay, viewpoint or augment)" in said


def test_the_target_must_be_there_only_if_windows_are_made_with_it(runs, tmp_path):
    common = ("--n", "9", "--out", tmp_path / "a", "--run")
    said = fails("generate", *common, without_target(runs, tmp_path, "full"))
    assert "are made with the 2D of its target, which cannot be read" in said
    assert f"{tmp_path}/target.npz" in said
    result = adapt("generate", *common, without_target(runs, tmp_path, "augment"))
    assert result.exit_code == 0, result.output
    assert read_index(tmp_path / "a").origin["name"] == "source"


def test_shares_are_those_that_the_run_had_for_so_small_a_target(runs, tmp_path):
    shutil.copytree(runs / "full", tmp_path / "few")
    run = read_json(tmp_path / "few" / "run.json", "")
    run["config"]["rounds"]["most_draws"] = 1e-3
    write_json(tmp_path / "few" / "run.json", run)
    common = ("--n", "100", "--out", tmp_path / "a", "--run", tmp_path / "few")
    result = adapt("generate", *common)
    assert result.exit_code == 0, result.output
    assert "windows are drawn as wide 88%, transfer 12%; left out: source" in result.stderr
    assert int(joined(tmp_path / "a")["frame"].min()) >= 0


@pytest.mark.parametrize("method", ["full", "augment", "continue"])
def test_reports_show_what_such_a_run_makes(runs, tmp_path, monkeypatch, method):
    kept: list[Any] = []
    monkeypatch.setattr("adaptpose.report.write_report", lambda path, content: kept.append(content))
    result = adapt("report", "--run", runs / method, "--examples", "1", "--threads", "1")
    assert result.exit_code == 0, result.output
    (content,) = kept
    notes = " ".join(content.notes)
    assert "selection keeps" not in notes
    assert content.without == ("gallery", "selection")
    made = {"source", "target", "generated"}
    if method == "continue":
        assert "Nothing is generated" in notes
        made.remove("generated")
    else:
        shown = {"full": "transfer 12%, replay 88%", "augment": "wide 100%"}[method]
        assert f"such as batches were made of: {shown}." in notes
        assert len(content.keypoints["generated"]) == len(content.cameras["generated"]["depth_m"])
    assert ("lifted by the adapted lifter" in notes.split("batches")[-1]) == (method == "full")
    assert set(content.keypoints) == made
