"""Evaluation: every figure against loops, means, intervals, variants, records, bad input."""

import csv
import io
import json
import math
from dataclasses import replace

import pytest
import torch
from linear_lifter import LinearLifter, SymmetricLifter, wavy_clip, wavy_data

from adaptpose import clip_scores, metrics
from adaptpose.bootstrap import bootstrap_intervals
from adaptpose.clip_scores import ClipScores, ScoringRules, action_name, metric_names, score_clips
from adaptpose.errors import ConfigError, DataError, SkeletonError
from adaptpose.evaluate import (
    ALL_FRAMES,
    MEAN_OF_ACTIONS,
    EvalOptions,
    evaluate,
    evaluate_predictions,
)
from adaptpose.inference import predict_clips
from adaptpose.skeleton import H36M_16, H36M_17

QUICK = EvalOptions(bootstrap_samples=50)


def _data():
    data = wavy_data((9, 14, 5, 20), ("Walking", "Sitting", "Walking 1", "Eating"))
    clips = list(data.clips)
    valid = torch.ones(14, dtype=torch.bool)
    valid[[0, 6, 7]] = False
    pose3d, pose2d = clips[1].pose3d_cam.clone(), clips[1].pose2d.clone()
    pose3d[~valid], pose2d[7] = torch.nan, torch.nan
    clips[1] = replace(clips[1], valid=valid, pose3d_cam=pose3d, pose2d=pose2d)
    clips[2] = replace(clips[2], frame_rate_hz=25.0)
    return replace(data, clips=tuple(clips))


