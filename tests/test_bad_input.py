"""Bad input through the command line: one message with what to do, exit code 2, nothing left."""

import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generated_data import WINDOW, fit_run, walks_file, window_lifter
from test_cli import adapt, fails

from adaptpose.config import LifterConfig
from adaptpose.datasets.files import read_dataset
from adaptpose.lifter import save_lifter
from adaptpose.lifters import build_lifter
from adaptpose.rundir import RunKind, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17
from adaptpose.store import read_json, write_json

SMALL = ("--threads", "1", "--epochs", "1", "--widths", "3,3", "--channels", "16")
BEFORE = (*SMALL, "--pretrain-epochs", "1", "--set", "pretrain.batch_size=64",
          "--pretrain-windows", "128")  # fmt: skip
FIT = (*BEFORE, "--set", "rounds.steps_per_epoch=1", "--set", "rounds.batch_size=64", "--set",
       "rounds.warmup_epochs=0", "--set", "rounds.refine.steps=2")  # fmt: skip
ADVERSARIAL = (*BEFORE, "--method", "adaptpose", "--set", "fit.sections=1", "--set",
               "fit.batch_size=64", "--samples-per-epoch", "64", "--set",
               "fit.warmup_epochs=0")  # fmt: skip
PRETRAIN = (*SMALL, "--set", "pretrain.batch_size=64", "--windows", "128")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder of good and bad files, which no refused command may change."""
    folder = tmp_path_factory.mktemp("place")
    walks = walks_file(folder)
    _labelled_files(folder, walks)
    _target_files(folder)
    save_lifter(folder / "good.st", window_lifter(), {"normalisation": "screen"})
    save_lifter(folder / "centred.st", window_lifter(), {"normalisation": "root_frobenius"})
    config = LifterConfig(widths=(3, 3), channels=16)
    other = build_lifter(config, H36M_17, H36M_17, stream(0, "lifter"))
    save_lifter(folder / "joints17.st", other, {"normalisation": "screen"})
    tensors = (folder / "good.st").read_bytes()
    (folder / "wide.st").write_bytes(tensors.replace(b'\\"channels\\": 16', b'\\"channels\\": 32'))
    (folder / "cut.st").write_bytes(tensors[:3000])
    (folder / "cut.npz").write_bytes(walks.read_bytes()[:3000])
    (folder / "pickle.bin").write_bytes(pickle.dumps({"a": 1}))
    (folder / "pickle.npz").write_bytes(pickle.dumps({"a": 1}))
    for name in ("empty.npz", "empty.st", "empty.json"):
        (folder / name).write_bytes(b"")
    texts = {
        "list": "[1]",
        "broken": "{",
        "key": '{"pretrain.epoks": 3}',
        "shape": '{"pretrain": {"strides": 3}}',
        "type": '{"epochs": "ten"}',
    }
    for name, text in texts.items():
        (folder / f"{name}.json").write_text(text)
    _runs(folder, walks)
    return folder


def _labelled_files(folder: Path, walks: Path) -> None:
    clip = read_dataset(walks, need_3d=True).clips[0]
    lens = clip.intrinsics
    good: dict[str, Any] = {
        "skeleton": "h36m17",
        "frame_rate_hz": 50.0,
        "image_size_px": clip.image_size_px,
        "one/pose2d": clip.pose2d.numpy(),
        "one/pose3d_cam": clip.pose3d_cam.numpy(),
        "one/intrinsics": torch.cat([lens.focal, lens.centre, lens.distortion]).numpy(),
        "one/distortion_model": lens.model,
    }
    two, three = good["one/pose2d"], good["one/pose3d_cam"]
    holes = two.copy()
    holes[3] = np.nan
    legs = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
    changes: dict[str, dict[str, Any]] = {
        "millimetres": {"one/pose3d_cam": three * 1000},
        "pixels": {"one/pose2d": two * 500 + 500},
        "nan": {"one/pose2d": holes},
        "frames": {"one/pose2d": two[:-3]},
        "joints": {"one/pose2d": two[:, :14], "one/pose3d_cam": three[:, :14]},
        "crossed": {"one/pose2d": two[:, legs], "one/pose3d_cam": three[:, legs]},
        "size": {"image_size_px": None},
        "objects": {"one/subject": np.array([object()])},
        "skeleton": {"skeleton": "h36m71"},
        "invalid": {"one/valid": np.zeros(60, bool)},
        "foreign": {"positions_3d": three},
    }
    for name, change in changes.items():
        arrays = {key: value for key, value in {**good, **change}.items() if value is not None}
        np.savez(folder / f"{name}.npz", **arrays)


def _target_files(folder: Path) -> None:
    points = np.random.default_rng(0).uniform(200, 800, (60, 16, 2))
    common = {"skeleton": "h36m16", "frame_rate_hz": 30.0, "image_size_px": (1920, 1080)}
    for name, arrays in {
        "target": {"a/pose2d_px": points},
        "short": {"a/pose2d_px": points[:4]},
        "unseen": {"a/pose2d_px": points, "a/confidence": np.zeros((60, 16))},
        "hidden": {"a/pose2d_px": points, "a/valid": np.zeros(60, bool)},
    }.items():
        np.savez(folder / f"{name}.npz", **common, **arrays)


def _runs(folder: Path, walks: Path) -> None:
    fit_run(folder / "fitted", walks)
    source = {"source": {"name": str(walks)}}
    kinds: dict[str, RunKind] = {"newer": "fit", "odd": "fit", "pretraining": "pretrain",
                                 "kindless": "fit", "begun": "fit"}  # fmt: skip
    for name, kind in kinds.items():
        create_run(folder / name, kind, source, {})
    run = read_json(folder / "newer" / "run.json", "run")
    write_json(folder / "newer" / "run.json", {**run, "format": 99})
    write_json(folder / "odd" / "run.json", {**run, "format": "1"})
    write_json(folder / "kindless" / "run.json", {**run, "kind": "dance"})
    for name, index in {"windows-foreign": {}, "windows-newer": {"format": 99}}.items():
        (folder / name).mkdir()
        write_json(folder / name / "index.json", index)


@pytest.fixture
def refused(place, tmp_path, monkeypatch) -> Callable[..., str]:
    """Runs a command in an empty folder; the one line of its refusal, which leaves no trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_DATA", raising=False)

    def run(*arguments: str) -> str:
        before = _tree(place)
        given = [word.replace("@", f"{place}/") for word in arguments]
        lines = fails(*given).splitlines()
        told = [line for line in lines if not line.startswith(("reading ", "demo: "))]
        assert len(told) == 1, lines
        assert told[0].startswith(f"adapt {arguments[0]}: ")
        assert _tree(place) == before
        assert list(tmp_path.rglob("*")) == []
        return told[0].replace(f"{place}/", "@")

    return run


