"""A small lifter and small clips for tests: linear in the 2D, exact to compute by hand."""

import torch
from torch import Tensor

from adaptpose.bones import mirror_pose
from adaptpose.camera import pinhole, project
from adaptpose.clips import Clip3D, PoseData
from adaptpose.lifter import Lifter
from adaptpose.skeleton import H36M_16, Skeleton


class LinearLifter(Lifter):
    """Pose t = sum over context k of weight[k] @ flattened 2D of frame t + k; random weights."""

    def __init__(self, before: int, after: int, skeleton: Skeleton = H36M_16, seed: int = 0):
        super().__init__()
        self.skeleton_in = self.skeleton_out = skeleton
        self.frames_before, self.frames_after = before, after
        self.receptive_field = before + after + 1
        joints = skeleton.num_joints
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(self.receptive_field, 3 * joints, 2 * joints, generator=generator)
        self.weight = torch.nn.Parameter(0.1 * weight)
        self.drop = torch.nn.Dropout(0.5)

    def spec(self) -> dict[str, object]:
        return {"seed": 0}

    def forward(self, pose2d: Tensor) -> Tensor:
        windows = self.drop(pose2d.flatten(2)).unfold(1, self.receptive_field, 1)
        lifted = torch.einsum("btck,koc->bto", windows, self.weight)
        return lifted.unflatten(2, (self.skeleton_out.num_joints, 3))


class SymmetricLifter(LinearLifter):
    """The part of a linear lifter that mirror images and time reversal leave alone."""

    def forward(self, pose2d: Tensor) -> Tensor:
        mirrored = mirror_pose(pose2d, self.skeleton_in)
        ways = [super().forward(pose2d), mirror_pose(super().forward(mirrored), self.skeleton_out)]
        ways += [
            super().forward(pose2d.flip(1)).flip(1),
            mirror_pose(super().forward(mirrored.flip(1)).flip(1), self.skeleton_out),
        ]
        return torch.stack(ways).mean(dim=0)


def wavy_clip(
    frames: int, seed: int = 0, action: str = "Walking", camera: str = "a", rate_hz: float = 50.0
) -> Clip3D:
    """A body of random build whose joints sway, seen from 5 m through a pinhole camera."""
    generator = torch.Generator().manual_seed(seed)
    build = 0.35 * torch.randn(1, 16, 3, generator=generator)
    phase = 6.28 * torch.rand(1, 16, 3, generator=generator)
    sway = 0.1 * torch.sin(torch.arange(frames)[:, None, None] * 0.2 + phase)
    pose = build + sway + torch.tensor([0.1, -0.2, 5.0])
    lens = pinhole(2.3)
    return Clip3D(
        subject=f"S{seed}",
        action=action,
        camera=camera,
        frame_rate_hz=rate_hz,
        image_size_px=(1000, 1000),
        pose2d=project(pose, lens),
        confidence=torch.ones(frames, 16),
        valid=torch.ones(frames, dtype=torch.bool),
        pose3d_cam=pose,
        intrinsics=lens,
        T_cam_world=torch.eye(4),
    )


def wavy_data(lengths: tuple[int, ...], actions: tuple[str, ...]) -> PoseData:
    """One clip per length and action."""
    pairs = zip(lengths, actions, strict=True)
    clips = tuple(wavy_clip(n, seed, action) for seed, (n, action) in enumerate(pairs))
    return PoseData("wavy", H36M_16, clips, synthetic=True)
