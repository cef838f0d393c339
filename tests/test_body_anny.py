"""Anny's adults as a linear body: what is read, how well it fits, and Anny's own code beside it."""

import dataclasses
import functools
import importlib.metadata
import importlib.util

import numpy as np
import pytest
import roma
import torch

from adaptpose.body_parts import joint_regressor_for
from adaptpose.datasets import anny_files, body_anny, body_store
from adaptpose.datasets.body_anny import BONES, Adults, Fit
from adaptpose.errors import DataError
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16, mirror_name
from adaptpose.skinning import BodyModel, regress_joints, skin

needs_anny = pytest.mark.skipif(
    importlib.util.find_spec("anny") is None, reason="the package anny is not installed"
)
FEW = Adults(count=40)


@pytest.fixture(scope="module", autouse=True)
def shapes_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_anny, "read_shapes", functools.cache(anny_files.read_shapes))
        yield


@pytest.fixture(scope="module")
def built() -> tuple[BodyModel, Fit]:
    return body_anny.build_anny(FEW)


def test_weights_of_shapes_share_one_in_every_family():
    even = {name: np.array([0.5]) for name in ("gender", "age", "muscle", "weight", "height")}
    drawn = body_anny.phenotypes_of(Adults(count=7))
    for given in (drawn, {**even, "proportions": np.array([0.5])}):
        weights = anny_files.shape_weights(given)
        # Bodies, origins, and bodies twice: by height and by proportions.
        np.testing.assert_allclose(weights[:, :36].sum(1), 1)
        np.testing.assert_allclose(weights[:, 36:48].sum(1), 1)
        np.testing.assert_allclose(weights[:, 48:120].sum(1), 1)
        np.testing.assert_allclose(weights[:, 120:].sum(1), 1)


def test_a_corner_of_the_phenotypes_is_one_shape_of_each_family():
    given = {"gender": 1, "age": 0, "muscle": 0.5, "weight": 1, "height": 0, "proportions": 1}
    weights = anny_files.shape_weights({k: np.array([float(v)]) for k, v in given.items()})[0]
    found = {w for w, x in zip(anny_files.shape_names(), weights, strict=True) if x == 1}
    body = ("female", "young", "averagemuscle", "maxweight")
    assert found == {body, (*body, "minheight"), (*body, "uncommonproportions")}
    thirds = {w for w, x in zip(anny_files.shape_names(), weights, strict=True) if 0 < x < 1}
    assert thirds == {(race, "female", "young") for race in ("african", "asian", "caucasian")}


@needs_anny
def test_the_body_is_a_person_in_our_axes(built):
    model, _ = built
    assert model.num_joints == 24
    assert model.shape_directions.shape == (13380, 3, 10)
    low, high = model.template.amin(dim=0), model.template.amax(dim=0)
    assert 1.6 < high[1] - low[1] < 1.8
    places = dict(zip(model.joint_names, model.joint_template, strict=True))
    torch.testing.assert_close(places["hip"], torch.zeros(3))
    for name, place in places.items():
        mirrored = places[mirror_name(name)] * torch.tensor([-1.0, 1, 1])
        torch.testing.assert_close(place, mirrored, rtol=0, atol=2e-4)
        assert not name.startswith("left_") or place[0] > 0
    # Feet point ahead.
    feet = model.template[model.template[:, 1] < low[1] + 0.05]
    assert feet[:, 2].max() - places["left_ankle"][2] > 0.1
    torch.testing.assert_close(model.weights.sum(dim=1), torch.ones(13380))


@needs_anny
def test_the_skin_is_closed_around_a_plausible_volume(built):
    model, _ = built
    corners = model.template.double()[model.faces.long()]
    volume = torch.linalg.det(corners).sum() / 6
    # Eyes and mouth are open: little is missing.
    assert 0.05 < float(volume) < 0.1


@needs_anny
def test_drawn_adults_are_met_by_ten_coefficients_to_a_millimetre(built):
    model, fit = built
    folder = anny_files.anny_folder()
    mesh = anny_files.read_mesh(folder)
    rig = anny_files.read_rig(folder, mesh)
    drawn = body_anny._draw(mesh, rig, dataclasses.replace(FEW, seed=7))
    directions = model.shape_directions.double().reshape(-1, 10)
    apart = torch.from_numpy(drawn.vertices).double() - model.template.double()
    betas = torch.linalg.lstsq(directions, apart.flatten(1).T).solution.T.float()
    still = torch.zeros(FEW.count, 24, 3)
    vertices, joints = skin(model, betas, still, torch.zeros(1, 3))
    left = (vertices - torch.from_numpy(drawn.vertices)).norm(dim=-1)
    assert float(left.square().mean().sqrt()) < 1.5e-3
    assert fit.variance_kept > 0.999
    assert fit.joints_mm < 8
    left = (joints - torch.from_numpy(drawn.joints)).norm(dim=-1)
    assert float(left.max()) < 0.015
    # Unit variance: coefficients mean what they mean in SMPL.
    assert 0.5 < float(betas[:, :3].square().mean().sqrt()) < 2