def _tree(folder: Path) -> list[tuple[str, int, int]]:
    found = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npz", "--source: @none.npz: expected a dataset (.npz), a detector's output or a"),
        ("none/at/all", "@none/at/all: expected a dataset (.npz), a detector's output or a folder"),
        ("fitted", "output or a folder of generated windows, got a folder without them (fix"),
        ("empty.npz", "@empty.npz: the file is empty"),
        ("cut.npz", "@cut.npz: expected an .npz archive, got another kind of file, or one cut sho"),
        ("pickle.npz", "@pickle.npz: expected an .npz archive, got another kind of file"),
        ("good.st", "a folder of generated windows, got another kind of file (fix: check the "),
        ("foreign.npz", "@foreign.npz: unknown key 'positions_3d'"),
        ("objects.npz", "@objects.npz, clip 'one', subject: cannot be read (Object arrays"),
        ("target.npz", "'pose3d_cam' is missing, and 3D is needed here (fix: use the file as a t"),
        ("skeleton.npz", "@skeleton.npz: unknown skeleton 'h36m71'; did you mean 'h36m17'?"),
        ("joints.npz", "@joints.npz, clip 'one', 2D: expected 17 joints of 'h36m17', got 14"),
        ("crossed.npz", "clip 'one': left and right are crossed for 'h36m17' (fix: check the ord"),
        ("millimetres.npz", "3D: expected metres, got a longest bone of 430 (fix: divide by 1000"),
        ("pixels.npz", "2D: expected normalised screen coordinates near [-1, 1], got median magn"),
        ("nan.npz", "@nan.npz, clip 'one': NaN or infinite 2D in frames marked valid"),
        ("frames.npz", "clip 'one', pose3d_cam: expected shape (57, 17, 3), got (60, 17, 3)"),
        ("size.npz", "@size.npz, clip 'one': 'image_size_px' is missing"),
        ("invalid.npz", "@invalid.npz: no frame of any clip is marked valid (fix: the 'valid' ar"),
        ("windows-foreign", "@windows-foreign/index.json: not an index of generated windows"),
        ("windows-newer", "format 99, this version reads up to 2 (fix: install a newer adaptpose)"),
    ],
)  # fmt: skip
def test_files_that_are_no_source(refused, name, message):
    assert message in refused("pretrain", "--source", f"@{name}", *PRETRAIN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "hdm5"), "--target: unknown dataset 'hdm5'; did you mean 'hdm05'?"),
        (("--target", "hdm05"), "--target: dataset 'hdm05': ADAPT_DATA is not set (fix: get the"),
        (("--target", "hdm05", "--data-root", "@none"), "its files under @none/hdm05, got none (f"),
        (("--target", "h36m"), "dataset 'h36m': ADAPT_DATA is not set (fix: get "),
        (("--target", "synthetic-field", "--target-rig", "feild"), "--target: unknown rig 'feild'; "
         "did you mean 'field'?"),
        (("--target-rig", "studio"), "rig 'studio': @target.npz is already filmed (fix: no rig)"),
        (("--noise", "detectr"), "unknown noise 'detectr'; did you mean 'detector'?"),
        (("--source-noise", "@none.json"), "@none.json: expected a noise model (JSON), got"),
        (("--source-noise", "@list.json"), "@list.json: expected format 'adaptpose detector noise"),
        (("--method", "adaptpos"), "--method: unknown method 'adaptpos'; did you mean 'adaptpose'"),
        (("--lifter", "tcnn"), "unknown lifter 'tcnn'; did you mean 'tcn'?"),
        (("--pretrain-windows", "many"), "--pretrain-windows: expected a whole number such as "),
        (("--set", "rounds.epoks=3"), "--set: unknown setting 'rounds.epoks'; did you mean 'round"),
        (("--set", "rounds.epochs"), "--set: expected KEY=VALUE, got 'rounds.epochs'"),
        (("--set", "refinement=fll"), "unknown value of refinement 'fll'; did you mean 'full'?"),
        (("--set", "rounds.learning_rate=nan"), "expected a number above 0, got nan"),
        (("--config", "@none.json"), "--config @none.json: no such file"),
        (("--config", "@empty.json"), "--config @empty.json: cannot be read as JSON"),
        (("--config", "@broken.json"), "--config @broken.json: cannot be read as JSON"),
        (("--config", "@walks.npz"), "--config @walks.npz: cannot be read as JSON"),
        (("--config", "@list.json"), "--config @list.json: expected a JSON object, got list"),
        (("--config", "@key.json"), "unknown setting 'pretrain.epoks'; did you mean 'pretrain.epo"),
        (("--config", "@shape.json"), "strides: expected numbers between commas, got 3"),
        (("--config", "@type.json"), "setting 'epochs' is ambiguous (fix: rounds.epochs or pretr"),
        (("--target", "@hidden.npz"), "@hidden.npz: no frame of any clip is marked valid"),
        (("--target", "@unseen.npz"), "--target unseen: every keypoint has confidence 0 (fix: le"),
        (("--test", "@target.npz"), "@target.npz, clip 'a': 'pose3d_cam' is missing"),
        (("--test", "@none.npz"), "--test: @none.npz: expected a dataset"),
        (("--oracle", "1"), "--oracle: @target.npz, clip 'a': 'pose3d_cam' is missing"),
        (("--frame-rate", "nan"), "frame_rate_hz: expected a number above 0, got nan"),
        (("--device", "tpu"), "--device tpu: expected auto, cpu, cuda, cuda:N or mps"),
        (("--out", "@fitted"), "@fitted: expected a new or empty folder (fix: choose another --ou"),
        (("--out", "@cut.npz"), "@cut.npz: expected a folder, got @cut.npz, which is a file (fix:"),
        (("--out", "@cut.npz/x"), "expected a folder, got @cut.npz, which is a file (fix: choose"),
        (("--resume", "@fitted"), "--resume: a run goes on with its own settings, but"),
    ],
)  # fmt: skip
def test_fit_refuses_before_it_makes_a_run(refused, arguments, message):
    target = () if "--target" in arguments else ("--target", "@target.npz")
    assert message in refused("fit", "--source", "@walks.npz", *target, *FIT, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--samples-per-epoch", "32"), "fit.samples_per_epoch: expected at least sections x batc"),
        (("--samples-per-epoch", "many"), "--samples-per-epoch: expected a whole number such as "),
        (("--set", "fit.epoks=3"), "--set: unknown setting 'fit.epoks'; did you mean 'fit.epochs'"),
        (("--set", "generator.bones=bg9"), "unknown value of generator.bones 'bg9'; did you mean"),
        (("--set", "fit.learning_rate_lifter=nan"), "expected a number above 0, got nan"),
        (("--config", "@type.json"), "setting 'epochs' is ambiguous (fix: fit.epochs or pretrain"),
    ],
)
def test_settings_of_the_published_method_are_checked(refused, arguments, message):
    data = ("--source", "@walks.npz", "--target", "@target.npz")
    assert message in refused("fit", *data, *ADVERSARIAL, *arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "@none: a lifter is not there: no such file (fix: check the path)"),
        ("empty.st", "@empty.st: expected a lifter as safetensors, got a damaged or foreign file"),
        ("cut.st", "@cut.st: expected a lifter as safetensors, got a damaged or foreign file"),
        ("pickle.bin", "@pickle.bin: expected a checkpoint written by torch.save, got a damaged"),
        ("walks.npz", "@walks.npz: expected a lifter as safetensors, got a damaged or foreign"),
        ("fitted/generator.safetensors", "expected a lifter, got another kind of file"),
        ("joints17.st", "--pretrained @joints17.st: expected a lifter for 'h36m16'"),
        ("wide.st", "@wide.st: weights do not fit the lifter: "),
        ("centred.st", "--pretrained @centred.st: expected a lifter of 2D normalised as 'screen'"),
        ("pretraining", "@pretraining/lifter.safetensors: a lifter is not there"),
        ("windows-newer", "@windows-newer/run.json: the run's description is not there"),
        ("newer", "@newer: run directory of format 99, this version reads up to 1 (fix: install"),
        ("odd", "@odd/run.json: not the description of a run"),
    ],
)
def test_lifters_that_cannot_be_adapted(refused, name, message):
    data = ("--source", "@walks.npz", "--target", "@target.npz")
    assert message in refused("fit", *data, *FIT, "--pretrained", f"@{name}")


