"""`adapt demo`: the whole job on synthetic people, in a few minutes, with nothing to download."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.cli.console import notice
from adaptpose.cli.methods import DEFAULT
from adaptpose.cli.options import (
    DeviceOption,
    JsonOption,
    OutOption,
    RunsOption,
    SeedOption,
    ThreadsOption,
    choose,
)
from adaptpose.config import FitConfig, LifterConfig, PretrainConfig
from adaptpose.rounds_config import method_config

if TYPE_CHECKING:
    from adaptpose.cli.experiment import Plan
else:
    Plan = Any

ORACLE_EPOCHS = 8


def demo(
    seed: SeedOption = None,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pretrain, adapt, compare with an oracle and write a report, on synthetic people."""
    from adaptpose.cli.fit import execute
    from adaptpose.cli.report import report
    from adaptpose.rundir import new_run_path

    path = out or new_run_path(runs, "fit", "demo")
    notice("demo: adapting a small lifter from synthetic-studio to synthetic-field, 2D alone")
    execute(demo_plan(seed or 0), path, choose(device, threads), as_json)
    if not as_json:
        report(run=path)


def demo_plan(seed: int) -> Plan:
    """A small lifter and a small budget: two minutes on two cores, and still a real gain.

    Adapted by the default method of `adapt fit`, for 10 of its 15 epochs.
    """
    from adaptpose.cli.experiment import Plan
    from adaptpose.cli.specs import new_spec

    return Plan(
        source=new_spec("synthetic-studio"),
        target=new_spec("synthetic-field"),
        test=new_spec("synthetic-field", split="test"),
        lifter=LifterConfig(widths=(3, 3), channels=128, dropout=0.1),
        pretrain=PretrainConfig(
            epochs=8,
            windows_per_epoch=60_000,
            batch_size=256,
            learning_rate_decay=0.7,
            seed=seed,
        ),
        fit=FitConfig(),
        method=DEFAULT,
        rounds=dataclasses.replace(method_config(DEFAULT), epochs=10, seed=seed),
        oracle_epochs=ORACLE_EPOCHS,
    )
