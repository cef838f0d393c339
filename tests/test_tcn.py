"""The temporal lifter: a loop-written reference, one set of weights in two uses, files."""

import json

import pytest
import torch

from adaptpose.config import LifterConfig
from adaptpose.errors import CheckpointError, ConfigError, DataError, SkeletonError
from adaptpose.lifter import SeededDropout, check_lifter_skeleton, load_weights, save_lifter
from adaptpose.lifters import (
    build_lifter,
    build_trajectory_lifter,
    lifter_from_spec,
    load_lifter,
)
from adaptpose.skeleton import H36M_16, H36M_17, H36M_17_LEFT_FIRST
from adaptpose.store import write_tensors

WIDTHS = [(3, 3, 3), (3, 5), (5, 3, 1), (1, 1, 1), (1, 3), (7,)]


def _lifter(widths=(3, 3), causal=False, free=False, skeleton=H36M_16):
    """A small lifter in float64 whose batch norms do something."""
    config = LifterConfig(widths=widths, channels=12, causal=causal, predict_root=free)
    generator = torch.Generator().manual_seed(5)
    lifter = build_lifter(config, skeleton, skeleton, generator)
    for key, value in lifter.state_dict().items():
        if "_bn" in key and value.ndim:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return lifter.double().eval()


def _pose2d(batch, frames, joints=16):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, frames, joints, 2, generator=generator, dtype=torch.float64)


