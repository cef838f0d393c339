"""Blocks of generated windows: what a seed means, whatever is done with the windows afterwards.

Windows are drawn in blocks of fixed size. A block has its own random stream, named by seed and
number, so what it holds depends on nothing else.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose.clips import Normalisation, normalise_pose2d
from adaptpose.config import SelectionConfig
from adaptpose.generator import MotionGenerator
from adaptpose.lifter import Lifter
from adaptpose.losses import group_errors, hard_ratio
from adaptpose.packing import Packing, pack, window_bytes
from adaptpose.recipe import Block, Generated, apply_recipe, cut_source_windows
from adaptpose.runtime import stream
from adaptpose.selection import REASONS, select
from adaptpose.shards import Content, lens_table
from adaptpose.windows import LabelledBank

MAX_BLOCK = 4096
"""Most windows drawn at once; part of what a seed means, so not an option."""
_BLOCK_FRAMES = MAX_BLOCK * 27
"""Most frames drawn at once: bounds the memory of long windows."""


@dataclass(frozen=True)
class Drawn:
    """One block of a sampler: which windows are kept, and why the others are not.

    `counts` are in the order of the sampler's `reasons`; `stored` gives the tensors of a shard, on
    the CPU, for the windows at some rows.
    """

    keep: Bool[Tensor, "batch"]
    counts: Int[Tensor, "reasons"]
    stored: Callable[[Tensor], dict[str, Tensor]]


class WindowSampler(ABC):
    """Base of what windows are drawn from to be stored: see `adaptpose.generate`.

    Windows have `window` frames; their 2D is meant to be seen as `normalisation` says. `reasons`
    are outcomes that a drawn window may have, "kept" first; `remedy` says what to do if none is.
    """

    source: LabelledBank
    window: int
    seed: int
    normalisation: Normalisation
    reasons: tuple[str, ...]
    remedy: str

    @property
    def block_size(self) -> int:
        """Windows drawn at once."""
        return max(64, min(MAX_BLOCK, _BLOCK_FRAMES // self.window))

    @property
    @abstractmethod
    def middle(self) -> int:
        """Index of the supervised frame in a window."""

    @abstractmethod
    def mark(self) -> str:
        """16 hexadecimal digits that name everything but the seed that windows depend on."""

    @abstractmethod
    def layout(self) -> dict[str, Any]:
        """Fields of `shards.ShardIndex` that depend on what the sampler stores."""

    @abstractmethod
    def window_bytes(self, content: Content, dtype: torch.dtype) -> int:
        """Bytes of a stored window; ConfigError for a content that it cannot store."""

    @abstractmethod
    def draw(self, number: int, content: Content, dtype: torch.dtype) -> Drawn:
        """The `number`-th block, to be stored as that content and precision."""


@dataclass(frozen=True)
class Sampler(WindowSampler):
    """A trained generator with the source it changes: draws blocks of windows."""

    generator: MotionGenerator
    source: LabelledBank
    strides: tuple[int, int]
    """Range of the random frame stride at 50 Hz."""
    window: int
    selection: SelectionConfig
    seed: int
    critic: Lifter | None = None
    """With a lifter, windows are also selected by how hard they are (eq. 14)."""
    critic_errors: Float[Tensor, "frames 3"] | None = None
    """Its errors (m) on the source: `critic.source_error_table`."""
    normalisation: Normalisation = "screen"
    reasons = REASONS
    remedy = "train the generator longer, --no-hardness or --no-screen"

    @property
    def middle(self) -> int:
        """Index of the supervised frame in a window."""
        return self.generator.rule.middle

    def mark(self) -> str:
        """16 hexadecimal digits that name weights, selection and strides."""
        digest = hashlib.blake2b(digest_size=8)
        settings = (asdict(self.selection), list(self.strides), asdict(self.generator.config))
        digest.update(repr(settings).encode())
        networks = [self.generator, *([self.critic] if self.critic is not None else [])]
        for network in networks:
            for name, value in network.state_dict().items():
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def layout(self) -> dict[str, Any]:
        """How recipes are applied, and the source's lenses."""
        rule = {k: v for k, v in asdict(self.generator.rule).items() if k != "skeleton"}
        return {"rule": rule, "lenses": self._lenses[0]}

    def window_bytes(self, content: Content, dtype: torch.dtype) -> int:
        """Bytes of a stored window, without the file's header."""
        return window_bytes(content, dtype, self.generator.rule, self.window)

    def draw(self, number: int, content: Content, dtype: torch.dtype) -> Drawn:
        """The `number`-th block of the stream, see `draw_block`."""
        block = draw_block(self, number)
        packing = Packing(content, dtype, self.source, self.generator.rule, self._lenses[1])
        return Drawn(block.keep, block.counts, partial(pack, block, packing=packing))

    @cached_property
    def _lenses(self) -> tuple[dict[str, Any], Tensor]:
        return lens_table(self.source)


def draw_block(sampler: Sampler, number: int) -> Block:
    """The `number`-th block of the sampler's stream."""
    bank, generator, size = sampler.source, sampler.generator.eval(), sampler.block_size
    rng = stream(sampler.seed, "generate", number, device=bank.device)
    frame = bank.draw_centres(size, rng)
    stride = bank.draw_strides(frame, *sampler.strides, rng)
    index = bank.window_index(frame, sampler.window, stride, generator.rule.middle)
    source = cut_source_windows(bank, frame, index)
    with torch.no_grad():
        recipe = generator.recipe(source, generator.draw_noise(size, rng))
        generated = apply_recipe(source, recipe, generator.rule)
        ratio = _hardness(sampler, generated, frame)
    chosen = select(generated.pose3d_cam, generated.pose2d, ratio, sampler.selection)
    return Block(generated, recipe, source, stride, chosen.keep, chosen.counts)


def _hardness(sampler: Sampler, generated: Generated, frame: Tensor) -> Tensor | None:
    if sampler.critic is None or sampler.critic_errors is None:
        return None
    root, middle = sampler.source.skeleton.root, sampler.generator.rule.middle
    seen = normalise_pose2d(generated.pose2d, sampler.normalisation, root)
    lifted = sampler.critic.eval().lift_window(seen)
    pose = generated.pose3d_cam[:, middle]
    error = group_errors(lifted, pose - pose[:, root : root + 1], sampler.source.skeleton)
    return hard_ratio(error, sampler.critic_errors[frame])
