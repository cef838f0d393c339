"""The command line: exit codes, one message per failure, and small runs from end to end."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from stick_figure import walking_motion
from typer.testing import CliRunner, Result

from adaptpose.cli.evaluate import default_spec
from adaptpose.cli.failures import guarded
from adaptpose.cli.main import COMMANDS, build_app
from adaptpose.cli.specs import new_spec, spec_to_dict
from adaptpose.clips import PoseData
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.rigs import STUDIO, film
from adaptpose.errors import ConfigError
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.skeleton import H36M_17
from adaptpose.version import __version__


def adapt(*arguments: str | Path) -> Result:
    """The outcome of `adapt` in this process, in an interpreter whose columns are wide."""
    return CliRunner().invoke(
        build_app(), [str(a) for a in arguments], env={"COLUMNS": "200", "ADAPT_CACHE": ""}
    )


def fails(*arguments: str | Path) -> str:
    """What a command that the user can mend says: on stderr, with exit code 2, nothing else."""
    result = adapt(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_help_names_every_command_with_a_sentence():
    text = adapt("--help").stdout
    for name, function in COMMANDS:
        assert name in text
        assert (function.__doc__ or "").strip().endswith(".")
        assert adapt(name, "--help").exit_code == 0


def test_version():
    assert adapt("--version").stdout.strip() == f"adaptpose {__version__}"


def test_usage_errors_exit_with_2_and_name_the_nearest():
    assert "Did you mean 'pretrain'" in fails("pretrian")
    assert "--epochs" in fails("pretrain", "--epoch", "3")
    assert "valid integer" in fails("pretrain", "--epochs", "many")


def test_a_process_gives_the_same_exit_code(tmp_path):
    command = [sys.executable, "-c", "from adaptpose.cli.main import main; main()", "eval"]
    run = subprocess.run(
        [*command, "--run", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"adapt eval: {tmp_path}/none: no such run directory")


def _outcome(error: BaseException) -> Result:
    def command() -> None:
        """Fail."""
        raise error

    application = typer.Typer(pretty_exceptions_enable=False)
    application.command("fit")(guarded("fit", command))
    return CliRunner().invoke(application, [])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("--x: bad"), 2, "adapt fit: --x: bad\n"),
        (KeyboardInterrupt(), 130, "adapt fit: stopped; go on with --resume\n"),
        (MemoryError(), 2, "adapt fit: out of memory (fix: a smaller batch size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), 2, "out of memory"),
        (OSError(errno.ENOSPC, "No space left", "run/x"), 2, "run/x: no space left (fix: free"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission denied"),
    ],
)
def test_failures_become_messages(error, code, message):
    result = _outcome(error)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("shape"), OSError("odd")])
def test_faults_of_the_program_keep_their_traceback(error):
    result = _outcome(error)
    assert result.exception is error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "adapt pretrain: --source: expected the name of a dataset, got none (fix: --source"),
        (["--source", "synthetic-studo"], "did you mean 'synthetic-studio'?"),
        (["--source", "synthetic-studio", "--rig", "studoi"], "did you mean 'studio'?"),
        (["--source", "synthetic-studio", "--windows", "lots"], "--windows: expected a whole"),
        (["--source", "synthetic-studio", "--widths", "3,4"], "lifter.widths: expected odd"),
        (["--source", "synthetic-studio", "--set", "epoch=3"], "did you mean 'pretrain.epochs'"),
        (["--source", "synthetic-studio", "--normalisation", "scren"], "did you mean 'screen'?"),
        (["--source", "synthetic-studio", "--device", "gpu"], "--device gpu: expected auto, cpu"),
        (["--source", "nowhere.npz"], "nowhere.npz"),
        (["--resume", "nowhere"], "adapt pretrain: nowhere: no such run directory"),
        (["--resume", "x", "--epochs", "3", "--rig", "ptz"], "but --epochs, --rig came with it"),
    ],
)
def test_pretrain_refuses_before_it_works(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    last_line = fails("pretrain", *arguments).splitlines()[-1]
    assert message in last_line
    assert last_line.startswith("adapt pretrain: ")
    assert list(tmp_path.iterdir()) == []


def test_resume_refuses_other_and_complete_runs(tmp_path):
    fit = create_run(tmp_path / "fit", "fit", {}, {})
    assert "expected a pretrain run, got a fit" in fails("pretrain", "--resume", fit.path)
    done = create_run(tmp_path / "done", "pretrain", {}, {})
    done.finish()
    assert "the run is complete" in fails("pretrain", "--resume", done.path)


def test_eval_says_what_is_missing(tmp_path):
    assert "no pretrain run below it" in fails("eval", "--runs", tmp_path)
    assert "unknown metric 'mpjp'; did you mean 'mpjpe'?" in fails("eval", "--metric", "mpjp")
    assert "expected one of them" in fails("eval", "--run", "a", "--lifter", "b")
    assert "expected --dataset with it" in fails("eval", "--lifter", tmp_path / "x.safetensors")
    run = create_run(tmp_path / "new", "pretrain", {"source": {"name": "synthetic-studio"}}, {})
    assert "the run has no lifter yet" in fails("eval", "--run", run.path)
    broken = create_run(tmp_path / "broken", "pretrain", {"source": {"nam": 3}}, {})
    assert "expected the description of a dataset" in fails("eval", "--run", broken.path)


def test_datasets_as_json_and_as_tables(tmp_path):
    found = json.loads(adapt("datasets", "--data-root", tmp_path, "--json").stdout)
    by_name = {entry["name"]: entry for entry in found["datasets"]}
    assert by_name["synthetic-studio"]["found"] == "built in"
    assert by_name["cmu"]["found"] is None
    assert "studio" in {rig["name"] for rig in found["rigs"]}
    (tmp_path / "cmu").mkdir()
    assert str(tmp_path / "cmu") in adapt("datasets", "--data-root", tmp_path).stdout


def test_noise_fit_names_the_missing_session(tmp_path):
    assert "adapt noise-fit: " in fails("noise-fit", tmp_path / "none")


TINY = ("--channels", "16", "--windows", "512", "--set", "pretrain.batch_size=128", "--widths",
        "3,3", "--threads", "1", "--epochs", "2")  # fmt: skip


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    """A file of two walks, each filmed by the four cameras of a studio."""
    motions = [walking_motion(60, speed, take=str(speed)) for speed in (1.0, 1.4)]
    clips = tuple(film(motions, STUDIO, seed=0))
    path = tmp_path_factory.mktemp("data") / "walks.npz"
    write_dataset(PoseData("walks", H36M_17, clips, synthetic=True), path)
    return path


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory, walks) -> dict[str, Any]:
    """A tiny pretraining made by the command, as its JSON says."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = adapt("pretrain", "--source", walks, *TINY, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_pretrain_leaves_a_run_that_explains_itself(tiny_run, walks):
    run = open_run(Path(tiny_run["run"]))
    assert run.done
    assert run.config["source"]["name"] == str(walks)
    assert "cache_dir" not in run.config["source"]
    assert (run.config["lifter"]["channels"], run.config["pretrain"]["epochs"]) == (16, 2)
    assert run.config["normalisation"] == "screen"
    made_by = json.loads((run.path / "provenance.json").read_text())
    assert re.fullmatch("[0-9a-f]{16}:([0-9a-f]{4})+", made_by["datasets"]["source"])
    assert Path(tiny_run["lifter"]).is_file()
    assert len(run.records()) == 2