def _reference(lifter, frames: torch.Tensor) -> torch.Tensor:
    """VideoPose3D's dilated network, frame by frame and tap by tap, over one clip (T, J, 2)."""
    weights = lifter.state_dict()

    def layer(x, name, norm, width, dilation):
        outputs = []
        for t in range(len(x) - (width - 1) * dilation):
            total = 0
            for k in range(width):
                size = x[0].numel()
                tap = weights[f"{name}.weight"][:, k * size : (k + 1) * size]
                total = total + tap @ x[t + k * dilation].flatten()
            mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
            total = (total - mean) / (var + 1e-5).sqrt()
            total = total * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
            outputs.append(total.clamp(min=0))
        return outputs

    widths = lifter.config.widths
    x = layer(list(frames), "expand_conv", "expand_bn", widths[0], 1)
    dilation = widths[0]
    for block, width in enumerate(widths[1:]):
        first, second = 2 * block, 2 * block + 1
        y = layer(x, f"layers_conv.{first}", f"layers_bn.{first}", width, dilation)
        y = layer(y, f"layers_conv.{second}", f"layers_bn.{second}", 1, 1)
        middle = (width - 1 if lifter.config.causal else width // 2) * dilation
        x = [y[t] + x[t + middle] for t in range(len(y))]
        dilation *= width
    poses = []
    for numbers in x:
        joints = (weights["shrink.weight"] @ numbers + weights["shrink.bias"]).view(-1, 3)
        if not lifter.config.predict_root:
            root = lifter.skeleton_out.root
            joints = torch.cat([joints[:root], torch.zeros(1, 3).double(), joints[root:]])
        poses.append(joints)
    return torch.stack(poses)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("free", [False, True])
def test_forward_and_windows_against_the_loops(widths, causal, free):
    lifter = _lifter(widths, causal, free)
    pose2d = _pose2d(2, lifter.receptive_field + 4)
    expected = torch.stack([_reference(lifter, clip) for clip in pose2d])
    torch.testing.assert_close(lifter(pose2d), expected)
    with torch.no_grad():
        torch.testing.assert_close(lifter(pose2d), expected)
    for t in range(5):
        window = pose2d[:, t : t + lifter.receptive_field]
        torch.testing.assert_close(lifter.lift_window(window), expected[:, t])
        with torch.no_grad():
            torch.testing.assert_close(lifter(window)[:, 0], expected[:, t])


def test_float32_paths_agree_to_float_precision():
    config = LifterConfig(widths=(3, 3, 3), channels=64)
    lifter = build_lifter(config, H36M_16, H36M_16, torch.Generator().manual_seed(0)).eval()
    pose2d = _pose2d(3, 40).float()
    with torch.no_grad():
        dilated = lifter(pose2d)
        windows = torch.stack([lifter.lift_window(pose2d[:, t : t + 27]) for t in range(14)], 1)
    torch.testing.assert_close(dilated, windows, atol=1e-6, rtol=1e-5)


def test_blocks_do_not_change_poses(monkeypatch):
    lifter = _lifter((3, 3))
    pose2d = _pose2d(5, 40)
    whole = lifter(pose2d)
    for numbers in (12, 7 * 12, 70 * 12):
        monkeypatch.setattr("adaptpose.lifters.tcn._BLOCK_NUMBERS", numbers)
        for paired in (1, 10**9):
            monkeypatch.setattr("adaptpose.lifters.tcn._PAIRED_FRAMES", paired)
            with torch.no_grad():
                torch.testing.assert_close(lifter(pose2d), whole)


@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("frames", [1, 2, 7, 18, 50])
def test_filters_in_pairs_give_the_same(dilation, frames):
    layer = _lifter((3, 3)).layers_conv[0]
    generator = torch.Generator().manual_seed(frames)
    shape = (2, frames + 2 * dilation, 12)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        paired = layer.dilated_in_pairs(x, dilation, layer.pair_taps())
        torch.testing.assert_close(paired, layer.dilated(x, dilation))


def test_long_clips_agree_with_windows_to_float_precision():
    config = LifterConfig(widths=(3, 3, 3), channels=64)
    lifter = build_lifter(config, H36M_16, H36M_16, torch.Generator().manual_seed(0)).eval()
    pose2d = _pose2d(1, 26 + 400).float()
    with torch.no_grad():
        windows = pose2d[0].unfold(0, 27, 1).permute(0, 3, 1, 2)
        torch.testing.assert_close(
            lifter(pose2d)[0], lifter.lift_window(windows), atol=2e-6, rtol=1e-5
        )


@pytest.mark.parametrize("causal", [False, True])
def test_context_is_as_announced(causal):
    lifter = _lifter((3, 3), causal)
    pose2d = _pose2d(1, 31)
    changed = pose2d.clone()
    changed[:, 15] += 1
    moved = (lifter(changed) != lifter(pose2d)).flatten(2).any(-1)[0].nonzero()[:, 0]
    frame = moved + lifter.frames_before
    assert int(frame.min()) == 15 - lifter.frames_after
    assert int(frame.max()) == 15 + lifter.frames_before
    assert lifter.frames_after == (0 if causal else 4)
    assert lifter.frames_before + lifter.frames_after == lifter.receptive_field - 1


@pytest.mark.parametrize(
    ("widths", "skeleton", "free", "count"),
    [
        ((3, 3, 3), H36M_17, True, 8_555_571),
        ((3, 3, 3, 3), H36M_17, True, 12_753_971),
        ((3, 3, 3, 3, 3), H36M_17, True, 16_952_371),
        ((1, 1, 1, 1, 1), H36M_17, True, 8_494_131),
        ((3, 3, 3), H36M_16, False, 8_543_277),
    ],
)
def test_published_parameter_counts(widths, skeleton, free, count):
    config = LifterConfig(widths=widths, predict_root=free)
    spec = build_lifter(
        LifterConfig(widths=(1,), channels=1), skeleton, skeleton, torch.Generator()
    ).spec()
    lifter = lifter_from_spec({**spec, "config": vars(config)})
    assert sum(p.numel() for p in lifter.parameters()) == count


def test_root_is_zero_at_its_place_unless_predicted():
    pose2d = _pose2d(2, 12)
    poses = _lifter()(pose2d)
    assert (poses[..., H36M_16.root, :] == 0).all()
    assert (poses[..., 1:, :] != 0).all()
    assert (_lifter(free=True)(pose2d)[..., H36M_16.root, :] != 0).all()


def test_gradients_are_finite_and_reach_everything():
    lifter = _lifter().train()
    pose2d = torch.zeros(4, 9, 16, 2, dtype=torch.float64, requires_grad=True)
    lifter.lift_window(pose2d).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in lifter.parameters())
    critic = _lifter().eval()
    pose2d = _pose2d(2, 9).requires_grad_()
    critic.lift_window(pose2d).sum().backward()
    assert (pose2d.grad != 0).flatten(2).any(-1).all()


