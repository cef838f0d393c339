"""Losses of PoseNet3D against loops, and what must not cost anything."""

import dataclasses
import math

import pytest
import torch

from adaptpose.posenet_config import LossWeights, ViewRange
from adaptpose.posenet_geometry import (
    JOINTS,
    draw_views,
    project_points,
    to_points,
    turn_about_root,
)
from adaptpose.posenet_losses import (
    adversarial_loss,
    bone_length_loss,
    consistency_loss,
    discriminator_loss,
    distillation_loss,
    joint_loss,
    overlapping_windows,
    pose_loss,
    reprojection_loss,
    self_supervision_loss,
    shape_loss,
    student_loss,
    teacher_loss,
)
from tests.posenet_data import bodies, generator

BONES = [
    *((f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in (
        ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))),
    *((joint, f"{s}_{end}") for s in ("left", "right") for joint, end in (
        ("thorax", "shoulder"), ("root", "hip"))),
    ("root", "thorax"), ("thorax", "head"),
]  # fmt: skip
"""The 14 bones, written out."""


def _squared(a, b):
    """Mean over the batch of the sum of squared differences, by loops."""
    sums = [
        sum((x - y) ** 2 for x, y in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True))
        for p, q in zip(a, b, strict=True)
    ]
    return sum(sums) / len(sums)


@pytest.mark.parametrize("loss", [self_supervision_loss, distillation_loss])
def test_squared_errors(loss):
    a, b = bodies(3, 9), bodies(3, 9, seed=5)
    assert float(loss(a, b)) == pytest.approx(_squared(a, b))
    assert float(loss(a, a)) == 0


def test_reprojection():
    a, b = (project_points(bodies(2, 9, seed)) for seed in (0, 4))
    assert float(reprojection_loss(a, b)) == pytest.approx(_squared(a, b))


def test_a_perfect_lifter_costs_nothing():
    points = bodies(5, 9)
    turned = turn_about_root(points, draw_views(5, ViewRange(), generator()).double())
    seen = project_points(turned)
    lifted = to_points(seen, turned[..., 2] - 10)
    assert float(self_supervision_loss(turned, lifted)) < 1e-20
    flat = to_points(seen, torch.zeros_like(seen[..., 0]))
    assert float(self_supervision_loss(turned, flat)) > 1


def test_consistency_by_loops():
    long = torch.randn(3, 6, 14, 2, generator=generator())
    both = overlapping_windows(long)
    assert both.shape == (6, 5, 14, 2)
    lifted = torch.randn(6, 5, 14, 3, generator=generator(1))
    total = 0.0
    for b in range(3):
        for j in range(4):
            assert torch.equal(both[b, j + 1], both[3 + b, j])
            total += float((lifted[b, j + 1] - lifted[3 + b, j]).square().sum())
    assert float(consistency_loss(lifted)) == pytest.approx(total / 3, rel=1e-5)


def test_lifting_frame_by_frame_is_consistent():
    both = overlapping_windows(project_points(bodies(2, 10)))
    lifted = to_points(both, both.sum(dim=-1))
    assert float(consistency_loss(lifted)) == 0


def test_bone_lengths_by_loops():
    points = bodies(2, 9)
    total = 0.0
    for window in points:
        for one, other in BONES:
            lengths = []
            for frame in window:
                at = {name: frame[k].tolist() for k, name in enumerate(JOINTS)}
                at["root"] = [
                    (a + b) / 2 for a, b in zip(at["left_hip"], at["right_hip"], strict=True)
                ]
                lengths.append(math.dist(at[one], at[other]))
            mean = sum(lengths) / 9
            total += 2 * sum((length - mean) ** 2 for length in lengths) / 9
    assert float(bone_length_loss(points)) == pytest.approx(total / 2)


def test_rigid_motion_keeps_bone_lengths():
    still = bodies(1, 1).expand(6, 1, 14, 3)
    moving = turn_about_root(still, draw_views(6, ViewRange(), generator()).double())
    moving = (moving + torch.arange(6)[:, None, None, None]).movedim(0, 1)
    assert float(bone_length_loss(moving)) < 1e-12
    assert float(bone_length_loss(moving * torch.linspace(1, 1.1, 6)[:, None, None])) > 1e-4


