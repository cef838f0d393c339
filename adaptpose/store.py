"""Files that are whole or not there: atomic writes, tensors with metadata, JSON, JSON lines.

Everything the package writes goes through here: to a temporary file in the same folder, flushed
to disk, renamed. Tensors are stored as safetensors, so loading never runs code.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from adaptpose.errors import CheckpointError, DataError

_TENSOR_KEY = "__tensor__"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that takes the name `path` only when complete and on disk.

    DataError if the disk is full or the folder cannot be written; nothing is left behind then.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path}: cannot be written: {reason} (fix: free space or --out)"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path, what: str) -> Any:
    """Read JSON; CheckpointError naming the file if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: {what} is not there") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {what} is damaged or not JSON ({error})") from error


def write_tensors(path: Path, tensors: dict[str, Tensor], meta: Any) -> None:
    """Write named tensors and JSON metadata in one safetensors file, atomically."""
    stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(path, safetensors_bytes(stored, metadata={"meta": json.dumps(meta)}))


def read_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], Any]:
    """Named tensors and metadata of a file; CheckpointError if missing, damaged or foreign."""
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what} is not there: {got} (fix: check the path)")
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("meta", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        message = f"{path}: expected {what} as safetensors, got a damaged or foreign file ({error})"
        message += " (fix: copy it again, or give another file)"
        raise CheckpointError(message) from error
    return tensors, meta


def split_tensors(value: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Nested containers as (flat named tensors, the same containers with names for tensors).

    Dictionaries keep non-string keys as ["key", type] pairs, as optimiser states need.
    """
    if isinstance(value, Tensor):
        return {prefix: value}, {_TENSOR_KEY: prefix}
    if isinstance(value, dict):
        pairs, tensors = [], {}
        for key, item in value.items():
            inner, rest = split_tensors(item, f"{prefix}/{key}")
            tensors.update(inner)
            pairs.append([key, rest])
        return tensors, {"__dict__": pairs}
    if isinstance(value, list | tuple):
        tensors, items = {}, []
        for number, item in enumerate(value):
            inner, rest = split_tensors(item, f"{prefix}/{number}")
            tensors.update(inner)
            items.append(rest)
        return tensors, items
    return {}, value


def join_tensors(tensors: dict[str, Tensor], value: Any) -> Any:
    """The inverse of `split_tensors`; tuples come back as lists."""
    if isinstance(value, dict) and _TENSOR_KEY in value:
        return tensors[value[_TENSOR_KEY]]
    if isinstance(value, dict):
        return {key: join_tensors(tensors, item) for key, item in value["__dict__"]}
    if isinstance(value, list):
        return [join_tensors(tensors, item) for item in value]
    return value


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested containers of tensors and plain values, atomically."""
    tensors, rest = split_tensors(state)
    # Scalars of optimisers are 0-d tensors; cloned so that no two entries share memory.
    write_tensors(path, {k: torch.clone(v) for k, v in tensors.items()}, rest)


def read_state(path: Path, what: str) -> dict[str, Any]:
    """Read what `write_state` wrote."""
    tensors, rest = read_tensors(path, what)
    return join_tensors(tensors, rest)
