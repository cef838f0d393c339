"""PoseNet3D as a lifter: against the networks, invariances, whole clips, round trip."""

from dataclasses import replace

import pytest
import torch

from adaptpose.clips import Clip2D
from adaptpose.errors import CheckpointError, ConfigError, DataError, SkeletonError
from adaptpose.inference import predict_clip
from adaptpose.joint_adaptation import build_adaptation
from adaptpose.lifter import check_lifter_skeleton, save_lifter
from adaptpose.lifters import lifter_from_spec, load_lifter
from adaptpose.lifters.posenet import TRUNK_M, PoseNetLifter
from adaptpose.posenet import Teacher, initialise
from adaptpose.posenet_body import SkinnedBody, Student
from adaptpose.posenet_geometry import (
    JOINTS,
    POSENET_15,
    fill_matrix,
    normalise_windows,
    root_of,
    trunk_length,
)
from adaptpose.skeleton import H36M_16, H36M_17, H36M_17_LEFT_FIRST, SMPL_24
from adaptpose.skinning import linear_joints
from tests.posenet_data import SMALL, body_model, generator, sparse_regressor, windows

OUTPUTS = ("teacher", "student", "average")


def _lifter(output="teacher", skeleton_in=H36M_16, skeleton_out=POSENET_15, kind="convex"):
    teacher = Teacher(SMALL)
    student = Student(SMALL, SkinnedBody(body_model()), build_adaptation(kind, sparse_regressor()))
    initialise(teacher, generator())
    initialise(student, generator(1))
    student.set_size()
    student.head.out.weight.data.mul_(50)
    lifter = PoseNetLifter(teacher, skeleton_in, skeleton_out, output, student)
    return lifter.double().eval()


def _clip(frames, skeleton=H36M_16, batch=2):
    return fill_matrix(skeleton).double() @ windows(batch, frames)


@pytest.mark.parametrize("output", OUTPUTS)
def test_poses_are_the_middle_frames_of_windows(output):
    lifter, clip = _lifter(output), _clip(12)
    got = lifter(clip)
    assert got.shape == (2, 4, 15, 3)
    assert (lifter.receptive_field, lifter.frames_before, lifter.frames_after) == (9, 4, 4)
    poses = dict(zip(POSENET_15.joints, got[1, 2], strict=True))
    picked = torch.stack([clip[1, 2:11, H36M_16.id(j)] for j in JOINTS], dim=1)[None]
    seen, _ = normalise_windows(picked)
    features = lifter.teacher.backbone(seen)
    expected = {}
    points = lifter.teacher(seen)[0]
    lengths = torch.stack([trunk_length(frame) for frame in points])
    expected["teacher"] = (points[4] - root_of(points[4])) * TRUNK_M / lengths.mean()
    if lifter.student is not None:
        _, posed = lifter.student(features)
        joints = lifter.student.adaptation(posed.vertices)[0, 4]
        expected["student"] = joints - root_of(joints)
        sizes = [expected[k].norm() for k in ("student", "teacher")]
        expected["average"] = (expected["student"] + expected["teacher"] * sizes[0] / sizes[1]) / 2
    for joint, point in zip(JOINTS, expected[output], strict=True):
        torch.testing.assert_close(poses[joint], point)
    assert poses["hip"].abs().max() < 1e-12


@pytest.mark.parametrize("output", OUTPUTS)
def test_place_and_size_in_the_image_change_nothing(output):
    lifter, clip = _lifter(output), _clip(11)
    torch.testing.assert_close(lifter(0.4 * clip + 0.3), lifter(clip))


def test_windows_and_clips_agree():
    lifter, clip = _lifter("average"), _clip(11)
    whole = lifter(clip)
    for start in range(3):
        torch.testing.assert_close(lifter.lift_window(clip[:, start : start + 9]), whole[:, start])


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17, H36M_17_LEFT_FIRST, POSENET_15])
def test_every_skeleton_gives_the_same_joints(skeleton):
    base = _lifter()(_clip(9))[:, 0]
    got = _lifter(skeleton_in=skeleton, skeleton_out=skeleton)(_clip(9, skeleton))[:, 0]
    for joint in POSENET_15.joints:
        torch.testing.assert_close(got[:, skeleton.id(joint)], base[:, POSENET_15.id(joint)])
    check_lifter_skeleton(_lifter(skeleton_in=skeleton, skeleton_out=skeleton), skeleton, "test")


