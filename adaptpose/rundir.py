"""Run directories: enough to evaluate, generate, report and resume without the command line.

    run.json          format version, kind ("pretrain" or "fit"), state, the whole configuration
    provenance.json   version, commit, dataset fingerprints, seed, command, machine
    metrics.jsonl     one record per line
    state.safetensors everything needed to resume (present while the run can be resumed)
    *.safetensors     weights: lifter (the result), source_lifter, generator, ...

A run is found by its directory, or as the latest below a root.
"""

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from adaptpose.errors import CheckpointError, expected_message
from adaptpose.store import read_json, read_state, write_json, write_state
from adaptpose.version import __version__

FORMAT = 1
"""Version of the run directory's layout."""

RunKind = Literal["pretrain", "fit"]


@dataclass(frozen=True)
class RunDirectory:
    """One run on disk."""

    path: Path
    kind: RunKind
    config: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether the run came to its end."""
        return bool(read_json(self.path / "run.json", "the run's description")["done"])

    def finish(self) -> None:
        """Mark the run as complete."""
        _write_description(self, done=True)

    @property
    def metrics_path(self) -> Path:
        """The JSON-lines file of the run's records."""
        return self.path / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to metrics.jsonl."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All records; a half-written last line of a killed run is left out."""
        if not self.metrics_path.is_file():
            return []
        lines = self.metrics_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def save_state(self, state: dict[str, Any]) -> None:
        """Save what a resumed run needs, with the length of the log at this moment."""
        size = self.metrics_path.stat().st_size if self.metrics_path.is_file() else 0
        write_state(self.path / "state.safetensors", {"state": state, "log_bytes": size})

    def load_state(self) -> dict[str, Any] | None:
        """The saved state, with the log cut back to it; None if there is none yet."""
        path = self.path / "state.safetensors"
        stored = read_state(path, "the run's state") if path.is_file() else None
        if self.metrics_path.is_file():
            os.truncate(self.metrics_path, stored["log_bytes"] if stored else 0)
        return stored["state"] if stored else None


def create_run(
    path: Path, kind: RunKind, config: dict[str, Any], provenance: dict[str, Any]
) -> RunDirectory:
    """A new run directory; CheckpointError if the folder already holds something."""
    check_new_folder(path)
    run = RunDirectory(path, kind, config)
    _write_description(run, done=False)
    write_json(path / "provenance.json", provenance)
    return run


def check_new_folder(path: Path) -> None:
    """Raise CheckpointError unless a run can be made in a folder: new or empty, and writable."""
    nearest = next((place for place in (path, *path.parents) if place.exists()), path)
    if not nearest.is_dir():
        got = f"{nearest}, which is a file"
        raise CheckpointError(expected_message(str(path), "a folder", got, "choose another --out"))
    if nearest == path and any(path.iterdir()):
        fix = "choose another --out, or --resume"
        raise CheckpointError(f"{path}: expected a new or empty folder (fix: {fix})")
    if not os.access(nearest, os.W_OK | os.X_OK):
        got = f"no right to write to {nearest}"
        fix = "choose another --out, or --runs"
        raise CheckpointError(expected_message(str(path), "a folder to write to", got, fix))


def open_run(path: Path) -> RunDirectory:
    """An existing run directory; CheckpointError if it is not one, or of a newer version."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run directory (fix: give a run's folder)")
    description = read_json(path / "run.json", "the run's description")
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise CheckpointError(f"{path}/run.json: not the description of a run")
    if description["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: run directory of format {description['format']}, this version reads up to "
            f"{FORMAT} (fix: install a newer adaptpose)"
        )
    kind: Any = description.get("kind")
    config: Any = description.get("config")
    if kind not in get_args(RunKind) or not isinstance(config, dict) or "done" not in description:
        wanted = f"kind ({' or '.join(get_args(RunKind))}), config and done"
        got = ", ".join(f"{key} {value!r:.40}" for key, value in description.items())
        raise CheckpointError(expected_message(f"{path}/run.json", wanted, got))
    return RunDirectory(path, kind, config)


def latest_run(root: Path, kind: RunKind) -> RunDirectory:
    """The run of a kind below `root` that was made last; CheckpointError if there is none."""
    found = []
    for description in root.glob("*/run.json"):
        run = open_run(description.parent)
        if run.kind == kind:
            made = (description.parent / "provenance.json").stat().st_mtime_ns
            found.append((made, run.path.name, run))
    if not found:
        raise CheckpointError(f"{root}: no {kind} run below it (fix: --run, or `adapt {kind}`)")
    return max(found, key=lambda item: item[:2])[2]


def new_run_path(root: Path, kind: RunKind, name: str) -> Path:
    """A fresh folder name below `root`: time, kind and a name."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    path = root / f"{stamp}-{kind}-{name}"
    count = 1
    while path.exists():
        count += 1
        path = root / f"{stamp}-{kind}-{name}-{count}"
    return path


def provenance(
    command: list[str], seed: int, fingerprints: dict[str, str], device: str
) -> dict[str, Any]:
    """What made a run: versions, commit, data fingerprints, seed, command, machine kind."""
    return {
        "adaptpose": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "seed": seed,
        "datasets": fingerprints,
    }


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _write_description(run: RunDirectory, done: bool) -> None:
    description = {"format": FORMAT, "kind": run.kind, "done": done, "config": run.config}
    write_json(run.path / "run.json", description)
