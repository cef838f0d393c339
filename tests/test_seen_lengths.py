"""Bone lengths that an image shows, and what is found of a target's people."""

from dataclasses import replace

import pytest
import torch
from pseudo_scenes import walk_clip, walks

from adaptpose.bones import bone_lengths, symmetry_matrix
from adaptpose.clips import PoseData
from adaptpose.constant_bones import with_bone_lengths
from adaptpose.people import persons_of
from adaptpose.runtime import stream
from adaptpose.seen_lengths import SeenLengths, seen_lengths, size_of
from adaptpose.skeleton import H36M_16, Skeleton


def _frames(clips):
    """(root-relative poses, rays) of clips."""
    points = torch.cat([clip.pose3d_cam for clip in clips])
    return points - points[:, :1], points[..., :2] / points[..., 2:]


def _by_group(lengths: torch.Tensor) -> torch.Tensor:
    groups = symmetry_matrix(H36M_16, lengths)
    return lengths.log() @ groups.T / groups.sum(dim=1)


def test_of_true_poses_the_true_lengths_are_seen():
    pose, slopes = _frames(walks(4).clips)
    seen = seen_lengths(pose, slopes, torch.ones(pose.shape[:2]), H36M_16, 4.0)
    wanted = _by_group(bone_lengths(pose, H36M_16))
    usable = seen.weight > 1e-6
    torch.testing.assert_close(seen.log_length[usable], wanted[usable], atol=2e-3, rtol=0)


def test_bones_across_the_line_of_sight_show_lengths_that_the_lifter_does_not_know():
    """The poses keep their directions and get bones of a wrong length; the rays know better."""
    pose, slopes = _frames(walks(12, 5).clips)
    true = bone_lengths(pose, H36M_16).mean(dim=0)
    wrong = true.clone()
    arm = [H36M_16.bone_id(f"{side}_{part}") for side in ("left", "right") for part in ("elbow",)]
    wrong[arm] *= 1.3
    lifted = with_bone_lengths(pose, wrong, H36M_16)
    found = {
        sharpness: seen_lengths(
            lifted, slopes, torch.ones(pose.shape[:2]), H36M_16, sharpness
        ).mean()
        for sharpness in (0.0, 8.0)
    }
    place = next(k for k, group in enumerate(H36M_16.symmetric_bones) if "left_elbow" in group)
    off = {key: float(value[place] - _by_group(true)[place]) for key, value in found.items()}
    assert abs(off[8.0]) < 0.25 * torch.tensor(1.3).log()
    assert abs(off[8.0]) < abs(off[0.0])


def test_joints_that_are_not_seen_do_not_count():
    pose, slopes = _frames(walks(2).clips)
    weight = torch.ones(pose.shape[:2])
    weight[:, H36M_16.id("left_wrist")] = 0
    slopes = slopes.clone()
    slopes[:, H36M_16.id("left_wrist")] = 7.0
    seen = seen_lengths(pose, slopes, weight, H36M_16, 2.0)
    clean = seen_lengths(pose, _frames(walks(2).clips)[1], weight, H36M_16, 2.0)
    torch.testing.assert_close(seen.log_length, clean.log_length)
    weight[:, H36M_16.id("right_wrist")] = 0
    blind = seen_lengths(pose, slopes, weight, H36M_16, 2.0)
    place = next(k for k, group in enumerate(H36M_16.symmetric_bones) if "left_wrist" in group)
    assert float(blind.weight[:, place].abs().max()) == 0


def test_persons_of_few_frames_are_drawn_to_the_mean_of_all():
    log_length = torch.tensor([[0.0]] * 90 + [[1.0]] * 10)
    seen = SeenLengths(log_length, torch.ones(100, 1))
    person = torch.tensor([0] * 90 + [1] * 10)
    assert float(seen.mean()) == pytest.approx(0.1)
    own = seen.mean_by(person, 2, 0.0)[:, 0].tolist()
    assert own == pytest.approx([0.0, 1.0])
    drawn = seen.mean_by(person, 2, 10.0)[:, 0].tolist()
    assert drawn == pytest.approx([0.01, 0.55])
    nobody = seen.mean_by(person, 3, 5.0)[2, 0]
    assert float(nobody) == pytest.approx(0.1)


def test_size_is_that_of_the_upright_body_alone():
    lengths = torch.rand(3, H36M_16.num_bones, generator=stream(0, "l")) + 0.1
    wide = lengths.clone()
    for bone in ("left_shoulder", "right_shoulder", "left_hip", "left_wrist"):
        wide[:, H36M_16.bone_id(bone)] *= 2
    torch.testing.assert_close(size_of(wide, H36M_16), size_of(lengths, H36M_16))
    torch.testing.assert_close(size_of(2 * lengths, H36M_16), 2 * size_of(lengths, H36M_16))
    legs = [H36M_16.bone_id(f"{s}_{j}") for s in ("left", "right") for j in ("knee", "ankle")]
    trunk = [H36M_16.bone_id(name) for name in ("spine", "thorax", "head")]
    wanted = lengths[:, legs].sum(dim=1) / 2 + lengths[:, trunk].sum(dim=1)
    torch.testing.assert_close(size_of(lengths, H36M_16), wanted)


def test_a_body_without_a_head_is_as_large_as_its_bones():
    two = Skeleton("two", ("hip", "spine", "thorax"), (("hip", "spine", "thorax"),))
    assert float(size_of(torch.tensor([0.2, 0.3]), two)) == pytest.approx(0.5)


def test_clips_of_one_subject_show_one_person_and_clips_without_one_somebody_each():
    data = PoseData("t", H36M_16, tuple(walk_clip(12, 0.0, 1.0, 4.0) for _ in range(4)), True)
    names = ("a", "", "a", "")
    clips = tuple(replace(c, subject=n) for c, n in zip(data.clips, names, strict=True))
    person, count = persons_of(clips)
    assert person.tolist() == [0, 1, 0, 2]
    assert count == 3