def test_a_clip_shorter_than_the_receptive_field_is_padded(place, tmp_path):
    data = ("--source", place / "walks.npz", "--target", place / "short.npz")
    common = (*FIT, "--pretrained", place / "good.st", "--out", tmp_path / "run", "--json")
    result = adapt("fit", *data, *common)
    assert result.exit_code == 0, result.output
    assert WINDOW > 4
    assert json.loads(result.stdout)["run"] == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "--resume", "@none"), "@none: no such run directory (fix: give a run's folder)"),
        (("fit", "--resume", "@cut.npz"), "@cut.npz: no such run directory"),
        (("fit", "--resume", "@pretraining"), "expected a fit run, got a pretrain (fix: adapt pre"),
        (("fit", "--resume", "@newer"), "run directory of format 99, this version reads up to 1"),
        (("fit", "--resume", "@kindless"), "@kindless/run.json: expected kind (pretrain or fit)"),
        (("fit", "--resume", "@begun"), "@begun/run.json: no 'test' in the configuration"),
        (("fit", "--resume", "@begun", "--method", "x"), "but --method came with it"),
        (("fit", "--resume", "@begun", "--method", "full"), "but --method came with it"),
        (("pretrain", "--resume", "@fitted"), "expected a pretrain run, got a fit (fix: adapt fit"),
        (("pretrain", "--resume", "@pretraining"), "no 'lifter' in the configuration of the run"),
        (("eval", "--run", "@odd"), "@odd/run.json: not the description of a run"),
        (("eval", "--run", "@none"), "@none: no such run directory"),
        (("eval", "--run", "@fitted", "--metric", "pmpje"), "did you mean 'pmpjpe'?"),
        (("eval", "--lifter", "@good.st", "--dataset", "synthetic-feld"), "did you mean 'synthet"),
        (("eval", "--lifter", "@cut.st", "--dataset", "@walks.npz"), "@cut.st: expected a lifter"),
        (("eval", "--lifter", "@good.st", "--dataset", "@walks.npz", "--protocol", "official"),
         "--protocol official: "),
        (("eval", "--lifter", "@fitted", "--dataset", "@walks.npz"), "is not there: a folder"),
        (("report", "--run", "@pretraining"), "expected a fit run, got a pretrain run, which"),
        (("report", "--run", "@newer"), "format 99"),
        (("report", "--run", "@begun"), "no 'test' in the configuration of the run"),
        (("generate", "--n", "many", "--out", "g", "--run", "@fitted"), "--n: expected a whole"),
        (("generate", "--n", "0", "--out", "g", "--run", "@fitted"), "--n: expected at least 1"),
        (("generate", "--n", "9", "--out", "g", "--run", "@newer"), "format 99"),
        (("generate", "--n", "9", "--out", "g", "--run", "@begun"), "no 'fit' in the config"),
        (("generate", "--n", "9", "--out", "@fitted", "--run", "@fitted"), "a new or empty folder"),
        (("noise-fit", "@none"), "@none: expected trial folders with 'pose-associated', got none"),
        (("ablate", "--resume", "@none"), "@none: no such folder (fix: --out begins a new"),
        (("ablate", "--resume", "@fitted"), "the description of an ablation is not there"),
        (("ablate", "--source", "@walks.npz", "--target", "@target.npz"), "--test with a labelled"),
        (("ablate", "--source", "@walks.npz", "--target", "@walks.npz", "--test", "@walks.npz",
          "--pretrained", "@joints17.st"), "expected a lifter for 'h36m16'"),
        (("demo", "--out", "@fitted"), "@fitted: expected a new or empty folder"),
    ],
)  # fmt: skip
def test_runs_and_requests_that_cannot_be_used(refused, arguments, message):
    assert message in refused(*arguments)


