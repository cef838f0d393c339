"""Ablations: the table of rows, shared runs, resumption, and the layout of what comes out."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from stick_figure import walking_motion
from typer.testing import CliRunner, Result

from adaptpose.cli import ablation_rows
from adaptpose.cli.ablate import parse_seeds
from adaptpose.cli.ablation_rows import TABLES, Row, chosen_tables, distinct_rows, run_name
from adaptpose.cli.ablation_study import Study, find_study
from adaptpose.cli.ablation_tables import markdown, table_lines, table_texts, table_title
from adaptpose.cli.experiment import Plan
from adaptpose.cli.main import build_app
from adaptpose.clips import PoseData
from adaptpose.config import FitConfig, LifterConfig, PretrainConfig, check_config
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.registry import DatasetSpec
from adaptpose.datasets.rigs import STUDIO, film
from adaptpose.errors import CheckpointError, ConfigError
from adaptpose.rundir import RunDirectory, open_run
from adaptpose.skeleton import H36M_17

ALL = tuple(TABLES)
ROWS = [row for table in TABLES.values() for row in table.rows]


def adapt(*arguments: str | Path) -> Result:
    """The outcome of `adapt` in this process."""
    environment = {"COLUMNS": "200", "ADAPT_CACHE": ""}
    return CliRunner().invoke(build_app(), [str(a) for a in arguments], env=environment)


def fails(*arguments: str | Path) -> str:
    """What a command that the user can mend says, on stderr alone."""
    result = adapt("ablate", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_a_possible_configuration(row: Row):
    config = row.fit_config(FitConfig())
    assert (config is not None) == row.adapted
    if config is not None:
        check_config(config)
    if not row.adapted:
        assert not row.changes


def test_rows_fit_their_tables():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for table in TABLES.values():
        for row in table.rows:
            assert len(row.cells) == len(table.columns)
            assert set(row.paper) in (set(), set(table.metrics))


def test_rows_without_a_part_have_none_of_it():
    rows = {row.cells[0]: row for row in TABLES["5"].rows}
    for row in list(rows.values())[1:]:
        config = row.fit_config(FitConfig())
        assert config is not None
        marks = {
            "BG": config.generator.bones != "none" and config.generator.lengths,
            "Cam": config.generator.camera != "none",
            "DD": config.discriminator.real_2d == "target",
            "Select": config.selection.hardness,
        }
        assert ["x" if there else "" for there in marks.values()] == list(row.cells[1:])
        assert config.selection.screen


def test_equal_configurations_share_a_run():
    base = FitConfig()
    by_name = {row.name: run_name(row, base) for row in ROWS}
    shared = {name for name, run in by_name.items() if run == "AdaptPose"}
    assert shared == {"AdaptPose", "BG3", "probabilistic-axis_angle", "window", "ours"}
    assert by_name["window-source"] == "Baseline"
    assert len(distinct_rows(("5", "6", "7", "8"), base)) == 14
    # What is shared follows from the settings, not from the rows' names.
    other = dataclasses.replace(
        base, generator=dataclasses.replace(base.generator, bones="bg1"), mixing="sequential"
    )
    assert run_name(TABLES["6"].rows[0], other) == "AdaptPose"
    assert run_name(TABLES["6"].rows[2], other) == "BG3"
    assert len(distinct_rows(("fixes",), other)) == len(TABLES["fixes"].rows) - 1


def test_run_names_do_not_depend_on_the_tables_asked_for():
    base = FitConfig()
    every = distinct_rows(ALL, base)
    for name in ALL:
        assert set(distinct_rows((name,), base)) <= set(every)


def test_names_of_tables_and_seeds():
    assert chosen_tables("8, 5,5") == ("5", "8")
    with pytest.raises(ConfigError, match=r"--tables: unknown table '9' .*known: 5, 6, 7, 8, fix"):
        chosen_tables("5,9")
    with pytest.raises(ConfigError, match="unknown table 'fixs'; did you mean 'fixes'"):
        chosen_tables("fixs")
    with pytest.raises(ConfigError, match="--tables: expected names of tables"):
        chosen_tables(" ,")
    assert parse_seeds("2, 0,2") == (2, 0)
    for text in ("", "1.5", "-1", "a"):
        with pytest.raises(ConfigError, match="--seeds: expected whole numbers between commas"):
            parse_seeds(text)


def _study(path: Path, seeds: tuple[int, ...], tables: tuple[str, ...] = ALL) -> Study:
    spec = DatasetSpec("synthetic-studio")
    plan = Plan(spec, spec, spec, LifterConfig(), PretrainConfig(), FitConfig())
    return Study(path, plan, tables, seeds)


def _results(study: Study) -> dict[str, Any]:
    """Made-up results: 100 + seed for every score, one less for every pick."""
    return {
        task.key: {
            "receptive_field": 1 if task.row.single_frame else 27,
            "folder": f"rows/{task.key}",
            "scores": dict.fromkeys(ablation_rows.METRICS, 100.0 + task.seed),
            "test_set_pick": {"epoch": 1, "mpjpe_mm": 99.0 + task.seed, "pmpjpe_mm": 98.0}
            if task.row.adapted
            else None,
        }
        for task in study.tasks()
    }


def test_layout_of_the_tables(tmp_path):
    study = _study(tmp_path, (1, 3))
    results = _results(study)
    header, rows = table_texts("5", table_lines("5", study, results))
    assert header[:7] == ["Index", "BG", "Cam", "DD", "Select", "PMPJPE (mm)", "MPJPE (mm)"]
    assert header[7:9] == ["test-set pick: PMPJPE (mm)", "test-set pick: MPJPE (mm)"]
    assert header[9:] == [
        "paper, H3.6M -> 3DHP: PMPJPE (mm)", "paper, H3.6M -> 3DHP: MPJPE (mm)"
    ]  # fmt: skip
    spread = f"102.0 ± {math.sqrt(2):.1f}"
    assert rows[0] == ["Baseline", *[""] * 4, spread, spread, "", "", "66.5", "96.4"]
    assert rows[5][:7] == ["A5", "x", "x", "x", "", spread, spread]
    assert rows[5][7:] == ["98.0 ± 0.0", "101.0 ± 1.4", "54.0", "78.6"]
    header, rows = table_texts("8", table_lines("8", study, results))
    assert [row[:2] for row in rows] == [
        ["1 frame", "source-only"], ["1 frame", "adapted"],
        ["27 frames", "source-only"], ["27 frames", "adapted"],
    ]  # fmt: skip
    assert header[2:6] == ["PCK (%)", "AUC (%)", "MPJPE (mm)", "test-set pick: MPJPE (mm)"]
    assert rows[3][-3:] == ["88.4", "54.2", "77.2"]
    header, _ = table_texts("fixes", table_lines("fixes", study, results))
    assert not any("paper" in column for column in header)


def test_markdown_has_every_table_whole(tmp_path):
    study = _study(tmp_path, (0,))
    text = markdown(study, _results(study), ["whose: a | b"])
    for name in TABLES:
        assert text.count(f"## {table_title(name)}\n") == 1
    widths = [line.count("|") for line in text.splitlines() if line.startswith("| ")]
    assert len(widths) == len(ROWS) + 2 * len(TABLES)
    assert "one run per row, seed 0" in text
    assert "±" not in text
    assert "- whose: a | b" in text


TINY = ("--channels", "8", "--widths", "3,1", "--pretrain-epochs", "1", "--pretrain-windows", "128",
        "--epochs", "2", "--samples-per-epoch", "32", "--threads", "1",
        "--set", "pretrain.batch_size=64", "--set", "fit.batch_size=16", "--set", "fit.sections=1",
        "--set", "fit.warmup_epochs=1", "--set", "selection.hardness_band=0,1e9",
        "--set", "selection.screen=false", "--set", "selection.min_depth=0.001",
        "--max-clips", "3")  # fmt: skip


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    """A file of two short walks, each filmed by the cameras of a studio."""
    motions = [walking_motion(20, speed, take=str(speed)) for speed in (1.0, 1.4)]
    path = tmp_path_factory.mktemp("data") / "walks.npz"
    write_dataset(PoseData("walks", H36M_17, tuple(film(motions, STUDIO, seed=0)), True), path)
    return path


def _command(walks: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return ("ablate", "--source", walks, "--target", walks, "--test", walks, *TINY, *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, walks) -> dict[str, Any]:
    """Tables 6 and 8 of a tiny budget, never stopped, as the command's JSON says."""
    out = tmp_path_factory.mktemp("whole") / "out"
    result = adapt(*_command(walks, "--tables", "6,8", "--out", out, "--json"))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_an_ablation_runs_every_distinct_row_once(whole):
    folder = Path(whole["folder"])
    rows = {path.name for path in (folder / "rows").iterdir()}
    assert rows == {"BG1-seed0", "BG2-seed0", "AdaptPose-seed0", "single-frame-seed0"}
    assert {path.name for path in (folder / "source").iterdir()} == {"window-seed0", "single-seed0"}
    for name in rows:
        run = open_run(folder / "rows" / name)
        assert run.done
        assert not (run.path / "pretrain").exists()
        assert not (run.path / "state.safetensors").exists()
        source = "single" if name.startswith("single") else "window"
        first = (folder / "source" / f"{source}-seed0" / "source_lifter.safetensors").read_bytes()
        assert (run.path / "source_lifter.safetensors").read_bytes() == first
    bones = {name: open_run(folder / "rows" / name).config["fit"]["generator"] for name in rows}
    assert {g["bones"] for g in bones.values()} == {"bg1", "bg2", "bg3"}