def test_a_stopped_run_goes_on_to_the_same_weights(tiny_run, walks, tmp_path, monkeypatch):
    def stop_after_the_first(run: RunDirectory, state: dict[str, Any]) -> None:
        save(run, state)
        if state["epoch"] == 1:
            raise KeyboardInterrupt

    save = RunDirectory.save_state
    monkeypatch.setattr(RunDirectory, "save_state", stop_after_the_first)
    stopped = adapt("pretrain", "--source", walks, *TINY, "--out", tmp_path / "run")
    assert stopped.exit_code == 130
    assert stopped.stderr.endswith("adapt pretrain: stopped; go on with --resume\n")
    monkeypatch.undo()
    text = fails("eval", "--run", tmp_path / "run")
    assert "has no lifter yet" in text
    resumed = adapt("pretrain", "--resume", tmp_path / "run", "--json")
    assert resumed.exit_code == 0, resumed.output
    found = Path(json.loads(resumed.stdout)["lifter"]).read_bytes()
    assert found == Path(tiny_run["lifter"]).read_bytes()


def test_pretrain_does_not_write_over_a_run(tiny_run, walks):
    text = fails("pretrain", "--source", walks, *TINY, "--out", tiny_run["run"])
    assert "expected a new or empty folder" in text


def test_eval_of_a_run_in_all_forms(tiny_run, tmp_path):
    arguments = ("eval", "--run", tiny_run["run"], "--max-clips", "3")
    found = json.loads(adapt(*arguments, "--json", "--csv", tmp_path / "all.csv").stdout)
    assert found["dataset"]["split"] == "test"
    (evaluation,) = found["evaluations"]
    assert evaluation["synthetic"] is True
    variants = {row["variant"] for row in evaluation["rows"]}
    assert variants == {"raw", "scale-aligned", "tta"}
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert lines[0].startswith("lifter,dataset,synthetic,variant,action,metric,value")
    assert len(lines) == 1 + len(evaluation["rows"])
    text = adapt(*arguments, "--metric", "pmpjpe").stdout
    assert "SYNTHETIC" in text
    assert "pmpjpe (mm)" in text
    assert "mpjpe (mm) " not in text.replace("pmpjpe", "")


