"""Discriminators, losses, selection, pool: against slow references and at their edges."""

import math

import pytest
import torch
from method_data import source_windows

from adaptpose import losses
from adaptpose.bones import bone_lengths, pose_to_bones
from adaptpose.config import DiscriminatorConfig, SelectionConfig
from adaptpose.discriminator import (
    DomainDiscriminator,
    PoseDiscriminator,
    judged_frames,
    perturb_bones,
)
from adaptpose.planes import NEAREST, STEEPEST
from adaptpose.pool import SamplePool
from adaptpose.runtime import stream
from adaptpose.selection import REASONS, select
from adaptpose.skeleton import H36M_16


@pytest.mark.parametrize("kind", ["window", "single"])
@pytest.mark.parametrize("length", [1, 9])
def test_discriminators_judge_each_window_alone(kind, length):
    config = DiscriminatorConfig(frames=kind)
    frames = judged_frames(config, length, length // 2)
    _, source = source_windows(10, length)
    rng = stream(0, "d")
    domain = DomainDiscriminator(config, H36M_16, frames, rng)
    pose = PoseDiscriminator(config, H36M_16, frames, rng)
    pose2d = source.pose3d_cam[..., :2] / source.pose3d_cam[..., 2:]
    domain.set_statistics(pose2d)
    pose.set_statistics(source.pose3d_cam)
    for parameter in (*domain.parameters(), *pose.parameters()):
        parameter.requires_grad_(False)
    scores = domain(pose2d)
    assert scores.shape == (10,)
    torch.testing.assert_close(domain(pose2d[3:4])[0], scores[3], atol=1e-4, rtol=1e-4)
    scores = pose(source.pose3d_cam, source.pose3d_cam)
    assert scores.shape == (10, 6)
    one = pose(source.pose3d_cam[2:3], source.pose3d_cam[2:3])
    torch.testing.assert_close(one[0], scores[2], atol=1e-3, rtol=1e-3)


def test_pose_discriminator_does_not_see_camera_or_place():
    """KCS is invariant to rotation and translation."""
    config = DiscriminatorConfig()
    _, source = source_windows(6, 9)
    pose = PoseDiscriminator(config, H36M_16, judged_frames(config, 9, 4), stream(0, "d"))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=stream(1, "q")))[0]
    moved = source.pose3d_cam @ turn.mT + 3.0
    here, there = pose(source.pose3d_cam, source.pose3d_cam), pose(moved, moved)
    torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-3)


def test_domain_discriminator_sees_place_and_single_frame_only_the_middle():
    config = DiscriminatorConfig(frames="single")
    domain = DomainDiscriminator(config, H36M_16, judged_frames(config, 9, 4), stream(0, "d"))
    pose2d = torch.rand(4, 9, 16, 2, generator=stream(1, "p"))
    assert float((domain(pose2d + 0.2) - domain(pose2d)).abs().max().detach()) > 1e-4
    changed = pose2d.clone()
    changed[:, [0, 1, 2, 3, 5, 6, 7, 8]] += 1
    torch.testing.assert_close(domain(changed), domain(pose2d))


def test_perturbed_bones_keep_their_length_and_turn_by_less_than_the_bound():
    _, source = source_windows(50, 9)
    limit = math.radians(10)
    pose = perturb_bones(source.pose3d_cam, limit, H36M_16, stream(0, "p"))
    torch.testing.assert_close(
        bone_lengths(pose, H36M_16), bone_lengths(source.pose3d_cam, H36M_16), atol=1e-4, rtol=1e-4
    )
    old, new = pose_to_bones(source.pose3d_cam, H36M_16), pose_to_bones(pose, H36M_16)
    cos = (old * new).sum(-1) / (old.norm(dim=-1) * new.norm(dim=-1))
    angle = torch.acos(cos.double().clamp(-1, 1))
    assert float(angle.max()) < limit + 1e-3
    assert 0.02 < float(angle.mean()) < limit


def test_gan_losses_by_hand():
    real, fake = torch.tensor([1.0, 0.0]), torch.tensor([0.5, -0.5])
    assert float(losses.discriminator_loss(real, fake)) == pytest.approx(0.25 + 0.125)
    assert float(losses.adversarial_loss(fake)) == pytest.approx(0.5 * (0.25 + 2.25) / 2)


def test_bands_by_hand():
    turn = torch.tensor([0.0, 0.1, 0.5]).view(3, 1, 1).expand(3, 4, 15)
    want = (0.205**2 + 0 + 0.295**2) / 3
    assert float(losses.angle_loss(turn, (0.205, 0.165))) == pytest.approx(want, rel=1e-5)
    change = torch.tensor([[0.05, -0.2], [0.1, 0.0]])
    assert float(losses.length_loss(change, 0.1)) == pytest.approx(0.04 / 4)


def test_hardness_drives_ratios_back_into_the_band():
    """The published sign: outside the band a step down the gradient comes nearer to it."""
    ratio = torch.tensor([[0.5, 4.0, 9.0]], requires_grad=True)
    losses.hardness_loss(ratio, 4.0, 2.0, "outside").backward()
    assert ratio.grad is not None
    step = -ratio.grad[0]
    assert step[0] > 0
    assert step[1] == 0
    assert step[2] < 0
    printed = losses.hardness_loss(torch.tensor([[0.5, 4.5, 9.0]]), 4.0, 2.0, "inside")
    assert float(printed) == pytest.approx(0.25 / 3)


