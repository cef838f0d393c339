"""A hand-made walking figure for tests: simple, but with knees that bend the right way."""

import math

import torch

from adaptpose.datasets.motion import Motion
from adaptpose.skeleton import H36M_17


def walking_motion(
    frames: int = 120,
    speed: float = 1.2,
    turn: float = 0.5,
    subject: str = "stick",
    action: str = "walk",
    take: str = "01",
    frame_rate_hz: float = 50.0,
) -> Motion:
    """A person 1.7 m tall walking at `speed` m/s while turning by `turn` rad/s."""
    time = torch.arange(frames) / frame_rate_hz
    heading = turn * time
    forward = torch.stack([torch.cos(heading), torch.sin(heading), torch.zeros(frames)], dim=-1)
    left = torch.stack([-torch.sin(heading), torch.cos(heading), torch.zeros(frames)], dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0]).expand(frames, 3)
    hip = (forward * speed / frame_rate_hz).cumsum(dim=0) + 0.9 * up
    at = {"hip": hip, "spine": hip + 0.25 * up, "thorax": hip + 0.5 * up}
    at |= {"neck_nose": hip + 0.58 * up + 0.05 * forward, "head": hip + 0.7 * up}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * 0.45 * torch.sin(2 * math.pi * time)[:, None]
        bend = 0.35 + 0.25 * sign * torch.cos(2 * math.pi * time)[:, None]
        thigh = torch.sin(swing + bend) * forward - torch.cos(swing + bend) * up
        shin = torch.sin(swing - bend) * forward - torch.cos(swing - bend) * up
        arm = torch.sin(-swing) * forward - torch.cos(swing) * up
        at[f"{side}_hip"] = hip + sign * 0.13 * left
        at[f"{side}_knee"] = at[f"{side}_hip"] + 0.43 * thigh
        at[f"{side}_ankle"] = at[f"{side}_knee"] + 0.43 * shin
        at[f"{side}_shoulder"] = at["thorax"] + sign * 0.17 * left
        at[f"{side}_elbow"] = at[f"{side}_shoulder"] + 0.28 * arm
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + 0.25 * (arm + 0.3 * forward)
    joints = torch.stack([at[joint] for joint in H36M_17.joints], dim=1)
    return Motion(subject, action, take, frame_rate_hz, joints.contiguous())
