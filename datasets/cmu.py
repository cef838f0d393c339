"""The CMU motion capture database: three forms of it, brought to one skeleton.

- "own" (`bvh/`): the MotionBuilder-friendly BVH conversion, each actor on the actor's own bones;
  without the bones `thorax` and `wrist` of the original, which two repairs put back;
- "daz" (`bvh_daz*/`): the conversion to one shared Daz figure, in centimetres; shoulders repaired;
- "asf" (`asfamc/`): the original Acclaim form, which needs no repair.
Output: joints of `H36M_17` in metres, z up, at the capture rate. Rates and actions come from the
two lists beside the data.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.asfamc import INCH_M, read_asf
from adaptpose.datasets.bvh import BvhClip, bvh_pose, read_bvh
from adaptpose.datasets.kinematics import apply_rotation, y_up_to_z_up
from adaptpose.datasets.mocap_joints import add_trunk, read_acclaim_h36m, stack_h36m
from adaptpose.datasets.motion import Motion
from adaptpose.datasets.textfiles import read_text
from adaptpose.errors import DataError, expected_message

OWN_METRE_PER_UNIT = INCH_M / 0.45
DAZ_METRE_PER_UNIT = 0.01

CMU_RATE_HZ = 120.0
"""Capture rate of a trial that the list of rates does not name."""

SALSA_RATE_HZ = 60.0
"""True rate of the salsa trials (subjects 60 and 61), whatever the header of the BVH says."""

RADIUS_TO_FOREARM = 1.5
"""Forearm over radius bone: in every ASF of CMU and HDM05 the wrist bone is half the radius."""

DAZ_HALF_SHOULDER_M = 0.182
"""Half the distance of the shoulder joints for the Daz figure: 0.221 of its leg (0.822 m), the
median over the fourteen actors of CMU whose own bones are known."""

DAZ_HEAD_TOP_M = (0.0, 0.19, 0.0)
"""Top of the Daz figure's head in its head's axes: the eyes, 0.08 m above the head joint, lie
0.064 of the body height below the top (Drillis and Contini, 1966)."""

DAZ_SETTLING_FRAMES = 10
"""Frames at the start of a Daz clip that swing in from the T-pose by a smoothing filter."""

LEADING_FRAMES = 5
LARGEST_STEP_M = 0.2
"""A joint that goes further from one frame to the next (24 m/s at 120 Hz) has jumped."""

OWN_JOINTS: dict[str, str] = {
    f"{side.lower()}_{joint}": f"{side}{name}"
    for side in ("Left", "Right")
    for joint, name in (
        ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"),
        ("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand"),
    )
} | {"head": "Head_end"}  # fmt: skip

DAZ_JOINTS: dict[str, str] = {
    f"{side}_{joint}": f"{side[0]}{name}"
    for side in ("left", "right")
    for joint, name in (
        ("hip", "Thigh"), ("knee", "Shin"), ("ankle", "Foot"),
        ("shoulder", "Shldr"), ("elbow", "ForeArm"), ("wrist", "Hand"),
    )
}  # fmt: skip

_ABOVE_CHEST = (
    "neck",
    "head",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")),
)

Joints = dict[str, Tensor]


@dataclass(frozen=True)
class CmuLists:
    """What the lists beside the data say of a trial such as "02_01": description and rate."""

    description: dict[str, str]
    rate_hz: dict[str, float]


def read_own_h36m(clip: BvhClip) -> Float[Tensor, "kept 17 3"]:
    """The 17 joints (m, z up) of a CMU clip on the actor's own bones, T-pose dropped."""
    names = (*OWN_JOINTS.values(), "Hips", "Spine", "Spine1", "Head")
    placed = bvh_pose(clip, names)
    joints = {joint: placed[name][0] for joint, name in OWN_JOINTS.items()}
    joints["neck"] = placed["Head"][0]
    chest, R_world_chest = placed["Spine1"]
    joints, base = repair_missing_thorax(clip, joints, chest, R_world_chest)
    joints = repair_short_forearm(joints)
    middle = (clip.offsets[clip.id("LeftArm")] + clip.offsets[clip.id("RightArm")]) / 2
    joints["thorax"] = base + apply_rotation(R_world_chest, middle)
    back = [placed["Hips"][0], placed["Spine"][0], chest, base]
    joints = drop_t_pose(add_trunk(joints, back, [joints["neck"]]), 1)
    metres = y_up_to_z_up(stack_h36m(joints) * OWN_METRE_PER_UNIT)
    return drop_leading_jump(metres).float()


