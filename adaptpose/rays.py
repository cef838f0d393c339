"""Where a root-relative pose stands in front of a camera, in closed form, and how well it fits.

Each 2D keypoint is a ray from the camera. The root translation that brings all joints nearest to
their rays solves a 3 x 3 linear system, so no iteration and no initial guess is needed.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.camera import Intrinsics, undistort


def unit_rays(
    pose2d: Float[Tensor, "*batch joints 2"], intrinsics: Intrinsics
) -> Float[Tensor, "*batch joints 3"]:
    """Unit directions, in camera axes, of the rays through image coordinates."""
    xy = undistort(pose2d, intrinsics)
    return torch.nn.functional.normalize(torch.cat([xy, torch.ones_like(xy[..., :1])], -1), dim=-1)


def root_from_rays(
    pose_root_relative: Float[Tensor, "*batch joints 3"],
    pose2d: Float[Tensor, "*batch joints 2"],
    weights: Float[Tensor, "*batch joints"],
    intrinsics: Intrinsics,
) -> Float[Tensor, "*batch 3"]:
    """The root position (m, camera axes) that brings the joints p + t nearest to their rays.

    Minimises sum_j w_j |(I - r_j r_jᵀ) (p_j + t)|², the weighted squared distances from the lines
    along the rays; exact for noiseless poses. `pose2d` is in the unit of the intrinsics, whose
    batch axes must broadcast against `*batch`; weights are not negative. Lines have no sign: a
    pose upside down can come out behind the camera. Where the rays do not fix the root (all
    weights 0, or joints on one ray) the free part is 0. Gradients are finite throughout.
    """
    rays = unit_rays(pose2d, intrinsics)
    across = torch.eye(3).to(rays) - rays[..., :, None] * rays[..., None, :]
    across = across * weights[..., None, None]
    system = across.sum(dim=-3)
    target = -(across @ pose_root_relative[..., None]).sum(dim=-3)
    # Rounding-level damping: invisible where rays fix the root, and 0 along what they leave free.
    info = torch.finfo(system.dtype)
    trace = system.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    damping = (trace * info.eps).clamp_min(info.eps)[..., None, None]
    return torch.linalg.solve(system + damping * torch.eye(3).to(rays), target)[..., 0]


def ray_distances(
    points_cam: Float[Tensor, "*batch joints 3"],
    pose2d: Float[Tensor, "*batch joints 2"],
    intrinsics: Intrinsics,
) -> Float[Tensor, "*batch joints"]:
    """Distance (m) of points in camera coordinates from the rays of their keypoints.

    Rays start at the camera, so a point behind it is as far as it is from the camera's centre.
    """
    rays = unit_rays(pose2d, intrinsics)
    along = (points_cam * rays).sum(dim=-1, keepdim=True).clamp_min(0)
    return (points_cam - along * rays).norm(dim=-1)
