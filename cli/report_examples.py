"""Example clips of a report: lifted before and after adaptation, chosen over the range of effects.

Where there are labels, the effect on a clip is the change of its MPJPE; elsewhere only how far
apart the two lifters are.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptpose.cli.report_data import CLIP_FRAMES, ReportData, cut_clip, sample_clips
from adaptpose.clips import Clip2D, Clip3D, hold_seen
from adaptpose.inference import predict_clips
from adaptpose.lifter import Lifter
from adaptpose.metrics import mpjpe_mm
from adaptpose.report_content import ExampleMotion
from adaptpose.runtime import stream
from adaptpose.skeleton import Skeleton
from adaptpose.viewpoint import world_up_in_camera
from adaptpose.windows import stride_in_frames

SHOWN_S = 4.0
"""Longest motion shown (s)."""
SHOWN_HZ = 25.0
"""Highest frame rate shown."""
_NEARBY = 0.1
"""Share of the clips among which one of an action not yet shown is preferred."""


@dataclass(frozen=True)
class LiftedClip:
    """The part of a clip to be shown, as both lifters see it (m), and its effect (mm)."""

    clip: Clip2D
    before: Tensor
    after: Tensor
    errors_mm: tuple[float, float] | None
    """MPJPE before and after; None without labels."""
    effect_mm: float
    """Change of the MPJPE, or without labels the mean distance between the two lifters' joints."""


def examples(data: ReportData, count: int, seed: int) -> list[ExampleMotion]:
    """`count` clips from the one helped most to the one hurt most, evenly over the ranks.

    From the test set, or from the target where there is none; empty without both lifters.
    """
    lifters = [data.lifters.get(label) for label in ("source-only", "adapted")]
    shown = data.test or data.target
    if count < 1 or shown is None or lifters[0] is None or lifters[1] is None:
        return []
    pair = (lifters[0], lifters[1])
    rate_hz = max(clip.frame_rate_hz for clip in shown.clips)
    context = max(_context_frames(lifter, rate_hz) for lifter in pair)
    frames = max(CLIP_FRAMES, math.ceil(SHOWN_S * rate_hz) + context)
    parts = sample_clips(shown.clips, frames, stream(seed, "report", "examples"))
    if not parts:
        return []
    before, after = (predict_clips(lifter, parts, shown.normalisation) for lifter in pair)
    root = shown.skeleton.root
    lifted = [_lifted(c, b, a, root) for c, b, a in zip(parts, before, after, strict=True)]
    lifted = [one for one in lifted if math.isfinite(one.effect_mm)]
    lifted.sort(key=lambda one: (one.effect_mm, one.clip.name))
    ranks = pick_ranks([one.clip.action for one in lifted], count)
    return [_example(lifted[rank], rank, len(lifted), shown.skeleton) for rank in ranks]


def pick_ranks(actions: list[str], count: int) -> list[int]:
    """Ranks spread evenly from first to last (the middle one if only one is asked for).

    The outer ones are exact; for those between, an action not yet shown is preferred nearby.
    """
    total = len(actions)
    count = min(count, total)
    if count == 1:
        return [(total - 1) // 2]
    wanted = [round(k * (total - 1) / (count - 1)) for k in range(count)]
    chosen = {rank: rank for rank in wanted[:1] + wanted[-1:]}
    for rank in wanted[1:-1]:
        reach = int(_NEARBY * total / 2)
        near = [r for r in range(rank - reach, rank + reach + 1) if 0 < r < total - 1]
        near = [r for r in near if r not in chosen.values()] or [rank]
        seen = {actions[r] for r in chosen.values()}
        chosen[rank] = min(near, key=lambda r: (actions[r] in seen, abs(r - rank), r))
    return [chosen[rank] for rank in wanted]


def up_in_camera(clip: Clip2D) -> Tensor | None:
    """The direction against gravity in camera axes, (3,) or (frames, 3), if the clip tells it.

    A camera that stands in the world's origin, along its axes, is one that was left out.
    """
    if not isinstance(clip, Clip3D):
        return None
    if bool((clip.T_cam_world == torch.eye(4)).all()):
        return None
    return world_up_in_camera(clip.T_cam_world)


def _context_frames(lifter: Lifter, rate_hz: float) -> int:
    return (lifter.receptive_field - 1) * stride_in_frames(lifter.context_stride, rate_hz)


def _lifted(clip: Clip2D, before: Tensor, after: Tensor, root: int) -> LiftedClip:
    """The middle of a clip at a rate to be shown, with the errors of exactly these frames."""
    step = max(1, math.ceil(clip.frame_rate_hz / SHOWN_HZ))
    frames = min(clip.num_frames, math.ceil(SHOWN_S * clip.frame_rate_hz))
    start = (clip.num_frames - frames) // 2
    rows = slice(start, start + frames, step)
    # As the lifters saw it, where the clip itself shows nothing.
    shown = dataclasses.replace(cut_clip(clip, rows), pose2d=hold_seen(clip)[rows])
    before, after, valid = before[rows], after[rows], shown.valid
    if not isinstance(shown, Clip3D):
        return LiftedClip(shown, before, after, None, _distance_mm(before, after, valid, root))
    truth = shown.pose3d_cam
    errors = tuple(_distance_mm(poses, truth, valid, root) for poses in (before, after))
    return LiftedClip(shown, before, after, (errors[0], errors[1]), errors[1] - errors[0])


def _distance_mm(a: Tensor, b: Tensor, valid: Tensor, root: int) -> float:
    """Mean distance of root-relative joints over the valid frames; NaN if there is none."""
    a, b = (poses[valid] - poses[valid][:, root : root + 1] for poses in (a, b))
    return float(mpjpe_mm(a, b).mean())


def _example(one: LiftedClip, rank: int, total: int, skeleton: Skeleton) -> ExampleMotion:
    clip, truth = one.clip, None
    if isinstance(clip, Clip3D):
        hidden = torch.full_like(clip.pose3d_cam, torch.nan)
        truth = torch.where(clip.valid[:, None, None], clip.pose3d_cam, hidden)
    return ExampleMotion(
        _title(one, rank, total),
        clip.frame_rate_hz / max(1, math.ceil(clip.frame_rate_hz / SHOWN_HZ)),
        skeleton,
        truth,
        one.before,
        one.after,
        clip.pose2d,
        up_cam=up_in_camera(clip),
    )


def _title(one: LiftedClip, rank: int, total: int) -> str:
    """The clip, what adaptation did to it, and how it was chosen."""
    name = f"{one.clip.action or 'clip'} ({one.clip.subject}, {one.clip.camera})"
    place = f"rank {rank + 1} of {total} clips"
    if one.errors_mm is None:
        return f"{name}: lifters {one.effect_mm:.0f} mm apart; {place}, 1 changed least"
    before, after = one.errors_mm
    change = f"{one.effect_mm:+.0f}".replace("-", "−")
    word = _word(one, rank, total)
    return f"{name}: {word}; MPJPE {before:.0f} → {after:.0f} mm ({change}); {place} by change"


def _word(one: LiftedClip, rank: int, total: int) -> str:
    better = one.effect_mm < 0
    if total > 1 and rank == 0:
        return "helped most" if better else "hurt least"
    if total > 1 and rank == total - 1:
        return "helped least" if better else "hurt most"
    if abs(rank - (total - 1) / 2) <= max(0.5, _NEARBY * total / 2):
        return "typical"
    return "helped" if better else "hurt"
