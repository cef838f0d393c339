"""What can be set of the adaptation without adversaries, and its methods. Standard library only.

Such a method is what a batch is made of: shares of real source windows, of windows made without
the target, and of windows made with poses lifted from the target's 2D. Several methods can be one,
see `method_config`.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from adaptpose.augment_config import WideConfig
from adaptpose.errors import ConfigError, unknown_name_message
from adaptpose.pseudo_config import (
    PeopleConfig,
    PseudoConfig,
    RefineConfig,
    ReplayConfig,
    TransferConfig,
)

Part = Literal["all", "affine", "statistics"]
Refinement = Literal["none", "rays", "full"]
Precision = Literal["float32", "bfloat16"]
_EFFORT: tuple[Refinement, ...] = ("none", "rays", "full")
ALONE = ("continue", "bn")
"""Methods that cannot be combined: they say what must not be in a batch, or what must not learn."""


@dataclass(frozen=True)
class SharesConfig:
    """What a batch is made of; the shares sum to 1."""

    source: float = 0.25
    """Real source windows with their poses; never none, or the lifter forgets them."""
    wide: float = 0.0
    """Source motions with changed bodies, filmed from anywhere; no target has a part in it."""
    transfer: float = 0.0
    """Source motions filmed from where the target's people, as lifted, are seen."""
    replay: float = 0.0
    """The target's people, as lifted, filmed anew from such viewpoints."""
    selftrain: float = 0.0
    """The target's own windows, with the lifted poses as truth."""
    target: float = 0.0
    """The target's own windows without any truth: they only enter batch norm's statistics."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = [
            f"rounds.shares.{name}: expected 0 to 1, got {share}"
            for name, share in vars(self).items()
            if not 0 <= share <= 1
        ]
        total = sum(vars(self).values())
        if abs(total - 1) > 1e-6:
            used = ", ".join(f"{name} {share:g}" for name, share in vars(self).items() if share)
            found.append(f"rounds.shares: expected a sum of 1, got {total:g} ({used})")
        if not self.source > 0:
            found.append(f"rounds.shares.source: expected a number above 0, got {self.source}")
        return found

    def counts(self, batch_size: int) -> dict[str, int]:
        """Windows of each kind in a batch, none of 0: the largest remainders are rounded up."""
        exact = {name: share * batch_size for name, share in vars(self).items() if share > 0}
        counts = {name: int(number + 1e-6) for name, number in exact.items()}
        by_rest = sorted(exact, key=lambda name: counts[name] - exact[name])
        for name in by_rest[: batch_size - sum(counts.values())]:
            counts[name] += 1
        return counts

    @property
    def lifted(self) -> float:
        """Share of windows that need poses lifted from the target."""
        return self.transfer + self.replay + self.selftrain


@dataclass(frozen=True)
class SelfTrainConfig:
    """Which poses are taken as truth, and for which of the target's frames.

    A frame has several lifted poses: of the clip, its mirror image, both reversed in time, and the
    passes named here. Their mean by weight is the fused pose.
    """

    taught: Literal["refined", "fused"] = "refined"
    """The truth: the lifted poses after `rounds.refinement`, or the fused poses."""
    dropout_passes: int = 2
    """Passes with the lifter's dropout [own]."""
    context_strides: tuple[int, ...] = (3, 4)
    """Frame strides at 50 Hz, within `rounds.strides`, that the clips are lifted at besides at the
    lifter's own, which is the smallest [own]."""
    sharpness: float = 1.0
    """How fast the weight of a pose falls with its distance from the rays and the deviation of its
    bones, each over its median; 0 for even weights [own]."""
    keep: float = 0.7
    """Share of the frames, the best by agreement and ray residual together."""
    min_confidence: float = 0.3
    """Mean 2D confidence of a frame's joints below which it is left out."""
    focal: float = 1.55
    """Focal length, in normalised units, under which poses are put on their rays."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = []
        if not 0 < self.keep <= 1:
            found.append(f"rounds.teacher.keep: expected above 0, at most 1, got {self.keep}")
        if not self.focal > 0:
            found.append(f"rounds.teacher.focal: expected a number above 0, got {self.focal}")
        for name in ("dropout_passes", "sharpness"):
            if not getattr(self, name) >= 0:
                got = getattr(self, name)
                found.append(f"rounds.teacher.{name}: expected 0 or more, got {got}")
        return found

    def stride_problems(self, low: int, high: int) -> list[str]:
        """What is wrong if lifters learn with strides from `low` to `high`."""
        outside = [str(stride) for stride in self.context_strides if not low <= stride <= high]
        if not outside:
            return []
        return [
            f"rounds.teacher.context_strides: expected strides within rounds.strides, {low} to "
            f"{high}, got {', '.join(outside)} (fix: --set rounds.teacher.context_strides={low})"
        ]


@dataclass(frozen=True)
class RoundsConfig:
    """Adaptation of a lifter in rounds: lift the target, learn from what that allows to make."""

    epochs: int = 15
    steps_per_epoch: int = 200
    """Updates of the lifter between two records of the log."""
    epochs_per_round: int = 2
    """Epochs after which the averaged lifter lifts the target anew [own: 4 is worse, 1 no better].
    """
    warmup_epochs: int = 0
    """First epochs in which shares that need lifted poses are wide windows instead: a lifter that
    has seen many viewpoints lifts the target better."""
    batch_size: int = 256
    """[own: with as many windows better than 1,024, and as good as 128, which takes longer]"""
    shares: SharesConfig = field(default_factory=SharesConfig)
    most_draws: float = 100.0
    """Windows made of a frame of the target's own motion (replay, self-training) in a whole run, at
    most, on average; wide windows take the place of the others. A few hundred frames are soon known
    by heart, with their errors: on 200 frames `full` ended worse than it began without this."""
    refinement: Refinement = "full"
    """What is done to lifted poses: nothing, joints put on their rays, or refinement of clips."""
    body_size: Literal["source", "lifted"] = "source"
    """Size of the lifted people: on average that of the source's people, or as lifted, which is
    smaller the less sure the lifter is."""
    bone_lengths: Literal["lifted", "seen"] = "seen"
    """Bone lengths of the target's people: as they are lifted, clip by clip, or person by person
    as the image shows them, see `adaptpose.people` [own]."""
    precision: Precision = "float32"
    """Of the lifter's products while it learns: half precision takes half the time on GPUs, and on
    processors with instructions for it. Weights, sums and losses stay in single precision."""
    dropout: float | None = 0.0
    """Dropout while the lifter learns, None for its own: windows that are made anew for every step
    leave nothing to be learned by heart [own: the less the better, from 0.25 to 0]."""
    train: Part = "all"
    """What learns: all weights, batch norm's scales and shifts, or its statistics alone."""
    learning_rate: float = 1e-3
    """Adam with amsgrad [own: half and twice of it are worse]."""
    learning_rate_end: float = 0.1
    """Factor on the learning rate at the run's end, reached exponentially."""
    gradient_clip: float = 1.0
    """Largest gradient norm."""
    average_decay: float = 0.99
    """Decay per step of the averaged weights, which are the result; less in the first steps."""
    strides: tuple[int, int] = (2, 5)
    """Range of the random frame stride at 50 Hz, as in pretraining."""
    mirror: bool = True
    """Mirror half of the windows."""
    checkpoint_rule: Literal["last", "label_free"] = "last"
    """Which epoch's lifter is the result; neither rule sees target 3D."""
    seed: int = 0
    wide: WideConfig = field(default_factory=WideConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    refine: RefineConfig = field(default_factory=lambda: RefineConfig(steps=40))
    """Of lifted poses: half the steps that are taken at inference, as every round takes them."""
    people: PeopleConfig = field(default_factory=PeopleConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    teacher: SelfTrainConfig = field(default_factory=SelfTrainConfig)

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        positive = (
            "epochs", "steps_per_epoch", "epochs_per_round", "learning_rate", "learning_rate_end",
            "gradient_clip", "most_draws",
        )  # fmt: skip
        found = [
            f"rounds.{name}: expected a number above 0, got {getattr(self, name)}"
            for name in positive
            if not getattr(self, name) > 0
        ]
        if self.dropout is not None and not 0 <= self.dropout < 1:
            got = self.dropout
            found.append(f"rounds.dropout: expected at least 0 and below 1, or none, got {got}")
        if not 0 <= self.average_decay < 1:
            got = self.average_decay
            found.append(f"rounds.average_decay: expected at least 0 and below 1, got {got}")
        low, high = self.strides
        if not 1 <= low <= high:
            found.append(f"rounds.strides: expected 1 <= low <= high, got {low}, {high}")
        elif self.shares.selftrain:
            found += self.teacher.stride_problems(low, high)
        if not 0 <= self.warmup_epochs < max(1, self.epochs):
            found.append(
                f"rounds.warmup_epochs: expected 0 or more and fewer than the {self.epochs} epochs,"
                f" got {self.warmup_epochs} (fix: more --epochs, or --set rounds.warmup_epochs=0)"
            )
        shares = self.shares.problems() or self._batch_problems()
        parts = (self.wide, self.pseudo, self.refine, self.people, self.transfer, self.replay,
                 self.teacher)  # fmt: skip
        return found + shares + [problem for part in parts for problem in part.problems()]

    def _batch_problems(self) -> list[str]:
        if self.batch_size < 2:
            return [f"rounds.batch_size: expected at least 2, got {self.batch_size}"]
        empty = [name for name, n in self.shares.counts(self.batch_size).items() if not n]
        if not empty:
            return []
        names = ", ".join(empty)
        return [
            f"rounds.batch_size: a batch of {self.batch_size} has no window of {names} "
            "(fix: a larger batch, or a share of 0)"
        ]

    def round_of(self, epoch: int) -> int:
        """The round that an epoch, counted from 0, belongs to: 0 in the warm-up, then 1, 2, ..."""
        if epoch < self.warmup_epochs:
            return 0
        return 1 + (epoch - self.warmup_epochs) // self.epochs_per_round

    def fitted_to(self, frames: int) -> "RoundsConfig":
        """The configuration for a target of so many valid frames, see `most_draws`."""
        windows = self.epochs * self.steps_per_epoch * self.batch_size
        most, shares = self.most_draws * frames / windows, self.shares
        most = 0.0 if most * self.batch_size < 1 else most
        replay, selftrain = min(shares.replay, most), min(shares.selftrain, most)
        wide = shares.wide + shares.replay - replay + shares.selftrain - selftrain
        shares = replace(shares, replay=replay, selftrain=selftrain, wide=wide)
        return replace(self, shares=shares)

    def shares_in(self, epoch: int) -> SharesConfig:
        """The shares of an epoch: those of lifted poses are wide windows in the warm-up."""
        if epoch >= self.warmup_epochs:
            return self.shares
        wide = self.shares.wide + self.shares.lifted
        return replace(self.shares, wide=wide, transfer=0.0, replay=0.0, selftrain=0.0)


METHODS: dict[str, RoundsConfig] = {
    "continue": RoundsConfig(shares=SharesConfig(source=1.0), dropout=None),
    "augment": RoundsConfig(shares=SharesConfig(source=0.25, wide=0.75)),
    "viewpoint": RoundsConfig(
        shares=SharesConfig(source=0.25, transfer=0.75),
        refinement="rays",
    ),
    "replay": RoundsConfig(
        shares=SharesConfig(source=0.25, wide=0.25, transfer=0.25, replay=0.25),
        refinement="rays",
    ),
    "selftrain": RoundsConfig(shares=SharesConfig(source=0.5, selftrain=0.5), dropout=None),
    "bn": RoundsConfig(
        shares=SharesConfig(source=0.5, target=0.5), train="statistics", dropout=None
    ),
    "full": RoundsConfig(
        warmup_epochs=1,
        shares=SharesConfig(source=0.15, transfer=0.1, replay=0.75),
    ),
}
"""The methods by name; all make the same number of steps on batches of the same size.

What is marked [own] here and the shares of "full" were chosen by the label-free score on the parts
of HDM05, UI-PRMD and CMU's dance takes that are there to adapt on."""


def method_config(method: str) -> RoundsConfig:
    """The configuration of a method, or of several with + between them, e.g. viewpoint+selftrain.

    Of several methods, the source gets the smallest of their source shares, and the rest is
    divided in proportion to the sums of their other shares; the longest warm-up and the most
    thorough refinement count. ConfigError for unknown methods and for one of `ALONE` among others.
    """
    names = list(dict.fromkeys(name.strip() for name in method.split("+")))
    for name in names:
        if name not in METHODS:
            raise ConfigError(unknown_name_message("method", name, METHODS))
        if name in ALONE and len(names) > 1:
            raise ConfigError(f"'{name}' stands alone, got {method} (fix: {name} on its own)")
    configs = [METHODS[name] for name in names]
    if len(configs) == 1:
        return configs[0]
    source = min(config.shares.source for config in configs)
    others = [f.name for f in fields(SharesConfig) if f.name != "source"]
    sums = {key: sum(getattr(config.shares, key) for config in configs) for key in others}
    scale = (1 - source) / sum(sums.values())
    shares = SharesConfig(source=source, **{key: value * scale for key, value in sums.items()})
    return replace(
        configs[0],
        shares=shares,
        warmup_epochs=max(config.warmup_epochs for config in configs),
        dropout=None if any(config.dropout is None for config in configs) else configs[0].dropout,
        refinement=max((config.refinement for config in configs), key=_EFFORT.index),
    )
