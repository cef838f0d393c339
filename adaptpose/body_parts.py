"""Parts of a body model: fewer vertices, and joints by name as convex sums of vertices.

Skinning costs time per vertex, while joints are regressed from few of them (PoseNet3D, 3DV 2020,
section 3.3.1: J = W V with a sparse W). A body with only those vertices poses them exactly as the
whole body does.
"""

import dataclasses

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from adaptpose.errors import DataError, SkeletonError, expected_message, unknown_name_message
from adaptpose.skeleton import Skeleton
from adaptpose.skinning import BodyModel, linear_joints

CROWN_M = 0.015
"""Vertices this far below the highest one are the top of the head; own choice."""
_SUM_TOLERANCE = 1e-2
_HIPS = ("left_hip", "right_hip")
_STAND_INS = {"spine": "spine2"}
"""Joint of a skeleton -> the joint of SMPL that lies there: half way from hips to thorax."""


def farthest_points(model: BodyModel, count: int) -> Int64[Tensor, "count"]:
    """Indices of vertices spread over the template, each the farthest from those before it.

    The first is the one farthest from the middle; of equals the lowest index is taken, so that
    the same body gives the same vertices. The first n of a longer list are the list of n.
    DataError unless count is between 1 and the number of vertices.
    """
    points = model.template.detach()
    if not 1 <= count <= len(points):
        expected = f"1 to {len(points)}, as the body has"
        raise DataError(expected_message("number of vertices", expected, f"{count}"))
    chosen = points.new_zeros(count, dtype=torch.int64)
    distance = (points - points.mean(dim=0)).square().sum(dim=1)
    chosen[0] = distance.argmax()
    distance = torch.full_like(distance, torch.inf)
    for place in range(1, count):
        step = points - points[chosen[place - 1]]
        distance = torch.minimum(distance, step.square().sum(dim=1))
        chosen[place] = distance.argmax()
    return chosen


def with_vertices(model: BodyModel, index: Int64[Tensor, "kept"]) -> BodyModel:
    """The body with only the vertices of an index, in its order.

    They are posed as in the whole body: the joints' rest places stay those of the whole, as a
    linear function of the shape. `joint_regressor` keeps the columns of the vertices that are
    left, so its rows need not sum to 1 any more; there are faces only where all three corners
    are left. DataError for an index that is not of this body or names a vertex twice.
    """
    count = len(model.template)
    if not len(index) or int(index.min()) < 0 or int(index.max()) >= count:
        got = f"{int(index.min())} to {int(index.max())}" if len(index) else "none"
        expected = f"indices from 0 to {count - 1}"
        raise DataError(expected_message("vertices of the body model", expected, got))
    if len(index.unique()) != len(index):
        raise DataError(expected_message("vertices of the body model", "each once", "some twice"))
    index = index.to(model.template.device)
    places, directions = linear_joints(model)
    return dataclasses.replace(
        model,
        template=model.template[index],
        shape_directions=model.shape_directions[index],
        pose_directions=model.pose_directions[index],
        joint_regressor=model.joint_regressor[:, index],
        weights=model.weights[index],
        faces=_faces_left(model, index),
        joint_template=places,
        joint_directions=directions,
    )


def used_vertices(regressor: Float[Tensor, "points vertices"]) -> Int64[Tensor, "kept"]:
    """Indices of the vertices that a regressor uses, ascending."""
    return (regressor != 0).any(dim=0).nonzero()[:, 0]


def moved(
    model: BodyModel, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> BodyModel:
    """The body on a device, or in a precision; faces stay whole numbers."""
    changed = {}
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if isinstance(value, Tensor):
            kind = dtype if value.is_floating_point() else None
            changed[field.name] = value.to(device=device, dtype=kind)
    return dataclasses.replace(model, **changed)


def joint_regressor_for(
    model: BodyModel, skeleton: Skeleton | tuple[str, ...]
) -> Float[Tensor, "joints vertices"]:
    """Convex weights of the vertices for the joints of a skeleton, or for joint names.

    A joint is the model's own of that name, with three exceptions: "hip" is the middle of the
    hips, as in Human3.6M, where the skeleton is not the model's own; "head" is the mean of the
    vertices within 15 mm of the highest, the top of the head; "spine" is SMPL's "spine2" where
    the model has none. Rows are non-negative with sum 1. SkeletonError for a joint that cannot be
    made of this body; DataError if the model's own rows are not convex, as after `with_vertices`.
    """
    names = skeleton.joints if isinstance(skeleton, Skeleton) else skeleton
    if names == model.joint_names:
        return _convex(model.joint_regressor, names)
    return torch.stack([_row(model, name) for name in names])


def _row(model: BodyModel, name: str) -> Tensor:
    if name == "hip" and all(hip in model.joint_names for hip in _HIPS):
        return torch.stack([_own_row(model, hip) for hip in _HIPS]).mean(dim=0)
    if name == "head":
        height = model.template[:, 1]
        top = (height >= height.max() - CROWN_M).to(model.template)
        return top / top.sum()
    if name not in model.joint_names:
        name = _STAND_INS.get(name, name)
    if name not in model.joint_names:
        message = unknown_name_message("joint", name, (*model.joint_names, "head"))
        raise SkeletonError(f"body model '{model.name}': {message}")
    return _own_row(model, name)


def _own_row(model: BodyModel, name: str) -> Tensor:
    place = model.joint_names.index(name)
    return _convex(model.joint_regressor[place : place + 1], (name,))[0]


def _convex(rows: Tensor, names: tuple[str, ...]) -> Tensor:
    """Rows with their rounding taken out."""
    miss = torch.maximum((rows.sum(dim=1) - 1).abs(), -rows.clamp(max=0).sum(dim=1))
    if not float(miss.max()) <= _SUM_TOLERANCE:
        worst = names[int(miss.argmax())]
        expected = "non-negative weights with sum 1"
        got = f"weights that miss it by {float(miss.max()):.3g}"
        fix = "take the regressor of the whole body, then the vertices"
        raise DataError(expected_message(f"joint regressor, {worst}", expected, got, fix))
    rows = rows.clamp(min=0)
    return rows / rows.sum(dim=1, keepdim=True)


def _faces_left(model: BodyModel, index: Tensor) -> Tensor | None:
    if model.faces is None:
        return None
    place = torch.full((len(model.template),), -1, dtype=model.faces.dtype, device=index.device)
    place[index] = torch.arange(len(index), dtype=place.dtype, device=index.device)
    faces = place[model.faces.to(index.device).long()]
    return faces[(faces >= 0).all(dim=1)]
