"""Reading of named arrays from an `.npz` archive with an error message for everything amiss.

Keys are `<clip>/<key>`, or `<key>` for what holds for the whole file and for every clip without
an own one. Nothing of the file is run: arrays of objects are refused.
"""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adaptpose.errors import DataError, expected_message, unknown_name_message

_DAMAGE = (
    OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What zip, the parser of array headers and the allocation by a header's shape may raise."""


class ArchiveReader:
    """Arrays of one archive by clip and key."""

    def __init__(self, path: Path, archive: np.lib.npyio.NpzFile, known: tuple[str, ...]) -> None:
        self._path, self._archive, self._keys = path, archive, set(archive.files)
        foreign = [key for key in archive.files if key.rpartition("/")[2] not in known]
        if foreign:
            raise DataError(f"{path}: {unknown_name_message('key', foreign[0], known)}")

    def clip_names(self) -> list[str]:
        """Names of the clips in order; DataError if there is none."""
        names = {key.rpartition("/")[0] for key in self._keys if "/" in key}
        if not names:
            raise DataError(f"{self._path}: no clips (fix: keys such as 'clip00000/pose2d_px')")
        return sorted(names)

    def has(self, clip: str, key: str) -> bool:
        """Whether a clip has the key, its own or the whole file's."""
        return f"{clip}/{key}" in self._keys or key in self._keys

    def array(self, clip: str, key: str) -> np.ndarray:
        """The array of a key as it is in the file; DataError if it is missing or damaged."""
        own = f"{clip}/{key}"
        if not self.has(clip, key):
            raise DataError(f"{self.thing(clip)}: '{key}' is missing")
        try:
            return self._archive[own if own in self._keys else key]
        except _DAMAGE as error:
            raise DataError(f"{self.thing(clip)}, {key}: cannot be read ({error})") from error

    def numbers(self, clip: str, key: str, shape: tuple[int | None, ...]) -> Tensor:
        """The numbers of a key as float32 of the given shape (None: any length)."""
        array = self.array(clip, key)
        thing = f"{self.thing(clip)}, {key}"
        if array.dtype.kind not in "fiub":
            raise DataError(expected_message(thing, "numbers", f"type {array.dtype}"))
        sizes = zip(shape, array.shape, strict=False)
        if array.ndim != len(shape) or any(want not in (None, got) for want, got in sizes):
            want = ", ".join("any" if size is None else str(size) for size in shape)
            raise DataError(expected_message(thing, f"shape ({want})", f"{array.shape}"))
        return torch.from_numpy(np.array(array, dtype=np.float32))

    def number(self, clip: str, key: str) -> float:
        """The single number of a key, in double precision."""
        self.numbers(clip, key, ())
        return float(self.array(clip, key))

    def text(self, clip: str, key: str, default: str | None = None) -> str:
        """The text of a key; without it the default, if there is one."""
        if default is not None and not self.has(clip, key):
            return default
        array = self.array(clip, key)
        if array.ndim != 0 or array.dtype.kind != "U":
            got = f"type {array.dtype}, shape {array.shape}"
            raise DataError(expected_message(f"{self.thing(clip)}, {key}", "one text", got))
        return str(array)

    def choice(self, clip: str, key: str, known: tuple[str, ...]) -> str:
        """The text of a key that must be one of several; the first of them without the key."""
        value = self.text(clip, key, known[0])
        if value not in known:
            raise DataError(f"{self.thing(clip)}: {unknown_name_message(key, value, known)}")
        return value

    def thing(self, clip: str) -> str:
        """How messages name a clip of the file, or with "" the file."""
        return f"{self._path}, clip '{clip}'" if clip else str(self._path)


@contextmanager
def open_archive(path: Path, known: tuple[str, ...]) -> Iterator[ArchiveReader]:
    """A reader of an `.npz` file whose keys are all known; closed at the end of the block.

    DataError if the file is missing, empty, cut short, no archive, or has a key that is not known.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file (expected a dataset, .npz)")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if not zipfile.is_zipfile(path):
        fix = "copy or write the file again"
        got = "another kind of file, or one cut short"
        raise DataError(expected_message(str(path), "an .npz archive", got, fix))
    try:
        archive = np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        raise DataError(f"{path}: the file is damaged ({error})") from error
    with archive:
        yield ArchiveReader(path, archive, known)
