"""Points in space from several calibrated views, and the error of each view against the others.

The error of a detection is judged by the cameras that did not make it (leave one out), so that no
detection pulls the point it is measured against towards itself. The prediction of the others has
an error of its own; `leave_one_out` takes it out with the covariance that the geometry gives it.
World coordinates in metres, image coordinates and errors in pixels.
"""

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from jaxtyping import Float
from scipy.optimize import least_squares
from torch import Tensor

from adaptpose.camera import Intrinsics, project, undistort, world_to_camera
from adaptpose.errors import DataError, expected_message

ROBUST_PX = 15.0
"""Reprojection error at which a view's weight is halved: a detector's common error in pixels."""
ITERATIONS = 8
"""Reweighted solutions per point; the solution moves less than 1e-4 m well before that."""
MIN_VIEWS = 2
_CALIBRATION_SPREAD = (0.02, 0.02, 0.02, 0.05, 0.05, 0.05)
"""Prior spread of a calibration's error: turn about the three axes (rad), shift (m)."""
_REFINE_POINTS = 150


@dataclass(frozen=True)
class Views:
    """Calibrated cameras that see the same moment: intrinsics in pixels and `T_cam_world`."""

    intrinsics_px: Intrinsics
    T_cam_world: Float[Tensor, "cameras 4 4"]


@dataclass(frozen=True)
class HeldOutError:
    """Errors of each view against the point that the other views see, in pixels.

    `residual_px` is the plain difference, detection minus prediction. `own_px` is scaled so that
    its covariance is that of one detection alone. NaN where the view has no detection or fewer
    than two others have one. `prediction_px` is the point that the others see, in this view.
    """

    residual_px: Float[Tensor, "cameras points 2"]
    own_px: Float[Tensor, "cameras points 2"]
    prediction_px: Float[Tensor, "cameras points 2"]


def triangulate(
    points_px: Float[Tensor, "cameras points 2"],
    confidence: Float[Tensor, "cameras points"],
    views: Views,
    robust_px: float = ROBUST_PX,
) -> Float[Tensor, "points 3"]:
    """World points (m) that reproject best, weighted by confidence and robust to one bad view.

    Linear triangulation (DLT) whose rows are divided by the depth of the last solution, which
    makes them reprojection errors in pixels (Hartley and Sturm 1997, Iterative-LS), with Cauchy
    weights of scale `robust_px` (infinity: plain weights). A view counts where its confidence is
    above 0 and its point finite; points with fewer than two such views come out as NaN.
    """
    _check_views(points_px, views)
    return _solve(points_px, confidence, views, robust_px)[0]


def reproject(
    points_world: Float[Tensor, "points 3"], views: Views
) -> Float[Tensor, "cameras points 2"]:
    """Pixels of world points in every view; NaN for points behind the camera."""
    cameras = views.T_cam_world.shape[0]
    points_cam = world_to_camera(points_world.expand(cameras, -1, -1), views.T_cam_world)
    return project(points_cam, views.intrinsics_px)


def leave_one_out(
    points_px: Float[Tensor, "cameras points 2"],
    confidence: Float[Tensor, "cameras points"],
    views: Views,
) -> HeldOutError:
    """Error of each view's detections against the point that the other views see.

    Let C be the covariance of the others' prediction in this view for detections of unit
    variance: the plain residual then has covariance I + C, and `own_px` is the residual times
    the inverse Cholesky factor of I + C. This takes the detections of one point to be equally
    good in all views.
    """
    _check_views(points_px, views)
    errors = [_held_out(points_px, confidence, views, c) for c in range(points_px.shape[0])]
    return HeldOutError(*(torch.stack(parts) for parts in zip(*errors, strict=True)))


