"""Sections of a report: each function gives the HTML of one part, or "" if it has no content.

All text that comes from outside is escaped; plots are PNG inside the page.
"""

import base64
import json
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from adaptpose import plots
from adaptpose.curves import curve_groups, selection_counts
from adaptpose.report_content import ReportContent, as_array
from adaptpose.report_motion import example_data, gallery_data
from adaptpose.report_tables import (
    AFTER,
    BEFORE,
    Figure,
    full_table,
    headline,
    number,
    overview_table,
    settings_table,
)

_CAMERA_PLOTS = {
    "azimuth_deg": ("Azimuth: 0° in front, + on the person's left (°)", (-180, 180)),
    "elevation_deg": ("Elevation against the trunk: + from above (°)", None),
    "roll_deg": ("Roll of the trunk in the image: + clockwise (°)", (-180, 180)),
    "depth_m": ("Depth of the root (m)", None),
    "image_scale": ("Size in the image: norm of the 2D pose", None),
}
_TILES = ("mpjpe", "pmpjpe", "pck")


def summary_tiles(content: ReportContent) -> str:
    """The few figures to see first, before against after."""
    lines = [line for line in headline(content.evaluations) if line.metric in _TILES]
    tiles = [_tile(line) for line in lines if line.change is not None]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def results_section(content: ReportContent) -> str:
    """Scores of all lifters: the overview, each joint's error, every figure."""
    scores = content.evaluations
    if not scores:
        return ""
    caption = "; ".join(dict.fromkeys(_protocol(evaluation) for evaluation in scores.values()))
    parts = [
        f'<figure class="table">{overview_table(scores)}<figcaption>{escape(caption)} Best value '
        "of each line in bold; 95 % intervals in brackets.</figcaption></figure>"
    ]
    errors = {name: e["joint_errors_mm"].get("raw", {}) for name, e in scores.items()}
    if any(errors.values()):
        fig = plots.new_figure(6.4, 1 + 0.3 * max(len(e) for e in errors.values()))
        plots.plot_joint_errors(fig.subplots(), errors)
        alt = "Mean error of each joint in mm for " + ", ".join(scores)
        note = "Mean root-relative error of each joint over all frames, unaligned."
        parts.append(_plot(fig, alt, note, "narrow"))
    parts.append(
        f"<details><summary>Every figure: actions, variants, metrics</summary>"
        f'<figure class="table">{full_table(scores)}<figcaption>raw: unaligned; scale-aligned: one '
        "least-squares scale per clip; tta: mirrored and reversed passes averaged. Select a column "
        "head to sort by it.</figcaption></figure></details>"
    )
    return _section("results", "Results", "".join(parts))


def examples_section(content: ReportContent) -> str:
    """Test clips before and after, to turn and play."""
    labels = (f"{BEFORE} (before)", f"{AFTER} (after)")
    data = [example_data(motion, labels) for motion in content.examples]
    note = (
        "Root-relative poses, seen from where the camera stood until you turn them. Numbers in mm "
        "are the mean joint error of the frame shown."
    )
    return _viewers("examples", "Examples", note, data)


def gallery_section(content: ReportContent) -> str:
    """Generated windows beside the source windows they were made of."""
    data = [gallery_data(motion) for motion in content.gallery]
    note = (
        "Each window of the source and what the generator made of it, each seen from its own "
        "camera until you turn them, about the mean position of the root."
    )
    return _viewers("gallery", "Generated motions", note, data)


def training_section(content: ReportContent) -> str:
    """All numeric series of the run's records."""
    figures = []
    for group in curve_groups(content.curves):
        fig = plots.new_figure()
        plots.plot_curves(fig.subplots(), group)
        names = ", ".join(group.series)
        note = f"{group.title} over {group.x_label}, up to {group.num_points} records."
        figures.append(_plot(fig, f"{group.title} over {group.x_label}: {names}", note))
    body = f'<div class="plots">{"".join(figures)}</div>' if figures else ""
    return _section("training", "Training", body)


def cameras_section(content: ReportContent) -> str:
    """Where the cameras of each domain stand, and where its joints fall in the image."""
    cameras, maps = "".join(_camera_histograms(content)), "".join(_keypoint_maps(content))
    body = f'<div class="plots">{cameras}</div>' if cameras else ""
    body += f'<div class="plots maps">{maps}</div>' if maps else ""
    return _section("cameras", "Cameras and 2D poses", body)


def selection_section(content: ReportContent) -> str:
    """What became of the generated windows, epoch by epoch."""
    counts = content.selection or selection_counts(content.curves)
    if not any(any(epoch.values()) for epoch in counts):
        return ""
    fig = plots.new_figure(7.2, 3.0)
    plots.plot_selection_counts(fig.subplots(), counts)
    total = sum(sum(epoch.values()) for epoch in counts)
    note = f"Outcome of {total:,} generated windows over {len(counts)} epochs."
    reasons = ", ".join(dict.fromkeys(reason for epoch in counts for reason in epoch))
    plot = _plot(fig, f"Stacked bars of outcomes per epoch: {reasons}", note, "wide")
    return _section("selection", "Selection", plot)


