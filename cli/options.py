"""Options that commands share, and how their texts become values.

An option is declared once here as a type; a command takes it as `name: DeviceOption = "auto"`.
"""

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.errors import ConfigError, expected_message, unknown_name_message

if TYPE_CHECKING:
    from torch import device as Device
else:
    Device = Any

_DATA, _RUN, _CONFIG, _MACHINE = "Data", "Run", "Configuration", "Machine and output"


def _data(*names: str, help: str, **extra: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_DATA, **extra)


SourceOption = Annotated[
    str | None, _data("--source", help="Dataset with 3D to train on: a name or a path.npz.")
]
TargetOption = Annotated[
    str | None, _data("--target", help="Dataset to adapt to, by its 2D: a name or a path.npz.")
]
DatasetOption = Annotated[
    str | None, _data("--dataset", help="Dataset to evaluate on: a name or a path.npz.")
]
RigOption = Annotated[
    str | None, _data("--rig", help="Cameras that film a dataset of motions; see `adapt datasets`.")
]
TargetRigOption = Annotated[
    str | None, _data("--target-rig", help="Cameras that film the target's motions.")
]
DataRootOption = Annotated[
    Path | None,
    _data("--data-root", envvar="ADAPT_DATA", help="Folder that holds the corpora."),
]
SplitOption = Annotated[str | None, _data("--split", help="train, validation or test.")]
FrameRateOption = Annotated[
    float | None, _data("--frame-rate", help="Resample motions to this rate (Hz).")
]
NoiseOption = Annotated[
    str | None,
    _data(
        "--noise",
        help="Errors of a detector on the 2D (of fit and ablate: the target's): "
        "none, detector, or a path.json of `adapt noise-fit`.",
    ),
]
MaxClipsOption = Annotated[
    int | None, _data("--max-clips", min=1, help="Use that many clips, drawn at random.")
]

KeypointsOption = Annotated[
    str | None,
    _data("--keypoints", help="Which 2D: gt or a detector's name; of a detector's output, its set "
          "of joints, e.g. body25."),
]  # fmt: skip
CamerasOption = Annotated[
    str | None, _data("--cameras", help="A set's name, or names of cameras between commas.")
]
TruthOption = Annotated[
    str | None, _data("--truth", help="Which 3D labels, of a dataset that has several.")
]
BodyModelOption = Annotated[
    Path | None, _data("--body-model", help="Folder of SMPL model files, where they are needed.")
]
ProtocolOption = Annotated[
    str | None,
    _data("--protocol", help="Scoring protocols of a published dataset: names between commas, "
          "all (default), or none for a plain evaluation."),
]  # fmt: skip
FormatOption = Annotated[
    str | None, _data("--format", help="Format of a detector's output; by default found out.")
]
SizeOption = Annotated[
    str | None,
    _data("--size", metavar="WxH", help="Image size in pixels of a detector's output, 1080x1920."),
]
FpsOption = Annotated[float | None, _data("--fps", help="Frame rate of a detector's output (Hz).")]
SkeletonOption = Annotated[
    str | None, _data("--skeleton", help="Joints of the lifter: h36m16 (default) or h36m17.")
]

LifterNameOption = Annotated[str | None, typer.Option("--lifter", help="tcn or mlp.")]
ChannelsOption = Annotated[int | None, typer.Option("--channels", help="Width of hidden layers.")]
WidthsOption = Annotated[
    str | None, typer.Option("--widths", help="Filter widths of the tcn, e.g. 3,3,3.")
]

RefineOption = Annotated[
    str,
    typer.Option("--refine", help="Lifted poses made consistent with their 2D: none, rays (joints "
                 "put on the rays of their keypoints) or refined (whole clips fitted, slower)."),
]  # fmt: skip

StepsOption = Annotated[
    str | None,
    typer.Option("--steps", rich_help_panel="PoseNet3D",
                 help="Stages of posenet3d between commas: teacher,distill,sja,joint (default)."),
]  # fmt: skip
PresetOption = Annotated[
    str | None,
    typer.Option("--preset", help="Settings to begin with: published (default) or cpu.",
                 rich_help_panel="PoseNet3D"),
]  # fmt: skip
BodyOption = Annotated[
    str | None,
    typer.Option("--body", help="Body model: anny (default), or a file .safetensors, .npz, .pkl.",
                 rich_help_panel="PoseNet3D"),
]  # fmt: skip
SjaOption = Annotated[
    str | None,
    typer.Option("--sja", help="Joint adaptation: convex (default), linear or none.",
                 rich_help_panel="PoseNet3D"),
]  # fmt: skip

OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder to write to; by default a new one below --runs.",
                 rich_help_panel=_RUN),
]  # fmt: skip
RunsOption = Annotated[
    Path, typer.Option("--runs", help="Folder that holds the runs.", rich_help_panel=_RUN)
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="Folder of a run; by default the latest one below --runs.",
                 rich_help_panel=_RUN),
]  # fmt: skip
ResumeOption = Annotated[
    Path | None,
    typer.Option("--resume", help="Go on with the stopped run in this folder.",
                 rich_help_panel=_RUN),
]  # fmt: skip
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed of every random draw.", rich_help_panel=_RUN)
]

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="JSON file of settings.", rich_help_panel=_CONFIG),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", rich_help_panel=_CONFIG,
                 help="Change one setting, e.g. lifter.channels=256; may be repeated."),
]  # fmt: skip

DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MACHINE),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads to use.", rich_help_panel=_MACHINE),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON, and nothing else, to stdout.",
                 rich_help_panel=_MACHINE),
]  # fmt: skip

_FACTORS = {"k": 10**3, "m": 10**6, "g": 10**9}


def parse_count(text: str, flag: str) -> int:
    """A whole number of at least 0 from texts like 1500000, 1_500_000, 1.5e6, 1.5M or 20k.

    ConfigError naming the flag for anything else; fractions are not rounded.
    """
    expected = "a whole number such as 200000, 2e5 or 0.2M"
    body = text.strip()
    factor = _FACTORS.get(body[-1:].lower(), 1)
    try:
        number = Decimal(body[:-1] if factor > 1 else body) * factor
        whole = number.is_finite() and number == number.to_integral_value()
    except InvalidOperation as error:
        raise ConfigError(expected_message(flag, expected, f"'{text}'")) from error
    if not whole:
        raise ConfigError(expected_message(flag, expected, f"'{text}'"))
    if number < 0:
        raise ConfigError(expected_message(flag, "0 or more", f"'{text}'"))
    if number > 10**15:
        raise ConfigError(expected_message(flag, "at most 1e15", f"'{text}'"))
    return int(number)


def parse_size(text: str | None, flag: str = "--size") -> tuple[int, int] | None:
    """(width, height) of a text like 1080x1920; ConfigError naming the flag for anything else."""
    if text is None:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) < 10**5 for side in sides):
        fix = "width first; a portrait phone has 1080x1920"
        raise ConfigError(expected_message(flag, "WIDTHxHEIGHT in pixels", f"'{text}'", fix))
    return int(sides[0]), int(sides[1])


def choose_word(text: str, known: tuple[str, ...], flag: str) -> Any:
    """One of the known words, whatever its case; ConfigError naming the flag for another."""
    word = text.strip().lower()
    if word not in known:
        raise ConfigError(f"{flag}: {unknown_name_message('choice', text, known)}")
    return word


def read_assignments(texts: list[str] | None, flag: str = "--set") -> dict[str, str]:
    """Keys and values of KEY=VALUE texts; ConfigError for a text without = or a key twice."""
    found: dict[str, str] = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not key:
            raise ConfigError(expected_message(flag, "KEY=VALUE", f"'{text}'"))
        if key in found:
            raise ConfigError(f"{flag} {key}: given twice (fix: give it once)")
        found[key] = value.strip()
    return found


def read_config_file(path: Path) -> dict[str, Any]:
    """The settings of a JSON file by dotted key; ConfigError if it is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"--config {path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        got = type(content).__name__
        raise ConfigError(expected_message(f"--config {path}", "a JSON object", got))
    return _dotted(content)


def choose(device: str, threads: int | None) -> Device:
    """The device of --device, with torch set to the number of --threads."""
    import torch

    from adaptpose.runtime import choose_device

    if threads is not None:
        torch.set_num_threads(threads)
    return choose_device(device)


def _dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(_dotted(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
