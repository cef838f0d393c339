"""The student's mesh of every frame, behind the contract of a lifter: clips are cut alike."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.lifter import Lifter
from adaptpose.lifters.posenet import PoseNetLifter
from adaptpose.posenet_body import SkinnedBody
from adaptpose.posenet_geometry import joint_choice, root_of
from adaptpose.skinning import BodyModel

_WINDOWS_AT_ONCE = 128
"""Windows whose whole meshes are posed together."""


class PoseNetMesh(Lifter):
    """Vertices (m, camera axes, middle of the hips at 0) of a body posed as the student says.

    `forward` gives vertices in the place of joints. The body may have more vertices than the
    student's own, of which it is the whole. ConfigError for a lifter without a student; DataError
    for a body of other joints or fewer shape coefficients.
    """

    def __init__(self, lifter: PoseNetLifter, body: BodyModel) -> None:
        super().__init__()
        student = lifter.student
        if student is None:
            fix = "a run with a student: --steps teacher,distill"
            raise ConfigError(
                expected_message("a mesh", "a lifter with a student", "a teacher alone", fix)
            )
        own = student.body.model()
        sizes = [(b.num_joints, b.shape_directions.shape[-1]) for b in (own, body)]
        if sizes[0] != sizes[1]:
            texts = [f"{joints} joints and {shapes} shape coefficients" for joints, shapes in sizes]
            raise DataError(expected_message("body model of the mesh", *texts))
        self.skeleton_in, self.skeleton_out = lifter.skeleton_in, lifter.skeleton_out
        self.receptive_field = lifter.receptive_field
        self.frames_before, self.frames_after = lifter.frames_before, lifter.frames_after
        self.context_stride = lifter.context_stride
        self.lifter, self.student, self.whole = lifter, student, SkinnedBody(body)
        self._choice = joint_choice(lifter.skeleton_in)

    def spec(self) -> dict[str, Any]:
        """The description of the lifter."""
        return self.lifter.spec()

    def forward(
        self, pose2d: Float[Tensor, "batch frames joints_in 2"]
    ) -> Float[Tensor, "batch outputs vertices 3"]:
        """Vertices of every frame with its whole context."""
        windows = pose2d[:, :, self._choice].unfold(1, self.receptive_field, 1).movedim(-1, 2)
        parts = windows.flatten(0, 1).split(_WINDOWS_AT_ONCE)
        return torch.cat([self._mesh(part) for part in parts]).unflatten(0, windows.shape[:2])

    def _mesh(self, windows: Tensor) -> Tensor:
        found = self.lifter.body(windows)
        assert found is not None
        predicted, posed = found
        vertices = self.whole(predicted.betas, predicted.rotations[:, 0])
        root = root_of(self.student.adaptation(posed.vertices[:, 0]))
        return vertices - root[:, None]