def test_group_errors_against_loops():
    rng = stream(0, "errors")
    prediction = torch.randn(5, 16, 3, generator=rng)
    truth = torch.randn(5, 16, 3, generator=rng)
    groups = [[1, 4, 10, 13], [2, 5, 9, 11, 14], [3, 6, 12, 15]]
    weight = [1, 5, 2, 1, 5, 2, 1, 1, 1, 1, 5, 2, 1, 5, 2, 1]
    got = losses.group_errors(prediction, truth, H36M_16)
    for b in range(5):
        for g, members in enumerate(groups):
            errors = [weight[j] * float((prediction - truth)[b, j].norm()) for j in members]
            assert float(got[b, g]) == pytest.approx(sum(errors) / len(members), rel=1e-4)
    still = truth.clone().requires_grad_()
    losses.group_errors(still, truth, H36M_16).sum().backward()
    assert still.grad is not None
    assert torch.isfinite(still.grad).all()


def test_reprojection_ignores_scale_and_place():
    rng = stream(0, "r")
    pose2d = torch.rand(4, 16, 2, generator=rng)
    lifted = torch.cat([pose2d * 3 + 1, torch.rand(4, 16, 1, generator=rng)], dim=-1)
    assert float(losses.reprojection_loss(lifted, pose2d, 0)) == pytest.approx(0, abs=1e-4)
    assert float(losses.reprojection_loss(lifted.flip(1), pose2d, 0)) > 0.1


def _windows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    pose = torch.zeros(count, 3, 16, 3)
    pose[..., 2] = 4
    return pose, torch.zeros(count, 3, 16, 2)


def test_selection_names_the_first_reason_once():
    pose, pose2d = _windows(7)
    pose[1, 2, 3, 2] = 0.2
    pose2d[2, 0, 5, 0] = 1.1
    pose2d[3, 0, 5, 1] = -1.1
    pose[4, 0, 0, 2], pose2d[4, 0, 5, 0] = -3.0, 9.0
    ratio = torch.full((7, 3), 10.0)
    ratio[5], ratio[6] = 0.9, 33.1
    chosen = select(pose, pose2d, ratio, SelectionConfig())
    assert chosen.keep.tolist() == [True, False, False, False, False, False, False]
    counts = dict(zip(REASONS, chosen.counts.tolist(), strict=True))
    assert counts == {"kept": 1, "too_close": 2, "off_screen": 2, "too_easy": 1, "too_hard": 1}


def test_selection_parts_can_be_left_out():
    pose, pose2d = _windows(2)
    pose2d[0] = 3
    ratio = torch.tensor([[10.0] * 3, [90.0] * 3])
    assert select(pose, pose2d, ratio, SelectionConfig(screen=False)).keep.tolist() == [True, False]
    assert select(pose, pose2d, None, SelectionConfig()).keep.tolist() == [False, True]
    pose[1, 0, 0, 0] = -9.0
    chosen = select(pose, pose2d, None, SelectionConfig(screen=False))
    assert chosen.counts.tolist() == [1, 0, 1, 0, 0]
    pose[1, 0, 0, 0] = 0.0
    free = SelectionConfig(hardness=False, screen=False)
    assert select(pose, pose2d, ratio, free).keep.tolist() == [True, True]


def test_selection_keeps_nothing_that_is_not_a_number():
    pose, pose2d = _windows(5)
    ratio = torch.full((5, 3), 10.0)
    pose[0, 1, 2, 2], pose[1, 0, 0, 0], pose2d[2, 0, 0, 1], ratio[3, 1] = (torch.nan,) * 4
    chosen = select(pose, pose2d, ratio, SelectionConfig())
    assert chosen.keep.tolist() == [False, False, False, False, True]
    assert chosen.counts.tolist() == [1, 1, 2, 0, 1]


def test_selection_keeps_nothing_that_projection_clamps():
    pose, pose2d = _windows(3)
    pose[0, 1, 2, 2] = NEAREST / 2
    pose[1, 2, 3, 1] = 4 * STEEPEST + 0.1
    chosen = select(pose, pose2d, None, SelectionConfig(min_depth=1e-3))
    assert chosen.counts.tolist() == [1, 1, 1, 0, 0]


def test_pool_fills_then_exchanges_without_losing_samples():
    pool, rng = SamplePool(8), stream(0, "pool")
    first = torch.arange(8.0)[:, None]
    assert torch.equal(pool.exchange(first, rng), first)
    second = torch.arange(8.0, 16.0)[:, None]
    shown = pool.exchange(second, rng)
    assert 0 < int((shown < 8).sum()) < 8
    assert pool.samples is not None
    together = torch.cat([shown, pool.samples]).flatten().sort().values
    torch.testing.assert_close(together, torch.arange(16.0))
    again = SamplePool(8)
    again.load_state_dict(pool.state_dict())
    batch = torch.arange(16.0, 24.0)[:, None]
    one, two = pool.exchange(batch, stream(1, "x")), again.exchange(batch, stream(1, "x"))
    assert torch.equal(one, two)
