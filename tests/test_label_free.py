"""Closed-form root from rays, and the score of a lifter without labels."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_lifter import LinearLifter, SymmetricLifter, wavy_clip, wavy_data

from adaptpose.bones import mirror_pose
from adaptpose.camera import Intrinsics, pinhole, project, world_to_camera
from adaptpose.clips import PoseData, TargetData
from adaptpose.errors import ConfigError, DataError
from adaptpose.inference import predict_clip
from adaptpose.label_free import label_free_score
from adaptpose.lifter import Lifter
from adaptpose.rays import ray_distances, root_from_rays, unit_rays
from adaptpose.skeleton import H36M_16

LENS = pinhole(2.3, (0.02, -0.01))


def _scene(seed: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """(root-relative poses, roots) of bodies 4 to 9 m from the camera."""
    generator = torch.Generator().manual_seed(seed)
    pose = 0.4 * torch.randn(count, 16, 3, generator=generator, dtype=torch.float64)
    low, high = torch.tensor([-1.0, -1, 4]), torch.tensor([1.0, 1, 9])
    root = low + (high - low) * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return pose - pose[:, :1], root


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_root_is_recovered_from_noiseless_rays(seed):
    pose, root = _scene(seed)
    points = pose + root[:, None]
    weights = torch.rand(6, 16, generator=torch.Generator().manual_seed(seed)).double() + 0.01
    found = root_from_rays(pose, project(points, LENS), weights, LENS)
    torch.testing.assert_close(found, root, atol=1e-9, rtol=0)
    assert float(ray_distances(points, project(points, LENS), LENS).max()) < 1e-9


@pytest.mark.parametrize("model", ["h36m", "opencv"])
def test_root_is_recovered_behind_a_distorting_lens_in_float32(model):
    distortion = torch.tensor([-0.2, 0.24, -0.002, -0.0009, -0.0014])
    lens = Intrinsics(torch.tensor([2.29, 2.28]), torch.tensor([0.02, -0.03]), distortion, model)
    pose, root = (part.float() for part in _scene(1))
    pose2d = project(pose + root[:, None], lens)
    found = root_from_rays(pose, pose2d, torch.ones(6, 16), lens)
    torch.testing.assert_close(found, root, atol=2e-3, rtol=0)


def test_root_is_the_least_squares_one():
    pose, root = _scene(2, 1)
    generator = torch.Generator().manual_seed(3)
    pose2d = project(pose + root[:, None], LENS)
    pose2d = pose2d + 0.02 * torch.randn(pose2d.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(1, 16, generator=generator, dtype=torch.float64)
    rays = unit_rays(pose2d, LENS)[0].numpy()

    def residual(shift: np.ndarray) -> np.ndarray:
        rows = []
        for joint in range(16):
            point = pose[0, joint].numpy() + shift
            off_ray = np.cross(point, rays[joint])
            rows.append(math.sqrt(float(weights[0, joint])) * off_ray)
        return np.concatenate(rows)

    best = scipy.optimize.least_squares(residual, np.array([0, 0, 5.0]), xtol=1e-14, ftol=1e-14).x
    np.testing.assert_allclose(root_from_rays(pose, pose2d, weights, LENS)[0], best, atol=1e-6)


def test_a_joint_without_weight_does_not_pull():
    pose, root = _scene(4)
    pose2d = project(pose + root[:, None], LENS)
    pose2d[:, 5] += 0.7
    weights = torch.ones(6, 16, dtype=torch.float64)
    weights[:, 5] = 0
    torch.testing.assert_close(root_from_rays(pose, pose2d, weights, LENS), root)


def test_the_camera_may_turn():
    """Turning the whole scene about the camera's centre turns the root with it."""
    pose, root = _scene(5)
    angle = 0.1
    turn = torch.eye(4, dtype=torch.float64)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    lens = pinhole(1.0)
    noisy = project(pose + root[:, None], lens) + 0.01 * pose[..., :2]
    ahead = torch.cat([noisy, torch.ones_like(noisy[..., :1])], dim=-1)
    turned2d = project(world_to_camera(ahead, turn), lens)
    weights = torch.ones(6, 16, dtype=torch.float64)
    expected = world_to_camera(root_from_rays(pose, noisy, weights, lens)[:, None], turn)[:, 0]
    found = root_from_rays(world_to_camera(pose, turn), turned2d, weights, lens)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("case", ["no weight", "one ray", "no size"])
