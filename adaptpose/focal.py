"""An estimated focal length where a camera is not calibrated.

The right focal length lets a correctly lifted pose stand on its rays. Lifted poses are not correct:
of HDM05 and UI-PRMD in phones, lifted by a small lifter, the focal length that fits a clip best is
off by a factor of 1.4 to 1.9 on average, while the prior alone is off by 1.06, and residuals over
the whole range of lenses differ by a tenth. What tells lenses apart is that of two equal limbs the
nearer looks larger: see `adaptpose.perspective`. Both bend a prior of cameras' focal lengths with
long tails, as sports are filmed from far away.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.camera import pinhole
from adaptpose.perspective import Perspective, read_perspective
from adaptpose.rays import ray_distances, root_from_rays
from adaptpose.skeleton import Skeleton

PRIOR_MEDIAN = 1.55
"""Focal length over half the larger image side that is assumed of a camera nobody knows.

The median of 200 calibrated phones and tablets (OpenCap) is 1.56, their range 1.33 to 1.81; 1.55
is a horizontal view of 66 degrees of a landscape image."""

PRIOR_LOG_SD = 0.2
"""Standard deviation of its logarithm: 95 % between 1.05 (action cameras) and 2.3 (the studio of
Human3.6M). Phones alone would have 0.08."""

EVIDENCE = 4.0
"""Number of independent observations that the ray residual counts as, however long the recording:
frames of one lifter err alike."""

RESIDUAL_FLOOR = 1e-4
"""Ray residual, over the size of the body, below which a fit counts as perfect."""

TAILS = 3.0
"""Degrees of freedom of the prior: the fewer, the longer its tails."""

PERSPECTIVE_ERROR = 0.08
"""Standard error of 1 / f that `read_perspective` has with any number of frames: lifters of CMU
read 0.53 to 0.61 from people they had not seen, filmed at 0.68, and 0.09 at 0.12."""

_RANGE = (0.6, 16.0)
_STEPS = 48
_MAX_FRAMES = 500


def estimate_focal(
    pose: Float[Tensor, "frames joints 3"],
    pose2d: Float[Tensor, "frames joints 2"],
    weights: Float[Tensor, "frames joints"],
    skeleton: Skeleton | None = None,
) -> float:
    """The most probable focal length of one camera, in normalised screen units.

    Its perspective counts if the `skeleton` is given. `pose` is root-relative, of any person's
    frames in that camera, and may be off by any factor; `pose2d` is normalised, with the principal
    point in the middle of the image; joints of weight 0 do not count. Where no frame shows three
    joints, the prior's median.
    """
    used = (weights > 0).sum(dim=1) >= 3
    if not bool(used.any()):
        return PRIOR_MEDIAN
    seen = read_perspective(pose, pose2d, weights, skeleton) if skeleton else None
    rows = used.nonzero()[:, 0]
    rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _MAX_FRAMES)).long()]
    frames = pose[rows], pose2d[rows], weights[rows]
    low, high = (math.log(end) for end in _RANGE)
    for _ in range(2):  # a coarse sweep, then one between the neighbours of its best
        grid = torch.linspace(low, high, _STEPS + 1, dtype=torch.float64)
        best = float(grid[_costs(grid, seen, *frames).argmin()])
        low, high = best - (high - low) / _STEPS, best + (high - low) / _STEPS
    return math.exp(best)


def _costs(
    log_focal: Tensor, seen: Perspective | None, pose: Tensor, pose2d: Tensor, weights: Tensor
) -> Tensor:
    """Negative logarithms of the posterior, up to a constant, of many focal lengths at once."""
    off = (log_focal - math.log(PRIOR_MEDIAN)) / PRIOR_LOG_SD
    # Student's distribution with as many degrees of freedom as its tails are long.
    prior = (TAILS + 1) / 2 * (1 + off.square() / TAILS).log()
    if seen is not None:
        variance = seen.error**2 + PERSPECTIVE_ERROR**2
        prior = prior + ((-log_focal).exp() - seen.inverse_focal).square() / (2 * variance)
    # A pinhole camera of focal length 1 sees what one of f does, f times smaller.
    slopes = pose2d / log_focal.exp().to(pose2d)[:, None, None, None]
    residual = ray_residuals(pose, slopes, weights).cpu().double()
    return prior + EVIDENCE * residual.clamp_min(RESIDUAL_FLOOR).log()


def ray_residuals(
    pose: Float[Tensor, "frames joints 3"],
    slopes: Float[Tensor, "lenses frames joints 2"],
    weights: Float[Tensor, "frames joints"],
) -> Float[Tensor, "lenses"]:
    """Medians over frames of the joints' distance from their rays, over the size of the body.

    `slopes` are the rays X/Z, Y/Z that the keypoints have under each lens; the root stands where
    they want it. Distances and the size, which is the distance of joints from the root, are
    weighted means of squares, rooted.
    """
    lens, poses = pinhole(1.0), pose.expand(len(slopes), *pose.shape)
    counted = weights.expand(len(slopes), *weights.shape)
    root = root_from_rays(poses, slopes, counted, lens)
    distance = ray_distances(poses + root[..., None, :], slopes, lens)
    size = (weights * pose.square().sum(dim=-1)).sum(dim=1).clamp_min(1e-12)
    return ((weights * distance.square()).sum(dim=-1) / size).sqrt().median(dim=-1).values
