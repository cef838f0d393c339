"""What the 17 joints of Human3.6M mean, and how to get them out of other skeletons.

All readers of motion capture place the joints by these rules, so that one name is one place:
- hip: mid-point of the two hip joints; the hips themselves are each corpus's own;
- thorax: neck base, on the line between the shoulder joints at rest, carried by the chest;
- spine: on the corpus's own line of the spine from hip to thorax, at Human3.6M's fraction of it;
- head: top of the head; neck_nose: on the corpus's own line from thorax to head, likewise;
- shoulders, elbows, wrists, knees, ankles: joint centres.
Here is also the form in which CMU and HDM05 share a skeleton (Vicon BodyBuilder's Acclaim body).
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.asfamc import AsfSkeleton, bone_ends, read_amc
from adaptpose.datasets.kinematics import apply_rotation, y_up_to_z_up
from adaptpose.errors import DataError, SkeletonError
from adaptpose.skeleton import H36M_17

H36M_SPINE_FRACTION = 0.2334 / (0.2334 + 0.2571)
"""hip to spine over hip to thorax along the spine, from the bone lengths of Human3.6M's S1 (m)."""

H36M_NECK_FRACTION = 0.1211 / (0.1211 + 0.1150)
"""thorax to neck_nose over thorax to head along the neck, from the same bone lengths."""

ACCLAIM_JOINTS: dict[str, str] = {
    f"{side}_{joint}": f"{side[0]}{bone}"
    for side in ("left", "right")
    for joint, bone in (
        ("hip", "hipjoint"), ("knee", "femur"), ("ankle", "tibia"),
        ("shoulder", "clavicle"), ("elbow", "humerus"), ("wrist", "wrist"),
    )
} | {"head": "head"}  # fmt: skip
"""Joint of Human3.6M to the Acclaim bone at whose end it lies."""


def stack_h36m(joints: dict[str, Float[Tensor, "frames 3"]]) -> Float[Tensor, "frames 17 3"]:
    """The named joints in the order of `H36M_17`; SkeletonError if one is missing."""
    missing = [joint for joint in H36M_17.joints if joint not in joints]
    if missing:
        raise SkeletonError(f"no position for {', '.join(missing)}")
    return torch.stack([joints[joint] for joint in H36M_17.joints], dim=1)


def point_on_path(
    path: list[Float[Tensor, "frames 3"]], fraction: float
) -> Float[Tensor, "frames 3"]:
    """The point at a fraction (0 ... 1) of the length of a path of straight pieces."""
    points = torch.stack(path, dim=1)
    lengths = (points[:, 1:] - points[:, :-1]).norm(dim=-1)
    reached = torch.cat([torch.zeros_like(lengths[:, :1]), lengths.cumsum(dim=1)], dim=1)
    goal = fraction * reached[:, -1:]
    piece = (reached[:, 1:-1] <= goal).sum(dim=1)
    rows = torch.arange(points.shape[0])
    length = lengths[rows, piece].clamp(min=1e-9)
    weight = ((goal[:, 0] - reached[rows, piece]) / length)[:, None]
    return points[rows, piece] * (1 - weight) + points[rows, piece + 1] * weight


def add_trunk(
    joints: dict[str, Float[Tensor, "frames 3"]],
    back: list[Float[Tensor, "frames 3"]],
    neck: list[Float[Tensor, "frames 3"]],
) -> dict[str, Float[Tensor, "frames 3"]]:
    """The joints with hip, spine and neck_nose added, from both hips, the thorax and the head.

    `back` and `neck` hold the corpus's own joints between hip and thorax and between thorax and
    head, from below upwards.
    """
    hip = (joints["left_hip"] + joints["right_hip"]) / 2
    spine = point_on_path([hip, *back, joints["thorax"]], H36M_SPINE_FRACTION)
    neck_nose = point_on_path([joints["thorax"], *neck, joints["head"]], H36M_NECK_FRACTION)
    return joints | {"hip": hip, "spine": spine, "neck_nose": neck_nose}


def read_acclaim_h36m(skeleton: AsfSkeleton, amc: Path) -> Float[Tensor, "frames 17 3"]:
    """The 17 joints (m, z up) of an AMC file on an Acclaim skeleton; DataError if it does not fit.

    The thorax bone of this body ends some 5 cm below the shoulder line; H36M's thorax lies on it.
    """
    placed = bone_ends(skeleton, read_amc(amc), str(amc))
    needed = {*ACCLAIM_JOINTS.values(), "lowerback", "upperback", "thorax", "upperneck"}
    missing = sorted(needed - set(placed))
    if missing:
        raise DataError(f"{amc}: its skeleton has no bone {', '.join(missing)}")
    joints = {joint: placed[bone][0] for joint, bone in ACCLAIM_JOINTS.items()}
    base, R_world_chest = placed["thorax"]
    joints["thorax"] = base + apply_rotation(R_world_chest, _shoulder_middle(skeleton))
    back = [placed[bone][0] for bone in ("root", "lowerback", "upperback", "thorax")]
    joints = add_trunk(joints, back, [placed["upperneck"][0]])
    return y_up_to_z_up(stack_h36m(joints)).float()


def _shoulder_middle(skeleton: AsfSkeleton) -> Float[Tensor, "3"]:
    """From the thorax bone's end to the middle of the shoulder joints at rest (m)."""
    ends = [
        torch.tensor(bone.direction, dtype=torch.float64) * bone.length
        for bone in skeleton.bones
        if bone.name in ("lclavicle", "rclavicle")
    ]
    return torch.stack(ends).mean(dim=0) * skeleton.metre_per_unit
