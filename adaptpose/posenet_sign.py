"""Which of two mirrored worlds a teacher of PoseNet3D lives in, told without any label [own]."""

import torch
from torch import Tensor

from adaptpose.posenet_anatomy import share_bent_wrong
from adaptpose.posenet_geometry import JOINTS, to_points
from adaptpose.posenet_run_config import PoseNetRunConfig
from adaptpose.posenet_state import PoseNetState
from adaptpose.posenet_steps import PoseNetData, draw_long_windows

SIGN_WINDOWS = 1024
"""Windows that decide about the sign of all depths."""

LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
"""Bones that people have on both sides."""


@torch.no_grad()
def turn_depths_if_flipped(
    state: PoseNetState, data: PoseNetData, config: PoseNetRunConfig, rng: torch.Generator
) -> dict[str, float]:
    """Turn the teacher's depths round if that makes its bodies more like people; what was found.

    Seen from far away, bodies mirrored in depth have the same projections in all views, so the
    discriminator does not mind. "anatomy" looks at the knees: shins fold forward then
    (`posenet_anatomy`). "perspective" uses that the nearer limb is the larger one in the image;
    with the wrong sign, left and right limbs get different lengths. Nothing but 2D is used.
    """
    state.teacher.eval()
    windows = draw_long_windows(data, config, SIGN_WINDOWS, rng)[:, :-1]
    offset = state.teacher.head(state.teacher.backbone(windows))
    measure = share_bent_wrong if config.check_sign == "anatomy" else _asymmetry
    sizes = (config.network.distance, config.network.nearest)
    own, other = (measure(to_points(windows, sign * offset, *sizes)) for sign in (1, -1))
    flipped = bool(other < own)
    if flipped:
        last = [state.teacher.head.out, *([state.elevation.out] if state.elevation else [])]
        moments = state.optimisers["lifters"].state
        for weight in (weight for layer in last for weight in layer.parameters()):
            weight.neg_()
            if "exp_avg" in moments.get(weight, {}):
                moments[weight]["exp_avg"].neg_()
    return {
        "teacher_unlike": float(own),
        "teacher_unlike_flipped": float(other),
        "teacher_turned_round": float(flipped),
    }


def _asymmetry(points: Tensor) -> Tensor:
    """Mean difference of left and right limbs as a share of their lengths."""
    found = []
    for near, far in LIMBS:
        left, right = (
            points[..., JOINTS.index(f"{side}_{near}"), :]
            - points[..., JOINTS.index(f"{side}_{far}"), :]
            for side in ("left", "right")
        )
        left, right = left.norm(dim=-1), right.norm(dim=-1)
        found.append(((left - right).abs() / (left + right).clamp_min(1e-6)).mean())
    return torch.stack(found).mean()
