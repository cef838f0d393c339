"""Rigs: exact labels, declared places, the same clips whatever else is filmed."""

import json
import math

import pytest
import torch
from stick_figure import walking_motion

from adaptpose import camera as cam
from adaptpose.clips import check_clip
from adaptpose.datasets import lenses, rig_paths, rigs
from adaptpose.datasets.checks import check_reprojection, check_sides
from adaptpose.errors import ConfigError, DataError
from adaptpose.skeleton import H36M_17

ALL_RIGS = sorted(rigs.RIGS)


def _same(a, b) -> bool:
    return a.name == b.name and torch.equal(a.pose2d, b.pose2d)


def _eyes(clip) -> torch.Tensor:
    """Camera positions in the world, (1 or frames, 3)."""
    T = clip.T_cam_world.reshape(-1, 4, 4)
    return -(T[:, :3, :3].mT @ T[:, :3, 3:])[..., 0]


@pytest.mark.parametrize("name", ALL_RIGS)
def test_labels_reproject_and_come_from_the_motion(name):
    motion = walking_motion(150)
    clips = rigs.film([motion], rigs.RIGS[name], 3)
    assert len({clip.name for clip in clips}) == len(clips)
    for clip in clips:
        check_clip(clip, H36M_17, name)
        check_reprojection(clip, H36M_17, name)
        check_sides(clip, H36M_17, name)
        ahead = clip.pose3d_cam[clip.valid]
        again = cam.project_checked(ahead, clip.intrinsics)
        torch.testing.assert_close(again, clip.pose2d[clip.valid], atol=1e-6, rtol=0)
        world = cam.camera_to_world(clip.pose3d_cam, clip.T_cam_world)
        part = walking_motion(150).joints_world
        offset = torch.cdist(world[:1].flatten(1), part.flatten(1)).argmin()
        part = part[offset : offset + clip.num_frames]
        torch.testing.assert_close(world, part, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ALL_RIGS)
def test_a_clip_depends_on_its_motion_and_seed_alone(name):
    motion, other = walking_motion(60), walking_motion(80, subject="other")
    alone = rigs.film([motion], rigs.RIGS[name], 3)
    among = rigs.film([other, motion], rigs.RIGS[name], 3)
    assert all(any(_same(clip, there) for there in among) for clip in alone)
    elsewhere = rigs.film([motion], rigs.RIGS[name], 4)
    assert not any(_same(a, b) for a, b in zip(alone, elsewhere, strict=False))


@pytest.mark.parametrize("name", ["studio", "surround", "ptz", "drone"])
def test_cameras_stand_where_declared(name):
    rig = rigs.RIGS[name]
    motion = walking_motion(100, speed=0.2)
    clips = rigs.film([motion], rig, 1)
    mounts = [mount for mount in rig.mounts for _ in range(mount.count)]
    floor = rig_paths.floor_level(motion.joints_world)
    centre = rig_paths.area_centre(motion.joints_world[:, H36M_17.root])
    for clip, mount in zip(clips, mounts, strict=True):
        away = _eyes(clip) - centre
        slack = 0.3 if mount.handling.follows else 1e-3
        distance = away[:, :2].norm(dim=-1)
        height = _eyes(clip)[:, 2] - floor
        for value, (low, high) in ((distance, mount.distance_m), (height, mount.height_m)):
            assert low - slack <= float(value.min())
            assert float(value.max()) <= high + slack


def test_studio_is_like_human36m():
    clips = rigs.film([walking_motion(60, speed=0.1)], rigs.STUDIO, 5)
    assert len(clips) == 4
    for clip in clips:
        px = cam.intrinsics_to_px(clip.intrinsics, clip.image_size_px)
        assert 1143 <= float(px.focal[0]) <= 1149
        assert clip.intrinsics.model == "h36m"
        assert bool(clip.valid.all())
    # Four corners: the cameras look in from four sides.
    eyes = torch.cat([_eyes(clip) for clip in clips])[:, :2]
    away = torch.nn.functional.normalize(eyes - eyes.mean(dim=0), dim=-1)
    assert float((away[0] * away[2]).sum()) < -0.8
    assert abs(float((away[0] * away[1]).sum())) < 0.5


