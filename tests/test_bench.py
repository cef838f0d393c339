"""The open benchmark: its tables of tasks and rows, resumption, arithmetic and what comes out."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from stick_figure import walking_motion
from typer.testing import CliRunner, Result

from adaptpose.cli import bench_figures, bench_rows, bench_runs, bench_sources, bench_tasks
from adaptpose.cli.bench import seed_numbers
from adaptpose.cli.bench_figures import curves_figure, gap_figure
from adaptpose.cli.bench_results import choice_of, closed, lines_of, spearman, summary
from adaptpose.cli.bench_rows import BUDGETS, ROWS, Budget, chosen_rows, parse_row, row_settings
from adaptpose.cli.bench_study import plain, same_settings
from adaptpose.cli.bench_tables import markdown
from adaptpose.cli.bench_tasks import TASKS, BenchTask, settings_of, widths_of
from adaptpose.cli.main import build_app
from adaptpose.clips import PoseData
from adaptpose.config import LifterConfig
from adaptpose.datasets.corpora import SPLIT_SUBJECTS
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.registry import DatasetSpec, open_dataset
from adaptpose.datasets.rigs import STUDIO, SURROUND, film, rig_by_name
from adaptpose.errors import ConfigError
from adaptpose.lifters import load_lifter
from adaptpose.rounds_config import RoundsConfig
from adaptpose.rundir import RunDirectory, open_run
from adaptpose.skeleton import H36M_17

TINY = Budget("tiny", 2, 2, 32, 1, 64, 0.9)
SOURCE = "source/source-own-screen-9-seed0"


def adapt(*arguments: str | Path) -> Result:
    """The outcome of `adapt` in this process."""
    environment = {"COLUMNS": "200", "ADAPT_CACHE": "", "ADAPT_DATA": ""}
    return CliRunner().invoke(build_app(), [str(a) for a in arguments], env=environment)


def fails(*arguments: str | Path) -> str:
    """What a command that the user can mend says, on stderr alone."""
    result = adapt("bench", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> BenchTask:
    """Walks in files: one person to learn from, one to adapt to, one to test on."""
    folder = tmp_path_factory.mktemp("data")
    for name, rig, speed in (("source", STUDIO, 1.0), ("target", SURROUND, 1.4),
                             ("test", SURROUND, 1.2)):  # fmt: skip
        clips = tuple(film([walking_motion(50, speed, take=name)], rig, seed=0))[:3]
        write_dataset(PoseData(name, H36M_17, clips, synthetic=True), folder / f"{name}.npz")
    source, target, test = (
        DatasetSpec(str(folder / f"{name}.npz")) for name in ("source", "target", "test")
    )
    return BenchTask("W", "walks", source, target, test, hidden=True)


def make_tiny(task: BenchTask, patch: pytest.MonkeyPatch) -> None:
    """Make the walks and a budget of seconds known to the command."""
    patch.setitem(TASKS, "W", task)
    patch.setitem(BUDGETS, "tiny", TINY)
    small = {"generator.hidden": 16, "discriminator.hidden_2d": 8, "discriminator.hidden_kcs": 8,
             "discriminator.hidden_3d": 8, "discriminator.pool_size": 64}  # fmt: skip
    few = {"refine.steps": 3}
    for name, changes in (("selftrain", few), ("full", few), ("adaptpose", small)):
        patch.setitem(ROWS, name, dataclasses.replace(ROWS[name], changes=changes))


@pytest.fixture(autouse=True)
def tiny(task, monkeypatch):
    """The walks and a budget of seconds in every test."""
    make_tiny(task, monkeypatch)


@pytest.fixture
def undrawn(monkeypatch):
    """No figure is drawn in full: that takes as long as a row."""
    monkeypatch.setattr(bench_figures, "figure_png", lambda _: b"")


def command(out: Path, rows: str, *more: str) -> tuple[str | Path, ...]:
    return ("bench", "--tasks", "W", "--frames", "9", "--seeds", "1", "--budget", "tiny",
            "--channels", "8", "--threads", "1", "--rows", rows, "--out", out, "--json",
            *more)  # fmt: skip


def ran(*arguments: str | Path) -> dict[str, Any]:
    result = adapt(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory) -> dict[str, Any]:
    """A benchmark of every row."""
    out = tmp_path_factory.mktemp("bench") / "out"
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(task, patch)
        return ran(*command(out, "all"))


def test_tasks_hold_what_the_rigs_and_corpora_say():
    for task in TASKS.values():
        for spec in (task.target, task.test):
            if spec.rig is not None:
                assert rig_by_name(spec.rig).normalisation == task.normalisation
    for name in ("O1", "O2", "O3"):
        task = TASKS[name]
        assert (task.target.split, task.test.split) == ("train", "test")
        assert task.target.name == task.test.name
        assert SPLIT_SUBJECTS[task.target.name]["test"]
    assert SPLIT_SUBJECTS["hdm05"]["test"] == ("mm", "tr")
    assert SPLIT_SUBJECTS["uiprmd"]["test"] == ("s08", "s09", "s10")
    assert TASKS["O4"].metrics == ("pmpjpe", "nmpjpe")


def test_real_detections_are_one_input():
    found = settings_of(("O1", "O4"), ("gt", "det"), (27, 1))
    keys = ["O1/gt-27", "O1/gt-1", "O1/det-27", "O1/det-1", "O4/real-27", "O4/real-1"]
    assert [one.key for one in found] == keys
    assert [math.prod(widths_of(n)) for n in (1, 3, 27, 243)] == [1, 3, 27, 243]
    assert len(widths_of(1)) == len(widths_of(27))


def test_noise_is_on_the_target_alone(tmp_path):
    task = bench_tasks.resolved(TASKS["O1"], "detector", tmp_path)
    noises = task.source.noise, task.target.noise, task.test.noise
    assert noises == ("none", "detector", "detector")
    real = bench_tasks.resolved(TASKS["O4"], "none", tmp_path)
    assert real.target.name == real.test.name == str(tmp_path / "pose2sim")
    assert real.target.cameras != real.test.cameras


@pytest.mark.parametrize("budget", [*BUDGETS.values(), TINY, BUDGETS["quick"].with_steps(1234)],
                         ids=lambda budget: f"{budget.name}-{budget.steps}")  # fmt: skip
def test_all_rows_make_the_same_number_of_steps(budget):
    for row in ROWS.values():
        if not row.trains:
            continue
        config = row_settings(row, budget, 5)
        assert (config.seed, config.batch_size) == (5, budget.batch_size)
        if isinstance(config, RoundsConfig):
            assert config.epochs * config.steps_per_epoch == budget.steps
            continue
        # Kept windows are repeated: each section makes a step per batch that is generated.
        assert config.repeat_kept
        assert (config.epochs - config.warmup_epochs) == budget.epochs
        steps = budget.epochs * config.sections * config.steps_per_section
        assert budget.steps <= steps < 1.15 * budget.steps + budget.epochs * config.sections


def test_schedules_keep_their_share_of_the_run():
    full = ROWS["full"]
    same = row_settings(full, BUDGETS["standard"], 0)
    short = row_settings(full, TINY, 0)
    assert isinstance(same, RoundsConfig)
    assert isinstance(short, RoundsConfig)
    assert short.warmup_epochs < short.epochs
    assert same.shares == short.shares
    for config in (same, short):
        assert config.epochs_per_round >= 1


def test_names_of_rows():
    assert [row.name for row in chosen_rows("oracle,source")] == ["source", "oracle"]
    assert [row.name for row in chosen_rows("key")] == list(bench_rows.GROUPS["key"])
    rows = chosen_rows("source", ["long=full rounds.epochs_per_round=3 refine.steps=9"])
    config = row_settings(rows[-1], BUDGETS["quick"], 0)
    assert isinstance(config, RoundsConfig)
    assert (config.epochs_per_round, config.refine.steps) == (3, 9)
    for text, message in (
        ("long", "expected NAME=METHOD"),
        ("", "expected NAME=METHOD"),
        ("long=fulll", "unknown method 'fulll'"),
        ("long=full widht=2", "unknown config key 'widht'"),
        ("long=full shares.wide", "expected KEY=VALUE"),
        ("long=full shares.wide=0.9", "expected a sum of 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_row(text)
    with pytest.raises(ConfigError, match="there is a row of that name"):
        chosen_rows("source", ["full=full"])


def test_numbers_of_seeds():
    assert seed_numbers("3") == (0, 1, 2)
    assert seed_numbers("2,") == (2,)
    assert seed_numbers("4,0") == (4, 0)
    for text in ("0", "x", "-1", "1.5", "101"):
        with pytest.raises(ConfigError, match="--seeds"):
            seed_numbers(text)


def test_every_row_leaves_a_run_and_figures(whole):
    out = Path(whole["folder"])
    results = whole["results"]
    assert list(results) == [f"W/gt-9/seed0/{name}" for name in ROWS]
    for key, result in results.items():
        row = ROWS[result["row"]]
        assert set(result) == {
            "task", "input", "frames", "seed", "row", "settings", "folder", "steps", "seconds",
            "monitor_seconds", "scores", "curve",
        }  # fmt: skip
        assert set(result["scores"]) == ({"raw"} if row.kind == "mean" else {"raw", "tta"})
        for scores in result["scores"].values():
            assert set(scores) == {"mpjpe", "pmpjpe", "nmpjpe"}
            assert all(value > 0 for value in scores.values())
        if not row.trains:
            continue
        run = open_run(out / "rows" / key)
        assert run.done
        assert run.config["row"] == row.name
        assert len(result["curve"]) == TINY.epochs + (row.name == "adaptpose")
        assert result["curve"][-1]["steps"] == result["steps"]
        assert result["seconds"] > 0
        last = result["curve"][-1]
        assert last["mpjpe"] == pytest.approx(result["scores"]["raw"]["mpjpe"], abs=1e-3)
        if row.name != "adaptpose":
            assert result["steps"] == TINY.steps
    assert [path.name for path in (out / "source").iterdir()] == [Path(SOURCE).name]
    for name in ("gap-closed.png", "curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert "SYNTHETIC" in (out / "bench.md").read_text()
    assert json.loads((out / "bench.json").read_text())["results"] == results


def test_results_are_those_of_the_runs_lifters(whole):
    """The scores by another way: the saved lifter on the test file through `adapt eval`."""
    run = Path(whole["folder"]) / "rows" / "W/gt-9/seed0/augment"
    test = TASKS["W"].test.name
    arguments = ("eval", "--run", run, "--dataset", test, "--metric", "mpjpe,pmpjpe", "--json")
    told = ran(*arguments)
    scores = whole["results"]["W/gt-9/seed0/augment"]["scores"]
    values = [row["value"] for row in _rows(told)]
    for metric in ("mpjpe", "pmpjpe"):
        assert any(abs(value - scores["raw"][metric]) < 1e-3 for value in values)
        assert any(abs(value - scores["tta"][metric]) < 1e-3 for value in values)


def _rows(value: Any) -> list[dict[str, Any]]:
    """Every figure in a JSON document."""
    if isinstance(value, dict):
        own = [value] if "value" in value and "metric" in value else []
        return own + [row for item in value.values() for row in _rows(item)]
    return [row for item in value for row in _rows(item)] if isinstance(value, list) else []


def test_the_mean_pose_by_hand(whole):
    task = TASKS["W"]
    source, test = open_dataset(task.source), open_dataset(task.test)
    root = source.skeleton.root
    poses = torch.cat([clip.pose3d_cam for clip in source.clips]).double()
    mean = (poses - poses[:, root : root + 1]).mean(dim=0)
    total, count = 0.0, 0
    for clip in test.clips:
        for pose, valid in zip(clip.pose3d_cam.double(), clip.valid, strict=True):
            if valid:
                total += float((pose - pose[root] - mean).norm(dim=-1).mean())
                count += 1
    found = whole["results"]["W/gt-9/seed0/mean"]["scores"]["raw"]["mpjpe"]
    assert found == pytest.approx(1000 * total / count, rel=1e-5)


def test_all_rows_start_from_one_lifter(whole):
    out = Path(whole["folder"])
    source, _ = load_lifter(out / SOURCE / "lifter.safetensors")
    for key, result in whole["results"].items():
        if ROWS[result["row"]].trains:
            start, _ = load_lifter(out / "rows" / key / "source_lifter.safetensors")
            same = zip(source.state_dict().values(), start.state_dict().values(), strict=True)
            assert all(torch.equal(a, b) for a, b in same)
    told = whole["sources"][Path(SOURCE).name]
    assert told["folder"] == SOURCE
    assert told["steps"] == TINY.source_epochs * TINY.source_windows // TINY.batch_size


def test_only_the_oracle_sees_the_targets_truth(task, tmp_path):
    from adaptpose.cli.bench_data import DataStore
    from adaptpose.cli.bench_study import Study

    setting = settings_of(("W",), ("gt",), (9,))[0]
    study = Study(tmp_path, (setting,), (0,), (), TINY, TINY, LifterConfig(channels=8))
    data = DataStore(study).open(setting, {})
    labelled = open_dataset(task.target)
    joined = data.oracle_material().source.clips
    assert not any(hasattr(clip, "pose3d_cam") for clip in data.material.target.clips)
    own = {clip.name for clip in data.material.source.clips}
    added = [clip for clip in joined if clip.name not in own]
    assert {clip.name for clip in added} == {clip.name for clip in labelled.clips}
    assert not {clip.name for clip in added} & {clip.name for clip in data.test.clips}
    frames = sum(clip.num_frames for clip in added)
    assert frames == pytest.approx(sum(c.num_frames for c in joined) - frames, rel=0.3)


@pytest.mark.parametrize("saves", [1, 3])
def test_a_stopped_bench_goes_on_to_the_same_figures(whole, undrawn, tmp_path, monkeypatch, saves):
    count = 0

    def stop_after_some(run: RunDirectory, state: dict[str, Any]) -> None:
        nonlocal count
        save(run, state)
        count += run.kind == "fit"
        if count == saves:
            raise KeyboardInterrupt

    save = RunDirectory.save_state
    monkeypatch.setattr(RunDirectory, "save_state", stop_after_some)
    arguments = command(tmp_path / "out", "source,augment,viewpoint")
    assert adapt(*arguments).exit_code == 130
    monkeypatch.setattr(RunDirectory, "save_state", save)
    done = json.loads((tmp_path / "out" / "bench.json").read_text())["results"]
    assert [one["row"] for one in done.values()] == ["source", "augment"][: 1 + (saves > 2)]
    found = ran(*arguments)["results"]
    for key, result in found.items():
        for part in ("scores", "curve", "steps", "settings", "folder"):
            assert result[part] == whole["results"][key][part]


def test_finished_rows_are_not_run_again(whole, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("fit", "adapt_in_rounds", "evaluate", "DataStore.open"):
        monkeypatch.setattr(f"adaptpose.cli.bench_runs.{name}", never)
    monkeypatch.setattr("adaptpose.cli.bench_sources.pretrain", never)
    again = ran(*command(Path(whole["folder"]), "key"))
    assert again["results"] == whole["results"]
    text = adapt(*[word for word in command(Path(whole["folder"]), "full") if word != "--json"])
    assert text.exit_code == 0, text.output
    assert "W, gt 2D, 9 frames: walks" in text.stdout
    assert "test-set pick" in text.stdout
    assert "how to read this" in text.stdout


def test_a_deleted_result_is_only_scored_again(whole, undrawn, tmp_path, monkeypatch):
    out = tmp_path / "out"
    _copy(Path(whole["folder"]), out)
    for name in ("fit", "adapt_in_rounds"):
        monkeypatch.setattr(bench_runs, name, None)
    monkeypatch.setattr(bench_sources, "pretrain", None)
    content = json.loads((out / "bench.json").read_text())
    del content["results"]["W/gt-9/seed0/bn"]
    (out / "bench.json").write_text(json.dumps(content))
    found = ran(*command(out, "bn"))["results"]
    assert found == whole["results"]
    assert ran(*command(out, "bn,source,mean", "--rescore"))["results"] == whole["results"]


def test_rows_with_other_settings_are_named_and_redone(whole, undrawn, tmp_path, monkeypatch):
    out = tmp_path / "out"
    _copy(Path(whole["folder"]), out)
    changed = dataclasses.replace(ROWS["continue"], changes={"learning_rate": 2e-3})
    monkeypatch.setitem(ROWS, "continue", changed)
    text = fails(*command(out, "continue,bn")[1:])
    assert "rows made with other settings: continue (fix: --redo continue" in text
    found = ran(*command(out, "continue,bn", "--redo", "continue"))["results"]
    key = "W/gt-9/seed0/continue"
    assert found[key]["settings"]["learning_rate"] == 2e-3
    assert found[key]["scores"] != whole["results"][key]["scores"]


def test_settings_that_came_later_do_not_count():
    config = row_settings(ROWS["replay"], BUDGETS["quick"], 0)
    now = plain(config)
    assert now is not None
    assert same_settings(now, config)
    before = json.loads(json.dumps(now))
    del before["train"], before["refine"]["chunk_frames"]
    assert same_settings(before, config)
    # What is not at its default now was not so when it did not exist.
    del before["refinement"]
    assert not same_settings(before, config)
    assert not same_settings({**now, "gone": 1}, config)
    assert not same_settings({**now, "epochs": 1}, config)
    assert same_settings(None, None)
    assert not same_settings(now, None)


def _copy(source: Path, out: Path) -> None:
    import shutil

    shutil.copytree(source, out)


def test_benchmarks_that_cannot_be(whole, task, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "new")
    assert "unknown task 'O9'" in fails(*out, "--tasks", "O9")
    assert "--rows: unknown row 'ful'" in fails(*out, "--rows", "ful")
    assert "--inputs: unknown input 'noisy'" in fails(*out, "--inputs", "noisy")
    assert "--frames: expected numbers of frames" in fails(*out, "--frames", "10")
    assert "--budget" in fails(*out, "--budget", "huge")
    assert "--steps: expected at least 15" in fails(*out, "--steps", "3")
    assert "--tasks O1" in fails(*out, "--tasks", "O1")
    assert "task O4: expected a data root" in fails(*out, "--tasks", "O4")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").write_text("x")
    assert "expected a benchmark or no folder" in fails(*command(tmp_path, "source")[1:])
    text = fails(*command(Path(whole["folder"]), "source", "--steps", "8")[1:])
    assert "begun with another budget (steps_per_epoch 2, now 4" in text
    copied = tmp_path / "copy"
    _copy(Path(whole["folder"]), copied)
    content = json.loads((copied / "bench.json").read_text())
    content["data"]["W/gt"]["fingerprints"]["test"] = "0"
    del content["results"]["W/gt-9/seed0/bn"]
    (copied / "bench.json").write_text(json.dumps(content))
    assert "the data of W/gt (test) is not" in fails(*command(copied, "bn")[1:])
    for text, message in (
        ("{", "damaged or not JSON"),
        ("[]", "not the description"),
        (json.dumps({**content, "format": 9}), "benchmark of format 9"),
    ):
        (copied / "bench.json").write_text(text)
        assert message in fails(*command(copied, "bn")[1:])


def result(
    row: str, seed: int, raw: float | int, tta: float | int, curve: Any = ()
) -> dict[str, Any]:
    """A made-up result; every metric has the same figure."""
    scores = {"raw": dict.fromkeys(bench_tasks.METRICS, raw),
              "tta": dict.fromkeys(bench_tasks.METRICS, tta)}  # fmt: skip
    points = [
        {"epoch": n + 1, "steps": 10 * n, "label_free": score,
         **dict.fromkeys(bench_tasks.METRICS, error)}
        for n, (score, error) in enumerate(curve)
    ]  # fmt: skip
    return {"task": "W", "input": "gt", "frames": 9, "seed": seed, "row": row, "steps": 100,
            "seconds": 60.0, "scores": scores, "curve": points}  # fmt: skip


def test_the_gap_by_hand():
    assert closed(120.0, 90.0, 60.0) == 0.5
    assert closed(120.0, 150.0, 60.0) == -0.5
    assert closed(60.0, 50.0, 60.0) is None
    found = [result("source", 0, 120, 110), result("source", 1, 130, 118),
             result("oracle", 0, 60, 50), result("oracle", 1, 50, 38),
             result("full", 0, 75, 65), result("full", 1, 70, 50)]  # fmt: skip
    line = {one["row"]: one for one in lines_of(found)}["full"]
    assert line["errors"]["raw"]["mpjpe"] == {
        "mean": 72.5, "standard_deviation": pytest.approx(math.sqrt(12.5))
    }  # fmt: skip
    # Seed by seed: 45/60 and 60/80 raw, 45/60 and 68/80 averaged.
    assert line["closed"]["raw"]["mpjpe"] == {"mean": 0.75, "standard_deviation": 0.0}
    assert line["closed"]["tta"]["mpjpe"]["mean"] == pytest.approx((0.75 + 0.85) / 2)
    assert line["closed"]["tta"]["mpjpe"]["standard_deviation"] == pytest.approx(
        math.sqrt(0.005), rel=1e-6
    )
    ends = {one["row"]: one["closed"]["raw"]["mpjpe"]["mean"] for one in lines_of(found)}
    assert (ends["source"], ends["oracle"]) == (0.0, 1.0)
    alone = lines_of([one for one in found if one["row"] != "oracle"])
    assert all(one["closed"]["raw"]["mpjpe"] is None for one in alone)


def test_rank_correlation():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3, math.inf], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None
    # Textbook formula, no ties: 1 - 6 sum d² / (n (n² - 1)), d = 1, 1, 0, 2, 2 -> 10.
    assert spearman([1, 2, 3, 4, 5], [2, 1, 3, 6, 2.5]) == pytest.approx(
        _by_formula([1, 2, 3, 4, 5], [2, 1, 4, 5, 3])
    )


def _by_formula(a: list[int], b: list[int]) -> float:
    distance = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return 1 - 6 * distance / (len(a) * (len(a) ** 2 - 1))


def test_the_choice_by_hand():
    found = [
        result("full", 0, 70, 60, [(3.0, 90.0), (2.0, 72.0), (2.5, 70.0)]),
        result("bn", 0, 140, 130, [(4.0, 130.0), (None, 140.0)]),
        result("oracle", 0, 50, 40, [(0.1, 50.0)]),
    ]
    choice = choice_of(found, "mpjpe")
    assert choice is not None
    seed = choice["seeds"][0]
    assert seed["checkpoints"] == 5
    assert seed["picked"] == {"row": "full", "epoch": 2, "score": 2.0, "error_mm": 72.0}
    assert seed["best"]["error_mm"] == 70.0
    assert choice["regret_mm"] == 2.0
    assert seed["stopping_regret_mm"] == {"full": 2.0, "bn": 0.0}
    assert choice["spearman"] == pytest.approx(_by_formula([3, 1, 2, 4, 5], [3, 2, 1, 4, 5]))
    assert choice_of([result("mean", 0, 1, 1)], "mpjpe") is None


def test_the_pick_is_a_line_of_its_own():
    found = [result("source", 0, 120, 110), result("oracle", 0, 60, 50),
             result("adaptpose", 0, 100, 90, [(1.0, 96.0), (0.5, 100.0)])]  # fmt: skip
    lines = {line["row"]: line for line in lines_of(found)}
    pick = lines["adaptpose, test-set pick"]
    assert pick["errors"] == {"raw": {m: {"mean": 96.0, "standard_deviation": None}
                                      for m in bench_tasks.METRICS}}  # fmt: skip
    assert pick["closed"]["raw"]["mpjpe"]["mean"] == pytest.approx(0.4)
    assert lines["adaptpose"]["errors"]["raw"]["mpjpe"]["mean"] == 100.0


def test_tables_and_figures_of_parts():
    """A benchmark that has only begun has tables and figures too."""
    about = {"budget": dataclasses.asdict(TINY), "lifter": {"channels": 8}, "data": {}}
    for found in ([], [result("source", 0, 120, 110)], [result("full", 0, 1, 1, [(1.0, 2.0)] * 3)]):
        results = {str(k): one for k, one in enumerate(found)}
        told = summary(results, {"W": ("mpjpe",)})
        text = markdown({**about, "results": results, "summary": told})
        assert text.startswith("# Open benchmark")
        assert gap_figure(told).startswith(b"\x89PNG")
        assert curves_figure(results, told).startswith(b"\x89PNG")


def test_seeds_may_have_other_variants_and_points_no_score():
    found = [result("source", seed, 120, 110) for seed in (0, 1)]
    found += [result("oracle", seed, 60, 50) for seed in (0, 1)]
    found += [result("full", seed, 90, 80, [(0.3, 90), (0.2, 80)]) for seed in (0, 1)]
    for one, value in zip(found[1::2], (100, 40, 70), strict=True):
        one["scores"]["tta + refined"] = dict.fromkeys(bench_tasks.METRICS, value)
    line = {one["row"]: one for one in lines_of(found)}["full"]
    assert line["errors"]["tta + refined"]["mpjpe"] == {"mean": 70.0, "standard_deviation": None}
    assert line["closed"]["tta + refined"]["mpjpe"]["mean"] == pytest.approx(0.5)
    assert line["errors"]["raw"]["mpjpe"]["mean"] == 90.0
    del found[4]["curve"][0]["label_free"]
    choice = choice_of(found, "mpjpe")
    assert choice is not None
    assert [one["checkpoints"] for one in choice["seeds"]] == [1, 2]