def test_root_and_gradient_stay_finite_where_rays_fix_nothing(case):
    pose, root = _scene(6)
    pose2d = project(pose + root[:, None], LENS).requires_grad_()
    weights = torch.ones(6, 16, dtype=torch.float64)
    weights = torch.zeros_like(weights) if case == "no weight" else weights
    pose = torch.zeros_like(pose) if case == "no size" else pose
    seen = pose2d[:, :1].expand(-1, 16, -1) if case == "one ray" else pose2d
    pose = pose.detach().requires_grad_()
    found = root_from_rays(pose, seen, weights, LENS)
    assert torch.isfinite(found).all()
    if case != "one ray":
        assert float(found.detach().abs().max()) < 1e-9
    for gradient in torch.autograd.grad(found.sum(), [pose, pose2d], allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all()


def test_a_point_behind_the_camera_is_far_from_its_ray():
    point = torch.tensor([[0.1, 0.2, 5.0]])
    pose2d = project(point, LENS)
    assert float(ray_distances(point, pose2d, LENS)) < 1e-6
    assert float(ray_distances(-point, pose2d, LENS)) == pytest.approx(float(point.norm()))


class _Oracle(Lifter):
    """Gives the poses it was made with, spoiled in a chosen way, whatever it sees."""

    def __init__(self, poses: dict[int, torch.Tensor]):
        super().__init__()
        self.skeleton_in = self.skeleton_out = H36M_16
        self.receptive_field, self.frames_before, self.frames_after = 1, 0, 0
        self.poses = poses

    def spec(self):
        return {}

    def forward(self, pose2d):
        """Finds the pose whose projection, plain or mirrored, is in front of it; else no pose."""
        found = []
        for frame in pose2d[0]:
            by_key = self.poses.get(_key(frame))
            if by_key is None:
                mirrored = self.poses.get(_key(mirror_pose(frame, H36M_16)), torch.zeros(16, 3))
                by_key = mirror_pose(mirrored, H36M_16)
            found.append(by_key)
        return torch.stack(found)[None]


def _key(frame: torch.Tensor) -> int:
    return hash(tuple((frame * 1e4).round().long().flatten().tolist()))


def _rigid_target() -> tuple[PoseData, torch.Tensor]:
    """A symmetric body that turns rigidly before a camera of focal length 2.3, and its poses."""
    generator = torch.Generator().manual_seed(0)
    body = 0.4 * torch.randn(16, 3, generator=generator)
    body = body + mirror_pose(body, H36M_16)
    body = body - body[:1]
    angle = torch.linspace(0.3, 2.0, 40)
    turn = torch.eye(3).repeat(40, 1, 1)
    turn[:, 0, 0] = turn[:, 2, 2] = angle.cos()
    turn[:, 0, 2], turn[:, 2, 0] = angle.sin(), -angle.sin()
    pose = body @ turn.mT
    clip = wavy_clip(40)
    shifted = pose + torch.tensor([0.3, -0.1, 5.0])
    clip = replace(clip, pose3d_cam=shifted, pose2d=project(shifted, pinhole(2.3)))
    return PoseData("rigid", H36M_16, (clip,)), pose


def _scored(data: PoseData, pose: torch.Tensor):
    keys = [_key(frame) for frame in data.clips[0].pose2d]
    lifter = _Oracle(dict(zip(keys, pose, strict=True)))
    return label_free_score(lifter, data.as_target(), 2.3)


def test_the_truth_scores_zero_at_any_size():
    data, pose = _rigid_target()
    for scale in (1.0, 0.5):
        score = _scored(data, scale * pose)
        assert score.total == pytest.approx(0, abs=2e-5)
        assert score.num_frames == 40
        assert score.size_mm == pytest.approx(1000 * scale * float(pose.norm(dim=-1).mean()))


def test_each_part_sees_its_own_fault_and_size_changes_nothing():
    data, pose = _rigid_target()
    generator = torch.Generator().manual_seed(1)
    wrong = pose + 0.05 * torch.randn(pose.shape, generator=generator)
    noisy = _scored(data, wrong)
    assert min(noisy.ray_residual, noisy.bone_constancy, noisy.bone_symmetry) > 0.01
    half = _scored(data, 0.5 * wrong)
    assert half.total == pytest.approx(noisy.total, rel=1e-4)
    assert half.flip_disagreement_mm == pytest.approx(noisy.flip_disagreement_mm / 2, abs=1e-4)
    mannequin = _scored(data, pose[:1].expand_as(pose))
    assert mannequin.bone_constancy == pytest.approx(0, abs=1e-5)
    assert mannequin.total > noisy.total
    flat = _scored(data, pose * torch.tensor([1.0, 1, 0]))
    assert flat.bone_constancy > 0.05
    worse = _scored(data, pose + 0.1 * torch.randn(pose.shape, generator=generator))
    assert worse.total > noisy.total


def test_the_root_need_not_be_at_zero_and_collapse_is_endlessly_bad():
    data, pose = _rigid_target()
    assert _scored(data, pose + 0.3 * pose[:, 3:4]).ray_residual < 1e-5
    nothing = _scored(data, torch.zeros_like(pose))
    assert math.isinf(nothing.total)


def test_flip_agreement_by_hand():
    target = wavy_data((12, 9), ("A", "B")).as_target()
    assert label_free_score(SymmetricLifter(1, 1), target, 2.3).flip_disagreement_mm < 1e-3
    lifter = LinearLifter(1, 1)
    distances = []
    for clip in target.clips:
        mirrored = replace(clip, pose2d=mirror_pose(clip.pose2d, H36M_16))
        other = mirror_pose(predict_clip(lifter, mirrored), H36M_16)
        distances += [1000 * float((a - b).norm(dim=-1).mean()) for a, b in
                      zip(predict_clip(lifter, clip), other, strict=True)]  # fmt: skip
    score = label_free_score(lifter, target, 2.3)
    assert score.flip_disagreement_mm == pytest.approx(sum(distances) / 21, rel=1e-4)


def test_invalid_frames_and_their_nan_do_not_enter():
    data, pose = _rigid_target()
    clip = data.clips[0]
    valid = torch.ones(40, dtype=torch.bool)
    valid[10:15] = False
    holed = clip.pose2d.clone()
    holed[10:15] = torch.nan
    holed_data = replace(data, clips=(replace(clip, pose2d=holed, valid=valid),))
    keys = [_key(frame) for frame in clip.pose2d]
    lifter = _Oracle(dict(zip(keys, pose, strict=True)))
    score = label_free_score(lifter, holed_data.as_target(), 2.3)
    assert score.num_frames == 35
    assert score.total == pytest.approx(0, abs=2e-5)


@pytest.mark.parametrize(("clips", "length"), [(3, 500), (40, 100), (400, 3)])
def test_no_more_frames_than_asked_and_always_the_same(clips, length):
    made = tuple(wavy_clip(length, seed).without_labels() for seed in range(clips))
    target = TargetData("many", H36M_16, made)
    lifter = LinearLifter(1, 1)
    scores = [label_free_score(lifter, target, 2.3, max_frames=300) for _ in range(2)]
    assert scores[0] == scores[1]
    assert 290 <= scores[0].num_frames <= 300
    everything = label_free_score(lifter, target, 2.3, max_frames=10**6)
    assert everything.num_frames == clips * length


def test_what_cannot_be_is_refused():
    target, lifter = wavy_data((5,), ("A",)).as_target(), LinearLifter(1, 1)
    with pytest.raises(ConfigError, match="focal: expected a length above 0, got -1"):
        label_free_score(lifter, target, -1.0)
    with pytest.raises(ConfigError, match="max_frames: expected at least 1, got 0"):
        label_free_score(lifter, target, 2.3, max_frames=0)
    clip = target.clips[0]
    blind = replace(target, clips=(replace(clip, valid=torch.zeros(5, dtype=torch.bool)),))
    with pytest.raises(DataError, match="target 'wavy': no valid frame"):
        label_free_score(lifter, blind, 2.3)
    unsure = replace(target, clips=(replace(clip, confidence=torch.zeros(5, 16)),))
    with pytest.raises(DataError, match="every keypoint has confidence 0"):
        label_free_score(lifter, unsure, 2.3)