def refine_views(
    points_px: Float[Tensor, "cameras points 2"],
    confidence: Float[Tensor, "cameras points"],
    views: Views,
) -> Views:
    """The views with their poses turned and shifted so that the detections agree best.

    A calibration that is off by half a degree moves every joint of a view by the same pixels,
    which is no error of a detector. Robust least squares over the cameras' poses, points solved
    inside; a weak prior at the given poses holds what the points leave free. Uses about 150 points
    spread over the input, of those that three views see; needs as many as there are poses.
    """
    _check_views(points_px, views)
    seen = (torch.isfinite(points_px).all(-1) & (confidence > 0)).sum(0) > MIN_VIEWS
    index = seen.nonzero()[:, 0]
    index = index[:: max(1, len(index) // _REFINE_POINTS)]
    if len(index) < 6 * points_px.shape[0]:
        got = f"{len(index)}"
        expected = f"{6 * points_px.shape[0]} points in three views or more"
        raise DataError(expected_message("calibration refinement", expected, got))
    points_px, confidence = points_px[:, index], confidence[:, index]

    def mismatch(step: np.ndarray) -> np.ndarray:
        moved = _moved(views, step)
        error = points_px - reproject(triangulate(points_px, confidence, moved), moved)
        error = torch.nan_to_num(error * confidence[..., None]) / ROBUST_PX
        return np.concatenate([error.numpy().ravel(), step])

    start = np.zeros(6 * points_px.shape[0])
    return _moved(views, least_squares(mismatch, start, loss="soft_l1", max_nfev=20).x)


def _moved(views: Views, step: np.ndarray) -> Views:
    """Views after a turn and shift in camera coordinates, in units of the prior spread."""
    spread = torch.tensor(_CALIBRATION_SPREAD, dtype=torch.float64)
    moves = torch.as_tensor(step, dtype=torch.float64).reshape(-1, 6) * spread
    change = torch.eye(4, dtype=torch.float64).repeat(len(moves), 1, 1)
    change[:, :3, :3] = roma.rotvec_to_rotmat(moves[:, :3])
    change[:, :3, 3] = moves[:, 3:]
    return replace(views, T_cam_world=change @ views.T_cam_world)


def _check_views(points_px: Tensor, views: Views) -> None:
    cameras = views.T_cam_world.shape[0]
    if points_px.shape[0] != cameras:
        got = f"detections of {points_px.shape[0]} cameras"
        raise DataError(expected_message("triangulation", f"{cameras} views", got))


def _held_out(
    points_px: Tensor, confidence: Tensor, views: Views, camera: int
) -> tuple[Tensor, Tensor, Tensor]:
    others = confidence.clone()
    others[camera] = 0
    world, weight, slope = _solve(points_px, others, views, ROBUST_PX)
    prediction = reproject(world, views)[camera]
    residual = points_px[camera] - prediction
    covariance = _prediction_covariance(slope, weight, camera)
    factor = torch.linalg.cholesky(covariance + torch.eye(2, dtype=covariance.dtype))
    own = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    return residual, own, prediction


def _solve(
    points_px: Tensor, confidence: Tensor, views: Views, robust_px: float
) -> tuple[Tensor, Tensor, Tensor]:
    """World points, the final weights (C, N) and the slopes d pixel / d world (C, N, 2, 3)."""
    finite = torch.isfinite(points_px).all(-1)
    seen = finite & (confidence > 0)
    lens = views.intrinsics_px
    # A held-out view has no weight, but its rays give the slopes there.
    rays = undistort(torch.where(finite[..., None], points_px, torch.zeros_like(points_px)), lens)
    rotation, shift = views.T_cam_world[:, None, :3, :3], views.T_cam_world[:, None, :3, 3]
    rows = rays[..., None] * rotation[..., 2:, :] - rotation[..., :2, :]
    offset = shift[..., :2] - rays * shift[..., 2:]
    rows, offset = rows * lens.focal[:, None, :, None], offset * lens.focal[:, None]
    base = torch.where(seen, confidence, torch.zeros_like(confidence))
    enough = seen.sum(0) >= MIN_VIEWS
    weight, depth = base, torch.ones_like(base)
    world = rows.new_zeros(rows.shape[1], 3)
    for _ in range(ITERATIONS):
        scaled, target = rows / depth[..., None, None], offset / depth[..., None]
        world = _least_squares(scaled, target, weight, enough)
        depth = ((rotation[..., 2, :] * world).sum(-1) + shift[..., 2]).clamp_min(0.1)
        error = (rows @ world[:, :, None])[..., 0] / depth[..., None] - offset / depth[..., None]
        weight = base / (1 + (error.norm(dim=-1) / robust_px) ** 2)
    world = torch.where(enough[:, None], world, torch.full_like(world, torch.nan))
    return world, weight, rows / depth[..., None, None]


def _least_squares(rows: Tensor, target: Tensor, weight: Tensor, enough: Tensor) -> Tensor:
    weighted = rows * weight[..., None, None]
    normal = (weighted.mT @ rows).sum(0)
    right = (weighted.mT @ target[..., None]).sum(0)
    identity = torch.eye(3, dtype=rows.dtype).expand_as(normal)
    normal = torch.where(enough[:, None, None], normal, identity)
    return torch.linalg.solve(normal, right)[..., 0]


def _prediction_covariance(slope: Tensor, weight: Tensor, camera: int) -> Tensor:
    """Covariance (N, 2, 2) in one view of the weighted solution, for detections of variance 1."""
    gram = slope.mT @ slope
    enough = ((weight > 0).sum(0) >= MIN_VIEWS)[:, None, None]
    identity = torch.eye(3, dtype=slope.dtype)
    bread = torch.where(enough, (gram * weight[..., None, None]).sum(0), identity)
    filling = (gram * weight[..., None, None] ** 2).sum(0)
    half = torch.linalg.solve(bread, slope[camera].mT)
    return half.mT @ filling @ half
