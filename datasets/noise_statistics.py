"""Statistics of detection errors over time: autocorrelation, runs of lost or swapped joints."""

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.detection_errors import DetectionErrors
from adaptpose.skeleton import H36M_17


def autocorrelation(
    series: Float[Tensor, "cameras frames joints 2"], max_lag: int
) -> Float[Tensor, "lags"]:
    """Correlation at lags 0 to `max_lag` frames, pooled over series, about 0 and not the mean.

    The mean of a series is the slow part of its error and must stay in. NaN pairs are left out.
    """
    seen = torch.isfinite(series).all(-1, keepdim=True)
    values = torch.where(seen, series, torch.zeros_like(series))
    power, present = values.square().sum(-1, keepdim=True), seen.to(series.dtype)
    early = _lagged_products(power, present, max_lag)
    late = _lagged_products(present, power, max_lag)
    products = _lagged_products(values, values, max_lag)
    return products / (early * late).clamp_min(1e-24).sqrt()


def missing_limbs(errors: DetectionErrors) -> Tensor:
    """Mask of missing limb joints: the others are means, or hidden by the view."""
    limbs = [*H36M_17.left, *H36M_17.right]
    return errors.confidence[:, :, limbs] <= 0


def count_bursts(mask: Tensor) -> int:
    """Number of runs of True along the frames."""
    before = torch.zeros_like(mask)
    before[:, 1:] = mask[:, :-1]
    return int((mask & ~before).sum())


def finite(values: Tensor) -> Tensor:
    """The finite ones of some numbers, in one dimension."""
    return values[torch.isfinite(values)]


def _lagged_products(early: Tensor, late: Tensor, max_lag: int) -> Tensor:
    """Sums over everything of early(t) · late(t + lag), lags 0 to `max_lag`, by FFT over t."""
    length = early.shape[1] + max_lag + 1
    spectrum = torch.fft.rfft(early, length, dim=1).conj() * torch.fft.rfft(late, length, dim=1)
    sums = torch.fft.irfft(spectrum.sum(dim=(0, 2, 3)), length)
    return sums[: max_lag + 1]
