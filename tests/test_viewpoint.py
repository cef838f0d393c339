"""Viewpoints: a figure turned about known axes, lying people, undefined angles."""

import math

import pytest
import torch

from adaptpose import camera as cam
from adaptpose import viewpoint as vp
from adaptpose.errors import SkeletonError
from adaptpose.skeleton import H36M_16, H36M_17, H36M_17_LEFT_FIRST, Skeleton, joint_map

# A figure in world axes (m): x forward, y left, z up; it looks along x.
_PLACES = {
    "hip": (0, 0, 1.0),
    "right_hip": (0, -0.13, 1.0),
    "right_knee": (0.05, -0.13, 0.52),
    "right_ankle": (0, -0.13, 0.08),
    "left_hip": (0, 0.13, 1.0),
    "left_knee": (0.05, 0.13, 0.52),
    "left_ankle": (0, 0.13, 0.08),
    "spine": (0, 0, 1.24),
    "thorax": (0, 0, 1.5),
    "neck_nose": (0.06, 0, 1.6),
    "head": (0, 0, 1.7),
    "left_shoulder": (0, 0.17, 1.5),
    "left_elbow": (0, 0.3, 1.25),
    "left_wrist": (0.1, 0.32, 1.0),
    "right_shoulder": (0, -0.17, 1.5),
    "right_elbow": (0, -0.3, 1.25),
    "right_wrist": (0.1, -0.32, 1.0),
}


def _figure(skeleton: Skeleton = H36M_17) -> torch.Tensor:
    return torch.tensor([_PLACES[joint] for joint in skeleton.joints], dtype=torch.float64)


