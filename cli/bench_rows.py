"""The rows of the open benchmark as data: method, changes of its settings, and the budget.

Every row that trains makes the same number of updates of the same lifter, from the same start. The
defaults of the rounds' schedule (warm-up, length of a round) keep their share of the run.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from adaptpose.cli.bench_tasks import words_of
from adaptpose.cli.methods import (
    ADAPTPOSE,
    adversarial_config,
    check_method,
    check_start_setting,
)
from adaptpose.config import FitConfig, PretrainConfig, check_config, override
from adaptpose.errors import ConfigError, expected_message
from adaptpose.rounds_config import Precision, RoundsConfig

Kind = Literal["mean", "source", "method", "oracle"]


@dataclass(frozen=True)
class Row:
    """A row by name. `changes` are settings of its method by dotted key.

    Kinds: "mean" is the source's mean pose, "source" the lifter that all start from, "oracle" one
    that also sees the 3D of the target's part to adapt on, and enters nothing else.
    """

    name: str
    kind: Kind
    method: str = ""
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether the row has a run of its own."""
        return self.kind in ("method", "oracle")


@dataclass(frozen=True)
class Budget:
    """What is spent on a source lifter and on a row."""

    name: str
    epochs: int
    """Records of a row's learning curve."""
    steps_per_epoch: int
    batch_size: int
    source_epochs: int
    source_windows: int
    """Windows per epoch of training on the source."""
    source_decay: float
    """Factor on the learning rate per epoch of that."""
    precision: Precision = "float32"
    """Of the rows' lifters while they learn; source lifters learn in single precision."""

    @property
    def steps(self) -> int:
        """Updates of a row's lifter."""
        return self.epochs * self.steps_per_epoch

    def with_steps(self, steps: int, flag: str = "--steps") -> "Budget":
        """The budget with another number of updates, to the nearest multiple of its epochs."""
        if steps < self.epochs:
            expected = f"at least {self.epochs}, one per epoch"
            raise ConfigError(expected_message(flag, expected, str(steps)))
        return dataclasses.replace(self, steps_per_epoch=round(steps / self.epochs))


BUDGETS: dict[str, Budget] = {
    budget.name: budget
    for budget in (
        Budget("quick", 15, 60, 256, 10, 30_720, 0.75),
        Budget("standard", 15, 200, 256, 20, 61_440, 0.85),
    )
}
"""Budgets by name: a look, or the one of the published figures. Batches are small: on the source's
held-out people a lifter of 256 channels reached 50 mm after 16 x 61,440 windows in batches of 256,
and 74 mm in batches of 1,024, in the same time."""

_PUBLISHED = {
    "sections": 2, "warmup_epochs": 1,
    "learning_rate_generator": 3e-4, "learning_rate_lifter": 3e-4, "repeat_kept": True,
}  # fmt: skip
"""Settings of AdaptPose at budgets far below its own, as in docs/results.md. What its selection
keeps is repeated, so that it makes as many updates as the others: some lifters and targets keep a
tenth of what is generated."""

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("mean", "mean"),
        Row("source", "source"),
        Row("continue", "method", "continue"),
        Row("bn", "method", "bn"),
        Row("augment", "method", "augment"),
        Row("adaptpose", "method", ADAPTPOSE),
        Row("viewpoint", "method", "viewpoint"),
        Row("replay", "method", "replay"),
        Row("selftrain", "method", "selftrain"),
        Row("full", "method", "full"),
        Row("oracle", "oracle", "continue"),
    )
}
"""The rows by name."""

GROUPS = {
    "all": tuple(ROWS),
    "key": ("source", "augment", "adaptpose", "full", "oracle"),
}
"""Names that stand for several rows."""


def chosen_rows(text: str, own: list[str] | None = None, flag: str = "--rows") -> tuple[Row, ...]:
    """The rows of a text like "key,replay", in the table's order, and the user's own after them.

    An own row is a text "NAME=METHOD KEY=VALUE ..." with settings of the method. ConfigError for
    unknown rows, and for settings that the method does not have.
    """
    names = words_of(text, flag, "row", [*ROWS, *GROUPS])
    wanted = {row for name in names for row in GROUPS.get(name, (name,))}
    rows = [row for row in ROWS.values() if row.name in wanted]
    for one in own or []:
        row = parse_row(one)
        if row.name in (*GROUPS, *(r.name for r in rows), *ROWS):
            raise ConfigError(f"--row {row.name}: there is a row of that name (fix: another name)")
        rows.append(row)
    return tuple(rows)


def parse_row(text: str, flag: str = "--row") -> Row:
    """The row of a text like "long=full epochs_per_round=2 shares.wide=0.1 ..."."""
    head, *rest = text.split() or [""]
    name, sign, method = head.partition("=")
    if not sign or not name.isidentifier() or not method:
        expected = "NAME=METHOD, then KEY=VALUE of the method's settings"
        raise ConfigError(expected_message(flag, expected, f"'{text}'"))
    pairs = [word.partition("=") for word in rest]
    if not all(key and sign and value for key, sign, value in pairs):
        raise ConfigError(expected_message(f"{flag} {name}", "KEY=VALUE", f"'{text}'"))
    changes = {key.removeprefix("rounds."): value for key, _, value in pairs}
    row = Row(name, "method", method, changes)
    try:
        row_settings(row, BUDGETS["quick"], 0)
    except ConfigError as error:
        raise ConfigError(f"{flag} {name}: {error}") from error
    return row


def row_settings(row: Row, budget: Budget, seed: int) -> FitConfig | RoundsConfig:
    """The settings of a row that trains, at a budget; ConfigError if they are impossible."""
    rounds = check_method(row.method)
    if rounds is None:
        base = _adversarial(row.method, budget, seed)
    else:
        base = _rounds(rounds, budget, seed)
    config = override(base, row.changes)
    check_config(config)
    if isinstance(config, FitConfig):
        check_start_setting(row.method, config)
    return config


def source_settings(budget: Budget, seed: int) -> PretrainConfig:
    """Settings of training on the source."""
    return PretrainConfig(
        epochs=budget.source_epochs,
        windows_per_epoch=budget.source_windows,
        batch_size=budget.batch_size,
        learning_rate_decay=budget.source_decay,
        seed=seed,
    )


def _rounds(config: RoundsConfig, budget: Budget, seed: int) -> RoundsConfig:
    share = budget.epochs / config.epochs
    return dataclasses.replace(
        config,
        epochs=budget.epochs,
        steps_per_epoch=budget.steps_per_epoch,
        batch_size=budget.batch_size,
        precision=budget.precision,
        warmup_epochs=min(round(share * config.warmup_epochs), budget.epochs - 1),
        epochs_per_round=max(1, round(share * config.epochs_per_round)),
        seed=seed,
    )


def _adversarial(method: str, budget: Budget, seed: int) -> FitConfig:
    """AdaptPose with the budget's updates of the lifter after its warm-up, and as many records.

    A section makes one update per batch that is generated.
    """
    sections = _PUBLISHED["sections"]
    in_section = math.ceil(budget.steps_per_epoch / sections)
    return dataclasses.replace(
        adversarial_config(method),
        epochs=budget.epochs + int(_PUBLISHED["warmup_epochs"]),
        samples_per_epoch=int(sections * in_section * budget.batch_size),
        batch_size=budget.batch_size,
        precision=budget.precision,
        seed=seed,
        **_PUBLISHED,
    )
