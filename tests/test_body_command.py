"""Body models in files of their own, and the commands that make and show them."""

import dataclasses
import json

import numpy as np
import pw3d_data as data
import pytest
import torch
from test_cli import adapt, fails

from adaptpose.datasets.body_files import read_smpl
from adaptpose.datasets.body_store import BodyOrigin, load_body, read_body, write_body
from adaptpose.errors import ConfigError, DataError
from adaptpose.skeleton import SMPL_24
from adaptpose.skinning import BodyModel, linear_joints
from adaptpose.store import read_tensors, write_tensors


@pytest.fixture
def folder(tmp_path):
    data.write_body_models(tmp_path)
    return tmp_path


PICKLE, ARRAYS = "basicmodel_m_lbs_10_207_0_v1.0.0.pkl", "SMPL_FEMALE.npz"


def _tensors(model: BodyModel) -> dict[str, torch.Tensor]:
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    return {k: v for k, v in values.items() if isinstance(v, torch.Tensor)}


@pytest.mark.parametrize(("name", "whose"), [(PICKLE, 1), (ARRAYS, 2)])
def test_convert_keeps_every_number_of_an_smpl_file(folder, name, whose):
    result = adapt("body", "convert", folder / name, folder / "out" / "body.safetensors")
    assert result.exit_code == 0, result.output
    assert "75 vertices, 2 faces, 24 joints, 10 shape coefficients" in result.stderr
    model, origin = read_body(folder / "out" / "body.safetensors")
    body = data.body_arrays(whose)
    for key, field in (("v_template", "template"), ("weights", "weights"), ("f", "faces"),
                       ("posedirs", "pose_directions"), ("J_regressor", "joint_regressor"),
                       ("shapedirs", "shape_directions")):  # fmt: skip
        np.testing.assert_allclose(getattr(model, field), body[key], rtol=1e-6, atol=1e-9)
    assert (model.parents, model.joint_names) == (data.PARENTS, SMPL_24.joints)
    assert origin.source == name
    assert len(origin.fingerprint) == 64
    assert "non-commercial" in origin.licence


def test_a_written_body_comes_back_with_its_joints_and_origin(folder):
    model = dataclasses.replace(read_smpl(folder / ARRAYS), faces=None, name="hers")
    origin = BodyOrigin("CC0", "nobody", "arrays", "ab", ("one", "two"))
    write_body(folder / "a.safetensors", model, origin)
    again, told = read_body(folder / "a.safetensors")
    assert told == origin
    assert again.name == "hers"
    assert again.faces is None
    for name, value in _tensors(model).items():
        assert torch.equal(getattr(again, name), value), name
    for one, other in zip(linear_joints(again), linear_joints(model), strict=True):
        torch.testing.assert_close(one, other)
    loaded, _ = load_body(str(folder / "a.safetensors"))
    assert torch.equal(loaded.template, model.template)


def test_show_says_what_is_in_it(folder):
    shown = json.loads(adapt("body", "show", folder / PICKLE, "--json").stdout)
    assert (shown["vertices"], shown["faces"], shown["shapes"]) == (75, 2, 10)
    assert [joint["name"] for joint in shown["joints"]] == list(SMPL_24.joints)
    assert shown["joints"][4]["parent"] == "left_hip"
    np.testing.assert_allclose(
        [joint["rest_m"] for joint in shown["joints"]], data.rest_joints(), atol=1e-6
    )
    table = adapt("body", "show", folder / PICKLE).stdout
    assert "left_knee" in table
    assert "SMPL body model licence" in table


def test_what_cannot_be_read_is_said_once(folder):
    write_body(folder / "good.safetensors", read_smpl(folder / ARRAYS))
    (folder / "cut.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:2000])
    write_tensors(folder / "other.safetensors", {"a": torch.zeros(2)}, {"format": "else"})
    for arguments, message in [
        (("show", "anni"), "expected anny, or a file .safetensors, .npz or .pkl, got 'anni'"),
        (("show", folder / "none.pkl"), "got no such file"),
        (("show", folder / "none.safetensors"), "no such file"),
        (("show", folder / "cut.safetensors"), "damaged or foreign"),
        (("show", folder / "other.safetensors"), "expected a body model (adaptpose-body-1)"),
        (("convert", folder / ARRAYS, folder / "body.npz"), "a name that ends in .safetensors"),
    ]:
        said = fails("body", *arguments)
        assert message in said
        assert said.startswith(f"adapt body {arguments[0]}: ")
        assert said.count("\n") == 1
    assert not (folder / "body.npz").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.zeros(75, 23)}, "weights: expected shape"),
        ({"template": torch.full((75, 3), torch.nan)}, "template: expected finite numbers"),
        ({"faces": torch.tensor([[0, 1, 75]])}, "faces: expected vertices from 0 to 74"),
        ({"parents": [-1, 5, *data.PARENTS[2:]]}, "parents: expected a tree, root first"),
        ({"joints": list(SMPL_24.joints[:5])}, "joints: expected 24 names"),
        ({"joints": ["hip"] * 24}, "24, 1 of them different"),
        ({"joint_regressor": torch.zeros(24, 74)}, "joint_regressor: expected shape"),
        ({"units": "mm"}, "units mm"),
        ({"origin": None}, "expected joints, tree and origin of a body"),
    ],
)
def test_arrays_that_do_not_fit_are_named(folder, change, message):
    path = folder / "bad.safetensors"
    write_body(path, read_smpl(folder / ARRAYS))
    tensors, meta = read_tensors(path, "a body")
    changed = {k: v for k, v in change.items() if isinstance(v, torch.Tensor)}
    meta |= {k: v for k, v in change.items() if k not in changed}
    write_tensors(path, {**tensors, **changed}, meta)
    with pytest.raises(DataError, match=message):
        read_body(path)


def test_faces_of_an_smpl_file_are_checked(folder):
    arrays = data.body_arrays()
    for faces in (np.array([[0, 1, 75]]), np.zeros((2, 4), int), np.array([[0, 0.5, 1]])):
        np.savez(folder / "odd.npz", **{**arrays, "f": faces})
        with pytest.raises(DataError, match=r"odd\.npz, f: expected"):
            read_smpl(folder / "odd.npz")
    with pytest.raises(ConfigError, match="body model: expected anny"):
        load_body("SMPL_FEMALE")
