"""The adaptation loop: learning, exact resumption, what enters it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_data import CPU, small_config, small_lifter, small_source, small_state

from adaptpose import critic, section, steps
from adaptpose.clips import PoseData, TargetData
from adaptpose.config import FitConfig, LossConfig, SelectionConfig, override
from adaptpose.errors import ConfigError, DataError, SkeletonError
from adaptpose.fit import fit
from adaptpose.lifter import Lifter
from adaptpose.lifters import load_lifter
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.selection import REASONS
from adaptpose.skeleton import H36M_17
from adaptpose.windows import build_labelled_bank


def _run(path: Path, config: FitConfig, progress=lambda *_: None, monitor=None) -> RunDirectory:
    run = create_run(path, "fit", {}, {}) if not path.exists() else open_run(path)
    source = small_source()
    fit(
        run, small_lifter(), source, source.as_target(), config, CPU,
        monitor=monitor, progress=progress,
    )  # fmt: skip
    return run


def _weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return load_lifter(run.path / "lifter.safetensors")[0].state_dict()


def _everything(**changes: object) -> FitConfig:
    """Selection so wide that fine-tuning happens with an untrained lifter, too."""
    selection = SelectionConfig(hardness_band=(0.0, 1e6), screen=False, min_depth=1e-3)
    return small_config(selection=selection, **changes)


class _Killed(Exception):
    pass


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("moment", [1, 3, 6, 9, 12])
@pytest.mark.parametrize("mixing", ["mixed", "sequential"])
def test_killed_at_any_moment_and_resumed_is_never_stopped(tmp_path, moment, mixing):
    config = _everything(mixing=mixing)
    whole = _run(tmp_path / "whole", config)
    calls = 0

    def kill(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise _Killed

    with pytest.raises(_Killed):
        _run(tmp_path / "killed", config, kill)
    resumed = _run(tmp_path / "killed", config)
    first, second = _weights(whole), _weights(resumed)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert whole.records() == resumed.records()
    assert resumed.done


def test_records_hold_what_a_report_needs(tmp_path):
    run = _run(tmp_path / "run", _everything(), monitor=lambda lifter: {"mpjpe_mm": 1.5})
    records = run.records()
    assert [(r["epoch"], r["section"]) for r in records] == [
        (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2),
    ]  # fmt: skip
    assert "lifter_generated" not in records[0]
    assert {"g_adversarial_2d", "d_domain", "d_pose", "lifter_generated", "lifter_source"} <= set(
        records[3]
    )
    assert records[3]["selection_kept"] == 64
    assert records[3]["monitor_mpjpe_mm"] == 1.5
    assert records[3]["lifter_steps"] == 2
    assert {p.name for p in run.path.iterdir()} >= {
        "run.json", "provenance.json", "metrics.jsonl", "lifter.safetensors",
        "generator.safetensors", "statistics.json",
    }  # fmt: skip
    assert not (run.path / "state.safetensors").exists()
    before = _weights(run)
    _run(tmp_path / "run", _everything())
    assert all(torch.equal(before[key], after) for key, after in _weights(run).items())
    assert len(run.records()) == 6


def test_warm_up_leaves_the_lifter_as_it_was(tmp_path):
    run = _run(tmp_path / "run", _everything(epochs=1, warmup_epochs=1))
    before, after = small_lifter().state_dict(), _weights(run)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_monitor_changes_nothing(tmp_path):
    config = _everything(checkpoint_rule="label_free")
    plain = _run(tmp_path / "a", config)
    watched = _run(tmp_path / "b", config, monitor=lambda lifter: {"mpjpe_mm": 0.0})
    one, two = _weights(plain), _weights(watched)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_target_has_no_3d():
    target = small_source().as_target()
    assert isinstance(target, TargetData)
    assert not isinstance(target, PoseData)
    for clip in target.clips:
        assert not hasattr(clip, "pose3d_cam")
        assert not hasattr(clip, "intrinsics")


def test_every_published_variant_runs(tmp_path):
    rows = [
        {"generator.bones": "none", "generator.lengths": "false"},
        {"generator.camera": "none"},
        {"discriminator.real_2d": "source", "selection.hardness": "false"},
        {"generator.bones": "bg1", "generator.rotation": "euler"},
        {"generator.bones": "bg2", "generator.rotation": "quaternion"},
        {"generator.camera": "deterministic", "critic_mode": "train"},
        {"discriminator.frames": "single", "discriminator.kcs_2d": "false"},
        {"loss.reprojection": "lifter", "lifter_loss": "mse", "precision": "bfloat16"},
        {"generator.translation": "metric", "generator.depth": "square"},
    ]
    for number, row in enumerate(rows):
        config = override(_everything(epochs=2), row)
        run = _run(tmp_path / str(number), config)
        assert all(torch.isfinite(w).all() for w in _weights(run).values()), row


def test_adversarial_training_moves_generated_2d_towards_the_target():
    """A target of half the size in the image: people must be generated farther away."""
    config = small_config(
        loss=LossConfig(feedback_fraction=0.0),
        learning_rate_generator=1e-3,
        learning_rate_discriminator=1e-3,
    )
    state, data = small_state(config)
    far = replace(data.target, pose2d=data.target.pose2d / 2)
    data = replace(data, target=far)
    depths = []
    for step in range(80):
        rng = stream(0, "steps", step)
        source = steps.draw_source(state, data, config, 64, rng)
        outcome = steps.generator_step(state, data, config, source, rng)
        steps.discriminator_step(state, data, config, outcome, source, rng)
        depths.append(float(outcome.generated.translation[:, 2].mean()))
    assert depths[-1] > depths[0] + 0.5


def test_feedback_reaches_the_generator_but_no_other_network():
    config = small_config(warmup_epochs=0)
    state, data = small_state(config)
    state.source_errors = critic.source_error_table(state.lifter, data.source, 3, "screen")
    rng = stream(0, "step")
    before = {k: v.clone() for k, v in state.lifter.state_dict().items()}
    source = steps.draw_source(state, data, config, 32, rng)
    outcome = steps.generator_step(state, data, config, source, rng)
    assert "g_hard_bones" in outcome.losses
    assert all(p.grad is None for p in state.lifter.parameters())
    assert all(p.grad is None for p in state.domain.parameters())
    assert all(p.requires_grad for p in state.lifter.parameters())
    after = state.lifter.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    chosen = steps.judge(state, data, config, outcome, source.frame)
    assert int(chosen.counts.sum()) == 32


def test_windows_off_screen_are_left_out_only_where_2d_shows_a_place():
    config = small_config(warmup_epochs=0)
    kept = {}
    for seen in ("screen", "root_frobenius"):
        state, data = small_state(config)
        data = replace(data, normalisation=seen)
        state.source_errors = critic.source_error_table(state.lifter, data.source, 3, seen)
        rng = stream(0, "step")
        source = steps.draw_source(state, data, config, 32, rng)
        outcome = steps.generator_step(state, data, config, source, rng)
        beside = outcome.generated.pose2d + 2.5
        aside = replace(outcome, generated=replace(outcome.generated, pose2d=beside))
        kept[seen] = [
            steps.judge(state, data, config, one, source.frame).counts.tolist()
            for one in (outcome, aside)
        ]
    off = REASONS.index("off_screen")
    assert kept["screen"][1][off] > kept["screen"][0][off]
    assert kept["root_frobenius"][1] == kept["root_frobenius"][0]


def test_kept_windows_are_repeated_until_there_is_an_update_per_batch():
    kept, config = torch.arange(3, 40, 5), small_config()
    once = section._order(kept, 32, config, stream(0, "order"))
    assert sorted(once.tolist()) == kept.tolist()
    again = section._order(kept, 32, replace(config, repeat_kept=True), stream(0, "order"))
    assert torch.equal(again[: len(kept)], once)
    assert len(again) == 32 * config.steps_per_section
    shown = torch.bincount(again, minlength=40)[kept]
    assert int(shown.max() - shown.min()) <= 1
    none = section._order(kept[:0], 32, replace(config, repeat_kept=True), stream(0, "order"))
    assert none.tolist() == []


def test_a_selective_run_can_make_as_many_updates_as_planned(tmp_path):
    config = small_config(epochs=2, warmup_epochs=1)
    made = {}
    for repeated in (False, True):
        run = create_run(tmp_path / str(repeated), "fit", {}, {})
        settings = replace(config, repeat_kept=repeated)
        target = small_source().as_target()
        fit(run, small_lifter(), small_source(), target, settings, CPU)
        made[repeated] = sum(record["lifter_steps"] for record in run.records())
    planned = config.sections * config.steps_per_section
    assert 0 < made[False] < made[True] == planned


def test_source_errors_equal_window_by_window_lifting():
    config = small_config()
    state, data = small_state(config)
    table = critic.lift_all_frames(state.lifter, data.source, 2, "screen")
    bank, lifter = data.source, state.lifter
    # Frames whose window does not touch the clip's ends: there padding differs by a phase.
    frame = torch.tensor([20, 40, 90, 130])
    index = bank.window_index(frame, lifter.receptive_field, 2, lifter.frames_before)
    with torch.no_grad():
        want = lifter.lift_window(bank.pose2d[index])
    torch.testing.assert_close(table[frame], want, atol=1e-5, rtol=0)
    every = critic.lift_all_frames(lifter, bank, 1, "screen")
    frames = torch.arange(bank.pose2d.shape[0])
    index = bank.window_index(frames, lifter.receptive_field, 1, lifter.frames_before)
    with torch.no_grad():
        want = lifter.lift_window(bank.pose2d[index])
    torch.testing.assert_close(every, want, atol=1e-5, rtol=0)


def test_source_errors_take_the_stride_of_each_clips_frame_rate():
    source = small_source()
    rates = (50.0, 100.0, 25.0)
    clips = tuple(
        replace(clip, frame_rate_hz=rate) for clip, rate in zip(source.clips, rates, strict=True)
    )
    bank, lifter = build_labelled_bank(replace(source, clips=clips), CPU), small_lifter()
    table = critic.lift_all_frames(lifter, bank, 2, "screen")
    for clip, step in enumerate((2, 4, 1)):
        frame = (bank.clip_start[clip : clip + 1] + bank.clip_end[clip : clip + 1]) // 2
        index = bank.window_index(frame, lifter.receptive_field, step, lifter.frames_before)
        with torch.no_grad():
            want = lifter.lift_window(bank.pose2d[index])
        torch.testing.assert_close(table[frame], want, atol=1e-5, rtol=0)


def test_source_frames_without_a_pose_hold_that_of_their_clips_nearest():
    source = small_source()
    poses = [clip.pose3d_cam.clone() for clip in source.clips]
    poses[0][66:] = torch.nan
    poses[1][:3], poses[1][20] = 0, torch.nan
    clips = tuple(
        replace(clip, pose3d_cam=pose) for clip, pose in zip(source.clips, poses, strict=True)
    )
    held = build_labelled_bank(replace(source, clips=clips), CPU).pose3d_cam.split((70, 40, 55))
    want = [clip.pose3d_cam.clone() for clip in source.clips]
    want[0][66:], want[1][:3], want[1][20] = want[0][65], want[1][3], want[1][19]
    for ours, theirs in zip(held, want, strict=True):
        assert torch.equal(ours, theirs)


def test_reprojection_on_the_lifter_works_with_passes_one_after_the_other(tmp_path):
    config = _everything(epochs=2, mixing="sequential", loss=LossConfig(reprojection="lifter"))
    run = _run(tmp_path / "run", config)
    assert any(record.get("lifter_reproject", 0) > 0 for record in run.records())


@pytest.mark.parametrize("call", [8, 9])  # after the lifter's last step, and before feedback
def test_a_run_that_breaks_keeps_the_state_before(tmp_path, call):
    config = _everything()
    run = create_run(tmp_path / "run", "fit", {}, {})
    calls, source, lifter = 0, small_source(), small_lifter()

    def spoil(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            with torch.no_grad():
                next(lifter.parameters()).fill_(torch.nan)

    with pytest.raises(DataError, match=r"epoch 2, .*: expected finite losses.*lifter"):
        fit(run, lifter, source, source.as_target(), config, CPU, progress=spoil)
    saved = run.load_state()
    assert saved is not None
    assert all(torch.isfinite(w).all() for w in saved["networks"]["lifter"].values())


def test_impossible_requests_fail_before_work(tmp_path):
    source = small_source()
    run = create_run(tmp_path / "r", "fit", {}, {})
    with pytest.raises(ConfigError, match=r"fit\.samples_per_epoch: expected at least"):
        fit(run, small_lifter(), source, source.as_target(), small_config(samples_per_epoch=5), CPU)
    other: Lifter = small_lifter()
    other.skeleton_out = H36M_17
    with pytest.raises(SkeletonError, match="lifter's output: expected skeleton 'h36m16'"):
        fit(run, other, source, source.as_target(), small_config(), CPU)
    with pytest.raises(ConfigError, match=r"did you mean 'generator\.bones'"):
        override(FitConfig(), {"generator.bone": "bg1"})
    with pytest.raises(ConfigError, match="did you mean 'bg3'"):
        override(FitConfig(), {"generator.bones": "bg33"})
    assert not (run.path / "state.safetensors").exists()