def test_an_ablation_says_its_scores(whole):
    third, window = whole["tables"]["6"][2], whole["tables"]["8"][3]
    assert third["folders"] == window["folders"] == ["rows/AdaptPose-seed0"]
    assert third["scores"]["mpjpe"] == window["scores"]["mpjpe"]
    cells = [line["cells"] for line in whole["tables"]["8"]]
    assert [cell[0] for cell in cells] == ["1 frame", "1 frame", "3 frames", "3 frames"]
    values = {line["scores"]["mpjpe"]["mean"] for line in whole["tables"]["8"]}
    assert len(values) == 4
    run = open_run(Path(whole["folder"]) / "rows" / "AdaptPose-seed0")
    last = run.records()[-1]
    assert third["scores"]["mpjpe"]["mean"] == pytest.approx(last["monitor_mpjpe"], abs=1e-3)
    picked = min(record["monitor_mpjpe"] for record in run.records())
    assert third["test_set_pick"]["mpjpe"]["mean"] == pytest.approx(picked)
    assert "SYNTHETIC" in " ".join(whole["notes"])
    assert (Path(whole["folder"]) / "ablation.md").read_text().startswith("# Ablation: ")


@pytest.mark.parametrize("saves", [1, 3])
def test_a_stopped_ablation_goes_on_to_the_same_figures(whole, walks, tmp_path, monkeypatch, saves):
    count = 0

    def stop_after_some(run: RunDirectory, state: dict[str, Any]) -> None:
        nonlocal count
        save(run, state)
        count += run.kind == "fit"
        if count == saves:
            raise KeyboardInterrupt

    save = RunDirectory.save_state
    monkeypatch.setattr(RunDirectory, "save_state", stop_after_some)
    command = _command(walks, "--tables", "8", "--out", tmp_path / "out")
    assert adapt(*command).exit_code == 130
    monkeypatch.undo()
    done = json.loads((tmp_path / "out" / "ablation.json").read_text())["results"]
    after = {"single-frame-seed0", "Baseline-seed0"} if saves > 2 else set()
    assert set(done) == {"single-source-seed0"} | after
    resumed = adapt("ablate", "--resume", tmp_path / "out", "--json")
    assert resumed.exit_code == 0, resumed.output
    found = json.loads(resumed.stdout)["results"]
    assert len(found) == 4
    assert found == {key: whole["results"][key] for key in found}


