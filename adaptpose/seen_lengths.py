"""Bone lengths as an image shows them: people differ from those that a lifter knows.

A lifter gives everybody the proportions of its training people, more or less. But a bone that lies
across the line of sight is seen at its full length, whatever the lifter thinks of its length. So
lengths are taken on the rays of the keypoints, and count by how far the bone, as lifted, lies
across. What is left of the lifter's prejudice is the same for windows that are made with known
bodies from the same viewpoints, and can be taken away: see `adaptpose.people`.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.body_scale import stature_chain
from adaptpose.bones import index_on, pose_to_bones, symmetry_matrix
from adaptpose.camera import pinhole
from adaptpose.errors import SkeletonError
from adaptpose.rays import root_from_rays
from adaptpose.skeleton import Skeleton

_NEAREST_M = 0.3
_SHORTEST_M = 0.02


@dataclass(frozen=True)
class SeenLengths:
    """Logarithms of lengths (m) per symmetric group of bones, and how far each can be trusted."""

    log_length: Float[Tensor, "frames groups"]
    weight: Float[Tensor, "frames groups"]

    def mean(self) -> Float[Tensor, "groups"]:
        """Means over all frames by weight; 0 for a group that is never seen."""
        total = self.weight.sum(dim=0)
        return (self.log_length * self.weight).sum(dim=0) / total.clamp_min(1e-6)

    def mean_by(
        self, person: Int[Tensor, "frames"], count: int, prior_frames: float
    ) -> Float[Tensor, "count groups"]:
        """Means over the frames of each person, drawn to that of all as by so many more frames."""
        everybody = self.mean()
        sums, weights = (
            torch.zeros(count, self.weight.shape[1]).to(self.weight).index_add(0, person, value)
            for value in (self.log_length * self.weight, self.weight)
        )
        return (sums + prior_frames * everybody) / (weights + prior_frames).clamp_min(1e-6)


def size_of(lengths: Float[Tensor, "*batch bones"], skeleton: Skeleton) -> Float[Tensor, "*batch"]:
    """How tall bodies with such bones are: legs, trunk and head, or all bones without a head.

    Datasets place shoulders and hips differently, so the sum of all bones is no size.
    """
    return lengths @ _upright(skeleton).to(lengths)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept, and may be met by autograd later
def _upright(skeleton: Skeleton) -> Tensor:
    shares = torch.zeros(skeleton.num_bones)
    try:
        groups = stature_chain(skeleton)
    except SkeletonError:
        return shares + 1
    bones = {
        frozenset(skeleton.joints[joint] for joint in pair): place
        for place, pair in enumerate(skeleton.bones)
    }
    for group in groups:
        for pair in group:
            shares[bones[frozenset(pair)]] = 1 / len(group)
    return shares


def seen_lengths(
    pose: Float[Tensor, "frames joints 3"],
    slopes: Float[Tensor, "frames joints 2"],
    weight: Float[Tensor, "frames joints"],
    skeleton: Skeleton,
    sharpness: float,
) -> SeenLengths:
    """Lengths of the bones of lifted poses (root-relative, m) whose joints are put on their rays.

    `slopes` are rays X/Z, Y/Z, `weight` is the joints' confidence. The root stands where the joints
    come nearest to their rays; predicted depths are kept. A bone's weight is that of its ends times
    sin² of its angle with the line of sight, to the power of `sharpness`.
    """
    root = root_from_rays(pose, slopes, weight, pinhole(1.0))
    depth = (pose[..., 2:] + root[:, None, 2:]).clamp_min(_NEAREST_M)
    points = torch.cat([slopes * depth, depth], dim=-1)
    bones = pose_to_bones(points, skeleton)
    parents, children = (
        index_on(ids, pose.device) for ids in map(tuple, zip(*skeleton.bones, strict=True))
    )
    sight = torch.nn.functional.normalize(points[:, parents] + points[:, children], dim=-1)
    square = bones.square().sum(dim=-1).clamp_min(_SHORTEST_M**2)
    across = (1 - (bones * sight).sum(dim=-1).square() / square).clamp(0, 1)
    ends = weight[:, parents].clamp(0, 1) * weight[:, children].clamp(0, 1)
    trust = across**sharpness * ends
    groups = symmetry_matrix(skeleton, pose)
    total = trust @ groups.T
    return SeenLengths((trust * square.log() / 2) @ groups.T / total.clamp_min(1e-9), total)
