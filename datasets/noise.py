"""What a 2D detector does to true keypoints: correlated heavy-tailed error, swaps, lost joints.

All lengths are shares of the person's size in the image, the diagonal of the box around the
joints, so that the model holds for near and far people and for any image unit; all times are in
seconds, so that it holds at any frame rate.

The error of a joint is scale x size x t, where t is a bivariate Student-t vector: drawn from a
Gaussian process with radius ρ and stretched to the radius sqrt(ν (exp(ρ²/ν) - 1)), which gives
the t distribution of ν degrees of freedom exactly and leaves the direction and the rank of every
radius alone. The Gaussian process is the sum of a slow part (the bias a detector has for a pose
in a view), a faster part, both AR(1) in time, and jitter without memory; their shares add to 1.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.signal import lfilter
from torch import Tensor

from adaptpose.clips import PoseData
from adaptpose.datasets.noise_model import (
    DEFAULT_NOISE,
    JOINT_CLASSES,
    SWAP_GROUPS,
    DetectorNoise,
    joint_class,
    load_noise,
    noise_provenance,
    save_noise,
)
from adaptpose.errors import ConfigError, expected_message
from adaptpose.runtime import stream
from adaptpose.skeleton import Skeleton, mirror_free_name, mirror_name

__all__ = [
    "DEFAULT_NOISE",
    "JOINT_CLASSES",
    "SWAP_GROUPS",
    "DetectorNoise",
    "add_detector_noise",
    "apply_noise",
    "bursts",
    "gaussianise",
    "joint_class",
    "load_noise",
    "noise_provenance",
    "person_size",
    "save_noise",
    "student_process",
]

_LEAD_IN = 6.0
"""Mean burst lengths simulated before the first frame, so that a clip can start in a burst."""


def person_size(
    pose2d: Float[Tensor, "*batch joints 2"],
) -> Float[Tensor, "*batch"]:
    """Diagonal of the box around the finite joints, in the unit of the pose; 0 if there is none."""
    finite = torch.isfinite(pose2d).all(-1, keepdim=True)
    high = torch.where(finite, pose2d, torch.full_like(pose2d, -torch.inf)).amax(-2)
    low = torch.where(finite, pose2d, torch.full_like(pose2d, torch.inf)).amin(-2)
    return torch.where(finite.any(-2), high - low, torch.zeros_like(high)).norm(dim=-1)


def apply_noise(
    pose2d: Float[Tensor, "frames joints 2"],
    confidence: Float[Tensor, "frames joints"],
    skeleton: Skeleton,
    frame_rate_hz: float,
    model: DetectorNoise,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "frames joints 2"], Float[Tensor, "frames joints"]]:
    """True 2D as the detector would have reported it, with its confidence.

    Normalised screen coordinates (any unit works). Sides are swapped first, then the error is
    added, then joints go missing; the confidence drawn is multiplied into the one given. Joints
    that are NaN stay NaN and have no part in the person's size. The generator must be on the CPU.
    """
    frames, joints, _ = pose2d.shape
    if frame_rate_hz <= 0:
        raise ConfigError(expected_message("noise, frame rate", "above 0", str(frame_rate_hz)))
    if frames == 0:
        return pose2d, confidence
    scale = pose2d.new_tensor([model.scale[joint_class(joint)] for joint in skeleton.joints])
    drawn = student_process(frames, joints, frame_rate_hz, model, generator).to(pose2d)
    share = drawn * scale[:, None]
    size = person_size(pose2d)[:, None, None]
    noisy = _swapped(pose2d, skeleton, frame_rate_hz, model, generator) + share * size
    own = _confidence(share.norm(dim=-1), model, generator)
    return _with_missing(noisy, confidence * own, size, frame_rate_hz, model, generator)


def add_detector_noise(data: PoseData, model: DetectorNoise, seed: int) -> PoseData:
    """The dataset with every clip's 2D and confidence as the detector would report them.

    Each clip draws from its own stream, named by the clip, so a clip is the same in any subset.
    """
    clips = []
    for clip in data.clips:
        generator = stream(seed, "detector_noise", clip.name)
        pose2d, confidence = apply_noise(
            clip.pose2d, clip.confidence, data.skeleton, clip.frame_rate_hz, model, generator
        )
        clips.append(replace(clip, pose2d=pose2d, confidence=confidence))
    return replace(data, clips=tuple(clips))


def student_process(
    frames: int,
    series: int,
    frame_rate_hz: float,
    model: DetectorNoise,
    generator: torch.Generator,
) -> Float[Tensor, "frames series 2"]:
    """Standard bivariate Student-t vectors (float64), correlated in time as the model says."""
    white = torch.randn(3, frames, series, 2, generator=generator, dtype=torch.float64)
    slow = _ar1(white[0], math.exp(-1 / (frame_rate_hz * model.slow_s)))
    fast = _ar1(white[1], math.exp(-1 / (frame_rate_hz * model.fast_s)))
    fast_share = max(0.0, 1 - model.slow_share - model.jitter_share)
    gaussian = math.sqrt(model.slow_share) * slow + math.sqrt(fast_share) * fast
    gaussian = gaussian + math.sqrt(model.jitter_share) * white[2]
    radius2 = (gaussian * gaussian).sum(-1, keepdim=True).clamp_min(1e-300)
    return gaussian * (model.tail_dof * torch.expm1(radius2 / model.tail_dof) / radius2).sqrt()


def gaussianise(standard: Float[Tensor, "*batch 2"], tail_dof: float) -> Float[Tensor, "*batch 2"]:
    """The Gaussian vectors behind standard bivariate Student-t vectors."""
    radius2 = (standard * standard).sum(-1, keepdim=True).clamp_min(1e-300)
    return standard * (tail_dof * torch.log1p(radius2 / tail_dof) / radius2).sqrt()


def bursts(
    frames: int,
    series: int,
    frame_rate_hz: float,
    timing_s: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Bool[Tensor, "frames series"], Float[Tensor, "frames series 3"]]:
    """Mask of the frames inside a burst, and three uniform numbers that stay for a whole burst.

    `timing_s` is (bursts per second, mean length in seconds). Starts are a Poisson process,
    lengths exponential, overlapping bursts merge: 1 - exp(-rate · mean) of the frames are inside.
    """
    rate_hz, mean_s = timing_s
    lead = math.ceil(_LEAD_IN * mean_s * frame_rate_hz) if rate_hz > 0 else 0
    shape = (lead + frames, series)
    uniform = torch.rand(*shape, 6, generator=generator, dtype=torch.float64)
    starts = uniform[..., 0] < -math.expm1(-rate_hz / frame_rate_hz)
    length = -mean_s * frame_rate_hz * torch.log1p(-uniform[..., 1])
    time = torch.arange(shape[0], dtype=torch.float64)[:, None]
    end = torch.where(starts, time - uniform[..., 2] + length, torch.full_like(length, -1.0))
    last, begun = end.cummax(dim=0)
    constant = uniform[..., 3:].gather(0, begun[..., None].expand(*shape, 3))
    return (last > time)[lead:], constant[lead:]


def _ar1(white: Tensor, coefficient: float) -> Tensor:
    """Stationary AR(1) series of unit variance along the first axis."""
    innovation = white.numpy() * math.sqrt(1 - coefficient**2)
    # The first value is drawn from the stationary distribution, so that a series has no run-in.
    innovation[0] = white[0].numpy()
    return torch.from_numpy(np.asarray(lfilter([1.0], [1.0, -coefficient], innovation, axis=0)))


def _swapped(
    pose2d: Tensor,
    skeleton: Skeleton,
    frame_rate_hz: float,
    model: DetectorNoise,
    generator: torch.Generator,
) -> Tensor:
    timing = (model.swap_rate_hz, model.swap_mean_s)
    mask, _ = bursts(pose2d.shape[0], len(SWAP_GROUPS), frame_rate_hz, timing, generator)
    swapped = pose2d
    for group, names in enumerate(SWAP_GROUPS):
        member = [mirror_free_name(j) in names and mirror_name(j) != j for j in skeleton.joints]
        inside = mask[:, group, None] & torch.tensor(member)
        swapped = torch.where(
            inside[..., None].to(pose2d.device), pose2d[:, list(skeleton.mirror)], swapped
        )
    return swapped


def _confidence(share: Tensor, model: DetectorNoise, generator: torch.Generator) -> Tensor:
    normal = torch.randn(share.shape, generator=generator, dtype=torch.float64).to(share)
    exponent = model.confidence_spread * normal - model.confidence_slope * share
    return (model.confidence_level * torch.exp(exponent)).clamp_max(1)


def _with_missing(
    noisy: Tensor,
    confidence: Tensor,
    size: Tensor,
    frame_rate_hz: float,
    model: DetectorNoise,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    frames, joints, _ = noisy.shape
    timing = (model.missing_rate_hz, model.missing_mean_s)
    mask, constant = bursts(frames, joints, frame_rate_hz, timing, generator)
    mask, constant = mask.to(noisy.device), constant.to(noisy)
    held = noisy.gather(0, _last_seen(mask)[..., None].expand_as(noisy))
    # Box-Muller: the numbers of a burst are uniform and stay for its length.
    radius = (-2 * torch.log1p(-constant[..., 0].clamp_max(1 - 1e-6))).sqrt()
    angle = 2 * math.pi * constant[..., 1]
    normal = radius[..., None] * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    gross = noisy + model.gross_scale * size * normal
    lost = torch.where((constant[..., 2] < model.gross_share)[..., None], gross, held)
    low = confidence * model.missing_confidence
    return torch.where(mask[..., None], lost, noisy), torch.where(mask, low, confidence)


def _last_seen(missing: Tensor) -> Tensor:
    """For each frame and joint the last frame that has the joint; before any, the first one."""
    time = torch.arange(missing.shape[0], device=missing.device)[:, None].expand(missing.shape)
    last = torch.where(missing, torch.full_like(time, -1), time).cummax(dim=0).values
    first = (~missing).to(torch.int8).argmax(dim=0, keepdim=True)
    return torch.where(last >= 0, last, first)
