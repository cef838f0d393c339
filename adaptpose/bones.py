"""Poses as bones: directions, lengths, recomposition, mirror images, kinematic chain space (KCS).

A bone vector points from parent to child; bones are ordered by child joint (`Skeleton.bones`).
KCS of a pose is the Gram matrix B Bᵀ of its bone vectors (Wandt et al. 2018, RepNet 2019): the
diagonal holds squared lengths, the rest the angles between bones.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.skeleton import Skeleton

EPS = 1e-6
"""Length in metres that keeps directions of bones without length finite (they come out as 0)."""


def pose_to_bones(
    pose: Float[Tensor, "*batch joints dims"], skeleton: Skeleton
) -> Float[Tensor, "*batch bones dims"]:
    """Bone vectors, child minus parent, of 2D or 3D poses."""
    parents = index_on(tuple(parent for parent, _ in skeleton.bones), pose.device)
    children = index_on(tuple(child for _, child in skeleton.bones), pose.device)
    return pose.index_select(-2, children) - pose.index_select(-2, parents)


def bones_to_pose(
    bones: Float[Tensor, "*batch bones dims"],
    root: Float[Tensor, "*batch dims"],
    skeleton: Skeleton,
) -> Float[Tensor, "*batch joints dims"]:
    """The pose with the given bone vectors and root position."""
    return chain_matrix(skeleton, bones) @ bones + root[..., None, :]


def chain_matrix(skeleton: Skeleton, like: Tensor) -> Float[Tensor, "joints bones"]:
    """Matrix M with M[j, k] = 1 where bone k lies between the root and joint j."""
    return _chain_table(skeleton, like.device, like.dtype)


def bone_lengths(
    pose: Float[Tensor, "*batch joints dims"], skeleton: Skeleton
) -> Float[Tensor, "*batch bones"]:
    """Length of every bone, in the unit of the pose."""
    return pose_to_bones(pose, skeleton).norm(dim=-1)


def mirror_pose(
    pose: Float[Tensor, "*batch joints dims"], skeleton: Skeleton
) -> Float[Tensor, "*batch joints dims"]:
    """The mirror image of a pose: x negated, left and right joints exchanged.

    For 2D in normalised screen coordinates and for 3D in camera coordinates; the camera's
    principal point and tangential distortion must be mirrored with it (VideoPose3D).
    """
    exchanged = pose.index_select(-2, index_on(skeleton.mirror, pose.device))
    return torch.cat([-exchanged[..., :1], exchanged[..., 1:]], dim=-1)


def kcs(bones: Float[Tensor, "*batch bones dims"]) -> Float[Tensor, "*batch bones bones"]:
    """The full KCS matrix of 2D or 3D bone vectors."""
    return bones @ bones.mT


def kcs_vector(bones: Float[Tensor, "*batch bones dims"]) -> Float[Tensor, "*batch entries"]:
    """The upper triangle of the KCS matrix with its diagonal: N (N + 1) / 2 different entries."""
    count = bones.shape[-2]
    rows, columns = torch.triu_indices(count, count, device=bones.device)
    return kcs(bones)[..., rows, columns]


def part_kcs_vectors(
    bones: Float[Tensor, "*batch bones dims"], skeleton: Skeleton
) -> dict[str, Float[Tensor, "*batch _"]]:
    """The KCS entries of every body part apart (PoseAug: part-aware KCS)."""
    return {
        name: kcs_vector(bones.index_select(-2, index_on(ids, bones.device)))
        for name, ids in skeleton.parts.items()
    }


def symmetry_matrix(skeleton: Skeleton, like: Tensor) -> Float[Tensor, "groups bones"]:
    """Matrix that spreads one number per symmetric group to its bones: groups @ M -> bones."""
    matrix = torch.zeros(len(skeleton.symmetric_bones), skeleton.num_bones)
    for row, group in enumerate(skeleton.symmetric_bones):
        for bone in group:
            matrix[row, skeleton.bone_id(bone)] = 1
    return matrix.to(like)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # kept, and may be met by autograd later
def index_on(ids: tuple[int, ...], device: torch.device) -> Tensor:
    """Indices as a tensor on a device, made once: indexing by a list would make the device wait."""
    return torch.tensor(ids, dtype=torch.long, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept, and may be met by autograd later
def _chain_table(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(skeleton.num_joints, skeleton.num_bones)
    bone_of = {child: k for k, (_, child) in enumerate(skeleton.bones)}
    for joint in range(skeleton.num_joints):
        walk = joint
        while skeleton.parents[walk] >= 0:
            matrix[joint, bone_of[walk]] = 1
            walk = skeleton.parents[walk]
    return matrix.to(device, dtype)
