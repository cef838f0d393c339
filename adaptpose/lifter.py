"""The contract of a lifter: 2D keypoints of a window in, root-relative 3D of its frames out.

Part of the vocabulary, so that methods can use lifters without knowing any; the architectures
that fulfil it are in `adaptpose.lifters`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.skeleton import Skeleton


class Lifter(nn.Module):
    """Base of all lifters.

    A lifter reads 2D of `skeleton_in` as normalised for its run, shape (B, T, J_in, 2) with
    T >= `receptive_field`, and gives root-relative 3D of `skeleton_out` in camera axes (m), shape
    (B, T - receptive_field + 1, J_out, 3). `frames_before` and `frames_after` say how much context
    an output frame uses on each side (their sum is receptive_field - 1).
    """

    skeleton_in: Skeleton
    skeleton_out: Skeleton
    receptive_field: int
    frames_before: int
    frames_after: int

    def spec(self) -> dict[str, object]:
        """Plain data from which `adaptpose.lifters.build_lifter` makes the same architecture."""
        raise NotImplementedError  # pragma: no cover

    def forward(
        self, pose2d: Float[Tensor, "batch frames joints_in 2"]
    ) -> Float[Tensor, "batch outputs joints_out 3"]:
        """Poses for every frame that has its whole context (dilated, for inference)."""
        raise NotImplementedError  # pragma: no cover

    def lift_window(
        self, pose2d: Float[Tensor, "batch window joints_in 2"]
    ) -> Float[Tensor, "batch joints_out 3"]:
        """The pose of one frame per window of exactly `receptive_field` frames (for training).

        Equal to `forward` on the same window; architectures give it a cheaper path.
        """
        return self(pose2d)[:, 0]

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Give every dropout of the lifter the generator its masks are drawn from."""
        for module in self.modules():
            if isinstance(module, SeededDropout):
                module.generator = generator


class SeededDropout(nn.Module):
    """Dropout whose masks come from a given generator, so that a run can be repeated.

    Without a generator it draws from torch's default one, as `nn.Dropout` does.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.div_(1 - self.p)