def read_daz_h36m(clip: BvhClip) -> Float[Tensor, "kept 17 3"]:
    """The 17 joints (m, z up) of a CMU clip on the Daz figure, T-pose and settling dropped.

    The thorax is the figure's neck joint: it lies where the original form of the same trials has
    the shoulder line, and the figure's shoulders are brought to that height.
    """
    names = (*DAZ_JOINTS.values(), "abdomen", "chest", "neck", "head")
    placed = {name: (p * DAZ_METRE_PER_UNIT, r) for name, (p, r) in bvh_pose(clip, names).items()}
    joints = {joint: placed[name][0] for joint, name in DAZ_JOINTS.items()}
    head, R_world_head = placed["head"]
    joints["head"] = head + apply_rotation(R_world_head, head.new_tensor(DAZ_HEAD_TOP_M))
    joints["thorax"] = placed["neck"][0]
    joints = repair_narrow_shoulders(clip, joints, placed["chest"][1])
    joints = add_trunk(joints, [placed[name][0] for name in ("abdomen", "chest")], [head])
    metres = y_up_to_z_up(stack_h36m(drop_t_pose(joints, DAZ_SETTLING_FRAMES)))
    return drop_leading_jump(metres).float()


def repair_missing_thorax(
    clip: BvhClip, joints: Joints, chest: Tensor, R_world_chest: Tensor
) -> tuple[Joints, Tensor]:
    """All joints above the chest moved up by the thorax bone, and the new end of that bone.

    The BVH conversion starts neck and collars where the `upperback` bone ends, so the `thorax`
    bone is lost (about 12 cm). The original divides the spine into three equal bones (in the ASF
    files of CMU and HDM05 `thorax` is `upperback` within 5 %), so `Spine1`'s own offset,
    carried by `Spine1`, is put there. Trial 05_11 then agrees with its ASF form.
    """
    bone = apply_rotation(R_world_chest, clip.offsets[clip.id("Spine1")])
    moved = {name: p + bone if name in _ABOVE_CHEST else p for name, p in joints.items()}
    return moved, chest + bone


def repair_short_forearm(joints: Joints) -> Joints:
    """Wrists moved out along the forearm to the end of the lost wrist bone.

    In the BVH conversion the hand starts where the radius bone ends. The `wrist` bone of the
    original carries on straight (it only turns about itself) and is half as long as the radius.
    """
    moved = dict(joints)
    for side in ("left", "right"):
        elbow, hand = joints[f"{side}_elbow"], joints[f"{side}_wrist"]
        moved[f"{side}_wrist"] = elbow + (hand - elbow) * RADIUS_TO_FOREARM
    return moved


def repair_narrow_shoulders(clip: BvhClip, joints: Joints, R_world_chest: Tensor) -> Joints:
    """Each whole arm moved out and up so that the shoulders are as wide as people's.

    The Daz figure's shoulder joints lie 0.23 m apart inside the body and 5 cm below the neck
    base, where actors on their own bones have them 0.36 m apart and level with it.
    """
    moved = dict(joints)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        letter = side[0]
        rest = clip.offsets[clip.id(f"{letter}Collar")] + clip.offsets[clip.id(f"{letter}Shldr")]
        rest = rest * DAZ_METRE_PER_UNIT
        neck = clip.offsets[clip.id("neck")] * DAZ_METRE_PER_UNIT
        goal = torch.stack([rest.new_tensor(sign * DAZ_HALF_SHOULDER_M), neck[1], neck[2]])
        shift = apply_rotation(R_world_chest, goal - rest)
        for joint in ("shoulder", "elbow", "wrist"):
            moved[f"{side}_{joint}"] = joints[f"{side}_{joint}"] + shift
    return moved


