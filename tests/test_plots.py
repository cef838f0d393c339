"""Plots and curve groups: what is drawn is what was given."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from adaptpose import plots
from adaptpose.curves import curve_groups, selection_counts
from adaptpose.skeleton import H36M_17


def _ax(**kwargs):
    return plots.new_figure().subplots(**kwargs)


def _records() -> list[dict]:
    return [
        {"stage": "fit", "epoch": e, "g_total": 2.0 - e, "d_2d": 0.1, "lifter_source": 0.05,
         "hard_ratio_bones": 3.0, "monitor_mpjpe_mm": 90.0 - e, "done": True, "note": "x",
         "windows_per_s": 10.0}
        for e in (1, 2, 3)
    ]  # fmt: skip


def test_curves_are_grouped_by_name_and_unit():
    groups = {group.title: group for group in curve_groups(_records())}
    assert list(groups) == [
        "Monitored test errors", "Hard ratios", "Generator losses", "Discriminator losses",
        "Lifter losses", "Other measures",
    ]  # fmt: skip
    assert groups["Monitored test errors"].unit == "mm"
    assert groups["Other measures"].unit == "1/s"
    assert groups["Generator losses"].x_label == "epoch"
    assert groups["Generator losses"].series == {"total": ([1, 2, 3], [1, 0, -1])}
    drawn = [name for group in groups.values() for name in group.series]
    assert "done" not in drawn
    assert "note" not in drawn


def test_stages_are_apart_and_places_are_what_tells_records_apart():
    records = [{"stage": "a", "epoch": 1, "step": s, "loss": 1.0} for s in (10, 20)]
    records += [{"stage": "b", "epoch": 1, "loss": float(v)} for v in (5, 6)]
    first, second = curve_groups(records)
    assert (first.title, first.x_label) == ("a: losses", "step")
    assert first.series["loss"][0] == [10, 20]
    assert (second.x_label, second.series["loss"]) == ("record", ([1, 2], [5, 6]))


def test_sections_are_parts_of_epochs_and_their_selections_add_up():
    records = [
        {"stage": "fit", "epoch": e, "section": s, "g_x": 1.0, "selection_kept": 2.0 * e,
         "selection_too_easy": 1.0, "label_free": 3.0, "lifter_steps": 4.0}
        for e in (2, 3) for s in (1, 2)
    ]  # fmt: skip
    warm = [{"stage": "fit", "epoch": 1, "section": s, "g_x": 1.0} for s in (1, 2)]
    groups = {group.title: group for group in curve_groups(warm + records)}
    assert groups["Generator losses"].series["x"][0] == [0.5, 1, 1.5, 2, 2.5, 3]
    assert groups["Label-free scores"].series["label_free"][0] == [1.5, 2, 2.5, 3]
    assert set(groups) == {"Generator losses", "Label-free scores", "Other measures"}
    assert selection_counts(warm + records) == [
        {}, {"kept": 8, "too_easy": 2}, {"kept": 12, "too_easy": 2},
    ]  # fmt: skip
    assert selection_counts(warm) == []


def test_series_may_begin_late_and_hold_nan():
    records = [{"stage": "fit", "epoch": 1, "g_x": math.nan}, {"stage": "fit", "epoch": 2,
               "g_x": 1.5, "g_y": 3}, {"stage": "fit", "epoch": 3, "g_z": math.inf}]  # fmt: skip
    (group,) = curve_groups(records)
    assert group.series["y"] == ([2], [3])
    assert set(group.series) == {"x", "y"}
    line = plots.plot_curves(_ax(), group).lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [math.nan, 1.5])
    assert curve_groups([]) == []


def test_curves_draw_every_value_and_turn_logarithmic_only_when_positive_and_wide():
    records = [{"stage": "p", "epoch": e, "loss": 10.0**-e} for e in range(5)]
    ax = plots.plot_curves(_ax(), curve_groups(records)[0])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 0.1, 0.01, 1e-3, 1e-4])
    assert ax.get_yscale() == "log"
    records.append({"stage": "p", "epoch": 5, "loss": -1.0})
    assert plots.plot_curves(_ax(), curve_groups(records)[0]).get_yscale() == "linear"


def test_histograms_have_area_one_within_limits_and_skip_nan():
    rng = np.random.default_rng(0)
    values = rng.uniform(-180, 180, 500)
    domains = {"source": np.append(values, math.nan), "target": np.full(3, math.nan)}
    ax = plots.plot_histograms(_ax(), domains, "azimuth (°)", (-180, 180), bins=12)
    assert len(ax.patches) == 2
    heights, edges, _ = ax.patches[1].get_data()
    expected = [
        sum(1 for v in values if low <= v < low + 30) / (500 * 30) for low in range(-180, 180, 30)
    ]
    np.testing.assert_allclose(heights, expected)
    assert (heights * np.diff(edges)).sum() == pytest.approx(1)
    assert ax.get_xlabel() == "azimuth (°)"


def test_histograms_of_one_value_and_of_nothing():
    ax = plots.plot_histograms(_ax(), {"source": np.full(9, 4.0)}, "depth (m)")
    assert ax.get_xlim() == (3.5, 4.5)
    assert not plots.plot_histograms(_ax(), {"a": np.array([math.nan])}, "x").patches


def test_keypoint_density_counts_points_at_their_place():
    points = np.full((4, 1, 2), math.nan)
    points[:3, 0] = [[0.9, -0.9], [0.9, -0.9], [-0.9, 0.9]]
    ax = plots.plot_keypoint_density(_ax(), points, "target", bins=4)
    image = np.asarray(ax.images[0].get_array())
    # Row 0 is the top of the image, v = -1; the last column is u = 1.
    np.testing.assert_allclose(image[0, 3], math.sqrt(2))
    np.testing.assert_allclose(image[3, 0], 1)
    assert (image**2).sum() == pytest.approx(3)
    bottom, top = ax.get_ylim()
    assert bottom > top
    far = np.array([[[0.0, 0.0], [5.0, 0.0]]])
    assert "50.0% outside" in plots.plot_keypoint_density(_ax(), far, "target").get_title()


def test_selection_bars_stack_to_the_total():
    counts = [{"kept": 5, "too_easy": 2}, {"kept": 4, "off_screen": 3}]
    ax = plots.plot_selection_counts(_ax(), counts)
    tops = {}
    for bar in ax.patches:
        epoch = round(bar.get_x() + bar.get_width() / 2)
        tops[epoch] = max(tops.get(epoch, 0), bar.get_y() + bar.get_height())
    assert tops == {1: 7, 2: 7}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["kept", "too easy", "off screen"]


def test_joint_errors_have_a_bar_per_joint_and_lifter():
    errors = {"source-only": {"hip": 0.0, "left_knee": 80.0}, "adapted": {"left_knee": 60.0}}
    ax = plots.plot_joint_errors(_ax(), errors)
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_array_equal(widths, [0, 80, math.nan, 60])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["hip", "left knee"]
    assert "mm" in ax.get_xlabel()


def test_skeleton_is_upright_to_scale_and_coloured_by_side():
    pose = np.random.default_rng(1).normal(size=(17, 3))
    ax = plots.plot_skeleton(_ax(subplot_kw={"projection": "3d"}), pose, H36M_17)
    assert len(ax.lines) == 16
    for line, (parent, child) in zip(ax.lines, H36M_17.bones, strict=True):
        x, y, z = (np.asarray(v) for v in line.get_data_3d())
        np.testing.assert_allclose(x, pose[[parent, child], 0])
        np.testing.assert_allclose(y, pose[[parent, child], 2])
        np.testing.assert_allclose(z, -pose[[parent, child], 1])
        side = plots.side_of(child, H36M_17)
        assert to_hex(line.get_color()).lower() == plots.SIDE_COLOURS[side].lower()
    spans = [np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim(), ax.get_zlim())]
    np.testing.assert_allclose(spans, spans[0])
    for label in (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()):
        assert "(m)" in label
    assert plots.side_of(H36M_17.id("left_knee"), H36M_17) == "left"
    pose[H36M_17.id("head")] = math.nan
    ax = plots.plot_skeleton(_ax(subplot_kw={"projection": "3d"}), pose, H36M_17)
    assert len(ax.lines) == 15


def test_colours_are_fixed_by_name_and_never_shared():
    colours = plots.colours_of(["source", "mine", "target", "other"])
    assert colours["source"] == plots.NAMED_COLOURS["source"]
    assert len(set(colours.values())) == 4


def test_png_is_the_same_for_the_same_figure():
    def make() -> bytes:
        fig = plots.new_figure(2, 2)
        plots.plot_joint_errors(fig.subplots(), {"adapted": {"hip": 1.0}})
        return plots.figure_png(fig, dpi=50)

    first = make()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first == make()
