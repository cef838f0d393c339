"""Pieces of a tensor whose gradients come back together.

A slice's gradient is as large as the whole tensor, and nearly all zeros; with several slices of a
batch of windows, filling and adding those takes longer than the work on the pieces.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Piece = tuple[int | Tensor | slice, ...]
"""What a tensor is indexed with: slices, numbers, index tensors on its device (no booleans)."""


def tap(x: Tensor, *pieces: Piece) -> tuple[Tensor, ...]:
    """The tensor itself and the pieces of it, as `x, x[pieces[0]], x[pieces[1]], ...`.

    Gradients of all of them are summed in one tensor. Use the returned tensor, not `x`, where the
    whole is needed. An index tensor must not name an element twice.
    """
    return _Tap.apply(x, pieces)  # type: ignore[return-value]


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pieces: tuple[Piece, ...]) -> tuple[Tensor, ...]:
        ctx.pieces, ctx.like = pieces, (x.shape, x.stride(), x.dtype, x.device)
        ctx.set_materialize_grads(False)
        # Copies of the pieces: outputs that are views of each other would not be told apart.
        return (x.view_as(x), *(x[piece].clone() for piece in pieces))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, whole: Tensor | None, *parts: Tensor | None) -> tuple[Any, None]:
        shape, stride, dtype, device = ctx.like
        if whole is None:
            total = torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_()
        else:
            total = whole.clone()
        for piece, part in zip(ctx.pieces, parts, strict=True):
            if part is not None:
                total[piece] += part
        return total, None
