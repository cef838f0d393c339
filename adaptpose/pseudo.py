"""Pseudo-poses: a target's own 2D lifted, and from where its people are seen.

Of the lifted poses only what is most reliable is taken over: the rotation between camera and body,
the root's place in the image and the person's size in it. Rotations refer to the line of sight to
the root, as in `adaptpose.shots`, and to the body's axes with the trunk as up, so that people who
lie or bend have a viewpoint too.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.bones import bone_lengths
from adaptpose.camera import Intrinsics, pinhole
from adaptpose.clips import TargetData
from adaptpose.config_values import check_config
from adaptpose.errors import DataError
from adaptpose.inference import predict_clips
from adaptpose.lifted import LiftedClips, estimate_lenses, gather_lifted, with_lengths
from adaptpose.lifter import Lifter, check_lifter_skeleton
from adaptpose.pseudo_config import PseudoConfig
from adaptpose.rays import ray_distances
from adaptpose.shots import ray_rotation
from adaptpose.viewpoint import body_axes
from adaptpose.windows import FrameBank, build_target_bank

NEAREST_M = 0.3
"""Depth of the root that a viewpoint is clamped to."""


@dataclass(frozen=True)
class PseudoPoses:
    """Frames of a target with poses (m, camera axes, absolute) and the viewpoint of each.

    `to_body` leads from ray axes to the body's (forward, left, up), `place` and `rate` are those
    of `Shots`, `focal` is the frame's. `weight` says how far a frame is trusted, 0 for none: see
    `lift_target`; `cumulated` and `last`, the last frame that counts, serve to draw by it. `lifted`
    is what the lifter made, `pose3d_cam` what viewpoints refer to.
    """

    bank: FrameBank
    lifted: LiftedClips
    pose3d_cam: Float[Tensor, "frames joints 3"]
    to_body: Float[Tensor, "frames 3 3"]
    place: Float[Tensor, "frames 2"]
    rate: Float[Tensor, "frames"]
    focal: Float[Tensor, "frames"]
    weight: Float[Tensor, "frames"]
    cumulated: Float[Tensor, "frames"]
    last: Int[Tensor, ""]
    lengths: Float[Tensor, "clips bones"] | None = None
    """Bone lengths (m) of the person of each clip, where they were found."""

    def draw(self, count: int, rng: torch.Generator) -> Int[Tensor, "count"]:
        """Frames drawn with replacement, in proportion to their weights."""
        device = self.weight.device
        share = torch.rand(count, generator=rng, device=device, dtype=self.cumulated.dtype)
        place = torch.searchsorted(self.cumulated, share * self.cumulated[-1:], right=True)
        # Rounding may take a draw of almost 1 past the end.
        return torch.minimum(place, self.last)

    def with_poses(self, pose3d_cam: Float[Tensor, "frames joints 3"]) -> "PseudoPoses":
        """The same frames with other poses, such as refined ones, and their viewpoints."""
        return _seen(self.bank, self.lifted, pose3d_cam, self.weight, self.lengths)

    def with_people(self, lengths: Float[Tensor, "clips bones"]) -> "PseudoPoses":
        """The same poses of people of whom it is known that their bones have these lengths (m)."""
        return replace(self, lengths=lengths)

    def with_lengths(
        self, lengths: Float[Tensor, "clips bones"], root_cutoff_hz: float | int
    ) -> "PseudoPoses":
        """The same frames, lifted poses with bones of these lengths (m); on the CPU."""
        lifted = with_lengths(self.lifted, lengths, root_cutoff_hz)
        poses = lifted.pose + lifted.root[:, None]
        return _seen(self.bank, lifted, poses, self.weight, lengths)

    def to(self, device: torch.device) -> "PseudoPoses":
        """The same on another device."""
        names = ("pose3d_cam", "to_body", "place", "rate", "focal", "weight", "cumulated", "last")
        moved = {name: getattr(self, name).to(device) for name in names}
        if self.lengths is not None:
            moved["lengths"] = self.lengths.to(device)
        tensors = {
            name: value.to(device)
            for name, value in vars(self.bank).items()
            if isinstance(value, Tensor)
        }
        bank = replace(self.bank, **tensors)
        return replace(self, bank=bank, lifted=self.lifted.to(device), **moved)


def lift_target(
    lifter: Lifter, target: TargetData, config: PseudoConfig, rng: torch.Generator
) -> PseudoPoses:
    """Pseudo-poses of every frame of a target; on the CPU.

    The root stands where the joints come nearest to their rays, weighted by confidence, with its
    distance smooth over time; focal lengths as the config says, drawn from the generator.

    The weight of a valid frame is the mean confidence of its joints, over 1 + (r / a)², over
    1 + (b / c)². r is the mean distance of joints from their rays by the size of the body, b the
    mean deviation of bone lengths from the clip's medians by the mean length; a and c are
    `tolerance` times the target's medians of r and b, so both say how a frame compares with the
    target's others, whatever the lifter. Frames without body axes have weight 0.
    CheckpointError if the lifter is for other joints, DataError if no frame is of any use.
    """
    check_config(config)
    check_lifter_skeleton(lifter, target.skeleton, f"target '{target.name}'")
    if not target.clips:
        raise DataError(f"target '{target.name}': no clips")
    poses = predict_clips(lifter, target.clips, target.normalisation, config.tta)
    lenses = _lenses(target, poses, config, rng)
    cutoff = config.root_cutoff_hz
    lifted = gather_lifted(poses, target.clips, lenses, target.skeleton, None, cutoff)
    valid = torch.cat([clip.valid for clip in target.clips])
    weight = torch.where(valid, _reliability(lifted, valid, config.tolerance), 0.0)
    bank = build_target_bank(target, lifted.pose.device)
    return _seen(bank, lifted, lifted.pose + lifted.root[:, None], weight)


def some_clips(target: TargetData, frames: int, rng: torch.Generator) -> TargetData:
    """The target with clips drawn without replacement until they have `frames` frames; 0: all.

    Clips without a valid frame are not drawn, the others stay in their order. Nothing is drawn of
    a target that is small enough.
    """
    lengths = {k: c.num_frames for k, c in enumerate(target.clips) if bool(c.valid.any())}
    if not 0 < frames < sum(lengths.values()):
        return target
    order, chosen, total = list(lengths), set[int](), 0
    for place in torch.randperm(len(order), generator=rng, device=rng.device).tolist():
        if total >= frames:
            break
        chosen.add(order[place])
        total += lengths[order[place]]
    clips = tuple(clip for number, clip in enumerate(target.clips) if number in chosen)
    return replace(target, clips=clips)


def _lenses(
    target: TargetData, poses: list[Tensor], config: PseudoConfig, rng: torch.Generator
) -> list[Intrinsics]:
    if config.focal == "fixed":
        return [pinhole(config.focal_fixed)] * len(target.clips)
    if config.focal == "estimated":
        # Clips are short: what all show together is better known than what each one does.
        together = [replace(clip, camera="") for clip in target.clips]
        lenses = estimate_lenses(poses, together, target.skeleton)
        off = torch.randn(len(lenses), generator=rng, device=rng.device).cpu()
        factors = (config.focal_spread * off).exp().tolist()
        return [
            pinhole(float(lens.focal.mean()) * factor)
            for lens, factor in zip(lenses, factors, strict=True)
        ]
    low, high = (math.log(end) for end in config.focal_range)
    share = torch.rand(len(target.clips), generator=rng, device=rng.device).cpu()
    return [pinhole(focal) for focal in (low + (high - low) * share).exp().tolist()]


def _seen(
    bank: FrameBank,
    lifted: LiftedClips,
    pose3d_cam: Tensor,
    weight: Tensor,
    lengths: Tensor | None = None,
) -> PseudoPoses:
    """The viewpoints of absolute poses; frames that have none get weight 0."""
    root = pose3d_cam[:, bank.skeleton.root]
    depth = root[:, 2].clamp_min(NEAREST_M)
    slope = root[:, :2] / depth[:, None]
    to_body = body_axes(pose3d_cam, bank.skeleton) @ ray_rotation(slope)
    defined = torch.isfinite(to_body).flatten(1).all(dim=1) & (root[:, 2] > NEAREST_M)
    to_body = torch.where(defined[:, None, None], to_body, torch.eye(3).to(to_body))
    weight = torch.where(defined, weight, 0.0)
    if not bool((weight > 0).any()):
        raise DataError("pseudo-poses: no valid frame shows a person with hips and shoulders")
    return PseudoPoses(
        bank=bank,
        lifted=lifted,
        pose3d_cam=pose3d_cam,
        to_body=to_body,
        place=lifted.focal[:, None] * slope,
        rate=lifted.focal / depth,
        focal=lifted.focal,
        weight=weight,
        cumulated=weight.double().cumsum(dim=0),
        last=weight.nonzero()[-1, 0],
        lengths=lengths,
    )


def _reliability(lifted: LiftedClips, valid: Tensor, tolerance: float) -> Float[Tensor, "frames"]:
    points, weight = lifted.pose + lifted.root[:, None], lifted.weight
    counted = weight.sum(dim=1).clamp_min(1e-9)
    # Slopes are image coordinates of a camera of focal length 1.
    off_ray = (ray_distances(points, lifted.slopes, pinhole(1.0)) * weight).sum(dim=1) / counted
    size = lifted.pose.norm(dim=-1).mean(dim=1).clamp_min(1e-6)
    lengths = bone_lengths(lifted.pose, lifted.skeleton)
    usual = torch.cat([own.median(dim=0).values.expand_as(own) for own in lifted.split(lengths)])
    off_bones = (lengths - usual).abs().mean(dim=1) / usual.mean(dim=1).clamp_min(1e-6)
    trust = weight.clamp(0, 1).mean(dim=1)
    for part in (off_ray / size, off_bones):
        scale = tolerance * part[valid].median() if bool(valid.any()) else part.median()
        trust = trust / (1 + (part / scale.clamp_min(1e-4)).square())
    return trust
