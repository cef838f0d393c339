"""`adapt report` on a tiny fit run: what it shows, what it does without data, how it fails."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from stick_figure import walking_motion
from typer.testing import CliRunner, Result

from adaptpose.cli.main import build_app
from adaptpose.cli.report_data import MAX_FRAMES, cut_clip, middle_part, sample_clips
from adaptpose.cli.report_domains import LIFTED, TEST
from adaptpose.cli.report_examples import pick_ranks, up_in_camera
from adaptpose.clips import Clip3D, PoseData
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.rigs import FIELD, STUDIO, Rig, film
from adaptpose.report_content import ReportContent
from adaptpose.rundir import create_run
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17

SECTIONS = ("results", "examples", "training", "cameras", "gallery", "selection", "notes",
            "credits", "run")  # fmt: skip
TINY = ("--method", "adaptpose", "--channels", "16", "--widths", "3,3", "--pretrain-epochs", "1",
        "--pretrain-windows", "512", "--epochs", "2", "--samples-per-epoch", "512", "--set",
        "fit.batch_size=128", "--set", "fit.sections=2", "--set", "fit.warmup_epochs=1", "--set",
        "pretrain.batch_size=128", "--set", "fit.selection.hardness=false", "--threads", "1",
        "--max-clips", "6")  # fmt: skip


def adapt(*arguments: str | Path) -> Result:
    """The outcome of `adapt` in this process."""
    environment = {"COLUMNS": "200", "ADAPT_CACHE": ""}
    return CliRunner().invoke(build_app(), [str(a) for a in arguments], env=environment)


def fails(*arguments: str | Path) -> str:
    """What a failing command says: on stderr, with exit code 2, nothing else."""
    result = adapt(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr


def _write_walks(path: Path, rig: Rig, seed: int) -> Path:
    actions = (("stroll", 0.8), ("walk", 1.1), ("march", 1.4))
    motions = [walking_motion(150, speed, action=action) for action, speed in actions]
    clips = tuple(film(motions, rig, seed=seed))
    data = PoseData(path.stem, H36M_17, clips, True, licence="CC0 of walks", credit="A. Walker")
    write_dataset(data, path)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """A folder with a tiny fit run, "run", and its three datasets."""
    folder = tmp_path_factory.mktemp("report")
    source = _write_walks(folder / "source.npz", STUDIO, 0)
    target = _write_walks(folder / "target.npz", FIELD, 1)
    test = _write_walks(folder / "test.npz", FIELD, 2)
    data = ("--source", source, "--target", target, "--test", test)
    result = adapt("fit", *data, *TINY, "--out", folder / "run", "--json")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def facts(fitted) -> dict[str, Any]:
    """What the command says of the report that it wrote into the run."""
    result = adapt("report", "--run", fitted / "run", "--examples", "3", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def page(facts) -> str:
    """The report of the run."""
    return Path(facts["report"]).read_text(encoding="utf-8")


@pytest.fixture
def contents(monkeypatch) -> list[ReportContent]:
    """The contents of reports, which are then not drawn: that is most of the time they take."""
    kept: list[ReportContent] = []

    def keep(path: Path, content: ReportContent) -> None:
        kept.append(content)

    monkeypatch.setattr("adaptpose.report.write_report", keep)
    return kept


def _sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', text)


def test_a_finished_run_gives_every_section(fitted, facts, page):
    assert facts["report"] == str(fitted / "run" / "report.html")
    assert facts["missing"] == []
    assert facts["evaluated"] == ["source-only", "adapted"]
    assert facts["cameras"] == ["source", "generated", LIFTED, TEST]
    assert _sections(page) == list(SECTIONS)
    assert "for want of data" not in page
    assert "synthetic data: source" in page
    for text in ("lifter of the last epoch", "Test-set pick: epoch", "not a result", "Protocol:",
                 "focal length of 2.0", "Command:", "Seed: 0", "CC0 of walks", "A. Walker",
                 "pretrain: losses"):  # fmt: skip
        assert text in page
    assert "second lines" not in page
    # One licence of one holder is stated once per dataset, not again for its evaluation.
    assert page.count("<dt>") == 2


def test_examples_span_the_effects_and_say_so(facts, page):
    first, middle, last = facts["examples"]
    assert "rank 1 of 12 clips by change" in first
    assert "rank 12 of 12 clips by change" in last
    assert "typical" in middle
    assert re.search(r"helped most|hurt least", first)
    assert re.search(r"helped least|hurt most", last)
    changes = [
        int(re.findall(r"mm \(([+−]\d+)\)", t)[0].replace("−", "-")) for t in facts["examples"]
    ]
    assert changes == sorted(changes)
    motion = json.loads(re.search(r'id="examples-0">(.*?)</script>', page).group(1))
    assert motion["rate_hz"] == 25.0
    assert motion["frames"] <= 100
    assert [layer["role"] for layer in motion["layers"]] == ["before", "after", "truth"]
    assert all("camera" in layer for layer in motion["layers"])


def test_gallery_shows_kept_windows_of_every_action_first(facts):
    assert len(facts["gallery"]) == 8
    assert {title.split(":")[0] for title in facts["gallery"][:3]} == {"stroll", "walk", "march"}
    assert all(re.search(r"depth [\d.]+ → [\d.]+ m$", title) for title in facts["gallery"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(fitted, facts, page, tmp_path):
    run = ("report", "--run", fitted / "run", "--examples", "3")
    assert adapt(*run, "--out", tmp_path / "same.html").exit_code == 0
    assert (tmp_path / "same.html").read_text(encoding="utf-8") == page


def test_the_same_seed_gives_the_same_content(fitted, facts, contents):
    for _ in range(2):
        result = adapt("report", "--run", fitted / "run", "--examples", "3", "--json")
        assert json.loads(result.stdout) == facts
    first, second = contents
    for a, b in zip(first.examples, second.examples, strict=True):
        assert torch.equal(a.before, b.before)
        assert torch.equal(a.after, b.after)
    for a, b in zip(first.gallery, second.gallery, strict=True):
        assert torch.equal(a.generated, b.generated)
    for domain, views in first.cameras.items():
        for name, values in views.items():
            same = second.cameras[domain][name]
            torch.testing.assert_close(values, same, rtol=0, atol=0, equal_nan=True)
    assert all(torch.equal(v, second.keypoints[k]) for k, v in first.keypoints.items())
    assert first.notes == second.notes


def test_another_seed_draws_others(fitted, facts, contents):
    run = ("report", "--run", fitted / "run", "--examples", "3", "--json")
    other = json.loads(adapt(*run, "--seed", "5").stdout)
    assert other["gallery"] != facts["gallery"]
    # Every clip of so small a test set is looked at, whatever the seed.
    assert other["examples"] == facts["examples"]


def test_the_latest_fit_run_is_taken(fitted, facts, tmp_path, contents):
    shutil.copytree(fitted / "run", tmp_path / "runs" / "copy")
    result = adapt("report", "--runs", tmp_path / "runs", "--examples", "0")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report: {tmp_path}/runs/copy/report.html\n"
    assert contents[0].examples == []


def _moved_run(fitted: Path, folder: Path, *lost: str) -> Path:
    """A copy of the run that points to a copy of its data, without the parts that are lost."""
    for role in ("source", "target", "test"):
        if role not in lost:
            shutil.copy(fitted / f"{role}.npz", folder)
    shutil.copytree(fitted / "run", folder / "run")
    for name in ("run.json", "provenance.json"):
        text = (folder / "run" / name).read_text().replace(f"{fitted}/", f"{folder}/")
        (folder / "run" / name).write_text(text)
    return folder / "run"


@pytest.mark.parametrize("lost", ["source", "test", "target"])
def test_without_data_the_rest_is_shown_and_the_reason_told(
    fitted, facts, tmp_path, lost, contents
):
    run = _moved_run(fitted, tmp_path, lost)
    result = adapt("report", "--run", run, "--examples", "2")
    assert result.exit_code == 0, result.output
    (content,) = contents
    reason = f"The {lost} data could not be opened: {tmp_path}/{lost}.npz"
    assert content.notes[0].startswith(reason)
    assert reason in result.stderr
    assert (len(content.gallery) == 0) == (lost == "source")
    assert len(content.examples) == 2
    domains = {"source": {"source", "generated"}, "target": {LIFTED}, "test": {TEST}}
    assert set(content.cameras) == set(facts["cameras"]) - domains[lost]
    assert content.evaluations
    # Without a test set, clips of the target are ranked by how far the lifters are apart.
    assert ("1 changed least" in content.examples[0].title) == (lost == "test")
    assert (content.examples[0].truth is None) == (lost == "test")


def test_a_run_directory_alone_is_enough(fitted, facts, tmp_path, contents):
    run = _moved_run(fitted, tmp_path, "source", "target", "test")
    result = adapt("report", "--run", run)
    assert result.exit_code == 0, result.output
    (content,) = contents
    assert [len(part) for part in (content.examples, content.gallery, content.cameras)] == [0] * 3
    assert content.curves
    assert list(content.evaluations) == ["source-only", "adapted"]
    assert sum("data could not be opened" in note for note in content.notes) == 3


def test_changed_data_is_told(fitted, facts, tmp_path, contents):
    run = _moved_run(fitted, tmp_path)
    shutil.copy(tmp_path / "source.npz", tmp_path / "target.npz")
    found = json.loads(adapt("report", "--run", run, "--json").stdout)
    assert len(found["missing"]) == 1
    assert found["missing"][0].startswith("The target data is not what the run began with")


def test_an_unfinished_run_has_a_report(fitted, facts, tmp_path, contents):
    run = _moved_run(fitted, tmp_path)
    description = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**description, "done": False}))
    for name in ("evaluation.json", "lifter.safetensors", "generator.safetensors"):
        (run / name).unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(lines[0] + "\n" + lines[1][:20])
    result = adapt("report", "--run", run)
    assert result.exit_code == 0, result.output
    (content,) = contents
    assert "This run is not finished: epoch 1 of 2." in content.summary
    assert "The run has no adapted lifter yet." in content.notes
    assert not (run / "evaluation.json").exists()
    assert list(content.evaluations) == ["source-only"]
    assert set(content.cameras) == {"source", TEST}
    assert (content.examples, content.gallery) == ([], ())


def test_scores_are_made_where_a_run_has_none(fitted, facts, tmp_path, contents):
    run = _moved_run(fitted, tmp_path)
    before = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").unlink()
    assert adapt("report", "--run", run, "--examples", "0").exit_code == 0
    assert json.loads((run / "evaluation.json").read_text()) == before


def test_failures_are_one_message(fitted, facts, tmp_path):
    assert "no fit run below it" in fails("report", "--runs", tmp_path)
    assert "no such run directory" in fails("report", "--run", tmp_path / "none")
    inner = fitted / "run" / "pretrain"
    assert "expected a fit run, got a pretrain run" in fails("report", "--run", inner)
    assert "--examples" in fails("report", "--run", fitted / "run", "--examples", "-1")
    empty = create_run(tmp_path / "empty", "fit", {}, {})
    assert "in the configuration of the run" in fails("report", "--run", empty.path)
    run = _moved_run(fitted, tmp_path)
    (run / "evaluation.json").write_text('{"adapted": 3}')
    assert "not the evaluations of a run" in fails("report", "--run", run)
    (run / "generator.safetensors").write_bytes(b"damaged")
    assert "generator as safetensors, got a damaged" in fails("report", "--run", run)


def _clip(frames: int, name: str = "a") -> Clip3D:
    clip = film([walking_motion(30)], STUDIO, seed=0)[0]
    rows = torch.arange(frames) % 30
    parts = {key: getattr(clip, key)[rows] for key in ("pose2d", "confidence", "pose3d_cam")}
    parts["pose2d"] = parts["pose2d"] + torch.arange(frames)[:, None, None]
    valid = torch.ones(frames, dtype=torch.bool)
    return dataclasses.replace(clip, **parts, valid=valid, action=name)


def test_samples_are_bounded_and_whole_where_they_can_be():
    clips = tuple(_clip(frames, str(frames)) for frames in (100, 30_000, 50, 9_000))
    parts = sample_clips(clips, 200, stream(0, "x"))
    assert [part.num_frames for part in parts] == [100, MAX_FRAMES // 4, 50, MAX_FRAMES // 4]
    few = sample_clips(clips, MAX_FRAMES // 2, stream(0, "x"))
    assert len(few) == 2
    assert sum(part.num_frames for part in few) <= MAX_FRAMES
    blind = dataclasses.replace(clips[0], valid=torch.zeros(100, dtype=torch.bool))
    assert sample_clips((blind,), 200, stream(0, "x")) == ()


def test_a_cut_keeps_frames_together():
    clip = _clip(11)
    moving = dataclasses.replace(clip, T_cam_world=clip.T_cam_world.expand(11, 4, 4).clone())
    middle = middle_part(moving, 3)
    for name in ("pose2d", "confidence", "valid", "pose3d_cam", "T_cam_world"):
        assert torch.equal(getattr(middle, name), getattr(moving, name)[4:7])
    assert cut_clip(clip, slice(0, 11, 2)).num_frames == 6
    assert middle_part(clip, 20).num_frames == 11


@pytest.mark.parametrize(("total", "count"), [(1, 1), (2, 5), (7, 3), (40, 5), (100, 1)])
def test_ranks_go_from_first_to_last(total, count):
    ranks = pick_ranks(["walk"] * total, count)
    assert ranks == sorted(set(ranks))
    assert len(ranks) == min(total, count)
    if len(ranks) > 1:
        assert (ranks[0], ranks[-1]) == (0, total - 1)
    else:
        assert ranks == [(total - 1) // 2]


def test_ranks_between_prefer_new_actions_nearby():
    actions = ["walk"] * 41
    actions[21], actions[5] = "run", "jump"
    assert pick_ranks(actions, 3) == [0, 21, 40]
    assert pick_ranks([], 3) == []


def test_up_is_known_only_where_a_camera_was_placed():
    clip = _clip(5)
    up = up_in_camera(clip)
    assert up is not None
    # A studio's camera is upright: up is mostly against the image's y axis.
    assert float(up[1]) < -0.7
    assert up_in_camera(dataclasses.replace(clip, T_cam_world=torch.eye(4))) is None
    assert up_in_camera(clip.without_labels()) is None