def test_eval_of_a_lifter_file_gives_the_same_figures(tiny_run, walks):
    data = ("--dataset", walks, "--max-clips", "3", "--metric", "mpjpe", "--json")
    by_file = json.loads(adapt("eval", "--lifter", tiny_run["lifter"], *data).stdout)
    by_run = json.loads(adapt("eval", "--run", tiny_run["run"], *data).stdout)
    assert by_file["evaluations"][0]["rows"] == by_run["evaluations"][0]["rows"]


def test_resume_refuses_changed_data(tmp_path, tiny_run):
    run = open_run(Path(tiny_run["run"]))
    began = {"datasets": {"source": "other", "validation": "other"}}
    stopped = create_run(tmp_path / "stopped", "pretrain", run.config, began)
    assert "is not what the run began with" in fails("pretrain", "--resume", stopped.path)


def test_resume_takes_the_marks_of_older_versions_and_says_so(tmp_path, tiny_run):
    run = open_run(Path(tiny_run["run"]))
    roles = json.loads((run.path / "provenance.json").read_text())["datasets"]
    began = {"datasets": dict.fromkeys(roles, "0123456789abcdef")}
    stopped = create_run(tmp_path / "stopped", "pretrain", run.config, began)
    result = adapt("pretrain", "--resume", stopped.path)
    assert result.exit_code == 0, result.output
    assert "begun by an older version, whose marks of data cannot be compared" in result.stderr


def test_a_fit_is_scored_on_the_test_set_it_was_given(tmp_path):
    target, test = new_spec("synthetic-field"), new_spec("synthetic-studio", split="test")
    plan = {"target": spec_to_dict(target), "test": spec_to_dict(test)}
    given = create_run(tmp_path / "given", "fit", plan, {})
    assert default_spec(given, None).name == "synthetic-studio"
    own = create_run(tmp_path / "own", "fit", {**plan, "test": None}, {})
    assert (default_spec(own, None).name, default_spec(own, None).split) == (target.name, "test")
