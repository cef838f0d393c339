"""The README keeps its word: its Python runs, its commands and settings exist."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from detector_data import Film, openpose
from typer.main import get_command

from adaptpose.cli.main import build_app
from adaptpose.cli.settings import settle
from adaptpose.config import FitConfig, LifterConfig, PretrainConfig
from adaptpose.datasets.keypoint_sets import BODY_25
from adaptpose.lifter import save_lifter
from adaptpose.lifters import build_lifter
from adaptpose.rounds_config import METHODS
from adaptpose.skeleton import H36M_16

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_python_blocks_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "open_detections" in _blocks("python")[number]:
        _people_and_lifter(tmp_path)
    exec(compile(_blocks("python")[number], f"README block {number}", "exec"), {})
    if "mine.npz" in _blocks("python")[number]:
        from adaptpose.datasets.registry import DatasetSpec, open_target

        assert open_target(DatasetSpec("mine.npz")).clips[0].num_frames == 100
    elif "open_detections" in _blocks("python")[number]:
        assert {path.suffix for path in Path("3d").iterdir()} == {".npz", ".csv", ".trc", ".bvh"}
    else:
        assert 50 < float(capsys.readouterr().out.split()[-1]) < 500


def _people_and_lifter(folder: Path) -> None:
    """What the README's prediction needs: a run's lifter and a folder of OpenPose files."""
    lifter = build_lifter(
        LifterConfig(widths=(3,), channels=8), H36M_16, H36M_16, torch.Generator().manual_seed(0)
    )
    (folder / "run").mkdir()
    save_lifter(folder / "run/lifter.safetensors", lifter, {"normalisation": "screen"})
    openpose(folder / "openpose", Film(), BODY_25)


def _commands() -> list[str]:
    lines = [line for text in DOCUMENTS for line in re.findall(r"^ *adapt .*$", text, re.MULTILINE)]
    return lines + re.findall(r"`(adapt [a-z].*?)`", " ".join(DOCUMENTS))


def test_commands_and_options_exist():
    known = get_command(build_app()).commands  # type: ignore[attr-defined]
    seen = _commands()
    assert len(seen) > 8
    for line in seen:
        words = shlex.split(line.replace("\\", ""), comments=True)
        assert words[1] in known, line
        options = {name for p in known[words[1]].params for name in (*p.opts, *p.secondary_opts)}
        for word in words[2:]:
            if word.startswith("--"):
                assert word.split("=")[0] in options, f"{word} in: {line}"


def test_settings_named_in_the_documents_exist():
    sections = {"fit": FitConfig(), "rounds": METHODS["full"], "lifter": LifterConfig(),
                "pretrain": PretrainConfig()}  # fmt: skip
    parts = "fit|rounds|generator|discriminator|loss|selection|lifter|pretrain"
    pattern = rf"`((?:{parts})(?:\.\w+)+)(?:=([\w.]+))?`"
    named = {pair for text in DOCUMENTS for pair in re.findall(pattern, text)}
    assert len(named) > 15
    for key, value in named:
        full = key if key.split(".")[0] in sections else f"fit.{key}"
        section, rest = full.split(".", 1)
        current = sections[section]
        for part in rest.split("."):
            assert hasattr(current, part), key
            current = getattr(current, part)
        if value:
            settle(dict(sections), assignments=[f"{full}={value}"])


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
