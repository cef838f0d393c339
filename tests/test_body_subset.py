"""Fewer vertices of a body, and joints by name: against the whole, loops and smplx."""

import dataclasses

import numpy as np
import pw3d_data as data
import pytest
import roma
import torch

from adaptpose.body_parts import (
    farthest_points,
    joint_regressor_for,
    moved,
    used_vertices,
    with_vertices,
)
from adaptpose.errors import DataError, SkeletonError
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16, SMPL_24
from adaptpose.skinning import BodyModel, linear_joints, regress_joints, skin


@pytest.fixture(scope="module")
def model() -> BodyModel:
    body = data.body_arrays()
    keys = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    template, shapes, poses, regressor, weights = (torch.from_numpy(body[key]) for key in keys)
    faces = torch.arange(75).reshape(25, 3)
    return BodyModel(
        template, shapes, poses, regressor, data.PARENTS, weights, faces,
        joint_names=SMPL_24.joints, name="small",
    )  # fmt: skip


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=stream(seed, "subset"), dtype=torch.float64)


@pytest.mark.parametrize("index", [[0], [74, 3, 41, 40], list(range(74, -1, -1))])
def test_a_part_of_the_skinned_body_is_the_skinned_part(model, index):
    betas, pose, shift = _draw(5, 10), 0.7 * _draw(5, 24, 3, seed=1), _draw(5, 3, seed=2)
    vertices, joints = skin(model, betas, pose, shift)
    part = with_vertices(model, torch.tensor(index))
    some, same = skin(part, betas, roma.rotvec_to_rotmat(pose), shift)
    torch.testing.assert_close(some, vertices[:, index], rtol=0, atol=1e-12)
    torch.testing.assert_close(same, joints, rtol=0, atol=1e-12)
    fewer, _ = skin(part, betas[:, :4], pose, shift)
    whole, _ = skin(model, betas[:, :4], pose, shift)
    torch.testing.assert_close(fewer, whole[:, index], rtol=0, atol=1e-12)


def test_the_part_of_a_part_and_its_faces(model):
    part = with_vertices(model, torch.tensor([5, 4, 3, 30, 0, 1]))
    assert part.faces is not None
    assert part.faces.tolist() == [[2, 1, 0]]
    again = with_vertices(part, torch.tensor([3, 0]))
    torch.testing.assert_close(again.template, model.template[[30, 5]])
    assert again.faces is not None
    assert len(again.faces) == 0
    for one, other in zip(linear_joints(again), linear_joints(model), strict=True):
        torch.testing.assert_close(one, other)


def test_joints_from_the_vertices_that_a_regressor_uses_are_those_of_the_whole(model):
    regressor = joint_regressor_for(model, H36M_16)
    index = used_vertices(regressor)
    assert 10 < len(index) < 75
    part = with_vertices(model, index)
    betas, pose, shift = _draw(4, 10), 0.5 * _draw(4, 24, 3, seed=3), _draw(1, 3)
    whole = regress_joints(skin(model, betas, pose, shift)[0], regressor)
    torch.testing.assert_close(
        regress_joints(skin(part, betas, pose, shift)[0], regressor[:, index]), whole
    )


def test_gradients_of_a_part_are_right(model):
    part = with_vertices(model, torch.tensor([2, 50, 70]))
    betas, shift = (0.3 * _draw(2, 4)).requires_grad_(), _draw(1, 3).requires_grad_()
    matrices = roma.rotvec_to_rotmat(0.4 * _draw(2, 24, 3, seed=4)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *given: skin(part, *given), [betas, matrices, shift], fast_mode=True
    )


def test_linear_joints_are_the_regressor_on_the_shaped_template(model):
    betas = _draw(3, 10, seed=5)
    places, directions = linear_joints(model)
    for row in betas:
        shaped = model.template + model.shape_directions @ row
        torch.testing.assert_close(places + directions @ row, model.joint_regressor @ shaped)


def test_skinning_is_that_of_smplx(model):
    lbs = pytest.importorskip("smplx.lbs", reason="smplx (not free) is not installed").lbs
    betas, pose = _draw(3, 10, seed=6), 0.8 * _draw(3, 24, 3, seed=7)
    entries = model.pose_directions.reshape(-1, 207).T
    vertices, joints = lbs(
        betas, pose.flatten(1), model.template[None], model.shape_directions, entries,
        model.joint_regressor, torch.tensor(model.parents), model.weights,
    )  # fmt: skip
    ours = skin(model, betas, pose, torch.zeros(1, 3).double())
    torch.testing.assert_close(ours[0], vertices, rtol=0, atol=1e-7)
    torch.testing.assert_close(ours[1], joints, rtol=0, atol=1e-7)


def test_farthest_points_are_those_of_a_loop_and_nested(model):
    points = model.template.numpy()
    chosen = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmax())]
    while len(chosen) < 12:
        apart = [min(np.linalg.norm(p - points[c]) for c in chosen) for p in points]
        chosen.append(int(np.argmax(apart)))
    assert farthest_points(model, 12).tolist() == chosen
    assert farthest_points(model, 5).tolist() == chosen[:5]
    assert sorted(farthest_points(model, 75).tolist()) == list(range(75))


def test_joints_by_name(model):
    own = joint_regressor_for(model, SMPL_24)
    torch.testing.assert_close(own, model.joint_regressor)
    rows = dict(zip(H36M_16.joints, joint_regressor_for(model, H36M_16), strict=True))
    for name, row in rows.items():
        assert float(row.min()) >= 0, name
        assert float(row.sum()) == pytest.approx(1), name
    own_rows = dict(zip(SMPL_24.joints, own, strict=True))
    torch.testing.assert_close(rows["left_knee"], own_rows["left_knee"])
    torch.testing.assert_close(rows["spine"], own_rows["spine2"])
    torch.testing.assert_close(rows["hip"], (own_rows["left_hip"] + own_rows["right_hip"]) / 2)
    height = rows["head"] @ model.template[:, 1]
    assert model.template[:, 1].max() - 0.015 <= height <= model.template[:, 1].max()
    two = joint_regressor_for(model, ("head", "left_knee"))
    torch.testing.assert_close(two, torch.stack([rows["head"], rows["left_knee"]]))


def test_precision_moves_numbers_but_not_faces(model):
    single = moved(model, dtype=torch.float32)
    assert {single.template.dtype, single.weights.dtype} == {torch.float32}
    assert single.faces is not None
    assert single.faces.dtype == torch.int64
    assert single.joint_names == model.joint_names


def test_what_does_not_fit_is_said(model):
    for count in (0, 76):
        with pytest.raises(DataError, match=f"expected 1 to 75, as the body has, got {count}"):
            farthest_points(model, count)
    for index, message in (([75], "got 75 to 75"), ([-1, 2], "got -1 to 2"), ([1, 1], "twice")):
        with pytest.raises(DataError, match=message):
            with_vertices(model, torch.tensor(index))
    with pytest.raises(DataError, match="got none"):
        with_vertices(model, torch.zeros(0, dtype=torch.int64))
    with pytest.raises(SkeletonError, match="'small': unknown joint 'left_nee'; did you mean"):
        joint_regressor_for(model, ("left_nee",))
    part = with_vertices(model, torch.tensor([0, 1, 74]))
    with pytest.raises(DataError, match="regressor of the whole body"):
        joint_regressor_for(part, ("left_knee",))
    negative = dataclasses.replace(model, joint_regressor=-model.joint_regressor)
    with pytest.raises(DataError, match="non-negative weights"):
        joint_regressor_for(negative, SMPL_24)
