"""Changes of bodies that need no target: limbs of others, turned outer bones, other lengths.

A window keeps one body: length factors hold for all its frames and for both sides, turns swing
slowly. Windows are points (joints, 3, window, batch) as in `adaptpose.shots`. Bones take the place
of their child joints meanwhile, and the root stays: all is done in one piece of memory.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.augment_config import WideConfig
from adaptpose.bones import index_on
from adaptpose.shots import as_points, as_poses
from adaptpose.skeleton import Skeleton, mirror_free_name

_SHORTEST = 1e-6
"""Length (m) at and below which a bone or a trunk has no direction."""
_CYCLE = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
_ENDS = ("wrist", "ankle", "hand", "foot")
_NEAR = ("elbow", "knee")
_HEAD = ("head", "smpl_head")


@dataclass(frozen=True)
class _Build:
    """What of a skeleton the changes need, derived from the names; a bone is its child joint."""

    outwards: tuple[tuple[int, int], ...]
    """(parent, child), parents before their children."""
    limbs: tuple[tuple[int, ...], ...]
    """Bones of each arm and leg from elbow or knee outwards."""
    ends: tuple[int, ...]
    near: tuple[int, ...]
    head: tuple[int, ...]
    groups: tuple[int, ...]
    """Each joint's symmetric group of bones; the root has one of its own, the last."""


def change_bodies(
    pose3d: Float[Tensor, "batch frames joints 3"],
    skeleton: Skeleton,
    config: WideConfig,
    rng: torch.Generator,
) -> Float[Tensor, "batch frames joints 3"]:
    """Windows (m) with changed bodies: limbs exchanged, outer bones turned, lengths drawn.

    Limbs come from other windows of the batch, as they stand to the trunk; a share of the batch is
    a fixed number of windows, drawn without replacement. The root keeps its path. No gradients.
    """
    return as_poses(change_points(as_points(pose3d), skeleton, config, rng))


@torch.no_grad()
def change_points(
    points: Float[Tensor, "joints 3 window batch"],
    skeleton: Skeleton,
    config: WideConfig,
    rng: torch.Generator,
    factors: Float[Tensor, "batch bones"] | None = None,
) -> Float[Tensor, "joints 3 window batch"]:
    """`change_bodies` on points, in place; returns them. Bones are longer by `factors` besides."""
    build = _build(skeleton)
    axes = trunk_axes(points, skeleton) if config.exchange_share else None
    for parent, child in reversed(build.outwards):
        points[child].sub_(points[parent])
    if axes is not None:
        _exchange_limbs(points, axes, build, config.exchange_share, rng)
    if config.turn_share:
        _turn_outer(points, build, config, rng)
    if config.length_sd or config.size_sd:
        points *= _length_factors(points, build, config, rng)
    if factors is not None:
        for (_, child), factor in zip(skeleton.bones, factors.T, strict=True):
            points[child].mul_(factor)
    for parent, child in build.outwards:
        points[child].add_(points[parent])
    return points


def trunk_axes(
    points: Float[Tensor, "joints 3 window batch"], skeleton: Skeleton
) -> Float[Tensor, "3 3 window batch"]:
    """`viewpoint.body_axes` on points: forward, left and up along the trunk, as rows.

    All rows are 0 where one of them is not defined.
    """
    left_hip, right_hip, left_shoulder, right_shoulder = (
        points[skeleton.id(joint)]
        for joint in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
    )
    trunk = left_shoulder + right_shoulder - left_hip - right_hip
    height = _length(trunk)
    up = trunk / height.clamp_min(_SHORTEST)
    across = left_hip - right_hip + left_shoulder - right_shoulder
    across.addcmul_((across * up).sum(dim=0), up, value=-1)
    width = _length(across)
    left = across / width.clamp_min(_SHORTEST)
    forward = torch.empty_like(up)
    for i, j, k in _CYCLE:
        torch.mul(left[j], up[k], out=forward[i]).addcmul_(left[k], up[j], value=-1)
    defined = (height > _SHORTEST) & (width > _SHORTEST)
    return torch.stack([forward, left, up]).mul_(defined)


def _exchange_limbs(
    bones: Tensor, axes: Tensor, build: _Build, share: float, rng: torch.Generator
) -> None:
    """Turn limbs as those of other windows stand in the body frame, frame by frame, in place.

    A frame keeps its own limb where one of the two bodies, or the other limb, has no direction.
    """
    batch = bones.shape[-1]
    for limb in build.limbs:
        order = torch.randperm(batch, generator=rng, device=bones.device)
        count = round(share * batch)
        taker, giver = order[:count], order.roll(1)[:count]
        to, out_of = _windows(axes, taker), _windows(axes, giver)
        # To the giver's body frame, and from the taker's body frame.
        turn = to[0, :, None] * out_of[0]
        for axis in (1, 2):
            turn.addcmul_(to[axis, :, None], out_of[axis])
        for bone in limb:
            own, other = _windows(bones[bone], taker), _windows(bones[bone], giver)
            moved = (turn[:, 0] * other[0]).addcmul_(turn[:, 1], other[1])
            moved.addcmul_(turn[:, 2], other[2])
            length = _length(moved)
            scaled = moved * (_length(own) / length.clamp_min(_SHORTEST))
            bones[bone].index_copy_(-1, taker, torch.where(length > _SHORTEST, scaled, own))


