"""Pseudo-poses: viewpoints against the truth's, weights, draws, bad input."""

from dataclasses import replace

import pytest
import roma
import torch
from linear_lifter import LinearLifter
from pseudo_scenes import KnowingLifter, walk_clip, walks

from adaptpose.clips import PoseData, TargetData
from adaptpose.errors import CheckpointError, ConfigError, DataError, SkeletonError
from adaptpose.lifted import estimate_lenses, gather_lifted, read_jitter
from adaptpose.pseudo import PseudoPoses, lift_target
from adaptpose.pseudo_config import (
    BodyConfig,
    PseudoConfig,
    RefineConfig,
    ReplayConfig,
    ShotNoise,
    TransferConfig,
)
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16, H36M_17
from adaptpose.viewpoint import body_axes, viewpoint

TRUE = PseudoConfig(tta="none", focal="fixed", focal_fixed=1.5, root_cutoff_hz=0.0)


def _pseudo(data: PoseData, config: PseudoConfig = TRUE, spoil=None, seed: int = 0) -> PseudoPoses:
    return lift_target(KnowingLifter(data, spoil), data.as_target(), config, stream(seed, "p"))


def _truth(data: PoseData) -> torch.Tensor:
    return torch.cat([clip.pose3d_cam for clip in data.clips])


def test_viewpoints_of_true_poses_are_the_truths():
    data = walks(6)
    pseudo, truth = _pseudo(data), _truth(data)
    torch.testing.assert_close(pseudo.pose3d_cam, truth, atol=5e-3, rtol=0)
    ray = torch.nn.functional.normalize(truth[:, 0], dim=-1)
    axis = torch.linalg.cross(torch.tensor([0.0, 0, 1]).expand_as(ray), ray)
    angle = torch.acos(ray[:, 2])[:, None]
    turn = roma.rotvec_to_rotmat(axis / axis.norm(dim=-1, keepdim=True).clamp_min(1e-9) * angle)
    wanted = body_axes(truth, H36M_16) @ turn
    off = torch.rad2deg(roma.rotmat_geodesic_distance(pseudo.to_body, wanted))
    assert float(off.max()) < 0.5
    seen = torch.cat([clip.pose2d for clip in data.clips])[:, 0]
    torch.testing.assert_close(pseudo.place, seen, atol=2e-3, rtol=0)
    torch.testing.assert_close(pseudo.rate, 1.5 / truth[:, 0, 2], atol=0, rtol=3e-3)


def test_the_camera_stands_in_the_body_frame_where_viewpoint_says():
    data = walks(5, 3)
    pseudo, view = _pseudo(data), viewpoint(_truth(data), H36M_16)
    ahead, left, up = (-pseudo.to_body[..., 2]).unbind(-1)
    turn = torch.remainder(torch.atan2(left, ahead) - view.azimuth_rad + 3.14159, 6.28318) - 3.14159
    assert float(turn.abs().max()) < 0.01
    assert float((torch.asin(up) - view.elevation_rad).abs().max()) < 0.01


def test_a_wrong_focal_length_moves_people_along_the_ray_alone():
    data = walks(3)
    wrong = _pseudo(data, replace(TRUE, focal_fixed=2.25))
    right = _pseudo(data)
    torch.testing.assert_close(wrong.place, right.place, atol=0.03, rtol=0)
    torch.testing.assert_close(wrong.rate, right.rate, atol=0, rtol=0.1)
    off = torch.rad2deg(roma.rotmat_geodesic_distance(wrong.to_body, right.to_body))
    assert float(off.mean()) < 6


