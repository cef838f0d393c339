"""Source, generated and target side by side: cameras, 2D poses, and generated motions.

Everything is drawn from bounded samples, the same for the same seed. A target has no 3D, so its
cameras are those that the adapted lifter implies, under a focal length that is stated.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.camera import MIN_DEPTH, pinhole
from adaptpose.cli.experiment import Plan
from adaptpose.cli.report_data import CLIP_FRAMES, ReportData, sample_clips
from adaptpose.cli.report_examples import up_in_camera
from adaptpose.cli.report_rounds import made_windows
from adaptpose.clips import Clip3D, PoseData, TargetData, hold_seen
from adaptpose.critic import source_error_table
from adaptpose.inference import predict_clips
from adaptpose.lifter import Lifter
from adaptpose.rays import root_from_rays
from adaptpose.recipe import Block
from adaptpose.report_content import GalleryMotion
from adaptpose.runtime import stream
from adaptpose.sampling import Sampler, draw_block
from adaptpose.skeleton import Skeleton
from adaptpose.viewpoint import camera_distribution, viewpoint
from adaptpose.windows import build_labelled_bank

LIFTED_FOCAL = 2.0
"""Focal length, in normalised units, under which a target is lifted: its image's larger side."""
LIFTED = "target (as lifted)"
TEST = "target test (truth)"
GALLERY = 8
"""Generated motions shown."""
_BLOCKS = 2
"""Blocks of generated windows whose cameras are shown."""


@dataclass(frozen=True)
class Domains:
    """Cameras and 2D poses by domain, and generated motions."""

    cameras: Mapping[str, Mapping[str, Tensor]]
    keypoints: Mapping[str, Tensor]
    gallery: tuple[GalleryMotion, ...]


def domains(data: ReportData, plan: Plan, seed: int) -> Domains:
    """What there is of the source, of what was generated of it, of the target, of the test set."""
    cameras: dict[str, Mapping[str, Tensor]] = {}
    keypoints: dict[str, Tensor] = {}
    gallery: tuple[GalleryMotion, ...] = ()
    if data.source is not None:
        part = sample_clips(data.source.clips, _source_frames(data, plan), _draws(seed, "source"))
        cameras["source"], keypoints["source"] = _of_labelled(part, data.source.skeleton)
        made = made_windows(data, part, plan, seed) if part else None
        if made is not None:
            view = camera_distribution(made.pose3d, made.pose2d, data.source.skeleton)
            cameras["generated"], keypoints["generated"] = view, made.pose2d
        blocks = _blocks(data, part, plan, seed) if part else []
        if blocks:
            cameras["generated"], keypoints["generated"] = _of_blocks(blocks, data.source.skeleton)
            gallery = _gallery(blocks[0], part, data.source)
    if data.target is not None:
        keypoints["target"] = _seen(data.target, seed)
        if "adapted" in data.lifters:
            cameras[LIFTED] = _as_lifted(data.target, data.lifters["adapted"], seed)
    if data.test is not None:
        part = sample_clips(data.test.clips, CLIP_FRAMES, _draws(seed, "test"))
        cameras[TEST], _ = _of_labelled(part, data.test.skeleton)
    return Domains(cameras, keypoints, gallery)


def _draws(seed: int, name: str) -> torch.Generator:
    return stream(seed, "report", name)


def _source_frames(data: ReportData, plan: Plan) -> int:
    """Frames that a clip must keep so that windows of it are whole."""
    assert data.source is not None
    lifter = data.lifters.get("adapted")
    if lifter is None:
        return CLIP_FRAMES
    rate = max(clip.frame_rate_hz for clip in data.source.clips) / 50
    return max(CLIP_FRAMES, int(2 * lifter.receptive_field * plan.settings.strides[1] * rate))


def _of_labelled(
    clips: tuple[Clip3D, ...], skeleton: Skeleton
) -> tuple[Mapping[str, Tensor], Tensor]:
    if not clips:
        return {}, torch.zeros(0, skeleton.num_joints, 2)
    pose3d = torch.cat([clip.pose3d_cam[clip.valid] for clip in clips])
    pose2d = torch.cat([clip.pose2d[clip.valid] for clip in clips])
    return camera_distribution(pose3d, pose2d, skeleton), pose2d


def _seen(target: TargetData, seed: int) -> Tensor:
    parts = sample_clips(target.clips, CLIP_FRAMES, _draws(seed, "target"))
    return torch.cat([clip.pose2d[clip.valid] for clip in parts])


def _as_lifted(target: TargetData, lifter: Lifter, seed: int) -> Mapping[str, Tensor]:
    """Cameras that the lifter's poses imply; poses that come out behind the camera are left out."""
    parts = sample_clips(target.clips, CLIP_FRAMES, _draws(seed, "target"))
    lifted = predict_clips(lifter, parts, target.normalisation)
    pose2d = torch.cat([hold_seen(clip)[clip.valid] for clip in parts])
    pose = torch.cat([p[c.valid] for p, c in zip(lifted, parts, strict=True)])
    placed = pose + _root(pose, pose2d)[:, None]
    ahead = placed[:, target.skeleton.root, 2] > MIN_DEPTH
    return camera_distribution(placed[ahead], pose2d[ahead], target.skeleton)