def test_an_accelerator_that_is_not_there(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = refused("pretrain", "--source", "@walks.npz", *PRETRAIN, "--device", "cuda")
    assert "--device cuda: no CUDA device is available (fix: --device cpu)" in told


def test_a_folder_without_the_right_to_write(refused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    told = refused("pretrain", "--source", "@walks.npz", *PRETRAIN, "--out", "@new")
    assert "@new: expected a folder to write to, got no right to write to " in told


def _full_disk(monkeypatch: pytest.MonkeyPatch, spared: int) -> None:
    """The disk is full after some files."""
    calls: list[int] = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) > spared:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)


def _whole(folder: Path) -> bool:
    """Whether no temporary file is left and every JSON file is whole."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    return not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("spared", [0, 2, 4])
@pytest.mark.parametrize("command", ["fit", "pretrain"])
def test_a_disk_that_fills_up_while_training(place, tmp_path, monkeypatch, command, spared):
    out = ("--source", place / "walks.npz", "--out", tmp_path / "run")
    target = ("--target", place / "target.npz", *FIT, "--pretrained", place / "good.st")
    command_line = (command, *out, *(target if command == "fit" else PRETRAIN))
    _full_disk(monkeypatch, spared)
    told = fails(*command_line).splitlines()[-1]
    assert "cannot be written: No space left on device (fix: free space" in told
    assert str(tmp_path / "run") in told
    assert _whole(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    if spared:
        assert adapt(command, "--resume", tmp_path / "run").exit_code == 0
        assert open_run(tmp_path / "run").done
        if command == "fit":
            again = fails("fit", "--resume", tmp_path / "run")
            assert "the run is complete (fix: adapt eval --run" in again
            _full_disk(monkeypatch, 0)
            told = fails("report", "--run", tmp_path / "run", "--threads", "1")
            assert "report.html: cannot be written: No space left on device" in told
            assert _whole(tmp_path)


def test_a_disk_that_is_full_for_results(place, tmp_path, monkeypatch):
    _full_disk(monkeypatch, 0)
    common = ("--run", place / "fitted", "--threads", "1")
    told = fails("generate", "--n", "9", "--out", tmp_path / "g", *common)
    assert "cannot be written: No space left on device" in told
    assert _whole(tmp_path)
    data = ("--lifter", place / "good.st", "--dataset", place / "walks.npz", "--max-clips", "2")
    told = fails("eval", *data, "--threads", "1", "--csv", tmp_path / "all.csv")
    assert f"{tmp_path}/all.csv: cannot be written: No space left on device" in told
    assert not (tmp_path / "all.csv").exists()
