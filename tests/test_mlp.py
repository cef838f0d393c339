"""The single-frame lifter: a loop-written reference and the contract."""

import pytest
import torch

from adaptpose.config import LifterConfig
from adaptpose.errors import SkeletonError
from adaptpose.lifter import save_lifter
from adaptpose.lifters import build_lifter, load_lifter
from adaptpose.skeleton import H36M_16, H36M_17


def _lifter(free=False, skeleton=H36M_16):
    config = LifterConfig(name="mlp", channels=10, predict_root=free)
    generator = torch.Generator().manual_seed(2)
    lifter = build_lifter(config, skeleton, skeleton, generator)
    for key, value in lifter.state_dict().items():
        if "_bn" in key and value.ndim:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return lifter.double().eval()


def _pose2d(batch, frames, joints=16):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, frames, joints, 2, generator=generator, dtype=torch.float64)


def _reference(lifter, frame):
    weights = lifter.state_dict()

    def layer(x, name, norm):
        x = weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]
        x = (x - weights[f"{norm}.running_mean"]) / (weights[f"{norm}.running_var"] + 1e-5).sqrt()
        return (x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]).clamp(min=0)

    x = layer(frame.flatten(), "expand", "expand_bn")
    for first in (0, 2):
        y = layer(x, f"layers.{first}", f"layers_bn.{first}")
        x = x + layer(y, f"layers.{first + 1}", f"layers_bn.{first + 1}")
    joints = (weights["shrink.weight"] @ x + weights["shrink.bias"]).view(-1, 3)
    return joints if lifter.config.predict_root else torch.cat([torch.zeros(1, 3), joints])


@pytest.mark.parametrize("free", [False, True])
def test_against_the_loops(free):
    lifter, pose2d = _lifter(free), _pose2d(3, 4)
    expected = torch.stack(
        [torch.stack([_reference(lifter, frame) for frame in clip]) for clip in pose2d]
    )
    torch.testing.assert_close(lifter(pose2d), expected)
    torch.testing.assert_close(lifter.lift_window(pose2d[:, :1]), expected[:, 0])


def test_contract_of_one_frame():
    lifter = _lifter(skeleton=H36M_17)
    assert (lifter.receptive_field, lifter.frames_before, lifter.frames_after) == (1, 0, 0)
    assert (lifter(_pose2d(2, 3, 17))[:, :, H36M_17.root] == 0).all()
    with pytest.raises(SkeletonError, match="17 joints of 'h36m17', got 16"):
        lifter(_pose2d(2, 3))


def test_published_size():
    config = LifterConfig(name="mlp", predict_root=True)
    lifter = build_lifter(config, H36M_16, H36M_16, torch.Generator().manual_seed(0))
    wide, norm = 1024, 2 * 1024
    expected = (32 * wide + wide + norm) + 4 * (wide * wide + wide + norm) + (wide * 48 + 48)
    assert sum(p.numel() for p in lifter.parameters()) == expected


def test_training_draws_from_its_generator_and_file_round_trip(tmp_path):
    lifter, pose2d = _lifter().float().train(), _pose2d(6, 1).float()
    poses = []
    for _ in range(2):
        lifter.set_generator(torch.Generator().manual_seed(4))
        poses.append(lifter.lift_window(pose2d))
    assert torch.equal(*poses)
    assert not torch.equal(lifter.lift_window(pose2d), poses[0])
    save_lifter(tmp_path / "mlp.safetensors", lifter, {})
    loaded, meta = load_lifter(tmp_path / "mlp.safetensors")
    assert meta == {}
    assert torch.equal(loaded(pose2d), lifter.eval()(pose2d))
