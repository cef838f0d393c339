"""What a report says in words: title, summary, notes, credits."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from adaptpose.cli.evaluation_tables import protocol
from adaptpose.cli.experiment import Plan, test_set_pick
from adaptpose.cli.report_data import MAX_FRAMES, ReportData
from adaptpose.cli.report_domains import LIFTED_FOCAL
from adaptpose.cli.report_rounds import LIFTED_FRAMES, shares_of
from adaptpose.clips import PoseData
from adaptpose.datasets.corpora import CORPORA
from adaptpose.datasets.registry import DatasetSpec
from adaptpose.evaluate import EvalOptions, Evaluation
from adaptpose.report_content import Credit
from adaptpose.rundir import RunDirectory
from adaptpose.store import read_json

_RULES = {
    "last": "the lifter of the last epoch",
    "label_free": "the lifter of the epoch with the best label-free score",
}


def title(plan: Plan) -> str:
    """Source and target."""
    return f"{plan.source.name} → {plan.target.name}"


def summary(run: RunDirectory, plan: Plan) -> str:
    """What was done, in two sentences at most."""
    epochs = max((int(record.get("epoch", 0)) for record in run.records()), default=0)
    made = (
        f"A {plan.lifter.name} lifter trained on {plan.source.name} and adapted to "
        f"{plan.target.name} from its 2D keypoints alone ({plan.method}, {epochs} epochs)."
    )
    if run.done:
        return made
    return f"{made} This run is not finished: epoch {epochs} of {plan.settings.epochs}."


def notes(
    run: RunDirectory,
    plan: Plan,
    data: ReportData,
    evaluations: Mapping[str, dict[str, Any]],
    seed: int,
) -> list[str]:
    """What must be known to read the report right, a line each; first what is missing."""
    lines = list(data.missing)
    rule = _RULES[plan.settings.checkpoint_rule]
    lines.append(f"Adapted is {rule}; no label of the target had a part in it.")
    pick = test_set_pick(run)
    if pick is not None:
        lines.append(
            f"Test-set pick: epoch {pick['epoch']:.0f} has the lowest logged test MPJPE, "
            f"{pick['mpjpe_mm']:.1f} mm (PA-MPJPE {pick['pmpjpe_mm']:.1f} mm). Chosen by test "
            "labels, so it is not a result; it is shown because others report it."
        )
    if evaluations:
        rules = "; ".join(protocol_lines(next(iter(evaluations.values()))))
        lines.append(
            f"Protocol: {rules}. The first figures are raw: without test-time augmentation."
        )
    lines += _sampling_notes(data, plan, seed)
    return lines + _origin(run, plan)


def protocol_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """The protocol of an evaluation as it is stored, see `evaluation_tables.protocol`."""
    fields = {field.name for field in dataclasses.fields(EvalOptions)}
    options = {key: value for key, value in evaluation["options"].items() if key in fields}
    for key in ("metrics", "pck_joints"):
        options[key] = None if options.get(key) is None else tuple(options[key])
    # Intervals, licence and credit have places of their own in a report.
    stored = {
        **evaluation,
        "options": EvalOptions(**{**options, "bootstrap_samples": 0}),
        "frame_rates_hz": tuple(evaluation["frame_rates_hz"]),
        "pck_joints": tuple(evaluation["pck_joints"]),
        "rows": (),
        "licence": "",
        "credit": "",
    }
    return protocol(Evaluation(**stored))


def credits(plan: Plan, data: ReportData) -> list[Credit]:
    """Licences and credits of the data, opened or not."""
    parts = ((plan.source, data.source), (plan.target, None), (plan.test, data.test))
    found = [_credit(spec, opened) for spec, opened in parts if spec is not None]
    return list(dict.fromkeys(credit for credit in found if credit is not None))


def synthetic_names(data: ReportData) -> list[str]:
    """Names of the opened data that no person performed."""
    opened = (data.source, data.target, data.test)
    return [part.name for part in opened if part is not None and part.synthetic]


def _credit(spec: DatasetSpec, opened: PoseData | None) -> Credit | None:
    if spec.name in CORPORA:
        corpus = CORPORA[spec.name]
        return Credit(corpus.name, corpus.licence, corpus.credit)
    if opened is not None and (opened.licence or opened.credit):
        return Credit(opened.name, opened.licence, opened.credit)
    return None


def _sampling_notes(data: ReportData, plan: Plan, seed: int) -> list[str]:
    lines = []
    if data.source is not None or data.target is not None:
        lines.append(
            f"Cameras, 2D poses and examples are drawn from at most {MAX_FRAMES:,} frames of each "
            f"dataset, the middles of clips taken at random (seed {seed}). {_generated(plan, data)}"
        )
    if data.target is not None and "adapted" in data.lifters:
        lines.append(
            "The cameras of the target (as lifted) are implied by the adapted lifter, not "
            "measured: its poses are put where they fit their 2D best under a focal length of "
            f"{LIFTED_FOCAL} (the image's larger side). Depths scale with that focal length."
        )
    return lines


def _generated(plan: Plan, data: ReportData) -> str:
    """What generated windows are, if there are any."""
    if plan.rounds is None:
        return (
            "Generated windows are those that the selection keeps, with the adapted lifter as "
            "critic; shown are the first of each action, then others as they come."
        )
    shares = shares_of(plan.rounds, data.target)
    if shares is None:
        return f"Nothing is generated: batches of {plan.method} hold windows of the data alone."
    if "adapted" not in data.lifters or data.source is None or (shares.lifted and not data.target):
        return "Nothing generated is shown: that takes the adapted lifter and the data."
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in vars(shares).items() if share)
    lifted = (
        " Poses of the target in them are lifted by the adapted lifter, of clips of about "
        f"{LIFTED_FRAMES:,} frames together at most."
        if shares.lifted
        else ""
    )
    return f"Generated windows are usable ones such as batches were made of: {kinds}.{lifted}"


def _origin(run: RunDirectory, plan: Plan) -> list[str]:
    made_by = read_json(run.path / "provenance.json", "the run's provenance")
    command = shlex.join(str(word) for word in made_by.get("command", []))
    lines = [f"Command: {command}"] if command else []
    return [*lines, f"Seed: {made_by.get('seed', plan.settings.seed)}."]
