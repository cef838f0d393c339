"""KCS entries of batches of windows with the gradient written out.

What `bones.kcs_vector` gives, laid out with the batch last: the matrices of single poses are too
small for matrix products, and entries are then picked by copying whole rows.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptpose.bones import index_on
from adaptpose.skeleton import Skeleton


def kcs_entries(
    pose: Float[Tensor, "batch frames joints dims"], skeleton: Skeleton
) -> Float[Tensor, "entries frames batch"]:
    """Products of all pairs of bone vectors of 2D or 3D poses, in the order of `entry_pairs`."""
    parents, children = zip(*skeleton.bones, strict=True)
    tables = (index_on(ids, pose.device) for ids in (parents, children))
    return _KcsEntries.apply(pose, *tables)  # type: ignore[return-value]


def entry_pairs(skeleton: Skeleton) -> list[tuple[int, int]]:
    """Bones of each entry: the upper triangle of the KCS matrix, row by row."""
    count = skeleton.num_bones
    return [(i, j) for i in range(count) for j in range(i, count)]


def part_entries(skeleton: Skeleton) -> list[tuple[int, ...]]:
    """Which entries belong to each body part: those of two of its bones."""
    pairs = list(enumerate(entry_pairs(skeleton)))
    return [
        tuple(k for k, (i, j) in pairs if i in part and j in part)
        for part in skeleton.parts.values()
    ]


class _KcsEntries(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pose: Tensor, parents: Tensor, children: Tensor) -> Tensor:
        joints = pose.permute(3, 2, 1, 0).contiguous().flatten(2)
        bones = joints.index_select(1, children) - joints.index_select(1, parents)
        ctx.save_for_backward(bones, parents, children)
        ctx.shape = pose.shape
        count = bones.shape[1]
        entries = bones.new_empty(count * (count + 1) // 2, bones.shape[2])
        for i, row in enumerate(entries.split(_row_lengths(count))):
            torch.mul(bones[0, i:], bones[0, i], out=row)
            for plane in bones[1:]:
                row.addcmul_(plane[i:], plane[i])
        return entries.unflatten(1, (pose.shape[1], pose.shape[0]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        bones, parents, children = ctx.saved_tensors
        batch, frames, joints, dims = ctx.shape
        total = torch.zeros_like(bones)
        for i, row in enumerate(grad.flatten(1).split(_row_lengths(bones.shape[1]))):
            for plane, out in zip(bones, total, strict=True):
                out[i:].addcmul_(row, plane[i])
                out[i] += (row * plane[i:]).sum(dim=0)
        result = bones.new_zeros(dims, joints, bones.shape[2])
        result.index_add_(1, children, total).index_add_(1, parents, total, alpha=-1)
        return result.unflatten(2, (frames, batch)).permute(3, 2, 1, 0), None, None


def _row_lengths(count: int) -> list[int]:
    """Lengths of the rows of an upper triangle: count, ..., 2, 1."""
    return list(range(count, 0, -1))
