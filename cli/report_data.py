"""What a report draws on: a run's lifters, its generator, and bounded samples of its data.

Whatever is not there any more is left out and named in `missing`, so that a report can be written
from a run directory alone.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from adaptpose.cli.experiment import LABELS, Plan
from adaptpose.cli.samplers import load_generator
from adaptpose.cli.specs import change_spec
from adaptpose.clips import Clip2D, Clip3D, Normalisation, PoseData, TargetData
from adaptpose.datasets.fingerprints import agreement, fingerprint
from adaptpose.datasets.registry import DatasetSpec, open_dataset, open_target
from adaptpose.errors import AdaptError
from adaptpose.generator import MotionGenerator
from adaptpose.lifter import Lifter
from adaptpose.lifters import load_lifter
from adaptpose.rundir import RunDirectory
from adaptpose.store import read_json

MAX_FRAMES = 20_000
"""Most frames of a dataset that a report looks at."""
CLIP_FRAMES = 200
"""Frames of a clip that are worth a place among them, if a motion shown does not need more."""

_Data = TypeVar("_Data", PoseData, TargetData)
_Clip = TypeVar("_Clip", Clip2D, Clip3D)


@dataclass(frozen=True)
class ReportData:
    """Data by role as the lifters see it, and the trained networks; None for what is not there.

    `lifters` are by label, on the device; `missing` says what is not there, and why.
    """

    source: PoseData | None
    target: TargetData | None
    test: PoseData | None
    lifters: dict[str, Lifter]
    generator: MotionGenerator | None
    missing: tuple[str, ...]


def collect(
    run: RunDirectory, plan: Plan, data_root: Path | None, device: torch.device
) -> ReportData:
    """Everything of a fit run that is there; damaged files of the run raise CheckpointError."""
    missing: list[str] = []
    source = _opened("source", plan.source, data_root, missing)
    test = None if plan.test is None else _opened("test", plan.test, data_root, missing)
    target = _opened_target(plan.target, data_root, missing)
    first = next((data for data in (target, source, test) if data is not None), None)
    seen = plan.normalisation or ("screen" if first is None else first.normalisation)
    lifters = _lifters(run, device, missing)
    generator = _generator(run, plan, lifters, device, missing)
    found = {
        "source": _as_seen(source, seen),
        "target": _as_seen(target, seen),
        "test": _as_seen(test, seen),
    }
    missing += _changed(run, found)
    return ReportData(**found, lifters=lifters, generator=generator, missing=tuple(missing))


def sample_clips(
    clips: tuple[_Clip, ...], clip_frames: int, generator: torch.Generator
) -> tuple[_Clip, ...]:
    """The middles of clips drawn at random: at most MAX_FRAMES frames in all.

    As many clips as give `clip_frames` frames each, or all of them and more frames of each; parts
    without a valid frame are left out.
    """
    count = max(1, min(len(clips), MAX_FRAMES // max(1, clip_frames)))
    order = torch.randperm(len(clips), generator=generator)[:count]
    parts = [middle_part(clips[k], MAX_FRAMES // count) for k in sorted(order.tolist())]
    return tuple(part for part in parts if bool(part.valid.any()))


def middle_part(clip: _Clip, frames: int) -> _Clip:
    """The middle frames of a clip; the clip itself if it has no more."""
    start = max(0, (clip.num_frames - frames) // 2)
    return cut_clip(clip, slice(start, start + frames))


def cut_clip(clip: _Clip, rows: slice) -> _Clip:
    """The frames of a clip at a slice, as a clip."""
    changes = {name: getattr(clip, name)[rows] for name in ("pose2d", "confidence", "valid")}
    if isinstance(clip, Clip3D):
        changes["pose3d_cam"] = clip.pose3d_cam[rows]
        if clip.T_cam_world.ndim == 3:
            changes["T_cam_world"] = clip.T_cam_world[rows]
    return dataclasses.replace(clip, **changes)


def _opened(
    role: str, spec: DatasetSpec, data_root: Path | None, missing: list[str]
) -> PoseData | None:
    try:
        return open_dataset(change_spec(spec, data_root=data_root))
    except AdaptError as error:
        missing.append(f"The {role} data could not be opened: {error}")
        return None


def _opened_target(
    spec: DatasetSpec, data_root: Path | None, missing: list[str]
) -> TargetData | None:
    try:
        return open_target(change_spec(spec, data_root=data_root))
    except AdaptError as error:
        missing.append(f"The target data could not be opened: {error}")
        return None


def _as_seen(data: _Data | None, seen: Normalisation) -> _Data | None:
    return None if data is None else dataclasses.replace(data, normalisation=seen)


def _lifters(run: RunDirectory, device: torch.device, missing: list[str]) -> dict[str, Lifter]:
    paths = {label: run.path / f"{stem}.safetensors" for label, stem in LABELS.items()}
    missing += [
        f"The run has no {label} lifter yet."
        for label, path in paths.items()
        if label != "oracle" and not path.is_file()
    ]
    found = {label: path for label, path in paths.items() if path.is_file()}
    return {label: load_lifter(path)[0].to(device) for label, path in found.items()}


def _generator(
    run: RunDirectory,
    plan: Plan,
    lifters: dict[str, Lifter],
    device: torch.device,
    missing: list[str],
) -> MotionGenerator | None:
    if plan.rounds is not None:
        return None
    if plan.fit.start != "source":
        missing.append(
            f"Nothing generated is shown: the generator starts from windows of the source filmed "
            f"anew (fit.start '{plan.fit.start}'), which the run does not keep."
        )
        return None
    path, lifter = run.path / "generator.safetensors", lifters.get("adapted")
    if not path.is_file() or lifter is None:
        missing.append("The run has no generator yet.")
        return None
    return load_generator(path, plan.fit, lifter).to(device)


def _changed(run: RunDirectory, found: dict[str, PoseData | TargetData | None]) -> list[str]:
    """A line for every role whose data is not what the run began with."""
    made_by = read_json(run.path / "provenance.json", "the run's provenance")
    began = made_by.get("datasets", {})
    return [
        f"The {role} data is not what the run began with, so what is drawn from it may differ."
        for role, data in found.items()
        if data is not None
        and role in began
        and agreement(began[role], fingerprint(data)) == "changed"
    ]
