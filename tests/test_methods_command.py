"""`adapt fit --method`: every method from end to end, its settings, what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stick_figure import walking_motion
from test_cli import adapt, fails

from adaptpose import distributed
from adaptpose.cli.bench_rows import BUDGETS, ROWS, parse_row, row_settings
from adaptpose.cli.methods import DEFAULT, NAMES, adversarial_config, check_method
from adaptpose.clips import PoseData
from adaptpose.config import FitConfig
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.rigs import STUDIO, SURROUND, film
from adaptpose.errors import ConfigError
from adaptpose.lifters import load_lifter
from adaptpose.rounds_config import METHODS
from adaptpose.rundir import RunDirectory, open_run
from adaptpose.skeleton import H36M_17

TINY = ("--threads", "1", "--epochs", "2", "--set", "rounds.steps_per_epoch=3", "--set",
        "rounds.batch_size=64", "--set", "rounds.epochs_per_round=1")  # fmt: skip
BEFORE = ("--channels", "16", "--widths", "3,3", "--pretrain-epochs", "1", "--pretrain-windows",
          "256", "--set", "pretrain.batch_size=128", "--threads", "1")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[str, ...]:
    """Options for a source and a target of walks in files."""
    folder = tmp_path_factory.mktemp("data")
    for name, rig, speed in (("source", STUDIO, 1.0), ("target", SURROUND, 1.4)):
        clips = tuple(film([walking_motion(60, speed, take=name)], rig, seed=0))[:3]
        write_dataset(PoseData(name, H36M_17, clips, synthetic=True), folder / f"{name}.npz")
    source, target = folder / "source.npz", folder / "target.npz"
    return ("--source", str(source), "--target", str(target), "--test", str(target))


@pytest.fixture(scope="module")
def lifter(data, tmp_path_factory) -> Path:
    """A tiny lifter of the source, from a run that was only continued."""
    out = tmp_path_factory.mktemp("runs") / "first"
    result = adapt("fit", *data, *TINY, *BEFORE, "--method", "continue", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    return out / "source_lifter.safetensors"


def fit(data, lifter: Path, method: str, out: Path, *more: str) -> dict[str, Any]:
    result = adapt("fit", *data, *TINY, "--pretrained", lifter, "--method", method, "--out", out,
                   "--json", *more)  # fmt: skip
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


WARM = {"full": ("--set", "rounds.warmup_epochs=1")}


@pytest.mark.parametrize("method", [*METHODS, "viewpoint+selftrain"])
def test_every_method_runs_from_end_to_end(data, lifter, tmp_path, method):
    found = fit(data, lifter, method, tmp_path / "run", *WARM.get(method, ()))
    assert list(found["evaluations"]) == ["source-only", "adapted"]
    assert found["test_set_pick"]["epoch"] in (1, 2)
    run = open_run(tmp_path / "run")
    assert run.done
    assert run.config["method"] == method
    assert run.config["rounds"]["batch_size"] == 64
    assert "fit" not in run.config
    adapted, meta = load_lifter(run.path / "lifter.safetensors")
    start, _ = load_lifter(run.path / "source_lifter.safetensors")
    assert meta["normalisation"] == "screen"
    same = [
        torch.equal(a, b) for a, b in zip(adapted.parameters(), start.parameters(), strict=True)
    ]
    assert all(same) if method == "bn" else not any(same)


ADVERSARIES = ("--threads", "1", "--epochs", "2", "--samples-per-epoch", "128", "--set",
               "fit.batch_size=32", "--set", "fit.sections=2", "--set", "fit.warmup_epochs=1",
               "--set", "discriminator.pool_size=64", "--set", "generator.hidden=16")  # fmt: skip


@pytest.mark.parametrize(
    ("method", "start"),
    [("augment+adaptpose", "wide"), (" adaptpose + viewpoint", "viewpoint")],
)
def test_adversaries_on_top_of_another_method(data, lifter, tmp_path, method, start):
    out = tmp_path / "run"
    result = adapt("fit", *data, *ADVERSARIES, "--pretrained", lifter, "--method", method,
                   "--out", out, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    run = open_run(out)
    assert run.done
    assert (run.config["method"], run.config["fit"]["start"]) == (method, start)
    assert "rounds" not in run.config
    assert all(record["usable_start"] > 0 for record in run.records())
    assert "the run is complete" in fails("fit", "--resume", out)
    said = fails("generate", "--run", out, "--n", "10", "--out", tmp_path / "g")
    assert f"got fit.start '{start}' (fix: a run of --method adaptpose)" in said
    assert not (tmp_path / "g").exists()


def test_a_stopped_run_of_adversaries_goes_on(data, lifter, tmp_path, monkeypatch):
    def stop_after_the_first(run: RunDirectory, state: dict[str, Any]) -> None:
        save(run, state)
        raise KeyboardInterrupt

    arguments = ("fit", *data, *ADVERSARIES, "--pretrained", lifter, "--method",
                 "viewpoint+adaptpose", "--out")  # fmt: skip
    assert adapt(*arguments, tmp_path / "whole").exit_code == 0
    save = RunDirectory.save_state
    monkeypatch.setattr(RunDirectory, "save_state", stop_after_the_first)
    assert adapt(*arguments, tmp_path / "run").exit_code == 130
    monkeypatch.undo()
    assert adapt("fit", "--resume", tmp_path / "run", "--threads", "1").exit_code == 0
    whole, resumed = (tmp_path / name / "lifter.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_row_of_adversaries_on_another_method_makes_the_steps_of_the_plain_one():
    for method, start in (("augment+adaptpose", "wide"), ("adaptpose+viewpoint", "viewpoint")):
        for budget in BUDGETS.values():
            plain = row_settings(ROWS["adaptpose"], budget, 3)
            assert isinstance(plain, FitConfig)
            assert plain.start == "source"
            found = row_settings(parse_row(f"both={method}"), budget, 3)
            assert found == dataclasses.replace(plain, start=start)
    changed = row_settings(parse_row("both=augment+adaptpose start_share=0.1"), budget, 0)
    assert isinstance(changed, FitConfig)
    assert changed.start_share == 0.1
    for text, message in (
        ("both=selftrain+adaptpose", "--row both: --method: expected 'adaptpose' alone, or with"),
        ("both=augment+adaptpose start=source", "--row both: fit.start: expected 'wide'"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_row(text)


def test_tables_at_the_end(data, lifter, tmp_path):
    result = adapt("fit", *data, *TINY, "--pretrained", lifter, "--method", "continue", "--out",
                   tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("source-only", "adapted", "test-set pick"):
        assert text in result.stdout
    assert "adapt report --run" in result.stderr


def test_a_stopped_run_goes_on_to_the_same_weights(data, lifter, tmp_path, monkeypatch):
    def stop_after_the_first(run: RunDirectory, state: dict[str, Any]) -> None:
        save(run, state)
        if state.get("epoch") == 1:
            raise KeyboardInterrupt

    fit(data, lifter, "selftrain", tmp_path / "whole")
    save = RunDirectory.save_state
    monkeypatch.setattr(RunDirectory, "save_state", stop_after_the_first)
    arguments = ("--pretrained", lifter, "--method", "selftrain", "--out", tmp_path / "run")
    assert adapt("fit", *data, *TINY, *arguments).exit_code == 130
    monkeypatch.undo()
    said = fails("fit", "--resume", tmp_path / "run", "--method", "augment")
    assert "a run goes on with its own settings, but --method came" in said
    result = adapt("fit", "--resume", tmp_path / "run", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    whole, resumed = (tmp_path / name / "lifter.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()
    assert "the run is complete" in fails("fit", "--resume", tmp_path / "run")


def test_settings_come_from_file_set_and_flags(data, lifter, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"rounds": {"learning_rate": 0.01, "strides": [1, 3]}}))
    fit(data, lifter, "continue", tmp_path / "run", "--config", str(file), "--seed", "5",
        "--set", "average_decay=0.5")  # fmt: skip
    config = open_run(tmp_path / "run").config
    assert config["rounds"]["learning_rate"] == 0.01
    assert config["rounds"]["average_decay"] == 0.5
    assert (config["rounds"]["epochs"], config["rounds"]["seed"]) == (2, 5)
    assert config["rounds"]["strides"] == [1, 3]
    assert config["pretrain"]["seed"] == 5
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["seed"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "augmnt"), "--method: unknown method 'augmnt'; did you mean 'augment'?"),
        (("--method", "bn+augment"), "--method: 'bn' stands alone, got bn+augment"),
        (("--method", "adaptpose+selftrain"), "'adaptpose' alone, or with augment or viewpoint"),
        (("--method", "augment+viewpoint+adaptpose"), "(fix: augment+adaptpose or viewpoint+"),
        (
            ("--method", "augment+adaptpose", "--set", "start=source"),
            "expected 'wide', as --method",
        ),
        (
            ("--method", "augment+adaptpose", "--set", "rounds.epochs=2", "--set", "shares.wide=1"),
            "--set rounds.epochs, --set shares.wide: means nothing to --method augment+adaptpose "
            "(fix: --method full)",
        ),
        (("--method", "viewpoint+adaptpose", "--set", "start_epochs=0"), "fit.start_epochs: exp"),
        (
            ("--samples-per-epoch", "1000", "--set", "fit.sections=2", "--set", "generator.bons=x"),
            "adapt fit: --samples-per-epoch, --set fit.sections, --set generator.bons: means "
            "nothing to full, the default method (fix: --method adaptpose, or --set rounds.steps_",
        ),
        (
            ("--method", "augment", "--samples-per-epoch", "1000"),
            "--samples-per-epoch: means nothing to --method augment (fix: --method adaptpose, or "
            "--set rounds.steps_per_epoch=100)\n",
        ),
        (("--method", "augment", "--set", "rounds.shares.wide=0.5"), "expected a sum of 1"),
        (
            ("--method", "augment", "--set", "fit.sections=2"),
            "--set fit.sections: means nothing to --method augment (fix: --method adaptpose)\n",
        ),
        (
            ("--method", "adaptpose", "--set", "rounds.epochs=2"),
            "--set rounds.epochs: means nothing to --method adaptpose (fix: --method full)\n",
        ),
        (("--set", "sections=2"), "--set sections: means nothing to full, the default method"),
        (("--set", "rounds.sections=2"), "unknown setting 'rounds.sections'"),
        (("--set", "lifter.bons=2"), "unknown setting 'lifter.bons'"),
        (("--epochs", "1"), "--set rounds.warmup_epochs=0"),
        (("--preset", "cpu"), "--preset: means nothing to full, the default method (fix: --met"),
    ],
)
def test_what_is_refused_before_work(data, tmp_path, arguments, message):
    out = tmp_path / "run"
    assert message in fails("fit", *data, *arguments, "--out", out)
    assert not out.exists()


def test_settings_of_other_methods_are_found_in_files(data, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"fit": {"generator": {"bones": "bg1"}}, "lifter": {"channels": 8}}))
    said = fails("fit", *data, "--config", file, "--out", tmp_path / "run")
    assert f"--config {file}: fit.generator.bones: means nothing to full, the default" in said
    assert not (tmp_path / "run").exists()


def test_the_default_method_is_full_and_a_config_may_say_how(data, lifter, tmp_path):
    arguments = ("--pretrained", lifter, "--set", "shares.wide=0.1", "--set", "shares.replay=0.65")
    result = adapt("fit", *data, *TINY, *arguments, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.output
    config = open_run(tmp_path / "run").config
    assert config["method"] == "full"
    assert config["rounds"]["shares"]["replay"] == 0.65
    assert config["rounds"]["refinement"] == METHODS["full"].refinement


def test_several_processes_are_refused_before_work(data, lifter, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    out = tmp_path / "run"
    text = fails("fit", *data, "--pretrained", lifter, "--method", "augment", "--out", out)
    assert "only adaptpose can be shared by several processes, got 2 (fix: --method ada" in text
    assert not out.exists()


@pytest.mark.slow
def test_a_report_can_be_written_and_nothing_generated(data, lifter, tmp_path):
    fit(data, lifter, "continue", tmp_path / "run")
    result = adapt("report", "--run", tmp_path / "run", "--examples", "1", "--threads", "1")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "continue, 2 epochs" in text
    said = fails("generate", "--run", tmp_path / "run", "--n", "10", "--out", tmp_path / "g")
    assert "it films nobody anew: rounds.shares: expected a share of wide" in said


def test_names_of_methods():
    assert NAMES[:2] == (DEFAULT, "adaptpose")
    assert sorted(NAMES) == sorted({"adaptpose", *METHODS, "posenet3d"})
    assert check_method("adaptpose") is None
    assert check_method("full") == METHODS["full"]
    assert check_method("augment+adaptpose") is None
    assert adversarial_config("adaptpose") == FitConfig()
    assert adversarial_config("viewpoint+adaptpose+viewpoint") == FitConfig(start="viewpoint")
    with pytest.raises(ConfigError):
        check_method("")


def test_an_oracle_can_be_asked_for(data, lifter, tmp_path):
    found = fit(data, lifter, "continue", tmp_path / "run", "--oracle", "1", "--set",
                "pretrain.windows_per_epoch=128", "--set", "pretrain.batch_size=64")  # fmt: skip
    assert list(found["evaluations"]) == ["source-only", "adapted", "oracle"]
