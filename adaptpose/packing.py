"""Generated windows as tensors to store, and stored tensors as windows again.

The tensors are those of `adaptpose.shards`. What comes back is in single precision and absolute
camera coordinates, whether motion or recipes were stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.errors import CheckpointError, DataError
from adaptpose.recipe import Block, Recipe, RecipeRule, apply_recipe, cut_source_windows
from adaptpose.shards import Content, ShardIndex, iterate_shards, same_source
from adaptpose.skeleton import skeleton_by_name
from adaptpose.windows import LabelledBank

_EXPAND_FRAMES = 4096 * 27
"""Frames of recipes expanded at once."""
_NAMES: dict[Content, tuple[str, ...]] = {
    "motion": ("pose2d", "pose3d", "root"),
    "recipe": ("bone", "length", "rotation", "translation"),
}


@dataclass(frozen=True)
class Windows:
    """Windows of 2D (normalised screen coordinates) and absolute 3D (m), with their lens rows.

    `focal` is what the row's focal length is multiplied by, None where rows are whole lenses.
    """

    pose2d: Float[Tensor, "windows frames joints 2"]
    pose3d_cam: Float[Tensor, "windows frames joints 3"]
    lens: Int[Tensor, "windows"]
    stride: Int[Tensor, "windows"]
    focal: Float[Tensor, "windows"] | None = None

    def intrinsics(self, index: ShardIndex) -> Intrinsics:
        """The lens of every window."""
        rows = index.intrinsics().select(self.lens)
        return rows if self.focal is None else replace(rows, focal=rows.focal * self.focal[:, None])


@dataclass(frozen=True)
class Packing:
    """How windows are stored: content, precision of motion, the lens row of each source clip."""

    content: Content
    dtype: torch.dtype
    source: LabelledBank
    rule: RecipeRule
    lens_of_clip: Int[Tensor, "clips"]


def pack(block: Block, rows: Int[Tensor, "rows"], packing: Packing) -> dict[str, Tensor]:
    """The tensors to store of some windows of a block, on the CPU."""
    frame = block.source.frame[rows]
    stored = {
        "frame": frame.int(),
        "stride": block.stride[rows].to(torch.int16),
        "lens": packing.lens_of_clip[packing.source.clip_of_frame[frame]].int(),
    }
    if packing.content == "recipe":
        stored |= _pack_recipe(block.recipe, rows, packing.rule)
    else:
        pose, image = block.generated.pose3d_cam[rows], block.generated.pose2d[rows]
        stored |= pack_motion(pose, image, packing.rule.skeleton.root, packing.dtype)
    return {name: value.cpu() for name, value in stored.items()}


def pack_motion(
    pose3d_cam: Float[Tensor, "windows frames joints 3"],
    pose2d: Float[Tensor, "windows frames joints 2"],
    root: int,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """The tensors of motion; `root` is the number of that joint."""
    place = pose3d_cam[:, :, root]
    return {
        "pose2d": pose2d.to(dtype),
        "pose3d": (pose3d_cam - place[:, :, None]).to(dtype),
        "root": place,
    }


def window_bytes(content: Content, dtype: torch.dtype, rule: RecipeRule, window: int) -> int:
    """Bytes of one stored window, without the file's header."""
    joints, bones = rule.skeleton.num_joints, rule.skeleton.num_bones
    if content == "recipe":
        return 4 * (3 * bones + bones + 4 + 3) + 10
    return motion_bytes(dtype, joints, window)


def motion_bytes(dtype: torch.dtype, joints: int, window: int) -> int:
    """Bytes of one window of motion with its frame, stride and lens row."""
    return window * (joints * 5 * dtype.itemsize + 12) + 10


