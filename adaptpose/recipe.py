"""Recipes: what a generated window differs in from its source window, and how it is applied.

A recipe is all that the generator's networks say about a window: how bones turn, how long they
become, from where the person is filmed. Applying it is closed formulas without parameters, so
generated motion can be stored as recipes and be made again from the source.

Inside, poses are coordinate planes (3, B, T, J): differences along the skeleton and their sums are
then plain matrix products over all frames at once, which is what makes generation fast.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose.bones import chain_matrix
from adaptpose.camera import Intrinsics
from adaptpose.planes import film, project_planes, rotate_bones
from adaptpose.skeleton import Skeleton
from adaptpose.windows import LabelledBank

BoneMethod = Literal["none", "bg1", "bg2", "bg3"]


@dataclass(frozen=True)
class SourceWindows:
    """A batch of source windows: absolute poses in camera axes (m) and their lenses."""

    pose3d_cam: Float[Tensor, "batch frames joints 3"]
    intrinsics: Intrinsics
    frame: Int[Tensor, "batch"]
    """Index of the supervised frame in the bank the windows were cut from."""


@dataclass(frozen=True)
class Recipe:
    """Parameters of a batch of generated windows."""

    bone: Float[Tensor, "batch bones size"]
    """BG3: unit axis and full angle (rad), 4 numbers; BG1, BG2: shift of the unit bone, 3."""
    length_change: Float[Tensor, "batch bones"]
    """lambda of eq. 5-6."""
    rotation: Float[Tensor, "batch 3 3"]
    """Camera rotation R of eq. 3."""
    translation: Float[Tensor, "batch 3"]
    """Position T of the supervised frame's root before the generated camera (m)."""


@dataclass(frozen=True)
class RecipeRule:
    """How recipes are applied: the same for all windows of a generator."""

    skeleton: Skeleton
    middle: int
    """Index of the supervised frame in a window."""
    bones: BoneMethod
    angle_profile: Literal["full", "paper"]
    keep_trajectory: bool


@dataclass(frozen=True)
class Generated:
    """A batch of generated windows with the stages that made them."""

    posed: Float[Tensor, "batch frames joints 3"]
    """After bone generation, still before the source camera (m)."""
    pose3d_cam: Float[Tensor, "batch frames joints 3"]
    """After camera generation: the generated 3D (m)."""
    pose2d: Float[Tensor, "batch frames joints 2"]
    """Its projection in normalised screen coordinates."""
    turn: Float[Tensor, "batch frames bones"]
    """1 - cos of the angle between each source and generated bone."""
    length_change: Float[Tensor, "batch bones"]
    rotation: Float[Tensor, "batch 3 3"]
    translation: Float[Tensor, "batch 3"]


@dataclass(frozen=True)
class Block:
    """The windows of one block before selection, and which are kept."""

    generated: Generated
    recipe: Recipe
    source: SourceWindows
    stride: Int[Tensor, "batch"]
    keep: Bool[Tensor, "batch"]
    counts: Int[Tensor, "5"]
    """Outcomes of the selection, in the order of `selection.REASONS`."""


def cut_source_windows(
    bank: LabelledBank, frame: Int[Tensor, "batch"], index: Int[Tensor, "batch window"]
) -> SourceWindows:
    """Source windows at the frame indices, with the lens of each window's clip."""
    clip = bank.clip_of_frame[frame]
    return SourceWindows(take_frames(bank.pose3d_cam, index), bank.intrinsics.select(clip), frame)


def take_frames(
    frames: Float[Tensor, "frames *rest"], index: Int[Tensor, "batch window"]
) -> Float[Tensor, "batch window *rest"]:
    """`frames[index]`, on a CPU in a fraction of the time."""
    return frames.index_select(0, index.flatten()).unflatten(0, index.shape)


def apply_recipe(source: SourceWindows, recipe: Recipe, rule: RecipeRule) -> Generated:
    """The generated windows that recipes make of their source windows (AdaptPose eq. 3-10)."""
    chain = chain_matrix(rule.skeleton, source.pose3d_cam)
    planes = source.pose3d_cam.movedim(-1, 0)
    root = planes[..., rule.skeleton.root]
    bones = planes @ difference_matrix(rule.skeleton, planes).T
    turned, turn = _turn_bones(bones, recipe.bone, rule)
    posed = (turned * (1 + recipe.length_change[:, None]) @ chain.T).add_(root[..., None])
    filmed = _film(posed, recipe, rule)
    return Generated(
        posed=posed.movedim(0, -1),
        pose3d_cam=filmed.movedim(0, -1),
        pose2d=project_planes(filmed, source.intrinsics),
        turn=turn,
        length_change=recipe.length_change,
        rotation=recipe.rotation,
        translation=recipe.translation,
    )


def difference_matrix(skeleton: Skeleton, like: Tensor) -> Float[Tensor, "bones joints"]:
    """Matrix D with D @ joints = bone vectors."""
    return _difference_table(skeleton, like.device, like.dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept, and may be met by autograd later
def _difference_table(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(skeleton.num_bones, skeleton.num_joints)
    for bone, (parent, child) in enumerate(skeleton.bones):
        matrix[bone, child], matrix[bone, parent] = 1, -1
    return matrix.to(device, dtype)


def angle_profile(frames: int, kind: str, like: Tensor) -> Float[Tensor, "frames"]:
    """Share of the full angle at each frame: "paper" j/n; "full" j/(n-1), 0.5 for one frame."""
    steps = torch.arange(frames, dtype=like.dtype, device=like.device)
    if kind == "paper":
        return steps / frames
    return steps / (frames - 1) if frames > 1 else steps + 0.5


def _turn_bones(bones: Tensor, parameters: Tensor, rule: RecipeRule) -> tuple[Tensor, Tensor]:
    if rule.bones == "none":
        return bones, bones.new_zeros(bones.shape[1:])
    profile = angle_profile(bones.shape[2], rule.angle_profile, bones)[:, None]
    vector = parameters[..., :3].movedim(-1, 0)
    if rule.bones == "bg3":
        return rotate_bones(bones, vector, parameters[:, None, :, 3] * profile)
    length = bones.square().sum(0).clamp_min(1e-12).sqrt()
    unit = bones / length
    if rule.bones == "bg2":
        moved = unit[:, :, :1] + vector[:, :, None] * profile
    else:
        moved = unit + vector[:, :, None]
    moved = moved / moved.square().sum(0).clamp_min(1e-12).sqrt()
    return moved * length, 1 - (moved * unit).sum(0)


def _film(posed: Tensor, recipe: Recipe, rule: RecipeRule) -> Tensor:
    root = posed[..., rule.skeleton.root]
    if not rule.keep_trajectory:
        return film(posed - root[..., None], recipe.rotation, recipe.translation)
    # R (p - c) + t as R p + (t - R c): the turn about the root costs no pass over all points.
    centre = root[:, :, rule.middle].T
    shift = recipe.translation - (recipe.rotation @ centre[..., None])[..., 0]
    return film(posed, recipe.rotation, shift)