def drop_t_pose(joints: Joints, frames: int) -> Joints:
    """The joints without the first frames: a T-pose (and what swings in from it) is no motion."""
    return {name: position[frames:] for name, position in joints.items()}


def drop_leading_jump(joints: Float[Tensor, "frames 17 3"]) -> Float[Tensor, "kept 17 3"]:
    """The joints from after the last jump within the first few frames.

    In some trials (07_12, 16_15) the first frame or two were solved before the markers were
    found: the body then leaps by up to 2.6 m in a 120th of a second.
    """
    start = joints[: LEADING_FRAMES + 1]
    step = (start[1:] - start[:-1]).norm(dim=-1).amax(dim=-1)
    jumps = (step > LARGEST_STEP_M).nonzero()
    return joints[int(jumps[-1, 0]) + 1 :] if jumps.numel() else joints


def read_cmu_trial(path: Path, form: str, lists: CmuLists) -> Motion:
    """One trial as a Motion at its capture rate; `form` is "own", "daz", "dance" or "asf"."""
    stem = path.name.split(".")[0]
    if form == "asf":
        skeleton = read_asf(_skeleton_beside(path, stem))
        name = stem.rstrip("0123456789_") or stem
        return Motion(
            name, short_action(name), stem, CMU_RATE_HZ, read_acclaim_h36m(skeleton, path)
        )
    reader: Callable[[BvhClip], Tensor] = read_own_h36m if form == "own" else read_daz_h36m
    clip = read_bvh(path)
    if clip.values.shape[0] <= DAZ_SETTLING_FRAMES + LEADING_FRAMES:
        expected = f"more than {DAZ_SETTLING_FRAMES + LEADING_FRAMES} frames"
        raise DataError(expected_message(str(path), expected, str(clip.values.shape[0])))
    try:
        joints = reader(clip)
    except DataError as error:
        raise DataError(f"{path}: not a '{form}' clip of CMU ({error})") from error
    if form == "dance":
        rate_hz = SALSA_RATE_HZ if path.parent.name == "salsa" else CMU_RATE_HZ
        return Motion(path.parent.name, path.parent.name, stem, rate_hz, joints)
    action = short_action(lists.description.get(stem, "unknown"))
    person = stem.split("_")[0]
    # Two people appear on both skeletons; the name tells whose bones these are.
    subject = person if form == "own" else f"daz-{person}"
    return Motion(subject, action, stem, lists.rate_hz.get(stem, CMU_RATE_HZ), joints)


def short_action(description: str) -> str:
    """A short name for an action: the first phrase of its description, in lower case and dashes."""
    phrase = re.split(r"[,(]", description.strip().lower())[0]
    return re.sub(r"[^a-z0-9]+", "-", phrase).strip("-") or "unknown"


def read_cmu_lists(folder: Path) -> CmuLists:
    """Descriptions and capture rates of all trials from the two lists in CMU's folder."""
    described = _rows(folder / "cmu-mocap-index.csv")
    description = {r[0]: r[1] for r in described if len(r) > 1 and re.fullmatch(r"\d+_\d+", r[0])}
    rate_hz: dict[str, float] = {}
    for row in _rows(folder / "cmu_trials_framerate.csv"):
        if len(row) > 3 and row[0].isdigit() and row[1].isdigit() and row[3].isdigit():
            rate_hz[f"{int(row[0]):02d}_{int(row[1]):02d}"] = float(row[3])
    return CmuLists(description, rate_hz)


def _skeleton_beside(path: Path, stem: str) -> Path:
    """01_01.amc goes with 01.asf, charleston2.amc with charleston.asf, zombie.amc with its own."""
    names = (stem, stem.split("_")[0], stem.rstrip("0123456789"))
    found = [asf for name in names if (asf := path.with_name(f"{name}.asf")).exists()]
    if not found:
        raise DataError(expected_message(str(path), "its skeleton beside it", f"no {names[1]}.asf"))
    return found[0]


def _rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(read_text(path))))