def test_weights_and_masks_come_from_the_generator_alone():
    state = torch.random.get_rng_state()
    one, two = (
        build_lifter(
            LifterConfig(widths=(3,), channels=16),
            H36M_16,
            H36M_16,
            torch.Generator().manual_seed(s),
        ).train()
        for s in (1, 1)
    )
    pose2d = _pose2d(4, 3).float()
    poses = []
    for lifter in (one, two):
        lifter.set_generator(torch.Generator().manual_seed(2))
        poses.append(lifter.lift_window(pose2d))
    assert torch.equal(*poses)
    assert not torch.equal(one.lift_window(pose2d), poses[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    bound = 1 / (3 * 32) ** 0.5
    weight = one.expand_conv.weight
    assert 0.95 * bound < float(weight.detach().abs().max()) <= bound
    assert abs(float(weight.detach().std()) - bound / 3**0.5) < 0.05 * bound


@pytest.mark.parametrize("p", [0.25, 0.1, 0.5])
def test_dropout_keeps_its_share_and_the_mean(p):
    dropout = SeededDropout(p).train()
    dropout.generator = torch.Generator().manual_seed(0)
    x = torch.ones(501, 401, requires_grad=True)
    y = dropout(x)
    kept = y != 0
    assert abs(float(kept.float().mean()) - (1 - p)) < 0.004
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)))
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    columns = kept.float().mean(0)
    assert float(columns.std()) == pytest.approx((p * (1 - p) / 501) ** 0.5, rel=0.2)
    assert dropout.eval()(x) is x


def test_file_round_trip_keeps_poses_and_metadata(tmp_path):
    lifter = _lifter((3, 5), causal=True, free=True).float()
    path = tmp_path / "lifter.safetensors"
    save_lifter(path, lifter, {"normalisation": "screen", "strides": [2, 5]})
    loaded, meta = load_lifter(path)
    assert meta == {"normalisation": "screen", "strides": [2, 5]}
    assert loaded.spec() == lifter.spec()
    pose2d = _pose2d(2, 20).float()
    assert torch.equal(loaded(pose2d), lifter(pose2d))
    again = lifter_from_spec(json.loads(json.dumps(lifter.spec())))
    load_weights(again, lifter.state_dict(), "memory")
    assert torch.equal(again.eval()(pose2d), lifter(pose2d))


def test_trajectory_lifter_gives_the_root_alone():
    generator = torch.Generator().manual_seed(0)
    config = LifterConfig(widths=(3,), channels=8, predict_root=False)
    lifter = build_trajectory_lifter(config, H36M_16, generator).eval()
    assert lifter(torch.randn(2, 5, 16, 2, generator=generator)).shape == (2, 3, 1, 3)
    assert lifter.skeleton_out.joints == ("hip",)
    assert lifter_from_spec(lifter.spec()).skeleton_out == lifter.skeleton_out


def test_weights_that_do_not_fit_are_all_named(tmp_path):
    lifter = _lifter((3,)).float()
    weights = dict(lifter.state_dict())
    del weights["shrink.bias"]
    weights["other"] = torch.zeros(1)
    weights["expand_bn.bias"] = torch.zeros(3)
    path = tmp_path / "lifter.safetensors"
    write_tensors(path, weights, {"lifter": lifter.spec()})
    with pytest.raises(CheckpointError, match=r"missing shrink\.bias, unexpected other") as caught:
        load_lifter(path)
    assert "expand_bn.bias of shape (3,) instead of (12,)" in str(caught.value)
    write_tensors(path, weights, {"lifter": {"config": {"name": "tcn"}}})
    with pytest.raises(CheckpointError, match="not a lifter of this version"):
        load_lifter(path)
    write_tensors(path, weights, None)
    with pytest.raises(CheckpointError, match="another kind of file"):
        load_lifter(path)


def test_bad_input_names_what_was_expected():
    lifter = _lifter((3, 3))
    with pytest.raises(SkeletonError, match="16 joints of 'h36m16', got 17 joints"):
        lifter(_pose2d(1, 9, 17))
    with pytest.raises(DataError, match="at least 9 frames"):
        lifter(_pose2d(1, 8))
    with pytest.raises(DataError, match="expected 9 frames, got 10 frames"):
        lifter.lift_window(_pose2d(1, 10))
    with pytest.raises(ConfigError, match="did you mean 'tcn'"):
        build_lifter(LifterConfig(name="tnc"), H36M_16, H36M_16, torch.Generator())
    with pytest.raises(ConfigError, match="odd positive"):
        build_lifter(LifterConfig(widths=(2,)), H36M_16, H36M_16, torch.Generator())
    with pytest.raises(CheckpointError, match="a lifter for 'h36m17-left-first'"):
        check_lifter_skeleton(_lifter(skeleton=H36M_17), H36M_17_LEFT_FIRST, "the source")
    check_lifter_skeleton(lifter, H36M_16, "the source")
