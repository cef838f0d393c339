"""Errors of 3D poses against the truth: MPJPE and its aligned forms, PCK, AUC, motion, bones.

Poses go in as metres, (..., joints, 3), with any leading axes; motion metrics need
(..., frames, joints, 3). Results are named by their unit: `_mm` is millimetres, PCK and AUC are
percent. Nothing is made root-relative here: MPJPE, N-MPJPE, PCK and AUC expect poses whose root
has been subtracted, as the literature does; the root's error is then 0 and counts in MPJPE's mean.
A NaN in a pose makes that pose's result NaN; it never spreads to other poses.

Every function works pose by pose or sequence by sequence, so no result depends on how poses are
batched.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.bones import bone_lengths
from adaptpose.skeleton import Skeleton

PCK_THRESHOLD_MM = 150.0
"""Distance below which a joint counts as found (MPI-INF-3DHP: half a head)."""

AUC_THRESHOLDS_MM = tuple(float(t) for t in range(0, 151, 5))
"""The 31 thresholds over which PCK is averaged to AUC (MPI-INF-3DHP's evaluation)."""

_MM_PER_M = 1000.0
_SCORED_JOINTS = (
    "head", "thorax", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
    "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle", "right_hip",
    "right_knee", "right_ankle",
)  # fmt: skip


def joint_errors_mm(
    prediction: Float[Tensor, "*batch joints 3"], truth: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, "*batch joints"]:
    """Distance of every predicted joint from the true one, in mm."""
    return (prediction - truth).norm(dim=-1) * _MM_PER_M


def mpjpe_mm(
    prediction: Float[Tensor, "*batch joints 3"], truth: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, "*batch"]:
    """Mean per-joint position error of every pose, in mm, over all joints given."""
    return joint_errors_mm(prediction, truth).mean(dim=-1)


def pa_mpjpe_mm(
    prediction: Float[Tensor, "*batch joints 3"],
    truth: Float[Tensor, "*batch joints 3"],
    reflection: bool = False,
) -> Float[Tensor, "*batch"]:
    """MPJPE in mm after the best similarity transform of every pose (Procrustes, protocol 2)."""
    return mpjpe_mm(align_similarity(prediction, truth, reflection), truth)


def n_mpjpe_mm(
    prediction: Float[Tensor, "*batch joints 3"], truth: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, "*batch"]:
    """MPJPE in mm after the best scale of every pose (Rhodin et al. 2018, N-MPJPE)."""
    return mpjpe_mm(prediction * best_scale(prediction, truth)[..., None, None], truth)


def pa_mpjpe_sequence_mm(
    prediction: Float[Tensor, "*batch frames joints 3"],
    truth: Float[Tensor, "*batch frames joints 3"],
    reflection: bool = False,
) -> Float[Tensor, "*batch frames"]:
    """MPJPE of every frame in mm after one similarity transform of its whole sequence."""
    aligned = align_similarity(prediction.flatten(-3, -2), truth.flatten(-3, -2), reflection)
    return mpjpe_mm(aligned.unflatten(-2, tuple(prediction.shape[-3:-1])), truth)


def n_mpjpe_sequence_mm(
    prediction: Float[Tensor, "*batch frames joints 3"],
    truth: Float[Tensor, "*batch frames joints 3"],
) -> Float[Tensor, "*batch frames"]:
    """MPJPE of every frame in mm after one scale of its whole sequence."""
    scale = best_scale(prediction.flatten(-3, -2), truth.flatten(-3, -2))
    return mpjpe_mm(prediction * scale[..., None, None, None], truth)


def best_scale(
    prediction: Float[Tensor, "*batch points 3"], truth: Float[Tensor, "*batch points 3"]
) -> Float[Tensor, "*batch"]:
    """The factor s = <t, p> / <p, p> that brings points nearest to the true ones about 0.

    Points that are all 0 get 0. A prediction opposite to the truth gets a negative factor.
    """
    across = (truth * prediction).sum(dim=(-2, -1))
    along = prediction.square().sum(dim=(-2, -1))
    return across / along.clamp_min(torch.finfo(along.dtype).tiny)


def align_similarity(
    prediction: Float[Tensor, "*batch points 3"],
    truth: Float[Tensor, "*batch points 3"],
    reflection: bool = False,
) -> Float[Tensor, "*batch points 3"]:
    """The prediction after the rotation, scale and shift that bring it nearest to the truth.

    Least squares over the points (Umeyama 1991). Mirror images are not tried unless `reflection`
    is set: a mirrored pose is a wrong pose. Points that all coincide come out at the truth's mean.
    """
    shift = truth.mean(dim=-2, keepdim=True)
    points = prediction - prediction.mean(dim=-2, keepdim=True)
    # The decomposition raises on NaN; zeros pass it, and NaN returns through `points` below.
    u, singular, vh = torch.linalg.svd(torch.nan_to_num(points.mT @ (truth - shift)))
    if not reflection:
        turn = torch.linalg.det(u @ vh).sign()[..., None]
        signs = torch.cat([torch.ones_like(singular[..., :2]), turn], dim=-1)
        u, singular = u * signs[..., None, :], singular * signs
    size = points.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(points.dtype).tiny)
    scale = singular.sum(dim=-1) / size
    return scale[..., None, None] * (points @ u @ vh) + shift


