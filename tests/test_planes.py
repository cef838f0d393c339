"""Gradients that are written out: against numerical ones, against slow formulas, at ugly points."""

import pytest
import torch
from torch.autograd import gradcheck

from adaptpose.bones import kcs_vector, part_kcs_vectors, pose_to_bones
from adaptpose.camera import Intrinsics
from adaptpose.kcs_entries import entry_pairs, kcs_entries, part_entries
from adaptpose.networks import BOUND, Standardise
from adaptpose.planes import film, project_planes, rotate_bones
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16
from adaptpose.taps import tap


def _draw(name: str, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=stream(0, name), dtype=torch.float64)


def _leaf(name: str, *shape: int) -> torch.Tensor:
    return _draw(name, *shape).requires_grad_()


def _lens(model: str, count: int) -> Intrinsics:
    return Intrinsics(
        2 + _draw("focal", count, 2).abs(), _draw("centre", count, 2) * 0.1,
        _draw("distortion", count, 5) * 0.1, model,
    )  # fmt: skip


def test_rotation_of_bones_has_the_right_gradients():
    bones = _draw("bones", 3, 2, 3, 4)
    leaves = (_leaf("axis", 3, 2, 4), _leaf("angle", 2, 3, 4))
    assert gradcheck(lambda axis, angle: rotate_bones(bones, axis, angle), leaves)


def test_rotation_of_bones_without_length_or_angle_has_finite_gradients():
    axis = torch.zeros(3, 2, 4, requires_grad=True)
    angle = torch.zeros(2, 3, 4, requires_grad=True)
    turned, turn = rotate_bones(torch.zeros(3, 2, 3, 4), axis, angle)
    (turned.sum() + turn.sum()).backward()
    assert torch.isfinite(axis.grad).all()
    assert torch.isfinite(angle.grad).all()


def test_film_is_a_rotation_and_a_shift_with_the_right_gradients():
    planes, rotation, shift = _leaf("p", 3, 2, 3, 4), _leaf("R", 2, 3, 3), _leaf("t", 2, 3)
    want = torch.einsum("bij,jbtn->ibtn", rotation, planes) + shift.T[:, :, None, None]
    torch.testing.assert_close(film(planes, rotation, shift), want)
    assert gradcheck(film, (planes, rotation, shift))


@pytest.mark.parametrize("model", ["h36m", "opencv"])
@pytest.mark.parametrize("depth", [4.0, 0.0])  # at 0 many points are clamped
def test_projection_has_the_right_gradients(model, depth):
    planes = _draw("points", 3, 2, 5, 4)
    planes[2] += depth
    lens = _lens(model, 2)
    assert gradcheck(lambda p: project_planes(p, lens), (planes.requires_grad_(),), atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_kcs_entries_are_those_of_the_matrix(dims):
    pose = _leaf("pose", 3, 2, 16, dims)
    got = kcs_entries(pose, H36M_16)
    want = kcs_vector(pose_to_bones(pose, H36M_16))
    torch.testing.assert_close(got.permute(2, 1, 0), want)
    weight = _draw("weight", *want.shape)
    slow = torch.autograd.grad((want * weight).sum(), pose)[0]
    fast = torch.autograd.grad((got.permute(2, 1, 0) * weight).sum(), pose)[0]
    torch.testing.assert_close(fast, slow)


def test_part_entries_hold_all_pairs_of_a_parts_bones():
    pairs = entry_pairs(H36M_16)
    for bones, entries in zip(H36M_16.parts.values(), part_entries(H36M_16), strict=True):
        found = {pairs[entry] for entry in entries}
        assert found == {(i, j) for i in bones for j in bones if i <= j}
        assert len(entries) == len(found)


def test_part_entries_are_the_parts_kcs():
    """The entries picked from the whole body are those of each part's own matrix."""
    pose = _draw("pose", 4, 1, 16, 3)
    whole = kcs_entries(pose, H36M_16)[:, 0]
    parts = part_kcs_vectors(pose_to_bones(pose[:, 0], H36M_16), H36M_16)
    for entries, want in zip(part_entries(H36M_16), parts.values(), strict=True):
        got = whole[list(entries)].T
        torch.testing.assert_close(got.sort(dim=1).values, want.sort(dim=1).values)


@pytest.mark.parametrize("whole", [True, False])
def test_taps_are_slices_whose_gradients_add_up(whole):
    x, rows = _leaf("x", 4, 5, 3), torch.tensor([0, 3])
    pieces = ((slice(None), 1), (slice(0, 2),), (rows, slice(None), 2))
    first, *got = tap(x.movedim(0, 2), *pieces)
    want = [x.movedim(0, 2)[piece] for piece in pieces]
    fast = sum(((k + 2) * piece.square()).sum() for k, piece in enumerate(got))
    slow = sum(((k + 2) * piece.square()).sum() for k, piece in enumerate(want))
    if whole:
        fast, slow = fast + first.sin().sum(), slow + x.sin().sum()
    for ours, theirs in zip(got, want, strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(fast, x)[0], torch.autograd.grad(slow, x)[0])


def test_standardised_features_are_bounded_with_the_right_gradients():
    real = 3 + 2 * _draw("real", 50, 4)
    standardise = Standardise(4).double()
    standardise.set_statistics(real)
    features = torch.cat([real[:5], real[:1] * 1e6])
    want = BOUND * torch.tanh((features - real.mean(dim=0)) / real.std(dim=0) / BOUND)
    torch.testing.assert_close(standardise(features), want, atol=1e-5, rtol=0)
    assert gradcheck(standardise, (real[:5].clone().requires_grad_(),))
    assert gradcheck(lambda x: standardise(x.T), (real[:5].T.clone().requires_grad_(),))
