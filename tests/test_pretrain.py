"""Pretraining: it learns, stops and goes on bit for bit, mirrors 2D with 3D, keeps to strides."""

from dataclasses import replace

import pytest
import torch

from adaptpose import camera as cam
from adaptpose.bones import mirror_pose
from adaptpose.clips import Clip3D, PoseData
from adaptpose.config import LifterConfig, PretrainConfig
from adaptpose.errors import CheckpointError, ConfigError, DataError
from adaptpose.lifters import build_lifter, build_trajectory_lifter, load_lifter
from adaptpose.pretrain import batch_norm_momentum, pretrain
from adaptpose.rundir import create_run, open_run
from adaptpose.skeleton import H36M_16, H36M_17
from adaptpose.supervised import draw_batch, pose_loss, training_bank, trajectory_loss

CPU = torch.device("cpu")
CONFIG = PretrainConfig(epochs=4, batch_size=16, learning_rate=3e-3, seed=5)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _clip(number: int, frames: int = 40) -> Clip3D:
    """Random bodies swaying 4 m before a pinhole camera."""
    generator = torch.Generator().manual_seed(number)
    body = torch.randn(1, 16, 3, generator=generator) * 0.3
    sway = torch.sin(torch.arange(frames)[:, None, None] * 0.3 + number) * 0.2
    pose = body * (1 + sway) + torch.tensor([0.3, -0.2, 4.0])
    lens = cam.pinhole(2.0)
    return Clip3D(
        subject="S1",
        action=f"sway{number}",
        camera="c",
        frame_rate_hz=50.0,
        image_size_px=(1000, 1000),
        pose2d=cam.project(pose, lens),
        confidence=torch.ones(frames, 16),
        valid=torch.ones(frames, dtype=torch.bool),
        pose3d_cam=pose,
        intrinsics=lens,
        T_cam_world=torch.eye(4),
    )


def _data(*numbers: int) -> PoseData:
    return PoseData("sway", H36M_16, tuple(_clip(n) for n in numbers))


def _lifter(seed: int = 0, **changes):
    config = LifterConfig(**{"widths": (3, 3), "channels": 16, **changes})
    return build_lifter(config, H36M_16, H36M_16, torch.Generator().manual_seed(seed))


def _trajectory():
    config = LifterConfig(widths=(3, 3), channels=16)
    return build_trajectory_lifter(config, H36M_16, torch.Generator().manual_seed(9))


def _run(path):
    return create_run(path, "pretrain", {}, {})


