"""Where the generator starts from: exact windows, the loop on top of them, exact resumption."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from linear_lifter import wavy_data
from method_data import CPU, small_config, small_lifter, small_source, small_state
from pseudo_scenes import SAME, STILL, walks
from test_no_sync import NoWaiting, no_lists  # noqa: F401
from torch import Tensor

from adaptpose import rounds_makers, section
from adaptpose.augment_config import WideConfig
from adaptpose.camera import project
from adaptpose.config import FitConfig, SelectionConfig, override
from adaptpose.errors import ConfigError
from adaptpose.fit import fit
from adaptpose.lifters import load_lifter
from adaptpose.pseudo import lift_target
from adaptpose.pseudo_config import PseudoConfig, TransferConfig
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.shots import FilmedWindows
from adaptpose.starts import begin_from, mix_in_start, prepare_start
from adaptpose.steps import draw_source
from adaptpose.transfer import TransferMaker
from adaptpose.wide import WideMaker
from adaptpose.windows import LabelledBank, build_labelled_bank

KINDS = ("wide", "viewpoint")
ALIKE = WideConfig(length_sd=0.0, size_sd=0.0, exchange_share=0.0, turn_share=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _config(**changes: object) -> FitConfig:
    """A selection so wide that fine-tuning happens with an untrained lifter, too."""
    selection = SelectionConfig(hardness_band=(0.0, 1e6), screen=False, min_depth=1e-3)
    small = {"generator.hidden": 16, "discriminator.hidden_2d": 8, "discriminator.hidden_kcs": 8,
             "discriminator.hidden_3d": 8, "discriminator.pool_size": 64}  # fmt: skip
    return override(small_config(selection=selection, **changes), small)


def _run(path: Path, config: FitConfig, progress: Any = lambda *_: None) -> RunDirectory:
    run = create_run(path, "fit", {}, {}) if not path.exists() else open_run(path)
    source, target = small_source(), wavy_data((60, 50), ("Walking", "Sitting")).as_target()
    fit(run, small_lifter(), source, target, config, CPU, progress=progress)
    return run


def _weights(run: RunDirectory) -> dict[str, Tensor]:
    return load_lifter(run.path / "lifter.safetensors")[0].state_dict()


def _makers(same_bodies: bool) -> dict[str, tuple[WideMaker | TransferMaker, LabelledBank]]:
    """A maker of either kind of walks, with bodies changed or not."""
    bank = build_labelled_bank(walks(3, 5), CPU)
    target = walks(2, 8).as_target()
    pseudo = lift_target(small_lifter(), target, PseudoConfig(), stream(0, "lift"))
    transfer = TransferConfig(noise=STILL, bodies=SAME) if same_bodies else TransferConfig()
    window = (4, 3, (2, 4))
    return {
        "wide": (WideMaker(bank, *window, ALIKE if same_bodies else WideConfig()), bank),
        "viewpoint": (TransferMaker(bank, pseudo, *window, transfer), bank),
    }


def _projected(windows: Any) -> Tensor:
    """The poses of windows in the image, by the camera's own formula, window by window."""
    poses, lenses = windows.pose3d_cam, windows.intrinsics
    return torch.stack([project(pose, lenses.select(k)) for k, pose in enumerate(poses)])


