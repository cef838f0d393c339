"""The student of PoseNet3D: a skinned body that features pose, and its 14 joints.

Tripathi et al., PoseNet3D, 3DV 2020, section 3.3. The body model's axes (y up, x to the body's
left) become camera axes by half a turn about x, so that identity rotations are a body upright and
facing the camera.
"""

import dataclasses
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.errors import CheckpointError, DataError, expected_message
from adaptpose.joint_adaptation import JointAdaptation, adaptation_from_spec
from adaptpose.posenet import BodyPose, StudentHead
from adaptpose.posenet_config import PoseNetConfig
from adaptpose.posenet_geometry import JOINTS, place_at_depth, root_of
from adaptpose.skinning import BodyModel, skin

_CAMERA_AXES = (1.0, -1.0, -1.0)


class SkinnedBody(nn.Module):
    """A body model whose tensors are buffers, so that they move and are stored with a network."""

    def __init__(self, model: BodyModel) -> None:
        super().__init__()
        self.plain: dict[str, Any] = {}
        for field in dataclasses.fields(model):
            value = getattr(model, field.name)
            if isinstance(value, Tensor):
                self.register_buffer(field.name, value.detach().clone())
            else:
                self.plain[field.name] = value

    def forward(
        self,
        betas: Float[Tensor, "frames shapes"],
        rotations: Float[Tensor, "frames joints 3 3"],
    ) -> Float[Tensor, "frames vertices 3"]:
        """Vertices (m) in camera axes, the body's origin at 0; DataError as `skin`."""
        vertices, _ = skin(self.model(), betas, rotations, betas.new_zeros(1, 3))
        return vertices * vertices.new_tensor(_CAMERA_AXES)

    def model(self) -> BodyModel:
        """The body model, on the module's device."""
        fields: dict[str, Any] = {**dict(self.named_buffers()), **self.plain}
        return BodyModel(**fields)

    def spec(self) -> dict[str, Any]:
        """Plain data from which `body_from_spec` makes the module again."""
        buffers = {
            name: [str(value.dtype).removeprefix("torch."), list(value.shape)]
            for name, value in self.named_buffers()
        }
        return {"plain": self.plain, "buffers": buffers}


def body_from_spec(spec: dict[str, Any]) -> SkinnedBody:
    """The module that `SkinnedBody.spec` described, with tensors still to be loaded."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in spec["plain"].items()
    }
    for name, (kind, shape) in spec["buffers"].items():
        dtype = getattr(torch, str(kind), None)
        if not isinstance(dtype, torch.dtype):
            raise CheckpointError(f"body model: expected a type of numbers, got '{kind}'")
        fields[name] = torch.zeros(*shape, dtype=dtype)
    return SkinnedBody(BodyModel(**fields))


class StudentPose(NamedTuple):
    """Joints and vertices of a posed body."""

    points: Float[Tensor, "batch frames 14 3"]
    """Camera axes, in units of about one head-root distance, root at depth c."""
    vertices: Float[Tensor, "batch frames vertices 3"]
    """Camera axes, metres, the body's origin at 0."""


class Student(nn.Module):
    """The student branch with its body and its joint adaptation.

    Metres become the teacher's units by one number, `units_per_m`: it makes the mean shape's
    head-root distance, in the rest pose and before any adaptation, 1.
    """

    def __init__(
        self, config: PoseNetConfig, body: SkinnedBody, adaptation: JointAdaptation
    ) -> None:
        super().__init__()
        joints = body.model().num_joints
        if joints != config.body_joints:
            expected = f"{joints}, as the body model has"
            message = expected_message("posenet.body_joints", expected, f"{config.body_joints}")
            raise DataError(message)
        self.config, self.body, self.adaptation = config, body, adaptation
        self.head = StudentHead(config)
        self.register_buffer("units_per_m", torch.ones(()))

    def set_size(self) -> None:
        """Take `units_per_m` from body and adaptation as they are now; DataError without size."""
        like = next(self.head.parameters())
        betas = like.new_zeros(1, self.config.shapes)
        rest = torch.eye(3).to(like).expand(1, self.config.body_joints, 3, 3)
        with torch.no_grad():
            points = self.adaptation(self.body(betas, rest))
            size = (points[0, JOINTS.index("head")] - root_of(points[0])).norm()
        if not size > 0:
            raise DataError("body model: expected a head away from the hips, got a body of size 0")
        self.get_buffer("units_per_m").copy_(1 / size)

    def forward(self, features: Float[Tensor, "batch channels"]) -> tuple[BodyPose, StudentPose]:
        """Shape and rotations predicted, and the body they pose."""
        predicted = self.head(features)
        return predicted, self.posed(predicted)

    def posed(self, predicted: BodyPose) -> StudentPose:
        """The body in every frame of predicted poses."""
        betas, rotations = predicted
        frames = rotations.shape[1]
        every = betas.repeat_interleave(frames, dim=0)
        vertices = self.body(every, rotations.flatten(0, 1)).unflatten(0, (-1, frames))
        points = self.adaptation(vertices) * self.get_buffer("units_per_m")
        return StudentPose(place_at_depth(points, self.config.distance), vertices)

    def spec(self) -> dict[str, Any]:
        """Plain data from which `student_from_spec` makes the module again."""
        return {"body": self.body.spec(), "adaptation": self.adaptation.spec()}


def student_from_spec(config: PoseNetConfig, spec: dict[str, Any]) -> Student:
    """The module that `Student.spec` described, with weights and tensors still to be loaded."""
    adaptation = adaptation_from_spec(spec["adaptation"])
    return Student(config, body_from_spec(spec["body"]), adaptation)
