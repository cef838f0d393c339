"""Windows of an adaptation in rounds as a stream: its makers, with the lifter that it gave.

Drawn is what a batch of the adaptation held beside real windows: the source filmed from anywhere
("wide") or from the target's viewpoints ("transfer"), and the target's people as lifted, filmed
anew ("replay"). The target is lifted as in a round, with other clips and lenses after every
`ROUND_WINDOWS` windows, so that a large generation sees all of a large target. Left out are windows
that are no exact pairs: the target's own 2D with lifted poses ("selftrain") or without any.
"""

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose import sampling
from adaptpose.clips import Normalisation, TargetData
from adaptpose.config import check_config
from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.lifter import Lifter, check_lifter_skeleton
from adaptpose.packing import motion_bytes, pack_motion
from adaptpose.replay import ReplayMaker
from adaptpose.rounds_config import RoundsConfig, SharesConfig
from adaptpose.rounds_makers import lifted_poses, makers_of_poses
from adaptpose.runtime import stream
from adaptpose.sampling import Drawn, WindowSampler
from adaptpose.shards import NO_FRAME, Content, own_lens_layout
from adaptpose.transfer import TransferMaker
from adaptpose.wide import WideMaker
from adaptpose.windows import LabelledBank

ROUND_WINDOWS = 25 * sampling.MAX_BLOCK
"""Windows drawn between two liftings of the target: those of two epochs of 200 steps of 256, a
round of adaptation by its defaults. Part of what a seed means, so not an option."""
KINDS = ("wide", "transfer", "replay")
"""Shares of which windows can be drawn: exact pairs that somebody has filmed anew."""
REASONS = ("kept", "unusable")
"""Outcomes: a window is not usable where training gives it weight 0, see `FilmedWindows`."""

Maker = WideMaker | TransferMaker | ReplayMaker


@dataclass(frozen=True)
class MadeWindows:
    """A block: absolute poses (m) before the new cameras, their projection, the focal lengths.

    `frame` are supervised frames in the source's bank, `NO_FRAME` for those of the target; `stride`
    counts frames of the clip, of rate `rate_hz`. `keep` are the usable ones.
    """

    pose3d_cam: Float[Tensor, "batch frames joints 3"]
    pose2d: Float[Tensor, "batch frames joints 2"]
    focal: Float[Tensor, "batch"]
    frame: Int[Tensor, "batch"]
    stride: Int[Tensor, "batch"]
    rate_hz: Float[Tensor, "batch"]
    keep: Bool[Tensor, "batch"]


def made_shares(shares: SharesConfig) -> SharesConfig:
    """The shares of what can be drawn, to a sum of 1; ConfigError if there is nothing of it."""
    parts = {kind: getattr(shares, kind) for kind in KINDS}
    total = sum(parts.values())
    if not total > 0:
        own = ", ".join(f"{name} {share:g}" for name, share in vars(shares).items() if share)
        wanted = f"a share of {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        raise ConfigError(expected_message("rounds.shares", wanted, own))
    return SharesConfig(source=0.0, **{kind: share / total for kind, share in parts.items()})


def config_as_run(config: RoundsConfig, target: TargetData | None) -> RoundsConfig:
    """The configuration as the adaptation took it: shares depend on how large its target was."""
    if target is None:
        return config
    return config.fitted_to(sum(int(clip.valid.sum()) for clip in target.clips))