def _root(
    pose: Float[Tensor, "poses joints 3"], pose2d: Float[Tensor, "poses joints 2"]
) -> Float[Tensor, "poses 3"]:
    weights = torch.ones(pose2d.shape[:-1])
    return root_from_rays(pose, pose2d, weights, pinhole(LIFTED_FOCAL))


def _blocks(data: ReportData, part: tuple[Clip3D, ...], plan: Plan, seed: int) -> list[Block]:
    """Blocks of generated windows, judged by the adapted lifter; empty if none passes."""
    if data.generator is None or data.source is None:
        return []
    critic = data.lifters["adapted"]
    seen = data.source.normalisation
    small = PoseData(data.source.name, data.source.skeleton, part, normalisation=seen)
    bank = build_labelled_bank(small, data.generator.turned.device)
    hard, middle = plan.fit.selection.hardness, round(sum(plan.fit.strides) / 2)
    sampler = Sampler(
        data.generator,
        bank,
        plan.fit.strides,
        critic.receptive_field,
        plan.fit.selection,
        seed,
        critic=critic if hard else None,
        critic_errors=source_error_table(critic, bank, middle, seen) if hard else None,
        normalisation=seen,
    )
    blocks = [draw_block(sampler, number) for number in range(_BLOCKS)]
    return blocks if any(bool(block.keep.any()) for block in blocks[:1]) else []


def _of_blocks(blocks: list[Block], skeleton: Skeleton) -> tuple[Mapping[str, Tensor], Tensor]:
    """Of the middle frames of the kept windows."""
    middle = blocks[0].generated.pose2d.shape[1] // 2
    pose3d = torch.cat([b.generated.pose3d_cam[b.keep][:, middle].cpu() for b in blocks])
    pose2d = torch.cat([b.generated.pose2d[b.keep][:, middle].cpu() for b in blocks])
    return camera_distribution(pose3d, pose2d, skeleton), pose2d


def _gallery(
    block: Block, clips: tuple[Clip3D, ...], source: PoseData
) -> tuple[GalleryMotion, ...]:
    """The first kept window of every action, then further ones, up to GALLERY."""
    starts = torch.tensor([clip.num_frames for clip in clips]).cumsum(0)
    kept = block.keep.cpu().nonzero()[:, 0]
    frames = block.source.frame.cpu()[kept]
    clip_of = torch.searchsorted(starts, frames, right=True).tolist()
    actions = [clips[number].action for number in clip_of]
    first = [k for k, action in enumerate(actions) if action not in actions[:k]]
    chosen = [*first, *(k for k in range(len(actions)) if k not in set(first))][:GALLERY]
    begin = torch.cat([torch.zeros(1, dtype=starts.dtype), starts])
    return tuple(
        _motion(block, int(kept[k]), clips[clip_of[k]], int(frames[k] - begin[clip_of[k]]), source)
        for k in chosen
    )


def _motion(block: Block, row: int, clip: Clip3D, frame: int, source: PoseData) -> GalleryMotion:
    before = block.source.pose3d_cam[row].cpu()
    after = block.generated.pose3d_cam[row].cpu()
    up = up_in_camera(clip)
    up = up[frame] if up is not None and up.ndim == 2 else up
    return GalleryMotion(
        _motion_title(clip.action, before, after, source.skeleton),
        source.skeleton,
        clip.frame_rate_hz / int(block.stride[row]),
        before,
        after,
        up,
        None if up is None else block.recipe.rotation[row].cpu() @ up,
    )


def _motion_title(action: str, before: Tensor, after: Tensor, skeleton: Skeleton) -> str:
    """The action, and how the camera of the middle frame changed."""
    pair = torch.stack([before[len(before) // 2], after[len(after) // 2]])
    view = viewpoint(pair, skeleton)
    angles = {
        "azimuth": view.azimuth_rad,
        "elevation": view.elevation_rad,
        "roll": view.roll_rad,
    }
    changes = []
    for name, angle in angles.items():
        from_deg, to_deg = torch.rad2deg(angle).tolist()
        changes.append(f"{name} {_degrees(from_deg)} → {_degrees(to_deg)}")
    from_m, to_m = pair[:, skeleton.root, 2].tolist()
    changes.append(f"depth {from_m:.1f} → {to_m:.1f} m")
    return f"{action or 'motion'}: " + ", ".join(changes).replace("-", "−")


def _degrees(angle_deg: float) -> str:
    """A whole number of degrees; a dash where the angle is not defined."""
    return f"{round(angle_deg)}°" if math.isfinite(angle_deg) else "–"
