"""Several poses of a frame: what the passes of a lifter are."""

from dataclasses import replace

import pytest
import torch
from linear_lifter import LinearLifter, SymmetricLifter
from method_data import small_lifter, small_source
from torch import Tensor

from adaptpose.bones import mirror_pose
from adaptpose.camera import pinhole
from adaptpose.clips import TargetData
from adaptpose.config import LifterConfig
from adaptpose.errors import SkeletonError
from adaptpose.hypotheses import (
    compare_passes,
    dropout_on,
    fuse,
    make_hypotheses,
    weigh,
)
from adaptpose.inference import predict_clips
from adaptpose.lifter import Lifter, SeededDropout
from adaptpose.lifters import build_lifter
from adaptpose.rays import ray_distances, root_from_rays
from adaptpose.rounds_config import SelfTrainConfig
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16

PLAIN = SelfTrainConfig(dropout_passes=0, context_strides=(), sharpness=0.0)


def relative(poses: list[Tensor], target: TargetData) -> Tensor:
    whole = torch.cat(poses)
    return whole - whole[:, target.skeleton.root, None]


def warmed_up() -> Lifter:
    """A small lifter whose batch norms know its input, in training mode."""
    lifter = small_lifter()
    lifter.train()
    lifter.set_generator(stream(9))
    seen = torch.cat([clip.pose2d for clip in small_source().clips])
    lifter(seen[None])
    lifter.set_generator(None)
    return lifter


# ---- passes


def test_evenly_weighed_the_four_passes_are_test_time_averaging():
    target, lifter = small_source().as_target(), LinearLifter(2, 2)
    found = compare_passes(lifter, target, PLAIN, stream(0))
    want = relative(predict_clips(lifter, target.clips, tta="both"), target)
    torch.testing.assert_close(found.pose3d, want, atol=1e-5, rtol=1e-4)
    pose2d = torch.cat([clip.pose2d for clip in target.clips])
    lens = pinhole(PLAIN.focal)
    root = root_from_rays(want, pose2d, torch.ones_like(pose2d[..., 0]), lens)
    away = ray_distances(want + root[:, None], pose2d, lens).mean(dim=1)
    size = want.norm(dim=-1).mean(dim=1)
    torch.testing.assert_close(found.residual, away / size, atol=1e-4, rtol=1e-3)
    assert float(found.spread_m.min()) > 1e-3
    agreeing = compare_passes(SymmetricLifter(2, 2), target, PLAIN, stream(0))
    assert float(agreeing.spread_m.max()) < 1e-5


def test_passes_come_in_order_and_each_is_what_it_says():
    target, lifter = small_source().as_target(), warmed_up()
    lifter.context_stride = 2
    config = SelfTrainConfig(context_strides=(4, 3), dropout_passes=1)
    found = make_hypotheses(lifter, target, config, stream(0))
    assert found.pose3d.shape == (7, 165, 16, 3)
    assert bool(found.counts.all())
    mirrored = [
        replace(clip, pose2d=mirror_pose(clip.pose2d, H36M_16)) for clip in target.clips
    ]  # fmt: skip
    flipped = [mirror_pose(pose, H36M_16) for pose in predict_clips(lifter, mirrored)]
    plain = relative(predict_clips(lifter, target.clips), target)
    torch.testing.assert_close(found.pose3d[0], plain)
    torch.testing.assert_close(found.pose3d[1], relative(flipped, target))
    turned = predict_clips(lifter, target.clips, tta="reverse")
    both = (found.pose3d[0] + found.pose3d[2]) / 2
    torch.testing.assert_close(both, relative(turned, target), atol=1e-6, rtol=1e-4)
    assert lifter.context_stride == 2
    for number, stride in ((4, 4), (5, 3)):
        lifter.context_stride = stride
        want = relative(predict_clips(lifter, target.clips), target)
        torch.testing.assert_close(found.pose3d[number], want)
        assert not torch.allclose(want, found.pose3d[0], atol=1e-3)
    assert not torch.allclose(found.pose3d[6], found.pose3d[0], atol=1e-3)


def test_a_stride_counts_only_where_it_is_another_step():
    clips = small_source().as_target().clips
    rates = (50.0, 25.0, 10.0)
    clips = tuple(replace(c, frame_rate_hz=r) for c, r in zip(clips, rates, strict=True))
    target, lifter = TargetData("rates", H36M_16, clips), LinearLifter(2, 2)
    lifter.context_stride = 2
    found = make_hypotheses(lifter, target, SelfTrainConfig(), stream(0))
    # At 25 Hz, 2, 3 and 4 of 50 Hz mean 1, 2 (1.5 to the even number) and 2 frames; at 10 Hz, 1.
    first, second, third = found.counts.split([clip.num_frames for clip in clips], dim=1)
    assert first.all(dim=1).tolist() == [True] * 6
    assert second.all(dim=1).tolist() == [True] * 5 + [False]
    assert third.any(dim=1).tolist() == [True] * 4 + [False] * 2
    weight = weigh(found, target, SelfTrainConfig())
    assert float(weight[~found.counts].abs().max()) == 0
    torch.testing.assert_close(weight.sum(dim=0), torch.ones(165))
    slow = TargetData("slow", H36M_16, clips[2:])
    assert len(make_hypotheses(lifter, slow, SelfTrainConfig(), stream(0)).pose3d) == 4


