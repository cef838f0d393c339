"""Inference over clips: a slow reference frame by frame, chunks, company, mirrored passes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_lifter import LinearLifter, SymmetricLifter, wavy_clip

from adaptpose.bones import mirror_pose
from adaptpose.clips import normalise_pose2d
from adaptpose.config import LifterConfig
from adaptpose.errors import ConfigError, DataError, SkeletonError
from adaptpose.inference import predict_clip, predict_clips
from adaptpose.lifters import build_lifter
from adaptpose.skeleton import H36M_16, H36M_17


def _frame_by_frame(lifter: LinearLifter, pose2d: torch.Tensor) -> torch.Tensor:
    frames = pose2d.shape[0]
    poses = []
    for t in range(frames):
        total = torch.zeros(lifter.skeleton_out.num_joints * 3)
        for k in range(lifter.receptive_field):
            seen = pose2d[min(max(t + k - lifter.frames_before, 0), frames - 1)]
            total += lifter.weight[k].detach() @ seen.flatten()
        poses.append(total.view(-1, 3))
    return torch.stack(poses)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (4, 0), (1, 3), (20, 20)])
@pytest.mark.parametrize("normalisation", ["screen", "root_frobenius"])
def test_a_clip_is_lifted_as_frame_by_frame(before, after, normalisation):
    lifter, clip = LinearLifter(before, after), wavy_clip(11)
    seen = normalise_pose2d(clip.pose2d, normalisation, H36M_16.root)
    torch.testing.assert_close(
        predict_clip(lifter, clip, normalisation),
        _frame_by_frame(lifter, seen),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("causal", [False, True])
def test_the_temporal_lifter_sees_each_frame_in_its_window(causal):
    config = LifterConfig(widths=(3, 3), channels=16, causal=causal)
    lifter = build_lifter(config, H36M_16, H36M_16, torch.Generator().manual_seed(0)).eval()
    clips = [wavy_clip(13, 1), wavy_clip(4, 2)]
    for clip, poses in zip(clips, predict_clips(lifter, clips), strict=True):
        steps = torch.arange(-lifter.frames_before, lifter.frames_after + 1)
        index = (torch.arange(clip.num_frames)[:, None] + steps).clamp(0, clip.num_frames - 1)
        with torch.no_grad():
            windows = lifter.lift_window(clip.pose2d[index])
        torch.testing.assert_close(poses, windows, atol=1e-5, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    context=st.integers(0, 4),
    chunk=st.integers(1, 40),
    tta=st.sampled_from(["none", "flip", "reverse", "both"]),
)
def test_neither_chunks_nor_company_change_a_clip(lengths, context, chunk, tta):
    lifter = LinearLifter(context, context)
    clips = [wavy_clip(length, seed) for seed, length in enumerate(lengths)]
    together = predict_clips(lifter, clips, "screen", tta, chunk)
    for clip, poses in zip(clips, together, strict=True):
        assert poses.shape == (clip.num_frames, 16, 3)
        alone = predict_clip(lifter, clip, "screen", tta)
        torch.testing.assert_close(poses, alone, atol=1e-5, rtol=1e-5)


def test_passes_are_averaged_as_written_out():
    lifter, clip = LinearLifter(2, 2), wavy_clip(9)
    mirrored = replace(clip, pose2d=mirror_pose(clip.pose2d, H36M_16))
    backwards = replace(clip, pose2d=clip.pose2d.flip(0))
    both = replace(mirrored, pose2d=mirrored.pose2d.flip(0))
    plain = predict_clip(lifter, clip)
    flipped = mirror_pose(predict_clip(lifter, mirrored), H36M_16)
    reverse = predict_clip(lifter, backwards).flip(0)
    fourth = mirror_pose(predict_clip(lifter, both).flip(0), H36M_16)
    for tta, passes in {
        "flip": [plain, flipped],
        "reverse": [plain, reverse],
        "both": [plain, flipped, reverse, fourth],
    }.items():
        expected = torch.stack(passes).mean(dim=0)
        torch.testing.assert_close(predict_clip(lifter, clip, tta=tta), expected)
    assert float((flipped - plain).abs().max()) > 0.01


@pytest.mark.parametrize("tta", ["flip", "reverse", "both"])
def test_averaging_leaves_a_symmetric_lifter_alone(tta):
    lifter, clip = SymmetricLifter(3, 3), wavy_clip(14)
    torch.testing.assert_close(
        predict_clip(lifter, clip, tta=tta), predict_clip(lifter, clip), atol=1e-5, rtol=1e-4
    )


def test_averaged_passes_of_a_mirrored_clip_are_mirrored():
    lifter, clip = LinearLifter(1, 1), wavy_clip(8)
    mirrored = replace(clip, pose2d=mirror_pose(clip.pose2d, H36M_16))
    torch.testing.assert_close(
        predict_clip(lifter, mirrored, tta="flip"),
        mirror_pose(predict_clip(lifter, clip, tta="flip"), H36M_16),
        atol=1e-5,
        rtol=1e-4,
    )


def test_frames_that_show_nothing_are_replaced_by_their_nearest_neighbour():
    clip = wavy_clip(10)
    holed, confidence = clip.pose2d.clone(), clip.confidence.clone()
    holed[0], holed[4, 3] = torch.nan, torch.inf
    holed[5], confidence[5] = 0, 0
    confidence[7, :10] = 0
    filled = clip.pose2d[[1, 1, 2, 3, 3, 6, 6, 7, 8, 9]]
    lifter = LinearLifter(2, 2)
    torch.testing.assert_close(
        predict_clip(lifter, replace(clip, pose2d=holed, confidence=confidence)),
        predict_clip(lifter, replace(clip, pose2d=filled)),
    )
    unknown = replace(clip, confidence=torch.zeros(10, 16))
    assert torch.equal(predict_clip(lifter, unknown), predict_clip(lifter, clip))
    empty = replace(clip, pose2d=torch.full_like(holed, torch.nan))
    with pytest.raises(DataError, match=r"S0/Walking/a.*no frame has finite 2D"):
        predict_clip(lifter, empty)


def test_lifter_is_left_as_it_was():
    lifter = LinearLifter(1, 1).train()
    lifter.drop.eval()
    first, second = (predict_clip(lifter, wavy_clip(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert (lifter.training, lifter.drop.training) == (True, False)


def test_what_cannot_be_is_refused():
    clip = wavy_clip(6)
    for tta in ("reverse", "both"):
        with pytest.raises(ConfigError, match=r"4 frames before and 0 after .fix: use 'flip'"):
            predict_clip(LinearLifter(4, 0), clip, tta=tta)
    with pytest.raises(SkeletonError, match="expected 17 joints of 'h36m17', got 16 joints"):
        predict_clip(LinearLifter(1, 1, H36M_17), clip)
    with pytest.raises(ConfigError, match="chunk_frames: expected at least 1, got 0"):
        predict_clip(LinearLifter(1, 1), clip, chunk_frames=0)
    assert predict_clips(LinearLifter(1, 1), []) == []


def test_a_lifter_of_wider_context_sees_every_nth_frame():
    """Poses at stride 2 of a 50 Hz clip, by hand, and at stride 1 of the same clip at 25 Hz."""
    lifter, clip = LinearLifter(2, 2).eval(), wavy_clip(11)
    lifter.context_stride = 2
    pose = predict_clip(lifter, clip)
    for t in range(11):
        lane = torch.arange(t % 2, 11, 2)
        place = t // 2 + torch.arange(-2, 3)
        window = clip.pose2d[lane[place.clamp(0, len(lane) - 1)]]
        with torch.no_grad():
            want = lifter(window[None])[0, 0]
        torch.testing.assert_close(pose[t], want, atol=1e-5, rtol=0)
    slow = replace(clip, frame_rate_hz=25.0)
    with torch.no_grad():
        index = torch.arange(-2, 13).clamp(0, 10)
        want = lifter(clip.pose2d[index][None])[0]
    torch.testing.assert_close(predict_clip(lifter, slow), want, atol=1e-5, rtol=0)
