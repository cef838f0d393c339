"""The strength of perspective read off poses whose camera is known."""

from dataclasses import replace

import pytest
import torch
from pseudo_scenes import walk_clip

from adaptpose.camera import pinhole, project
from adaptpose.clips import Clip3D
from adaptpose.focal import estimate_focal
from adaptpose.lifted import estimate_lenses
from adaptpose.perspective import read_perspective
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16, Skeleton


def _clips(focal: float) -> list[Clip3D]:
    """People as large in the image under every lens: the longer it is, the farther away."""
    return [
        walk_clip(80, 0.8 * k, 1.2, 2.7 * focal, focal=focal, speed=0.5 + 0.1 * k) for k in range(8)
    ]


def _frames(clips: list[Clip3D]):
    pose = torch.cat([clip.pose3d_cam - clip.pose3d_cam[:, :1] for clip in clips])
    return pose, torch.cat([clip.pose2d for clip in clips]), torch.ones(pose.shape[:2])


@pytest.mark.parametrize("focal", [1.2, 1.6, 3.0, 9.0])
def test_true_poses_show_the_focal_length_at_any_size(focal):
    frames = _frames(_clips(focal))
    found = read_perspective(*frames, H36M_16)
    assert found is not None
    assert found.inverse_focal == pytest.approx(1 / focal, abs=0.07)
    larger = read_perspective(3 * frames[0], *frames[1:], H36M_16)
    assert larger is not None
    assert larger.inverse_focal == pytest.approx(found.inverse_focal, rel=0.02)


def test_errors_of_depth_pull_it_towards_none_and_show_in_the_error():
    pose, pose2d, weight = _frames(_clips(1.5))
    noise = torch.randn(pose.shape, generator=stream(0, "n"))
    clean = read_perspective(pose, pose2d, weight, H36M_16)
    noisy = read_perspective(pose + 0.05 * noise, pose2d, weight, H36M_16)
    assert clean is not None
    assert noisy is not None
    assert 0.4 * clean.inverse_focal < noisy.inverse_focal < 1.05 * clean.inverse_focal
    assert noisy.error > clean.error
    few = read_perspective(pose[:40] + 0.05 * noise[:40], pose2d[:40], weight[:40], H36M_16)
    assert few is not None
    assert few.error > 2 * noisy.error


def test_limbs_that_are_not_seen_do_not_count():
    pose, pose2d, weight = _frames(_clips(1.5))
    clean = read_perspective(pose, pose2d, weight, H36M_16)
    wrist = H36M_16.id("left_wrist")
    weight, pose2d = weight.clone(), pose2d.clone()
    weight[:, wrist], pose2d[:, wrist] = 0, 0.9
    found = read_perspective(pose, pose2d, weight, H36M_16)
    assert clean is not None
    assert found is not None
    assert found.inverse_focal == pytest.approx(clean.inverse_focal, abs=0.1)


def test_a_skeleton_without_limbs_tells_nothing():
    spine = Skeleton("spine", ("hip", "spine", "thorax"), (("hip", "spine", "thorax"),))
    pose = torch.rand(5, 3, 3)
    assert read_perspective(pose, pose[..., :2], torch.ones(5, 3), spine) is None
    pose, pose2d, weight = _frames(_clips(1.5))
    assert read_perspective(pose, pose2d, 0 * weight, H36M_16) is None


def test_a_long_lens_is_told_from_a_phones_where_residuals_cannot():
    """Errors of centimetres that are the same over a clip, as a lifter's are."""
    for focal, low, high in ((1.5, 1.1, 2.1), (8.0, 3.0, 14.0)):
        poses, clips = [], []
        for k, clip in enumerate(_clips(focal)):
            off = 0.02 * torch.randn(1, 16, 3, generator=stream(k, "off"))
            poses.append(clip.pose3d_cam - clip.pose3d_cam[:, :1] + off)
            clips.append(replace(clip, camera="one"))
        lens = estimate_lenses(poses, clips, H36M_16)[0]
        assert low < float(lens.focal[0]) < high
        if focal > 5:
            assert float(estimate_lenses(poses, clips)[0].focal[0]) < 2.5


def test_a_few_frames_hardly_bend_the_prior():
    clip = walk_clip(12, 0.3, 1.2, 20.0, focal=8.0)
    pose = clip.pose3d_cam - clip.pose3d_cam[:, :1]
    wrong = pose + 0.05 * torch.randn(pose.shape, generator=stream(0, "w"))
    seen = project(clip.pose3d_cam, pinhole(8.0))
    focal = estimate_focal(wrong, seen, torch.ones(12, 16), H36M_16)
    assert 1.2 < focal < 6.0
