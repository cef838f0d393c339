"""Geometry on coordinate planes with gradients written out: rotation of bones, filming, projection.

Poses are planes (3, B, T, J), one per coordinate, in metres. The gradients are the textbook ones;
written out they take a third of the memory traffic of those that are composed step by step, and
this is what most of a generator's update would otherwise be spent on.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptpose.camera import Intrinsics

NEAREST = 0.25
"""Depth (m) that projection clamps to, so that gradients stay finite; selection drops such."""
STEEPEST = 2.0
"""Largest |X/Z| that projection clamps to: the lens polynomial means nothing beyond."""
_CYCLE = ((0, 1, 2), (1, 2, 0), (2, 0, 1))


def rotate_bones(
    bones: Float[Tensor, "3 batch frames bones"],
    axis: Float[Tensor, "3 batch bones"],
    angle_rad: Float[Tensor, "batch frames bones"],
) -> tuple[Float[Tensor, "3 batch frames bones"], Float[Tensor, "batch frames bones"]]:
    """Bones turned about unit axes (Rodrigues), and 1 - cos between old and new directions.

    The second output is the real angle between the bones: (1 - cos a)(1 - (axis . bone)²). No
    gradient goes to the bones.
    """
    return _RotateBones.apply(bones, axis, angle_rad)  # type: ignore[return-value]


def film(
    planes: Float[Tensor, "3 batch frames joints"],
    rotation: Float[Tensor, "batch 3 3"],
    translation: Float[Tensor, "batch 3"],
) -> Float[Tensor, "3 batch frames joints"]:
    """Points in the axes of other cameras: R p + t, one camera per window."""
    return _Film.apply(planes, rotation, translation)  # type: ignore[return-value]


def project_planes(
    planes: Float[Tensor, "3 batch frames joints"], intrinsics: Intrinsics
) -> Float[Tensor, "batch frames joints 2"]:
    """Normalised screen coordinates for training: depth and X/Z are clamped, so never NaN.

    Clamped points are not plausible ones; `selection` leaves out every window that has one. The
    lens formulas are those of `camera.project`, on planes. No gradient goes to the lens.
    """
    lens = (intrinsics.focal, intrinsics.centre, intrinsics.distortion)
    return _Project.apply(planes, *lens, intrinsics.model == "h36m")  # type: ignore[return-value]


class _RotateBones(torch.autograd.Function):
    """turned = b cos + (a x b) sin + a (a . b)(1 - cos)."""

    @staticmethod
    def forward(ctx: Any, bones: Tensor, axis: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        # Expanded in memory: products that repeat along an inner axis are not vectorised.
        axis = axis[:, :, None].expand_as(bones).contiguous()
        cos, sin = torch.cos(angle), torch.sin(angle)
        rest = 1 - cos
        along = _dot(axis, bones)
        lift = along * rest
        turned = bones * cos
        for i, j, k in _CYCLE:
            cross = (axis[j] * bones[k]).addcmul_(axis[k], bones[j], value=-1)
            turned[i].addcmul_(axis[i], lift).addcmul_(cross, sin)
        squared = _dot(bones, bones).clamp_min_(1e-12)
        across = 1 - along.square().div_(squared)
        ctx.save_for_backward(bones, axis, cos, sin, along, squared, across)
        return turned, rest.mul_(across)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_turn: Tensor) -> tuple[None, Tensor, Tensor]:
        bones, axis, cos, sin, along, squared, across = ctx.saved_tensors
        rest = 1 - cos
        along_grad = _dot(axis, grad)
        # d turned / d angle = (a x b) cos - (b - a (a . b)) sin, and the same with grad . below.
        swirl, grad_axis = torch.zeros_like(cos), torch.empty_like(axis)
        by_along = along_grad.mul(rest)
        by_along -= (along / squared).mul_(rest).mul_(grad_turn).mul_(2)
        by_lift = along * rest
        for i, j, k in _CYCLE:
            turn = (bones[j] * grad[k]).addcmul_(bones[k], grad[j], value=-1)
            swirl.addcmul_(axis[i], turn)
            part = turn.mul_(sin).addcmul_(bones[i], by_along).addcmul_(grad[i], by_lift)
            grad_axis[i] = part
        grad_angle = swirl.mul_(cos)
        slope = _dot(grad, bones).addcmul_(along, along_grad, value=-1).neg_()
        slope.addcmul_(grad_turn, across)
        return None, grad_axis.sum(dim=2), grad_angle.addcmul_(slope, sin)


class _Film(torch.autograd.Function):
    """p' = R p + t."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        ctx.save_for_backward(planes, rotation)
        return _turn(planes, rotation, translation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        planes, rotation = ctx.saved_tensors
        rows, columns = grad.flatten(2).unbind(0), planes.flatten(2).unbind(0)
        # As products of planes: matrices of 3 x 3 are too small for a matrix product.
        entries = [(row * column).sum(dim=1) for row in rows for column in columns]
        grad_rotation = torch.stack(entries, dim=1).unflatten(1, (3, 3))
        grad_translation = torch.stack([row.sum(dim=1) for row in rows], dim=1)
        return _turn(grad, rotation.mT, None), grad_rotation, grad_translation


class _Project(torch.autograd.Function):
    """(X, Y, Z) -> (X/Z, Y/Z) -> distortion -> focal length and centre."""

    @staticmethod
    def forward(
        ctx: Any, planes: Tensor, focal: Tensor, centre: Tensor, distortion: Tensor, h36m: bool
    ) -> Tensor:
        depth = planes[2].clamp_min(NEAREST)
        raw = planes[:2] / depth
        ctx.save_for_backward(planes, raw, focal, distortion)
        ctx.h36m = h36m
        x, y = raw.clamp(-STEEPEST, STEEPEST)
        k1, k2, k3, p1, p2 = (c[:, None, None] for c in distortion.unbind(-1))
        r2 = (x * x).addcmul_(y, y)
        radial = (r2 * k3).add_(k2).mul_(r2).add_(k1).mul_(r2).add_(1)
        if h36m:
            radial += (x * p1).add_(y * p2)
            u, v = (x * radial).add_(r2 * p1), (y * radial).add_(r2 * p2)
        else:
            cross = (x * y).mul_(2)
            u = (x * radial).add_(cross * p1).add_((x * x).mul_(2).add_(r2).mul_(p2))
            v = (y * radial).add_(cross * p2).add_((y * y).mul_(2).add_(r2).mul_(p1))
        for plane, axis in ((u, 0), (v, 1)):
            plane.mul_(focal[:, axis, None, None]).add_(centre[:, axis, None, None])
        return torch.stack([u, v], dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        planes, raw, focal, distortion = ctx.saved_tensors
        xy = raw.clamp(-STEEPEST, STEEPEST)
        gu, gv = (grad[..., axis] * focal[:, axis, None, None] for axis in (0, 1))
        gxy = torch.stack(_lens_gradient(xy[0], xy[1], gu, gv, distortion, ctx.h36m))
        gxy *= xy == raw
        result, depth = torch.empty_like(planes), planes[2].clamp_min(NEAREST)
        torch.div(gxy, depth, out=result[:2])
        torch.mul(result[0], raw[0], out=result[2]).addcmul_(result[1], raw[1]).neg_()
        result[2] *= planes[2] >= NEAREST
        return result, None, None, None, None


def _lens_gradient(
    x: Tensor, y: Tensor, gu: Tensor, gv: Tensor, distortion: Tensor, h36m: bool
) -> list[Tensor]:
    """Gradients of x, y from those of the distorted point."""
    k1, k2, k3, p1, p2 = (c[:, None, None] for c in distortion.unbind(-1))
    r2 = (x * x).addcmul_(y, y)
    radial = (r2 * k3).add_(k2).mul_(r2).add_(k1).mul_(r2).add_(1)
    slope = (r2 * (3 * k3)).add_(2 * k2).mul_(r2).add_(k1)
    along = (gu * x).addcmul_(gv, y)
    # By way of r²: u and v hold x, y times the radial factor, and p1, p2 times r² or the like.
    if h36m:
        radial += (x * p1).add_(y * p2)
        by_r2 = along.mul(slope).add_(gu * p1).add_(gv * p2).mul_(2)
        gx = (gu * radial).addcmul_(by_r2, x).add_(along * p1)
        gy = (gv * radial).addcmul_(by_r2, y).add_(along * p2)
        return [gx, gy]
    by_r2 = along.mul_(slope).add_(gu * p2).add_(gv * p1).mul_(2)
    mixed = (gu * p1).add_(gv * p2).mul_(2)
    gx = (gu * radial).addcmul_(by_r2, x).addcmul_(mixed, y).add_((gu * x).mul_(4 * p2))
    gy = (gv * radial).addcmul_(by_r2, y).addcmul_(mixed, x).add_((gv * y).mul_(4 * p1))
    return [gx, gy]


def _turn(planes: Tensor, rotation: Tensor, translation: Tensor | None) -> Tensor:
    x, y, z = planes
    result = torch.empty_like(planes)
    for i in range(3):
        a, b, c = (rotation[:, i, j, None, None] for j in range(3))
        row = torch.mul(x, a, out=result[i]).addcmul_(y, b).addcmul_(z, c)
        if translation is not None:
            row += translation[:, i, None, None]
    return result


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])
