"""Geometry of PoseNet3D: joints by name, normalised windows, points from depths, random views."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from adaptpose.config_values import config_from_dict, config_to_dict
from adaptpose.errors import SkeletonError
from adaptpose.posenet_config import DensityConfig, LossWeights, PoseNetConfig, ViewRange
from adaptpose.posenet_geometry import (
    JOINTS,
    POSENET_15,
    draw_views,
    fill_matrix,
    joint_choice,
    normalise_windows,
    place_at_depth,
    project_points,
    root_of,
    to_points,
    trunk_length,
    turn_about_root,
    view_rotations,
    window_scale,
    with_root,
)
from adaptpose.skeleton import H36M_16, H36M_17, H36M_17_LEFT_FIRST, SMPL_24
from tests.posenet_data import bodies, generator, windows

HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
HEAD = JOINTS.index("head")


def test_the_fourteen_joints():
    assert len(JOINTS) == 14
    assert set(JOINTS) == {"head", "thorax"} | {
        f"{side}_{joint}"
        for side in ("left", "right")
        for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    }
    parents = {
        c: POSENET_15.joints[p] for c, p in zip(POSENET_15.joints, POSENET_15.parents, strict=True)
    }
    assert (parents["thorax"], parents["head"], parents["left_hip"]) == ("hip", "thorax", "hip")


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17, H36M_17_LEFT_FIRST, POSENET_15])
def test_joints_are_found_and_filled_by_name(skeleton):
    assert [skeleton.joints[k] for k in joint_choice(skeleton)] == list(JOINTS)
    matrix = fill_matrix(skeleton)
    torch.testing.assert_close(matrix.sum(1), torch.ones(skeleton.num_joints))
    points = bodies(1, 1)[0, 0].float()
    filled = dict(zip(skeleton.joints, matrix @ points, strict=True))
    for joint, point in zip(JOINTS, points, strict=True):
        torch.testing.assert_close(filled[joint], point)
    torch.testing.assert_close(filled["hip"], root_of(points))
    if "spine" in filled:
        torch.testing.assert_close(filled["spine"], (filled["hip"] + filled["thorax"]) / 2)
    torch.testing.assert_close(with_root(points)[POSENET_15.root], filled["hip"])


def test_skeletons_without_the_joints():
    with pytest.raises(SkeletonError, match="'smpl24' has no head, which PoseNet3D needs"):
        joint_choice(SMPL_24)
    with pytest.raises(SkeletonError, match="does not give spine1"):
        fill_matrix(SMPL_24)


@pytest.mark.parametrize("distance", [10.0, 4])
def test_normalised_windows_by_loops(distance):
    raw = windows(3, 9)
    seen, scale = normalise_windows(raw, distance=distance)
    for given, window, factor in zip(raw, seen, scale, strict=True):
        lengths = [math.dist(f[HEAD].tolist(), f[HIPS].mean(0).tolist()) for f in given]
        assert float(factor) == pytest.approx(1 / (distance * sum(lengths) / 9))
        away = window[:, HEAD] - window[:, HIPS].mean(1)
        assert float(away.norm(dim=-1).mean()) == pytest.approx(1 / distance)
        assert (window[:, HIPS].mean(1).abs() < 1e-12).all()
        for a, b in zip(given, window, strict=True):
            torch.testing.assert_close((a - a[HIPS].mean(0)) * factor, b)


def test_normalisation_forgets_place_and_size_but_not_a_given_scale():
    raw = windows(4, 9)
    shift = torch.randn(4, 9, 1, 2, generator=generator(3))
    torch.testing.assert_close(normalise_windows(3 * raw + shift)[0], normalise_windows(raw)[0])
    whole = window_scale(raw.flatten(0, 1)).expand(4)
    seen, scale = normalise_windows(raw, whole)
    assert torch.equal(scale, whole)
    assert float(seen.flatten(0, 1)[:, HEAD].norm(dim=-1).mean()) == pytest.approx(0.1, rel=0.05)


def test_a_body_bent_to_the_camera_stays_of_bounded_size():
    raw = windows(1, 9)
    raw[:, :, HEAD] = raw[:, :, HIPS].mean(2)
    raw.requires_grad_()
    seen, _ = normalise_windows(raw)
    furthest = seen.norm(dim=-1).amax(dim=-1).mean()
    assert float(furthest.detach()) == pytest.approx(0.5, rel=1e-3)
    seen.square().sum().backward()
    assert raw.grad.isfinite().all()


def test_points_project_back_and_stay_in_front():
    pose2d = normalise_windows(windows(2, 9))[0]
    offset = 12 * torch.randn(2, 9, 14, generator=generator(1), dtype=torch.float64)
    points = to_points(pose2d, offset)
    torch.testing.assert_close(project_points(points), pose2d)
    for o, point in zip(offset.flatten(), points.flatten(0, 2), strict=True):
        assert float(point[2]) == pytest.approx(max(1.0, 10 + float(o)))
    assert (points[..., 2] == 1).any()


def test_equation_one_by_loops():
    points = bodies(3, 2)
    rotation = draw_views(3, ViewRange(), generator()).double()
    turned = turn_about_root(points, rotation)
    for q, before, after in zip(rotation, points, turned, strict=True):
        for frame, moved in zip(before, after, strict=True):
            root = (frame[HIPS[0]] + frame[HIPS[1]]) / 2
            for x, y in zip(frame, moved, strict=True):
                expected = q @ (x - root) + torch.tensor([0.0, 0, 10])
                torch.testing.assert_close(y, expected)
    torch.testing.assert_close(
        project_points(with_root(turned))[:, :, 0], torch.zeros(3, 2, 2).double()
    )
    torch.testing.assert_close(trunk_length(turned), trunk_length(points))
    back = turn_about_root(turned, rotation.mT)
    torch.testing.assert_close(back, place_at_depth(points))


def test_views_against_scipy():
    angles = torch.linspace(-1, 1, 5, dtype=torch.float64)
    azimuth, elevation, roll, level = 3 * angles, 0.5 * angles, 0.2 * angles.flip(0), 0.1 + angles
    expected = [
        (Rotation.from_euler("ZXY", [r, e, a]) * Rotation.from_euler("X", -v)).as_matrix()
        for a, e, r, v in zip(azimuth, elevation, roll, level, strict=True)
    ]
    got = view_rotations(azimuth, elevation, roll, level)
    torch.testing.assert_close(got, torch.from_numpy(np.stack(expected)))


def test_seen_from_above_the_head_is_nearer():
    up = torch.tensor([0.0, -1, 0])
    turn = view_rotations(torch.tensor(0.7), torch.tensor(0.3))
    assert float((turn @ up)[2]) == pytest.approx(-math.sin(0.3))


def test_range_of_the_views():
    turns = draw_views(4000, ViewRange(), generator())
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(4000, 3, 3), atol=1e-5, rtol=0)
    # Without roll, x of the turned vertical is 0, and its z is minus the sine of the elevation.
    up = -turns[:, :, 1]
    assert up[:, 0].abs().max() < 1e-6
    elevation = torch.asin(-up[:, 2])
    limit = math.radians(20)
    assert -limit <= elevation.min() < -0.99 * limit
    assert 0.99 * limit < elevation.max() <= limit + 1e-6
    facing = torch.atan2(turns[:, 0, 2], turns[:, 0, 0])
    counts = torch.histc(facing, 8, -math.pi, math.pi)
    assert (counts - 500).abs().max() < 100
    assert torch.equal(turns, draw_views(4000, ViewRange(), generator()))
    narrow = ViewRange(azimuth_rad=0.0, elevation_rad=(0.2, 0.2), roll_rad=0.1)
    rolled = draw_views(50, narrow, generator())
    assert rolled[:, 0, 1].std() > 0.02
    torch.testing.assert_close(rolled[:, 2], rolled[:1, 2].expand(50, 3))


def test_settings_say_what_is_wrong():
    assert PoseNetConfig().frames == 9
    for config in (PoseNetConfig(), ViewRange(), LossWeights(), DensityConfig()):
        assert config.problems() == []
        assert config_from_dict(type(config), config_to_dict(config)) == config
    bad = PoseNetConfig(widths=(2, 3), channels=0, dropout=1.0, nearest=11.0)
    assert len(bad.problems()) == 4
    assert len(ViewRange(-1.0, (0.3, 0.2), 4.0).problems()) == 3
    assert LossWeights(pose=-1.0).problems() == ["weights.pose: expected at least 0, got -1.0"]
    assert len(DensityConfig(components=30, steps=-1, hidden=0).problems()) == 3
