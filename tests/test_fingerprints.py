"""Marks of datasets: blind to the last bits of coordinates, not to anything that was changed."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache

import pytest
import torch
from stick_figure import walking_motion
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.clips import Clip3D, PoseData
from adaptpose.datasets.fingerprints import CLIPS_IN_SUM, TOLERANCE, agreement, fingerprint
from adaptpose.datasets.rigs import RIGS, film
from adaptpose.skeleton import H36M_16, H36M_17


@cache
def walks(rig: str = "studio", seed: int = 0) -> PoseData:
    """Walks in several cameras: more clips than one sum holds."""
    takes = 3 if rig == "surround" else 6
    motions = [walking_motion(50 + 7 * k, 0.8 + 0.1 * k, take=str(k)) for k in range(takes)]
    clips = tuple(film(motions, RIGS[rig], seed=seed))
    assert len(clips) > CLIPS_IN_SUM
    return PoseData("walks", H36M_17, clips, synthetic=True)


def remade(data: PoseData, make: Callable[[Tensor], Tensor]) -> PoseData:
    """The data with all that is measured in floating point made anew."""

    def clip(old: Clip3D) -> Clip3D:
        lens = old.intrinsics
        parts = (make(part) for part in (lens.focal, lens.centre, lens.distortion))
        names = ("pose2d", "confidence", "pose3d_cam", "T_cam_world")
        new = {name: make(getattr(old, name)) for name in names}
        return replace(old, **new, intrinsics=Intrinsics(*parts, lens.model))

    return replace(data, clips=tuple(clip(old) for old in data.clips))


def with_clip(data: PoseData, k: int, **changes: object) -> PoseData:
    """The data with one clip changed."""
    new = replace(data.clips[k], **changes)
    return replace(data, clips=(*data.clips[:k], new, *data.clips[k + 1 :]))


def sums(mark: str) -> list[int]:
    digits = mark.partition(":")[2]
    return [int(digits[k : k + 4], 16) for k in range(0, len(digits), 4)]


def apart(one: str, other: str) -> int:
    """The largest difference of sums, which run in a circle."""
    pairs = zip(sums(one), sums(other), strict=True)
    return max(min((a - b) % 65536, (b - a) % 65536) for a, b in pairs)


@pytest.mark.parametrize("rig", ["studio", "surround", "ptz"])
def test_the_last_bits_are_not_looked_at(rig):
    data = walks(rig)
    mark = fingerprint(data)
    far = max(float(clip.pose3d_cam.abs().max()) for clip in data.clips)
    # In ptz people are far away: there one in a million is more than what rounding makes.
    size = 1e-6 * min(1.0, 8 / far)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)

        def noisy(values: Tensor) -> Tensor:
            return values * (1 + size * torch.randn(values.shape, generator=generator))  # noqa: B023

        other = fingerprint(remade(data, noisy))
        assert agreement(mark, other) == agreement(other, mark) == "same"
        assert apart(mark, other) < TOLERANCE / 1.5


def test_products_in_another_order_are_not_looked_at():
    data = walks()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    clips = tuple(replace(c, pose3d_cam=c.pose3d_cam @ turn @ turn.T) for c in data.clips)
    other = replace(data, clips=clips)
    assert any(
        not torch.equal(a.pose3d_cam, b.pose3d_cam) for a, b in zip(data.clips, clips, strict=True)
    )
    assert agreement(fingerprint(data), fingerprint(other)) == "same"
    assert apart(fingerprint(data), fingerprint(other)) <= 4


def test_a_millimetre_of_one_joint_of_one_clip_is_seen():
    data = walks("surround")
    mark = fingerprint(data)
    for k in (0, len(data.clips) - 1):
        for joint in (0, 6, 16):
            for axis in range(3):
                pose = data.clips[k].pose3d_cam.clone()
                pose[:, joint, axis] += 1e-3
                moved = fingerprint(with_clip(data, k, pose3d_cam=pose))
                assert agreement(mark, moved) == "changed"
                # By weight, 0.75 to 1.25 times what the frames' weights of 0.5 to 1.5 make.
                assert 60 < apart(mark, moved) < 140
        points = data.clips[k].pose2d.clone()
        points[:, 3, 0] += 1e-3
        assert agreement(mark, fingerprint(with_clip(data, k, pose2d=points))) == "changed"


@cache
def _other_data() -> dict[str, PoseData]:
    data = walks("surround")
    clip = data.clips[3]
    legs = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
    lens, valid = clip.intrinsics, clip.valid.clone()
    valid[4] = False
    confidence = clip.confidence.clone()
    confidence[:, 5] -= 0.01
    points = clip.pose2d.clone()
    points[2, 1] = torch.nan
    turned = clip.T_cam_world.clone()
    turned[:3, 3] += 0.01
    first, second = data.clips[:2]
    exchanged = [{f.name: getattr(b, f.name) for f in fields(a) if f.name in ("pose2d",
                  "pose3d_cam")} for a, b in ((first, second), (second, first))]  # fmt: skip
    return {
        "fewer clips": replace(data, clips=data.clips[:-1]),
        "other order": replace(data, clips=data.clips[::-1]),
        "contents exchanged": with_clip(with_clip(data, 0, **exchanged[0]), 1, **exchanged[1]),
        "backwards": with_clip(data, 3, pose3d_cam=clip.pose3d_cam.flip(0)),
        "legs exchanged": with_clip(data, 3, pose3d_cam=clip.pose3d_cam[:, legs]),
        "another person": with_clip(data, 3, subject="S9"),
        "another rate": with_clip(data, 3, frame_rate_hz=49.0),
        "a frame less": with_clip(data, 3, valid=valid),
        "less sure": with_clip(data, 3, confidence=confidence),
        "a gap": with_clip(data, 3, pose2d=points),
        "longer lens": with_clip(data, 3, intrinsics=replace(lens, focal=lens.focal * 1.001)),
        "other lens model": with_clip(data, 3, intrinsics=replace(lens, model="h36m")),
        "camera moved": with_clip(data, 3, T_cam_world=turned),
        "other cameras": walks("surround", seed=1),
        "other skeleton": data.with_skeleton(H36M_16),
        "as seen by Ski": replace(data, normalisation="root_frobenius"),
    }  # fmt: skip


@pytest.mark.parametrize("change", list(_other_data()))
def test_every_change_is_seen(change):
    data, other = walks("surround"), _other_data()[change]
    assert agreement(fingerprint(data), fingerprint(other)) == "changed"


def test_what_it_is_called_is_not_content_and_a_target_is_not_a_source():
    data = walks()
    mark = fingerprint(data)
    assert fingerprint(replace(data, name="other", credit="nobody", licence="none")) == mark
    assert agreement(fingerprint(data.as_target()), mark) == "changed"
    assert len(fingerprint(data.as_target()).partition(":")[2]) == 4 * 2
    assert len(mark.partition(":")[2]) == 4 * 4


def test_marks_of_other_forms():
    data = walks()
    mark = fingerprint(data)
    assert agreement(None, mark) == "changed"
    assert agreement("0123456789abcdef", mark) == "unknown"
    assert agreement("other", mark) == agreement(mark[:-1], mark) == "changed"
    # Generated windows are named by their index, to the letter.
    assert agreement("0123456789abcdef", "0123456789abcdef") == "same"
    assert agreement("0123456789abcdef", "0123456789abcdee") == "changed"
    exact = mark.partition(":")[0]
    assert agreement(f"{exact}:fffb", f"{exact}:0007") == "same"
    assert agreement(f"{exact}:fff0", f"{exact}:0000") == "changed"
    assert agreement(f"{exact}:8000", f"{exact}:0000") == "changed"
