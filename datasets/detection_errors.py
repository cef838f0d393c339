"""Errors of real detections, each judged by the cameras that did not make it.

The error of a detection is its distance to the point that the other cameras see, freed from the
error of that point (`datasets.triangulation`), after the cameras' poses have been refined: a
calibration that is slightly off is no error of the detector.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adaptpose.datasets.noise import SWAP_GROUPS, person_size
from adaptpose.datasets.pose2sim import Pose2SimTrial, body_25b_to_h36m
from adaptpose.datasets.triangulation import leave_one_out, refine_views, reproject, triangulate
from adaptpose.skeleton import H36M_17


@dataclass(frozen=True)
class DetectionErrors:
    """Errors of detections (cameras, frames, joints of H36M_17), NaN where there is none.

    `share` is the error of one detection as a share of the person's size; `plain_px` the
    reprojection error of all views together with the calibration as it came.
    """

    share: Float[Tensor, "cameras frames 17 2"]
    confidence: Float[Tensor, "cameras frames 17"]
    swapped: Bool[Tensor, "cameras frames groups"]
    size_px: Float[Tensor, "cameras frames"]
    plain_px: Float[Tensor, "cameras frames 17"]
    frame_rate_hz: float


def measure_errors(recording: Pose2SimTrial) -> DetectionErrors:
    """Error of every detection against the other cameras, as 17 joints of Human3.6M."""
    pose2d, confidence = body_25b_to_h36m(recording.pose2d_px, recording.confidence)
    cameras, frames, joints, _ = pose2d.shape
    points, weight = pose2d.reshape(cameras, -1, 2), confidence.reshape(cameras, -1)
    # Without robust weights: the figure usually quoted for such a recording.
    world = triangulate(points, weight, recording.views, robust_px=math.inf)
    given = reproject(world, recording.views)
    plain = (points - given).norm(dim=-1).reshape(cameras, frames, joints)
    views = refine_views(points, weight, recording.views)
    held_out = leave_one_out(points, weight, views)
    prediction = held_out.prediction_px.reshape(cameras, frames, joints, 2)
    size = person_size(prediction)
    share = held_out.own_px.reshape(pose2d.shape) / size[..., None, None]
    swapped = _swapped_groups(pose2d, prediction, size)
    return DetectionErrors(share, confidence, swapped, size, plain, recording.frame_rate_hz)


def without_swaps(errors: DetectionErrors) -> Float[Tensor, "cameras frames 17 2"]:
    """The error shares with NaN where a limb pair is swapped: a swap is no large error."""
    swapped = torch.zeros_like(errors.confidence, dtype=torch.bool)
    for group, names in enumerate(SWAP_GROUPS):
        ids = H36M_17.ids([f"{side}_{name}" for side in ("left", "right") for name in names])
        swapped[:, :, ids] = errors.swapped[:, :, group, None]
    return errors.share.masked_fill(swapped[..., None], torch.nan)


def _swapped_groups(pose2d: Tensor, prediction: Tensor, size: Tensor) -> Tensor:
    """Where the sides of a limb pair fit the other cameras far better exchanged."""
    masks = []
    for names in SWAP_GROUPS:
        left = H36M_17.ids([f"left_{name}" for name in names])
        right = H36M_17.ids([f"right_{name}" for name in names])
        pairs, others = left + right, right + left
        kept = (pose2d[:, :, pairs] - prediction[:, :, pairs]).norm(dim=-1).mean(-1)
        crossed = (pose2d[:, :, pairs] - prediction[:, :, others]).norm(dim=-1).mean(-1)
        # Limbs that cover each other in the image cannot tell their sides.
        apart = (prediction[:, :, left] - prediction[:, :, right]).norm(dim=-1).mean(-1)
        masks.append((crossed < 0.5 * kept) & (apart > 0.05 * size))
    return torch.stack(masks, dim=-1)
