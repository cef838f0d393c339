"""Which way limbs bend, and what proportions are, on bodies whose joints are known."""

import math

import pytest
import torch
from posenet_data import bodies, generator, person

from adaptpose.datasets.registry import open_dataset
from adaptpose.datasets.spec import DatasetSpec
from adaptpose.posenet_anatomy import (
    HINGES,
    anatomy_loss,
    bends,
    proportion_loss,
    share_bent_wrong,
)
from adaptpose.posenet_config import ViewRange
from adaptpose.posenet_geometry import JOINTS, draw_views, joint_choice

MIRROR = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2])
def test_a_bend_is_the_sine_of_the_fold(angle):
    found = bends(person(knee_rad=angle, elbow_rad=2 * angle))
    wanted = [math.sin(angle if joint.endswith("knee") else 2 * angle) for joint in HINGES]
    assert torch.allclose(found, found.new_tensor(wanted).expand_as(found), atol=1e-3)
    assert HINGES == ("left_knee", "right_knee", "left_elbow", "right_elbow")


def test_bends_depend_neither_on_view_nor_size_but_on_mirrors():
    points = bodies(8, 9)
    views = ViewRange(elevation_rad=(-1.5, 1.5), roll_rad=3.0)
    turned = 3 * points @ draw_views(8, views, generator(1))[:, None].double().mT
    assert torch.allclose(bends(turned), bends(points), atol=1e-3)
    assert torch.allclose(bends(points * MIRROR), -bends(points))
    # The trunk may lean: nothing above the hips matters to the knees.
    leaning = points.clone()
    leaning[..., [JOINTS.index(j) for j in ("thorax", "head")], :] += 0.7
    assert torch.equal(bends(leaning), bends(points))


def test_only_limbs_bent_the_wrong_way_cost():
    points = torch.cat([bodies(3, 9, seed=seed) for seed in (0, 7)])
    costs = [sum(max(0.0, -bend) for bend in bends(body).flatten().tolist()) for body in points]
    assert float(anatomy_loss(points)) == pytest.approx(sum(costs) / len(costs))
    assert float(anatomy_loss(person(0.5, 0.5))) == 0
    assert float(anatomy_loss(person(-0.5, 0.0))) == pytest.approx(18 * math.sin(0.5), rel=1e-3)


def test_the_share_tells_people_from_mirror_images():
    points = person(knee_rad=0.6)
    assert float(share_bent_wrong(points)) == pytest.approx(0, abs=1e-3)
    assert float(share_bent_wrong(points * MIRROR)) == pytest.approx(1, abs=1e-3)
    assert float(share_bent_wrong(person())) == pytest.approx(0.5)


@pytest.mark.parametrize("points", [person(), torch.zeros(2, 9, 14, 3), person() * 1e-8])
@pytest.mark.parametrize("loss", [anatomy_loss, proportion_loss])
def test_gradients_are_finite_where_nothing_is_bent_or_has_length(points, loss):
    points = points.clone().requires_grad_()
    loss(points).backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_proportions_do_not_depend_on_size_and_view():
    one = bodies(1, 1).expand(8, 9, -1, -1)
    size = torch.linspace(0.5, 2, 8, dtype=torch.float64)[:, None, None, None]
    turned = size * one @ draw_views(8, ViewRange(), generator(2))[:, None].double().mT
    left, right = ([JOINTS.index(f"{side}_{part}") for part in PARTS] for side in ("left", "right"))
    turned = turned.clone()
    assert float(proportion_loss(turned)) > 1e-3
    even = one.clone()
    even[..., left, :] = even[..., right, :] * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    even[..., [JOINTS.index("thorax"), JOINTS.index("head")], 0] = 0
    turned = size * even @ draw_views(8, ViewRange(), generator(2))[:, None].double().mT
    assert float(proportion_loss(turned)) == pytest.approx(0, abs=1e-5)


PARTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def test_a_longer_shin_costs_what_it_should():
    points = person()
    points[1, :, JOINTS.index("left_ankle"), 1] += 0.2
    lengths = [[0.3, 0.25, 0.4, 0.4, math.hypot(0.1, 0.5), 0.2, 0.3] * 2 for _ in range(2)]
    lengths[1][3] += 0.2
    shares = [[bone * 14 / sum(body) for bone in body] for body in lengths]
    cost = 0.0
    for kind in range(7):
        same = [body[kind + 7 * side] for body in shares for side in (0, 1)]
        usual = sum(same) / 4
        cost += 9 * sum((share - usual) ** 2 for share in same) / 2
    assert float(proportion_loss(points)) == pytest.approx(cost, rel=1e-3)


@pytest.mark.slow
def test_people_of_another_source_bend_their_limbs_this_way():
    data = open_dataset(DatasetSpec("synthetic-studio", max_clips=8))
    points = torch.cat([clip.pose3d_cam[clip.valid] for clip in data.clips])
    windows = points[:, joint_choice(data.skeleton)][None]
    assert float(share_bent_wrong(windows)) < 0.02
    elbows = bends(windows)[..., 2:]
    assert float((elbows > 0).float().mean()) > 0.8
