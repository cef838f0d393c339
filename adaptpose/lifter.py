"""The contract of a lifter: 2D keypoints of a window in, root-relative 3D of its frames out.

Part of the vocabulary, so that methods can use lifters without knowing any; the architectures
that fulfil it are in `adaptpose.lifters`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.errors import CheckpointError, expected_message
from adaptpose.skeleton import Skeleton
from adaptpose.store import write_tensors


class Lifter(nn.Module, ABC):
    """Base of all lifters.

    A lifter reads 2D of `skeleton_in` as normalised for its run, shape (B, T, J_in, 2) with
    T >= `receptive_field`, and gives root-relative 3D of `skeleton_out` in camera axes (m), shape
    (B, T - receptive_field + 1, J_out, 3). `frames_before` and `frames_after` say how much context
    an output frame uses on each side (their sum is receptive_field - 1). `context_stride` says how
    many frames of a 50 Hz recording lie between neighbouring frames of a window, as it was
    trained; inference takes the nearest step that a clip's frame rate has.
    """

    skeleton_in: Skeleton
    skeleton_out: Skeleton
    receptive_field: int
    frames_before: int
    frames_after: int
    context_stride: int = 1

    @abstractmethod
    def spec(self) -> dict[str, object]:
        """Plain data from which `adaptpose.lifters.lifter_from_spec` makes the architecture."""

    @abstractmethod
    def forward(
        self, pose2d: Float[Tensor, "batch frames joints_in 2"]
    ) -> Float[Tensor, "batch outputs joints_out 3"]:
        """Poses for every frame that has its whole context (dilated, for inference)."""

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


@contextmanager
def dropout_of(lifter: Lifter, p: float | int | None) -> Iterator[None]:
    """Within it all dropout of the lifter has the rate p; None leaves it as it is."""
    layers = [module for module in lifter.modules() if isinstance(module, SeededDropout)]
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = layer.p if p is None else float(p)
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.p = own


def save_lifter(path: Path, lifter: Lifter, meta: dict[str, Any]) -> None:
    """Write a lifter's weights, its description and metadata (plain data), atomically.

    `adaptpose.lifters.load_lifter` reads it.
    """
    write_tensors(
        path,
        lifter.state_dict(),
        {**meta, "context_stride": lifter.context_stride, "lifter": lifter.spec()},
    )


def load_weights(lifter: Lifter, tensors: dict[str, Tensor], where: str) -> None:
    """Fill a lifter with named tensors; CheckpointError listing all that does not fit."""
    own = lifter.state_dict()
    problems = [f"missing {key}" for key in own if key not in tensors]
    problems += [f"unexpected {key}" for key in tensors if key not in own]
    problems += [
        f"{key} of shape {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if problems:
        raise CheckpointError(f"{where}: weights do not fit the lifter: {', '.join(problems)}")
    lifter.load_state_dict(tensors)


def check_lifter_skeleton(lifter: Lifter, skeleton: Skeleton, where: str) -> None:
    """Raise CheckpointError unless a lifter reads and gives the joints of `skeleton`, in order."""
    for side, own in (("reads", lifter.skeleton_in), ("gives", lifter.skeleton_out)):
        if own != skeleton:
            got = f"one that {side} '{own.name}' ({', '.join(own.joints)})"
            fix = f"convert the data to '{own.name}', or train a lifter for '{skeleton.name}'"
            wanted = f"a lifter for '{skeleton.name}' ({', '.join(skeleton.joints)})"
            raise CheckpointError(expected_message(where, wanted, got, fix))


class SeededDropout(nn.Module):
    """Dropout whose masks come from a given generator, so that a run can be repeated.

    Without a generator it draws from torch's default one, as `nn.Dropout` does.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x with a share p of its numbers set to 0 and the others scaled to keep the mean."""
        if not self.training or self.p == 0:
            return x
        return x * self._kept(x).to(x.dtype).div_(1 - self.p)

    def _kept(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        # On a CPU, 16 random bits per number and a comparison take a sixth of the time of
        # bernoulli_; p is met to 1 part in 65536.
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64)
        bits = words.random_(-(2**63), None, generator=self.generator).view(torch.int16)
        return (bits[: x.numel()] >= round(self.p * 2**16) - 2**15).view(x.shape)
