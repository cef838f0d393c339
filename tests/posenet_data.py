"""Bodies, windows and a small body model for tests of PoseNet3D."""

import math

import torch

from adaptpose.posenet_config import PoseNetConfig
from adaptpose.posenet_geometry import JOINTS, place_at_depth, project_points
from adaptpose.skinning import BodyModel

SMALL = PoseNetConfig(channels=24, body_joints=5, shapes=3)

STANDING = {
    "right_hip": (0.13, 0.0, 0.0), "right_knee": (0.14, 0.44, -0.02),
    "right_ankle": (0.14, 0.88, 0.03), "left_hip": (-0.13, 0.0, 0.0),
    "left_knee": (-0.15, 0.43, -0.05), "left_ankle": (-0.16, 0.87, 0.02),
    "thorax": (0.0, -0.48, 0.01), "head": (0.0, -0.7, -0.05),
    "left_shoulder": (-0.18, -0.45, 0.0), "left_elbow": (-0.25, -0.17, 0.04),
    "left_wrist": (-0.27, 0.06, -0.08), "right_shoulder": (0.18, -0.45, 0.0),
    "right_elbow": (0.26, -0.18, 0.05), "right_wrist": (0.3, 0.05, -0.1),
}  # fmt: skip
"""A body in camera axes (m), root at 0, seen from behind: its left is on the left."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bodies(batch, frames, seed=0, dtype=torch.float64):
    """Bodies (batch, frames, 14, 3) that sway, in head-root units at depth 10."""
    standing = torch.tensor([STANDING[j] for j in JOINTS], dtype=dtype) / 0.7
    own = 0.15 * torch.randn(batch, 1, 14, 3, generator=generator(seed), dtype=dtype)
    step = 0.02 * torch.randn(batch, frames, 14, 3, generator=generator(seed + 1), dtype=dtype)
    return place_at_depth(standing + own + step)


def person(knee_rad=0.0, elbow_rad=0.0):
    """A person who faces the camera (camera axes, y down), shins folded back, forearms forward."""
    joints = {"thorax": (0.0, -0.5, 0.0), "head": (0.0, -0.8, 0.0)}
    for side, x in (("left", 1.0), ("right", -1.0)):
        joints[f"{side}_hip"] = (0.1 * x, 0.0, 0.0)
        joints[f"{side}_knee"] = (0.1 * x, 0.4, 0.0)
        shin = (0.4 * math.cos(knee_rad), 0.4 * math.sin(knee_rad))
        joints[f"{side}_ankle"] = (0.1 * x, 0.4 + shin[0], shin[1])
        joints[f"{side}_shoulder"] = (0.2 * x, -0.5, 0.0)
        joints[f"{side}_elbow"] = (0.2 * x, -0.2, 0.0)
        forearm = (0.25 * math.cos(elbow_rad), 0.25 * math.sin(elbow_rad))
        joints[f"{side}_wrist"] = (0.2 * x, -0.2 + forearm[0], -forearm[1])
    points = torch.tensor([joints[name] for name in JOINTS], dtype=torch.float64)
    return points.expand(2, 9, 14, 3).clone()


def windows(batch, frames, seed=0, dtype=torch.float64):
    """Screen coordinates (batch, frames, 14, 2) of such bodies, off the middle."""
    return 1.7 * project_points(bodies(batch, frames, seed, dtype)) + torch.tensor([0.2, -0.1])


def body_model(vertices=60, joints=5, shapes=3, seed=0):
    """A small body of scattered vertices."""
    rng = generator(seed)
    weights = torch.rand(vertices, joints, generator=rng)
    regressor = torch.rand(joints, vertices, generator=rng)
    return BodyModel(
        template=0.5 * torch.randn(vertices, 3, generator=rng),
        shape_directions=0.02 * torch.randn(vertices, 3, shapes, generator=rng),
        pose_directions=0.01 * torch.randn(vertices, 3, 9 * (joints - 1), generator=rng),
        joint_regressor=regressor / regressor.sum(1, keepdim=True),
        parents=(-1, *range(joints - 1)),
        weights=weights / weights.sum(1, keepdim=True),
    )


def sparse_regressor(joints=14, vertices=60, seed=0, nonzero=4):
    """Rows with `nonzero` weights that sum to 1."""
    rng = generator(seed)
    regressor = torch.zeros(joints, vertices)
    for row in regressor:
        chosen = torch.randperm(vertices, generator=rng)[:nonzero]
        row[chosen] = torch.rand(nonzero, generator=rng) + 0.1
    return regressor / regressor.sum(1, keepdim=True)
