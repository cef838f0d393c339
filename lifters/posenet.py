"""PoseNet3D (Tripathi et al., 3DV 2020) as a lifter: teacher, student, or their average.

A pose is the middle frame of its window. Its size cannot be seen; `PoseNetLifter` states it.
"""

import dataclasses
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.config_values import check_config, config_from_dict, config_to_dict
from adaptpose.errors import ConfigError, unknown_name_message
from adaptpose.lifter import Lifter
from adaptpose.lifters.layers import check_input
from adaptpose.posenet import BodyPose, Teacher
from adaptpose.posenet_body import Student, StudentPose, student_from_spec
from adaptpose.posenet_config import PoseNetConfig
from adaptpose.posenet_geometry import (
    fill_matrix,
    joint_choice,
    normalise_windows,
    root_of,
    trunk_length,
)
from adaptpose.skeleton import Skeleton

Output = Literal["teacher", "student", "average"]

ARCHITECTURE = "posenet3d"
"""What `spec` calls it."""

TRUNK_M = 0.7
"""Way from the root over the thorax to the head of a body of the teacher's, in metres."""

_WINDOWS_AT_ONCE = 512
"""Windows whose vertices are kept together."""


class PoseNetLifter(Lifter):
    """The networks behind the contract of a lifter; 4 frames before and 4 after.

    It reads 2D of any skeleton with the 14 joints, normalises every window for itself, and gives
    any skeleton whose joints are among the 14 and those that `fill_matrix` makes of them. The
    teacher's bodies are scaled so that, over the window's frames, the mean way from root
    over thorax to head is `TRUNK_M`; the student's have the size of its body model. The average
    is of the student's pose and the teacher's brought to the same mean square distance from
    the root.
    """

    def __init__(
        self,
        teacher: Teacher,
        skeleton_in: Skeleton,
        skeleton_out: Skeleton,
        output: Output = "teacher",
        student: Student | None = None,
    ) -> None:
        super().__init__()
        if output not in get_args(Output):
            raise ConfigError(unknown_name_message("output of PoseNet3D", output, get_args(Output)))
        if output != "teacher" and student is None:
            raise ConfigError(f"output '{output}' of PoseNet3D needs a student (fix: 'teacher')")
        check_config(teacher.config)
        self.config, self.output = teacher.config, output
        self.skeleton_in, self.skeleton_out = skeleton_in, skeleton_out
        self.receptive_field = self.config.frames
        self.frames_before = self.frames_after = self.config.frames // 2
        self.teacher = teacher
        # A teacher alone takes nothing of the body with it into its file.
        self.student = student if output != "teacher" else None
        self._choice = joint_choice(skeleton_in)
        self._fill = fill_matrix(skeleton_out)

    def spec(self) -> dict[str, Any]:
        """Architecture, configuration, skeletons and body as plain data."""
        return {
            "architecture": ARCHITECTURE,
            "config": config_to_dict(self.config),
            "skeleton_in": dataclasses.asdict(self.skeleton_in),
            "skeleton_out": dataclasses.asdict(self.skeleton_out),
            "output": self.output,
            "student": None if self.student is None else self.student.spec(),
        }

    def forward(
        self, pose2d: Float[Tensor, "batch frames joints_in 2"]
    ) -> Float[Tensor, "batch outputs joints_out 3"]:
        """Poses of every frame with its whole context; DataError for clips that are too short."""
        check_input(self, pose2d)
        chosen = pose2d[:, :, self._choice]
        windows = chosen.unfold(1, self.receptive_field, 1).movedim(-1, 2)
        flat = windows.flatten(0, 1)
        parts = flat.split(_WINDOWS_AT_ONCE) if self.student is not None else (flat,)
        points = torch.cat([self._lift(part) for part in parts])
        return (self._fill.to(points) @ points).unflatten(0, windows.shape[:2])

    def body(
        self, windows: Float[Tensor, "batch frames 14 2"]
    ) -> tuple[BodyPose, StudentPose] | None:
        """Shape, rotations and mesh of each window's middle frame; None without a student."""
        if self.student is None:
            return None
        normalised, _ = normalise_windows(windows, distance=self.config.distance)
        return self._student(self.student, self.teacher.backbone(normalised))

    def _lift(self, windows: Tensor) -> Tensor:
        """The middle frame's 14 joints in metres, root at 0."""
        normalised, _ = normalise_windows(windows, distance=self.config.distance)
        features = self.teacher.backbone(normalised)
        if self.student is None:
            return self._teacher(normalised, features)
        _, posed = self._student(self.student, features)
        points = posed.points[:, 0] / self.student.get_buffer("units_per_m")
        points = points - root_of(points)[:, None]
        if self.output == "student":
            return points
        other = self._teacher(normalised, features)
        return (points + other * (_size(points) / _size(other))) / 2

    def _teacher(self, windows: Tensor, features: Tensor) -> Tensor:
        points = self.teacher.points(windows, features)
        scale = TRUNK_M / trunk_length(points).mean(dim=1)
        middle = points[:, self.frames_before]
        return (middle - root_of(middle)[:, None]) * scale[:, None, None]

    def _student(self, student: Student, features: Tensor) -> tuple[BodyPose, StudentPose]:
        betas, rotations = student.head(features)
        middle = BodyPose(betas, rotations[:, self.frames_before : self.frames_before + 1])
        return middle, student.posed(middle)


def build_posenet_lifter(
    spec: dict[str, Any], skeleton_in: Skeleton, skeleton_out: Skeleton
) -> PoseNetLifter:
    """The lifter that `PoseNetLifter.spec` described, with weights still to be loaded."""
    config = config_from_dict(PoseNetConfig, spec["config"])
    check_config(config)
    student = None
    if spec["student"] is not None:
        student = student_from_spec(config, spec["student"])
    return PoseNetLifter(Teacher(config), skeleton_in, skeleton_out, spec["output"], student)


def _size(points: Tensor) -> Tensor:
    """Root mean square distance of joints from the origin, (batch, 1, 1)."""
    return points.square().sum(dim=(1, 2), keepdim=True).add(1e-12).sqrt()