def _place(azimuth_deg: float, elevation_deg: float, distance: float = 4.0) -> torch.Tensor:
    """A camera's place about the figure's root; azimuth positive towards the figure's left."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    direction = (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
    return torch.tensor([0, 0, 1.0], dtype=torch.float64) + distance * torch.tensor(
        direction, dtype=torch.float64
    )


def _filmed(azimuth_deg: float, elevation_deg: float, roll_deg: float = 0.0) -> torch.Tensor:
    figure = _figure()
    T_cam_world = cam.look_at(_place(azimuth_deg, elevation_deg), figure[0], math.radians(roll_deg))
    return cam.world_to_camera(figure, T_cam_world)


@pytest.mark.parametrize("azimuth", [-170.0, -90.0, -35.0, 0.0, 20.0, 90.0, 135.0, 180.0])
@pytest.mark.parametrize("elevation", [-40.0, 0.0, 25.0, 80.0])
def test_a_camera_is_found_where_it_was_put(azimuth, elevation):
    view = vp.viewpoint(_filmed(azimuth, elevation), H36M_17)
    difference = (math.degrees(float(view.azimuth_rad)) - azimuth + 180) % 360 - 180
    assert difference == pytest.approx(0, abs=1e-9)
    assert math.degrees(float(view.elevation_rad)) == pytest.approx(elevation, abs=1e-9)
    assert float(view.roll_rad) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("roll", [-100.0, -20.0, 0.0, 60.0])
def test_a_camera_turned_clockwise_sees_the_person_turned_back(roll):
    view = vp.viewpoint(_filmed(30.0, 0.0, roll), H36M_17)
    assert math.degrees(float(view.roll_rad)) == pytest.approx(-roll, abs=1e-9)
    assert math.degrees(float(view.azimuth_rad)) == pytest.approx(30, abs=1e-9)


def test_clockwise_means_that_the_head_leans_to_the_right_of_the_image():
    pose = _filmed(0.0, 0.0, -20.0)
    head, hip = pose[H36M_17.id("head")], pose[H36M_17.root]
    assert head[0] > hip[0]
    assert float(vp.viewpoint(pose, H36M_17).roll_rad) > 0


def test_the_left_of_the_person_is_the_right_of_the_image_of_a_frontal_camera():
    pose = _filmed(0.0, 0.0)
    assert pose[H36M_17.id("left_hip"), 0] > 0
    assert float(vp.viewpoint(pose, H36M_17).azimuth_rad) == pytest.approx(0, abs=1e-9)


def test_angles_do_not_change_with_size_and_place_along_the_ray():
    pose = _filmed(40.0, 15.0)
    view, far = vp.viewpoint(pose, H36M_17), vp.viewpoint(2.5 * pose, H36M_17)
    torch.testing.assert_close(view.azimuth_rad, far.azimuth_rad)
    torch.testing.assert_close(view.elevation_rad, far.elevation_rad)


def test_a_root_relative_pose_counts_as_seen_along_the_optical_axis():
    pose = _filmed(40.0, 15.0)
    view = vp.viewpoint(pose - pose[H36M_17.root], H36M_17)
    assert math.degrees(float(view.azimuth_rad)) == pytest.approx(40, abs=1e-9)
    aside = pose - pose[H36M_17.root] + torch.tensor([3.0, 0, 3.0], dtype=torch.float64)
    # A person to the right who shows as much of the left side to the axis is seen from 45
    # degrees further round.
    moved = vp.viewpoint(aside, H36M_17, pose.new_tensor([0.0, -1.0, 0.0]))
    still = vp.viewpoint(pose - pose[H36M_17.root], H36M_17, pose.new_tensor([0.0, -1.0, 0.0]))
    turned = float(torch.rad2deg(moved.azimuth_rad - still.azimuth_rad))
    assert turned == pytest.approx(-45, abs=1e-9)


def test_all_joint_orders_agree():
    pose = _filmed(-70.0, 10.0)
    for skeleton in (H36M_16, H36M_17_LEFT_FIRST):
        other = pose[joint_map(H36M_17, skeleton).complete_index()]
        torch.testing.assert_close(
            vp.viewpoint(other, skeleton).azimuth_rad, vp.viewpoint(pose, H36M_17).azimuth_rad
        )


def test_batches_equal_single_poses():
    poses = torch.stack([_filmed(a, e) for a, e in ((0, 0), (75, 20), (-120, -5), (30, 60))])
    whole = vp.viewpoint(poses.reshape(2, 2, 17, 3), H36M_17)
    for k, pose in enumerate(poses):
        one = vp.viewpoint(pose, H36M_17)
        torch.testing.assert_close(whole.azimuth_rad.flatten()[k], one.azimuth_rad)
        torch.testing.assert_close(whole.elevation_rad.flatten()[k], one.elevation_rad)


def test_body_axes_are_a_right_handed_frame():
    axes = vp.body_axes(_figure(), H36M_17)
    torch.testing.assert_close(axes, torch.eye(3, dtype=torch.float64))
    turned = vp.body_axes(_filmed(33.0, 12.0, 7.0), H36M_17)
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3, dtype=torch.float64))
    assert float(torch.linalg.det(turned)) == pytest.approx(1)


def _lying_on_the_back() -> torch.Tensor:
    """The figure fallen backwards: head at -x, belly up."""
    x, y, z = _figure().unbind(-1)
    return torch.stack([-z, y, x], dim=-1)


def test_lying_on_the_back_seen_from_above():
    figure = _lying_on_the_back()
    above = figure[H36M_17.root] + torch.tensor([0.4, 0, 4.0], dtype=torch.float64)
    T_cam_world = cam.look_at(above, figure[H36M_17.root])
    pose, up = cam.world_to_camera(figure, T_cam_world), vp.world_up_in_camera(T_cam_world)
    trunk, gravity = vp.viewpoint(pose, H36M_17), vp.viewpoint(pose, H36M_17, up)
    steep = math.atan2(4.0, 0.4)
    assert float(trunk.azimuth_rad) == pytest.approx(0, abs=1e-9)
    # The camera stands 0.4 m towards the feet, which is below the hips along the trunk.
    assert float(trunk.elevation_rad) == pytest.approx(-math.atan2(0.4, 4.0), abs=1e-9)
    assert float(gravity.elevation_rad) == pytest.approx(steep, abs=1e-9)
    # Forward is where the feet point.
    assert float(gravity.azimuth_rad) == pytest.approx(0, abs=1e-9)


def test_angles_that_are_not_defined_are_nan():
    x, y, z = _figure().unbind(-1)
    on_the_side = torch.stack([x, -z, y], dim=-1)
    T_cam_world = cam.look_at(torch.tensor([4.0, -1.0, 0.5]).double(), on_the_side[0])
    pose, up = cam.world_to_camera(on_the_side, T_cam_world), vp.world_up_in_camera(T_cam_world)
    assert math.isnan(float(vp.viewpoint(pose, H36M_17, up).azimuth_rad))
    assert math.isfinite(float(vp.viewpoint(pose, H36M_17).azimuth_rad))
    nothing = vp.viewpoint(torch.zeros(17, 3), H36M_17)
    assert math.isnan(float(nothing.azimuth_rad))
    assert math.isnan(float(nothing.elevation_rad))


def test_image_scale_and_extent():
    pose2d = torch.rand(6, 17, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for k in range(6):
        total = 0.0
        for axis in range(2):
            mean = sum(float(pose2d[k, j, axis]) for j in range(17)) / 17
            total += sum((float(pose2d[k, j, axis]) - mean) ** 2 for j in range(17))
        assert float(vp.image_scale(pose2d)[k]) == pytest.approx(math.sqrt(total))
    torch.testing.assert_close(vp.image_scale(3 * pose2d + 7), 3 * vp.image_scale(pose2d))
    torch.testing.assert_close(vp.image_extent(3 * pose2d + 7), 3 * vp.image_extent(pose2d))
    box = torch.tensor([[0.0, 0.0], [0.5, 0.2], [0.1, -0.6]])
    assert float(vp.image_extent(box)) == pytest.approx(0.8)


def test_camera_distribution_names_its_units():
    pose = torch.stack([_filmed(50.0, 20.0), _filmed(-50.0, 5.0)])
    pose2d = cam.project(pose, cam.pinhole(1.0))
    found = vp.camera_distribution(pose, pose2d, H36M_17)
    torch.testing.assert_close(found["azimuth_deg"], torch.tensor([50.0, -50.0]).double())
    torch.testing.assert_close(found["depth_m"], torch.tensor([4.0, 4.0]).double())
    assert set(found) == {"azimuth_deg", "elevation_deg", "roll_deg", "depth_m", "image_scale"}


def test_a_skeleton_without_shoulders_is_refused():
    legs = Skeleton("legs", ("hip", "left_hip", "right_hip"), (("hip", "left_hip"),
                    ("hip", "right_hip")))  # fmt: skip
    with pytest.raises(SkeletonError, match="left_shoulder"):
        vp.viewpoint(torch.zeros(3, 3), legs)
