"""Plots of a report: each function draws arrays into the Axes it is given and returns them.

matplotlib is imported only when something is drawn, and without a window (Agg). Arrays are numpy;
values that are not finite are left out. Colours are Okabe & Ito's, which people who do not tell
red from green can tell apart; a domain, a lifter or a side of the body has one colour everywhere.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from adaptpose.curves import CurveGroup
from adaptpose.skeleton import Skeleton

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d import Axes3D
else:
    Axes = Axes3D = Figure = Any

CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#8C6D00")
"""Colours of series in order."""

NAMED_COLOURS = {
    "source": "#0072B2", "generated": "#D55E00", "target": "#009E73",
    "target (as lifted)": "#009E73", "target test (truth)": "#CC79A7",
    "source-only": "#D55E00", "adapted": "#0072B2", "oracle": "#009E73",
}  # fmt: skip
"""Colours of domains and lifters by name; other names take `CYCLE`."""

SIDE_COLOURS = {"left": "#0072B2", "right": "#D55E00", "middle": "#666666"}
"""Colours of the sides of the body."""

_FEW_POINTS = 16
_MANY_SERIES = 4
_LOG_SPREAD = 60.0
_EDGE = "#888888"


def new_figure(width_in: float | int = 5.2, height_in: float | int = 3.1) -> Figure:
    """An empty figure (inches) that belongs to no window and no global state."""
    from matplotlib.figure import Figure as MplFigure

    return MplFigure(figsize=(width_in, height_in), layout="constrained")


def figure_png(fig: Figure, dpi: float | int = 150) -> bytes:
    """The figure as PNG bytes, the same bytes for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(fig).print_figure(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def plot_curves(ax: Axes, group: CurveGroup) -> Axes:
    """Every series of a group over its places; short ones with points.

    The y axis is logarithmic where all values are positive and spread widely.
    """
    colours = colours_of(group.series)
    for name, (x, y) in group.series.items():
        marker = "o" if len(x) <= _FEW_POINTS else None
        ax.plot(x, y, color=colours[name], label=name, marker=marker, markersize=3, linewidth=1.4)
    values = np.concatenate([np.asarray(y, dtype=float) for _, y in group.series.values()])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > _LOG_SPREAD * values.min():
        ax.set_yscale("log")
    if group.x_label != "step":
        ax.xaxis.set_major_locator(_whole_numbers())
    ax.set_xlabel(group.x_label)
    ax.set_ylabel(f"value ({group.unit})" if group.unit else "value (no unit)")
    ax.set_title(group.title, loc="left", fontsize=10)
    return _finish(ax, len(group.series), "right" if len(group.series) > _MANY_SERIES else "inside")


def plot_histograms(
    ax: Axes,
    domains: Mapping[str, Float[np.ndarray, "..."]],
    label: str,
    limits: tuple[float | int, float | int] | None = None,
    bins: int = 36,
) -> Axes:
    """One outline per domain, each with area 1, over common bins.

    Without limits the bins cover the central 99 % of each domain, so that single outliers do not
    squeeze the rest; `label` names quantity and unit. Domains without a finite value are left out.
    """
    finite = {name: values[np.isfinite(values)] for name, values in domains.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    colours = colours_of(domains)
    if finite:
        edges = np.linspace(*(limits or _central_range(finite.values())), bins + 1)
        for name, values in finite.items():
            share = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
            ax.stairs(share, edges, color=colours[name], fill=True, alpha=0.26 / len(finite))
            ax.stairs(share, edges, color=colours[name], label=name, linewidth=1.6)
        ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(label)
    ax.set_ylabel("density")
    ax.set_yticks([])
    return _finish(ax, 2, "above")


def plot_keypoint_density(
    ax: Axes, pose2d: Float[np.ndarray, "poses joints 2"], title: str, bins: int = 56
) -> Axes:
    """How often a joint lies at each place of the image (normalised, v down), with its frame.

    The colour is the square root of the share, so that limbs show beside the trunk. Points
    outside [-1.1, 1.1] are not drawn; the title tells their share if there are any.
    """
    points = pose2d.reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    edges = np.linspace(-1.1, 1.1, bins + 1)
    counts = np.histogram2d(points[:, 1], points[:, 0], (edges, edges))[0]
    ax.imshow(np.sqrt(counts), extent=(-1.1, 1.1, 1.1, -1.1), cmap="Blues", aspect="equal")
    ax.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color=_EDGE, linewidth=0.8)
    ax.set_xticks([-1, 0, 1])
    ax.set_yticks([-1, 0, 1])
    ax.set_xlabel("u (normalised screen)", fontsize=9)
    ax.set_ylabel("v (normalised screen)", fontsize=9)
    outside = 1 - counts.sum() / max(1, len(points))
    ax.set_title(title + (f" ({outside:.1%} outside)" if outside > 5e-4 else ""), fontsize=10)
    ax.tick_params(labelsize=8)
    return ax


def plot_selection_counts(ax: Axes, counts: Sequence[Mapping[str, int]]) -> Axes:
    """Stacked bars over epochs 1, 2, ...: how many generated windows met which fate."""
    reasons = list(dict.fromkeys(reason for epoch in counts for reason in epoch))
    epochs = np.arange(1, len(counts) + 1)
    floor = np.zeros(len(counts))
    for number, reason in enumerate(reasons):
        height = np.array([epoch.get(reason, 0) for epoch in counts], dtype=float)
        kept = reason in ("kept", "selected", "accepted")
        colour = NAMED_COLOURS["target"] if kept else (*CYCLE[:2], *CYCLE[3:])[number % 7]
        ax.bar(epochs, height, 0.85, bottom=floor, color=colour, label=reason.replace("_", " "))
        floor += height
    ax.xaxis.set_major_locator(_whole_numbers())
    ax.yaxis.set_major_formatter(_thousands())
    ax.set_xlabel("epoch")
    ax.set_ylabel("generated windows")
    ax.set_ylim(top=max(1.0, 1.05 * float(floor.max(initial=0))))
    return _finish(ax, 2, "right")


def plot_joint_errors(ax: Axes, errors_mm: Mapping[str, Mapping[str, float]]) -> Axes:
    """Horizontal bars of each joint's mean error (mm), one per lifter, joints from top to bottom.

    `errors_mm` maps lifter to joint name to error; a joint a lifter lacks has no bar.
    """
    joints = list(dict.fromkeys(joint for errors in errors_mm.values() for joint in errors))
    colours, height = colours_of(errors_mm), 0.8 / max(1, len(errors_mm))
    for number, (lifter, errors) in enumerate(errors_mm.items()):
        offset = (number - (len(errors_mm) - 1) / 2) * height
        widths = [errors.get(joint, math.nan) for joint in joints]
        ax.barh(np.arange(len(joints)) + offset, widths, height, color=colours[lifter],
                label=lifter)  # fmt: skip
    ax.set_yticks(range(len(joints)), [joint.replace("_", " ") for joint in joints])
    ax.invert_yaxis()
    ax.set_xlabel("mean distance from the true joint (mm)")
    _finish(ax, 2)
    ax.grid(False, axis="y")
    return ax


def plot_skeleton(ax: Axes3D, pose: Float[np.ndarray, "joints 3"], skeleton: Skeleton) -> Axes3D:
    """A pose in camera axes (m) as a 3D stick figure, upright, equal scale on all axes.

    Drawn over x (right), z (away from the camera) and height -y; bones take the colour of the
    side of their child joint. Joints that are not finite and their bones are left out.
    """
    shown = np.stack([pose[:, 0], pose[:, 2], -pose[:, 1]], axis=1)
    for parent, child in skeleton.bones:
        ends = shown[[parent, child]]
        if np.isfinite(ends).all():
            ax.plot(*ends.T, color=SIDE_COLOURS[side_of(child, skeleton)], linewidth=2.2)
    finite = shown[np.isfinite(shown).all(axis=1)]
    if len(finite):
        middle = (finite.max(axis=0) + finite.min(axis=0)) / 2
        half = max(float(np.ptp(finite, axis=0).max()) / 2, 1e-3) * 1.05
        for limit, centre in zip((ax.set_xlim, ax.set_ylim, ax.set_zlim), middle, strict=True):
            limit(centre - half, centre + half)
    # Zoomed out a little: the layout does not count the labels of 3D axes.
    ax.set_box_aspect((1, 1, 1), zoom=0.82)  # pyright: ignore[reportArgumentType]
    ax.view_init(elev=12, azim=-72)
    ax.locator_params(nbins=5)
    ax.set_xlabel("x, right (m)", fontsize=8)
    ax.set_ylabel("z, away (m)", fontsize=8)
    ax.set_zlabel("-y, up (m)", fontsize=8)
    ax.tick_params(labelsize=7)
    return ax


def side_of(joint: int, skeleton: Skeleton) -> str:
    """ "left", "right" or "middle": the side of the body a joint is on."""
    if joint in skeleton.left:
        return "left"
    return "right" if joint in skeleton.right else "middle"


def colours_of(names: Mapping[str, Any] | Sequence[str]) -> dict[str, str]:
    """A colour for every name: its own if it has one, else the next that is free."""
    taken = {NAMED_COLOURS[name] for name in names if name in NAMED_COLOURS}
    free = [colour for colour in CYCLE if colour not in taken] or list(CYCLE)
    others = [name for name in names if name not in NAMED_COLOURS]
    chosen = {name: free[k % len(free)] for k, name in enumerate(others)}
    return {name: NAMED_COLOURS.get(name) or chosen[name] for name in names}


def _central_range(domains: Any) -> tuple[float, float]:
    low = min(float(np.quantile(values, 0.005)) for values in domains)
    high = max(float(np.quantile(values, 0.995)) for values in domains)
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)


def _finish(
    ax: Axes, num_series: int, legend: Literal["inside", "right", "above"] = "inside"
) -> Axes:
    """Light frame and grid, and a legend that says which is which."""
    for edge in ("top", "right"):
        ax.spines[edge].set_visible(False)
    ax.grid(True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8)
    handles, _ = ax.get_legend_handles_labels()
    style: dict[str, Any] = {"frameon": False, "fontsize": 8}
    if handles and num_series > 1 and legend == "right":
        ax.legend(**style, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    elif handles and legend == "above":
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": len(handles)}
        ax.legend(**style, **place, columnspacing=1.0, handlelength=1.4, borderaxespad=0.2)
    elif handles:
        ax.legend(fontsize=8, framealpha=0.8, edgecolor="none")
    return ax


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _thousands() -> Any:
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:,.0f}")