def test_focal_lengths_are_drawn_per_clip_and_repeat():
    data = walks(4)
    config = replace(TRUE, focal="drawn", focal_range=(1.3, 2.6))
    one, same, other = (_pseudo(data, config, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.focal, same.focal)
    assert torch.equal(one.pose3d_cam, same.pose3d_cam)
    assert not torch.equal(one.focal, other.focal)
    drawn = one.lifted.split(one.focal)
    assert all(bool((own == own[0]).all()) for own in drawn)
    assert len({float(own[0]) for own in drawn}) == 4
    assert 1.3 <= float(one.focal.min()) <= float(one.focal.max()) <= 2.6


def test_an_estimated_focal_length_is_one_per_image_size_and_has_its_spread():
    data = walks(8)
    first, *rest = data.clips
    data = replace(data, clips=(replace(first, image_size_px=(800, 1000)), *rest))
    config = replace(TRUE, focal="estimated", focal_spread=0.0)
    lifted = _pseudo(data, config).lifted
    alone, *others = (float(own[0]) for own in lifted.split(lifted.focal))
    assert len(set(others)) == 1
    assert alone == pytest.approx(1.5, rel=0.1)
    assert others[0] == pytest.approx(1.5, rel=0.1)
    spread = _pseudo(data, replace(config, focal_spread=0.2)).lifted
    logs = torch.stack([own[0] / others[0] for own in spread.split(spread.focal)[1:]]).log()
    assert 0.08 < float(logs.std()) < 0.4


def test_an_estimated_lens_is_one_per_camera():
    data = walks(4)
    first, *rest = data.clips
    data = replace(data, clips=(replace(first, camera="b"), *rest))
    poses = [clip.pose3d_cam - clip.pose3d_cam[:, :1] for clip in data.clips]
    poses[0][:, :, 2] *= 1.3
    first, *rest = (float(lens.focal[0]) for lens in estimate_lenses(poses, data.clips))
    assert first != rest[0]
    assert float(estimate_lenses(poses, data.clips)[1].focal[0]) == pytest.approx(1.5, rel=0.03)


def test_what_is_not_to_be_trusted_weighs_little():
    data = walks(2)
    clip = data.clips[0]
    valid, confidence = clip.valid.clone(), clip.confidence.clone()
    valid[3], confidence[5], confidence[7] = False, 0, 0.5
    first = replace(clip, valid=valid, confidence=confidence)
    data = replace(data, clips=(first, data.clips[1]))
    small = [
        0.01 * torch.randn(c.num_frames, 16, 3, generator=stream(0, c.name)) for c in data.clips
    ]
    for wrong in small:
        wrong[:, 0] = 0
    small[1][20, 1:] *= 15
    weight = _pseudo(data, spoil=small).weight
    assert float(weight[3]) == float(weight[5]) == 0
    usual = float(weight[weight > 0].median())
    assert 0.1 * usual < float(weight[7]) < 0.8 * usual
    assert float(weight[clip.num_frames + 20]) < 0.15 * usual
    assert bool(((weight >= 0) & (weight <= 1)).all())


def test_a_frame_without_body_axes_has_no_viewpoint():
    data = walks(2)
    spoil = [torch.zeros_like(clip.pose3d_cam) for clip in data.clips]
    pose = data.clips[0].pose3d_cam[9]
    spoil[0][9] = -(pose - pose[:1])
    pseudo = _pseudo(data, spoil=spoil)
    assert float(pseudo.weight[9]) == 0
    assert torch.equal(pseudo.to_body[9], torch.eye(3))
    assert bool(torch.isfinite(pseudo.rate).all())


def test_frames_are_drawn_in_proportion_to_their_weight():
    pseudo = _pseudo(walks(1))
    weight = torch.zeros_like(pseudo.weight)
    weight[4], weight[11], weight[30] = 0.5, 0.125, 0.375
    pseudo = replace(
        pseudo, weight=weight, cumulated=weight.double().cumsum(0), last=torch.tensor(30)
    )
    counts = torch.bincount(pseudo.draw(40000, stream(0, "draw")), minlength=len(weight)) / 40000
    torch.testing.assert_close(counts, weight, atol=0.01, rtol=0)
    assert bool((counts[weight == 0] == 0).all())


def test_other_poses_have_other_viewpoints():
    data = walks(2)
    pseudo = _pseudo(data)
    away = pseudo.with_poses(2 * pseudo.pose3d_cam)
    torch.testing.assert_close(away.rate, pseudo.rate / 2)
    torch.testing.assert_close(away.place, pseudo.place)
    torch.testing.assert_close(away.to_body, pseudo.to_body, atol=1e-5, rtol=0)
    assert torch.equal(away.weight, pseudo.weight)
    moved = pseudo.to(torch.device("cpu"))
    assert torch.equal(moved.to_body, pseudo.to_body)
    with pytest.raises(DataError, match="no valid frame shows a person"):
        pseudo.with_poses(0 * pseudo.pose3d_cam)


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.01])
def test_jitter_tells_white_noise(noise):
    clip = walk_clip(120)
    shaken = noise * torch.randn(clip.pose2d.shape, generator=stream(0, "jitter"))
    clips = [replace(clip, pose2d=clip.pose2d + shaken), walk_clip(3)]
    poses = [c.pose3d_cam for c in clips]
    found = read_jitter(gather_lifted(poses, clips, [c.intrinsics for c in clips], H36M_16))
    assert float(found[0]) == pytest.approx(noise, rel=0.1, abs=2e-4)
    assert float(found[-1]) == 0