def credits_section(content: ReportContent) -> str:
    """Licences and credits of the data, and those of evaluations that are not among them."""
    lines = {(c.name, c.licence, c.credit) for c in content.credits}
    known = {(licence, credit) for _, licence, credit in lines}
    for evaluation in content.evaluations.values():
        terms = str(evaluation.get("licence", "")), str(evaluation.get("credit", ""))
        if terms[0] and terms not in known:
            lines.add((str(evaluation["dataset"]), *terms))
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(licence)}"
        + (f"<br>{escape(credit)}" if credit else "")
        + "</dd>"
        for name, licence, credit in sorted(lines)
    )
    return _section("credits", "Data, licences and credits", f"<dl>{items}</dl>" if items else "")


def notes_section(content: ReportContent) -> str:
    """Remarks, a line each."""
    items = "".join(f"<li>{escape(note)}</li>" for note in content.notes)
    return _section("notes", "Notes", f"<ul>{items}</ul>" if items else "")


def run_section(content: ReportContent) -> str:
    """Configuration and provenance, folded away."""
    if not content.run_info:
        return ""
    table = settings_table(content.run_info)
    return _section(
        "run", "Run", f"<details><summary>All settings and provenance</summary>{table}</details>"
    )


def _section(name: str, title: str, body: str) -> str:
    if not body:
        return ""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>\n'


def _tile(line: Figure) -> str:
    before, after = line.by_lifter[BEFORE]["value"], line.by_lifter[AFTER]["value"]
    word = "better" if line.improved else "worse"
    return (
        f'<div class="tile"><div class="tile-name">{escape(line.title)}</div>'
        f'<div class="tile-value">{number(after)} <span class="unit">{escape(line.unit)}</span>'
        f'</div><div class="tile-note">from {number(before)} source-only '
        f'<span class="{word}">{escape(line.change_text)}</span></div></div>'
    )


def _protocol(evaluation: dict[str, Any]) -> str:
    """One sentence on what was scored and how."""
    options = evaluation.get("options", {})
    synthetic = " (synthetic data)" if evaluation.get("synthetic") else ""
    root = "" if options.get("count_root", True) else ", root left out"
    draws = options.get("bootstrap_samples", 0)
    interval = f"; intervals from {draws} bootstrap draws of clips" if draws else ""
    return (
        f"{evaluation['dataset']}{synthetic}: {evaluation['num_frames']:,} frames of "
        f"{evaluation['num_clips']:,} clips, root-relative, unaligned unless the metric aligns, "
        f"skeleton {evaluation['skeleton']}{root}, mean over all frames{interval}."
    )


def _viewers(name: str, title: str, note: str, data: list[dict[str, Any]]) -> str:
    parts = []
    for number_, motion in enumerate(data):
        # "<" could end the script element early; as an escape it is the same JSON.
        text = json.dumps(motion, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        seconds = motion["frames"] / motion["rate_hz"]
        about = f"{motion['frames']} frames at {motion['rate_hz']:g} Hz ({seconds:.1f} s)"
        parts.append(
            f'<figure class="viewer" data-motion="{name}-{number_}"><figcaption>'
            f"<b>{escape(motion['title'])}</b> · {about}</figcaption></figure>"
            f'<script type="application/json" id="{name}-{number_}">{text}</script>'
        )
    head = (
        f"<p>{escape(note)}</p>"
        '<p class="keys">Drag or arrow keys: turn · space: play · , and . : one frame · + and −: '
        "zoom · R: reset</p><noscript><p>The motions need JavaScript.</p></noscript>"
    )
    body = f'<div class="viewers {name}">{"".join(parts)}</div>'
    return _section(name, title, head + body) if parts else ""


def _camera_histograms(content: ReportContent) -> Iterator[str]:
    for key, (label, limits) in _CAMERA_PLOTS.items():
        domains = {d: as_array(v[key]).ravel() for d, v in content.cameras.items() if key in v}
        counts = {d: int(np.isfinite(values).sum()) for d, values in domains.items()}
        if not any(counts.values()):
            continue
        fig = plots.new_figure()
        ax = plots.plot_histograms(fig.subplots(), domains, label, limits)
        if limits == (-180, 180):
            ax.set_xticks(range(-180, 181, 60))
        sizes = ", ".join(f"{domain} {count:,}" for domain, count in counts.items())
        yield _plot(fig, f"Histogram per domain: {label}", f"{label}. Poses: {sizes}.")


def _keypoint_maps(content: ReportContent) -> Iterator[str]:
    for domain, poses in content.keypoints.items():
        points = as_array(poses)
        if points.size:
            fig = plots.new_figure(4.0, 3.7)
            plots.plot_keypoint_density(fig.subplots(), points, domain)
            note = f"Joints of {len(points):,} {domain} poses in the image; square-root scale."
            yield _plot(fig, f"Density of 2D joints in the image, {domain}", note)


def _plot(fig: Any, alt: str, note: str, kind: str = "") -> str:
    png = base64.b64encode(plots.figure_png(fig)).decode()
    image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}">'
    return f'<figure class="plot {kind}">{image}<figcaption>{escape(note)}</figcaption></figure>'
