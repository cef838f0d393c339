"""Scores of unsupervised lifting as PoseNet3D's tables have them, with trivial references.

Size and facing of a body cannot be seen in 2D, so every pose is brought onto the true one by a
rotation, a scale and a shift first, never by a reflection (Tripathi et al., 3DV 2020, section 4.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adaptpose.clips import Clip2D, PoseData, hold_seen
from adaptpose.inference import predict_clips
from adaptpose.lifter import Lifter
from adaptpose.metrics import (
    align_similarity,
    auc,
    mpjpe_mm,
    pck,
    velocity_errors_mm,
)
from adaptpose.skeleton import Skeleton

LIMBS = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)
"""The eight bones of MBLSTD: upper and lower arm and leg of both sides."""

REFERENCE = "constant depth"
"""What the trivial prediction is called: the 2D itself, all joints at one depth."""


@dataclass(frozen=True)
class PoseScores:
    """Means over the valid frames of a test set."""

    pmpjpe_mm: float
    """Mean joint error after alignment of every frame, reflections not allowed."""
    mpjve_mm: float
    """Mean error of joints' steps from frame to frame, of poses aligned frame by frame (mm/frame).
    """
    mblstd_mm: float
    """Standard deviation of the lengths of `LIMBS` over a clip, scaled by one factor so that their
    mean is the true one; mean over limbs and frames."""
    pck: float
    """Percentage of joints within 150 mm after alignment."""
    auc: float
    """Mean of that percentage over the thresholds of MPI-INF-3DHP."""
    flips: float
    """Percentage of frames whose mirror image in depth aligns better than the pose itself."""


def flipped_frames(
    prediction: Float[Tensor, "*batch joints 3"], truth: Float[Tensor, "*batch joints 3"]
) -> Bool[Tensor, "*batch"]:
    """Whether a pose mirrored in depth comes nearer to the truth than the pose, both aligned.

    A flat pose is its own mirror image and is not counted.
    """
    mirrored = prediction * prediction.new_tensor([1.0, 1.0, -1.0])
    own = mpjpe_mm(align_similarity(prediction, truth), truth)
    other = mpjpe_mm(align_similarity(mirrored, truth), truth)
    # Rounding must not decide about poses without depth.
    return other < own - 1e-3


def constant_depth(clips: Sequence[Clip2D], root: int) -> list[Float[Tensor, "frames joints 3"]]:
    """The 2D of every frame as a body without depth, root-relative, in normalised units."""
    found = []
    for clip in clips:
        flat = hold_seen(clip)
        flat = flat - flat[:, root : root + 1]
        found.append(torch.cat([flat, torch.zeros_like(flat[..., :1])], dim=-1))
    return found


def score_lifters(lifters: dict[str, Lifter], test: PoseData) -> dict[str, PoseScores]:
    """Scores by label of lifters and of the trivial reference on a labelled test set.

    Raises as `predict_clips`.
    """
    scores = {}
    for label, lifter in lifters.items():
        scores[label] = pose_scores(predict_clips(lifter, test.clips, "screen"), test)
    flat = constant_depth(test.clips, test.skeleton.root)
    return scores | {REFERENCE: pose_scores(flat, test)}


def pose_scores(predictions: Sequence[Float[Tensor, "_ joints 3"]], test: PoseData) -> PoseScores:
    """Scores of poses of any size, one sequence per clip of the test set."""
    totals: dict[str, list[Tensor]] = {}
    for prediction, clip in zip(predictions, test.clips, strict=True):
        values = _clip_values(prediction, clip.pose3d_cam, clip.valid, test.skeleton)
        for name, value in values.items():
            totals.setdefault(name, []).append(value.double().cpu())
    return PoseScores(**{name: float(torch.cat(parts).mean()) for name, parts in totals.items()})


def _clip_values(
    prediction: Tensor, truth: Tensor, valid: Tensor, skeleton: Skeleton
) -> dict[str, Tensor]:
    """Values per valid frame, or per step between valid neighbours."""
    root = skeleton.root
    truth = truth - truth[:, root : root + 1]
    aligned = align_similarity(prediction, truth)
    steps = valid[1:] & valid[:-1]
    aligned_steps = velocity_errors_mm(torch.nan_to_num(aligned), torch.nan_to_num(truth))
    prediction, truth, aligned = prediction[valid], truth[valid], aligned[valid]
    deviation = _limb_deviation_mm(prediction, truth, skeleton)
    return {
        "pmpjpe_mm": mpjpe_mm(aligned, truth),
        "mpjve_mm": aligned_steps[steps].mean(dim=1),
        "mblstd_mm": deviation.expand(len(truth)),
        "pck": pck(aligned, truth, skeleton),
        "auc": auc(aligned, truth, skeleton),
        "flips": 100.0 * flipped_frames(prediction, truth).float(),
    }


def _limb_deviation_mm(prediction: Tensor, truth: Tensor, skeleton: Skeleton) -> Tensor:
    """MBLSTD of a clip whose mean limb is made as long as the true one."""
    own, true = (_limb_lengths(pose, skeleton) for pose in (prediction, truth))
    size = true.mean() / own.mean().clamp_min(1e-9)
    return 1000 * size * own.std(dim=0, correction=0).mean()


def _limb_lengths(pose: Tensor, skeleton: Skeleton) -> Tensor:
    near, far = (skeleton.ids([limb[end] for limb in LIMBS]) for end in (0, 1))
    return (pose[:, near] - pose[:, far]).norm(dim=-1)
