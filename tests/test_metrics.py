"""Metrics: invariances, slow references written with loops, degenerate poses."""

import numpy as np
import pytest
import roma
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptpose import metrics
from adaptpose.bones import mirror_pose
from adaptpose.errors import SkeletonError
from adaptpose.skeleton import H36M_16, H36M_17


def _draw(seed: int, *shape: int, scale: float = 0.4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def _similar(pose: torch.Tensor, seed: int, scale: float) -> torch.Tensor:
    """A copy turned, scaled and shifted, differently for every pose of the batch."""
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.randn(*pose.shape[:-2], 4, generator=generator, dtype=torch.float64)
    rotation = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=-1))
    shift = torch.randn(*pose.shape[:-2], 1, 3, generator=generator, dtype=torch.float64)
    return scale * pose @ rotation.mT + 3 * shift


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.05, 20))
def test_pa_mpjpe_ignores_similarity_transforms(seed, scale):
    truth = _draw(seed, 2, 3, 16, 3)
    assert float(metrics.pa_mpjpe_mm(_similar(truth, seed + 1, scale), truth).max()) < 1e-6
    other = truth + _draw(seed + 2, 2, 3, 16, 3, scale=0.05)
    torch.testing.assert_close(
        metrics.pa_mpjpe_mm(_similar(other, seed + 1, scale), truth),
        metrics.pa_mpjpe_mm(other, truth),
        rtol=1e-6,
        atol=1e-6,
    )


def test_pa_mpjpe_sees_a_mirror_image_unless_asked_not_to():
    truth = _draw(0, 5, 17, 3)
    reflected = truth * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    assert float(metrics.pa_mpjpe_mm(reflected, truth).min()) > 50
    assert float(metrics.pa_mpjpe_mm(reflected, truth, reflection=True).max()) < 1e-6


