"""One adaptation from beginning to end: data, source lifter, adaptation, oracle, scores.

What `fit`, `demo` and `ablate` have in common. A fit run's directory holds the source lifter, the
adapted one, the oracle if asked for, and their evaluation, beside what `adaptpose.fit` leaves.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from adaptpose import distributed
from adaptpose.cli.methods import ADAPTPOSE, is_adversarial
from adaptpose.cli.specs import has_split, spec_from_dict, spec_to_dict
from adaptpose.cli.start_checks import check_given, check_specs, given_lifter
from adaptpose.clips import Normalisation, PoseData, TargetData
from adaptpose.config import (
    FitConfig,
    LifterConfig,
    PretrainConfig,
    config_from_dict,
    config_to_dict,
)
from adaptpose.datasets.fingerprints import fingerprint
from adaptpose.datasets.registry import DatasetSpec, open_dataset, open_target
from adaptpose.epoch_scores import Monitor
from adaptpose.errors import CheckpointError
from adaptpose.evaluate import EvalOptions, Evaluation, evaluate
from adaptpose.fit import fit
from adaptpose.lifter import Lifter, save_lifter
from adaptpose.lifters import build_lifter, load_lifter
from adaptpose.pretrain import pretrain
from adaptpose.progress import ProgressHook
from adaptpose.rounds import adapt_in_rounds, check_alone
from adaptpose.rounds_config import RoundsConfig
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.skeleton import skeleton_by_name
from adaptpose.store import write_json

LABELS = {"source-only": "source_lifter", "adapted": "lifter", "oracle": "oracle"}
"""What a lifter is called in tables, and its file in the run directory."""


@dataclass(frozen=True)
class Plan:
    """What an adaptation is made of; the configuration in its run directory."""

    source: DatasetSpec
    target: DatasetSpec
    test: DatasetSpec | None
    lifter: LifterConfig
    pretrain: PretrainConfig
    fit: FitConfig
    normalisation: Normalisation | None = None
    pretrained: str | None = None
    """A lifter file or a run to start from; None: pretrain one on the source."""
    oracle_epochs: int = 0
    """Epochs of training on source and target 3D together, for the upper bound; 0: none."""
    method: str = ADAPTPOSE
    rounds: RoundsConfig | None = None
    """Settings of a method that works in rounds, to which `fit` means nothing."""

    @property
    def settings(self) -> FitConfig | RoundsConfig:
        """The settings of the plan's method: either has epochs, strides, a rule and a seed."""
        return self.fit if self.rounds is None else self.rounds

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for JSON."""
        return {
            "method": self.method,
            "source": spec_to_dict(self.source),
            "target": spec_to_dict(self.target),
            "test": None if self.test is None else spec_to_dict(self.test),
            "lifter": config_to_dict(self.lifter),
            "pretrain": config_to_dict(self.pretrain),
            **self._method_dict(),
            "normalisation": self.normalisation,
            "pretrained": self.pretrained,
            "oracle_epochs": self.oracle_epochs,
        }

    def _method_dict(self) -> dict[str, Any]:
        if self.rounds is None:
            return {"fit": config_to_dict(self.fit)}
        return {"rounds": config_to_dict(self.rounds)}


def plan_of_run(run: RunDirectory) -> Plan:
    """The plan a fit run was begun with; CheckpointError if the run holds another's."""
    return plan_from_dict(run.config, f"{run.path}/run.json")


def plan_from_dict(values: dict[str, Any], where: str) -> Plan:
    """The plan of plain data; CheckpointError naming `where` if a part is missing or wrong."""
    try:
        test, rounds = values["test"], not is_adversarial(values["method"])
        return Plan(
            source=spec_from_dict(values["source"], f"{where}, source"),
            target=spec_from_dict(values["target"], f"{where}, target"),
            test=None if test is None else spec_from_dict(test, f"{where}, test"),
            lifter=config_from_dict(LifterConfig, values["lifter"], "lifter."),
            pretrain=config_from_dict(PretrainConfig, values["pretrain"], "pretrain."),
            fit=FitConfig() if rounds else config_from_dict(FitConfig, values["fit"], "fit."),
            normalisation=values["normalisation"],
            pretrained=values["pretrained"],
            oracle_epochs=values["oracle_epochs"],
            method=values["method"],
            rounds=config_from_dict(RoundsConfig, values["rounds"], "rounds.") if rounds else None,
        )
    except KeyError as error:
        raise CheckpointError(f"{where}: no {error} in the configuration of the run") from error


@dataclass(frozen=True)
class Material:
    """The data of a plan: labelled source, 2D of the target, and a labelled test set if any."""

    source: PoseData
    target: TargetData
    test: PoseData | None

    def fingerprints(self) -> dict[str, str]:
        """Content hashes by role."""
        parts = {"source": self.source, "target": self.target, "test": self.test}
        return {role: fingerprint(data) for role, data in parts.items() if data is not None}


def test_spec(target: DatasetSpec) -> DatasetSpec | None:
    """The labelled test set that belongs to a target: its own test split, if it has one."""
    if not has_split(target.name, "test"):
        return None
    return dataclasses.replace(target, split="test", max_clips=None)


def open_material(plan: Plan) -> Material:
    """Open all data of a plan, as the lifter is to see it."""
    check_specs({"--source": plan.source, "--target": plan.target, "--test": plan.test})
    source, target = open_dataset(plan.source), open_target(plan.target)
    test = None if plan.test is None else open_dataset(plan.test)
    seen: Normalisation = plan.normalisation or target.normalisation
    return Material(
        dataclasses.replace(source, normalisation=seen),
        dataclasses.replace(target, normalisation=seen),
        None if test is None else dataclasses.replace(test, normalisation=seen),
    )