def test_missing_keypoints_do_not_reach_the_poses():
    clip = walk_clip(30)
    pose2d, confidence = clip.pose2d.clone(), clip.confidence.clone()
    pose2d[4, 3], confidence[8, 5], pose2d[8, 5] = torch.nan, 0, 9.0
    holed = replace(clip, pose2d=pose2d, confidence=confidence)
    lifted = gather_lifted([clip.pose3d_cam], [holed], [clip.intrinsics], H36M_16)
    torch.testing.assert_close(lifted.root, clip.pose3d_cam[:, 0], atol=5e-3, rtol=0)
    assert float(lifted.weight[4, 3]) == float(lifted.weight[8, 5]) == 0
    unseen = replace(clip, pose2d=torch.zeros_like(clip.pose2d))
    lost = gather_lifted([clip.pose3d_cam], [unseen], [clip.intrinsics], H36M_16)
    assert float(lost.weight.abs().max()) == 0
    assert bool(torch.isfinite(lost.root).all())


def test_what_cannot_be_is_refused():
    data = walks(2)
    target, rng = data.as_target(), stream(0, "x")
    with pytest.raises(CheckpointError, match="h36m17"):
        lift_target(LinearLifter(0, 0, H36M_17), target, PseudoConfig(), rng)
    with pytest.raises(DataError, match="target 'none': no clips"):
        lift_target(LinearLifter(0, 0), TargetData("none", H36M_16, ()), PseudoConfig(), rng)
    dark = tuple(replace(clip, valid=torch.zeros_like(clip.valid)) for clip in target.clips)
    with pytest.raises(DataError, match="no valid frame"):
        lift_target(KnowingLifter(data), replace(target, clips=dark), TRUE, rng)
    clip = data.clips[0]
    pose, lens = clip.pose3d_cam, clip.intrinsics
    with pytest.raises(DataError, match="expected as many poses and lenses as clips"):
        gather_lifted([pose], [clip], [], H36M_16)
    with pytest.raises(DataError, match="at least one"):
        gather_lifted([], [], [], H36M_16)
    with pytest.raises(SkeletonError, match=r"expected lifted poses of shape"):
        gather_lifted([pose[:-1]], [clip], [lens], H36M_16)
    with pytest.raises(SkeletonError, match="17 joints of 'h36m17'"):
        gather_lifted([pose], [clip], [lens], H36M_17)
    with pytest.raises(DataError, match="NaN or infinite lifted poses"):
        gather_lifted([pose / 0 * torch.nan], [clip], [lens], H36M_16)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PseudoConfig(focal_range=(2.0, 1.0)), "pseudo.focal_range: expected 0 < low <= high"),
        (PseudoConfig(tolerance=0.0), "pseudo.tolerance"),
        (PseudoConfig(root_cutoff_hz=float("nan")), "pseudo.root_cutoff_hz"),
        (RefineConfig(steps=0), "refine.steps: expected a number above 0, got 0"),
        (RefineConfig(prior_m=float("nan")), "refine.prior_m"),
        (TransferConfig(noise=ShotNoise(place=-1.0)), "noise.place: expected 0 or more, got -1"),
        (TransferConfig(bodies=BodyConfig(size_sd=2.0)), "bodies.size_sd: expected 0 to 1"),
        (ReplayConfig(own_share=1.5), "replay.own_share: expected 0 to 1, got 1.5"),
        (ReplayConfig(view_limit=0.0), "replay.view_limit"),
    ],
)
def test_impossible_configs_say_why(config, message):
    assert any(problem.startswith(message) for problem in config.problems())


def test_defaults_are_possible_and_checked():
    for config in (PseudoConfig(), RefineConfig(), TransferConfig(), ReplayConfig()):
        assert config.problems() == []
    with pytest.raises(ConfigError, match=r"pseudo\.tolerance"):
        _pseudo(walks(1), replace(TRUE, tolerance=-1.0))
