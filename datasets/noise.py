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

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.signal import lfilter
from torch import Tensor

from adaptpose.clips import PoseData
from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message
from adaptpose.runtime import stream
from adaptpose.skeleton import Skeleton, mirror_free_name, mirror_name

JOINT_CLASSES = (
    "pelvis", "spine", "thorax", "nose", "head", "hip", "knee", "ankle", "shoulder", "elbow",
    "wrist",
)  # fmt: skip
_MIDDLE_CLASS = {
    "hip": "pelvis", "spine": "spine", "thorax": "thorax", "neck_nose": "nose", "head": "head",
}  # fmt: skip
SWAP_GROUPS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
"""Joints that change sides together: the legs, and the arms."""

DEFAULT_NOISE = Path(__file__).with_name("detector_noise.json")
"""The shipped model; its provenance says what it was fitted on."""
_FORMAT = "adaptpose detector noise 1"
_LEAD_IN = 6.0
"""Mean burst lengths simulated before the first frame, so that a clip can start in a burst."""


@dataclass(frozen=True)
class DetectorNoise:
    """Parameters of a detector's errors. All zero, as by default, it changes nothing.

    `scale`: Student-t scale per joint class (`JOINT_CLASSES`), share of the person's size;
    `tail_dof`: degrees of freedom ν, smaller is heavier-tailed. `slow_share`, `jitter_share`:
    shares of the slow and the memoryless part of the error's Gaussian variance, the rest is the
    fast part; `slow_s`, `fast_s`: their correlation times. Swaps: bursts per second for each of
    `SWAP_GROUPS` and mean length. Missing: bursts per second for each joint and mean length; a
    missing joint holds its last place, or, in `gross_share` of the bursts, lies off by a normal
    offset of `gross_scale` person sizes; its confidence is multiplied by `missing_confidence`.
    Confidence: min(1, level · exp(-slope · error share + spread · normal)).
    """

    scale: dict[str, float] = field(default_factory=lambda: dict.fromkeys(JOINT_CLASSES, 0.0))
    tail_dof: float = 5.0
    slow_share: float = 0.0
    slow_s: float = 2.0
    fast_s: float = 0.1
    jitter_share: float = 0.0
    swap_rate_hz: float = 0.0
    swap_mean_s: float = 0.1
    missing_rate_hz: float = 0.0
    missing_mean_s: float = 0.1
    missing_confidence: float = 0.0
    gross_share: float = 0.0
    gross_scale: float = 0.2
    confidence_level: float = 1.0
    confidence_slope: float = 0.0
    confidence_spread: float = 0.0

    def __post_init__(self) -> None:
        if set(self.scale) != set(JOINT_CLASSES):
            wrong = ", ".join(sorted(set(self.scale) ^ set(JOINT_CLASSES)))
            expected = f"a value for each of {', '.join(JOINT_CLASSES)}"
            raise ConfigError(
                expected_message("detector noise, scale", expected, f"a mismatch in {wrong}")
            )
        numbers = {f"scale.{joint}": value for joint, value in self.scale.items()}
        numbers |= {f.name: getattr(self, f.name) for f in fields(self) if f.name != "scale"}
        for name, value in numbers.items():
            positive = name in ("tail_dof", "slow_s", "fast_s", "swap_mean_s", "missing_mean_s")
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                expected = f"a number {'above' if positive else 'of at least'} 0"
                raise ConfigError(expected_message(f"detector noise, {name}", expected, str(value)))
        for name in ("gross_share", "missing_confidence", "confidence_level"):
            if getattr(self, name) > 1:
                got = str(getattr(self, name))
                raise ConfigError(expected_message(f"detector noise, {name}", "at most 1", got))
        if self.slow_share + self.jitter_share > 1:
            got = f"{self.slow_share} + {self.jitter_share}"
            raise ConfigError(
                expected_message("detector noise, slow_share + jitter_share", "at most 1", got)
            )

    def correlation(self, lag_s: float) -> float:
        """Correlation of the Gaussian behind the error at a time difference of `lag_s` seconds."""
        if lag_s == 0:
            return 1.0
        fast = 1 - self.slow_share - self.jitter_share
        slow = self.slow_share * math.exp(-abs(lag_s) / self.slow_s)
        return slow + fast * math.exp(-abs(lag_s) / self.fast_s)

    def times(self, factor: float) -> "DetectorNoise":
        """The same detector with errors and burst rates `factor` times as large."""
        return replace(
            self,
            scale={joint: value * factor for joint, value in self.scale.items()},
            swap_rate_hz=self.swap_rate_hz * factor,
            missing_rate_hz=self.missing_rate_hz * factor,
        )


def person_size(
    pose2d: Float[Tensor, "*batch joints 2"],
) -> Float[Tensor, "*batch"]:
    """Diagonal of the box around the finite joints, in the unit of the pose; 0 if there is none."""
    finite = torch.isfinite(pose2d).all(-1, keepdim=True)
    high = torch.where(finite, pose2d, torch.full_like(pose2d, -torch.inf)).amax(-2)
    low = torch.where(finite, pose2d, torch.full_like(pose2d, torch.inf)).amin(-2)
    return torch.where(finite.any(-2), high - low, torch.zeros_like(high)).norm(dim=-1)


def joint_class(joint: str) -> str:
    """The class in `JOINT_CLASSES` of a joint by name; DataError for a joint without one."""
    name = _MIDDLE_CLASS.get(joint, mirror_free_name(joint))
    if name not in JOINT_CLASSES:
        raise DataError(unknown_name_message("joint class of", joint, JOINT_CLASSES))
    return name


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


def load_noise(path: Path | None = None) -> DetectorNoise:
    """The model of a JSON file, by default the shipped one; DataError if it is damaged."""
    where = path or DEFAULT_NOISE
    values = _read_json(where).get("model")
    known = [f.name for f in fields(DetectorNoise)]
    if not isinstance(values, dict):
        raise DataError(expected_message(f"{where}, model", "a table of parameters", str(values)))
    for name in values:
        if name not in known:
            raise DataError(f"{where}: {unknown_name_message('parameter', name, known)}")
    if missing := [name for name in known if name not in values]:
        raise DataError(expected_message(str(where), "all parameters", f"no {missing[0]}"))
    try:
        scale = {str(joint): float(value) for joint, value in dict(values["scale"]).items()}
        rest = {name: float(values[name]) for name in known if name != "scale"}
        return DetectorNoise(scale=scale, **rest)
    except (TypeError, ValueError, ConfigError) as error:
        raise DataError(f"{where}: {error}") from error


def noise_provenance(path: Path | None = None) -> dict[str, str]:
    """What a model file says about its origin: data, credit, command, priors."""
    values = _read_json(path or DEFAULT_NOISE).get("provenance", {})
    return {str(key): str(value) for key, value in dict(values).items()}


def save_noise(path: Path, model: DetectorNoise, provenance: dict[str, str]) -> None:
    """Write a model and its origin as JSON, whole or not at all."""
    payload = {"format": _FORMAT, "provenance": provenance, "model": asdict(model)}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(payload, indent=2, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(expected_message(str(path), "a noise model (JSON)", str(error))) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        fix = "make one with adapt noise-fit"
        raise DataError(expected_message(str(path), f"format '{_FORMAT}'", "another", fix))
    return content


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
