"""Networks of PoseNet3D: loop-written references, published sizes, orthonormalisation."""

import pytest
import torch

from adaptpose.errors import DataError
from adaptpose.joint_adaptation import build_adaptation
from adaptpose.posenet import (
    Backbone,
    StudentHead,
    Teacher,
    TeacherHead,
    TemporalDiscriminator,
    initialise,
    orthonormalise,
    set_generator,
)
from adaptpose.posenet_body import SkinnedBody, Student
from adaptpose.posenet_config import PoseNetConfig
from adaptpose.posenet_geometry import JOINTS, normalise_windows, project_points, root_of
from adaptpose.skinning import skin
from tests.posenet_data import SMALL, body_model, generator, sparse_regressor, windows


def _made(module, seed=0):
    initialise(module, generator(seed))
    rng = generator(seed + 9)
    for key, value in module.state_dict().items():
        if "norm" in key and value.ndim:
            value.copy_(torch.rand(value.shape, generator=rng) + 0.5)
    return module.double().eval()


def _inputs(batch=3, frames=9):
    return normalise_windows(windows(batch, frames))[0]


def _block(weights, name, x):
    """A block on one row, written out."""
    x = weights[f"{name}.linear.weight"] @ x
    if f"{name}.linear.bias" in weights:
        return (x + weights[f"{name}.linear.bias"]).clamp(min=0)
    x = x - weights[f"{name}.norm.running_mean"]
    x = x / (weights[f"{name}.norm.running_var"] + 1e-5).sqrt()
    return (x * weights[f"{name}.norm.weight"] + weights[f"{name}.norm.bias"]).clamp(min=0)


def _dilated_backbone(weights, window, prefix=""):
    """The paper's layers as dilated filters over all frames: 3 at once, then 3 that are 3 apart."""
    x = [frame.flatten() * 10 for frame in window]
    first = [_block(weights, f"{prefix}expand", torch.cat(x[t : t + 3])) for t in range(7)]
    (second,) = [
        _block(weights, f"{prefix}over_groups", torch.cat([first[t + k] for k in (0, 3, 6)]))
        for t in range(len(first) - 6)
    ]
    return first[3] + _block(weights, f"{prefix}last", second)


def test_backbone_is_the_dilated_network():
    backbone, inputs = _made(Backbone(SMALL)), _inputs()
    expected = torch.stack([_dilated_backbone(backbone.state_dict(), w) for w in inputs])
    torch.testing.assert_close(backbone(inputs), expected)


def test_teacher_by_loops():
    teacher, inputs = _made(Teacher(SMALL)), _inputs()
    weights = teacher.state_dict()
    for window, points in zip(inputs, teacher(inputs), strict=True):
        x = _dilated_backbone(weights, window, "backbone.")
        y = _block(weights, "head.block.blocks.1", _block(weights, "head.block.blocks.0", x))
        offsets = weights["head.out.weight"] @ (x + y) + weights["head.out.bias"]
        for k, (x2, y2) in enumerate(window.flatten(0, 1).tolist()):
            z = max(1.0, 10 + float(offsets[k]))
            got = points.flatten(0, 1)[k].tolist()
            assert got == pytest.approx([x2 * z, y2 * z, z])
    torch.testing.assert_close(project_points(teacher(inputs)), inputs)


def test_discriminator_by_loops():
    judge, inputs = _made(TemporalDiscriminator(SMALL)), _inputs()
    weights = judge.state_dict()
    assert not any("norm" in key for key in weights)
    expected = [
        weights["out.weight"][0] @ _dilated_backbone(weights, w, "backbone.") + weights["out.bias"]
        for w in inputs
    ]
    torch.testing.assert_close(judge(inputs), torch.cat(expected))


def _count(module):
    return sum(p.numel() for p in module.parameters())


def test_published_sizes():
    config, wide = PoseNetConfig(), 1024
    norm = 2 * wide
    backbone = 3 * 28 * wide + 3 * wide * wide + wide * wide + 3 * norm
    block = 2 * (wide * wide + norm)
    assert _count(Backbone(config)) == backbone
    assert _count(TeacherHead(config)) == block + (wide + 1) * 14 * 9
    student = StudentHead(config)
    assert _count(student) == 4 * block + (wide + 1) * (10 + 216 * 9)
    assert student.out.out_features == 10 + 216 * 9
    plain = backbone - 3 * norm + 3 * wide
    assert _count(TemporalDiscriminator(config)) == plain + wide + 1
    with torch.no_grad():
        betas, rotations = student.eval()(torch.zeros(2, wide))
    assert betas.shape == (2, 10)
    assert rotations.shape == (2, 9, 24, 3, 3)


def test_windows_of_other_lengths():
    with pytest.raises(DataError, match="expected 9 frames, got 8 frames"):
        _made(Teacher(SMALL))(_inputs(2, 8))
    single = _made(Teacher(PoseNetConfig(widths=(1, 1), channels=8)))
    assert single(_inputs(2, 1)).shape == (2, 1, 14, 3)


def _assert_rotations(got):
    eye = torch.eye(3, dtype=got.dtype).expand_as(got)
    torch.testing.assert_close(got @ got.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(got), torch.ones_like(got[..., 0, 0]))


def _nearest_rotation(matrix):
    u, _, v = torch.linalg.svd(matrix)
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ v))], dtype=u.dtype))
    return u @ flip @ v


