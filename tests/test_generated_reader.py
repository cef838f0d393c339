"""Generated windows as a dataset: clips, banks, training on more windows than fit in memory."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generated_data import CPU, WINDOW, origin_of, small_sampler, walks_file, window_lifter

from adaptpose import camera, sampling
from adaptpose.clips import check_clip
from adaptpose.config import LifterConfig, PretrainConfig
from adaptpose.datasets import generated
from adaptpose.datasets.checks import check_reprojection
from adaptpose.datasets.generated import (
    generated_bank,
    is_generated,
    open_generated,
    read_generated,
)
from adaptpose.datasets.registry import DatasetSpec, open_dataset, open_target, open_windows
from adaptpose.errors import CheckpointError, ConfigError, DataError
from adaptpose.generate import GenerateRequest, generate
from adaptpose.lifters import build_lifter
from adaptpose.pretrain import pretrain
from adaptpose.rundir import create_run
from adaptpose.runtime import stream
from adaptpose.shards import read_index, read_shard
from adaptpose.skeleton import H36M_16
from adaptpose.store import read_json, write_json
from adaptpose.windows import build_labelled_bank


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    return walks_file(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, walks) -> dict[str, Path]:
    """The same 90 windows in several forms."""
    root, sampler = tmp_path_factory.mktemp("generated"), small_sampler(walks)
    forms = {
        "motion": GenerateRequest(90, root / "motion", 40),
        "exact": GenerateRequest(90, root / "exact", 25, half=False),
        "recipe": GenerateRequest(90, root / "recipe", 30, "recipe", "npz"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "MAX_BLOCK", 64)
        for request in forms.values():
            generate(sampler, request, origin_of(walks))
    return {name: request.folder for name, request in forms.items()}


@pytest.mark.parametrize(
    ("form", "tolerance"), [("motion", 2e-3), ("exact", 1e-5), ("recipe", 1e-5)]
)
def test_clips_are_whole_and_agree_with_themselves(folders, form, tolerance):
    data = read_generated(folders[form])
    assert (data.skeleton, len(data.clips), data.synthetic) == (H36M_16, 90, True)
    assert data.credit == "generated from walks; a stick"
    assert len({clip.name for clip in data.clips}) == 90
    for clip in data.clips:
        check_clip(clip, H36M_16, form)
        check_reprojection(clip, H36M_16, form)
        assert clip.num_frames == WINDOW
        assert clip.valid.nonzero().tolist() == [[WINDOW // 2]]
        again = camera.project(clip.pose3d_cam, clip.intrinsics)
        torch.testing.assert_close(again, clip.pose2d, rtol=0, atol=tolerance)


def test_frame_rates_are_the_sources_by_the_stride(folders, walks):
    bank = small_sampler(walks).source
    index = read_index(folders["exact"])
    shards = [read_shard(folders["exact"] / name) for name, _ in index.shards]
    frame, stride = (torch.cat([s[key] for s in shards]).long() for key in ("frame", "stride"))
    want = bank.clip_rate_hz[bank.clip_of_frame[frame]] / stride
    data = read_generated(folders["exact"])
    found = torch.tensor([clip.frame_rate_hz for clip in data.clips])
    torch.testing.assert_close(found, want)
    assert set(bank.clip_rate_hz.tolist()) == {25.0, 50.0}
    assert {round(rate, 2) for rate in found.tolist()} == {10.0, 12.5, 16.67, 25.0}
    focal = bank.intrinsics.focal[bank.clip_of_frame[frame]]
    assert torch.equal(torch.stack([clip.intrinsics.focal for clip in data.clips]), focal)


def test_recipes_read_as_the_motion(folders):
    motion, recipe = read_generated(folders["exact"]), read_generated(folders["recipe"])
    for one, two in zip(motion.clips, recipe.clips, strict=True):
        torch.testing.assert_close(one.pose2d, two.pose2d, rtol=0, atol=3e-5)
        torch.testing.assert_close(one.pose3d_cam, two.pose3d_cam, rtol=0, atol=3e-5)
        assert one.frame_rate_hz == two.frame_rate_hz


def test_the_source_of_recipes_must_be_there_and_unchanged(folders, walks, tmp_path):
    index = folders["recipe"] / "index.json"
    values = read_json(index, "")
    for name, message in ((str(tmp_path / "gone.npz"), "gone.npz"), ("synthetc-x", "unknown")):
        changed = {**values["origin"], "spec": {**values["origin"]["spec"], "name": name}}
        write_json(index, {**values, "origin": changed})
        with pytest.raises((DataError, ConfigError), match=message):
            read_generated(folders["recipe"])
    write_json(index, {**values, "origin": {**values["origin"], "spec": {"nam": 1}}})
    with pytest.raises(CheckpointError, match="is not described"):
        read_generated(folders["recipe"])
    probe = {**values["source_probe"], "frames": 5}
    write_json(index, {**values, "source_probe": probe})
    with pytest.raises(DataError, match="not the one that the recipes"):
        read_generated(folders["recipe"])
    write_json(index, values)


@pytest.mark.parametrize("form", ["motion", "recipe"])
def test_banks_hold_the_windows_of_the_clips(folders, form):
    data = read_generated(folders[form])
    whole = build_labelled_bank(data, CPU)
    part = generated_bank(folders[form], CPU, 20, 45)
    rows = slice(20 * WINDOW, 65 * WINDOW)
    torch.testing.assert_close(part.pose2d, whole.pose2d[rows], rtol=0, atol=0)
    torch.testing.assert_close(part.pose3d_cam, whole.pose3d_cam[rows], rtol=0, atol=0)
    torch.testing.assert_close(part.clip_rate_hz, whole.clip_rate_hz[20:65])
    torch.testing.assert_close(part.centres + rows.start, whole.centres[20:65])
    torch.testing.assert_close(part.intrinsics.focal, whole.intrinsics.focal[20:65])
    index = part.window_index(part.centres, WINDOW, 1)
    assert torch.equal(index, torch.arange(45 * WINDOW).reshape(45, WINDOW))


def test_banks_of_an_epoch_hold_every_window_once(folders, monkeypatch):
    monkeypatch.setattr(generated, "BANK_FRAMES", 20 * WINDOW)
    source, orders = open_generated(folders["motion"]), []
    whole = generated_bank(folders["motion"], CPU, 0, 90)
    every = whole.pose2d.reshape(90, -1)
    for epoch in range(3):
        banks = list(source.banks(epoch, CPU))
        assert sorted(bank.num_windows for bank in banks) == [10, 20, 20, 20, 20]
        found = torch.cat([bank.pose2d.reshape(-1, every.shape[1]) for bank in banks])
        assert torch.equal(found.unique(dim=0), every.unique(dim=0))
        orders.append(found)
    assert not torch.equal(orders[0], orders[1])
    again = torch.cat([b.pose2d.reshape(-1, every.shape[1]) for b in source.banks(0, CPU)])
    assert torch.equal(again, orders[0])


def test_the_registry_knows_folders(folders, tmp_path, monkeypatch):
    assert is_generated(folders["motion"])
    assert not is_generated(tmp_path)
    assert not is_generated("synthetic-studio")
    monkeypatch.chdir(folders["motion"].parent)
    for name in ("motion", "./recipe", str(folders["exact"])):
        spec = DatasetSpec(name, max_clips=7)
        assert len(open_dataset(spec).clips) == 7
        assert open_target(spec).clips[0].pose2d.shape == (WINDOW, 16, 2)
        assert open_windows(spec).num_windows == 7
    with pytest.raises(ConfigError, match="already filmed"):
        open_dataset(DatasetSpec("motion", rig="studio"))
    with pytest.raises(ConfigError, match="not added to generated windows"):
        open_windows(DatasetSpec("motion", noise="detector"))
    with pytest.raises(ConfigError, match="skeleton 'h36m17'"):
        open_windows(DatasetSpec("motion", skeleton="h36m17"))
    monkeypatch.setattr(generated, "MOST_CLIPS", 50)
    with pytest.raises(ConfigError, match=r"at most 50, got 90 windows \(fix: --max-clips 50"):
        open_dataset(DatasetSpec("motion"))


CONFIG = PretrainConfig(epochs=2, batch_size=16, mirror=False, strides=(2, 5))


def _trained(source, path: Path, **changes: object):
    config = replace(CONFIG, **changes)
    run, lifter = create_run(path, "pretrain", {}, {}), window_lifter()
    pretrain(run, lifter, source, config, CPU)
    return run, lifter


def test_training_bank_by_bank_learns_and_repeats(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "BANK_FRAMES", 40 * WINDOW)
    source = open_generated(folders["motion"])
    run, lifter = _trained(source, tmp_path / "a", epochs=8, learning_rate=3e-3)
    losses = [record["loss_mm"] for record in run.records()]
    assert losses[-1] < 0.7 * losses[0]
    _, again = _trained(source, tmp_path / "b", epochs=8, learning_rate=3e-3)
    pairs = zip(lifter.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("windows", [2, 50, 91, 200])
def test_any_number_of_windows_per_epoch(folders, tmp_path, monkeypatch, windows):
    monkeypatch.setattr(generated, "BANK_FRAMES", 40 * WINDOW)
    seen, run = [], create_run(tmp_path / "a", "pretrain", {}, {})
    config = replace(CONFIG, epochs=1, windows_per_epoch=windows)
    source = open_generated(folders["motion"])
    pretrain(
        run, window_lifter(), source, config, CPU, progress=lambda *state: seen.append(state[1:])
    )
    assert windows - 1 <= seen[-1][0] <= windows
    assert seen[-1][1] == windows


def test_lifters_that_do_not_fit_the_windows_are_refused(folders, tmp_path):
    config = LifterConfig(widths=(3, 3, 3), channels=16)
    wide = build_lifter(config, H36M_16, H36M_16, stream(0, "wide"))
    run = create_run(tmp_path / "a", "pretrain", {}, {})
    source = open_generated(folders["motion"])
    with pytest.raises(DataError, match="expected windows with 13 frames before and 13 after"):
        pretrain(run, wide, source, CONFIG, CPU)
    narrow = build_lifter(replace(config, widths=(3,)), H36M_16, H36M_16, stream(0, "narrow"))
    pretrain(run, narrow, source, replace(CONFIG, epochs=1), CPU)
    assert run.done
