"""The open motion corpora by name: where they come from, how they are split, and their motions.

Joints are those of `H36M_17` in metres, z up (`datasets.mocap_joints` says what each means). The
text files are slow to parse, so motions already parsed and resampled are kept in one safetensors
file, named by a fingerprint of the files and of this reader.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adaptpose.datasets.cmu import CmuLists, read_cmu_lists, read_cmu_trial
from adaptpose.datasets.hdm05 import read_hdm05_take
from adaptpose.datasets.motion import Motion, check_motion, resample
from adaptpose.datasets.motion_cache import load_cached, motion_fingerprint, store_cached
from adaptpose.datasets.uiprmd import read_kinect_take, read_vicon_take
from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message


@dataclass(frozen=True)
class Corpus:
    """One corpus: its name and folder under the data root, its licence and its splits."""

    name: str
    folder: str
    title: str
    licence: str
    credit: str
    where_to_get: str
    splits: tuple[str, ...]


_CMU_LICENCE = "free for all uses, credit asked; do not resell the data itself"
_CMU_CREDIT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
_UIPRMD_CREDIT = "UI-PRMD: Vakanski et al., Data 2018, 3(1), 2."
_ALL = ("train", "validation", "test", "all")

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus("cmu", "cmu", "CMU motion capture: everyday actions and sports",
               _CMU_LICENCE, _CMU_CREDIT, "http://mocap.cs.cmu.edu, BVH at cgspeed.com", _ALL),
        Corpus("cmu-dance", "cmu", "CMU motion capture: dance, martial arts, acrobatics",
               _CMU_LICENCE, _CMU_CREDIT, "http://mocap.cs.cmu.edu, BVH at cgspeed.com",
               ("train", "test", "all")),
        Corpus("hdm05", "hdm05", "HDM05: eleven actions by five actors", "CC BY-SA 3.0",
               "Müller et al., Documentation Mocap Database HDM05, CG-2007-2, Bonn 2007.",
               "https://resources.mpi-inf.mpg.de/HDM05", ("train", "test", "all")),
        Corpus("uiprmd", "ui_prmd", "UI-PRMD: rehabilitation exercises, Vicon",
               "public domain (PDDL)", _UIPRMD_CREDIT,
               "https://webpages.uidaho.edu/ui-prmd", ("train", "test", "all")),
        Corpus("uiprmd-kinect", "ui_prmd", "UI-PRMD: rehabilitation exercises, Kinect",
               "public domain (PDDL)", _UIPRMD_CREDIT,
               "https://webpages.uidaho.edu/ui-prmd", ("train", "test", "all")),
    )
}  # fmt: skip
"""The corpora that can be read, by name."""

SPLIT_SUBJECTS: dict[str, dict[str, tuple[str, ...]]] = {
    "cmu": {"validation": ("08", "10"), "test": ("02",)},
    "cmu-dance": {"test": ("02", "04", "06", "08", "14", "charleston1", "charleston2")},
    "hdm05": {"test": ("mm", "tr")},
    "uiprmd": {"test": ("s08", "s09", "s10")},
    "uiprmd-kinect": {"test": ("s08", "s09", "s10")},
}
"""People held out of "train"; everybody else is in it. "cmu-dance" does not say who dances, most of
it on one figure: there takes are held out."""

UIPRMD_VICON_DROPPED = ("s05",)
"""People left out of "uiprmd": the ASI markers of s05 are 0.42 to 0.46 m apart, wider than any
pelvis (the others' are 0.24 to 0.28 m), so hips cannot be told from them."""

READER_VERSION = 2
"""To be raised with every change of what the readers return, so that old caches are not used."""

Reader = Callable[[Path], Motion | None]


def load_motions(
    corpus: str,
    data_root: Path,
    split: str,
    frame_rate_hz: float = 50.0,
    cache_dir: Path | None = None,
) -> list[Motion]:
    """The motions of a split at one frame rate, in the order of their files.

    `cache_dir` keeps what was parsed, under a fingerprint of the files, the split and the rate;
    None parses every time. ConfigError for an unknown corpus or split; DataError if the corpus is
    not there, or naming the file that is damaged. Frames between those of the file are
    interpolated linearly (`datasets.motion.resample`).
    """
    folder = find_corpus(corpus, data_root)
    known = CORPORA[corpus].splits
    if split not in known:
        raise ConfigError(unknown_name_message(f"split of '{corpus}'", split, known))
    files = [file for file in _files(corpus, folder) if _in_split(corpus, split, file[0])]
    if not files:
        raise DataError(_missing_message(CORPORA[corpus], folder))
    if cache_dir is None:
        return _read_all(files, frame_rate_hz)
    key = (READER_VERSION, corpus, split, frame_rate_hz)
    fingerprint = motion_fingerprint(key, folder, _inputs(files))
    cache = cache_dir / f"{corpus}-{split}-{fingerprint}.safetensors"
    motions = load_cached(cache)
    if motions is None:
        motions = _read_all(files, frame_rate_hz)
        store_cached(cache, motions)
    return motions


def find_corpus(name: str, data_root: Path) -> Path:
    """The folder of a corpus; DataError saying where to get it and where to put it if missing."""
    if name not in CORPORA:
        raise ConfigError(unknown_name_message("corpus", name, CORPORA))
    folder = data_root / CORPORA[name].folder
    if not folder.is_dir():
        raise DataError(_missing_message(CORPORA[name], folder))
    return folder


def _missing_message(corpus: Corpus, folder: Path) -> str:
    fix = f"get it from {corpus.where_to_get} and put it there"
    return expected_message(f"corpus '{corpus.name}'", f"its files under {folder}", "none", fix)


def _read_all(files: list[tuple[Path, Reader]], frame_rate_hz: float) -> list[Motion]:
    motions = []
    for path, reader in files:
        motion = reader(path)
        if motion is None:
            continue
        check_motion(motion, str(path))
        motions.append(resample(motion, frame_rate_hz))
    return motions


def _files(corpus: str, folder: Path) -> Iterator[tuple[Path, Reader]]:
    """Each file of a corpus with the function that reads it."""
    if corpus == "cmu":
        lists = read_cmu_lists(folder)
        yield from _cmu_files(folder, "bvh/*/*.bvh*", "own", lists)
        yield from _cmu_files(folder, "bvh_daz/*/*.bvh*", "daz", lists)
    elif corpus == "cmu-dance":
        lists = read_cmu_lists(folder)
        yield from _cmu_files(folder, "bvh_daz_dance/*/*.bvh*", "dance", lists)
        for name in CMU_ASF_DANCES:
            yield from _cmu_files(folder, f"asfamc/{name}.amc*", "asf", lists)
    elif corpus == "hdm05":
        for path in sorted(folder.glob("*/*/HDM_*.amc*")):
            yield path, read_hdm05_take
    elif corpus == "uiprmd":
        for path in sorted((folder / "vicon").glob("m*_positions.txt*")):
            if path.name.split("_")[1] not in UIPRMD_VICON_DROPPED:
                yield path, read_vicon_take
    else:
        for path in sorted((folder / "kinect").glob("m*_positions.txt*")):
            yield path, read_kinect_take


CMU_ASF_DANCES = ("backflip", "charleston1", "charleston2", "lambada")
"""Dances and acrobatics of CMU on their actors' own bones, in "cmu-dance". The pirouette is left
out: it is trial 05_11, which is in "cmu"."""


def _cmu_files(
    folder: Path, pattern: str, form: str, lists: CmuLists
) -> Iterator[tuple[Path, Reader]]:
    for path in sorted(folder.glob(pattern)):
        yield path, lambda file: read_cmu_trial(file, form, lists)


def _in_split(corpus: str, split: str, path: Path) -> bool:
    held_out = SPLIT_SUBJECTS[corpus]
    subject = _subject(corpus, path)
    if split == "all":
        return True
    if split == "train":
        return all(subject not in people for people in held_out.values())
    return subject in held_out[split]


def _subject(corpus: str, path: Path) -> str:
    """The person of a file, from its name; for "cmu-dance" the take."""
    if corpus == "cmu-dance":
        return path.name.split(".")[0]
    return path.name.split("_")[0 if corpus.startswith("cmu") else 1]


def _inputs(files: list[tuple[Path, Reader]]) -> list[Path]:
    """All files a result depends on: those listed and what lies beside them (skeletons, angles)."""
    folders = sorted({path.parent for path, _ in files})
    return [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
