"""Fits the detector-noise model to real detections in several calibrated cameras.

The errors are those of `datasets.detection_errors`, shares of the person's size. Tail and scales
come from the likelihood of the bivariate Student-t, times from the autocorrelation of the
Gaussian behind it, confidence from a robust regression.

What a short recording cannot show is not fitted but taken from `PRIOR`, and named in the report:
how fast the slow part changes if it outlasts the recording, and bursts seen fewer than
`MIN_BURSTS` times. The prior rates are judgement, chosen to be rare but not absent; that such
errors happen at all is documented (Ronchi and Perona, ICCV 2017: inversion and miss).
"""

import datetime
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares, minimize_scalar
from torch import Tensor

from adaptpose.datasets.detection_errors import DetectionErrors, measure_errors, without_swaps
from adaptpose.datasets.noise import JOINT_CLASSES, DetectorNoise, gaussianise, joint_class
from adaptpose.datasets.noise_report import NoiseReport, report_of
from adaptpose.datasets.noise_statistics import (
    autocorrelation,
    count_bursts,
    finite,
    missing_limbs,
)
from adaptpose.datasets.pose2sim import CREDIT, read_pose2sim
from adaptpose.errors import DataError, expected_message
from adaptpose.skeleton import H36M_17

__all__ = [
    "ALWAYS_PRIOR",
    "MIN_BURSTS",
    "PRIOR",
    "NoiseFit",
    "NoiseReport",
    "autocorrelation",
    "fit_errors",
    "fit_noise",
    "fit_report",
    "fit_student",
]

PRIOR = DetectorNoise(
    slow_s=5.0,
    swap_rate_hz=0.02,
    swap_mean_s=0.15,
    missing_rate_hz=0.05,
    missing_mean_s=0.15,
    missing_confidence=0.2,
    gross_share=0.2,
    gross_scale=0.15,
)
"""Values for what the data cannot show: swaps in 0.3 %, missing joints in 0.75 % of the frames."""
ALWAYS_PRIOR = ("missing_confidence", "gross_share", "gross_scale")
"""Detectors report nothing where a joint is missing, so what would stand there is a choice."""
MIN_BURSTS = 5
_MIN_FRAMES = 30
_TAIL_BOUNDS = (1.5, 60.0)
_FAST_BOUNDS_S = (0.01, 0.6)
_LONGEST_LAG_S = 5.0
_SAMPLES = 20_000
"""Radii per class that the likelihood looks at: more change nothing but the time it takes."""


@dataclass(frozen=True)
class NoiseFit:
    """A fitted model, its report, and the provenance that `save_noise` writes."""

    model: DetectorNoise
    report: NoiseReport
    provenance: dict[str, str]


def fit_noise(session: Path, trial: str | None = None) -> DetectorNoise:
    """The noise model of a Pose2Sim session (`read_pose2sim`), priors where it cannot tell."""
    return fit_report(session, trial).model


def fit_report(session: Path, trial: str | None = None) -> NoiseFit:
    """The noise model of a Pose2Sim session with what was measured and where it comes from."""
    recording = read_pose2sim(session, trial)
    errors = measure_errors(recording)
    model, prior_fields = fit_errors(errors)
    report = report_of(errors, model, prior_fields)
    provenance = {
        "source": f"{recording.name}: OpenPose BODY_25B detections, {report.cameras} cameras, "
        f"{report.seconds:.2f} s at {recording.frame_rate_hz:g} Hz, one person",
        "credit": CREDIT,
        "command": "adapt noise-fit",
        "date": datetime.date.today().isoformat(),
        "method": "leave-one-camera-out errors after refining the cameras' poses; the slow share "
        "holds the gap between the detector's joint definitions in different views",
        "priors, not fitted": ", ".join(prior_fields),
        "limits": "one person, one slow movement, one detector; tail, shares and times rest on "
        f"{report.cameras * 17} series that are each correlated over time",
    }
    return NoiseFit(model, report, provenance)


def fit_errors(errors: DetectionErrors) -> tuple[DetectorNoise, tuple[str, ...]]:
    """The model of measured errors, and the names of its fields that are priors.

    DataError below 30 frames. Errors of swapped limbs count as swaps, not as large errors.
    """
    frames = errors.share.shape[1]
    if frames < _MIN_FRAMES:
        raise DataError(expected_message("noise fit", f"{_MIN_FRAMES} frames or more", str(frames)))
    share = without_swaps(errors)
    classes = [joint_class(joint) for joint in H36M_17.joints]
    radii = {
        name: finite(share[:, :, [i for i, c in enumerate(classes) if c == name]].norm(dim=-1))
        for name in JOINT_CLASSES
    }
    if empty := [name for name, values in radii.items() if not len(values)]:
        got = f"none of {', '.join(empty)}"
        raise DataError(expected_message("noise fit", "joints seen by three cameras", got))
    tail_dof, scale = fit_student(radii)
    gaussian = gaussianise(share / share.new_tensor([scale[c] for c in classes])[:, None], tail_dof)
    model = replace(PRIOR, scale=scale, tail_dof=tail_dof)
    model, prior_fields = _fit_times(model, gaussian, errors.frame_rate_hz)
    model, more = _fit_bursts(model, errors)
    return _fit_confidence(model, errors, share), (*prior_fields, *more, *ALWAYS_PRIOR)


