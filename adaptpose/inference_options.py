"""What may be done to lifted poses at inference: averaged passes, ray consistency, refinement.

A lifter ignores the rays of the keypoints it reads. Putting joints on their rays, or refining whole
clips, mends that without any training; both need a lens, which is estimated from the 2D and the
poses unless it is given. Nor does 2D tell a body's size: people whose height is given get it, and
others keep the size of the people that the lifter was trained on. Nothing here sees a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.body_scale import Heights, resized, size_factors
from adaptpose.camera import Intrinsics
from adaptpose.clips import Clip2D, Normalisation
from adaptpose.config_values import check_config
from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.inference import CHUNK_FRAMES, TestTime, predict_clips, resolve_tta
from adaptpose.lifted import estimate_lenses, gather_lifted, usable_keypoints
from adaptpose.lifter import Lifter
from adaptpose.on_rays import on_rays
from adaptpose.pseudo_config import RefineConfig
from adaptpose.refine import refine
from adaptpose.root_path import ROOT_CUTOFF_HZ
from adaptpose.skeleton import Skeleton, joint_map

Rays = Literal["none", "rays", "refined"]
"""Poses as lifted; joints moved onto their rays; clips refined with rays, one body, smoothness."""

FocalFrom = Literal["estimated", "given"]
"""Lenses estimated from 2D and poses, one per camera, or those that are known."""


@dataclass(frozen=True)
class InferenceOptions:
    """How lifted poses of clips are made better.

    `tta`: passes averaged, as of `resolve_tta`. `rays`: see `Rays`. `focal`: "estimated" uses no
    lens of a clip even where one is known. `root_cutoff_hz`: low-pass on the root's distance.
    `config`: amounts of `on_rays` and `refine`; the keypoints' jitter limits how far they go.
    `height_m`: people are made that tall before rays are looked at, and again after.
    """

    tta: TestTime | Literal["auto"] = "auto"
    rays: Rays = "none"
    focal: FocalFrom = "estimated"
    root_cutoff_hz: float | int = ROOT_CUTOFF_HZ
    config: RefineConfig = field(default_factory=RefineConfig)
    height_m: Heights | None = None

    @property
    def variant(self) -> str:
        """The variant of an evaluation that such poses belong to, e.g. "tta + height + rays"."""
        parts = ["raw" if self.tta == "none" else "tta"]
        parts += [] if self.height_m is None else ["height"]
        parts += [] if self.rays == "none" else [self.rays]
        return " + ".join(parts)


def infer_clips(
    lifter: Lifter,
    clips: Sequence[Clip2D],
    normalisation: Normalisation = "screen",
    options: InferenceOptions | None = None,
    lenses: Sequence[Intrinsics | None] | None = None,
    chunk_frames: int = CHUNK_FRAMES,
) -> list[Float[Tensor, "_ joints 3"]]:
    """Root-relative poses (m) of clips in the lifter's joints, as the options say; on the CPU.

    The clips are in the skeleton that the lifter reads; joints it gives but does not read have no
    ray. Work is done on the device of the lifter. Raises as `predict_clips` and `apply_inference`.
    """
    options = options or InferenceOptions()
    tta = resolve_tta(lifter, options.tta)
    poses = predict_clips(lifter, clips, normalisation, tta, chunk_frames)
    if (options.rays == "none" and options.height_m is None) or not clips:
        return poses
    shown = [_in_joints_of(lifter, clip) for clip in clips]
    device = next(lifter.parameters(), torch.empty(0)).device
    return apply_inference(poses, shown, lenses, lifter.skeleton_out, options, device)


def apply_inference(
    poses: Sequence[Float[Tensor, "_ joints 3"]],
    clips: Sequence[Clip2D],
    lenses: Sequence[Intrinsics | None] | None,
    skeleton: Skeleton,
    options: InferenceOptions,
    device: torch.device | None = None,
) -> list[Float[Tensor, "_ joints 3"]]:
    """Root-relative poses (m) of clips, as tall and on their rays as the options say; on the CPU.

    Lifted poses come as they are if `rays` is "none" and no height is given. Else as
    `placed_poses`, the root subtracted. SkeletonError as `size_factors`.
    """
    poses = _as_tall(poses, clips, skeleton, options)
    if options.rays == "none":
        return poses
    points = placed_poses(poses, clips, lenses, skeleton, options, device)
    relative = [pose - pose[:, skeleton.root : skeleton.root + 1] for pose in points]
    return _as_tall(relative, clips, skeleton, options)


def placed_poses(
    poses: Sequence[Float[Tensor, "_ joints 3"]],
    clips: Sequence[Clip2D],
    lenses: Sequence[Intrinsics | None] | None,
    skeleton: Skeleton,
    options: InferenceOptions,
    device: torch.device | None = None,
) -> list[Float[Tensor, "_ joints 3"]]:
    """Absolute poses (m, camera axes) of lifted clips, on their rays or refined; on the CPU.

    Poses and clips are in `skeleton`. `lenses` are normalised, one per clip, and are not looked at
    if the focal length is to be estimated; neither are heights. `rays` must not be "none" here.
    ConfigError for impossible options or a lens that is asked for and not there; DataError for 2D
    without places in the image; else as `gather_lifted`.
    """
    check_inference(options)
    # `refine` makes its own gradients; `on_rays` needs none.
    with torch.no_grad():
        _check_places(clips, skeleton)
        known = (
            _given(clips, lenses)
            if options.focal == "given"
            else estimate_lenses(poses, clips, skeleton)
        )
        lifted = gather_lifted(poses, clips, known, skeleton, None, options.root_cutoff_hz)
        lifted = lifted if device is None else lifted.to(device)
        make = {"rays": on_rays, "refined": refine}[options.rays]
        return lifted.split(make(lifted, options.config).cpu())


def check_inference(options: InferenceOptions) -> None:
    """Raise ConfigError for amounts that cannot be."""
    check_config(options.config)
    if not options.root_cutoff_hz >= 0:
        got = f"{options.root_cutoff_hz:g}"
        raise ConfigError(expected_message("root_cutoff_hz", "0 or more", got))


def shown_keypoints(
    clip: Clip2D, source: Skeleton, target: Skeleton
) -> tuple[
    Float[Tensor, "frames joints 2"], Float[Tensor, "frames joints"], Float[Tensor, "frames joints"]
]:
    """Finite 2D, weight and confidence of the target's joints of a clip in `source`, by name.

    Weight and confidence are 0 where the source has no such joint. A clip whose keypoints all
    came without a confidence is taken as it is, as by `predict_clips`.
    """
    index = joint_map(source, target).index
    lacking = torch.tensor([place < 0 for place in index])
    places = [max(place, 0) for place in index]
    pose2d = clip.pose2d[:, places]
    confidence = torch.where(lacking, 0.0, clip.confidence[:, places])
    weight = confidence if bool((clip.confidence > 0).any()) else torch.ones_like(confidence)
    usable = torch.isfinite(pose2d).all(dim=-1) & ~lacking
    finite = torch.where(usable[..., None], pose2d, 0.0)
    return finite, torch.where(usable, weight, 0.0), confidence


def _as_tall(
    poses: Sequence[Tensor], clips: Sequence[Clip2D], skeleton: Skeleton, options: InferenceOptions
) -> list[Tensor]:
    if options.height_m is None:
        return list(poses)
    weights = [usable_keypoints(clip)[1] * clip.valid[:, None] for clip in clips]
    return resized(poses, size_factors(poses, weights, clips, options.height_m, skeleton))


def _given(clips: Sequence[Clip2D], lenses: Sequence[Intrinsics | None] | None) -> list[Intrinsics]:
    fix = "estimate the focal length"
    if lenses is None:
        raise ConfigError(expected_message("given focal length", "a lens per clip", "none", fix))
    found = [lens for lens in lenses if lens is not None]
    if len(found) < len(lenses):
        without = clips[list(lenses).index(None)].name
        thing = f"given focal length, clip '{without}'"
        raise ConfigError(expected_message(thing, "a known lens", "none", fix))
    return found


def _check_places(clips: Sequence[Clip2D], skeleton: Skeleton) -> None:
    """Raise DataError for 2D that was centred on the root: it has no rays.

    No camera keeps a person's root on the very middle of the image, to the last digit.
    """
    roots = [
        clip.pose2d[(clip.confidence > 0).any(dim=1), skeleton.root]
        for clip in clips
        if clip.pose2d.shape[1] == skeleton.num_joints
    ]
    if sum(len(root) for root in roots) > 1 and all(bool((root == 0).all()) for root in roots):
        raise DataError(
            expected_message(
                "ray consistency", "2D with its place in the image",
                "2D centred on the root in every frame", "leave it out",
            )
        )  # fmt: skip


def _in_joints_of(lifter: Lifter, clip: Clip2D) -> Clip2D:
    """The 2D of a clip, without labels it may have, in the joints that the lifter gives."""
    pose2d, weight, _ = shown_keypoints(clip, lifter.skeleton_in, lifter.skeleton_out)
    shown: dict[str, Any] = {f.name: getattr(clip, f.name) for f in fields(Clip2D)}
    shown["pose2d"] = torch.where(weight[..., None] > 0, pose2d, torch.nan)
    return Clip2D(**{**shown, "confidence": weight})
