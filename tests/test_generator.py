"""The motion generator: formulas against slow references, gradients, single frames."""

import math

import numpy as np
import pytest
import torch
from method_data import source_windows
from scipy.spatial.transform import Rotation

from adaptpose import camera, rotations
from adaptpose.bones import bone_lengths, pose_to_bones
from adaptpose.camera_generator import CameraGenerator
from adaptpose.config import GeneratorConfig
from adaptpose.generator import FIXED_BONES, MotionGenerator
from adaptpose.recipe import angle_profile, apply_recipe, project_planes, rotate_bones
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16


def _generator(length: int = 9, **changes: object) -> MotionGenerator:
    config = GeneratorConfig(hidden=32, **changes)  # type: ignore[arg-type]
    return MotionGenerator(config, H36M_16, length // 2, stream(1, "generator"))


def _generate(generator: MotionGenerator, length: int = 9, count: int = 24):
    _, source = source_windows(count, length)
    with torch.no_grad():
        return source, generator(source, generator.draw_noise(count, stream(2, "noise")))


def test_rotations_against_scipy():
    rng = stream(0, "rotations")
    axis = torch.randn(20, 3, generator=rng, dtype=torch.float64)
    angle = torch.randn(20, generator=rng, dtype=torch.float64) * 2
    unit = (axis / axis.norm(dim=1, keepdim=True)).numpy()
    want = Rotation.from_rotvec(unit * angle[:, None].numpy()).as_matrix()
    np.testing.assert_allclose(rotations.axis_angle_to_rotmat(axis, angle), want, atol=1e-6)
    wxyz = torch.randn(20, 4, generator=rng, dtype=torch.float64)
    want = Rotation.from_quat(wxyz[:, [1, 2, 3, 0]].numpy()).as_matrix()
    np.testing.assert_allclose(rotations.quaternion_to_rotmat(wxyz), want, atol=1e-6)
    want = Rotation.from_euler("ZYX", axis.numpy()).as_matrix()
    np.testing.assert_allclose(rotations.euler_zyx_to_rotmat(axis), want, atol=1e-6)


def test_paper_rotation_formula_equals_ours():
    """Eq. 8-10 written out: R = v v' + q_r² I + 2 q_r [v]x + [v]x²."""
    axis, angle = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64), 0.7
    v = axis / axis.norm() * math.sin(angle / 2)
    cross = torch.tensor([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    q_r = math.cos(angle / 2)
    paper = torch.outer(v, v) + q_r**2 * torch.eye(3) + 2 * q_r * cross + cross @ cross
    ours = rotations.axis_angle_to_rotmat(axis, torch.tensor(angle, dtype=torch.float64))
    torch.testing.assert_close(ours, paper, atol=1e-6, rtol=0)


def test_rotation_gradients_are_finite_at_the_ugly_points():
    axis = torch.zeros(2, 3, requires_grad=True)
    angle = torch.zeros(2, requires_grad=True)
    rotations.axis_angle_to_rotmat(axis, angle).sum().backward()
    quaternion = torch.zeros(1, 4, requires_grad=True)
    rotations.quaternion_to_rotmat(quaternion).sum().backward()
    rotvec = torch.zeros(1, 3, requires_grad=True)
    rotations.rotvec_to_rotmat(rotvec).sum().backward()
    for leaf in (axis, angle, quaternion, rotvec):
        assert torch.isfinite(leaf.grad).all()


def test_rotate_bones_against_loops():
    rng = stream(3, "bones")
    bones = torch.randn(3, 2, 4, 5, generator=rng, dtype=torch.float64)
    axis = torch.nn.functional.normalize(
        torch.randn(3, 2, 5, generator=rng, dtype=torch.float64), dim=0
    )
    angle = torch.randn(2, 4, 5, generator=rng, dtype=torch.float64)
    turned, turn = rotate_bones(bones, axis, angle)
    for b in range(2):
        for t in range(4):
            for n in range(5):
                vector = axis[:, b, n].numpy() * float(angle[b, t, n])
                want = Rotation.from_rotvec(vector).apply(bones[:, b, t, n].numpy())
                np.testing.assert_allclose(turned[:, b, t, n], want, atol=1e-9)
                cos = want @ bones[:, b, t, n].numpy() / (want @ want)
                assert float(turn[b, t, n]) == pytest.approx(1 - cos, abs=1e-9)


def test_profiles():
    like = torch.zeros(())
    torch.testing.assert_close(angle_profile(4, "paper", like), torch.tensor([0, 0.25, 0.5, 0.75]))
    full = torch.tensor([0, 1 / 3, 2 / 3, 1.0])
    torch.testing.assert_close(angle_profile(4, "full", like), full)
    assert angle_profile(1, "full", like).tolist() == [0.5]
    assert angle_profile(1, "paper", like).tolist() == [0.0]


@pytest.mark.parametrize("method", ["bg1", "bg2", "bg3"])
@pytest.mark.parametrize("length", [1, 9])
def test_bone_lengths_follow_lambda_and_fixed_bones_stay(method, length):
    generator = _generator(length, bones=method)
    source, out = _generate(generator, length)
    before = bone_lengths(source.pose3d_cam, H36M_16)
    after = bone_lengths(out.posed, H36M_16)
    want = before * (1 + out.length_change[:, None])
    torch.testing.assert_close(after, want, atol=1e-4, rtol=1e-4)
    assert float(out.length_change.abs().max()) <= 0.2 + 1e-6
    assert float(out.length_change[:, H36M_16.bone_id("thorax")].abs().max()) == 0
    ids = [H36M_16.bone_id(b) for b in FIXED_BONES]
    if method != "bg2":  # BG2 starts from the first frame's bones, so they stand still
        unit = torch.nn.functional.normalize
        old = unit(pose_to_bones(source.pose3d_cam, H36M_16)[:, :, ids], dim=-1)
        new = unit(pose_to_bones(out.posed, H36M_16)[:, :, ids], dim=-1)
        torch.testing.assert_close(new, old, atol=1e-4, rtol=0)


def test_a_single_frame_is_really_turned():
    _, out = _generate(_generator(1), 1)
    assert float(out.turn.mean()) > 0.02
    _, paper = _generate(_generator(1, angle_profile="paper"), 1)
    assert float(paper.turn.abs().max()) < 1e-6


@pytest.mark.parametrize("translation", ["screen", "metric"])
def test_camera_keeps_shape_and_trajectory(translation):
    generator = _generator(9, translation=translation)
    _, out = _generate(generator)
    root, middle = H36M_16.root, 4
    posed = out.posed - out.posed[:, middle, None, root, None]
    filmed = out.pose3d_cam - out.translation[:, None, None]
    want = torch.einsum("bij,btkj->btki", out.rotation, posed)
    torch.testing.assert_close(filmed, want, atol=1e-5, rtol=0)
    identity = out.rotation @ out.rotation.mT
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.pose3d_cam[:, middle, root], out.translation, atol=1e-5, rtol=0)
    assert float(out.translation[:, 2].min()) >= 1.0


def test_static_root_variant_has_no_trajectory():
    _, out = _generate(_generator(9, keep_trajectory=False))
    root = out.pose3d_cam[:, :, H36M_16.root]
    torch.testing.assert_close(root, out.translation[:, None].expand_as(root), atol=1e-5, rtol=0)


def test_screen_translation_starts_inside_the_image():
    _, out = _generate(_generator(9))
    root = out.pose2d[:, 4, H36M_16.root]
    assert float(root.abs().max()) < 1


@pytest.mark.parametrize("model", ["h36m", "opencv"])
def test_projection_equals_the_camera_module(model):
    rng = stream(5, "projection")
    pose = torch.rand(6, 4, 16, 3, generator=rng) * 2 - 1 + torch.tensor([0.0, 0.0, 4.0])
    lens = camera.Intrinsics(
        2 + torch.rand(6, 2, generator=rng),
        torch.rand(6, 2, generator=rng) * 0.1,
        torch.randn(6, 5, generator=rng) * 0.05,
        model,
    )
    ours = project_planes(pose.movedim(-1, 0), lens)
    for b in range(6):
        want = camera.project(pose[b], lens.select(b))
        torch.testing.assert_close(ours[b], want, atol=1e-5, rtol=0)


def test_projection_behind_the_camera_has_finite_gradients():
    pose = torch.tensor([0.2, 0.1, -3.0]).expand(2, 3, 16, 3).clone().requires_grad_()
    _, source = source_windows(2, 3)
    project_planes(pose.movedim(-1, 0), source.intrinsics).sum().backward()
    assert torch.isfinite(pose.grad).all()


@pytest.mark.parametrize("representation", ["axis_angle", "quaternion", "euler"])
def test_mean_and_spread_of_the_camera_receive_gradients(representation):
    config = GeneratorConfig(hidden=16, rotation=representation)
    generator = MotionGenerator(config, H36M_16, 4, stream(0, "g"))
    assert isinstance(generator.camera, CameraGenerator)
    _, source = source_windows(8, 9)
    out = generator(source, generator.draw_noise(8, stream(1, "n")))
    (out.pose2d * torch.linspace(0, 1, 16)[:, None]).sum().backward()
    bias = generator.camera.rotation_head.bias.grad
    size = generator.camera.size
    assert float(bias[:size].abs().min()) > 1e-6
    assert float(bias[size : 2 * size].abs().min()) > 1e-6


def test_probabilistic_cameras_differ_and_deterministic_ones_do_not():
    _, source = source_windows(8, 9)
    for method, differs in (("probabilistic", True), ("deterministic", False)):
        config = GeneratorConfig(hidden=16, camera=method)
        head = CameraGenerator(config, 10)
        head.set_start()
        head.eval()
        features = torch.ones(8, 10)
        draw = torch.randn(8, head.noise_size, generator=stream(0, method))
        with torch.no_grad():
            rotation, _ = head(features, draw, source.intrinsics)
        assert bool((rotation - rotation[:1]).abs().max() > 1e-3) is differs


def test_no_camera_leaves_the_source_camera():
    generator = _generator(9, camera="none", bones="none", lengths=False)
    source, out = _generate(generator)
    torch.testing.assert_close(out.pose3d_cam, source.pose3d_cam, atol=1e-5, rtol=0)
    assert list(generator.parameters()) == []


def test_a_recipe_makes_the_window_again():
    generator = _generator(9).eval()
    _, source = source_windows(12, 9)
    noise = generator.draw_noise(12, stream(4, "n"))
    with torch.no_grad():
        direct = generator(source, noise)
        again = apply_recipe(source, generator.recipe(source, noise), generator.rule)
    torch.testing.assert_close(again.pose2d, direct.pose2d, rtol=0, atol=0)


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    one = _generator(9).state_dict()
    torch.manual_seed(2)
    two = _generator(9).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_published_parameter_counts():
    """BA 305,212, BL 296,713 and RT 582,154 of the released code, whose R head is dead code."""
    generator = MotionGenerator(GeneratorConfig(), H36M_16, 13, stream(0, "g"))
    count = {n: sum(p.numel() for p in m.parameters()) for n, m in generator.named_children()}
    assert count["bone_trunk"] + count["bone_head"] == 305_212
    groups = len(H36M_16.symmetric_bones)
    assert groups == 9
    noise_difference = (48 - 45) * 256
    assert count["length_trunk"] + count["length_head"] == 296_713 - noise_difference
