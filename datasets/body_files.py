"""SMPL model files as they are downloaded: the body's arrays, without running what is in them.

The released pickles (`basicModel_f_lbs_10_207_0_v1.0.0.pkl` and its kin, often renamed to
`SMPL_FEMALE.pkl`) hold arrays of chumpy and sparse matrices of SciPy; these are rebuilt from
their state, neither package is asked to load them. An `.npz` with the same arrays is read too.
`J_regressor_h36m.npy` (HMR, SPIN) gives the 17 joints of Human3.6M, left before right.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.safe_pickle import Inert, load_pickle
from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message
from adaptpose.skeleton import H36M_17_LEFT_FIRST, SMPL_24
from adaptpose.skinning import BodyModel, regress_joints

REGRESSOR_FILE = "J_regressor_h36m.npy"
WHERE_TO_GET = (
    "the model from https://smpl.is.tue.mpg.de (neutral: https://smplify.is.tue.mpg.de), "
    f"{REGRESSOR_FILE} from the data of HMR or SPIN"
)
_GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female", "neutral": "neutral"}
_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")
_FACES = "f"
_DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, MemoryError)


def load_body_model(folder: Path, gender: str) -> BodyModel:
    """The SMPL body of a gender ("male", "female", "neutral", or their first letter), float32.

    Looks for `SMPL_<GENDER>` and `basicModel_<letter>_lbs_10_207_0_v1.*` with `.npz` or `.pkl` in
    the folder and its folder `smpl`. DataError if there is none, or if it is damaged, of another
    body (SMPL-H, SMPL-X) or not in metres; ConfigError for another gender.
    """
    return read_smpl(body_model_path(folder, gender))


def read_smpl(path: Path) -> BodyModel:
    """The SMPL body of one model file, `.npz` or `.pkl`; DataError as `load_body_model`."""
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise DataError(expected_message(str(path), "an SMPL model", got, WHERE_TO_GET))
    arrays = _read_npz(path) if path.suffix.lower() == ".npz" else _read_pickle(path)
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        got = f"{', '.join(sorted(map(str, arrays))[:12])}, without {', '.join(missing)}"
        raise DataError(expected_message(str(path), "an SMPL model", got, "check which file it is"))
    keys = [key for key in (*_KEYS, _FACES) if key in arrays]
    return _body_model({key: _dense(arrays[key], f"{path}, {key}") for key in keys}, path)


def body_model_path(folder: Path, gender: str) -> Path:
    """The model file of a gender, `.npz` before `.pkl`; errors as `load_body_model`."""
    if gender not in _GENDERS:
        raise ConfigError(unknown_name_message("gender of a body model", gender, _GENDERS))
    name = _GENDERS[gender]
    letter = "neutral" if name == "neutral" else name[0]
    pattern = rf"(smpl_{name}|basicmodel_{letter}_lbs_10_207_0_v1\.\d\.\d)\.(npz|pkl)"
    places = [place for place in (folder, folder / "smpl") if place.is_dir()]
    files = [path for place in places for path in sorted(place.iterdir())]
    found = [path for path in files if re.fullmatch(pattern, path.name.lower())]
    if not found:
        expected = f"SMPL_{name.upper()}.pkl or basicModel_{letter}_lbs_10_207_0_v1.0.0.pkl"
        got = "no such file" if folder.is_dir() else "no such folder"
        raise DataError(expected_message(f"--body-model {folder}", expected, got, WHERE_TO_GET))
    return min(found, key=lambda path: path.suffix.lower() != ".npz")


def load_h36m_regressor(folder: Path) -> Float[Tensor, "17 vertices"]:
    """Weights of the vertices for the joints of `H36M_17_LEFT_FIRST`, float32.

    DataError if `J_regressor_h36m.npy` is missing, damaged, or not 17 rows that add up to 1.
    """
    path = h36m_regressor_path(folder)
    try:
        array = np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        got = f"a damaged or foreign file ({error})"
        raise DataError(expected_message(str(path), "an array, .npy", got)) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 2:
        raise DataError(expected_message(str(path), "an array (17, 6890)", "something else"))
    if array.shape[0] != 17:
        raise DataError(expected_message(str(path), "17 joints, (17, 6890)", f"{array.shape}"))
    if not np.isfinite(array).all() or np.abs(array.sum(axis=1) - 1).max() > 0.05:
        got = "rows that do not"
        raise DataError(expected_message(str(path), "weights that add up to 1 in each row", got))
    return torch.from_numpy(array.astype(np.float32))


def h36m_regressor_path(folder: Path) -> Path:
    """Where the regressor lies; DataError if it is not there."""
    path = folder / REGRESSOR_FILE
    if not path.is_file():
        raise DataError(
            expected_message(f"--body-model {folder}", REGRESSOR_FILE, "no such file", WHERE_TO_GET)
        )
    return path


def check_regressor(model: BodyModel, regressor: Float[Tensor, "17 vertices"], where: str) -> None:
    """DataError unless the regressor finds left and right where the body model has them.

    Both orders of the 17 joints are in circulation; hips and shoulders of the template tell.
    """
    found = regress_joints(model.template, regressor)
    joints = model.joint_regressor @ model.template
    for pair in ("hip", "shoulder"):
        names = (f"left_{pair}", f"right_{pair}")
        ours, theirs = (
            skeleton_points[skeleton.id(names[0])] - skeleton_points[skeleton.id(names[1])]
            for skeleton_points, skeleton in ((found, H36M_17_LEFT_FIRST), (joints, SMPL_24))
        )
        if float(ours @ theirs) <= 0:
            raise DataError(
                expected_message(
                    f"{where}, rows of {REGRESSOR_FILE}",
                    "left leg and left arm first",
                    f"left and right {pair} crossed",
                    "use the file of HMR or SPIN with its rows as they are",
                )
            )


def _body_model(arrays: Mapping[str, np.ndarray], path: Path) -> BodyModel:
    vertices, joints = len(arrays["v_template"]), SMPL_24.num_joints
    shapes = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "kintree_table": (2, joints),
        "weights": (vertices, joints),
    }
    for key, shape in shapes.items():
        got = arrays[key].shape
        sizes = zip(shape, got, strict=False)
        if len(got) != len(shape) or any(want not in (None, size) for want, size in sizes):
            expected = f"shape {shape} of an SMPL body with 24 joints".replace("None", "any")
            raise DataError(expected_message(f"{path}, {key}", expected, f"{got}"))
    parents = tuple(int(p) if 0 <= p < joints else -1 for p in arrays["kintree_table"][0].tolist())
    if parents != SMPL_24.parents:
        raise DataError(expected_message(f"{path}, kintree_table", "SMPL's tree", f"{parents}"))
    height = float(np.ptp(arrays["v_template"], axis=0).max())
    if not 0.5 < height < 3:
        expected, got = "a body in metres", f"one {height:.3g} tall"
        raise DataError(expected_message(f"{path}, v_template", expected, got))
    tensors = {key: torch.from_numpy(arrays[key].astype(np.float32)) for key in _KEYS}
    return BodyModel(
        template=tensors["v_template"],
        shape_directions=tensors["shapedirs"],
        pose_directions=tensors["posedirs"],
        joint_regressor=tensors["J_regressor"],
        parents=parents,
        weights=tensors["weights"],
        faces=_faces(arrays.get(_FACES), vertices, path),
        joint_names=SMPL_24.joints,
        name="smpl",
    )


def _faces(array: np.ndarray | None, vertices: int, path: Path) -> Tensor | None:
    if array is None:
        return None
    whole = array.dtype.kind in "iu" or bool((array == np.rint(array)).all())
    if array.ndim != 2 or array.shape[1] != 3 or not whole:
        got = f"{array.dtype} {array.shape}"
        raise DataError(expected_message(f"{path}, f", "triangles, whole numbers (faces, 3)", got))
    if array.min() < 0 or array.max() >= vertices:
        expected, got = f"vertices from 0 to {vertices - 1}", f"{array.min()} to {array.max()}"
        raise DataError(expected_message(f"{path}, f", expected, got))
    return torch.from_numpy(array.astype(np.int32))


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key in (*_KEYS, _FACES)}
    except Exception as error:
        # A damaged archive shows itself in many ways; an array of objects is refused in one.
        got = f"a damaged or foreign file ({str(error)[:200]})"
        expected = "an .npz of plain arrays"
        raise DataError(expected_message(str(path), expected, got, "use the .pkl file")) from error


def _read_pickle(path: Path) -> dict[str, Any]:
    value = load_pickle(path, inert=("chumpy", "scipy.sparse"))
    if not isinstance(value, dict):
        got = f"a {type(value).__name__}"
        raise DataError(expected_message(str(path), "an SMPL model", got, "check which file it is"))
    return value


def _dense(value: Any, where: str) -> np.ndarray:
    """A plain array of numbers from one, or from the state of a chumpy or sparse object."""
    try:
        array = _evaluate(value) if isinstance(value, Inert) else value
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        got = f"a {value.name} that is not whole ({error!r})"
        raise DataError(expected_message(where, "an array", got)) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        got = f"a {type(value).__name__} without numbers"
        raise DataError(expected_message(where, "an array of numbers", got))
    if not np.isfinite(array).all() or not array.size:
        raise DataError(expected_message(where, "finite numbers", "NaN, infinite or none at all"))
    return array


def _evaluate(value: Any) -> np.ndarray:
    """chumpy's `Ch` is its array, its `Select` picks entries of another; SciPy's csc by columns."""
    if isinstance(value, np.ndarray):
        return value
    name, state = value.name.rpartition(".")[2], value.state
    if name == "Ch":
        return _evaluate(state["x"])
    if name == "Select":
        picked = _evaluate(state["a"]).ravel()[np.asarray(state["idxs"])]
        shape = state.get("preferred_shape")
        return picked if shape is None else picked.reshape(shape)
    if name in ("csc_matrix", "csc_array"):
        shape = state["_shape"] if "_shape" in state else state["shape"]
        dense = np.zeros(shape)
        column = np.repeat(np.arange(shape[1]), np.diff(state["indptr"]))
        np.add.at(dense, (state["indices"], column), state["data"])
        return dense
    raise ValueError(f"{value.name} is not read")