def test_drone_looks_down_by_20_to_60_degrees():
    for seed in range(5):
        (clip,) = rigs.film([walking_motion(100)], rigs.DRONE, seed)
        down = torch.rad2deg(torch.asin(-clip.T_cam_world[:, 2, 2]))
        assert float(down.min()) > 18
        assert float(down.max()) < 62


def test_pan_keeps_the_person_in_the_middle():
    for clip in rigs.film([walking_motion(150)], rigs.PTZ, 2):
        assert float(clip.pose2d[:, H36M_17.root].norm(dim=-1).max()) < 0.2
        assert clip.image_size_px == (256, 256)
        height = clip.pose2d[..., 1].amax(dim=1) - clip.pose2d[..., 1].amin(dim=1)
        assert 0.6 < float(height.median()) < 1.6
        eyes = _eyes(clip)
        assert float((eyes[:, :2] - eyes[0, :2]).norm(dim=-1).max()) < 1e-3
    assert rigs.PTZ.normalisation == "root_frobenius"


def test_handheld_camera_moves_smoothly_and_stays_near():
    upright, lying = 0, 0
    for k in range(8):
        motion = walking_motion(200, take=str(k))
        (clip,) = rigs.film([motion], rigs.HANDHELD, 0)
        eyes = _eyes(clip)
        speed = (eyes[1:] - eyes[:-1]).norm(dim=-1) * clip.frame_rate_hz
        assert 0.1 < float(speed.mean()) < 3
        turn = clip.T_cam_world[1:, :3, :3] @ clip.T_cam_world[:-1, :3, :3].mT
        angle = torch.acos(((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
        assert 0 < float(angle.max()) < math.radians(3)
        away = (eyes - motion.joints_world[:, H36M_17.root])[:, :2].norm(dim=-1)
        assert float(away.min()) > 1.4
        assert float(away.max()) < 5
        assert float(clip.valid.float().mean()) > 0.9
        upright += clip.image_size_px == (1080, 1920)
        lying += clip.image_size_px == (1920, 1080)
        edge = torch.tensor(clip.image_size_px) / 1920
        inside = (clip.pose2d[clip.valid].abs() <= edge).all(dim=-1)
        assert float(inside.float().mean()) > 0.95
        assert float(clip.pose2d.abs().max()) <= 1
    assert upright > 0
    assert lying > 0


def test_far_walk_is_cut_into_areas_that_keep_every_frame():
    motion = walking_motion(500, turn=0.1)
    clips = rigs.film([motion], rigs.STUDIO, 0)
    lengths = {clip.camera.split("/")[0]: clip.num_frames for clip in clips}
    assert len(lengths) > 2
    assert sum(lengths.values()) == 500
    valid = torch.cat([clip.valid for clip in clips]).float()
    assert float(valid.mean()) > 0.9


def test_cut_into_areas_against_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(300, 3, generator=generator).cumsum(dim=0) * 0.1
    ranges = rig_paths.cut_into_areas(root, 0.5, 1)
    start, expected = 0, []
    for end in range(1, 301):
        if end < 300:
            box = [max(p) - min(p) for p in zip(*root[start : end + 1, :2].tolist(), strict=True)]
        if end == 300 or math.hypot(*box) > 1.0:
            expected.append((start, end))
            start = end
    assert ranges == expected


def test_frames_that_no_detector_could_see_are_not_valid():
    motion = walking_motion(50)
    (clip, *_) = rigs.film([motion], rigs.STUDIO, 0)
    part = rigs._Part(motion, "01", motion.joints_world, 0.0, 0.0)
    px = cam.intrinsics_to_px(clip.intrinsics, clip.image_size_px)
    away = clip.T_cam_world.clone()
    away[2] *= -1
    away[0] *= -1
    behind = rigs._clip(part, "behind", away, (px, clip.image_size_px))
    assert not bool(behind.valid.any())
    assert float(behind.pose2d.abs().sum() + behind.confidence.sum()) == 0
    aside = clip.T_cam_world.clone()
    aside[0, 3] += 4.0
    beside = rigs._clip(part, "beside", aside, (px, clip.image_size_px))
    assert not bool(beside.valid.any())


def test_a_lens_model_that_folds_back_makes_no_plausible_points():
    folding = cam.Intrinsics(
        torch.tensor([1.5, 1.5]), torch.zeros(2), torch.tensor([0.1, 0.2, -1.5, 0, 0]), "opencv"
    )
    r2 = lenses.fold_radius2(folding)
    x = torch.linspace(0, math.sqrt(r2), 200)
    points = torch.stack([x, torch.zeros(200), torch.ones(200)], dim=-1)[None]
    u = cam.project(points, folding)[0, :, 0]
    assert bool((u[1:] > u[:-1] - 1e-4).all())
    assert r2 < 1
    assert lenses.fold_radius2(cam.pinhole(1.0)) == 16


def test_a_turned_phone_sees_the_turned_scene():
    lens = cam.Intrinsics(
        torch.tensor([1500.0, 1510.0]),
        torch.tensor([530.0, 970.0]),
        torch.tensor([0.1, -0.1, 0.02, 0.003, -0.002]),
        "opencv",
    )
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    points[..., 2] += 3
    upright = cam.project(points, lens)
    side, size = lenses.turned((lens, (1080, 1920)))
    x, y, z = points.unbind(-1)
    seen = cam.project(torch.stack([y, -x, z], dim=-1), side)
    assert size == (1920, 1080)
    torch.testing.assert_close(seen[..., 0], upright[..., 1])
    torch.testing.assert_close(seen[..., 1], 1080 - upright[..., 0])


def test_phone_file_is_used_and_checked(tmp_path):
    camera = {
        "intrinsics": [[1000.0, 0, 350.0], [0, 1001.0, 650.0], [0, 0, 1]],
        "distortion": [0.1, 0.2, 0.001, 0.002, -0.3],
        "image_size_hw": [1280, 720],
    }
    path = tmp_path / lenses.PHONE_FILE
    path.write_text(json.dumps({"cameras": [camera]}))
    (lens, size), *_ = lenses.phone_lenses(tmp_path)
    assert size == (720, 1280)
    torch.testing.assert_close(lens.distortion, torch.tensor([0.1, 0.2, -0.3, 0.001, 0.002]))
    (clip,) = rigs.film([walking_motion(20)], rigs.HANDHELD, 0, tmp_path)
    assert float(clip.intrinsics.focal.min()) == pytest.approx(1000 / 640, rel=1e-4)
    for text in ("{", "{}", '{"cameras": [{}]}'):
        path.write_text(text)
        with pytest.raises(DataError, match="not a file of phone calibrations"):
            lenses.phone_lenses(tmp_path)


def test_real_phones_are_typical(data_root):
    phones = lenses.phone_lenses(data_root)
    builtin = lenses.phone_lenses(None)
    focal = torch.stack([lens.focal[1] / size[1] * 2 for lens, size in phones])
    own = torch.stack([lens.focal[1] / size[1] * 2 for lens, size in builtin])
    assert len(phones) == 200
    assert abs(float(focal.mean() - own.mean())) < 0.15


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="did you mean 'studio'"):
        rigs.rig_by_name("studo")
    broken = walking_motion(10)
    broken.joints_world[3, 2] = math.nan
    with pytest.raises(DataError, match="rig 'studio', motion 'stick/walk/01': NaN"):
        rigs.film([broken], rigs.STUDIO, 0)
