"""Lenses of the cameras of a rig: drawn from declared ranges, from real phones, or zoomed.

All lenses come out in pixels with the image size (width, height) they belong to. Within a rig all
cameras share one distortion model, so that their clips can be stacked.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from adaptpose.camera import DistortionModel, Intrinsics
from adaptpose.errors import DataError

PHONE_FILE = "phone_intrinsics.json"
"""Name of the file of real phone calibrations below a data root."""
PERSON_HEIGHT_M = 1.8
"""Height that a zoom takes a person to have."""


@dataclass(frozen=True)
class RangedLens:
    """A lens with a focal length drawn from a range and a distortion near a given one.

    `focal_px` is (low, high); the principal point lies up to `centre_jitter_px` from the middle
    of the image; each coefficient (k1, k2, k3, p1, p2) varies by `distortion_spread` of itself.
    """

    focal_px: tuple[float, float]
    image_size_px: tuple[int, int]
    centre_jitter_px: float = 10.0
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    distortion_spread: float = 0.1
    model: DistortionModel = "opencv"


@dataclass(frozen=True)
class PhoneLens:
    """The lens of a real phone or tablet held upright, or sideways in a share of the clips."""

    landscape_share: float = 0.5
    image_size_px: tuple[int, int] = (1080, 1920)


@dataclass(frozen=True)
class ZoomLens:
    """A long lens zoomed so that a person fills a share (low, high) of a square image."""

    fill: tuple[float, float]
    image_size_px: tuple[int, int] = (256, 256)


Lens = RangedLens | PhoneLens | ZoomLens
LensAndSize = tuple[Intrinsics, tuple[int, int]]


def draw_lens(
    lens: Lens, distance_m: float, phones: tuple[LensAndSize, ...], generator: torch.Generator
) -> LensAndSize:
    """Intrinsics in pixels and the image size of one camera.

    `distance_m` is the distance to the person, which only a zoom uses; `phones` are upright.
    """
    if isinstance(lens, ZoomLens):
        focal = uniform(lens.fill, generator) * min(lens.image_size_px) * distance_m
        return _undistorted(focal / PERSON_HEIGHT_M, lens.image_size_px), lens.image_size_px
    if isinstance(lens, PhoneLens):
        phone = phones[int(torch.randint(len(phones), (), generator=generator))]
        upright = resized(phone, lens.image_size_px)
        sideways = uniform((0.0, 1.0), generator) < lens.landscape_share
        return turned(upright) if sideways else upright
    flat = _undistorted(uniform(lens.focal_px, generator), lens.image_size_px)
    shift = torch.rand(2, generator=generator) * 2 - 1
    spread = torch.rand(5, generator=generator) * 2 - 1
    distortion = torch.tensor(lens.distortion) * (1 + lens.distortion_spread * spread)
    centre = flat.centre + lens.centre_jitter_px * shift
    return Intrinsics(flat.focal, centre, distortion, lens.model), lens.image_size_px


def phone_lenses(data_root: Path | None) -> tuple[LensAndSize, ...]:
    """Lenses of phones held upright, from a data root's `phone_intrinsics.json`.

    The file: `cameras`, each with `intrinsics` (3 x 3, px), OpenCV `distortion` k1 k2 p1 p2 k3
    and `image_size_hw`. Without the file: a few typical ones from a built-in table. DataError if
    the file is damaged.
    """
    path = None if data_root is None else data_root / PHONE_FILE
    if path is None or not path.is_file():
        return tuple(_typical_phone(*row) for row in _TYPICAL_PHONES)
    try:
        cameras = json.loads(path.read_text())["cameras"]
        phones = tuple(_phone(camera) for camera in cameras)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not a file of phone calibrations ({error})") from error
    if not phones:
        raise DataError(f"{path}: no cameras")
    return phones


def turned(lens: LensAndSize) -> LensAndSize:
    """The lens of the same camera turned by a quarter: the image's old y axis becomes its x axis.

    New x = old y and new y = width - old x; the tangential terms of the "opencv" model turn too.
    """
    intrinsics, (width, height) = lens
    k1, k2, k3, p1, p2 = intrinsics.distortion
    cx, cy = intrinsics.centre
    side = Intrinsics(
        intrinsics.focal.flip(0),
        torch.stack([cy, width - cx]),
        torch.stack([k1, k2, k3, -p2, p1]),
        intrinsics.model,
    )
    return side, (height, width)


def resized(lens: LensAndSize, image_size_px: tuple[int, int]) -> LensAndSize:
    """The same lens with its image scaled to another size (per axis)."""
    intrinsics, (width, height) = lens
    scale = torch.tensor([image_size_px[0] / width, image_size_px[1] / height])
    focal, centre = intrinsics.focal * scale, intrinsics.centre * scale
    return replace(intrinsics, focal=focal, centre=centre), image_size_px


def fold_radius2(intrinsics: Intrinsics) -> float:
    """Squared undistorted radius (X/Z)² + (Y/Z)² from which the radial model turns back, up to 16.

    Beyond it the polynomial is no lens any more: points outside the image come back inside.
    """
    r2 = torch.linspace(0, 16, 3201, dtype=torch.float64)
    k1, k2, k3 = intrinsics.distortion[:3].double()
    slope = 1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3))
    turned_back = (slope <= 0).nonzero()
    return float(r2[turned_back[0, 0]]) if len(turned_back) else 16.0


def room_for(lens: LensAndSize, reach_m: tuple[float, float]) -> float:
    """Distance (m) from which a body that reaches that far sideways and up or down fits in."""
    intrinsics, size = lens
    tangent = torch.tensor(size) / 2 / intrinsics.focal
    return float((torch.tensor(reach_m) / tangent).max())


def uniform(limits: tuple[float, float], generator: torch.Generator) -> float:
    """A number drawn uniformly between two limits."""
    return limits[0] + (limits[1] - limits[0]) * float(torch.rand((), generator=generator))


def _undistorted(focal_px: float, image_size_px: tuple[int, int]) -> Intrinsics:
    middle = torch.tensor(image_size_px) / 2
    return Intrinsics(torch.tensor([focal_px, focal_px]), middle, torch.zeros(5), "opencv")


def _phone(camera: dict) -> LensAndSize:
    matrix = torch.tensor(camera["intrinsics"], dtype=torch.float32)
    k1, k2, p1, p2, k3 = (float(value) for value in camera["distortion"])
    height, width = (int(value) for value in camera["image_size_hw"])
    lens = Intrinsics(
        matrix[[0, 1], [0, 1]], matrix[:2, 2], torch.tensor([k1, k2, k3, p1, p2]), "opencv"
    )
    return (lens, (width, height)) if height >= width else turned((lens, (width, height)))


def _typical_phone(focal: float, k1: float, k2: float, k3: float) -> LensAndSize:
    flat = _undistorted(focal * 960, (1080, 1920))
    return replace(flat, distortion=torch.tensor([k1, k2, k3, 0.0, 0.0])), (1080, 1920)


_TYPICAL_PHONES = (
    (1.35, 0.20, -1.00, 1.60),
    (1.50, 0.15, -0.60, 0.80),
    (1.60, 0.08, 0.10, -0.80),
    (1.80, 0.06, 0.20, -1.00),
)
"""Focal length by half the longer side, k1, k2, k3: typical of the main cameras of phones."""
