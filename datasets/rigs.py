"""Camera rigs: film motions, and so turn them into clips with exact labels.

A rig is declared, not programmed: mounts with their lens, place and handling. Every camera is
drawn from a stream named by seed, rig, motion and camera, so a clip depends on no other motion.
Rigs with `area_radius_m` cut a motion that travels farther into parts and are set up anew around
each, as a studio's area is all that its cameras see.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptpose.camera import (
    Intrinsics,
    in_front,
    intrinsics_to_normalised,
    project,
    world_to_camera,
)
from adaptpose.clips import Clip3D, Normalisation
from adaptpose.datasets.lenses import (
    Lens,
    LensAndSize,
    PhoneLens,
    RangedLens,
    ZoomLens,
    draw_lens,
    fold_radius2,
    phone_lenses,
    room_for,
    uniform,
)
from adaptpose.datasets.motion import Motion, check_motion
from adaptpose.datasets.rig_paths import (
    FLIGHT,
    HAND,
    PAN_HEAD,
    REACH_M,
    TRIPOD,
    Handling,
    Stand,
    camera_path,
    cut_into_areas,
    floor_level,
)
from adaptpose.errors import ConfigError, unknown_name_message
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17

AZIMUTH_JITTER_RAD = math.radians(8)
"""How far a camera stands from its declared azimuth at most."""
NEAREST_M = 0.3
"""Depth at and below which a joint is too near the camera for a frame to be valid."""
LEAST_IN_IMAGE = 0.75
"""Share of joints that must be in the image for a frame to be valid."""


@dataclass(frozen=True)
class Mount:
    """`count` cameras alike, evenly spread in azimuth from `azimuth_deg` on.

    Distance (horizontal, m) and height above the floor (m) are drawn from their ranges; a camera
    whose lens would cut the person off stands farther away.
    """

    name: str
    lens: Lens
    distance_m: tuple[float, float]
    height_m: tuple[float, float]
    count: int = 1
    azimuth_deg: float = 0.0
    handling: Handling = TRIPOD


@dataclass(frozen=True)
class Rig:
    """Cameras that film every motion together; all turned by one random azimuth per motion."""

    name: str
    description: str
    mounts: tuple[Mount, ...]
    area_radius_m: float | None = None
    normalisation: Normalisation = "screen"


_STUDIO_LENS = RangedLens(
    (1143.0, 1149.0), (1000, 1000), 15.0, (-0.2, 0.24, -0.003, -0.001, -0.001), 0.1, "h36m"
)
_SURROUND_LENS = RangedLens((1495.0, 1505.0), (2048, 2048), 20.0)
_ACTION_LENS = RangedLens((1050.0, 1500.0), (1920, 1080), 20.0, (-0.1, 0.03, 0.0, 5e-4, 5e-4), 0.5)
_LONG_LENS = RangedLens((1500.0, 2400.0), (1920, 1080), 20.0, (0.05, -0.05, 0.0, 5e-4, 5e-4), 0.5)

STUDIO = Rig(
    "studio",
    "4 tripods at the corners of a room, chest height, 4-5.5 m away, f 1145 px on 1000 x 1000 "
    "(Human3.6M)",
    (Mount("corner", _STUDIO_LENS, (4.0, 5.5), (1.3, 1.7), 4, 45.0),),
    area_radius_m=1.75,
)
SURROUND = Rig(
    "surround",
    "8 cameras around: 3 at the chest, 2 at the knee, 2 under the ceiling, 1 near the floor, "
    "2.5-4.4 m away, f 1500 px on 2048 x 2048 (MPI-INF-3DHP)",
    (
        Mount("chest", _SURROUND_LENS, (2.8, 4.4), (1.2, 1.6), 3, 0.0),
        Mount("knee", _SURROUND_LENS, (2.8, 4.4), (0.4, 0.7), 2, 60.0),
        Mount("ceiling", _SURROUND_LENS, (2.5, 4.0), (2.6, 3.2), 2, 150.0),
        Mount("floor", _SURROUND_LENS, (3.0, 4.4), (0.1, 0.3), 1, 285.0),
    ),
    area_radius_m=1.25,
)
HANDHELD = Rig(
    "handheld",
    "1 phone in the hand of a person who walks around the subject 2-4 m away, shaking and "
    "rolling, upright or sideways (3DPW)",
    (Mount("phone", PhoneLens(), (2.0, 4.0), (1.4, 1.7), handling=HAND),),
)
PTZ = Rig(
    "ptz",
    "3 zoomed cameras 8-20 m away that pan after the person, 256 x 256 px, 2D root-centred and "
    "of norm 1 (Ski-PosePTZ)",
    (Mount("pan", ZoomLens((0.5, 0.7)), (8.0, 20.0), (1.0, 3.0), 3, handling=PAN_HEAD),),
    area_radius_m=2.0,
    normalisation="root_frobenius",
)
DRONE = Rig(
    "drone",
    "1 camera that flies along 5-12 m above the floor and looks down by 20-60 degrees",
    (Mount("drone", _LONG_LENS, (6.5, 11.0), (5.0, 12.0), handling=FLIGHT),),
)
FIELD = Rig(
    "field",
    "4 cameras of other heights, focal lengths and handling than a studio's: low, high, hand-held "
    "and flying",
    (
        Mount("low", _ACTION_LENS, (3.0, 6.0), (0.2, 0.6), 1, 0.0),
        Mount("high", _LONG_LENS, (4.0, 9.0), (3.0, 5.0), 1, 90.0),
        Mount("phone", PhoneLens(), (2.0, 4.5), (1.3, 1.8), 1, 180.0, HAND),
        Mount("drone", _LONG_LENS, (6.5, 11.0), (5.0, 12.0), 1, 270.0, FLIGHT),
    ),
    area_radius_m=2.0,
)
RIGS: dict[str, Rig] = {r.name: r for r in (STUDIO, SURROUND, HANDHELD, PTZ, DRONE, FIELD)}


def rig_by_name(name: str) -> Rig:
    """A rig by its name; ConfigError naming the nearest known one otherwise."""
    if name not in RIGS:
        raise ConfigError(unknown_name_message("rig", name, RIGS))
    return RIGS[name]


def film(
    motions: list[Motion], rig: Rig, seed: int, data_root: Path | None = None
) -> tuple[Clip3D, ...]:
    """Clips of every motion from every camera of a rig, in `H36M_17`, confidence 1.

    A frame is not valid, and its 2D and confidence are 0, where a joint is behind or close to the
    camera or beyond what the lens model can image, the hip is out of the image, or more than a
    quarter of the joints are; clips without any valid frame are left out. Phones come from
    `data_root/phone_intrinsics.json` where that is. A clip's camera is named take/camera, with
    the part's number after the take where a motion was cut. DataError if a motion is not in metres
    or not finite.
    """
    phones = phone_lenses(data_root)
    clips = (clip for motion in motions for clip in _film_motion(motion, rig, seed, phones))
    return tuple(clip for clip in clips if bool(clip.valid.any()))


@dataclass(frozen=True)
class _Part:
    """A stretch of a motion in one place, with the floor and the azimuth of the whole."""

    motion: Motion
    take: str
    joints: Tensor
    floor_m: float
    azimuth_rad: float


@dataclass(frozen=True)
class _Camera:
    """The `number`-th camera of a mount."""

    name: str
    mount: Mount
    number: int


def _film_motion(
    motion: Motion, rig: Rig, seed: int, phones: tuple[LensAndSize, ...]
) -> list[Clip3D]:
    check_motion(motion, f"rig '{rig.name}'")
    area_m = rig.area_radius_m or 0.0
    clips = []
    for part in _parts(motion, rig, seed):
        for camera in _cameras(rig, part.take):
            generator = stream(seed, "film", rig.name, motion.name, camera.name)
            clips.append(_film_part(part, camera, area_m, phones, generator))
    return clips


def _cameras(rig: Rig, take: str) -> list[_Camera]:
    return [
        _Camera(f"{take}/{mount.name}{k if mount.count > 1 else ''}", mount, k)
        for mount in rig.mounts
        for k in range(mount.count)
    ]


def _parts(motion: Motion, rig: Rig, seed: int) -> list[_Part]:
    joints = motion.joints_world.float()
    floor_m = floor_level(joints)
    turn = stream(seed, "film", rig.name, motion.name, "azimuth")
    azimuth = uniform((0.0, 2 * math.pi), turn)
    ranges = [(0, len(joints))]
    if rig.area_radius_m is not None:
        least = round(motion.frame_rate_hz)
        ranges = cut_into_areas(joints[:, H36M_17.root], rig.area_radius_m, least)
    names = [f"{motion.take}.{k}" for k in range(len(ranges))] if len(ranges) > 1 else [motion.take]
    return [
        _Part(motion, name, joints[start:end], floor_m, azimuth)
        for name, (start, end) in zip(names, ranges, strict=True)
    ]


def _film_part(
    part: _Part,
    camera: _Camera,
    area_m: float,
    phones: tuple[LensAndSize, ...],
    generator: torch.Generator,
) -> Clip3D:
    mount = camera.mount
    distance, height = uniform(mount.distance_m, generator), uniform(mount.height_m, generator)
    lens = draw_lens(mount.lens, math.hypot(distance, height), phones, generator)
    # A camera that follows keeps the person in its middle; the others see the whole area.
    room = room_for(lens, REACH_M) + (0.0 if mount.handling.follows else area_m / 2)
    limits = (max(mount.distance_m[0], room), max(mount.distance_m[1], room))
    jitter = AZIMUTH_JITTER_RAD * uniform((-1.0, 1.0), generator)
    declared = math.radians(mount.azimuth_deg + 360 * camera.number / mount.count)
    azimuth = declared + part.azimuth_rad + jitter
    stand = Stand(max(distance, room), height, limits, azimuth)
    root = part.joints[:, H36M_17.root]
    rate = part.motion.frame_rate_hz
    T_cam_world = camera_path(root, part.floor_m, rate, stand, mount.handling, generator)
    return _clip(part, camera.name, T_cam_world, lens)


def _clip(part: _Part, camera: str, T_cam_world: Tensor, lens: LensAndSize) -> Clip3D:
    intrinsics_px, size = lens
    intrinsics = intrinsics_to_normalised(intrinsics_px, size)
    pose3d_cam = world_to_camera(part.joints, T_cam_world)
    pose2d = project(pose3d_cam, intrinsics)
    valid = _seen(pose3d_cam, pose2d, intrinsics, size)
    confidence = valid[:, None].float().expand(-1, H36M_17.num_joints).clone()
    return Clip3D(
        subject=part.motion.subject,
        action=part.motion.action,
        camera=camera,
        frame_rate_hz=part.motion.frame_rate_hz,
        image_size_px=size,
        pose2d=torch.where(valid[:, None, None], pose2d, torch.zeros_like(pose2d)),
        confidence=confidence,
        valid=valid,
        pose3d_cam=pose3d_cam,
        intrinsics=intrinsics,
        T_cam_world=T_cam_world,
    )


def _seen(
    pose3d_cam: Tensor, pose2d: Tensor, intrinsics: Intrinsics, size: tuple[int, int]
) -> Tensor:
    """Frames whose pose a detector in that image could have given."""
    near = in_front(pose3d_cam, NEAREST_M)
    ray = pose3d_cam[..., :2] / pose3d_cam[..., 2:].clamp_min(NEAREST_M)
    imaged = near & (ray.square().sum(dim=-1) < fold_radius2(intrinsics))
    edge = pose2d.new_tensor(size) / max(size)
    inside = (pose2d.abs() <= edge).all(dim=-1)
    enough = inside.float().mean(dim=-1) >= LEAST_IN_IMAGE
    return imaged.all(dim=-1) & inside[:, H36M_17.root] & enough