def read_windows(
    folder: Path,
    index: ShardIndex,
    source: LabelledBank | None = None,
    first: int = 0,
    count: int | None = None,
) -> Iterator[Windows]:
    """`count` stored windows from number `first` on (all by default), in pieces of bounded size.

    Recipes need the bank of their source, which is on the CPU then. CheckpointError for shards
    that are damaged, DataError if the source is not the one the recipes were made from.
    """
    if index.content == "recipe" and (
        source is None or not same_source(index.source_probe, source)
    ):
        raise DataError(
            f"{folder}: the source '{index.origin['name']}' is not the one that the recipes were "
            "made from (fix: restore that dataset)"
        )
    size = max(1, _EXPAND_FRAMES // index.window)
    for tensors in iterate_shards(folder, index, first, count):
        _check_names(tensors, index, folder)
        if index.content == "motion":
            yield _checked(_unpack_motion(tensors), index, folder)
            continue
        parts = zip(*(tensor.split(size) for tensor in tensors.values()), strict=True)
        for part in parts:
            windows = _expand(dict(zip(tensors, part, strict=True)), index, source)
            yield _checked(windows, index, folder)


def _pack_recipe(recipe: Recipe, rows: Tensor, rule: RecipeRule) -> dict[str, Tensor]:
    bone = recipe.bone[rows]
    if rule.bones == "bg3":
        bone = bone[..., :3] * bone[..., 3:]
    return {
        "bone": bone,
        "length": recipe.length_change[rows],
        "rotation": roma.rotmat_to_unitquat(recipe.rotation[rows]),
        "translation": recipe.translation[rows],
    }


def _unpack_recipe(tensors: dict[str, Tensor], rule: RecipeRule) -> Recipe:
    bone = tensors["bone"]
    if rule.bones == "bg3":
        angle = bone.norm(dim=-1, keepdim=True)
        axis = bone / angle.clamp_min(1e-12)
        bone = torch.cat([axis, angle], dim=-1)
    rotation = roma.unitquat_to_rotmat(tensors["rotation"])
    return Recipe(bone, tensors["length"], rotation, tensors["translation"])


def _unpack_motion(tensors: dict[str, Tensor]) -> Windows:
    pose = tensors["pose3d"].float() + tensors["root"][:, :, None]
    lens, stride = tensors["lens"].long(), tensors["stride"].long()
    return Windows(tensors["pose2d"].float(), pose, lens, stride, tensors.get("focal"))


@torch.no_grad()
def _expand(tensors: dict[str, Tensor], index: ShardIndex, source: LabelledBank | None) -> Windows:
    assert source is not None
    rule = RecipeRule(skeleton_by_name(index.skeleton), **index.rule)
    frame, stride = tensors["frame"].long(), tensors["stride"].long()
    windows = source.window_index(frame, index.window, stride, index.middle)
    cut = cut_source_windows(source, frame, windows)
    made = apply_recipe(cut, _unpack_recipe(tensors, rule), rule)
    return Windows(made.pose2d, made.pose3d_cam, tensors["lens"].long(), stride)


def _check_names(tensors: dict[str, Tensor], index: ShardIndex, folder: Path) -> None:
    own = {"focal"} if index.own_lenses else set()
    missing = {"frame", "stride", "lens", *_NAMES[index.content], *own} - set(tensors)
    if missing:
        raise CheckpointError(f"{folder}: a shard lacks {', '.join(sorted(missing))}")


def _checked(windows: Windows, index: ShardIndex, folder: Path) -> Windows:
    joints = skeleton_by_name(index.skeleton).num_joints
    shape, wanted = tuple(windows.pose3d_cam.shape[1:]), (index.window, joints, 3)
    if shape != wanted:
        raise CheckpointError(f"{folder}: windows of shape {shape}, the index says {wanted}")
    finite = torch.isfinite(windows.pose2d).all() and torch.isfinite(windows.pose3d_cam).all()
    seen = windows.focal is None or bool((windows.focal > 0).all())
    if not finite or not seen or int(windows.lens.max()) >= len(index.lenses["focal"]):
        raise CheckpointError(f"{folder}: a shard holds impossible values (fix: generate it again)")
    return windows
