"""`adapt noise-fit`: a detector-noise model from real detections in calibrated cameras."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.console import notice, print_json, print_table
from adaptpose.cli.options import JsonOption

if TYPE_CHECKING:
    from adaptpose.datasets.noise_fit import NoiseFit
else:
    NoiseFit = Any


def noise_fit(
    session: Annotated[Path, typer.Argument(help="Folder of a Pose2Sim session.")],
    trial: Annotated[
        str | None, typer.Option("--trial", help="Trial folder, where there are several.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file to write the model to.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the errors of a 2D detector to a recording with several calibrated cameras."""
    from adaptpose.datasets.noise import save_noise
    from adaptpose.datasets.noise_fit import fit_report

    fit = fit_report(session, trial)
    if out is not None:
        save_noise(out, fit.model, fit.provenance)
        notice(f"model written to {out}")
    if as_json:
        print_json(
            {
                "model": asdict(fit.model),
                "report": asdict(fit.report),
                "provenance": fit.provenance,
            }
        )
        return
    _print_fit(fit)


def _print_fit(fit: NoiseFit) -> None:
    report, model = fit.report, fit.model
    size = report.person_size_px
    caption = (
        f"{report.detections:,} detections, {report.cameras} cameras, {report.seconds:.2f} s, "
        f"person size {size:.0f} px. {fit.provenance['credit']}. Priors, not fitted: "
        f"{', '.join(report.prior_fields)}."
    )
    rows = [
        ("all views, calibration as it came", report.plain_median_px, report.plain_p95_px),
        ("single detections", report.error_median_px, report.error_p95_px),
        ("fitted model", report.model_median_px, report.model_p95_px),
    ]
    cells = [(name, f"{median:.1f}", f"{p95:.1f}") for name, median, p95 in rows]
    print_table("Errors in pixels", ("of", "median (px)", "95 % (px)"), cells, caption)
    scales = [(joint, f"{100 * scale:.2f}") for joint, scale in model.scale.items()]
    print_table(
        f"Scale per joint (tail: {model.tail_dof:.1f} degrees of freedom)",
        ("joint", "% of person size"),
        scales,
    )
    lags = [
        (f"{1000 * lag_s:.0f}", f"{seen:.2f}", f"{fitted:.2f}")
        for lag_s, seen, fitted in report.correlation
    ]
    print_table("Correlation over time", ("lag (ms)", "measured", "model"), lags)
