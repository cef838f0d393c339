"""Several poses of a frame: how they are weighed against each other, and their mean."""

from dataclasses import replace

import pytest
import torch
from pseudo_scenes import walks
from torch import Tensor

from adaptpose.camera import pinhole
from adaptpose.clips import PoseData, TargetData, hold_seen
from adaptpose.hypotheses import Hypotheses, fuse, ray_residual, weigh
from adaptpose.rays import ray_distances, root_from_rays
from adaptpose.rounds_config import SelfTrainConfig
from adaptpose.runtime import stream


def true_and_spoilt() -> tuple[PoseData, Tensor, Hypotheses]:
    """Walks, their poses, and five hypotheses: four nearly true ones and a bad one."""
    data = walks(3, focal=1.55)
    true = torch.cat([clip.pose3d_cam - clip.pose3d_cam[:, :1] for clip in data.clips])
    rng = stream(4)
    poses = torch.stack(
        [true + sd * torch.randn(true.shape, generator=rng) for sd in (0.02, 0.02, 0.15, 0.02)]
    )
    poses = poses - poses[:, :, :1]
    return data, true, Hypotheses(poses, torch.ones(poses.shape[:2], dtype=torch.bool))


def error(pose: Tensor, true: Tensor) -> float:
    return float((pose - true).norm(dim=-1).mean())


