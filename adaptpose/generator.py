"""The human motion generator: bone rotations, bone lengths, a camera (AdaptPose section 4).

The networks read the middle pose of a source window (root-relative, camera axes) and Gaussian
noise, and give a recipe; `adaptpose.recipe` applies it to every frame of the window.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.bones import bone_lengths, symmetry_matrix
from adaptpose.camera_generator import CameraGenerator
from adaptpose.config import GeneratorConfig
from adaptpose.networks import Trunk, initialise
from adaptpose.recipe import Generated, Recipe, RecipeRule, SourceWindows, apply_recipe
from adaptpose.skeleton import Skeleton

FIXED_BONES = ("spine", "thorax")
"""Bones that are never turned [PA]: the trunk carries the pose's orientation."""
FIXED_LENGTH = "thorax"
"""Bone whose length is never changed, against scale ambiguity [PA]."""


class MotionGenerator(nn.Module):
    """The generator G of eq. 1. `middle` is the index of the supervised frame in a window."""

    turned: Tensor
    stretched: Tensor
    symmetry: Tensor

    def __init__(
        self, config: GeneratorConfig, skeleton: Skeleton, middle: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        keep = config.keep_trajectory or config.camera == "none"
        self.rule = RecipeRule(skeleton, middle, config.bones, config.angle_profile, keep)
        bones, width = skeleton.num_bones, config.hidden
        pose_size = 3 * skeleton.num_joints + config.noise_size
        self.bone_trunk = self.length_trunk = self.camera = None
        if config.bones != "none":
            self.bone_trunk = Trunk(pose_size, width)
            self.bone_head = nn.Linear(width, bones * (4 if config.bones == "bg3" else 3))
            if config.lengths:
                groups = len(skeleton.symmetric_bones) if config.symmetric_lengths else bones
                self.length_trunk = Trunk(pose_size + bones, width)
                self.length_head = nn.Linear(width, groups)
        if config.camera != "none":
            self.camera = CameraGenerator(config, pose_size)
        self._register_tables(skeleton)
        initialise(self, generator)
        if self.camera is not None:
            self.camera.set_start()

    def _register_tables(self, skeleton: Skeleton) -> None:
        names = skeleton.bone_names
        turned = torch.tensor([float(bone not in FIXED_BONES) for bone in names])
        stretched = torch.tensor([float(bone != FIXED_LENGTH) for bone in names])
        self.register_buffer("turned", turned, persistent=False)
        self.register_buffer("stretched", stretched, persistent=False)
        symmetry = symmetry_matrix(skeleton, torch.zeros(()))
        self.register_buffer("symmetry", symmetry, persistent=False)

    def draw_noise(self, count: int, generator: torch.Generator) -> Float[Tensor, "count _"]:
        """Noise for `count` windows: all that is random in a generated window."""
        camera = self.camera.noise_size if self.camera is not None else 0
        size = 3 * self.config.noise_size + camera
        return torch.randn(count, size, generator=generator, device=self.turned.device)

    def forward(self, source: SourceWindows, noise: Float[Tensor, "batch noise"]) -> Generated:
        """Generated windows from source windows and noise of `draw_noise`."""
        return apply_recipe(source, self.recipe(source, noise), self.rule)

    def recipe(self, source: SourceWindows, noise: Float[Tensor, "batch noise"]) -> Recipe:
        """What the generator does to each source window."""
        size = self.config.noise_size
        noises = noise.split([size, size, size, noise.shape[1] - 3 * size], dim=1)
        middle = source.pose3d_cam[:, self.rule.middle]
        root = middle[:, self.rule.skeleton.root]
        pose = (middle - root[:, None]).flatten(1)
        if self.camera is None:
            identity = torch.eye(3, dtype=root.dtype, device=root.device)
            rotation, translation = identity.expand(root.shape[0], 3, 3), root
        else:
            features = torch.cat([pose, noises[2]], dim=1)
            rotation, translation = self.camera(features, noises[3], source.intrinsics)
        return Recipe(
            self._bones(pose, noises[0]),
            self._lengths(pose, bone_lengths(middle, self.rule.skeleton), noises[1]),
            rotation,
            translation,
        )

    def _bones(self, pose: Tensor, noise: Tensor) -> Tensor:
        bones = self.rule.skeleton.num_bones
        if self.bone_trunk is None:
            return pose.new_zeros(pose.shape[0], bones, 3)
        raw = self.bone_head(self.bone_trunk(torch.cat([pose, noise], dim=1)))
        raw = raw.unflatten(1, (bones, -1))
        if self.config.bones != "bg3":
            return raw * self.turned[:, None]
        axis = raw[..., :3]
        axis = axis / (axis.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        angle = self.config.max_angle_rad * torch.tanh(raw[..., 3]) * self.turned
        return torch.cat([axis, angle[..., None]], dim=-1)

    def _lengths(self, pose: Tensor, lengths: Tensor, noise: Tensor) -> Tensor:
        if self.length_trunk is None:
            return torch.zeros_like(lengths)
        raw = self.length_head(self.length_trunk(torch.cat([pose, lengths, noise], dim=1)))
        change = self.config.max_length_change * torch.tanh(raw)
        if self.config.symmetric_lengths:
            change = change @ self.symmetry
        return change * self.stretched
