"""From options to the plan of an adaptation: what `fit` and `ablate` have in common.

Values come by flag, e.g. {"--epochs": 3}; None means not given.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.cli.methods import (
    ADAPTPOSE,
    DEFAULT,
    adversarial_config,
    check_method,
    check_start_setting,
    method_words,
)
from adaptpose.cli.options import parse_count, parse_size
from adaptpose.cli.resume import refuse_flags
from adaptpose.cli.settings import keys_of_others, settle
from adaptpose.config import FitConfig, LifterConfig, PretrainConfig
from adaptpose.errors import ConfigError
from adaptpose.rounds_config import RoundsConfig

if TYPE_CHECKING:
    from adaptpose.cli.experiment import Plan
    from adaptpose.datasets.registry import DatasetSpec
else:
    Plan = DatasetSpec = Any


def new_plan(
    flags: dict[str, Any],
    data: dict[str, Any],
    data_root: Path | None,
    config: Path | None,
    assignments: list[str] | None,
    method: str | None = None,
) -> Plan:
    """The plan of new options: settings by `flags`, datasets and a given lifter by `data`.

    What can be set is the lifter, its pretraining, and the method's own section: "fit" or
    "rounds"; no `method` is `DEFAULT`. ConfigError for what is missing, unknown or impossible.
    """
    from adaptpose.cli.experiment import Plan

    asked, method = method, DEFAULT if method is None else method
    rounds = check_method(method)
    own = {"fit": adversarial_config(method)} if rounds is None else {"rounds": rounds}
    sections = {**own, "lifter": LifterConfig(), "pretrain": PretrainConfig()}
    _refuse_others(asked, sections, flags["--samples-per-epoch"], config, assignments)
    sections = settle(sections, config, assignments, _settings(flags, *own))
    sections.setdefault("fit", FitConfig())
    if rounds is None:
        check_start_setting(method, sections["fit"])
    given = data["--pretrained"]
    start = None if given is None else str(given.resolve())
    return Plan(*_specs(data, data_root), **sections, pretrained=start, method=method)


def moved_plan(plan: Plan, data_root: Path | None) -> Plan:
    """The plan with its data under another root, if one is given."""
    if data_root is None:
        return plan
    place = {"data_root": data_root}
    return dataclasses.replace(
        plan,
        source=dataclasses.replace(plan.source, **place),
        target=dataclasses.replace(plan.target, **place),
        test=None if plan.test is None else dataclasses.replace(plan.test, **place),
    )


def _refuse_others(
    method: str | None,
    sections: dict[str, Any],
    samples: str | None,
    config: Path | None,
    assignments: list[str] | None,
) -> None:
    """Raise ConfigError, in one message, if settings are given that only other methods have."""
    if "fit" in sections:
        others, fix = {"rounds": RoundsConfig()}, f"--method {DEFAULT}"
        given: dict[str, Any] = {}
    else:
        others, fix = {"fit": FitConfig()}, f"--method {ADAPTPOSE}"
        given = {"--samples-per-epoch": samples}
        fix += "" if samples is None else ", or --set rounds.steps_per_epoch=100"
    given |= dict.fromkeys(keys_of_others(sections, others, config, assignments), True)
    refuse_flags(given, method_words(method), fix)


def _specs(
    data: dict[str, Any], data_root: Path | None
) -> tuple[DatasetSpec, DatasetSpec, DatasetSpec | None]:
    from adaptpose.cli.specs import new_spec

    for flag in ("--source", "--target"):
        if data[flag] is None:
            fix = "--source synthetic-studio --target synthetic-field for a first try"
            raise ConfigError(f"{flag}: expected the name of a dataset, got none (fix: {fix})")
    source = new_spec(
        data["--source"], rig=data["--rig"], noise=data["--source-noise"],
        split=data.get("--split"), keypoints=data.get("--source-keypoints"),
        cameras=data.get("--source-cameras"), **_common(data, data_root),
    )  # fmt: skip
    return source, *target_specs(data, data_root)


def target_specs(
    data: dict[str, Any], data_root: Path | None
) -> tuple[DatasetSpec, DatasetSpec | None]:
    """The target of --target and its flags, and the labelled test set if there is one."""
    from adaptpose.cli.experiment import test_spec
    from adaptpose.cli.specs import change_spec, new_spec

    target = new_spec(
        data["--target"], rig=data["--target-rig"], noise=data["--noise"],
        split=data.get("--target-split"), keypoints=data.get("--keypoints"),
        cameras=data.get("--cameras"), format=data.get("--format"), fps=data.get("--fps"),
        image_size_px=parse_size(data.get("--size")), **_common(data, data_root),
    )  # fmt: skip
    if data["--test"] is None:
        return target, test_spec(target)
    test = change_spec(target, name=data["--test"], split="test")
    cameras = data.get("--test-cameras")
    return target, dataclasses.replace(test, max_clips=None, cameras=cameras)


def _common(data: dict[str, Any], data_root: Path | None) -> dict[str, Any]:
    return {"frame_rate_hz": data["--frame-rate"], "max_clips": data["--max-clips"],
            "data_root": data_root, "skeleton": data.get("--skeleton"),
            "body_model": data.get("--body-model")}  # fmt: skip


def _settings(flags: dict[str, Any], section: str) -> dict[str, Any]:
    """Values of the flags by setting; `section` is the method's own."""
    counts = {
        flag: None if flags[flag] is None else parse_count(flags[flag], flag)
        for flag in ("--pretrain-windows", "--samples-per-epoch")
    }
    return {
        "lifter.name": flags["--lifter"],
        "lifter.channels": flags["--channels"],
        "lifter.widths": flags["--widths"],
        "pretrain.epochs": flags["--pretrain-epochs"],
        "pretrain.windows_per_epoch": counts["--pretrain-windows"],
        f"{section}.epochs": flags["--epochs"],
        f"{section}.samples_per_epoch": counts["--samples-per-epoch"],
        "pretrain.seed": flags["--seed"],
        f"{section}.seed": flags["--seed"],
    }
