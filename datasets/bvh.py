"""BVH motion capture: the skeleton, the frames, and the joints in space.

Conventions. A `BvhClip` keeps the file's own unit and its own axes (nearly always Y up). Rotation
channels multiply in the order in which the file lists them (R = R_first R_second R_third), local
to the parent. The end of a chain ("End Site") is a joint named after its parent with "_end".
Format: the de facto description by the University of Wisconsin (Meredith and Maddock, "Motion
Capture File Formats Explained", 2001).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.kinematics import euler_to_matrix, forward_kinematics
from adaptpose.datasets.textfiles import parse_table, read_text
from adaptpose.errors import DataError, expected_message


@dataclass(frozen=True)
class BvhClip:
    """One BVH file: the tree, its channels, and one row of channel values per frame.

    `channels[j]` names joint j's columns in order ("Xposition", "Zrotation", ...), empty for an
    end site; `columns[j]` is the first of them in `values`. Offsets are in the file's unit.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float[Tensor, "joints 3"]
    channels: tuple[tuple[str, ...], ...]
    values: Float[Tensor, "frames columns"]
    frame_time_s: float

    @property
    def columns(self) -> tuple[int, ...]:
        """First column of each joint in `values`."""
        starts, total = [], 0
        for names in self.channels:
            starts.append(total)
            total += len(names)
        return tuple(starts)

    def id(self, joint: str) -> int:
        """Index of a joint by name; DataError if the file has no such joint."""
        if joint not in self.joints:
            raise DataError(f"BVH skeleton: no joint '{joint}' (it has {', '.join(self.joints)})")
        return self.joints.index(joint)


def read_bvh(path: Path) -> BvhClip:
    """The skeleton and frames of a BVH file, plain or gzipped.

    DataError naming the file if it is missing, empty, cut short, not BVH, has rows of another
    width than its channels, or holds NaN.
    """
    text = read_text(path)
    if not text.lstrip().startswith("HIERARCHY"):
        first = text.lstrip().splitlines()[0][:40]
        raise DataError(expected_message(str(path), "a BVH file (HIERARCHY ...)", f"'{first}'"))
    header, motion, body = text.partition("MOTION")
    if not motion:
        raise DataError(expected_message(str(path), "a MOTION section", "none (cut short?)"))
    tree = _parse_hierarchy(header.split(), path)
    count, frame_time, rows = _parse_motion_head(body, path)
    width = sum(len(names) for names in tree.channels)
    values = parse_table(rows, width, path)
    if values.shape[0] != count:
        got = f"{values.shape[0]} (cut short?)"
        raise DataError(expected_message(str(path), f"{count} frames as its header says", got))
    offsets = torch.tensor(tree.offsets, dtype=torch.float64)
    return BvhClip(
        tuple(tree.joints), tuple(tree.parents), offsets, tuple(tree.channels), values, frame_time
    )


def bvh_pose(
    clip: BvhClip, joints: tuple[str, ...] | None = None
) -> dict[str, tuple[Float[Tensor, "frames 3"], Float[Tensor, "frames 3 3"]]]:
    """World position and world rotation of the joints named (default: all), in the file's unit.

    Only the named joints and those above them are computed. DataError for an unknown name.
    """
    wanted = [clip.id(joint) for joint in (clip.joints if joints is None else joints)]
    keep = _with_ancestors(clip.parents, wanted)
    parents = tuple(keep.index(clip.parents[j]) if clip.parents[j] >= 0 else -1 for j in keep)
    shift, turn = zip(*[_local(clip, joint) for joint in keep], strict=True)
    position, rotation = forward_kinematics(parents, torch.stack(shift, 1), torch.stack(turn, 1))
    place = [keep.index(joint) for joint in wanted]
    return {
        clip.joints[w]: (position[:, k], rotation[:, k]) for w, k in zip(wanted, place, strict=True)
    }


@dataclass
class _Tree:
    joints: list[str]
    parents: list[int]
    offsets: list[list[float]]
    channels: list[tuple[str, ...]]


def _parse_hierarchy(tokens: list[str], path: Path) -> _Tree:
    """Read the nested blocks with a stack of open joints."""
    tree, open_joints, i = _Tree([], [], [], []), [], 1
    try:
        while i < len(tokens):
            word = tokens[i]
            if word in ("ROOT", "JOINT", "End"):
                parent = open_joints[-1] if open_joints else -1
                name = f"{tree.joints[parent]}_end" if word == "End" else tokens[i + 1]
                tree.joints.append(name)
                tree.parents.append(parent)
                tree.channels.append(())
                open_joints.append(len(tree.joints) - 1)
                i += 3
            elif word == "OFFSET":
                tree.offsets.append([float(x) for x in tokens[i + 1 : i + 4]])
                i += 4
            elif word == "CHANNELS":
                count = int(tokens[i + 1])
                tree.channels[open_joints[-1]] = tuple(tokens[i + 2 : i + 2 + count])
                i += 2 + count
            elif word == "}":
                open_joints.pop()
                i += 1
            else:
                raise ValueError(f"unexpected word '{word}'")
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: its HIERARCHY cannot be read ({error})") from error
    _check_tree(tree, open_joints, path)
    return tree


def _check_tree(tree: _Tree, open_joints: list[int], path: Path) -> None:
    if open_joints or not tree.joints or len(tree.offsets) != len(tree.joints):
        raise DataError(f"{path}: its HIERARCHY is not closed, or a joint has no OFFSET")
    known = {f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}
    for joint, names in zip(tree.joints, tree.channels, strict=True):
        if not set(names) <= known:
            raise DataError(f"{path}: joint '{joint}' has unknown channels {' '.join(names)}")


def _parse_motion_head(body: str, path: Path) -> tuple[int, float, str]:
    """Number of frames, frame time (s), and the text of the rows."""
    try:
        frames, frame_time, rows = body.lstrip().split("\n", 2)
        count = int(frames.split(":")[1])
        seconds = float(frame_time.split(":")[1])
        if count < 1 or seconds <= 0:
            raise ValueError("no frames or no frame time")
    except (ValueError, IndexError) as error:
        raise DataError(
            expected_message(str(path), "'Frames: n', 'Frame Time: s' and rows", f"{error}")
        ) from error
    return count, seconds, rows


def _with_ancestors(parents: tuple[int, ...], wanted: list[int]) -> list[int]:
    keep: set[int] = set()
    for joint in wanted:
        while joint >= 0:
            keep.add(joint)
            joint = parents[joint]
    return sorted(keep)


def _local(clip: BvhClip, joint: int) -> tuple[Tensor, Tensor]:
    """A joint's shift and turn in its parent's axes, (T, 3) and (T, 3, 3)."""
    names, start = clip.channels[joint], clip.columns[joint]
    values = clip.values[:, start : start + len(names)]
    shift = clip.offsets[joint].expand(values.shape[0], 3).clone()
    # A position channel replaces the offset in its axis: so do the files' own viewers.
    for k, name in enumerate(names):
        if name.endswith("position"):
            shift[:, "XYZ".index(name[0])] = values[:, k]
    turns = [k for k, name in enumerate(names) if name.endswith("rotation")]
    return shift, euler_to_matrix(values[:, turns], "".join(names[k][0] for k in turns))