def fit_student(radii: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
    """Degrees of freedom, shared, and scale per class of bivariate Student-t radii, by likelihood.

    Scales by expectation maximisation (weights (ν + 2) / (ν + r²/s²)), ν by a bounded search.
    """

    def cost(tail_dof: float) -> float:
        return -sum(_likelihood(r, _student_scale(r, tail_dof), tail_dof) for r in radii.values())

    radii = {name: _thinned(values) for name, values in radii.items()}
    found: Any = minimize_scalar(
        lambda log_dof: cost(math.exp(log_dof)),
        bounds=(math.log(_TAIL_BOUNDS[0]), math.log(_TAIL_BOUNDS[1])),
        method="bounded",
        options={"xatol": 1e-3},
    )
    tail_dof = math.exp(float(found.x))
    return tail_dof, {name: _student_scale(r, tail_dof) for name, r in radii.items()}


def _thinned(values: Tensor) -> Tensor:
    return values[:: max(1, -(-len(values) // _SAMPLES))]


def _student_scale(radius: Tensor, tail_dof: float) -> float:
    square = radius.square()
    scale2 = square.median() / 2 + 1e-12
    for _ in range(30):
        weight = (tail_dof + 2) / (tail_dof + square / scale2)
        scale2 = (weight * square).mean() / 2 + 1e-12
    return float(scale2.sqrt())


def _likelihood(radius: Tensor, scale: float, tail_dof: float) -> float:
    tail = torch.log1p((radius / scale).square() / tail_dof) * (tail_dof + 2) / 2
    return float(-tail.sum() - 2 * len(radius) * math.log(scale))


def _fit_times(
    model: DetectorNoise, gaussian: Tensor, frame_rate_hz: float
) -> tuple[DetectorNoise, tuple[str, ...]]:
    """Shares and times of the parts from the autocorrelation, up to 0.6 of the recording."""
    lags = int(min(0.6 * gaussian.shape[1], _LONGEST_LAG_S * frame_rate_hz))
    measured = autocorrelation(gaussian, lags)[1:].numpy()
    time_s = np.arange(1, lags + 1) / frame_rate_hz
    longest_s = gaussian.shape[1] / frame_rate_hz

    def parts(x: np.ndarray) -> tuple[np.ndarray, float, float]:
        slow, jitter, fast_s, slow_s = x
        fast = (1 - slow) * (1 - jitter)
        return slow * np.exp(-time_s / slow_s) + fast * np.exp(-time_s / fast_s), slow, jitter

    upper = max(longest_s / 2, 2 * _FAST_BOUNDS_S[1])
    bounds = ([0, 0, _FAST_BOUNDS_S[0], _FAST_BOUNDS_S[1]], [1, 1, _FAST_BOUNDS_S[1], upper])
    # A longer lag has fewer independent pairs, so it weighs less.
    weight = np.sqrt(1 - time_s / longest_s)
    free = least_squares(
        lambda x: weight * (parts(x)[0] - measured),
        [0.2, 0.1, 0.1, (_FAST_BOUNDS_S[1] + upper) / 2],
        bounds=bounds,
    ).x
    held = free[3] > 0.95 * upper or free[0] < 0.02
    if held:
        fixed = least_squares(
            lambda x: weight * (parts(np.append(x, model.slow_s))[0] - measured),
            free[:3],
            bounds=(bounds[0][:3], bounds[1][:3]),
        ).x
        free = np.append(fixed, model.slow_s)
    slow, jitter, fast_s, slow_s = (float(value) for value in free)
    shares = {"slow_share": slow, "jitter_share": (1 - slow) * jitter}
    model = replace(model, **shares, fast_s=fast_s, slow_s=slow_s)
    return model, ("slow_s",) if held else ()


def _fit_bursts(
    model: DetectorNoise, errors: DetectionErrors
) -> tuple[DetectorNoise, tuple[str, ...]]:
    """Burst rates and lengths where bursts were seen often enough, priors elsewhere."""
    lost = missing_limbs(errors)
    prior_fields: list[str] = []
    changes: dict[str, float] = {}
    for name, mask, events in (
        ("swap", errors.swapped, count_bursts(errors.swapped)),
        ("missing", lost, count_bursts(lost.any(-1, keepdim=True))),
    ):
        if events < MIN_BURSTS:
            prior_fields += [f"{name}_rate_hz", f"{name}_mean_s"]
            continue
        single = count_bursts(mask)
        changes[f"{name}_rate_hz"] = single * errors.frame_rate_hz / mask.numel()
        changes[f"{name}_mean_s"] = float(mask.sum()) / single / errors.frame_rate_hz
    return replace(model, **changes), tuple(prior_fields)


def _fit_confidence(model: DetectorNoise, errors: DetectionErrors, share: Tensor) -> DetectorNoise:
    """Level, slope and spread of log confidence over the error, robust to the lower tail.

    Errors beyond 10 % of the person are held at that, lest a few of them set the slope.
    """
    radius, log_confidence = share.norm(dim=-1), errors.confidence.log()
    seen = torch.isfinite(radius) & torch.isfinite(log_confidence)
    x, y = radius[seen].clamp_max(0.1).numpy(), log_confidence[seen].numpy()
    level, slope = least_squares(
        lambda p: p[0] - p[1] * x - y, [0.0, 0.0], loss="soft_l1", f_scale=0.1
    ).x
    spread = 1.4826 * np.median(np.abs(level - slope * x - y))
    return replace(
        model,
        confidence_level=min(1.0, float(np.exp(level))),
        confidence_slope=max(0.0, float(slope)),
        confidence_spread=float(spread),
    )
