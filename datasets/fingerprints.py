"""Marks by which a dataset is known again: on other machines too, and not if anything changed.

What is exact is hashed: names, sizes, rates, which frames are valid, which numbers are finite.
Coordinates are not exact: where matrices are multiplied in another order, the last bits of a filmed
clip are others, and no rounding hides that for good, as some number always lies on its border. So
coordinates come as sums, one for every few clips, which two marks need to have alike within a
tolerance. Every coordinate enters its sum with a weight of its own of 0.75 to 1.25 of either sign,
and every frame with one of 0.5 to 1.5, so that neither exchanged joints nor a clip played backwards
cancel out.

A sum moves by some 1 mm if one joint of one clip is moved by 1 mm in all its frames, or its 2D by
0.1 % of half the image; tolerated are 0.15 mm. Rounding of coordinates at 5 m moves it by some
0.002 mm, errors of one in a million by 0.03 mm. A mark does not show what hardly moves the mean of
a clip: one joint in one of a thousand frames.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from adaptpose.clips import Clip2D, Clip3D, PoseData, TargetData

CLIPS_IN_SUM = 16
STEP = 1e-5
"""What the last digit of a sum stands for."""
TOLERANCE = 15
"""Digits by which sums of the same data may differ."""

_DIGITS = 4
_RANGE = 16**_DIGITS
_IN_2D = 10.0  # a thousandth of half an image is as much as a centimetre
_IN_PLACE = 0.2  # cameras stand farther away than people, and may do so by more
_OLD, _NEW = re.compile("[0-9a-f]{16}"), re.compile("[0-9a-f]{16}:([0-9a-f]{4})*")
_ROOM = 1024


def fingerprint(data: PoseData | TargetData) -> str:
    """A mark that names the content of a dataset, whatever it is called; see `agreement`.

    16 hexadecimal digits, a colon, then 4 for every sum: of 2D and, of labelled data, of 3D.
    """
    exact = hashlib.blake2b(digest_size=8)
    exact.update(repr((data.skeleton.name, data.normalisation)).encode())
    digits = []
    for first in range(0, len(data.clips), CLIPS_IN_SUM):
        sums: dict[str, float] = {}
        used = 0
        for clip in data.clips[first : first + CLIPS_IN_SUM]:
            exact.update(_exact_part(clip))
            for kind, values, unit in _coordinates(clip):
                sums[kind] = sums.get(kind, 0.0) + unit * _weighted(values, used)
                used += values.shape[1]
        digits += [f"{round(value / STEP) % _RANGE:0{_DIGITS}x}" for value in sums.values()]
    return f"{exact.hexdigest()}:{''.join(digits)}"


def agreement(before: str | None, now: str) -> Literal["same", "changed", "unknown"]:
    """Whether two marks name the same data; "unknown" if the first is of a version without sums."""
    if before == now:
        return "same"
    if before is None or not _NEW.fullmatch(now):
        return "changed"
    if not _NEW.fullmatch(before):
        return "unknown" if _OLD.fullmatch(before) else "changed"
    exact, _, digits = before.partition(":")
    own, _, own_digits = now.partition(":")
    if exact != own or len(digits) != len(own_digits):
        return "changed"
    pairs = zip(_numbers(digits), _numbers(own_digits), strict=True)
    apart = max(((a - b + _RANGE // 2) % _RANGE - _RANGE // 2 for a, b in pairs), key=abs)
    return "same" if abs(apart) <= TOLERANCE else "changed"


def _numbers(digits: str) -> Iterator[int]:
    for place in range(0, len(digits), _DIGITS):
        yield int(digits[place : place + _DIGITS], 16)


def _exact_part(clip: Clip2D) -> bytes:
    about = [clip.subject, clip.action, clip.camera, f"{clip.frame_rate_hz:.6g}",
             clip.image_size_px]  # fmt: skip
    if isinstance(clip, Clip3D):
        about.append(clip.intrinsics.model)
    masks = [clip.valid, *(torch.isfinite(values) for _, values, _ in _coordinates(clip))]
    shapes = [tuple(mask.shape) for mask in masks]
    packed = [np.packbits(mask.numpy()).tobytes() for mask in masks]
    return b"".join([repr((about, shapes)).encode(), *packed])


def _coordinates(clip: Clip2D) -> Iterator[tuple[str, Tensor, float]]:
    """Sum, values (frames, entries) and unit of all that is measured; what stands is one frame."""
    yield "seen", clip.pose2d.flatten(1), _IN_2D
    yield "seen", clip.confidence, 1.0
    if isinstance(clip, Clip3D):
        lens = clip.intrinsics
        yield "labels", clip.pose3d_cam.flatten(1), 1.0
        yield "labels", torch.cat([lens.focal, lens.centre, lens.distortion])[None], 1.0
        yield "labels", clip.T_cam_world.reshape(-1, 16), _IN_PLACE


def _weighted(values: Tensor, first: int) -> float:
    """Mean over frames of the values' sum by weight; `first` is the place of the first entry."""
    finite = torch.nan_to_num(values.double(), nan=0.0, posinf=0.0, neginf=0.0).numpy()
    frames, entries = finite.shape
    of_frame = 0.5 + _random("frames", frames)
    drawn = 2 * _random("entries", first + entries)[first:] - 1
    of_entry = np.sign(drawn) * (0.75 + 0.5 * np.abs(drawn))
    return float(of_frame @ finite @ of_entry) / max(1, frames)


def _random(name: str, count: int) -> np.ndarray:
    """Numbers from 0 to 1, the same for ever; of more numbers these are the first."""
    return _some_random(name, -(-count // _ROOM) * _ROOM)[:count]


@lru_cache(maxsize=64)
def _some_random(name: str, count: int) -> np.ndarray:
    digest = hashlib.shake_256(name.encode()).digest(2 * count)
    return (np.frombuffer(digest, "<u2") + 0.5) / 2**16
