"""Viewpoint transfer: source motions filmed as the target's people are.

A frame of the target gives its viewpoint, place and size, a source window the motion; what comes
out is an exact pair whose 2D is distributed as the target's. Every viewpoint gets some noise, as
pseudo-poses are off, and a focal length that is drawn, as it is not known.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.augment_config import WideConfig
from adaptpose.body_changes import change_points, trunk_axes
from adaptpose.bones import bone_lengths, symmetry_matrix
from adaptpose.config_values import check_config
from adaptpose.errors import SkeletonError, expected_message
from adaptpose.pseudo import PseudoPoses
from adaptpose.pseudo_config import BodyConfig, ReplayConfig, TransferConfig
from adaptpose.rotations import rotvec_to_rotmat
from adaptpose.shots import (
    CutWindows,
    FilmedWindows,
    Shots,
    SourceFilmer,
    as_poses,
    film_points,
    in_view,
)
from adaptpose.skeleton import Skeleton
from adaptpose.windows import LabelledBank


class TransferMaker(SourceFilmer):
    """Makes pairs of source windows filmed from viewpoints of pseudo-poses.

    Windows have `frames_before` and `frames_after` frames around the supervised one, with random
    `strides` at 50 Hz; source and pseudo-poses are on one device. ConfigError if the config is not
    possible, SkeletonError if source and target have other joints.
    """

    name = "transfer"

    def __init__(
        self,
        bank: LabelledBank,
        pseudo: PseudoPoses,
        frames_before: int,
        frames_after: int,
        strides: tuple[int, int],
        config: TransferConfig | None = None,
    ) -> None:
        self.config = config or TransferConfig()
        check_config(self.config)
        if bank.skeleton != pseudo.bank.skeleton:
            joints = f"the joints of '{pseudo.bank.skeleton.name}'"
            raise SkeletonError(expected_message("source", joints, f"'{bank.skeleton.name}'"))
        self.bank = bank
        self.pseudo = pseudo
        self.usual = usual_lengths(bank)
        self.frames_before = frames_before
        self.frames_after = frames_after
        self.strides = strides

    @torch.no_grad()
    def film(self, cut: CutWindows, rng: torch.Generator) -> FilmedWindows:
        """The windows filmed from viewpoints drawn by weight."""
        view = self.pseudo.draw(len(cut.frame), rng)
        middle, pseudo = self.frames_before, self.pseudo
        factors = None
        if pseudo.lengths is not None:
            factors = pseudo.lengths[pseudo.bank.clip_of_frame[view]] / self.usual
        return film_windows(cut.points, middle, pseudo, view, self.config, rng, factors)


def usual_lengths(bank: LabelledBank) -> Float[Tensor, "bones"]:
    """Bone lengths (m) of a source's people, left as right: means of logarithms over frames."""
    spread = symmetry_matrix(bank.skeleton, bank.pose3d_cam)
    logs = bone_lengths(bank.pose3d_cam[bank.centres], bank.skeleton).clamp_min(1e-3).log()
    return (spread @ logs.mean(dim=0) / spread.sum(dim=1) @ spread).exp()


def film_windows(
    points: Float[Tensor, "joints 3 window batch"],
    middle: int,
    pseudo: PseudoPoses,
    view: Int[Tensor, "batch"],
    config: TransferConfig | ReplayConfig,
    rng: torch.Generator,
    factors: Float[Tensor, "batch bones"] | None = None,
) -> FilmedWindows:
    """Windows filmed from the viewpoints of pseudo-poses at the frames `view`.

    The points, in any camera's axes (m), are changed in place as the config says, and bones made
    longer by `factors`. Not usable are windows that `shots.in_view` refuses and bodies without axes
    at the supervised frame.
    """
    skeleton = pseudo.bank.skeleton
    points = lightly_changed(points, skeleton, config.bodies, rng, factors)
    axes = trunk_axes(points[:, :, middle : middle + 1], skeleton)[:, :, 0].permute(2, 0, 1)
    shots = shots_from(pseudo, view, axes, config, rng)
    filmed, image = film_points(points, shots, middle, skeleton.root)
    pose2d = as_poses(image)
    pose3d = filmed.permute(3, 2, 0, 1)
    seen = in_view(pose3d, pose2d, middle, config.view_limit)
    seen &= (axes.square().sum(dim=-1) > 0.5).all(dim=-1)
    return FilmedWindows(pose3d, pose2d, shots.focal, seen)


def shots_from(
    pseudo: PseudoPoses,
    view: Int[Tensor, "batch"],
    axes: Float[Tensor, "batch 3 3"],
    config: TransferConfig | ReplayConfig,
    rng: torch.Generator,
) -> Shots:
    """Shots of bodies with the given axes (rows, in the axes of their poses), with noise."""
    noise, device = config.noise, pseudo.weight.device
    normal = torch.randn(6, len(view), generator=rng, device=device)
    turn = rotvec_to_rotmat(noise.rotation_rad * normal[:3].T)
    rotation = turn @ pseudo.to_body.index_select(0, view).mT @ axes
    place = pseudo.place.index_select(0, view) + noise.place * normal[3:5].T
    rate = pseudo.rate.index_select(0, view) * (noise.log_rate * normal[5]).exp()
    if config.focal == "own":
        return Shots(rotation, place, rate, pseudo.focal.index_select(0, view))
    low, high = (math.log(end) for end in config.focal_range)
    share = torch.rand(len(view), generator=rng, device=device)
    return Shots(rotation, place, rate, (low + (high - low) * share).exp())


def lightly_changed(
    points: Float[Tensor, "joints 3 window batch"],
    skeleton: Skeleton,
    config: BodyConfig,
    rng: torch.Generator,
    factors: Float[Tensor, "batch bones"] | None = None,
) -> Float[Tensor, "joints 3 window batch"]:
    """The points with bodies changed in place, and by `factors`; untouched if there is nothing."""
    if factors is None and not any(vars(config).values()):
        return points
    return change_points(points, skeleton, replace(WideConfig(), **vars(config)), rng, factors)
