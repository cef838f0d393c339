"""Detector noise: its statistics are its parameters, and fitting them gives them back."""

import json
import math
from dataclasses import replace

import pytest
import torch

from adaptpose.camera import pinhole
from adaptpose.clips import Clip3D, PoseData
from adaptpose.datasets import noise as nz
from adaptpose.datasets.detection_errors import DetectionErrors
from adaptpose.datasets.noise_fit import (
    autocorrelation,
    fit_errors,
    fit_report,
    fit_student,
)
from adaptpose.errors import ConfigError, DataError
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16, H36M_17, H36M_17_LEFT_FIRST, Skeleton

RATE = 50.0
PLAIN = nz.DetectorNoise(
    scale={name: 0.01 + 0.001 * k for k, name in enumerate(nz.JOINT_CLASSES)},
    tail_dof=4.0,
    slow_share=0.25,
    slow_s=1.0,
    fast_s=0.1,
    jitter_share=0.15,
)


def _pose(frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    still = torch.rand(1, 17, 2, generator=generator, dtype=torch.float64) - 0.5
    return still.expand(frames, -1, -1).clone(), torch.ones(frames, 17, dtype=torch.float64)


def _apply(model, frames=2000, seed=1, pose=None, skeleton=H36M_17, rate=RATE):
    given, confidence = _pose(frames)
    given = given if pose is None else pose
    return nz.apply_noise(given, confidence, skeleton, rate, model, stream(seed, "test"))


def test_a_model_of_zeros_changes_nothing():
    pose, confidence = _pose(50)
    noisy, seen = nz.apply_noise(pose, confidence, H36M_17, RATE, nz.DetectorNoise(), stream(0))
    assert torch.equal(noisy, pose)
    assert torch.equal(seen, confidence)


def test_error_scales_and_moves_with_the_person_and_the_same_seed_repeats_it():
    pose, _ = _pose(200)
    first, seen = _apply(PLAIN, 200)
    again, _ = _apply(PLAIN, 200)
    other, _ = _apply(PLAIN, 200, seed=2)
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 0.001
    double, seen_double = _apply(PLAIN, 200, pose=2 * pose + 0.3)
    torch.testing.assert_close(double - (2 * pose + 0.3), 2 * (first - pose))
    torch.testing.assert_close(seen_double, seen)


def test_student_process_has_the_quantiles_of_the_bivariate_t():
    drawn = nz.student_process(400, 1000, RATE, PLAIN, stream(3))
    radius2 = drawn.square().sum(-1).flatten()[::2]
    for q in (0.25, 0.5, 0.9, 0.99):
        # P(|x|² > r²) = (1 + r² / ν)^(-ν/2) for two dimensions.
        expected = 4.0 * ((1 - q) ** (-2 / 4.0) - 1)
        assert float(radius2.quantile(q)) == pytest.approx(expected, rel=0.05)
    angle = torch.atan2(drawn[..., 1], drawn[..., 0])
    assert abs(float(torch.cos(angle).mean())) < 0.02
    gaussian = nz.gaussianise(drawn, 4.0)
    assert float(gaussian.square().mean()) == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("rate", [25.0, 100.0])
def test_correlation_follows_seconds_and_not_frames(rate):
    drawn = nz.student_process(1000, 300, rate, PLAIN, stream(4))
    measured = autocorrelation(nz.gaussianise(drawn, 4.0)[None], round(0.4 * rate))
    for lag_s in (0.04, 0.2, 0.4):
        slow = 0.25 * math.exp(-lag_s / 1.0)
        fast = 0.6 * math.exp(-lag_s / 0.1)
        assert float(measured[round(lag_s * rate)]) == pytest.approx(slow + fast, abs=0.02)
        assert PLAIN.correlation(lag_s) == pytest.approx(slow + fast)


def test_autocorrelation_against_loops():
    series = torch.randn(2, 12, 3, 2, generator=stream(5), dtype=torch.float64)
    series[0, 4, 1] = torch.nan
    measured = autocorrelation(series, 3)
    for lag in range(4):
        total = early = late = 0.0
        for c in range(2):
            for t in range(12 - lag):
                for j in range(3):
                    a, b = series[c, t, j], series[c, t + lag, j]
                    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
                        continue
                    total += float(a @ b)
                    early += float(a @ a)
                    late += float(b @ b)
        assert float(measured[lag]) == pytest.approx(total / math.sqrt(early * late))


def test_each_joint_class_has_its_own_scale_by_name():
    pose, _ = _pose(4000)
    error = (_apply(PLAIN, 4000)[0] - pose) / nz.person_size(pose)[:, None, None]
    for name in ("left_wrist", "right_hip", "hip", "neck_nose"):
        radius = error[:, H36M_17.id(name)].norm(dim=-1)
        scale = PLAIN.scale[nz.joint_class(name)]
        median = math.sqrt(4.0 * (0.5 ** (-0.5) - 1)) * scale
        assert float(radius.median()) == pytest.approx(median, rel=0.2)
    assert nz.joint_class("hip") == "pelvis"
    assert nz.joint_class("left_hip") == "hip"
    for skeleton in (H36M_16, H36M_17_LEFT_FIRST):
        assert all(nz.joint_class(joint) for joint in skeleton.joints)
    with pytest.raises(DataError, match="unknown joint class of 'left_toe'"):
        nz.joint_class("left_toe")


def test_bursts_cover_the_share_of_time_that_rate_and_length_give():
    mask, constant = nz.bursts(3000, 300, RATE, (0.5, 0.2), stream(6))
    assert float(mask.double().mean()) == pytest.approx(1 - math.exp(-0.1), rel=0.05)
    assert float(mask[0].double().mean()) == pytest.approx(1 - math.exp(-0.1), abs=0.05)
    stays = mask[1:] & mask[:-1]
    same = (constant[1:, :, 0] == constant[:-1, :, 0])[stays]
    assert float(same.double().mean()) > 0.95
    none, _ = nz.bursts(50, 4, RATE, (0.0, 0.2), stream(6))
    assert not bool(none.any())


@pytest.mark.parametrize("skeleton", [H36M_17, H36M_17_LEFT_FIRST])
def test_swaps_exchange_whole_limb_pairs_by_name(skeleton: Skeleton):
    model = nz.DetectorNoise(swap_rate_hz=0.5, swap_mean_s=0.4)
    pose, _ = _pose(8000)
    noisy, _ = _apply(model, 8000, skeleton=skeleton)
    changed = (noisy != pose).any(-1)
    for names, others in (nz.SWAP_GROUPS, nz.SWAP_GROUPS[::-1]):
        ids = skeleton.ids([f"{side}_{name}" for side in ("left", "right") for name in names])
        first = changed[:, ids[0]]
        assert float(first.double().mean()) == pytest.approx(1 - math.exp(-0.2), rel=0.3)
        assert torch.equal(changed[:, ids], first[:, None].expand(-1, 6))
        other = changed[:, skeleton.id(f"left_{others[0]}")]
        assert bool((first != other).any())
        moved = noisy[first]
        torch.testing.assert_close(moved[:, ids], pose[first][:, ids[3:] + ids[:3]])
    middle = skeleton.ids(["hip", "spine", "thorax", "head"])
    assert not bool(changed[:, middle].any())


def test_missing_joints_hold_their_place_with_low_confidence_or_lie_far_off():
    model = nz.DetectorNoise(missing_rate_hz=0.5, missing_mean_s=0.2, missing_confidence=0.1)
    time = torch.arange(4000, dtype=torch.float64)[:, None, None]
    pose = _pose(4000)[0] + 0.001 * time
    noisy, seen = _apply(model, 4000, pose=pose)
    lost = seen < 0.5
    assert float(lost.double().mean()) == pytest.approx(1 - math.exp(-0.1), rel=0.1)
    torch.testing.assert_close(seen[lost], torch.full_like(seen[lost], 0.1))
    assert torch.equal(noisy[~lost], pose[~lost])
    for joint in (0, 5, 16):
        last = None
        for t in range(300):
            if not lost[t, joint]:
                last = pose[t, joint]
            elif last is not None:
                assert torch.equal(noisy[t, joint], last)
    gross, _ = _apply(replace(model, gross_share=1.0, gross_scale=0.3), 4000, pose=pose)
    off = (gross - pose)[lost] / nz.person_size(pose[:1])
    assert float(off.square().mean().sqrt()) == pytest.approx(0.3, rel=0.1)
    assert torch.equal(gross[~lost], pose[~lost])


def test_confidence_falls_with_the_error():
    model = replace(PLAIN, confidence_level=0.7, confidence_slope=10.0, confidence_spread=0.05)
    pose, _ = _pose(3000)
    noisy, seen = _apply(model, 3000)
    share = (noisy - pose).norm(dim=-1) / nz.person_size(pose)[:, None]
    residual = seen.log() - (math.log(0.7) - 10 * share)
    assert float(residual.std()) == pytest.approx(0.05, rel=0.05)
    assert float(residual.mean().abs()) < 0.002
    assert float(seen.max()) <= 1


def test_nan_joints_stay_and_do_not_count_in_the_size():
    pose, confidence = _pose(20)
    holed = pose.clone()
    holed[:, 3] = torch.nan
    holed[7] = torch.nan
    noisy, _ = nz.apply_noise(holed, confidence, H36M_17, RATE, PLAIN, stream(1, "test"))
    assert torch.equal(torch.isnan(noisy), torch.isnan(holed))
    size = nz.person_size(holed)
    assert float(size[7]) == 0
    rest = [j for j in range(17) if j != 3]
    box = pose[0, rest].amax(0) - pose[0, rest].amin(0)
    assert float(size[0]) == pytest.approx(float(box.norm()))
    one, _ = nz.apply_noise(pose[:1], confidence[:1], H36M_17, RATE, PLAIN, stream(1))
    assert bool(torch.isfinite(one).all())
    nothing, _ = nz.apply_noise(pose[:0], confidence[:0], H36M_17, RATE, PLAIN, stream(1))
    assert nothing.shape == (0, 17, 2)


def test_a_dataset_draws_each_clip_from_its_own_stream():
    pose2d, confidence = (x.float() for x in _pose(40))
    clips = tuple(
        Clip3D(
            subject, "walk", "c1", RATE, (1000, 1000), pose2d, confidence,
            torch.ones(40, dtype=torch.bool), torch.zeros(40, 17, 3), pinhole(2.0), torch.eye(4),
        )
        for subject in ("S1", "S5")
    )  # fmt: skip
    data = PoseData("test", H36M_17, clips)
    both = nz.add_detector_noise(data, PLAIN, seed=3).clips
    alone = nz.add_detector_noise(replace(data, clips=clips[1:]), PLAIN, seed=3).clips
    assert torch.equal(both[1].pose2d, alone[0].pose2d)
    assert not torch.equal(both[0].pose2d, both[1].pose2d)
    assert both[0].pose2d.dtype == torch.float32
    assert torch.equal(both[0].pose3d_cam, clips[0].pose3d_cam)


def _errors(model: nz.DetectorNoise, frames: int, cameras: int) -> DetectionErrors:
    """Errors, swaps and losses as the model makes them, for a person of 800 px."""
    pose = _pose(frames)[0]
    pose = pose / nz.person_size(pose[:1])
    shares, confidences = [], []
    for camera in range(cameras):
        quiet = replace(model, swap_rate_hz=0.0)
        noisy, seen = _apply(quiet, frames, seed=10 + camera, pose=pose)
        lost = seen < 0.01
        shares.append((noisy - pose).masked_fill(lost[..., None], torch.nan))
        confidences.append(seen.masked_fill(lost, 0.0))
    timing = (model.swap_rate_hz, model.swap_mean_s)
    swapped = [nz.bursts(frames, 2, RATE, timing, stream(c))[0] for c in range(cameras)]
    share = torch.stack(shares)
    size = torch.full(share.shape[:2], 800.0, dtype=torch.float64)
    plain = share.norm(dim=-1) * 800
    return DetectionErrors(share, torch.stack(confidences), torch.stack(swapped), size, plain, RATE)


def test_fit_recovers_the_model_that_made_the_errors():
    made = replace(
        PLAIN, confidence_level=0.7, confidence_slope=6.0, confidence_spread=0.08,
        missing_rate_hz=0.3, missing_mean_s=0.3, missing_confidence=0.001, swap_rate_hz=0.2,
        swap_mean_s=0.3,
    )  # fmt: skip
    fitted, prior_fields = fit_errors(_errors(made, 1500, 4))
    assert set(prior_fields) == {"missing_confidence", "gross_share", "gross_scale"}
    assert fitted.tail_dof == pytest.approx(made.tail_dof, rel=0.2)
    for name, scale in made.scale.items():
        assert fitted.scale[name] == pytest.approx(scale, rel=0.15)
    for lag_s in (0.02, 0.1, 0.5, 1.0):
        assert fitted.correlation(lag_s) == pytest.approx(made.correlation(lag_s), abs=0.05)
    assert fitted.confidence_level == pytest.approx(0.7, rel=0.02)
    assert fitted.confidence_slope == pytest.approx(6.0, rel=0.1)
    assert fitted.confidence_spread == pytest.approx(0.08, rel=0.05)
    for name in ("missing", "swap"):
        rate, mean = getattr(fitted, f"{name}_rate_hz"), getattr(fitted, f"{name}_mean_s")
        expected = getattr(made, f"{name}_rate_hz") * getattr(made, f"{name}_mean_s")
        assert rate * mean == pytest.approx(expected, rel=0.3)


def test_fit_names_what_a_short_recording_cannot_show():
    fitted, prior_fields = fit_errors(_errors(replace(PLAIN, missing_rate_hz=0.0), 60, 4))
    assert {"swap_rate_hz", "swap_mean_s", "missing_rate_hz", "missing_mean_s"} <= set(prior_fields)
    assert fitted.swap_rate_hz == 0.02
    with pytest.raises(DataError, match="30 frames or more, got 12"):
        fit_errors(_errors(PLAIN, 12, 4))


def test_student_fit_finds_scales_and_tail():
    drawn = nz.student_process(500, 200, RATE, replace(PLAIN, tail_dof=6.0), stream(8)).norm(dim=-1)
    tail_dof, scale = fit_student(
        {"a": drawn[:, :100].flatten(), "b": 3 * drawn[:, 100:].flatten()}
    )
    assert tail_dof == pytest.approx(6.0, rel=0.1)
    assert scale["a"] == pytest.approx(1.0, rel=0.05)
    assert scale["b"] == pytest.approx(3.0, rel=0.05)


def test_save_and_load_round_trip_and_the_shipped_model(tmp_path):
    path = tmp_path / "noise.json"
    nz.save_noise(path, PLAIN, {"source": "made up"})
    assert nz.load_noise(path) == PLAIN
    assert nz.noise_provenance(path) == {"source": "made up"}
    assert [p.name for p in tmp_path.iterdir()] == ["noise.json"]
    shipped = nz.load_noise()
    assert 0.003 < shipped.scale["wrist"] < 0.03
    provenance = nz.noise_provenance()
    assert "BSD-3-Clause" in provenance["credit"]
    assert "swap_rate_hz" in provenance["priors, not fitted"]


def test_bad_parameters_and_files_say_what_is_wrong(tmp_path):
    with pytest.raises(ConfigError, match="tail_dof: expected a number above 0, got 0"):
        nz.DetectorNoise(tail_dof=0.0)
    with pytest.raises(ConfigError, match=r"swap_rate_hz: expected a number of at least 0"):
        nz.DetectorNoise(swap_rate_hz=-1.0)
    with pytest.raises(ConfigError, match=r"slow_share \+ jitter_share: expected at most 1"):
        nz.DetectorNoise(slow_share=0.7, jitter_share=0.6)
    with pytest.raises(ConfigError, match="mismatch in elbow"):
        nz.DetectorNoise(scale={n: 0.0 for n in nz.JOINT_CLASSES if n != "elbow"})
    with pytest.raises(ConfigError, match="frame rate: expected above 0"):
        _apply(PLAIN, 10, rate=0.0)
    path = tmp_path / "noise.json"
    nz.save_noise(path, PLAIN, {})
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="expected a noise model"):
        nz.load_noise(path)
    content = json.loads(whole)
    for change, message in (
        ({"format": "other"}, "expected format"),
        ({"model": {**content["model"], "tail_dfo": 3.0}}, "did you mean 'tail_dof'"),
        ({"model": {"tail_dof": 3.0}}, "expected all parameters, got no scale"),
        ({"model": {**content["model"], "tail_dof": -3.0}}, "tail_dof: expected a number above 0"),
        ({"model": {**content["model"], "fast_s": "long"}}, "could not convert"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(DataError, match=message):
            nz.load_noise(path)
    with pytest.raises(DataError, match="absent"):
        nz.load_noise(tmp_path / "absent.json")


def test_real_detections_give_the_known_figures(data_root):
    fit = fit_report(data_root / "pose2sim")
    report = fit.report
    assert 9 < report.plain_median_px < 16
    assert 24 < report.plain_p95_px < 35
    assert 7 < report.error_median_px < 12
    assert 20 < report.error_p95_px < 30
    assert report.model_median_px == pytest.approx(report.error_median_px, rel=0.15)
    assert report.model_p95_px == pytest.approx(report.error_p95_px, rel=0.25)
    assert 700 < report.person_size_px < 1000
    for _, measured, modelled in report.correlation:
        assert modelled == pytest.approx(measured, abs=0.05)
    assert report.swap_bursts == 0
    assert report.confidence_by_error[0][1] > report.confidence_by_error[4][1] + 0.2
    assert fit.model.scale == pytest.approx(nz.load_noise().scale, rel=0.02)
