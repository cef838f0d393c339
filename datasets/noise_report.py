"""What a fit of the detector noise was made from, and how near the fitted model comes to it."""

from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from adaptpose.datasets.detection_errors import DetectionErrors, without_swaps
from adaptpose.datasets.noise import DetectorNoise, gaussianise, joint_class, student_process
from adaptpose.datasets.noise_statistics import (
    autocorrelation,
    count_bursts,
    finite,
    missing_limbs,
)
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17

LAGS_S = (1 / 60, 0.1, 0.25, 0.5, 1.0)
"""Time differences at which the report compares autocorrelations."""


@dataclass(frozen=True)
class NoiseReport:
    """What was measured, and what the fitted model gives for the same.

    Errors in pixels are radii. `plain_*` are reprojection errors of all views together with the
    calibration as it came; `error_*` are those of single detections. `missing_bursts` counts
    moments at which one camera lost joints, since joints lost together are one event;
    `missing_share` is without the nose, which is lost to the view from behind.
    `confidence_by_error` is (upper bound of the error share, mean confidence).
    """

    detections: int
    cameras: int
    seconds: float
    person_size_px: float
    plain_median_px: float
    plain_p95_px: float
    error_median_px: float
    error_p95_px: float
    model_median_px: float
    model_p95_px: float
    correlation: tuple[tuple[float, float, float], ...]
    missing_share: float
    missing_bursts: int
    swap_bursts: int
    confidence_by_error: tuple[tuple[float, float], ...]
    prior_fields: tuple[str, ...]


def report_of(
    errors: DetectionErrors, model: DetectorNoise, prior_fields: tuple[str, ...]
) -> NoiseReport:
    """What was measured, beside what the fitted model gives for the same."""
    share = without_swaps(errors)
    scale = share.new_tensor([model.scale[joint_class(j)] for j in H36M_17.joints])
    radius_px = finite(share.norm(dim=-1) * errors.size_px[..., None])
    drawn = student_process(20_000, 17, 1.0, replace(model, slow_share=0.0, jitter_share=1.0),
                            stream(0, "noise_report"))  # fmt: skip
    size_px = float(finite(errors.size_px.flatten()).median())
    model_px = (drawn.norm(dim=-1) * scale * size_px).flatten()
    model_px = model_px[:: max(1, len(model_px) // 100_000)]
    gaussian = gaussianise(share / scale[:, None], model.tail_dof)
    rate = errors.frame_rate_hz
    lags = [round(lag * rate) for lag in LAGS_S if 0 < round(lag * rate) < share.shape[1]]
    measured = autocorrelation(gaussian, max(lags))
    lost = missing_limbs(errors)
    return NoiseReport(
        detections=len(radius_px),
        cameras=share.shape[0],
        seconds=share.shape[1] / rate,
        person_size_px=size_px,
        plain_median_px=float(finite(errors.plain_px).median()),
        plain_p95_px=float(finite(errors.plain_px).quantile(0.95)),
        error_median_px=float(radius_px.median()),
        error_p95_px=float(radius_px.quantile(0.95)),
        model_median_px=float(model_px.median()),
        model_p95_px=float(model_px.quantile(0.95)),
        correlation=tuple(
            (lag / rate, float(measured[lag]), model.correlation(lag / rate)) for lag in lags
        ),
        missing_share=float(lost.double().mean()),
        missing_bursts=count_bursts(lost.any(-1, keepdim=True)),
        swap_bursts=count_bursts(errors.swapped),
        confidence_by_error=_confidence_table(share, errors.confidence),
        prior_fields=prior_fields,
    )


def _confidence_table(share: Tensor, confidence: Tensor) -> tuple[tuple[float, float], ...]:
    radius = share.norm(dim=-1)
    edges = [0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 1.0]
    rows = []
    for low, high in pairwise(edges):
        values = confidence[(radius >= low) & (radius < high)]
        if len(values):
            rows.append((high, float(values.mean())))
    return tuple(rows)