def source_lifter(
    run: RunDirectory, plan: Plan, material: Material, device: torch.device, hook: ProgressHook
) -> Lifter:
    """The lifter to adapt: given, or pretrained in the run; kept as source_lifter.safetensors."""
    path = run.path / f"{LABELS['source-only']}.safetensors"
    if distributed.rank() == 0 and not path.is_file():
        lifter, meta = given_lifter(plan.pretrained) if plan.pretrained else _pretrained(
            run, plan, material, device, hook
        )  # fmt: skip
        save_lifter(path, lifter, meta)
    distributed.barrier()
    lifter, meta = load_lifter(path)
    check_given(lifter, meta, material.source, plan.pretrained or str(path))
    return lifter


def adapt(
    run: RunDirectory, plan: Plan, material: Material, device: torch.device, hook: ProgressHook
) -> None:
    """Adapt the source lifter to the target, and train the oracle if the plan has one."""
    lifter = source_lifter(run, plan, material, device, hook)
    if not run.done:
        common = {
            "normalisation": material.source.normalisation,
            "monitor": test_monitor(material.test),
            "progress": hook,
        }
        given = (run, lifter, material.source, material.target)
        if plan.rounds is None:
            fit(*given, plan.fit, device, **common)
        else:
            adapt_in_rounds(*given, plan.rounds, device, **common)
    if plan.oracle_epochs and distributed.rank() == 0:
        _train_oracle(run, plan, material, device, hook)


def check_processes(plan: Plan) -> None:
    """Raise ConfigError if several processes share a run whose method cannot be shared."""
    if plan.rounds is not None:
        check_alone()


def test_monitor(test: PoseData | None) -> Monitor | None:
    """Test errors for the log, where there are labels; nothing is chosen by them."""
    if test is None:
        return None
    options = EvalOptions(
        ("mpjpe", "pmpjpe"), tta="none", scale_aligned=False, bootstrap_samples=0
    )  # fmt: skip

    def monitor(lifter: Lifter) -> dict[str, float]:
        scores = evaluate(lifter, test, options)
        return {name: scores.row(name).value for name in ("mpjpe", "pmpjpe")}

    return monitor


def score_run(
    run: RunDirectory, test: PoseData, device: torch.device, metrics: tuple[str, ...]
) -> dict[str, Evaluation]:
    """Evaluations of the run's lifters by label; also written to the run as evaluation.json."""
    evaluations = {}
    for label, stem in LABELS.items():
        path = run.path / f"{stem}.safetensors"
        if path.is_file():
            lifter, _ = load_lifter(path)
            evaluations[label] = evaluate(lifter.to(device), test, EvalOptions(metrics))
    content = {label: evaluation.to_json() for label, evaluation in evaluations.items()}
    write_json(run.path / "evaluation.json", content)
    return evaluations


def is_complete(run: RunDirectory) -> bool:
    """Whether a fit run has all that its plan asks for: adaptation, oracle and scores."""
    plan = plan_of_run(run)
    wanted = [f"{LABELS['oracle']}.safetensors"] if plan.oracle_epochs else []
    wanted += [] if plan.test is None else ["evaluation.json"]
    return run.done and all((run.path / name).is_file() for name in wanted)


def test_set_pick(run: RunDirectory) -> dict[str, float | int] | None:
    """The epoch with the lowest logged test MPJPE: what choosing on test labels would have given.

    Shown under that name beside the result, which was chosen without labels.
    """
    watched = [r for r in run.records() if "monitor_mpjpe" in r]
    if not watched:
        return None
    best = min(watched, key=lambda record: record["monitor_mpjpe"])
    return {
        "epoch": best["epoch"],
        "mpjpe_mm": best["monitor_mpjpe"],
        "pmpjpe_mm": best["monitor_pmpjpe"],
    }


def _pretrained(
    run: RunDirectory, plan: Plan, material: Material, device: torch.device, hook: ProgressHook
) -> tuple[Lifter, dict[str, Any]]:
    skeleton = skeleton_by_name(plan.source.skeleton)
    lifter = build_lifter(plan.lifter, skeleton, skeleton, stream(plan.pretrain.seed, "lifter"))
    _train(run, "pretrain", lifter, [material.source], plan.pretrain, device, hook)
    return load_lifter(run.path / "pretrain" / "lifter.safetensors")


def _train_oracle(
    run: RunDirectory, plan: Plan, material: Material, device: torch.device, hook: ProgressHook
) -> None:
    """Go on from the source lifter with the target's 3D: how good adaptation could be."""
    path = run.path / f"{LABELS['oracle']}.safetensors"
    if path.is_file():
        return
    seen = material.source.normalisation
    labelled = dataclasses.replace(open_dataset(plan.target), normalisation=seen)
    config = dataclasses.replace(
        plan.pretrain, epochs=plan.oracle_epochs, seed=plan.settings.seed, trajectory=False
    )
    lifter, _ = load_lifter(run.path / f"{LABELS['source-only']}.safetensors")
    _train(run, "oracle", lifter, [material.source, labelled], config, device, hook)
    lifter, meta = load_lifter(run.path / "oracle" / "lifter.safetensors")
    save_lifter(path, lifter, meta)


def _train(
    run: RunDirectory,
    name: str,
    lifter: Lifter,
    sources: list[PoseData],
    config: PretrainConfig,
    device: torch.device,
    hook: ProgressHook,
) -> None:
    path = run.path / name
    if path.is_dir():
        inner = open_run(path)
    else:
        inner = create_run(path, "pretrain", {"pretrain": config_to_dict(config)}, {})
    seen = sources[0].normalisation
    pretrain(inner, lifter, sources, config, device, normalisation=seen, progress=hook)
