"""Acclaim ASF/AMC motion capture: the skeleton file, the motion file, and the joints in space.

Conventions. A bone is a segment from its parent's end to its own end; `bone_ends` gives the end of
each bone, and the root under the name "root". Output is in metres in the file's own axes (Y up):
a length L of the file is L * 0.0254 / units.length metres (inches over the scale of the file).
A bone turns by C M C⁻¹ in its parent's axes, with C its `axis` and M its degrees of freedom, both
as R = Rz Ry Rx for the order XYZ. Format: Acclaim, as documented by Lander, "Working with Motion
Capture File Formats", Game Developer, 1998.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.kinematics import apply_rotation, euler_to_matrix
from adaptpose.datasets.textfiles import read_text
from adaptpose.errors import DataError, expected_message

INCH_M = 0.0254


@dataclass(frozen=True)
class AsfBone:
    """One bone: its rest direction in world axes, length, joint axes, degrees of freedom."""

    name: str
    parent: str
    direction: tuple[float, float, float]
    length: float
    axis_deg: tuple[float, float, float]
    axis_order: str
    dof: tuple[str, ...]


@dataclass(frozen=True)
class AsfSkeleton:
    """A skeleton file: bones listed after their parents, the root's channels, metres per unit."""

    bones: tuple[AsfBone, ...]
    root_order: tuple[str, ...]
    root_axis_order: str
    root_position: tuple[float, float, float]
    root_orientation_deg: tuple[float, float, float]
    metre_per_unit: float
    degrees: bool


@dataclass(frozen=True)
class AmcMotion:
    """A motion file: for each bone its columns of values, one row per frame."""

    values: dict[str, Float[Tensor, "frames _"]]
    degrees: bool


