"""Datasets by name: synthetic people, open corpora of motion capture, and files of one's own.

A name is "synthetic-studio" or "synthetic-field", a corpus of `adaptpose.datasets.corpora`, or
the path of a `.npz` file (`adaptpose.datasets.files`) or of a folder of generated windows
(`adaptpose.datasets.generated`). Motions, unlike files and windows, are filmed by a rig.
The folder of the corpora is the `data_root` of the spec or else the environment's ADAPT_DATA.
Synthetic datasets read nothing from disk, so that they are the same everywhere.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

import torch

from adaptpose.clips import Clip2D, Clip3D, PoseData, TargetData
from adaptpose.datasets.files import read_dataset
from adaptpose.datasets.generated import (
    GeneratedSource,
    is_generated,
    open_generated,
    read_generated,
)
from adaptpose.datasets.noise import DetectorNoise, add_detector_noise, load_noise
from adaptpose.datasets.rigs import RIGS, Rig, film, rig_by_name
from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17, Skeleton, skeleton_by_name

DATA_ROOT_VARIABLE = "ADAPT_DATA"
"""Environment variable that names the folder of the corpora."""
NOISES = ("none", "detector")
"""What may be done to the 2D by name: nothing, or the errors of the shipped detector."""
_Clip = TypeVar("_Clip", Clip2D, Clip3D)


@dataclass(frozen=True)
class DatasetSpec:
    """Which dataset, and how to film it.

    `rig`: None is the dataset's own ("studio" for a corpus). `seed` draws synthetic people,
    cameras and noise. `frame_rate_hz` is that to which motions are resampled (50, as Human3.6M);
    `split` and `frame_rate_hz` do not concern files, which stay as they are. `noise` is
    one of `NOISES` or a JSON file of `adapt noise-fit`. `max_clips` keeps that many clips, drawn
    at random. `cache_dir` holds parsed corpora.
    """

    name: str
    rig: str | None = None
    split: str = "train"
    data_root: Path | None = None
    seed: int = 0
    frame_rate_hz: float = 50.0
    noise: str = "none"
    cache_dir: Path | None = None
    skeleton: str = "h36m16"
    max_clips: int | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """One line of `adapt datasets`: `found` is the folder it was found in, if it was."""

    name: str
    kind: Literal["synthetic", "corpus", "published", "rig"]
    title: str
    found: Path | None = None
    licence: str = ""
    how: str = ""


def check_spec(spec: DatasetSpec) -> None:
    """Raise what `open_dataset` would for a spec, as far as that shows without reading the data."""
    _checked_skeleton(spec)
    if is_generated(spec.name):
        return
    if _is_file(spec.name):
        if not Path(spec.name).is_file():
            got = "a folder without them" if Path(spec.name).is_dir() else "no such file"
            wanted = "a dataset (.npz) or a folder of generated windows"
            raise DataError(expected_message(spec.name, wanted, got, "check the path"))
        return
    _check_name(spec.name)
    if spec.name in _PRESETS:
        from adaptpose.datasets.synthetic import SPLITS

        known: Iterable[str] = SPLITS
    else:
        _corpora().find_corpus(spec.name, _corpus_root(spec))
        known = _corpora().CORPORA[spec.name].splits
    if spec.split not in known:
        raise ConfigError(unknown_name_message(f"split of '{spec.name}'", spec.split, known))


def open_dataset(spec: DatasetSpec) -> PoseData:
    """The clips of a dataset with their 3D, in the skeleton and with the noise of the spec.

    ConfigError for names, rigs, splits or noise that are not known or do not go together;
    DataError for data that is missing (the message says where to get it) or wrong.
    """
    skeleton = _checked_skeleton(spec)
    if is_generated(spec.name):
        # Windows are drawn independently: the first ones are as good as any.
        data = read_generated(Path(spec.name), spec.max_clips, spec.data_root, spec.cache_dir)
    elif _is_file(spec.name):
        data = read_dataset(Path(spec.name), need_3d=True)
    else:
        data = _filmed(spec)
    data = replace(data, clips=_some(data.clips, spec))
    if spec.noise != "none":
        data = add_detector_noise(data, _noise_model(spec.noise), spec.seed)
    return data.with_skeleton(skeleton)


def open_windows(spec: DatasetSpec) -> GeneratedSource:
    """The windows of a generated folder, to be read bank by bank; `max_clips` counts windows.

    ConfigError for what such windows cannot have: a rig, noise or another skeleton.
    """
    skeleton = _checked_skeleton(spec)
    if spec.noise != "none":
        fix = "generate from a source with noise"
        raise ConfigError(f"noise '{spec.noise}': is not added to generated windows (fix: {fix})")
    source = open_generated(Path(spec.name), spec.max_clips, spec.data_root, spec.cache_dir)
    if source.skeleton != skeleton:
        got = f"windows of '{source.skeleton.name}'"
        raise ConfigError(expected_message(spec.name, f"skeleton '{skeleton.name}'", got))
    return source


def open_target(spec: DatasetSpec) -> TargetData:
    """The 2D of a dataset: all that an adaptation may see of it. Errors as `open_dataset`.

    A file needs no 3D then; noise on a file's 2D is refused, as that is what a detector gave.
    """
    skeleton = _checked_skeleton(spec)
    if is_generated(spec.name) or not _is_file(spec.name):
        return open_dataset(spec).as_target()
    if spec.noise != "none":
        raise ConfigError(f"noise '{spec.noise}' is for labelled data, not for 2D from {spec.name}")
    data = read_dataset(Path(spec.name), need_3d=False)
    return replace(data, clips=_some(data.clips, spec)).with_skeleton(skeleton)


def dataset_names() -> tuple[str, ...]:
    """Names that `open_dataset` knows, beside paths of files."""
    return (*_PRESETS, *_corpora().CORPORA)


def describe_datasets(data_root: Path | None = None) -> list[DatasetInfo]:
    """What there is: synthetic datasets, corpora found or not, published datasets, rigs."""
    root, corpora = _root(data_root), _corpora()
    infos = [
        DatasetInfo(name, "synthetic", preset.title, how="made on the spot")
        for name, preset in _PRESETS.items()
    ]
    for corpus in corpora.CORPORA.values():
        found = None if root is None else root / corpus.folder
        found = found if found is not None and found.is_dir() else None
        how = corpus.where_to_get
        infos.append(DatasetInfo(corpus.name, "corpus", corpus.title, found, corpus.licence, how))
    infos += [
        DatasetInfo(
            name,
            "published",
            title,
            licence="licence-gated",
            how="cannot be read yet; a reader is planned",
        )
        for name, title in _PUBLISHED.items()
    ]
    return infos + [DatasetInfo(rig.name, "rig", rig.description) for rig in RIGS.values()]


@dataclass(frozen=True)
class _Preset:
    """A synthetic dataset: who performs and who films."""

    preset: str
    rig: str
    title: str


_PRESETS = {
    "synthetic-studio": _Preset("studio", "studio", "adults, synthetic, filmed in a studio"),
    "synthetic-field": _Preset(
        "field", "field", "children and athletes, synthetic, filmed low, high and on the move"
    ),
}
_PUBLISHED = {
    "h36m": "Human3.6M",
    "3dhp": "MPI-INF-3DHP",
    "3dpw": "3D Poses in the Wild",
    "ski": "Ski-PosePTZ-Camera",
}


def _filmed(spec: DatasetSpec) -> PoseData:
    if spec.name in _PRESETS:
        return _filmed_synthetic(spec, _PRESETS[spec.name])
    _check_name(spec.name)
    return _filmed_corpus(spec)


def _check_name(name: str) -> None:
    """Raise unless a name is that of synthetic people or of a corpus."""
    if name in _PUBLISHED:
        raise DataError(
            f"dataset '{name}': {_PUBLISHED[name]} is licence-gated and cannot be read "
            "yet (fix: write your copy in the form of adaptpose.datasets.files and give its path)"
        )
    if name not in dataset_names():
        known = (*dataset_names(), *_PUBLISHED)
        raise ConfigError(f"{unknown_name_message('dataset', name, known)}, or a path.npz")


def _filmed_synthetic(spec: DatasetSpec, preset: _Preset) -> PoseData:
    from adaptpose.datasets.synthetic import synthetic_motions

    rig = rig_by_name(spec.rig or preset.rig)
    motions = synthetic_motions(preset.preset, spec.split, spec.seed, spec.frame_rate_hz)
    return _filmed_data(spec, rig, film(motions, rig, spec.seed), synthetic=True)


def _filmed_corpus(spec: DatasetSpec) -> PoseData:
    corpora, root = _corpora(), _corpus_root(spec)
    corpus = corpora.CORPORA[spec.name]
    rig = rig_by_name(spec.rig or "studio")
    motions = corpora.load_motions(
        corpus.name, root, spec.split, spec.frame_rate_hz, spec.cache_dir
    )
    data = _filmed_data(spec, rig, film(motions, rig, spec.seed, root), synthetic=False)
    return replace(data, licence=corpus.licence, credit=corpus.credit)


def _corpus_root(spec: DatasetSpec) -> Path:
    """The folder of the corpora; DataError if none is named or it is not there."""
    corpus, root = _corpora().CORPORA[spec.name], _root(spec.data_root)
    if root is None:
        raise DataError(
            f"dataset '{corpus.name}': {DATA_ROOT_VARIABLE} is not set (fix: get the data from "
            f"{corpus.where_to_get}, put it in the folder '{corpus.folder}' of a data root and "
            f"set {DATA_ROOT_VARIABLE} to that, or give --data-root)"
        )
    return root


def _filmed_data(
    spec: DatasetSpec, rig: Rig, clips: tuple[Clip3D, ...], synthetic: bool
) -> PoseData:
    if not clips:
        raise DataError(f"dataset '{spec.name}', split '{spec.split}': no clips")
    name = f"{spec.name}:{spec.split}@{rig.name}"
    return PoseData(name, H36M_17, clips, synthetic, rig.normalisation)


def _corpora() -> ModuleType:
    # On first use: the readers of motion capture are not needed for synthetic data and files.
    from adaptpose.datasets import corpora

    return corpora


def _checked_skeleton(spec: DatasetSpec) -> Skeleton:
    """The skeleton of a spec, after its plain values are checked, before anything is read."""
    if spec.noise not in NOISES:
        _noise_model(spec.noise)
    if spec.max_clips is not None and spec.max_clips < 1:
        raise ConfigError(f"max_clips: expected a number of at least 1, got {spec.max_clips}")
    if not 0 < spec.frame_rate_hz < math.inf:
        raise ConfigError(f"frame_rate_hz: expected a number above 0, got {spec.frame_rate_hz}")
    if spec.rig is not None:
        rig_by_name(spec.rig)
        if _is_file(spec.name) or is_generated(spec.name):
            raise ConfigError(f"rig '{spec.rig}': {spec.name} is already filmed (fix: no rig)")
    return skeleton_by_name(spec.skeleton)


def _noise_model(noise: str) -> DetectorNoise:
    """The detector of a spec: the shipped one, or that of a JSON file of `adapt noise-fit`."""
    if noise == "detector":
        return load_noise()
    if not noise.endswith(".json"):
        raise ConfigError(f"{unknown_name_message('noise', noise, NOISES)}, or a path.json")
    return load_noise(Path(noise))


def _is_file(name: str) -> bool:
    return name.endswith(".npz") or "/" in name or os.sep in name


def _root(data_root: Path | None) -> Path | None:
    named = os.environ.get(DATA_ROOT_VARIABLE)
    return data_root or (Path(named) if named else None)


def _some(clips: tuple[_Clip, ...], spec: DatasetSpec) -> tuple[_Clip, ...]:
    """`max_clips` clips drawn at random, in their order; all if there are no more."""
    if spec.max_clips is None or spec.max_clips >= len(clips):
        return clips
    order = torch.randperm(len(clips), generator=stream(spec.seed, "max_clips"))
    return tuple(clips[k] for k in sorted(order[: spec.max_clips].tolist()))