def scored_joints(skeleton: Skeleton) -> tuple[str, ...]:
    """Names of the joints PCK and AUC count: the 14 of MPI-INF-3DHP, as far as they exist.

    Head top, neck, shoulders, elbows, wrists, hips, knees and ankles; not the pelvis (`hip`), the
    spine or the head's middle. In Human3.6M's names head top is `head` and neck is `thorax`.
    """
    return tuple(joint for joint in _SCORED_JOINTS if joint in skeleton.joints)


def pck(
    prediction: Float[Tensor, "*batch joints 3"],
    truth: Float[Tensor, "*batch joints 3"],
    skeleton: Skeleton,
    joints: Sequence[str] | None = None,
    threshold_mm: float | int = PCK_THRESHOLD_MM,
) -> Float[Tensor, "*batch"]:
    """Percentage of the scored joints of every pose whose error is below the threshold.

    Strictly below, as in the official evaluation of MPI-INF-3DHP; a joint with a NaN is not
    found. `joints` names the joints that count, `scored_joints` by default; SkeletonError for a
    name that the skeleton does not have.
    """
    errors = joint_errors_mm(prediction, truth)[..., _counted(skeleton, joints)]
    return _percent_below(errors, threshold_mm)


def auc(
    prediction: Float[Tensor, "*batch joints 3"],
    truth: Float[Tensor, "*batch joints 3"],
    skeleton: Skeleton,
    joints: Sequence[str] | None = None,
) -> Float[Tensor, "*batch"]:
    """Mean of PCK in percent over the thresholds 0, 5, ..., 150 mm (MPI-INF-3DHP's AUC).

    No error is strictly below 0, so a perfect pose gets 30/31 of 100, as officially.
    """
    errors = joint_errors_mm(prediction, truth)[..., _counted(skeleton, joints)]
    below = [_percent_below(errors, threshold) for threshold in AUC_THRESHOLDS_MM]
    return torch.stack(below).mean(dim=0)


def velocity_errors_mm(
    prediction: Float[Tensor, "*batch frames joints 3"],
    truth: Float[Tensor, "*batch frames joints 3"],
) -> Float[Tensor, "*batch steps joints"]:
    """Length of the error of every joint's step from frame to frame, in mm/frame.

    One entry per pair of neighbouring frames; a single frame has none.
    """
    return (prediction - truth).diff(dim=-3).norm(dim=-1) * _MM_PER_M


def mpjve_mm(
    prediction: Float[Tensor, "*batch frames joints 3"],
    truth: Float[Tensor, "*batch frames joints 3"],
) -> Float[Tensor, "*batch"]:
    """Mean per-joint velocity error of every sequence, in mm/frame (VideoPose3D's MPJVE).

    It grows with the time between frames: quote it with the frame rate. NaN for a single frame.
    """
    return velocity_errors_mm(prediction, truth).mean(dim=(-2, -1))


def acceleration_errors_mm(
    prediction: Float[Tensor, "*batch frames joints 3"],
    truth: Float[Tensor, "*batch frames joints 3"],
) -> Float[Tensor, "*batch steps joints"]:
    """Length of the error of every joint's second difference, in mm/frame^2.

    One entry per three neighbouring frames; fewer frames have none.
    """
    return (prediction - truth).diff(n=2, dim=-3).norm(dim=-1) * _MM_PER_M


def acceleration_error_m_per_s2(
    prediction: Float[Tensor, "*batch frames joints 3"],
    truth: Float[Tensor, "*batch frames joints 3"],
    frame_rate_hz: float | int,
) -> Float[Tensor, "*batch"]:
    """Mean acceleration error of every sequence in m/s^2; NaN for fewer than three frames."""
    per_frame2 = acceleration_errors_mm(prediction, truth).mean(dim=(-2, -1))
    return per_frame2 * (frame_rate_hz**2 / _MM_PER_M)


def mblstd_mm(
    pose: Float[Tensor, "*batch frames joints 3"], skeleton: Skeleton
) -> Float[Tensor, "*batch"]:
    """Mean over the bones of the standard deviation of their length in a sequence, in mm.

    A person's bones do not change, so this needs no truth. Population deviation: one frame has 0.
    """
    lengths = bone_lengths(pose, skeleton)
    return lengths.std(dim=-2, correction=0).mean(dim=-1) * _MM_PER_M


def _counted(skeleton: Skeleton, joints: Sequence[str] | None) -> list[int]:
    return skeleton.ids(list(scored_joints(skeleton) if joints is None else joints))


def _percent_below(errors_mm: Tensor, threshold_mm: float | int) -> Tensor:
    return (errors_mm < threshold_mm).to(errors_mm.dtype).mean(dim=-1) * 100