def _same_weights(one, two) -> bool:
    pairs = zip(one.state_dict().items(), two.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


class _Stop(Exception):
    pass


def _stop_after(windows: int):
    def hook(stage: str, done: int, total: int) -> None:
        if done >= windows:
            raise _Stop

    return hook


def test_it_learns_and_leaves_a_complete_run(tmp_path):
    run, lifter, seen = _run(tmp_path / "run"), _lifter(), []
    config = replace(CONFIG, epochs=6)
    pretrain(
        run, lifter, _data(1, 2), config, CPU, validation=_data(3),
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )  # fmt: skip
    records = run.records()
    assert [r["epoch"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["loss_mm"] < 0.7 * records[0]["loss_mm"]
    assert records[1]["lr"] == pytest.approx(3e-3 * 0.95)
    assert all(r["stage"] == "pretrain" and r["validation_mpjpe_mm"] > 0 for r in records)
    assert seen[0] == ("pretrain", 16, 480)
    assert seen[-1] == ("pretrain", 480, 480)
    assert run.done
    assert not (run.path / "state.safetensors").exists()
    loaded, meta = load_lifter(run.path / "lifter.safetensors")
    assert meta["normalisation"] == "screen"
    assert meta["strides"] == [2, 5]
    assert _same_weights(loaded, lifter)
    assert not lifter.training


@pytest.mark.parametrize("windows", [10, 80, 81, 96, 165, 250, 320])
def test_a_stopped_run_ends_as_one_that_never_stopped(tmp_path, windows):
    data, config = _data(1, 2), replace(CONFIG, trajectory=True)
    whole, beside = _lifter(), _trajectory()
    pretrain(_run(tmp_path / "whole"), whole, data, config, CPU, trajectory=beside)

    with pytest.raises(_Stop):
        pretrain(
            _run(tmp_path / "stopped"), _lifter(), data, config, CPU, trajectory=_trajectory(),
            progress=_stop_after(windows),
        )  # fmt: skip
    stopped = open_run(tmp_path / "stopped")
    assert not stopped.done
    # The state holds even the first weights: those given to a resumed run do not matter.
    resumed, path = _lifter(seed=1), _trajectory()
    pretrain(stopped, resumed, data, config, CPU, trajectory=path)
    assert _same_weights(resumed, whole)
    assert _same_weights(path, beside)
    logs = [open_run(tmp_path / name).records() for name in ("stopped", "whole")]
    for record in logs[0] + logs[1]:
        del record["windows_per_s"]
    assert logs[0] == logs[1]
    assert [record["epoch"] for record in logs[0]] == [1, 2, 3, 4]


def test_a_finished_run_only_loads_its_result(tmp_path):
    run, lifter, again = _run(tmp_path / "run"), _lifter(), _lifter(seed=1)
    pretrain(run, lifter, _data(1), replace(CONFIG, epochs=1), CPU)
    pretrain(run, again, _data(1), replace(CONFIG, epochs=1), CPU)
    assert _same_weights(again, lifter)
    assert len(run.records()) == 1


def test_seeds_decide_everything_and_the_global_generator_nothing(tmp_path):
    lifters = []
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)
        lifters.append(_lifter())
        config = replace(CONFIG, epochs=1, seed=seed)
        pretrain(_run(tmp_path / str(number)), lifters[-1], _data(1), config, CPU)
    assert _same_weights(lifters[0], lifters[1])
    assert not _same_weights(lifters[0], lifters[2])


def test_several_sources_train_as_one(tmp_path):
    together, apart = _lifter(), _lifter()
    other = replace(_data(2), clips=tuple(
        replace(c, intrinsics=replace(c.intrinsics, model="opencv")) for c in _data(2).clips
    ))  # fmt: skip
    config = replace(CONFIG, epochs=1)
    pretrain(_run(tmp_path / "a"), together, _data(1, 2), config, CPU)
    pretrain(_run(tmp_path / "b"), apart, [_data(1), other], config, CPU)
    assert _same_weights(together, apart)


def test_mirrored_windows_have_mirrored_targets():
    bank, lifter = training_bank([_data(1, 2)], "screen", CPU), _lifter()
    centre = bank.centres
    plain, mixed = (
        draw_batch(
            bank, centre, lifter, replace(CONFIG, mirror=mirror), torch.Generator().manual_seed(0)
        )
        for mirror in (False, True)
    )
    moved = mixed.root[:, 0, 0] != plain.root[:, 0, 0]
    flipped, kept = moved.nonzero()[:, 0], (~moved).nonzero()[:, 0]
    assert 25 < len(flipped) < 55
    for b in kept.tolist():
        assert torch.equal(mixed.pose2d[b], plain.pose2d[b])
        assert torch.equal(mixed.pose3d[b], plain.pose3d[b])
    for b in flipped.tolist():
        assert torch.equal(mixed.pose2d[b], mirror_pose(plain.pose2d[b], H36M_16))
        torch.testing.assert_close(
            mixed.pose3d[b], mirror_pose(plain.pose3d[b], H36M_16), atol=1e-6, rtol=0
        )
    # The middle frame of a window is still the picture of its 3D, mirrored or not.
    seen = cam.project(mixed.pose3d + mixed.root, cam.pinhole(2.0))
    torch.testing.assert_close(seen, mixed.pose2d[:, 4], atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_windows_keep_to_the_strides_and_end_where_the_lifter_looks(causal):
    clip = _clip(1, frames=200)
    count = torch.arange(200.0)[:, None, None].expand(200, 16, 2)
    data = PoseData("count", H36M_16, (replace(clip, pose2d=count / 1000),))
    bank, lifter = training_bank([data], "screen", CPU), _lifter(causal=causal)
    config = replace(CONFIG, mirror=False, strides=(2, 5))
    centre = torch.arange(60, 140)
    batch = draw_batch(bank, centre, lifter, config, torch.Generator().manual_seed(0))
    frames = (batch.pose2d[:, :, 0, 0] * 1000).round().long()
    steps = frames.diff(dim=1)
    assert (steps == steps[:, :1]).all()
    assert sorted(set(steps[:, 0].tolist())) == [2, 3, 4, 5]
    assert torch.equal(frames[:, 8 if causal else 4], centre)


def test_frames_without_2d_show_their_nearest_neighbour():
    clip = _clip(1)
    pose2d, valid = clip.pose2d.clone(), clip.valid.clone()
    pose2d[10:14], valid[10:14] = float("nan"), False
    data = PoseData("gaps", H36M_16, (replace(clip, pose2d=pose2d, valid=valid),))
    bank = training_bank([data], "root_frobenius", CPU)
    whole = training_bank([_data(1)], "root_frobenius", CPU)
    assert torch.equal(bank.pose2d[10:14], whole.pose2d[[9, 9, 14, 14]])
    assert bank.num_windows == 36
    torch.testing.assert_close(bank.pose2d.flatten(1).norm(dim=1), torch.ones(40))


def test_losses_against_loops_and_finite_gradients():
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 5, 16, 3, generator=generator, dtype=torch.float64)
    expected = sum(
        sum((one[b, j, k] - two[b, j, k]) ** 2 for k in range(3)) ** 0.5
        for b in range(5)
        for j in range(16)
    )
    torch.testing.assert_close(pose_loss(one, two), expected / 80)
    root = two[:, :1] + torch.tensor([0, 0, 6.0])
    expected = sum((one[b, 0] - root[b, 0]).norm() / root[b, 0, 2] for b in range(5)) / 5
    torch.testing.assert_close(trajectory_loss(one[:, :1], root), expected)
    exact = one.clone().requires_grad_()
    pose_loss(exact, one).backward()
    assert (exact.grad == 0).all()


def test_momentum_falls_as_published():
    config = replace(CONFIG, epochs=60)
    assert batch_norm_momentum(0, config) == pytest.approx(0.1)
    assert batch_norm_momentum(30, config) == pytest.approx(0.01)
    assert batch_norm_momentum(60, config) == pytest.approx(0.001)


def test_windows_per_epoch_and_a_single_left_over(tmp_path):
    run = _run(tmp_path / "run")
    seen = []
    config = replace(CONFIG, epochs=2, windows_per_epoch=33)
    pretrain(
        run, _lifter(), _data(1), config, CPU, progress=lambda _, done, total: seen.append(done)
    )
    assert seen == [16, 33, 49, 66]


def test_what_does_not_fit_fails_before_the_first_step(tmp_path):
    run, lifter, data = _run(tmp_path / "run"), _lifter(), _data(1)
    with pytest.raises(ConfigError, match="expected a trajectory lifter, got none"):
        pretrain(run, lifter, data, replace(CONFIG, trajectory=True), CPU)
    with pytest.raises(ConfigError, match="expected no trajectory lifter, got one"):
        pretrain(run, lifter, data, CONFIG, CPU, trajectory=_trajectory())
    with pytest.raises(ConfigError, match="does not show where"):
        pretrain(
            run, lifter, data, replace(CONFIG, trajectory=True), CPU, trajectory=_trajectory(),
            normalisation="root_frobenius",
        )  # fmt: skip
    with pytest.raises(ConfigError, match="joint 'hip' alone"):
        pretrain(run, lifter, data, replace(CONFIG, trajectory=True), CPU, trajectory=_lifter())
    with pytest.raises(ConfigError, match="expected 2D normalised as 'screen'"):
        pretrain(run, lifter, replace(data, normalisation="root_frobenius"), CONFIG, CPU)
    with pytest.raises(ConfigError, match="at least 2 windows"):
        pretrain(run, lifter, data, replace(CONFIG, batch_size=1), CPU)
    with pytest.raises(ConfigError, match=r"pretrain\.epochs"):
        pretrain(run, lifter, data, replace(CONFIG, epochs=0), CPU)
    with pytest.raises(CheckpointError, match="a lifter for 'h36m17'"):
        pretrain(run, lifter, replace(data, skeleton=H36M_17), CONFIG, CPU)
    behind = replace(data, clips=(replace(data.clips[0], pose3d_cam=-data.clips[0].pose3d_cam),))
    with pytest.raises(DataError, match="40 of 40 behind"):
        pretrain(
            run, lifter, behind, replace(CONFIG, trajectory=True), CPU, trajectory=_trajectory()
        )
    assert not run.done
    assert run.records() == []


def test_divergence_is_told(tmp_path):
    clip = _clip(1)
    wild = replace(_data(1), clips=(replace(clip, pose3d_cam=clip.pose3d_cam * float("inf")),))
    with pytest.raises(ConfigError, match="diverged in epoch 1"):
        pretrain(_run(tmp_path / "run"), _lifter(), wild, CONFIG, CPU)