@pytest.mark.parametrize("output", ["teacher", "average"])
def test_whole_clips(output):
    lifter = _lifter(output).float()
    pose2d = _clip(20, batch=1)[0].float()
    clip = Clip2D(
        subject="S1", action="walk", camera="a", frame_rate_hz=50.0, image_size_px=(100, 100),
        pose2d=pose2d, confidence=torch.ones(20, 16), valid=torch.ones(20, dtype=torch.bool),
    )  # fmt: skip
    poses = predict_clip(lifter, clip, tta="both")
    assert poses.shape == (20, 15, 3)
    assert poses.isfinite().all()
    torch.testing.assert_close(
        predict_clip(lifter, clip, chunk_frames=5), predict_clip(lifter, clip)
    )
    still = predict_clip(lifter, Clip2D(**{**vars(clip), "pose2d": pose2d[:1].expand(20, 16, 2)}))
    copied = lifter(pose2d[:1].expand(1, 9, 16, 2))[0, 0].detach()
    torch.testing.assert_close(still, copied.expand(20, 15, 3))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", ["convex", "linear", "none"])
def test_round_trip(tmp_path, output, kind):
    lifter, clip = _lifter(output, kind=kind).float(), _clip(10).float()
    lifter.context_stride = 2
    save_lifter(tmp_path / "net.safetensors", lifter, {"role": "test"})
    loaded, meta = load_lifter(tmp_path / "net.safetensors")
    assert meta == {"role": "test"}
    assert loaded.context_stride == 2
    assert torch.equal(loaded(clip), lifter(clip))
    if output == "teacher":
        assert not any(key.startswith("student") for key in loaded.state_dict())
        return
    seen = torch.stack([clip[:, :9, H36M_16.id(j)] for j in JOINTS], dim=2)
    assert isinstance(loaded, PoseNetLifter)
    for mine, other in zip(lifter.body(seen), loaded.body(seen), strict=True):
        for a, b in zip(mine, other, strict=True):
            assert torch.equal(a, b)


def test_body_of_the_middle_frame():
    lifter = _lifter("student")
    seen = windows(3, 9)
    predicted, posed = lifter.body(seen)
    assert predicted.betas.shape == (3, 3)
    assert predicted.rotations.shape == (3, 1, 5, 3, 3)
    assert posed.vertices.shape == (3, 1, 60, 3)
    every, _ = lifter.student(lifter.teacher.backbone(normalise_windows(seen)[0]))
    torch.testing.assert_close(predicted.rotations, every.rotations[:, 4:5])
    assert _lifter("teacher").body(seen) is None


def test_wrong_use():
    lifter = _lifter()
    with pytest.raises(SkeletonError, match="16 joints of 'h36m16', got 17"):
        lifter(_clip(9, H36M_17))
    with pytest.raises(DataError, match="at least 9 frames"):
        lifter(_clip(8))
    with pytest.raises(SkeletonError, match="'smpl24' has no head"):
        _lifter(skeleton_in=SMPL_24)
    with pytest.raises(ConfigError, match="needs a student"):
        PoseNetLifter(lifter.teacher, H36M_16, POSENET_15, "student")


def test_damaged_descriptions():
    lifter = _lifter("student").float()
    spec = lifter.spec()
    for broken in ({"student": {}}, {"config": {"channels": "many"}}, {"output": "x"}):
        with pytest.raises(ConfigError):
            lifter_from_spec({**spec, **broken})
    body = {"plain": {}, "buffers": {"template": ["pi", [3, 3]]}}
    with pytest.raises(CheckpointError, match="expected a type of numbers, got 'pi'"):
        lifter_from_spec({**spec, "student": {**spec["student"], "body": body}})


def test_bodies_with_other_fields_round_trip(tmp_path):
    """A body without pose corrections, with faces and with its own rest joints."""
    model = body_model()
    joints, directions = linear_joints(model)
    model = replace(
        model,
        pose_directions=torch.zeros(60, 3, 0),
        faces=torch.arange(60).view(20, 3),
        joint_template=joints + 0.01,
        joint_directions=directions,
        joint_names=("hip", "spine", "thorax", "head", "left_wrist"),
        name="stick",
    )
    student = Student(SMALL, SkinnedBody(model), build_adaptation("none", sparse_regressor()))
    teacher = Teacher(SMALL)
    for module in (teacher, student):
        initialise(module, generator())
    student.set_size()
    lifter = PoseNetLifter(teacher, H36M_16, POSENET_15, "student", student).eval()
    save_lifter(tmp_path / "net.safetensors", lifter, {})
    loaded, _ = load_lifter(tmp_path / "net.safetensors")
    assert torch.equal(loaded(_clip(9).float()), lifter(_clip(9).float()))
    again = loaded.student.body.model()
    assert (again.parents, again.joint_names, again.name) == (
        model.parents, model.joint_names, "stick",
    )  # fmt: skip
    assert torch.equal(again.faces, model.faces)