def test_a_lifter_of_one_side_is_not_reversed():
    target = small_source().as_target()
    found = make_hypotheses(LinearLifter(4, 0), target, SelfTrainConfig(), stream(0))
    assert len(found.pose3d) == 4  # the clips, mirrored, and two strides: it has no seeded dropout


def test_a_lifter_of_single_frames_has_mirror_images_and_dropout():
    config = LifterConfig(name="mlp", channels=16)
    lifter = build_lifter(config, H36M_16, H36M_16, stream(0, "small lifter"))
    target = small_source().as_target()
    found = make_hypotheses(lifter, target, SelfTrainConfig(dropout_passes=3), stream(0))
    assert len(found.pose3d) == 5
    fused = fuse(found, target, SelfTrainConfig())
    assert all(bool(torch.isfinite(part).all()) for part in vars(fused).values())
    # Frames are alone: the same poses whatever the frame's neighbours.
    alone = replace(target, clips=(replace_frames(target, 50),))
    few = make_hypotheses(lifter, alone, PLAIN, stream(0))
    torch.testing.assert_close(few.pose3d[:, 0], found.pose3d[:2, 50])


def replace_frames(target: TargetData, frame: int):
    """The first clip's one frame."""
    clip, rows = target.clips[0], slice(frame, frame + 1)
    parts = {name: getattr(clip, name)[rows] for name in ("pose2d", "confidence", "valid")}
    return replace(clip, **parts)


# ---- dropout


def test_dropout_follows_the_generator_and_leaves_the_lifter_alone():
    target, lifter = small_source().as_target(), warmed_up()
    before = {name: value.clone() for name, value in lifter.state_dict().items()}
    modes = [module.training for module in lifter.modules()]
    config = SelfTrainConfig(context_strides=(), dropout_passes=2)
    one, same, other = (
        make_hypotheses(lifter, target, config, stream(seed)).pose3d for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert torch.equal(one[:4], other[:4])
    assert not torch.allclose(one[4], other[4], atol=1e-3)
    assert not torch.allclose(one[4], one[5], atol=1e-3)
    assert [module.training for module in lifter.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in lifter.state_dict().items())
    assert [m.generator for m in lifter.modules() if isinstance(m, SeededDropout)] == [None]
    plain = relative(predict_clips(lifter, target.clips), target)
    assert torch.equal(plain, one[0])


def test_nothing_but_dropout_is_switched_on_and_nothing_stays_after_an_error():
    lifter, on = small_lifter().eval(), []

    def look(*_: object) -> None:
        on.append([name for name, part in lifter.named_modules() if part.training])

    (drop,) = (part for part in lifter.modules() if isinstance(part, SeededDropout))
    drop.register_forward_hook(look)
    clips, mine, rng = small_source().as_target().clips, stream(5), stream(6)
    drop.generator = mine
    with dropout_on(lifter, rng) as drops:
        assert drops
        predict_clips(lifter, clips)
        assert drop.generator is rng
    assert on
    assert all(names == ["drop"] for names in on)

    three = {name: getattr(clips[0], name)[:, :3] for name in ("pose2d", "confidence")}
    with pytest.raises(SkeletonError), dropout_on(lifter, rng):
        predict_clips(lifter, [replace(clips[0], **three)])
    assert drop.generator is mine
    on.clear()
    predict_clips(lifter, clips)
    assert on
    assert not any(on)
    with dropout_on(LinearLifter(1, 1), rng) as drops:
        assert not drops


def test_dropout_keeps_the_mean_of_a_linear_lifter():
    class Dropping(LinearLifter):
        """Drops numbers of the 2D it sees: its mean over many passes is the pass without."""

        def __init__(self) -> None:
            super().__init__(0, 0)
            self.drop = SeededDropout(0.25)

    target = small_source().as_target()
    config = SelfTrainConfig(dropout_passes=400)
    found = make_hypotheses(Dropping(), target, config, stream(0)).pose3d
    away, spread = found[2:].mean(dim=0) - found[0], found[2:].std(dim=0)
    # 400 draws: within five standard errors, for 8000 numbers.
    assert float((away.abs() / (spread / 20 + 1e-6)).max()) < 5.5
