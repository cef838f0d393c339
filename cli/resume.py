"""What commands that can be resumed have in common."""

from typing import TYPE_CHECKING, Any

from adaptpose.cli.console import notice
from adaptpose.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from adaptpose.rundir import RunDirectory, RunKind
else:
    RunDirectory = RunKind = Any


def refuse_with_resume(options: dict[str, Any]) -> None:
    """Raise ConfigError if options that a run has settled are given beside --resume.

    `options` are values by flag, e.g. {"--epochs": 3}; None means not given.
    """
    given = [flag for flag, value in options.items() if value not in (None, [])]
    if given:
        raise ConfigError(
            f"--resume: a run goes on with its own settings, but {', '.join(given)} came with it "
            "(fix: leave that out, or begin a new run)"
        )


def refuse_flags(options: dict[str, Any], where: str, fix: str = "leave that out") -> None:
    """Raise ConfigError if options that mean nothing in a place are given; None: not given."""
    given = [flag for flag, value in options.items() if value not in (None, [])]
    if given:
        raise ConfigError(f"{', '.join(given)}: means nothing to {where} (fix: {fix})")


def check_resumable(run: RunDirectory, kind: RunKind) -> None:
    """Raise CheckpointError unless a run is of a kind and not yet complete."""
    if run.kind != kind:
        fix = f"adapt {run.kind} --resume"
        raise CheckpointError(f"{run.path}: expected a {kind} run, got a {run.kind} (fix: {fix})")
    if run.done:
        raise CheckpointError(f"{run.path}: the run is complete (fix: begin a new run)")


def check_same_data(run: RunDirectory, fingerprints: dict[str, str]) -> None:
    """Raise CheckpointError if a run's datasets are not those that it began with."""
    from adaptpose.store import read_json

    began = read_json(run.path / "provenance.json", "the run's provenance")["datasets"]
    changed = changed_roles(began, fingerprints, f"{run.path}: the run")
    if changed:
        raise CheckpointError(
            f"{run.path}: the data of {', '.join(changed)} is not what the run began with "
            "(fix: restore the data, or begin a new run)"
        )


def changed_roles(began: dict[str, str], now: dict[str, str], thing: str) -> list[str]:
    """Roles whose data is not what a thing began with, by the marks of `datasets/fingerprints.py`.

    Marks of versions that had no tolerance cannot be compared: that is said, and they pass.
    """
    from adaptpose import distributed
    from adaptpose.datasets.fingerprints import agreement

    found = {role: agreement(began.get(role), mark) for role, mark in now.items()}
    unknown = [role for role, word in found.items() if word == "unknown"]
    if unknown and distributed.rank() == 0:
        notice(
            f"{thing} was begun by an older version, whose marks of data cannot be compared: "
            f"whether {', '.join(unknown)} is the same is not known"
        )
    return [role for role, word in found.items() if word == "changed"]