class RoundSampler(WindowSampler):
    """Draws the windows that a lifter was adapted with, and lifts the target by that lifter.

    `config` is that of `config_as_run`; `target` is needed by shares of lifted poses alone. Source
    and lifter are on one device.
    ConfigError if config or shares are not possible, DataError without a target that is needed,
    CheckpointError if the lifter is for other joints than the source's.
    """

    reasons = REASONS
    remedy = "a run whose people are in its target's images, or larger view limits"

    def __init__(
        self,
        source: LabelledBank,
        target: TargetData | None,
        lifter: Lifter,
        config: RoundsConfig,
        seed: int,
        normalisation: Normalisation = "screen",
    ) -> None:
        check_config(config)
        check_lifter_skeleton(lifter, source.skeleton, "generating")
        self.shares = made_shares(config.shares)
        if self.shares.lifted and target is None:
            raise DataError("generating: the target's 2D is lifted anew, but there is no target")
        self.source = source
        self.target = None if target is None else replace(target, normalisation=normalisation)
        self.lifter = lifter.eval()
        self.config = config
        self.window = lifter.receptive_field
        self.seed = seed
        self.normalisation = normalisation
        self._round: tuple[int, list[Maker]] | None = None

    @property
    def middle(self) -> int:
        """Index of the supervised frame in a window."""
        return self.lifter.frames_before

    @property
    def blocks_per_round(self) -> int:
        """Blocks between two liftings of the target."""
        return max(1, ROUND_WINDOWS // self.block_size)

    def mark(self) -> str:
        """16 hexadecimal digits that name settings, weights and the target's 2D."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((asdict(self.config), self.lifter.context_stride)).encode())
        tensors = list(self.lifter.state_dict().values())
        clips = () if self.target is None or not self.shares.lifted else self.target.clips
        for clip in clips:
            digest.update(repr((clip.camera, clip.frame_rate_hz, clip.image_size_px)).encode())
            tensors += [clip.pose2d, clip.confidence, clip.valid]
        for value in tensors:
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def layout(self) -> dict[str, Any]:
        """The shares of each kind, and lenses of the windows' own."""
        rule = {kind: share for kind, share in vars(self.shares).items() if share}
        return {"rule": rule, **own_lens_layout(self._rates_hz)}

    def window_bytes(self, content: Content, dtype: torch.dtype) -> int:
        """Bytes of a stored window; ConfigError for recipes, of which no generator is here."""
        if content != "motion":
            got, fix = f"'{content}'", "leave --recipe out"
            raise ConfigError(expected_message("windows of rounds", "motion", got, fix))
        return motion_bytes(dtype, self.source.skeleton.num_joints, self.window) + 4

    def draw(self, number: int, content: Content, dtype: torch.dtype) -> Drawn:
        """The `number`-th block of the stream."""
        block = self.block(number)
        kept = block.keep.sum()
        counts = torch.stack([kept, len(block.keep) - kept])
        return Drawn(block.keep, counts, partial(self._stored, block, dtype))

    def block(self, number: int) -> MadeWindows:
        """The windows of a block in random order, whatever kind they are of."""
        makers = self._makers(number // self.blocks_per_round)
        device = self.source.device
        rng = stream(self.seed, "generate", "rounds", number, device=device)
        parts = []
        for maker, count in zip(makers, self._counts(makers, rng), strict=True):
            if count:
                parts.append(_made(maker, count, rng))
        order = torch.randperm(self.block_size, generator=rng, device=device)
        names = [field.name for field in fields(MadeWindows)]
        return MadeWindows(*(torch.cat([getattr(p, name) for p in parts])[order] for name in names))

    def _makers(self, number: int) -> list[Maker]:
        """The makers of a round of generation, with the target lifted for it."""
        if self._round is not None and self._round[0] == number:
            return self._round[1]
        window = (self.lifter.frames_before, self.lifter.frames_after, self.config.strides)
        makers: list[Maker] = []
        if self.shares.wide:
            makers.append(WideMaker(self.source, *window, self.config.wide))
        if self.shares.lifted and self.target is not None:
            rng = stream(self.seed, "generate", "pseudo", number)
            _, pseudo = lifted_poses(self.target, self.lifter, self.source, self.config, rng)
            makers += makers_of_poses(self.source, pseudo, self.shares, self.config, window)
        self._round = (number, makers)
        return makers

    def _counts(self, makers: list[Maker], rng: torch.Generator) -> list[int]:
        """Windows of each maker in a block: its share to less than one, exact on average."""
        start = float(torch.rand((), generator=rng, device=rng.device))
        shares = [getattr(self.shares, maker.name) for maker in makers]
        ends = [int(total * self.block_size + start) for total in accumulate(shares)]
        return [after - before for before, after in pairwise([0, *ends[:-1], self.block_size])]

    def _stored(
        self, block: MadeWindows, dtype: torch.dtype, rows: Int[Tensor, "rows"]
    ) -> dict[str, Tensor]:
        rates = self._rates_hz.to(block.rate_hz.device)
        stored = {
            "frame": block.frame[rows].int(),
            "stride": block.stride[rows].to(torch.int16),
            "lens": torch.searchsorted(rates, block.rate_hz[rows].contiguous()).int(),
            "focal": block.focal[rows],
        }
        root = self.source.skeleton.root
        stored |= pack_motion(block.pose3d_cam[rows], block.pose2d[rows], root, dtype)
        return {name: value.cpu() for name, value in stored.items()}

    @cached_property
    def _rates_hz(self) -> Float[Tensor, "rates"]:
        """All frame rates that windows may be of, ascending."""
        of_source = bool(self.shares.wide or self.shares.transfer)
        found = self.source.clip_rate_hz.tolist() if of_source else []
        if self.shares.replay and self.target is not None:
            found += [clip.frame_rate_hz for clip in self.target.clips]
        return torch.tensor(found).unique()


def _made(maker: Maker, count: int, rng: torch.Generator) -> MadeWindows:
    """Windows of one maker, unusable ones among them."""
    replayed = isinstance(maker, ReplayMaker)
    bank = maker.pseudo.bank if replayed else maker.bank
    cut = maker.cut(count, rng)
    filmed = maker.film(cut, rng)
    finite = torch.isfinite(filmed.pose3d_cam).flatten(1).all(dim=1)
    finite &= torch.isfinite(filmed.pose2d).flatten(1).all(dim=1)
    return MadeWindows(
        pose3d_cam=filmed.pose3d_cam,
        pose2d=filmed.pose2d,
        focal=filmed.focal,
        frame=torch.full_like(cut.frame, NO_FRAME) if replayed else cut.frame,
        stride=cut.stride,
        rate_hz=bank.clip_rate_hz[bank.clip_of_frame[cut.frame]],
        keep=filmed.usable & finite,
    )
