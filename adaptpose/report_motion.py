"""Motions as the compact data that the report's viewer reads.

Coordinates are 16-bit whole numbers of a step (1 mm, or as much as a motion's extent needs) in
base64, little-endian; the most negative number stands for a coordinate that is not finite.

Where the direction against gravity is known, poses are stored in level axes: x right, y along
gravity, z ahead of the camera. A layer's `camera` says how the camera stood in them, so that a
viewer can begin with what it saw: `pitch` (rad, positive looking down) and then `roll` about the
line of sight (rad).
"""

import base64
import math
from typing import Any

import numpy as np
from jaxtyping import Float

from adaptpose.plots import side_of
from adaptpose.report_content import ExampleMotion, GalleryMotion, as_array
from adaptpose.skeleton import Skeleton

MILLIMETRE = 1e-3
SCREEN_STEP = 1e-4
"""Smallest step of 2D, normalised: a twentieth of a pixel in a 1000-pixel image."""

_STEEP = 1e-3
"""Angle (rad) between line of sight and gravity below which a camera has no heading of its own."""

MISSING = -32768
_LARGEST = 32767


def example_data(motion: ExampleMotion, labels: tuple[str, str]) -> dict[str, Any]:
    """The viewer's data of an example; `labels` name the lifters before and after."""
    layers = [("before", labels[0], motion.before), ("after", labels[1], motion.after)]
    if motion.truth is not None:
        layers.append(("truth", "truth", motion.truth))
    root = motion.skeleton.root
    made = []
    for role, label, poses in layers:
        shown = as_array(poses)
        made.append(_layer(role, label, shown - shown[:, root : root + 1], motion.up_cam))
    data = _motion_data(motion, len(motion.before), made)
    if motion.pose2d is not None:
        skeleton = motion.skeleton2d or motion.skeleton
        image = encode(as_array(motion.pose2d), SCREEN_STEP)
        data["image"] = {**image, "bones": _bones(skeleton), "joints": skeleton.num_joints}
    return data


def gallery_data(motion: GalleryMotion) -> dict[str, Any]:
    """The viewer's data of a source window and what was made of it."""
    layers = (
        ("source", motion.source, motion.source_up),
        ("generated", motion.generated, motion.generated_up),
    )
    made = []
    for name, poses, up in layers:
        shown = as_array(poses)
        made.append(_layer(name, name, shown - _middle(shown, motion), up))
    return _motion_data(motion, len(motion.source), made)


def level_axes(up_cam: Float[np.ndarray, "frames 3"]) -> Float[np.ndarray, "frames 3 3"]:
    """Unit vectors right, along gravity and ahead, as rows, in the axes of a camera.

    Ahead is where the camera looks, made level; for a camera that looks straight down or up it is
    where the top of its image lies, or the bottom.
    """
    up = up_cam / np.linalg.norm(up_cam, axis=1, keepdims=True)
    steep = np.hypot(up[:, 0], up[:, 1]) < _STEEP
    sight = np.zeros_like(up)
    sight[~steep, 2] = 1
    sight[steep, 1] = np.sign(up[steep, 2])
    ahead = sight - (sight * up).sum(axis=1, keepdims=True) * up
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    return np.stack([np.cross(-up, ahead), -up, ahead], axis=1)


def encode(values: Float[np.ndarray, "..."], smallest_step: float) -> dict[str, Any]:
    """{"step", "data"}: values rounded to whole steps, as 16-bit numbers in base64."""
    finite = np.isfinite(values)
    extent = float(np.abs(values[finite]).max()) if finite.any() else 0.0
    step = max(smallest_step, extent / _LARGEST)
    whole = np.where(finite, np.round(np.where(finite, values, 0) / step), MISSING)
    return {"step": step, "data": base64.b64encode(whole.astype("<i2").tobytes()).decode()}


def _layer(role: str, label: str, poses: np.ndarray, up_cam: Any) -> dict[str, Any]:
    layer: dict[str, Any] = {"role": role, "label": label}
    if up_cam is not None:
        axes = level_axes(np.broadcast_to(as_array(up_cam), (len(poses), 3)))
        poses = poses @ axes.transpose(0, 2, 1)
        layer["camera"] = _camera_in_level(axes[len(axes) // 2])
    return {**layer, **encode(poses, MILLIMETRE)}


def _camera_in_level(axes: np.ndarray) -> dict[str, float]:
    """Pitch and roll of a camera from the level axes in its own."""
    pitch = math.atan2(float(axes[1, 2]), float(axes[2, 2]))
    # Roll is how far the image's right leans down, in the plane of the image.
    down = math.cos(pitch) * axes[1] - math.sin(pitch) * axes[2]
    return {
        "pitch": round(pitch, 5),
        "roll": round(math.atan2(float(down[0]), float(axes[0, 0])), 5),
    }


def _middle(poses: np.ndarray, motion: GalleryMotion) -> np.ndarray:
    root = poses[:, motion.skeleton.root]
    root = root[np.isfinite(root).all(axis=1)]
    return root.mean(axis=0) if len(root) else np.zeros(3)


def _motion_data(
    motion: ExampleMotion | GalleryMotion, frames: int, layers: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "title": motion.title,
        "rate_hz": float(motion.frame_rate_hz),
        "frames": frames,
        "joints": motion.skeleton.num_joints,
        "root": motion.skeleton.root,
        "bones": _bones(motion.skeleton),
        "layers": layers,
    }


def _bones(skeleton: Skeleton) -> list[list[int | str]]:
    return [[parent, child, side_of(child, skeleton)] for parent, child in skeleton.bones]
