"""Motions as the compact data that the report's viewer reads.

Coordinates are 16-bit whole numbers of a step (1 mm, or as much as a motion's extent needs) in
base64, little-endian; the most negative number stands for a coordinate that is not finite.
"""

import base64
from typing import Any

import numpy as np
from jaxtyping import Float

from adaptpose.plots import side_of
from adaptpose.report_content import ExampleMotion, GalleryMotion, as_array
from adaptpose.skeleton import Skeleton

MILLIMETRE = 1e-3
SCREEN_STEP = 1e-4
"""Smallest step of 2D, normalised: a twentieth of a pixel in a 1000-pixel image."""

MISSING = -32768
_LARGEST = 32767


def example_data(motion: ExampleMotion, labels: tuple[str, str]) -> dict[str, Any]:
    """The viewer's data of an example; `labels` name the lifters before and after."""
    layers = [("before", labels[0], motion.before), ("after", labels[1], motion.after)]
    if motion.truth is not None:
        layers.append(("truth", "truth", motion.truth))
    root = motion.skeleton.root
    arrays = [(role, label, as_array(poses)) for role, label, poses in layers]
    data = _motion_data(
        motion, [(role, label, a - a[:, root : root + 1]) for role, label, a in arrays]
    )
    if motion.pose2d is not None:
        skeleton = motion.skeleton2d or motion.skeleton
        image = encode(as_array(motion.pose2d), SCREEN_STEP)
        data["image"] = {**image, "bones": _bones(skeleton), "joints": skeleton.num_joints}
    return data


def gallery_data(motion: GalleryMotion) -> dict[str, Any]:
    """The viewer's data of a source window and what was made of it."""
    layers = [("source", "source", motion.source), ("generated", "generated", motion.generated)]
    arrays = [(role, label, as_array(poses)) for role, label, poses in layers]
    return _motion_data(motion, [(r, label, a - _middle(a, motion)) for r, label, a in arrays])


def encode(values: Float[np.ndarray, "..."], smallest_step: float) -> dict[str, Any]:
    """{"step", "data"}: values rounded to whole steps, as 16-bit numbers in base64."""
    finite = np.isfinite(values)
    extent = float(np.abs(values[finite]).max()) if finite.any() else 0.0
    step = max(smallest_step, extent / _LARGEST)
    whole = np.where(finite, np.round(np.where(finite, values, 0) / step), MISSING)
    return {"step": step, "data": base64.b64encode(whole.astype("<i2").tobytes()).decode()}


def _middle(poses: np.ndarray, motion: GalleryMotion) -> np.ndarray:
    root = poses[:, motion.skeleton.root]
    root = root[np.isfinite(root).all(axis=1)]
    return root.mean(axis=0) if len(root) else np.zeros(3)


def _motion_data(
    motion: ExampleMotion | GalleryMotion, layers: list[tuple[str, str, np.ndarray]]
) -> dict[str, Any]:
    return {
        "title": motion.title,
        "rate_hz": float(motion.frame_rate_hz),
        "frames": len(layers[0][2]),
        "joints": motion.skeleton.num_joints,
        "root": motion.skeleton.root,
        "bones": _bones(motion.skeleton),
        "layers": [
            {"role": role, "label": label, **encode(poses, MILLIMETRE)}
            for role, label, poses in layers
        ],
    }


def _bones(skeleton: Skeleton) -> list[list[int | str]]:
    return [[parent, child, side_of(child, skeleton)] for parent, child in skeleton.bones]
