"""UI-PRMD: ten people doing ten rehabilitation exercises, seen by Vicon and by Kinect.

- Vicon: 39 Plug-in-Gait surface markers, mm, Z up, 100 Hz. Joint centres are estimated from them
  (`datasets.plugin_gait`).
- Kinect: 22 joints as offsets (cm) and Euler angles (deg) to the parent, Y up, 30 Hz.
Output: joints of `H36M_17` in metres, z up.
"""

import re
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.kinematics import (
    euler_to_matrix,
    forward_kinematics,
    y_up_to_z_up,
)
from adaptpose.datasets.mocap_joints import add_trunk, stack_h36m
from adaptpose.datasets.motion import Motion
from adaptpose.datasets.plugin_gait import PLUGIN_GAIT_MARKERS, markers_to_h36m
from adaptpose.datasets.textfiles import parse_table, read_text
from adaptpose.errors import DataError, expected_message

VICON_RATE_HZ = 100.0
KINECT_RATE_HZ = 30.0

UIPRMD_ACTIONS: dict[str, str] = {
    "m01": "deep-squat",
    "m02": "hurdle-step",
    "m03": "inline-lunge",
    "m04": "side-lunge",
    "m05": "sit-to-stand",
    "m06": "straight-leg-raise",
    "m07": "shoulder-abduction",
    "m08": "shoulder-extension",
    "m09": "shoulder-rotation",
    "m10": "shoulder-scaption",
}
"""Exercises by their code (Vakanski et al., Data 2018, 3(1), 2, table 1)."""

KINECT_TREE: dict[str, str] = {
    "Waist": "", "Spine": "Waist", "Chest": "Spine", "Neck": "Chest", "Head": "Neck",
    "HeadTip": "Head", "LCollar": "Chest", "LUpperArm": "LCollar", "LForearm": "LUpperArm",
    "LHand": "LForearm", "RCollar": "Chest", "RUpperArm": "RCollar", "RForearm": "RUpperArm",
    "RHand": "RForearm", "LUpperLeg": "Waist", "LLowerLeg": "LUpperLeg", "LFoot": "LLowerLeg",
    "LToes": "LFoot", "RUpperLeg": "Waist", "RLowerLeg": "RUpperLeg", "RFoot": "RLowerLeg",
    "RToes": "RFoot",
}  # fmt: skip
"""Each Kinect joint's parent, in the order of the columns."""

KINECT_JOINTS: dict[str, str] = {
    f"{side}_{joint}": f"{side[0].upper()}{name}"
    for side in ("left", "right")
    for joint, name in (
        ("hip", "UpperLeg"), ("knee", "LowerLeg"), ("ankle", "Foot"),
        ("shoulder", "UpperArm"), ("elbow", "Forearm"), ("wrist", "Hand"),
    )
} | {"thorax": "Neck", "head": "HeadTip"}  # fmt: skip

_NAME = re.compile(r"(?P<action>m\d\d)_(?P<subject>s\d\d)_(?P<take>e\d\d)_positions\.txt(\.gz)?")


def read_vicon_take(path: Path) -> Motion | None:
    """One Vicon take as a Motion at 100 Hz, or None if markers it needs were lost for too long."""
    subject, action, take = _take_name(path)
    table = parse_table(read_text(path), 3 * len(PLUGIN_GAIT_MARKERS), path, ",")
    joints = markers_to_h36m(table.reshape(-1, len(PLUGIN_GAIT_MARKERS), 3) / 1000)
    if joints is None:
        return None
    return Motion(subject, action, take, VICON_RATE_HZ, joints.float())


def read_kinect_take(path: Path) -> Motion:
    """One Kinect take as a Motion at 30 Hz, from its `_positions` file and the `_angles` beside."""
    subject, action, take = _take_name(path)
    angles_path = path.with_name(path.name.replace("_positions", "_angles"))
    width = 3 * len(KINECT_TREE)
    offsets = parse_table(read_text(path), width, path, ",").reshape(-1, len(KINECT_TREE), 3)
    angles = parse_table(read_text(angles_path), width, angles_path, ",").reshape(
        -1, len(KINECT_TREE), 3
    )
    if angles.shape != offsets.shape:
        got = f"{angles.shape[0]} in {angles_path.name}"
        raise DataError(expected_message(str(path), f"{offsets.shape[0]} frames of angles", got))
    joints = kinect_to_h36m(offsets / 100, angles)
    return Motion(subject, action, take, KINECT_RATE_HZ, joints.float())


def kinect_to_h36m(
    offsets: Float[Tensor, "frames 22 3"], angles_deg: Float[Tensor, "frames 22 3"]
) -> Float[Tensor, "frames 17 3"]:
    """The 17 joints (m, z up) of Kinect offsets (m, Y up) and angles (x, y, z in degrees).

    R = Rz Rx Ry per joint: of all orders of columns and of axes it is the one under which the
    standing feet stay where they are.
    """
    names = list(KINECT_TREE)
    parents = tuple(names.index(above) if above else -1 for above in KINECT_TREE.values())
    rotations = euler_to_matrix(angles_deg[..., [2, 0, 1]], "ZXY")
    position, _ = forward_kinematics(parents, offsets, rotations)
    joints = {joint: position[:, names.index(name)] for joint, name in KINECT_JOINTS.items()}
    back = [position[:, names.index(name)] for name in ("Spine", "Chest")]
    joints = add_trunk(joints, back, [position[:, names.index("Head")]])
    return y_up_to_z_up(stack_h36m(joints))


def _take_name(path: Path) -> tuple[str, str, str]:
    match = _NAME.fullmatch(path.name)
    if match is None or match["action"] not in UIPRMD_ACTIONS:
        raise DataError(expected_message(str(path), "a name mMM_sSS_eEE_positions.txt", path.name))
    take = f"{match['action']}_{match['take']}"
    return match["subject"], UIPRMD_ACTIONS[match["action"]], take