def test_orthonormalisation_is_the_nearest_rotation():
    matrices = torch.randn(40, 3, 3, generator=generator(), dtype=torch.float64)
    got = orthonormalise(matrices)
    _assert_rotations(got)
    torch.testing.assert_close(got, torch.stack([_nearest_rotation(m) for m in matrices]))


def test_orthonormalisation_has_the_right_gradient():
    rng = generator(2)
    matrices = torch.eye(3).double() + 0.3 * torch.randn(5, 3, 3, generator=rng).double()
    weight = torch.randn(5, 3, 3, generator=rng).double()
    matrices.requires_grad_()
    (got,) = torch.autograd.grad((orthonormalise(matrices) * weight).sum(), matrices)
    with torch.no_grad():
        expected = torch.zeros_like(matrices)
        for k in range(matrices.numel()):
            step = torch.zeros(matrices.numel()).double()
            step[k] = 1e-6
            ends = [
                (orthonormalise(matrices + s * step.view_as(matrices)) * weight).sum()
                for s in (1, -1)
            ]
            expected.view(-1)[k] = (ends[0] - ends[1]) / 2e-6
    torch.testing.assert_close(got, expected, rtol=0.02, atol=2e-3)


_UGLY = {
    "zero": torch.zeros(3, 3),
    "tiny": 1e-20 * torch.eye(3),
    "rank one": torch.outer(torch.tensor([1.0, 2, 3]), torch.tensor([0.5, -1, 2])),
    "rank two": torch.diag(torch.tensor([1.0, 2.0, 0.0])),
    "reflected": torch.diag(torch.tensor([1.0, 1.0, -1.0])),
    "inverted": -torch.eye(3),
    "nearly ambiguous": torch.diag(torch.tensor([1.0, 0.5, -0.5 + 1e-6])),
    "ambiguous": torch.diag(torch.tensor([1.0, 0.5, -0.5])),
    "huge": 1e6 * torch.eye(3),
}


@pytest.mark.parametrize("name", list(_UGLY))
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_orthonormalisation_of_ugly_matrices(name, noise):
    rng = generator(4)
    matrix = _UGLY[name] + noise * torch.randn(3, 3, generator=rng)
    matrices = matrix.expand(4, 3, 3).clone().requires_grad_()
    got = orthonormalise(matrices)
    _assert_rotations(got.detach())
    direction = torch.randn(4, 3, 3, generator=rng)
    (gradient,) = torch.autograd.grad((got * direction).sum(), matrices)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) <= 20 * direction.flatten(1).norm(dim=1)).all()


def _student(config=SMALL, kind="convex", seed=0):
    body = SkinnedBody(body_model())
    student = Student(config, body, build_adaptation(kind, sparse_regressor()))
    initialise(student, generator(seed))
    student.set_size()
    return student


def test_student_starts_near_the_rest_pose():
    head = StudentHead(PoseNetConfig(channels=64))
    initialise(head, generator())
    betas, rotations = head(torch.randn(30, 64, generator=generator(1)))
    angle = torch.acos(((rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    assert angle.max() < 0.1
    assert betas.abs().max() < 0.1
    assert rotations.std(dim=0).max() > 1e-4


def test_student_poses_the_body():
    student = _student().double().eval()
    features = torch.randn(2, 24, generator=generator(5), dtype=torch.float64)
    (betas, rotations), (points, vertices) = student(features)
    model = student.body.model()
    regressor = student.adaptation.weights()
    assert points.shape == (2, 9, 14, 3)
    for b in range(2):
        for t in range(9):
            whole, _ = skin(
                model, betas[b : b + 1], rotations[b, t : t + 1], torch.zeros(1, 3).double()
            )
            seen = whole[0] * torch.tensor([1.0, -1, -1])
            torch.testing.assert_close(vertices[b, t], seen)
            joints = regressor @ seen * student.units_per_m
            expected = joints - root_of(joints) + torch.tensor([0, 0, 10.0])
            torch.testing.assert_close(points[b, t], expected)


def test_student_has_the_teachers_unit():
    student = _student()
    student.head.out.weight.data.zero_()
    _, (points, _) = student.eval()(torch.zeros(1, 24))
    away = (points[..., JOINTS.index("head"), :] - root_of(points)).norm(dim=-1)
    torch.testing.assert_close(away, torch.ones(1, 9))


def test_student_learns_through_the_body():
    student = _student()
    (betas, _), (points, _) = student(torch.randn(4, 24, generator=generator(6)))
    points.square().sum().backward()
    assert betas.requires_grad
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert student.adaptation.raw.grad.abs().max() > 0
    assert student.head.out.weight.grad.abs().max() > 0


def test_student_of_another_body():
    with pytest.raises(DataError, match="expected 5, as the body model has, got 24"):
        _student(PoseNetConfig(channels=8))


def test_dropout_and_weights_come_from_generators():
    state = torch.get_rng_state()
    teachers = []
    for _ in range(2):
        teacher = Teacher(SMALL)
        initialise(teacher, generator(3))
        teachers.append(teacher)
    inputs = _inputs().float()
    outputs = []
    for teacher in teachers:
        set_generator(teacher, generator(1))
        outputs.append(teacher.train()(inputs))
    assert torch.equal(*outputs)
    assert not torch.equal(teachers[0](inputs), outputs[0])
    assert torch.equal(torch.get_rng_state(), state)