def _predictions(data, noise: float = 0.06, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    poses = []
    for clip in data.clips:
        pose = clip.pose3d_cam + noise * torch.randn(clip.pose3d_cam.shape, generator=generator)
        poses.append(torch.nan_to_num(1.1 * (pose - clip.pose3d_cam[:, :1]), nan=7.0))
    return poses


def _slow_clip(prediction: torch.Tensor, clip, scale_aligned: bool) -> dict[str, list[float]]:
    """Values of every metric for one clip, frame by frame."""
    p = (prediction - prediction[:, :1]).double()
    t = (clip.pose3d_cam - clip.pose3d_cam[:, :1]).double()
    good = [frame for frame in range(len(p)) if clip.valid[frame]]
    if scale_aligned:
        across = sum(float((p[f] * t[f]).sum()) for f in good)
        p = p * (across / sum(float((p[f] * p[f]).sum()) for f in good))
    out: dict[str, list[float]] = {name: [] for name in clip_scores.METRIC_UNITS}
    for f in good:
        out["mpjpe"].append(float(metrics.mpjpe_mm(p[f], t[f])))
        out["pmpjpe"].append(float(metrics.pa_mpjpe_mm(p[f], t[f])))
        out["nmpjpe"].append(float(metrics.n_mpjpe_mm(p[f], t[f])))
        out["pck"].append(float(metrics.pck(p[f], t[f], H36M_16)))
        out["auc"].append(float(metrics.auc(p[f], t[f], H36M_16)))
        if f + 1 in good:
            out["mpjve"].append(float(metrics.mpjve_mm(p[f : f + 2], t[f : f + 2])))
        if f + 1 in good and f + 2 in good:
            three = slice(f, f + 3)
            rate = clip.frame_rate_hz
            error = metrics.acceleration_error_m_per_s2(p[three], t[three], rate)
            out["accel"].append(float(error))
    out["mblstd"] = [float(metrics.mblstd_mm(p[clip.valid], H36M_16))] * len(good)
    return out


@pytest.mark.parametrize("variant", ["raw", "scale-aligned"])
def test_every_figure_against_loops(variant):
    data = _data()
    predictions = _predictions(data)
    evaluation = evaluate_predictions(predictions, data, QUICK)
    slow = [
        _slow_clip(p, clip, variant == "scale-aligned")
        for p, clip in zip(predictions, data.clips, strict=True)
    ]
    groups = {"Eating": [3], "Sitting": [1], "Walking": [0, 2]}
    for metric in clip_scores.METRIC_UNITS:
        of_action = {}
        for action, clips in groups.items():
            values = [value for c in clips for value in slow[c][metric]]
            of_action[action] = sum(values) / len(values)
            row = evaluation.row(metric, variant, action)
            assert row.value == pytest.approx(of_action[action], rel=1e-5)
            assert row.num_frames == len(values)
        values = [value for c in range(4) for value in slow[c][metric]]
        row = evaluation.row(metric, variant, ALL_FRAMES)
        assert row.value == pytest.approx(sum(values) / len(values), rel=1e-5)
        mean = evaluation.row(metric, variant, MEAN_OF_ACTIONS).value
        assert mean == pytest.approx(sum(of_action.values()) / 3, rel=1e-5)
    assert evaluation.num_frames == 9 + 11 + 5 + 20
    joints = evaluation.joint_errors_mm[variant]
    assert list(joints) == list(H36M_16.joints)
    assert sum(joints.values()) / 16 == pytest.approx(evaluation.row("mpjpe", variant).value)
    assert joints["hip"] == 0


def test_perfect_and_scaled_predictions():
    data = _data()
    truth = [torch.nan_to_num(clip.pose3d_cam) for clip in data.clips]
    perfect = evaluate_predictions(truth, data, QUICK)
    for metric in ("mpjpe", "pmpjpe", "nmpjpe", "mpjve", "accel"):
        assert perfect.row(metric).value == pytest.approx(0, abs=1e-3)
    assert perfect.row("pck").value == 100
    scales = (0.5, 0.9, 1.2, 2.0)
    scaled = [s * (pose - pose[:, :1]) for s, pose in zip(scales, truth, strict=True)]
    aligned = evaluate_predictions(scaled, data, QUICK)
    assert aligned.row("mpjpe").value > 50
    assert aligned.row("mpjpe", "scale-aligned").value == pytest.approx(0, abs=1e-3)


def test_blocks_and_order_of_clips_change_nothing(monkeypatch):
    data = _data()
    predictions = _predictions(data)
    rules = ScoringRules(metric_names("all"), metrics.scored_joints(H36M_16))
    for scale_aligned in (False, True):
        whole = score_clips(predictions, data, rules, scale_aligned)
        with monkeypatch.context() as patch:
            patch.setattr(clip_scores, "_BLOCK_FRAMES", 1)
            single = score_clips(predictions, data, rules, scale_aligned)
        turned = score_clips(
            predictions[::-1], replace(data, clips=data.clips[::-1]), rules, scale_aligned
        )
        for field in ("total", "count", "joint_total_mm", "num_frames"):
            torch.testing.assert_close(getattr(single, field), getattr(whole, field))
            torch.testing.assert_close(getattr(turned, field).flip(0), getattr(whole, field))


def test_a_lifter_is_scored_as_its_predictions():
    data, lifter = _data(), LinearLifter(2, 2)
    by_lifter = evaluate(lifter, data, QUICK)
    assert by_lifter.variants == ("raw", "scale-aligned", "tta")
    poses = predict_clips(lifter, data.clips)
    by_hand = evaluate_predictions(poses, data, QUICK)
    assert by_hand.variants == ("raw", "scale-aligned")
    for row in by_hand.rows:
        assert by_lifter.row(row.metric, row.variant, row.action) == row
    averaged = evaluate_predictions(predict_clips(lifter, data.clips, tta="both"), data, QUICK)
    assert by_lifter.row("mpjpe", "tta").value == averaged.row("mpjpe").value
    small = evaluate(lifter, data, replace(QUICK, chunk_frames=3))
    for one, other in zip(small.rows, by_lifter.rows, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-4)


def test_tta_of_a_symmetric_and_of_a_causal_lifter():
    data = wavy_data((12, 7), ("Walking", "Eating"))
    symmetric = evaluate(SymmetricLifter(2, 2), data, QUICK)
    raw, tta = symmetric.row("mpjpe").value, symmetric.row("mpjpe", "tta").value
    assert tta == pytest.approx(raw, rel=1e-5)
    assert symmetric.options.tta == "both"
    causal = LinearLifter(3, 0)
    assert evaluate(causal, data, QUICK).options.tta == "flip"
    assert "tta" not in evaluate(causal, data, replace(QUICK, tta="none")).variants
    with pytest.raises(ConfigError, match="time reversal"):
        evaluate(causal, data, replace(QUICK, tta="both"))


def test_root_counts_unless_told_otherwise():
    data = _data()
    predictions = _predictions(data)
    counted = evaluate_predictions(predictions, data, QUICK)
    without = evaluate_predictions(predictions, data, replace(QUICK, count_root=False))
    expected = counted.row("mpjpe").value * 16 / 15
    assert without.row("mpjpe").value == pytest.approx(expected)
    assert without.row("pck").value == counted.row("pck").value


def test_intervals_repeat_with_the_seed_and_hold_the_value():
    data = wavy_data((6,) * 24, ("A", "B", "C", "D") * 6)
    poses = [p * (1 + k / 24) for k, p in enumerate(_predictions(data))]
    first = evaluate_predictions(poses, data, EvalOptions(bootstrap_samples=200, seed=3))
    again = evaluate_predictions(poses, data, EvalOptions(bootstrap_samples=200, seed=3))
    other = evaluate_predictions(poses, data, EvalOptions(bootstrap_samples=200, seed=4))
    assert first.rows == again.rows
    assert first.row("mpjpe").low != other.row("mpjpe").low
    for row in first.rows:
        assert row.low <= row.value <= row.high
    assert first.row("mpjpe").low < first.row("mpjpe").high
    none = evaluate_predictions(poses, data, EvalOptions(bootstrap_samples=0))
    assert {(row.low, row.high) for row in none.rows} == {(None, None)}


def test_interval_agrees_with_theory_for_many_clips():
    generator = torch.Generator().manual_seed(0)
    values = 50 + 5 * torch.randn(400, 1, generator=generator, dtype=torch.float64)
    frames = torch.full((400, 1), 10.0, dtype=torch.float64)
    scores = ClipScores(values * frames, frames, values, frames[:, 0])
    ((low, high),) = bootstrap_intervals(scores, [list(range(400))], 2000, 0)
    half = 1.96 * float(values.std()) / math.sqrt(400)
    assert low == pytest.approx(float(values.mean()) - half, abs=0.06)
    assert high == pytest.approx(float(values.mean()) + half, abs=0.06)


def test_few_clips_have_no_interval_and_single_frames_no_velocity():
    data = wavy_data((1, 1, 1), ("A", "B", "B"))
    evaluation = evaluate_predictions(_predictions(data), data, QUICK)
    assert evaluation.row("mpjpe", action="A").low is None
    assert evaluation.row("mpjpe", action="B").low is not None
    assert {"mpjve", "accel"}.isdisjoint(row.metric for row in evaluation.rows)
    with pytest.raises(ConfigError, match="has no raw mpjve of 'all frames'"):
        evaluation.row("mpjve")


def test_records_are_json_csv_and_table():
    evaluation = evaluate_predictions(_predictions(_data()), _data(), QUICK)
    record = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert record["synthetic"] is True
    assert record["options"]["count_root"] is True
    assert record["frame_rates_hz"] == [25.0, 50.0]
    assert len(record["rows"]) == len(evaluation.rows) == 2 * 8 * 5
    rows = list(csv.DictReader(io.StringIO(evaluation.csv())))
    assert [float(row["value"]) for row in rows] == [row.value for row in evaluation.rows]
    assert rows[0]["low"] == ""
    table = evaluation.table("scale-aligned")
    assert table[0][:2] == ["action", "mpjpe (mm)"]
    assert "mpjve (mm/frame at 25, 50 Hz)" in table[0]
    actions = ["Eating", "Sitting", "Walking", ALL_FRAMES, MEAN_OF_ACTIONS]
    assert [line[0] for line in table[1:]] == actions
    assert {len(line) for line in table} == {9}


def test_names_of_metrics_and_actions():
    assert metric_names("auc, PA-MPJPE,mpjpe,pampjpe") == ("mpjpe", "pmpjpe", "auc")
    assert metric_names(["all"]) == tuple(clip_scores.METRIC_UNITS)
    with pytest.raises(ConfigError, match="unknown metric 'mpjpee'; did you mean 'mpjpe'"):
        metric_names("mpjpee")
    with pytest.raises(ConfigError, match="at least one name"):
        metric_names(())
    assert [action_name(a) for a in ("Walking 1", "SittingDown", "take2")] == [
        "Walking",
        "SittingDown",
        "take2",
    ]


def test_bad_input_is_refused_before_any_figure():
    data = _data()
    poses = _predictions(data)
    with pytest.raises(DataError, match="expected 4 clips of 'wavy', got 3"):
        evaluate_predictions(poses[:3], data)
    with pytest.raises(DataError, match=r"'S0/Walking/a': expected \(9, 16, 3\), got \(8, 16, 3\)"):
        evaluate_predictions([poses[0][:8], *poses[1:]], data)
    poses[3][2] = torch.nan
    with pytest.raises(DataError, match="'S3/Eating/a': NaN or infinite joints"):
        evaluate_predictions(poses, data)
    lifter = LinearLifter(1, 1)
    for options, message in (
        (EvalOptions(metrics=("nmpjp",)), "did you mean 'nmpjpe'"),
        (EvalOptions(bootstrap_samples=-1), "bootstrap_samples: expected 0 or more, got -1"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(lifter, data, options)
    with pytest.raises(SkeletonError, match="did you mean 'head'"):
        evaluate(lifter, data, EvalOptions(pck_joints=("heed",)))
    with pytest.raises(SkeletonError, match="'h36m16' has no neck_nose, which 'h36m17' needs"):
        evaluate(LinearLifter(1, 1, H36M_17), data)
    nothing = wavy_clip(4)
    nothing = replace(nothing, valid=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(DataError, match="no valid frame"):
        evaluate(lifter, replace(data, clips=(nothing,)))
    both = replace(data, clips=(nothing, data.clips[0]))
    assert evaluate(lifter, both, QUICK).num_clips == 1
    many = evaluate_predictions([torch.full((4, 16, 3), torch.nan), *_predictions(data)[:1]], both)
    assert many.num_frames == 9