def slow_fusion(found: Hypotheses, target: TargetData, config: SelfTrainConfig):
    """Frame by frame and pass by pass, with numbers of Python."""
    skeleton, lens = target.skeleton, pinhole(config.focal)
    frames = [(c, t) for c, clip in enumerate(target.clips) for t in range(clip.num_frames)]
    passes, measures = range(len(found.pose3d)), {}
    lengths = [
        [[float((own[f, b] - own[f, a]).norm()) for a, b in skeleton.bones]
         for f in range(len(frames))] for own in found.pose3d
    ]  # fmt: skip
    usual = []
    for c in range(len(target.clips)):
        rows = [lengths[p][f] for p in passes for f, (own, _) in enumerate(frames) if own == c]
        usual.append([sorted(column)[(len(rows) - 1) // 2] for column in zip(*rows, strict=True)])
    for f, (c, t) in enumerate(frames):
        clip = target.clips[c]
        pose2d, confidence = hold_seen(clip)[t], clip.confidence[t]
        for p in passes:
            pose = found.pose3d[p, f]
            root = root_from_rays(pose, pose2d, confidence, lens)
            away = ray_distances(pose + root, pose2d, lens)
            ray = float((away * confidence).sum() / confidence.sum())
            off = [abs(x - y) for x, y in zip(lengths[p][f], usual[c], strict=True)]
            measures[p, f] = (ray / float(pose.norm(dim=-1).mean()), sum(off) / sum(usual[c]))
    valid = torch.cat([clip.valid for clip in target.clips])
    counted = [m for (p, f), m in measures.items() if found.counts[p, f] and valid[f]]
    scale = [sorted(m[k] for m in counted)[(len(counted) - 1) // 2] for k in range(2)]
    poses, spreads = [], []
    for f in range(len(frames)):
        bad = [sum(m / s for m, s in zip(measures[p, f], scale, strict=True)) for p in passes]
        share = [
            2.718281828459045 ** (-config.sharpness * bad[p]) * bool(found.counts[p, f])
            for p in passes
        ]
        share = [one / sum(share) for one in share]
        pose = sum(share[p] * found.pose3d[p, f] for p in passes)
        away = [float((found.pose3d[p, f] - pose).norm(dim=-1).mean()) for p in passes]
        poses.append(pose)
        spreads.append(sum(one * far for one, far in zip(share, away, strict=True)))
    return torch.stack(poses), torch.tensor(spreads)


def test_fusion_is_what_a_slow_one_gives():
    data, _, found = true_and_spoilt()
    rng = stream(8)
    clips, counts = list(data.as_target().clips), found.counts.clone()
    confidence = torch.rand(clips[0].confidence.shape, generator=rng)
    valid = torch.rand(clips[0].num_frames, generator=rng) > 0.3
    clips[0] = replace(clips[0], confidence=confidence, valid=valid)
    counts[2, :60], counts[3, 40:] = False, False
    target = replace(data.as_target(), clips=tuple(clips))
    found, config = Hypotheses(found.pose3d, counts), SelfTrainConfig(sharpness=0.7)
    fused = fuse(found, target, config)
    pose, spread = slow_fusion(found, target, config)
    torch.testing.assert_close(fused.pose3d, pose, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fused.spread_m, spread, atol=1e-5, rtol=1e-3)
    assert torch.equal(fused.residual, ray_residual(fused.pose3d, target, config.focal))


def test_a_spoilt_hypothesis_hardly_counts():
    data, true, found = true_and_spoilt()
    target, config = data.as_target(), SelfTrainConfig()
    fused, even = (fuse(found, target, c).pose3d for c in (config, replace(config, sharpness=0.0)))
    worst = max(error(pose, true) for pose in found.pose3d)
    assert error(fused, true) < error(even, true) < worst
    assert error(fused, true) < 0.2 * worst
    assert float(weigh(found, target, config)[2].mean()) < 0.02


def off_rays(true: Tensor, amount: float) -> Tensor:
    """Turned about the line of sight: bones stay as long as they are."""
    angle = torch.tensor(0.02 + amount)
    c, s, none, one = angle.cos(), angle.sin(), torch.zeros(()), torch.ones(())
    turn = torch.stack(
        [torch.stack(row) for row in ((c, -s, none), (s, c, none), (none, none, one))]
    )
    return (true - true[:, :1]) @ turn.T


def off_bones(true: Tensor, amount: float) -> Tensor:
    """Joints moved along their own rays, differently in every frame: they stay on them."""
    away = torch.randn(true.shape[:2], generator=stream(2))
    away[:, 0] = 0
    moved = true * (1 + (0.01 + amount / 3) * away)[..., None]
    return moved - moved[:, :1]


@pytest.mark.parametrize("spoil", [off_rays, off_bones])
def test_weights_fall_with_each_fault(spoil):
    data = walks(2, focal=1.55)
    target, config = data.as_target(), SelfTrainConfig()
    true = torch.cat([clip.pose3d_cam for clip in data.clips])
    poses = torch.stack([spoil(true, amount) for amount in (0.0, 0.05, 0.1, 0.15)])
    found = Hypotheses(poses, torch.ones(4, len(true), dtype=torch.bool))
    weight = weigh(found, target, config)
    assert float((weight[1:] < weight[:-1]).float().mean()) > 0.9
    sharper = weigh(found, target, replace(config, sharpness=3.0))
    assert float(sharper[0].mean()) > float(weight[0].mean()) > 0.3
    even = weigh(found, target, replace(config, sharpness=0.0))
    torch.testing.assert_close(even, torch.full_like(even, 0.25))


def test_fusion_does_not_depend_on_order_or_repetition_or_size():
    data, _, found = true_and_spoilt()
    target, config, order = data.as_target(), SelfTrainConfig(), [2, 0, 3, 1]
    one = fuse(found, target, config)
    other = fuse(Hypotheses(found.pose3d[order], found.counts), target, config)
    torch.testing.assert_close(one.pose3d, other.pose3d)
    torch.testing.assert_close(one.spread_m, other.spread_m)
    twice = Hypotheses(torch.cat([found.pose3d] * 2), torch.cat([found.counts] * 2))
    torch.testing.assert_close(fuse(twice, target, config).pose3d, one.pose3d)
    # Twice as large people at twice the distance look the same.
    large = fuse(Hypotheses(2 * found.pose3d, found.counts), target, config)
    torch.testing.assert_close(large.pose3d, 2 * one.pose3d, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(large.residual, one.residual, atol=1e-5, rtol=1e-4)


def test_a_target_without_valid_frames_is_weighed_by_all():
    data, _, found = true_and_spoilt()
    target = data.as_target()
    none = [replace(clip, valid=torch.zeros_like(clip.valid)) for clip in target.clips]
    weight = weigh(found, replace(target, clips=tuple(none)), SelfTrainConfig())
    torch.testing.assert_close(weight, weigh(found, target, SelfTrainConfig()))
