"""Devices and randomness: the only place that names a device or makes a generator.

Every draw of the package comes from a `torch.Generator` made here. A stream is named by a seed
and a path of names and counters, e.g. ("fit", epoch, step), so a run that resumes draws the same
numbers as one that never stopped, without saving generator states.
"""

import hashlib

import torch

from adaptpose.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device of a flag: auto, cpu, cuda, cuda:N or mps; ConfigError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"--device {name}: expected auto, cpu, cuda, cuda:N or mps (fix: --device auto)"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: no CUDA device is available (fix: --device cpu)")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"--device {name}: no MPS device is available (fix: --device cpu)")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")
    return device


def stream_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream named by the path; different paths give unrelated streams."""
    digest = hashlib.blake2b(repr((seed, *path)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stream(seed: int, *path: str | int, device: torch.device | None = None) -> torch.Generator:
    """A generator for the stream named by the path, on a device (default CPU)."""
    generator = torch.Generator(device=device or torch.device("cpu"))
    return generator.manual_seed(stream_seed(seed, *path))


def has_fused_optimisers(device: torch.device) -> bool:
    """Whether torch's optimisers can update all parameters in one pass on a device."""
    return device.type in ("cpu", "cuda")
