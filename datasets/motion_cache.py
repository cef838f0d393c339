"""Motions kept in one safetensors file: all frames in one tensor, the names beside it as JSON."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from adaptpose.datasets.motion import Motion

_FORMAT = "adaptpose-motions-1"


def motion_fingerprint(key: tuple, folder: Path, files: list[Path]) -> str:
    """A short name for a reading: changes with the key and with any file's name or size."""
    sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
    return hashlib.blake2b(repr((_FORMAT, key, sizes)).encode(), digest_size=8).hexdigest()


def load_cached(path: Path) -> list[Motion] | None:
    """The motions of a cache file, or None if there is none that can be used.

    A cache can always be made again, so a damaged or foreign one counts as absent.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            heads = json.loads(file.metadata()["motions"])
            # A copy: a tensor over the mapped file would die with the file.
            joints = file.get_tensor("joints_world").clone()
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
    parts = joints.split([head["frames"] for head in heads])
    return [
        Motion(h["subject"], h["action"], h["take"], h["frame_rate_hz"], part)
        for h, part in zip(heads, parts, strict=True)
    ]


def store_cached(path: Path, motions: list[Motion]) -> None:
    """Write motions to a cache file, whole or not at all."""
    heads = [
        {
            "subject": motion.subject,
            "action": motion.action,
            "take": motion.take,
            "frame_rate_hz": motion.frame_rate_hz,
            "frames": motion.joints_world.shape[0],
        }
        for motion in motions
    ]
    joints = torch.cat([motion.joints_world for motion in motions])
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        save_file({"joints_world": joints}, name, {"motions": json.dumps(heads)})
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