def test_finished_rows_are_not_run_again(whole, walks, tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("adapt", "source_lifter", "evaluate"):
        monkeypatch.setattr(f"adaptpose.cli.ablation.{name}", never)
    again = adapt(*_command(walks, "--tables", "6", "--out", whole["folder"]))
    assert again.exit_code == 0, again.output
    assert "Table 6: bone generation" in again.stdout
    assert "Table 8" not in again.stdout
    assert "BG3" in again.stdout
    assert "how to read this" in again.stdout


def test_a_run_half_made_is_made_anew(whole, walks, tmp_path):
    half = tmp_path / "out" / "rows" / "BG1-seed0"
    half.mkdir(parents=True)
    described = Path(whole["folder"]) / "ablation.json"
    content = json.loads(described.read_text())
    del content["results"]["BG1-seed0"]
    (tmp_path / "out" / "ablation.json").write_text(json.dumps(content))
    (half / "run.json").write_text("{}")
    resumed = adapt("ablate", "--resume", tmp_path / "out", "--json")
    assert resumed.exit_code == 0, resumed.output
    found = json.loads(resumed.stdout)["results"]
    assert found["BG1-seed0"] == whole["results"]["BG1-seed0"]


def test_ablations_that_cannot_be(walks, tmp_path):
    field = ("--source", "synthetic-studio", "--target", "synthetic-field")
    assert "unknown table '9'" in fails(*field, "--tables", "9")
    assert "--source: expected the name" in fails("--tables", "5")
    assert "--seeds: expected whole" in fails(*field, "--seeds", "one")
    text = fails("--source", "synthetic-studio", "--target", walks)
    assert "--target: expected a target with a labelled test set" in text
    text = fails(*field, "--tables", "5,8", "--lifter", "mlp")
    assert "--tables 8: expected a lifter of several frames, got one of single frames" in text
    assert "(fix: --seeds)" in fails(*field, "--set", "fit.seed=3")
    assert "--tables, --epochs came with it" in fails(
        "--resume", tmp_path, "--tables", "5", "--epochs", "3"
    )
    assert "no such folder" in fails("--resume", tmp_path / "none")
    (tmp_path / "mine").write_text("x")
    assert "expected an ablation or no folder" in fails(*field, "--out", tmp_path)


def test_another_budget_needs_another_folder(whole, walks):
    arguments = _command(walks, "--tables", "6", "--out", whole["folder"])[1:]
    text = fails(*arguments, "--samples-per-epoch", "64")
    assert "begun with other fit.samples_per_epoch (32, now 64)" in text


def test_damaged_descriptions(tmp_path):
    file = tmp_path / "ablation.json"
    for content, message in (
        ("{", "damaged or not JSON"),
        ("[]", "not the description of an ablation"),
        ('{"format": 9, "settings": {}, "datasets": {}, "results": {}}', "ablation of format 9"),
        ('{"format": 1, "settings": {}, "datasets": {}, "results": {}}', "no settings"),
    ):
        file.write_text(content)
        with pytest.raises(CheckpointError, match=message):
            find_study(tmp_path)
