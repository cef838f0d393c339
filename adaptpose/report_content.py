"""What a report shows: plain records that a caller fills from a run. Nothing here draws.

Arrays may be torch tensors on the CPU or numpy arrays. Poses are in camera axes (x right, y down,
z forward; metres), 2D in normalised screen coordinates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from adaptpose.errors import DataError, expected_message
from adaptpose.skeleton import Skeleton

Poses3D = Float[Tensor, "_ _ 3"] | Float[np.ndarray, "_ _ 3"]
"""(frames, joints, 3), as a tensor or an array."""

Poses2D = Float[Tensor, "_ _ 2"] | Float[np.ndarray, "_ _ 2"]
"""(frames or poses, joints, 2), as a tensor or an array."""

Directions = Float[Tensor, "*_ 3"] | Float[np.ndarray, "*_ 3"]
"""(3,), or (frames, 3) for a camera that moves, as a tensor or an array."""


@dataclass(frozen=True)
class ExampleMotion:
    """One test clip as lifted before and after adaptation, with the truth if it is known.

    Shown root-relative, whatever it is given as. `pose2d` is what the lifters saw, on
    `skeleton2d` (by default the 3D's); None leaves it out. `up_cam` is the direction against
    gravity in camera axes; with it the poses stand upright when they are turned. DataError if
    shapes do not fit.
    """

    title: str
    frame_rate_hz: float | int
    skeleton: Skeleton
    truth: Poses3D | None
    before: Poses3D
    after: Poses3D
    pose2d: Poses2D | None = None
    skeleton2d: Skeleton | None = None
    up_cam: Directions | None = None

    def __post_init__(self) -> None:
        _check_motion(self, {"truth": self.truth, "before": self.before, "after": self.after})
        if self.pose2d is not None:
            joints = (self.skeleton2d or self.skeleton).num_joints
            _check_shape(self.title, "pose2d", self.pose2d, (len(self.before), joints, 2))
        _check_up(self.title, self.up_cam, len(self.before))


@dataclass(frozen=True)
class GalleryMotion:
    """A source window and the window the generator made of it, in camera coordinates.

    Shown with the mean root in the middle, so that the root's own motion stays. `source_up` and
    `generated_up` are the directions against gravity in the axes of the two cameras. DataError if
    shapes do not fit.
    """

    title: str
    skeleton: Skeleton
    frame_rate_hz: float | int
    source: Poses3D
    generated: Poses3D
    source_up: Directions | None = None
    generated_up: Directions | None = None

    def __post_init__(self) -> None:
        _check_motion(self, {"source": self.source, "generated": self.generated})
        for up in (self.source_up, self.generated_up):
            _check_up(self.title, up, len(self.source))


@dataclass(frozen=True)
class Credit:
    """Whose data or code a report rests on, and under which licence."""

    name: str
    licence: str
    credit: str = ""


@dataclass(frozen=True)
class ReportContent:
    """Everything a report can show; an empty part is left out of it.

    - `summary`: a sentence or two under the title.
    - `synthetic`: names of the datasets that no person performed; they get a label.
    - `run_info`: configuration and provenance, nested as it likes.
    - `curves`: records of metrics.jsonl, see `adaptpose.curves`.
    - `evaluations`: lifter ("source-only", "adapted", "oracle") to `Evaluation.to_json()`.
    - `cameras`: domain ("source", "generated", "target") to arrays by name, as
      `adaptpose.viewpoint.camera_distribution` gives them: azimuth_deg, elevation_deg, depth_m,
      image_scale.
    - `keypoints`: domain to a sample of 2D poses.
    - `without`: names of sections that such a run does not have, whatever data there is.
    - `selection`: per epoch, outcome to number of generated windows; taken from the records of
      `curves` if it is empty.
    """

    title: str
    summary: str = ""
    synthetic: Sequence[str] = ()
    run_info: Mapping[str, Any] = field(default_factory=dict)
    curves: Sequence[dict[str, Any]] = ()
    evaluations: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    examples: Sequence[ExampleMotion] = ()
    gallery: Sequence[GalleryMotion] = ()
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keypoints: Mapping[str, Poses2D] = field(default_factory=dict)
    selection: Sequence[Mapping[str, int]] = ()
    without: Sequence[str] = ()
    credits: Sequence[Credit] = ()
    notes: Sequence[str] = ()


def as_array(values: Any) -> np.ndarray:
    """A tensor, array or list as a float64 array on the CPU."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def _check_motion(motion: ExampleMotion | GalleryMotion, layers: dict[str, Any]) -> None:
    given = {name: poses for name, poses in layers.items() if poses is not None}
    frames = len(next(iter(given.values())))
    if frames == 0 or motion.frame_rate_hz <= 0:
        got = f"{frames} frames at {motion.frame_rate_hz} Hz"
        raise DataError(expected_message(f"motion '{motion.title}'", "frames and a rate", got))
    for name, poses in given.items():
        _check_shape(motion.title, name, poses, (frames, motion.skeleton.num_joints, 3))


def _check_up(title: str, up: Any, frames: int) -> None:
    if up is not None and tuple(up.shape) not in ((3,), (frames, 3)):
        got = str(tuple(up.shape))
        raise DataError(expected_message(f"motion '{title}', up", f"(3,) or ({frames}, 3)", got))


def _check_shape(title: str, name: str, poses: Any, expected: tuple[int, ...]) -> None:
    if tuple(poses.shape) != expected:
        thing = f"motion '{title}', {name}"
        raise DataError(expected_message(thing, str(expected), str(tuple(poses.shape))))