def read_asf(path: Path) -> AsfSkeleton:
    """The skeleton of an ASF file, plain or gzipped; DataError naming the file if it is not one."""
    sections = _sections(read_text(path), path)
    try:
        units = {line.split()[0]: line.split()[1] for line in sections["units"]}
        root = {line.split()[0]: line.split()[1:] for line in sections["root"]}
        parents = _parse_hierarchy(sections["hierarchy"])
        bones = {bone.name: bone for bone in _parse_bones(sections["bonedata"], parents)}
        ordered = tuple(bones[name] for name in parents)
        return AsfSkeleton(
            bones=ordered,
            root_order=tuple(word.lower() for word in root["order"]),
            root_axis_order=root["axis"][0].upper(),
            root_position=_triple(root["position"]),
            root_orientation_deg=_triple(root["orientation"]),
            metre_per_unit=INCH_M / float(units["length"]),
            degrees=units.get("angle", "deg").startswith("deg"),
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise DataError(
            expected_message(str(path), "a complete ASF skeleton", f"{error!r} (cut short?)")
        ) from error


def read_amc(path: Path) -> AmcMotion:
    """The frames of an AMC file, plain or gzipped, by bone name.

    Every frame must list the same bones in the same order, as all exporters write them. DataError
    naming the file if it is not AMC, is cut short, or holds something that is not a number.
    """
    lines = [line for line in read_text(path).splitlines() if not line.startswith("#")]
    head = [line.strip().upper() for line in lines[:8] if line.startswith(":")]
    if not head or ":FULLY-SPECIFIED" not in head:
        raise DataError(expected_message(str(path), "an AMC file (:FULLY-SPECIFIED)", "none"))
    tokens = " ".join(line for line in lines if not line.startswith(":")).split()
    layout = _frame_layout(tokens, path)
    width = 1 + sum(1 + count for _, count in layout)
    if len(tokens) % width:
        raise DataError(f"{path}: its last frame is not complete (cut short?)")
    values, column = {}, 1
    for name, count in layout:
        if set(tokens[column::width]) != {name}:
            raise DataError(f"{path}: not every frame lists '{name}' in the same place")
        values[name] = _columns(tokens, column + 1, count, width, path)
        column += 1 + count
    return AmcMotion(values, ":RADIANS" not in head)


def bone_ends(
    skeleton: AsfSkeleton, motion: AmcMotion, where: str
) -> dict[str, tuple[Float[Tensor, "frames 3"], Float[Tensor, "frames 3 3"]]]:
    """World position (m) of each bone's end and the bone's turn from its rest pose, by name.

    The turn takes rest vectors, as the skeleton file writes them, to the world. DataError if the
    motion has another number of values for a bone than its degrees of freedom. `where` names
    the motion in errors.
    """
    scale = skeleton.metre_per_unit
    placed = {"root": _root_pose(skeleton, motion, where)}
    frames = placed["root"][0].shape[0]
    for bone in skeleton.bones:
        start, R_parent = placed[bone.parent]
        turn = _bone_turn(bone, skeleton.degrees, motion, where)
        R_world = R_parent @ turn.expand(frames, 3, 3)
        rest = torch.tensor(bone.direction, dtype=torch.float64) * (bone.length * scale)
        placed[bone.name] = (start + apply_rotation(R_world, rest), R_world)
    return placed


def _root_pose(skeleton: AsfSkeleton, motion: AmcMotion, where: str) -> tuple[Tensor, Tensor]:
    values = _bone_values("root", skeleton.root_order, motion, where)
    order = skeleton.root_order
    shift = torch.stack([values[:, order.index(t)] for t in ("tx", "ty", "tz")], dim=1)
    shift = shift + torch.tensor(skeleton.root_position, dtype=torch.float64)
    turn = _turn([w for w in order if w[0] == "r"], values[:, _turn_columns(order)], motion)
    rest_deg = torch.tensor(skeleton.root_orientation_deg, dtype=torch.float64)
    rest = _axis_matrix(rest_deg, skeleton.root_axis_order, skeleton.degrees)
    return shift * skeleton.metre_per_unit, rest @ turn


def _bone_turn(bone: AsfBone, degrees: bool, motion: AmcMotion, where: str) -> Tensor:
    if not bone.dof:
        return torch.eye(3, dtype=torch.float64)
    values = _bone_values(bone.name, bone.dof, motion, where)
    columns = _turn_columns(bone.dof)
    turn = _turn([bone.dof[k] for k in columns], values[:, columns], motion)
    axis = _axis_matrix(torch.tensor(bone.axis_deg, dtype=torch.float64), bone.axis_order, degrees)
    return axis @ turn @ axis.mT


def _bone_values(name: str, dof: tuple[str, ...], motion: AmcMotion, where: str) -> Tensor:
    if name not in motion.values:
        raise DataError(expected_message(where, f"values for bone '{name}'", "none"))
    values = motion.values[name]
    if values.shape[1] != len(dof):
        got = f"{values.shape[1]} (is this the skeleton of that motion?)"
        raise DataError(expected_message(where, f"{len(dof)} values for '{name}'", got))
    return values


def _turn_columns(dof: tuple[str, ...]) -> list[int]:
    return [k for k, word in enumerate(dof) if word[0] == "r"]


def _turn(words: list[str], angles: Tensor, motion: AmcMotion) -> Tensor:
    """Rx turns first, so the letters are multiplied from the last to the first."""
    angles_deg = angles if motion.degrees else torch.rad2deg(angles)
    return euler_to_matrix(angles_deg.flip(-1), "".join(w[1] for w in reversed(words)).upper())


def _axis_matrix(angles: Tensor, order: str, degrees: bool) -> Tensor:
    angles_deg = angles if degrees else torch.rad2deg(angles)
    return euler_to_matrix(angles_deg.flip(-1), order[::-1])


def _sections(text: str, path: Path) -> dict[str, list[str]]:
    """The lines under each `:section` of an ASF file."""
    sections: dict[str, list[str]] = {}
    name = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(":"):
            name = line[1:].split()[0]
            sections[name] = []
        elif name and line and not line.startswith("#"):
            sections[name].append(line)
    missing = {"units", "root", "bonedata", "hierarchy"} - set(sections)
    if missing:
        raise DataError(
            expected_message(str(path), "an ASF file", f"no section {', '.join(sorted(missing))}")
        )
    return sections


def _parse_hierarchy(lines: list[str]) -> dict[str, str]:
    """Parent of each bone, parents before children whatever the order of the lines."""
    children = {line.split()[0]: line.split()[1:] for line in lines if line not in ("begin", "end")}
    parents: dict[str, str] = {}
    queue = ["root"]
    while queue:
        parent = queue.pop(0)
        for child in children.get(parent, []):
            parents[child] = parent
            queue.append(child)
    return parents


def _parse_bones(lines: list[str], parents: dict[str, str]) -> list[AsfBone]:
    bones: list[AsfBone] = []
    fields: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if words[0] == "begin":
            fields = {}
        elif words[0] == "end":
            bones.append(_bone(fields, parents))
        else:
            fields[words[0]] = words[1:]
    return bones


def _bone(fields: dict[str, list[str]], parents: dict[str, str]) -> AsfBone:
    name = fields["name"][0]
    return AsfBone(
        name=name,
        parent=parents[name],
        direction=_triple(fields["direction"]),
        length=float(fields["length"][0]),
        axis_deg=_triple(fields["axis"]),
        axis_order=fields["axis"][3].upper(),
        dof=tuple(word.lower() for word in fields.get("dof", [])),
    )


def _triple(words: list[str]) -> tuple[float, float, float]:
    return float(words[0]), float(words[1]), float(words[2])


def _frame_layout(tokens: list[str], path: Path) -> list[tuple[str, int]]:
    """(bone, number of values) of each bone of the first frame, in order."""
    layout: list[tuple[str, int]] = []
    for token in tokens[1:]:
        if token[0].isalpha() and token.lower() not in ("nan", "inf"):
            if layout and token == layout[0][0]:
                break
            layout.append((token, 0))
        elif not layout:
            raise DataError(expected_message(str(path), "a bone name after a frame number", token))
        else:
            layout[-1] = (layout[-1][0], layout[-1][1] + 1)
    else:
        return layout
    # The scan ran one token into the next frame: its number was counted as a value.
    layout[-1] = (layout[-1][0], layout[-1][1] - 1)
    return layout


def _columns(tokens: list[str], start: int, count: int, width: int, path: Path) -> Tensor:
    """Columns start ... start+count of the token table, as (frames, count) float64."""
    try:
        columns = [
            np.array(tokens[k::width], dtype=np.float64) for k in range(start, start + count)
        ]
    except ValueError as error:
        raise DataError(f"{path}: not a number ({error})") from error
    values = torch.from_numpy(np.stack(columns, axis=1))
    if not bool(torch.isfinite(values).all()):
        raise DataError(f"{path}: NaN or infinite values")
    return values
