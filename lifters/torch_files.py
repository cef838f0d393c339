"""Reading what `torch.save` wrote without running anything from the file.

Such a file is a pickle, which can name any function to be called. Here the few names that tensors
and plain containers need are answered with our own harmless functions, everything of numpy with an
inert placeholder, and any other name refuses the file. Both layouts are read: the zip archive
(torch >= 1.6) and the older single stream of pickles followed by raw storages.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from adaptpose.errors import CheckpointError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """What stands for an object of a kind that is not rebuilt (numpy values, random states)."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_torch_file(path: Path) -> Any:
    """The containers and tensors of a file of `torch.save`, on the CPU, with `Inert` elsewhere.

    CheckpointError if the file is missing, damaged, of another format, or names anything that
    tensors do not need.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: the checkpoint is not there")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_archive(archive)
        with path.open("rb") as file:
            return _read_stream(file, path.stat().st_size)
    except _RefusedNameError as error:
        raise CheckpointError(
            f"{path}: refused: the file asks to call '{error}', which no checkpoint needs"
        ) from error
    except Exception as error:
        # A damaged pickle can fail in any way; nothing has been changed when it does.
        raise CheckpointError(
            f"{path}: expected a checkpoint written by torch.save, got a damaged or foreign file "
            f"({type(error).__name__}: {error})"
        ) from error


class _RefusedNameError(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    """Pickle reader that knows a fixed list of names and nothing else."""

    def __init__(self, file: BinaryIO | io.BytesIO, storage: Callable[[tuple], Tensor]) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        # "_codecs.encode" is how bytes of numpy arrays are written for old pickle readers.
        if module.split(".")[0] == "numpy" or (module, name) == ("_codecs", "encode"):
            return Inert
        raise _RefusedNameError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        if pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise ValueError(f"unknown kind of stored object {pid[0]!r}")
        return self._storage(pid)


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (math.prod(size) and last >= storage.numel()):
        raise ValueError("a tensor reaches beyond its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset).clone()


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def _read_archive(archive: zipfile.ZipFile) -> Any:
    folder = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")

    def storage(pid: tuple) -> Tensor:
        _, dtype, key, _, count = pid
        return _from_bytes(archive.read(f"{folder}data/{key}"), dtype, count)

    return _Unpickler(io.BytesIO(archive.read(f"{folder}data.pkl")), storage).load()


def _read_stream(file: BinaryIO, file_size: int) -> Any:
    storages: dict[str, Tensor] = {}

    def storage(pid: tuple) -> Tensor:
        _, dtype, key, _, count, view = pid
        if view is not None:
            raise ValueError("views of storages are not read")
        if not 0 <= count * dtype.itemsize <= file_size:
            raise ValueError("a storage is larger than the file")
        return storages.setdefault(key, torch.zeros(count, dtype=dtype))

    def load() -> Any:
        return _Unpickler(file, storage).load()

    if (load(), load()) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise ValueError("not a file of torch.save")
    load()
    # Storages follow the pickle that uses them, so tensors are rebuilt in a second reading.
    start = file.tell()
    load()
    for key in load():
        (count,) = struct.unpack("<q", file.read(8))
        blank = storages[key]
        size = count * blank.dtype.itemsize
        storages[key] = _from_bytes(file.read(size), blank.dtype, blank.numel())
    file.seek(start)
    return load()


def _from_bytes(content: bytes, dtype: torch.dtype, count: int) -> Tensor:
    if len(content) != count * dtype.itemsize:
        raise ValueError("a storage is shorter or longer than announced")
    if not count:
        return torch.zeros(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)