@needs_anny
def test_the_regressor_is_convex_and_finds_joints_in_poses_not_fitted_to(built):
    model, fit = built
    assert float(model.joint_regressor.min()) >= 0
    torch.testing.assert_close(model.joint_regressor.sum(dim=1), torch.ones(24))
    draw = stream(5, "test")
    betas = torch.randn(8, 10, generator=draw)
    pose = 0.3 * torch.randn(8, 24, 3, generator=draw)
    vertices, joints = skin(model, betas, pose, torch.zeros(1, 3))
    left = (regress_joints(vertices, model.joint_regressor) - joints).norm(dim=-1)
    assert float(left.square().mean().sqrt()) < 0.012
    assert fit.regressor_rest_mm < 6
    places = regress_joints(model.template, joint_regressor_for(model, H36M_16))
    at = dict(zip(H36M_16.joints, places, strict=True))
    assert at["head"][1] > at["thorax"][1] > at["spine"][1] > at["hip"][1] > at["left_knee"][1]
    assert at["left_wrist"][0] > at["left_elbow"][0] > at["left_shoulder"][0] > 0
    assert 0.2 < float((at["left_hip"] - at["right_hip"]).norm()) < 0.28


@needs_anny
def test_the_same_draw_gives_the_same_body(built):
    again, _ = body_anny.build_anny(FEW)
    assert torch.equal(again.joint_regressor, built[0].joint_regressor)
    assert torch.equal(again.shape_directions, built[0].shape_directions)


@needs_anny
def test_it_is_built_once_and_kept(built, tmp_path, monkeypatch):
    made = []

    def build(*_):
        made.append(1)
        return built

    monkeypatch.setattr(body_anny, "build_anny", build)
    first, origin = body_store.load_body("anny", tmp_path)
    second, same = body_store.load_body("anny", tmp_path)
    assert len(made) == 1
    assert same == origin
    assert "CC0" in origin.licence
    assert torch.equal(first.template, second.template)
    (kept,) = (tmp_path / "bodies").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    body_store.load_body("anny", tmp_path)
    body_store.load_body("anny", None)
    assert len(made) == 3


def test_a_missing_package_is_said(monkeypatch):
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"expected the package anny, .*adaptpose\[anny\]"):
        body_store.load_body("anny", None)


@needs_anny
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_vertices_and_joints_are_those_of_annys_own_code():
    """Shapes and poses through both; Anny's own model takes minutes and 800 MB of its cache."""
    anny = pytest.importorskip("anny")
    theirs = anny.Anny(skinning_method="lbs")
    folder = anny_files.anny_folder()
    mesh = anny_files.read_mesh(folder)
    rig = anny_files.read_rig(folder, mesh)
    few = Adults(count=4)
    drawn = body_anny._draw(mesh, rig, few)
    parents, weights = body_anny._moving_bones(rig)
    skin_vertices = mesh.groups["body"]
    turns = roma.rotvec_to_rotmat(
        0.5 * torch.randn(4, 24, 3, generator=stream(0, "anny"), dtype=torch.float64)
    )
    place = {int(v): k for k, v in enumerate(theirs.base_mesh_vertex_indices)}
    ours = [k for k, v in enumerate(skin_vertices) if int(v) in place]
    same = [place[int(skin_vertices[k])] for k in ours]
    assert len(ours) > 13000
    given = {k: torch.from_numpy(v) for k, v in body_anny.phenotypes_of(few).items()}
    given["age"] = 2 / 3 + given["age"] / 3
    vertices, joints = _posed_by_anny(theirs, given, turns, parents)
    for k in range(4):
        model = BodyModel(
            template=torch.from_numpy(drawn.vertices[k]).double(),
            shape_directions=torch.zeros(len(skin_vertices), 3, 1).double(),
            pose_directions=torch.zeros(len(skin_vertices), 3, 0).double(),
            joint_regressor=torch.zeros(24, len(skin_vertices)).double(),
            parents=parents,
            weights=torch.from_numpy(weights[skin_vertices]),
            joint_template=torch.from_numpy(drawn.joints[k]).double(),
            joint_directions=torch.zeros(24, 3, 1).double(),
        )
        nothing = torch.zeros(1, 1).double(), torch.zeros(1, 3).double()
        found = skin(model, nothing[0], turns[k : k + 1], nothing[1])
        # Shapes are read in single precision: 1 micrometre.
        torch.testing.assert_close(found[0][0, ours], vertices[k, same], rtol=0, atol=1e-6)
        torch.testing.assert_close(found[1][0], joints[k], rtol=0, atol=1e-6)


def _posed_by_anny(theirs, given, turns, parents):
    """Vertices and heads of the moving bones by Anny, in our axes, its other bones held still."""
    world = [turns[:, 0]]
    for joint in range(1, 24):
        world.append(world[parents[joint]] @ turns[:, joint])
    ours_of_theirs = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]).double()
    names = list(BONES)
    rest = theirs.get_rest_model(theirs.get_phenotype_blendshape_coefficients(**given))
    pose = torch.eye(4).double().repeat(len(turns), len(theirs.bone_labels), 1, 1)
    for bone in range(len(theirs.bone_labels)):
        mover = bone
        while theirs.bone_labels[mover] not in BONES:
            mover = theirs.bone_parents[mover]
        turn = world[names.index(theirs.bone_labels[mover])]
        turn = ours_of_theirs.T @ turn @ ours_of_theirs
        pose[:, bone, :3, :3] = turn @ rest["rest_bone_poses"][:, bone, :3, :3]
    out = theirs(pose, given, pose_parameterization="world-orient")
    index = [theirs.bone_labels.index(name) for name in BONES]
    heads = out["bone_poses"][:, index, :3, 3]
    return out["vertices"] @ ours_of_theirs.T, heads @ ours_of_theirs.T