def _procrustes_by_hand(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Best similarity by polar decomposition, reflections undone by the weakest axis."""
    p, t = prediction - prediction.mean(0), truth - truth.mean(0)
    rotation, _ = scipy.linalg.orthogonal_procrustes(p, t)
    if np.linalg.det(rotation) < 0:
        u, _, vh = scipy.linalg.svd(p.T @ t)
        u[:, 2] = -u[:, 2]
        rotation = u @ vh
    turned = p @ rotation
    aligned = turned * (turned * t).sum() / (turned * turned).sum() + truth.mean(0)
    return 1000 * float(np.mean([np.linalg.norm(a - b) for a, b in zip(aligned, truth, strict=1)]))


def test_pa_mpjpe_against_loops():
    prediction, truth = _draw(1, 12, 16, 3), _draw(2, 12, 16, 3)
    prediction[6:] = truth[6:] * torch.tensor([1.0, 1, -1]) + _draw(3, 6, 16, 3, scale=0.1)
    slow = [_procrustes_by_hand(p.numpy(), t.numpy()) for p, t in zip(prediction, truth, strict=1)]
    np.testing.assert_allclose(metrics.pa_mpjpe_mm(prediction, truth), slow, rtol=1e-9)


def test_alignment_cannot_be_improved_by_small_changes():
    prediction, truth = _draw(4, 1, 16, 3)[0], _draw(5, 1, 16, 3)[0]
    aligned = metrics.align_similarity(prediction, truth)
    best = float((aligned - truth).square().sum())
    for seed in range(30):
        turn = roma.rotvec_to_rotmat(_draw(seed, 3, scale=0.02))
        shift, scale = _draw(seed + 100, 3, scale=0.01), 1 + 0.02 * (seed % 3 - 1)
        assert float(((aligned @ turn.mT) * scale + shift - truth).square().sum()) >= best


def test_degenerate_poses_stay_finite_and_nan_stays_in_its_pose():
    truth = _draw(6, 4, 16, 3)
    prediction = truth.clone()
    prediction[0] = 0.3
    prediction[1, :, 1:] = 0
    prediction[2, 5, 0] = torch.nan
    spread = metrics.joint_errors_mm(truth[0].mean(0, keepdim=True).expand(16, 3), truth[0]).mean()
    for measure in (metrics.pa_mpjpe_mm, metrics.n_mpjpe_mm, metrics.mpjpe_mm):
        result = measure(prediction, truth)
        assert torch.isfinite(result).tolist() == [True, True, False, True]
        assert float(result[3]) < 1e-6
    assert float(metrics.pa_mpjpe_mm(prediction, truth)[0]) == pytest.approx(float(spread))
    zero = torch.zeros_like(truth)
    torch.testing.assert_close(metrics.n_mpjpe_mm(zero, truth), metrics.mpjpe_mm(zero, truth))


def test_n_mpjpe_scale_is_the_least_squares_one():
    prediction, truth = _draw(7, 6, 16, 3), _draw(8, 6, 16, 3)
    for p, t, scale in zip(prediction, truth, metrics.best_scale(prediction, truth), strict=True):
        expected = np.linalg.lstsq(p.reshape(-1, 1).numpy(), t.reshape(-1).numpy(), rcond=None)[0]
        assert float(scale) == pytest.approx(float(expected[0]))
    assert float(metrics.n_mpjpe_mm(0.37 * truth, truth).max()) < 1e-9


def test_sequence_variants_use_one_transform_per_sequence():
    truth = _draw(9, 2, 7, 16, 3)
    one_scale = truth * torch.tensor([0.8, 1.3], dtype=torch.float64)[:, None, None, None]
    assert float(metrics.n_mpjpe_sequence_mm(one_scale, truth).max()) < 1e-9
    per_frame = truth * torch.linspace(0.8, 1.2, 7, dtype=torch.float64)[:, None, None]
    assert float(metrics.n_mpjpe_mm(per_frame, truth).max()) < 1e-9
    assert float(metrics.n_mpjpe_sequence_mm(per_frame, truth).max()) > 10
    whole = _similar(truth.flatten(1, 2), 3, 0.7).unflatten(1, (7, 16))
    assert float(metrics.pa_mpjpe_sequence_mm(whole, truth).max()) < 1e-6
    assert float(metrics.pa_mpjpe_sequence_mm(_similar(truth, 3, 0.7), truth).max()) > 10


def _official_pck_auc(errors_mm: np.ndarray) -> tuple[float, float]:
    """Found joints over all joints, threshold by threshold, strictly below."""
    rates = []
    for threshold in [*range(0, 151, 5), 150]:
        found = 0
        for error in errors_mm.reshape(-1):
            if error < threshold:
                found += 1
        rates.append(100 * found / errors_mm.size)
    return rates[-1], sum(rates[:-1]) / 31


def test_pck_and_auc_against_loops():
    truth = _draw(10, 9, 16, 3)
    prediction = truth + _draw(11, 9, 16, 3, scale=0.07)
    ids = H36M_16.ids(list(metrics.scored_joints(H36M_16)))
    errors = metrics.joint_errors_mm(prediction, truth)[:, ids].numpy()
    pck, auc = _official_pck_auc(errors)
    assert 20 < pck < 95
    assert float(metrics.pck(prediction, truth, H36M_16).mean()) == pytest.approx(pck)
    assert float(metrics.auc(prediction, truth, H36M_16).mean()) == pytest.approx(auc)


def test_pck_is_strict_and_auc_of_perfection_is_thirty_of_thirty_one():
    truth = torch.zeros(1, 16, 3, dtype=torch.float64)
    off = truth.clone()
    off[..., 0] = 0.15
    assert float(metrics.pck(off, truth, H36M_16)) == 0
    assert float(metrics.pck(off - 1e-6, truth, H36M_16)) == 100
    assert float(metrics.pck(off, truth, H36M_16, threshold_mm=151)) == 100
    assert float(metrics.auc(truth, truth, H36M_16)) == pytest.approx(100 * 30 / 31)


def test_scored_joints_are_the_fourteen():
    for skeleton in (H36M_16, H36M_17):
        names = metrics.scored_joints(skeleton)
        assert len(set(names)) == 14
        assert not {"hip", "spine", "neck_nose"} & set(names)
    off = torch.zeros(16, 3)
    off[H36M_16.id("head"), 2] = 1.0
    assert float(metrics.pck(off, torch.zeros(16, 3), H36M_16)) == pytest.approx(100 * 13 / 14)
    assert float(metrics.pck(off, torch.zeros(16, 3), H36M_16, ["left_knee"])) == 100
    with pytest.raises(SkeletonError, match="did you mean 'left_knee'"):
        metrics.pck(off, off, H36M_16, ["left_kne"])


def test_motion_errors_against_loops():
    prediction, truth = _draw(12, 2, 8, 16, 3), _draw(13, 2, 8, 16, 3)
    for b in range(2):
        d = (prediction - truth)[b].numpy()
        v = [np.linalg.norm(d[t + 1, j] - d[t, j]) for t in range(7) for j in range(16)]
        a = [
            np.linalg.norm(d[t + 2, j] - 2 * d[t + 1, j] + d[t, j])
            for t in range(6)
            for j in range(16)
        ]
        assert float(metrics.mpjve_mm(prediction, truth)[b]) == pytest.approx(1000 * np.mean(v))
        per_s2 = metrics.acceleration_error_m_per_s2(prediction, truth, 25)[b]
        assert float(per_s2) == pytest.approx(np.mean(a) * 25**2)
    assert float(metrics.mpjve_mm(truth + 0.3, truth).max()) < 1e-9
    assert metrics.velocity_errors_mm(truth[:, :1], truth[:, :1]).shape == (2, 0, 16)


def test_mblstd_is_zero_for_moving_rigid_bones_and_counts_their_change():
    rigid = _similar(_draw(14, 1, 16, 3).expand(20, 16, 3), 5, 1.0)
    assert float(metrics.mblstd_mm(rigid, H36M_16)) < 1e-9
    waving = rigid.clone()
    head, thorax = H36M_16.id("head"), H36M_16.id("thorax")
    direction = torch.nn.functional.normalize(rigid[:, head] - rigid[:, thorax], dim=-1)
    change = torch.tensor([0.05, -0.05] * 10, dtype=torch.float64)
    waving[:, head] += direction * change[:, None]
    assert float(metrics.mblstd_mm(waving, H36M_16)) == pytest.approx(50 / 15)


def test_mirroring_both_poses_changes_nothing():
    prediction, truth = _draw(15, 6, 16, 3), _draw(16, 6, 16, 3)
    mirrored = mirror_pose(prediction, H36M_16), mirror_pose(truth, H36M_16)
    for measure in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, metrics.n_mpjpe_mm):
        torch.testing.assert_close(measure(*mirrored), measure(prediction, truth))


def test_results_do_not_depend_on_the_batch():
    prediction, truth = _draw(17, 30, 16, 3), _draw(18, 30, 16, 3)
    for measure in (metrics.mpjpe_mm, metrics.pa_mpjpe_mm, metrics.n_mpjpe_mm):
        whole = measure(prediction, truth)
        alone = [measure(p, t) for p, t in zip(prediction, truth, strict=True)]
        torch.testing.assert_close(whole, torch.stack(alone), rtol=1e-12, atol=1e-9)
