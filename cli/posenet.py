"""The plan of `adapt fit --method posenet3d`, from options or from a run.

There is no source: flags of one are refused. The run directory is a fit run's, with the settings
under "posenet" and the body model's name under "body".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.cli.methods import POSENET3D
from adaptpose.cli.resume import refuse_flags
from adaptpose.errors import CheckpointError, ConfigError, unknown_name_message

if TYPE_CHECKING:
    from adaptpose.datasets.registry import DatasetSpec
    from adaptpose.posenet_run_config import PoseNetRunConfig
    from adaptpose.rundir import RunDirectory
else:
    DatasetSpec = PoseNetRunConfig = RunDirectory = Any

DEFAULT_BODY = "anny"
_NO_SOURCE = ("--source", "--rig", "--split", "--source-noise", "--source-keypoints",
              "--source-cameras", "--lifter", "--pretrain-epochs", "--pretrain-windows",
              "--samples-per-epoch", "--oracle")  # fmt: skip


@dataclass(frozen=True)
class PoseNetPlan:
    """What such a run is made of; the configuration in its run directory."""

    target: DatasetSpec
    test: DatasetSpec | None
    body: str
    posenet: PoseNetRunConfig
    pretrained: str | None = None
    """A run, or a lifter file, whose teacher is gone on from."""

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for JSON."""
        from adaptpose.cli.specs import spec_to_dict
        from adaptpose.config import config_to_dict

        return {
            "method": POSENET3D,
            "target": spec_to_dict(self.target),
            "test": None if self.test is None else spec_to_dict(self.test),
            "body": self.body,
            "posenet": config_to_dict(self.posenet),
            "pretrained": self.pretrained,
            "normalisation": "screen",
        }


def is_posenet_run(path: Path) -> bool:
    """Whether a run directory is of this method; False for what is no run."""
    from adaptpose.rundir import open_run

    return path.is_dir() and open_run(path).config.get("method") == POSENET3D


def new_posenet_plan(
    given: dict[str, Any],
    data_root: Path | None,
    config: Path | None,
    assignments: list[str] | None,
) -> PoseNetPlan:
    """The plan of new options; ConfigError for what is missing, unknown or impossible."""
    from adaptpose.cli.plans import target_specs
    from adaptpose.cli.settings import settle
    from adaptpose.posenet_run_config import PRESETS

    refuse_flags(
        {flag: given[flag] for flag in _NO_SOURCE},
        f"--method {POSENET3D}",
        "leave that out: it learns from the target's 2D alone",
    )
    if given["--target"] is None:
        fix = "--target synthetic-field for a first try"
        raise ConfigError(f"--target: expected the name of a dataset, got none (fix: {fix})")
    preset = given["--preset"] or "published"
    if preset not in PRESETS:
        raise ConfigError(f"--preset: {unknown_name_message('preset', preset, PRESETS)}")
    epochs = given["--epochs"]
    flags = {
        "posenet.stages": _stages(given["--steps"]),
        "posenet.adaptation": given["--sja"],
        "posenet.network.channels": given["--channels"],
        "posenet.network.widths": given["--widths"],
        "posenet.seed": given["--seed"],
        **{f"posenet.epochs.{stage}": epochs for stage in vars(PRESETS[preset].epochs)},
    }
    settled = settle({"posenet": PRESETS[preset]}, config, assignments, flags)["posenet"]
    start = given["--pretrained"]
    return PoseNetPlan(
        *target_specs(given, data_root),
        body=_body_name(given["--body"] or DEFAULT_BODY),
        posenet=settled,
        pretrained=None if start is None else str(start.resolve()),
    )


def plan_of_posenet_run(run: RunDirectory) -> PoseNetPlan:
    """The plan that a run was made by; CheckpointError if a part is missing or wrong."""
    from adaptpose.cli.specs import spec_from_dict
    from adaptpose.config import config_from_dict
    from adaptpose.posenet_run_config import PoseNetRunConfig

    where, values = f"{run.path}/run.json", run.config
    try:
        test = values["test"]
        return PoseNetPlan(
            target=spec_from_dict(values["target"], f"{where}, target"),
            test=None if test is None else spec_from_dict(test, f"{where}, test"),
            body=str(values["body"]),
            posenet=config_from_dict(PoseNetRunConfig, values["posenet"], "posenet."),
            pretrained=values["pretrained"],
        )
    except KeyError as error:
        raise CheckpointError(f"{where}: no {error} in the configuration of the run") from error


def _stages(text: str | None) -> str | None:
    """The stages of --steps, without spaces; ConfigError for an unknown one."""
    from adaptpose.posenet_run_config import STAGES

    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in STAGES:
            raise ConfigError(f"--steps: {unknown_name_message('stage', word, STAGES)}")
    if words != [stage for stage in STAGES if stage in words] or not words:
        wanted = f"some of {','.join(STAGES)} in this order"
        raise ConfigError(f"--steps: expected {wanted}, got '{text}'")
    return ",".join(words)


def _body_name(body: str) -> str:
    """A body's name; a file's path made absolute, so that a run can be resumed from anywhere."""
    return str(Path(body).resolve()) if Path(body).suffix else body