def test_bones_without_length_have_a_gradient():
    points = torch.zeros(1, 9, 14, 3, requires_grad=True)
    bone_length_loss(points).backward()
    assert points.grad.isfinite().all()


def test_adversarial_losses_by_loops():
    real, fake = torch.tensor([0.3, -2.0, 4.0]), torch.tensor([1.0, -0.5])

    def chance(x):
        return 1 / (1 + math.exp(-x))

    expected = -sum(math.log(chance(x)) for x in real.tolist()) / 3
    expected -= sum(math.log(1 - chance(x)) for x in fake.tolist()) / 2
    assert float(discriminator_loss(real, fake)) == pytest.approx(expected)
    printed = sum(math.log(1 - chance(x)) for x in fake.tolist()) / 2
    assert float(adversarial_loss(fake, "saturating")) == pytest.approx(printed)
    other = -sum(math.log(chance(x)) for x in fake.tolist()) / 2
    assert float(adversarial_loss(fake)) == pytest.approx(other)


def test_both_rules_pull_the_same_way_but_only_one_hard():
    slopes = {}
    for rule in ("saturating", "non-saturating"):
        fake = torch.tensor([-8.0, 0.0], requires_grad=True)
        adversarial_loss(fake, rule).backward()
        slopes[rule] = fake.grad
        assert (fake.grad < 0).all()
    assert slopes["saturating"][0].abs() < 1e-3 < slopes["non-saturating"][0].abs()
    torch.testing.assert_close(slopes["saturating"][1], slopes["non-saturating"][1])


def test_extreme_logits_stay_finite():
    sure = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = discriminator_loss(sure, sure) + adversarial_loss(sure, "saturating")
    loss.backward()
    assert loss.isfinite()
    assert sure.grad.isfinite().all()


def test_pose_and_shape():
    turns = draw_views(24, ViewRange(), generator()).view(2, 3, 4, 3, 3)
    each = [
        [[float((r - torch.eye(3)).square().sum()) for r in frame] for frame in window]
        for window in turns
    ]
    everything = sum(sum(sum(frame) for frame in window) for window in each) / 2
    assert float(pose_loss(turns)) == pytest.approx(everything, rel=1e-5)
    without = sum(sum(sum(frame) - frame[1] for frame in window) for window in each) / 2
    assert float(pose_loss(turns, root=1)) == pytest.approx(without, rel=1e-5)
    # A turn by an angle costs 4 - 4 cos(angle).
    cosines = (turns.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    assert float((4 - 4 * cosines).sum() / 2) == pytest.approx(everything, rel=1e-4)
    betas = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    assert float(shape_loss(betas)) == 7.0


def test_published_sums():
    weights, one = LossWeights(), [torch.tensor(10.0**k) for k in range(4)]
    assert float(teacher_loss(weights, *one)) == 2 + 10 + 200 + 1000
    assert float(student_loss(weights, *one[:3])) == 1 + 300 + 1000
    assert float(joint_loss(weights, *one[:3])) == 1 + 20 + 100
    zero = LossWeights(**{f.name: 0.0 for f in dataclasses.fields(LossWeights)})
    assert float(teacher_loss(zero, *one)) == 0


@pytest.mark.parametrize("loss", ["mss", "tc", "bones", "pose"])
def test_gradients(loss):
    points = bodies(2, 3).requires_grad_()
    other = bodies(2, 3, seed=7)
    turns = draw_views(6, ViewRange(), generator()).double().view(2, 3, 1, 3, 3)
    calls = {
        "mss": lambda x: self_supervision_loss(x, other),
        "tc": consistency_loss,
        "bones": bone_length_loss,
        "pose": lambda x: pose_loss(turns * x[:, :, :1, :, None]),
    }
    assert torch.autograd.gradcheck(calls[loss], (points,))