# --- Windows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_whole_windows_are_exact_pairs_and_what_make_gives(kind):
    maker, bank = _makers(same_bodies=False)[kind]
    frame, windows = maker.windows(200, stream(1, "w"))
    assert windows.pose3d_cam.shape == (200, 8, 16, 3)
    assert torch.isin(frame, bank.centres).all()
    seen = windows.usable
    assert 0.5 < float(seen.float().mean()) <= 1
    torch.testing.assert_close(
        _projected(windows)[seen], windows.pose2d[seen], atol=1e-4, rtol=1e-4
    )
    pairs = maker.make(200, stream(1, "w"))
    assert torch.equal(pairs.pose2d, windows.pose2d)
    assert torch.equal(pairs.weight > 0, seen)
    absolute = pairs.pose3d + windows.pose3d_cam[:, 4, :1]
    torch.testing.assert_close(absolute, windows.pose3d_cam[:, 4], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_frame_numbers_name_the_poses_that_were_filmed(kind):
    maker, bank = _makers(same_bodies=True)[kind]
    frame, windows = maker.windows(60, stream(2, "w"))
    own, filmed = bank.pose3d_cam[frame], windows.pose3d_cam[:, 4]
    # Distances between joints do not change with the camera.
    seen = windows.usable
    torch.testing.assert_close(
        torch.cdist(filmed, filmed)[seen], torch.cdist(own, own)[seen], atol=2e-3, rtol=0
    )
    # And motions are one camera's: the root moves as far as in the source.
    whole = windows.pose3d_cam[:, :, 0]
    assert float((whole[:, 1:] - whole[:, :-1]).norm(dim=-1).max()) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_gets_such_windows_with_their_lenses(kind):
    config = _config(start=kind)
    state, data = small_state(config)
    prepare_start(state, data, small_source().as_target(), config)
    rng = stream(0, "begin")
    real = draw_source(state, data, config, 64, rng)
    windows, told = begin_from(state, real, rng)
    focal = windows.intrinsics.focal[:, 0]
    anew = focal != real.intrinsics.focal[:, 0]
    assert float(told["usable_start"]) == pytest.approx(float(anew.float().mean()))
    assert float(told["usable_start"]) > 0.3
    if kind == "augment":
        assert ((focal[anew] >= 1) & (focal[anew] <= 3)).all()
    else:  # the lens that the target's poses show
        assert ((focal[anew] >= 0.4) & (focal[anew] <= 24)).all()
    assert windows.intrinsics.distortion.abs().max() == 0
    assert torch.equal(windows.pose3d_cam[~anew], real.pose3d_cam[~anew])
    assert torch.equal(windows.frame[~anew], real.frame[~anew])
    assert torch.isfinite(windows.pose3d_cam).all()


class _Fake:
    """A maker whose odd windows cannot be used, and are not even numbers."""

    def windows(self, count: int, rng: torch.Generator) -> tuple[Tensor, FilmedWindows]:
        usable = torch.arange(count) % 2 == 0
        pose = torch.randn(count, 9, 16, 3, generator=rng) + torch.tensor([0.0, 0.0, 5.0])
        pose[~usable] = math.nan
        flat = pose[..., :2] / pose[..., 2:] * 2
        return torch.full((count,), 7), FilmedWindows(pose, flat, torch.full((count,), 2.0), usable)


def test_windows_that_cannot_be_used_are_real_ones():
    config = _config(start="wide")
    state, data = small_state(config)
    state.maker = _Fake()
    rng = stream(0, "begin")
    real = draw_source(state, data, config, 10, rng)
    windows, told = begin_from(state, real, rng)
    assert float(told["usable_start"]) == 0.5
    assert torch.equal(windows.pose3d_cam[1::2], real.pose3d_cam[1::2])
    assert torch.equal(windows.intrinsics.focal[1::2], real.intrinsics.focal[1::2])
    assert (windows.frame[::2] == 7).all()
    assert (windows.intrinsics.focal[::2] == 2).all()
    assert not torch.equal(windows.pose3d_cam[::2], real.pose3d_cam[::2])
    # Of the lifter's source windows half are such, and of these every second one is unusable.
    pose2d, truth = torch.rand(12, 9, 16, 2), torch.rand(12, 16, 3)
    seen, body = mix_in_start(state, config, pose2d, truth, rng)
    assert torch.isfinite(seen).all()
    changed = (seen != pose2d).flatten(1).all(dim=1)
    assert changed.tolist() == [True, False, True, False, True, False] + [False] * 6
    assert torch.equal((body != truth).flatten(1).any(dim=1), changed)
    assert (body[changed][:, 0] == 0).all()
    assert seen[:3:2].shape == (2, 9, 16, 2)
    none = override(config, {"start_share": 0})
    same, still = mix_in_start(state, none, pose2d, truth, rng)
    assert same is pose2d
    assert still is truth


def test_from_the_source_nothing_is_drawn_or_changed():
    config = _config()
    state, data = small_state(config)
    prepare_start(state, data, small_source().as_target(), config)
    assert state.maker is None
    assert state.teacher is None
    rng = stream(0, "begin")
    real = draw_source(state, data, config, 8, rng)
    before = rng.get_state()
    assert begin_from(state, real, rng) == (real, {})
    pose2d, truth = torch.rand(4, 9, 16, 2), torch.rand(4, 16, 3)
    assert mix_in_start(state, config, pose2d, truth, rng)[0] is pose2d
    assert torch.equal(before, rng.get_state())


@pytest.mark.parametrize("kind", KINDS)
def test_starting_waits_for_no_device(kind, no_lists):  # noqa: F811
    config = _config(start=kind)
    state, data = small_state(config)
    prepare_start(state, data, small_source().as_target(), config)
    pose2d, truth = torch.rand(16, 9, 16, 2), torch.rand(16, 16, 3)
    real = draw_source(state, data, config, 16, stream(0, "first"))
    begin_from(state, real, stream(0, "first"))  # tables are made at their first use
    with NoWaiting():
        begin_from(state, real, stream(0, "begin"))
        mix_in_start(state, config, pose2d, truth, stream(0, "mix"))


# --- The loop --------------------------------------------------------------------------------


class _Killed(Exception):
    pass


def _kill_at(moment: int) -> Any:
    calls = 0

    def kill(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise _Killed

    return kill


def _resumed(path: Path, config: FitConfig, moment: int) -> RunDirectory:
    """A run that was stopped at a moment, of some twenty, and went on."""
    with pytest.raises(_Killed):
        _run(path, config, _kill_at(moment))
    return _run(path, config)


def _same(one: RunDirectory, other: RunDirectory) -> bool:
    first, second = _weights(one), _weights(other)
    same = all(torch.equal(first[key], second[key]) for key in first)
    return same and one.records() == other.records()


@pytest.mark.parametrize(("kind", "mixing"), [("wide", "mixed"), ("viewpoint", "sequential")])
def test_a_short_run_is_another_one_and_the_same_for_its_seed(tmp_path, kind, mixing):
    config = _config(start=kind, mixing=mixing, epochs=2)
    first, second = _run(tmp_path / "a", config), _run(tmp_path / "b", config)
    plain = _run(tmp_path / "plain", override(config, {"start": "source"}))
    one, other = _weights(first), _weights(plain)
    assert all(torch.isfinite(weight).all() for weight in one.values())
    assert _same(first, second)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    records = first.records()
    assert all(0 < record["usable_start"] <= 1 for record in records)
    assert all("usable_start" not in record for record in plain.records())
    assert records[-1]["lifter_steps"] == 2


@pytest.mark.parametrize(("kind", "every", "moment"), [("wide", 4, 10), ("viewpoint", 1, 18)])
def test_stopped_and_resumed_is_never_stopped(tmp_path, kind, every, moment):
    config = _config(start=kind, start_epochs=every)
    assert _same(_run(tmp_path / "a", config), _resumed(tmp_path / "b", config, moment))


def test_the_lifter_of_the_moment_lifts_and_that_of_a_stopped_run_again(tmp_path, monkeypatch):
    lifted, saved = [], []

    def spy(lifter: Any, *arguments: Any) -> Any:
        lifted.append([weight.clone() for weight in lifter.parameters()])
        return lift_target(lifter, *arguments)

    def keep(run: RunDirectory, state: dict[str, Any]) -> None:
        if (state["epoch"], state["section"]) == (2, 0):
            saved.append([state["networks"]["lifter"][key].clone() for key in names])
        save(run, state)

    save, names = RunDirectory.save_state, [name for name, _ in small_lifter().named_parameters()]
    monkeypatch.setattr(rounds_makers, "lift_target", spy)
    monkeypatch.setattr(RunDirectory, "save_state", keep)
    config = _config(start="viewpoint", start_epochs=2)
    whole = _run(tmp_path / "whole", config)
    assert len(lifted) == 2
    began = list(small_lifter().parameters())
    assert all(torch.equal(a, b) for a, b in zip(lifted[0], began, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(lifted[1], saved[0], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(*lifted, strict=True))
    lifted.clear()
    assert _same(whole, _resumed(tmp_path / "killed", config, 9))  # in epoch 2, section 2
    assert [all(torch.equal(a, b) for a, b in zip(own, began, strict=True)) for own in lifted] == [
        True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_real_poses_stay_those_of_the_source(monkeypatch, kind):
    config = _config(start=kind)
    state, data = small_state(config)
    prepare_start(state, data, small_source().as_target(), config)
    shown: list[tuple[Any, Any]] = []

    def spy(*arguments: Any) -> dict[str, Tensor]:
        shown.append((arguments[3], arguments[4]))
        return discriminate(*arguments)

    discriminate = section.discriminator_step
    monkeypatch.setattr(section, "discriminator_step", spy)
    section.run_section(state, data, config, lambda *_: None)
    assert shown
    bank, middle = data.source, state.lifter.frames_before
    for outcome, real in shown:
        assert torch.equal(real.pose3d_cam[:, middle], bank.pose3d_cam[real.frame])
        made = outcome.generated.posed[:, middle]
        assert (torch.cdist(made.flatten(1), real.pose3d_cam[:, middle].flatten(1)) > 0.1).all()


# --- Settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "widee"}, "did you mean 'wide'"),
        ({"start_epochs": 0}, "fit.start_epochs: expected a number above 0, got 0"),
        ({"start_share": 1.5}, "fit.start_share: expected 0 to 1, got 1.5"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        _run(tmp_path / "run", override(_config(start="wide"), changes))


def test_a_state_saved_before_there_were_starts_is_read():
    config = _config()
    state, _ = small_state(config)
    saved = state.state_dict()
    del saved["teacher"]
    again, _ = small_state(replace(config, seed=1))
    again.load_state_dict(saved)
    assert again.teacher is None
