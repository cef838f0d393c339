"""Domain (2D) and 3D discriminators over kinematic chain spaces (AdaptPose section 4.3).

Both judge windows, or the middle frame alone. Keypoints are not centred on the root: their
position and scale are what the generator has to learn. Scores are least-squares GAN scores.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.bones import bones_to_pose, index_on, pose_to_bones
from adaptpose.config import DiscriminatorConfig
from adaptpose.kcs_entries import entry_pairs, kcs_entries, part_entries
from adaptpose.networks import SkipBranch, Standardise, initialise
from adaptpose.rotations import axis_angle_to_rotmat
from adaptpose.skeleton import Skeleton
from adaptpose.taps import tap

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
        self.point_branch = SkipBranch([points], config.hidden_2d, FEATURES)
        self.kcs_branch = None
        if config.kcs_2d:
            entries = len(frames.kcs) * len(entry_pairs(skeleton))
            self.kcs_statistics = Standardise(entries)
            self.kcs_branch = SkipBranch([entries], config.hidden_kcs, FEATURES)
        branches = 2 if config.kcs_2d else 1
        self.hidden = nn.Linear(branches * FEATURES, FEATURES)
        self.score = nn.Linear(FEATURES, 1)
        initialise(self, generator)

    def forward(self, pose2d: Float[Tensor, "batch frames joints 2"]) -> Float[Tensor, "batch"]:
        """Scores: near 1 for windows that look like the target's."""
        kcs_frames = index_on(self.frames.kcs, pose2d.device)
        pose2d, judged = tap(pose2d, (slice(None), kcs_frames))
        features = [self.point_branch([self.point_statistics(self._points(pose2d))])[0]]
        if self.kcs_branch is not None:
            features.append(self.kcs_branch([self.kcs_statistics(self._kcs(judged))])[0])
        hidden = nn.functional.leaky_relu(self.hidden(torch.cat(features, dim=1)), 0.01)
        return self.score(hidden)[:, 0]

    def set_statistics(self, real: Float[Tensor, "batch frames joints 2"]) -> None:
        """Take the standardisation of inputs from real windows."""
        self.point_statistics.set_statistics(self._points(real))
        if self.kcs_branch is not None:
            judged = real.index_select(1, index_on(self.frames.kcs, real.device))
            self.kcs_statistics.set_statistics(self._kcs(judged))

    def _points(self, pose2d: Tensor) -> Tensor:
        if len(self.frames.keypoints) == pose2d.shape[1]:
            return pose2d.flatten(1)
        chosen = index_on(self.frames.keypoints, pose2d.device)
        return pose2d.index_select(1, chosen).flatten(1)

    def _kcs(self, judged: Tensor) -> Tensor:
        return kcs_entries(judged, self.skeleton).flatten(0, 1).T


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
        parts, judged = part_entries(skeleton), len(frames.kcs)
        self.part_sizes = [len(part) for part in parts]
        self.part_ids = tuple(entry for part in parts for entry in part)
        entries = judged * len(entry_pairs(skeleton))
        self.statistics = Standardise(entries)
        inputs = [judged * size for size in self.part_sizes]
        self.part_branches = SkipBranch(inputs, config.hidden_3d, FEATURES)
        self.part_scores = nn.ModuleList(nn.Linear(FEATURES, 1) for _ in parts)
        self.body_branch = SkipBranch([entries], config.hidden_3d, FEATURES)
        self.body_score = nn.Linear(FEATURES, 1)
        initialise(self, generator)

    def forward(
        self,
        parts_pose: Float[Tensor, "batch frames joints 3"],
        body_pose: Float[Tensor, "batch frames joints 3"],
    ) -> Float[Tensor, "batch 6"]:
        """Scores of the five parts and of the whole body: near 1 for plausible windows."""
        body = self._entries(body_pose)
        parts = body if parts_pose is body_pose else self._entries(parts_pose)
        features = nn.functional.leaky_relu(self.part_branches(self._parts(parts)), 0.01)
        scores = [score(row) for score, row in zip(self.part_scores, features, strict=True)]
        whole = self.body_branch([body])[0]
        scores.append(self.body_score(nn.functional.leaky_relu(whole, 0.01)))
        return torch.cat(scores, dim=1)

    def judged(
        self, pose: Float[Tensor, "batch frames joints 3"]
    ) -> Float[Tensor, "batch judged joints 3"]:
        """The frames of windows that are read; `forward` takes these as well as windows."""
        if pose.shape[1] == len(self.frames.kcs):
            return pose
        return pose.index_select(1, index_on(self.frames.kcs, pose.device))

    def set_statistics(self, real: Float[Tensor, "batch frames joints 3"]) -> None:
        """Take the standardisation of inputs from real windows."""
        self.statistics.set_statistics(self._raw(real))

    def _entries(self, pose: Tensor) -> Tensor:
        return self.statistics(self._raw(pose))

    def _raw(self, pose: Tensor) -> Tensor:
        return kcs_entries(self.judged(pose), self.skeleton).flatten(0, 1).T

    def _parts(self, entries: Tensor) -> list[Tensor]:
        rows = entries.T.unflatten(0, (-1, len(self.frames.kcs)))
        chosen = rows.index_select(0, index_on(self.part_ids, entries.device))
        return [part.flatten(0, 1).T for part in chosen.split(self.part_sizes)]


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