def _turn_outer(bones: Tensor, build: _Build, config: WideConfig, rng: torch.Generator) -> None:
    """Turn outer bones about drawn axes by angles that swing slowly, in place."""
    window, batch = bones.shape[-2:]
    count = round(config.turn_share * batch)
    like = {"device": bones.device, "dtype": bones.dtype}
    order = torch.randperm(batch, generator=rng, device=bones.device)[:count]
    spread = [(bone, config.turn_end_deg) for bone in build.ends]
    spread += [(bone, config.turn_near_deg) for bone in build.near]
    spread += [(bone, config.turn_head_deg) for bone in build.head]
    axes = torch.randn(3, len(spread), count, generator=rng, **like)
    axes /= _length(axes).clamp_min(_SHORTEST)
    amounts = torch.randn(len(spread), count, generator=rng, **like)
    speeds, starts = torch.rand(2, len(spread), count, generator=rng, **like) * math.tau
    time = torch.linspace(0, config.turn_cycles, window, **like)[:, None]
    for k, (bone, degrees) in enumerate(spread):
        swing = torch.addcmul(starts[k], speeds[k], time).cos_()
        half = swing.mul_(amounts[k] * math.radians(degrees / 2))
        if count == batch:
            _rotate(bones[bone], axes[:, k], half)
        else:
            chosen = _windows(bones[bone], order)
            _rotate(chosen, axes[:, k], half)
            bones[bone].index_copy_(-1, order, chosen)


def _rotate(bone: Tensor, axis: Tensor, half_angle: Tensor) -> None:
    """b + 2 w (q x b) + 2 q x (q x b): rotation by the unit quaternion (q, w), in place."""
    w, q = half_angle.cos(), axis[:, None] * half_angle.sin()
    across = [(q[j] * bone[k]).addcmul_(q[k], bone[j], value=-1) for _, j, k in _CYCLE]
    for i, j, k in _CYCLE:
        bone[i].addcmul_(across[i], w, value=2)
        bone[i].addcmul_(q[j], across[k], value=2).addcmul_(q[k], across[j], value=-2)


def _length_factors(
    bones: Tensor, build: _Build, config: WideConfig, rng: torch.Generator
) -> Tensor:
    """Factors (joints, 1, 1, batch): log-normal, one per symmetric group, times one per window.

    The root, which is no bone, has factor 1.
    """
    batch, like = bones.shape[-1], {"device": bones.device, "dtype": bones.dtype}
    count = max(build.groups)
    each = torch.randn(count, batch, generator=rng, **like) * config.length_sd
    size = torch.randn(batch, generator=rng, **like) * config.size_sd
    factor = torch.cat([(each + size).exp_(), torch.ones(1, batch, **like)])
    return factor.index_select(0, index_on(build.groups, bones.device))[:, None, None]


def _windows(points: Tensor, chosen: Tensor) -> Tensor:
    """Chosen windows of the last axis; as a matrix, which is several times as fast."""
    rows = points.reshape(-1, points.shape[-1]).index_select(1, chosen)
    return rows.view(*points.shape[:-1], -1)


def _length(vector: Tensor) -> Tensor:
    """Lengths along the first axis."""
    x, y, z = vector
    return (x * x).addcmul_(y, y).addcmul_(z, z).sqrt_()


@lru_cache(maxsize=64)
def _build(skeleton: Skeleton) -> _Build:
    symmetric = skeleton.symmetric_bones
    group_of = {name: k for k, group in enumerate(symmetric) for name in group}

    def depth(joint: int) -> int:
        parent = skeleton.parents[joint]
        return 0 if parent < 0 else 1 + depth(parent)

    def named(kinds: tuple[str, ...], side: str = "") -> tuple[int, ...]:
        return tuple(
            k
            for k, name in enumerate(skeleton.joints)
            if k != skeleton.root and mirror_free_name(name) in kinds and name.startswith(side)
        )

    limbs = [
        named(kinds, side)
        for side in ("left_", "right_")
        for kinds in (("elbow", "wrist", "hand"), ("knee", "ankle", "foot"))
    ]
    return _Build(
        outwards=tuple(sorted(skeleton.bones, key=lambda bone: depth(bone[1]))),
        limbs=tuple(limb for limb in limbs if limb),
        ends=named(_ENDS),
        near=named(_NEAR),
        head=named(_HEAD),
        groups=tuple(group_of.get(name, len(symmetric)) for name in skeleton.joints),
    )
