"""Domain (2D) and 3D discriminators over kinematic chain spaces (AdaptPose section 4.3).

Both judge windows, or the middle frame alone. Keypoints are not centred on the root: their
position and scale are what the generator has to learn. Scores are least-squares GAN scores.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.bones import bones_to_pose, index_on, kcs_vector, part_kcs_vectors, pose_to_bones
from adaptpose.config import DiscriminatorConfig
from adaptpose.networks import SkipBranch, Standardise, initialise
from adaptpose.rotations import axis_angle_to_rotmat
from adaptpose.skeleton import Skeleton

FEATURES = 100
"""Features of each branch before the scores [PA, APc]."""


class Frames(NamedTuple):
    """Which frames of a window a discriminator reads."""

    keypoints: tuple[int, ...]
    kcs: tuple[int, ...]


def judged_frames(config: DiscriminatorConfig, length: int, middle: int) -> Frames:
    """All frames and `kcs_frames` evenly spaced ones, or the supervised frame alone."""
    if config.frames == "single" or length == 1:
        return Frames((middle,), (middle,))
    count = min(config.kcs_frames, length)
    spaced = torch.linspace(0, length - 1, count).round().long().tolist() if count > 1 else [middle]
    return Frames(tuple(range(length)), tuple(spaced))


class DomainDiscriminator(nn.Module):
    """D_D of eq. 2: a keypoint branch and a 2D-KCS branch.

    Input is 2D as the lifter sees it, (B, T, J, 2); output one score per window.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        skeleton: Skeleton,
        frames: Frames,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.skeleton, self.frames = skeleton, frames
        points = len(frames.keypoints) * skeleton.num_joints * 2
        self.point_statistics = Standardise(points)
        self.point_branch = SkipBranch(points, config.hidden_2d, FEATURES)
        self.kcs_branch = None
        if config.kcs_2d:
            entries = len(frames.kcs) * skeleton.num_bones * (skeleton.num_bones + 1) // 2
            self.kcs_statistics = Standardise(entries)
            self.kcs_branch = SkipBranch(entries, config.hidden_kcs, FEATURES)
        branches = 2 if config.kcs_2d else 1
        self.hidden = nn.Linear(branches * FEATURES, FEATURES)
        self.score = nn.Linear(FEATURES, 1)
        initialise(self, generator)

    def forward(self, pose2d: Float[Tensor, "batch frames joints 2"]) -> Float[Tensor, "batch"]:
        """Scores: near 1 for windows that look like the target's."""
        features = [self.point_branch(self.point_statistics(self._points(pose2d))[None])[0]]
        if self.kcs_branch is not None:
            features.append(self.kcs_branch(self.kcs_statistics(self._kcs(pose2d))[None])[0])
        hidden = nn.functional.leaky_relu(self.hidden(torch.cat(features, dim=1)), 0.01)
        return self.score(hidden)[:, 0]

    def set_statistics(self, real: Float[Tensor, "batch frames joints 2"]) -> None:
        """Take the standardisation of inputs from real windows."""
        self.point_statistics.set_statistics(self._points(real))
        if self.kcs_branch is not None:
            self.kcs_statistics.set_statistics(self._kcs(real))

    def _points(self, pose2d: Tensor) -> Tensor:
        chosen = index_on(self.frames.keypoints, pose2d.device)
        return pose2d.index_select(1, chosen).flatten(1)

    def _kcs(self, pose2d: Tensor) -> Tensor:
        chosen = pose2d.index_select(1, index_on(self.frames.kcs, pose2d.device))
        return kcs_vector(pose_to_bones(chosen, self.skeleton)).flatten(1)


class PoseDiscriminator(nn.Module):
    """D_3D of eq. 2: part-wise KCS of one pose, whole KCS of another; six scores.

    Real samples come as (perturbed, original) source windows, generated ones as the same window
    twice: the parts may leave the source's poses by a little, the whole body may not.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        skeleton: Skeleton,
        frames: Frames,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.skeleton, self.frames = skeleton, frames
        sizes = [len(ids) * (len(ids) + 1) // 2 for ids in skeleton.parts.values()]
        self.part_size = max(sizes) * len(frames.kcs)
        entries = len(frames.kcs) * skeleton.num_bones * (skeleton.num_bones + 1) // 2
        self.part_statistics = Standardise(self.part_size * len(sizes))
        self.body_statistics = Standardise(entries)
        self.part_branches = SkipBranch(self.part_size, config.hidden_3d, FEATURES, len(sizes))
        self.part_scores = nn.ModuleList(nn.Linear(FEATURES, 1) for _ in sizes)
        self.body_branch = SkipBranch(entries, config.hidden_3d, FEATURES)
        self.body_score = nn.Linear(FEATURES, 1)
        initialise(self, generator)

    def forward(
        self,
        parts_pose: Float[Tensor, "batch frames joints 3"],
        body_pose: Float[Tensor, "batch frames joints 3"],
    ) -> Float[Tensor, "batch 6"]:
        """Scores of the five parts and of the whole body: near 1 for plausible windows."""
        parts = self.part_statistics(self._parts(parts_pose)).unflatten(1, (-1, self.part_size))
        features = nn.functional.leaky_relu(self.part_branches(parts.movedim(1, 0)), 0.01)
        scores = [score(row) for score, row in zip(self.part_scores, features, strict=True)]
        body = self.body_branch(self.body_statistics(self._body(body_pose))[None])[0]
        scores.append(self.body_score(nn.functional.leaky_relu(body, 0.01)))
        return torch.cat(scores, dim=1)

    def set_statistics(self, real: Float[Tensor, "batch frames joints 3"]) -> None:
        """Take the standardisation of inputs from real windows."""
        self.part_statistics.set_statistics(self._parts(real))
        self.body_statistics.set_statistics(self._body(real))

    def _parts(self, pose: Tensor) -> Tensor:
        chosen = pose.index_select(1, index_on(self.frames.kcs, pose.device))
        bones = pose_to_bones(chosen, self.skeleton)
        vectors = [part.flatten(1) for part in part_kcs_vectors(bones, self.skeleton).values()]
        pad = nn.functional.pad
        return torch.cat([pad(v, (0, self.part_size - v.shape[1])) for v in vectors], dim=1)

    def _body(self, pose: Tensor) -> Tensor:
        chosen = pose.index_select(1, index_on(self.frames.kcs, pose.device))
        return kcs_vector(pose_to_bones(chosen, self.skeleton)).flatten(1)


def perturb_bones(
    pose: Float[Tensor, "batch frames joints 3"],
    max_angle_rad: float,
    skeleton: Skeleton,
    generator: torch.Generator,
) -> Float[Tensor, "batch frames joints 3"]:
    """Windows with every bone turned by less than `max_angle_rad` about a random axis.

    One turn per bone and window, so that motion stays smooth (AdaptPose 4.3: beta < 10 degrees).
    """
    bones = pose_to_bones(pose, skeleton)
    shape = (pose.shape[0], skeleton.num_bones)
    axis = torch.randn(*shape, 3, generator=generator, device=pose.device)
    angle = torch.rand(shape, generator=generator, device=pose.device) * max_angle_rad
    rotation = axis_angle_to_rotmat(axis, angle)
    turned = torch.einsum("bnij,btnj->btni", rotation, bones)
    return bones_to_pose(turned, pose[:, :, skeleton.root], skeleton)
