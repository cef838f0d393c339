"""Datasets on disk: bit-exact round trip, ten lines of numpy, and every damaged file named."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stick_figure import walking_motion

from adaptpose import camera as cam
from adaptpose.clips import Clip2D, Clip3D, PoseData, TargetData
from adaptpose.datasets import checks, files
from adaptpose.datasets.rigs import RIGS, film
from adaptpose.errors import DataError
from adaptpose.skeleton import H36M_17, H36M_17_LEFT_FIRST


def _data(rig: str = "studio", frames: int = 60) -> PoseData:
    clips = film([walking_motion(frames)], RIGS[rig], 0)
    return PoseData("walk", H36M_17, clips, True, licence="MIT", credit="nobody")


def _arrays(frames: int = 60) -> dict:
    """What a user would write, in pixels."""
    clip = _data(frames=frames).clips[0]
    lens = cam.intrinsics_to_px(clip.intrinsics, clip.image_size_px)
    return {
        "skeleton": "h36m17",
        "frame_rate_hz": 50.0,
        "image_size_px": clip.image_size_px,
        "one/pose2d_px": cam.normalised_to_px(clip.pose2d, clip.image_size_px).numpy(),
        "one/pose3d_cam": clip.pose3d_cam.numpy(),
        "one/intrinsics_px": torch.cat([lens.focal, lens.centre, lens.distortion]).numpy(),
        "one/distortion_model": "h36m",
    }


def _bits(data: PoseData | TargetData) -> tuple:
    """Everything of a dataset's clips, to the last bit."""
    clips = [
        (clip.subject, clip.action, clip.camera, clip.frame_rate_hz, clip.image_size_px)
        for clip in data.clips
    ]
    tensors = [values.numpy().tobytes() for clip in data.clips for values in _tensors(clip)]
    return data.skeleton.name, data.normalisation, clips, tensors


def _tensors(clip: Clip2D) -> list[torch.Tensor]:
    found = [clip.pose2d, clip.confidence, clip.valid]
    if isinstance(clip, Clip3D):
        lens = clip.intrinsics
        found += [clip.pose3d_cam, clip.T_cam_world, lens.focal, lens.centre, lens.distortion]
    return found


def _save(path: Path, arrays: dict, **changes) -> Path:
    merged = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
    np.savez(path, **merged)
    return path


def _changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


@pytest.mark.parametrize("rig", ["studio", "handheld", "ptz"])
def test_round_trip_is_exact(tmp_path, rig):
    data = replace(_data(rig), normalisation=RIGS[rig].normalisation)
    path = tmp_path / "new" / "d.npz"
    files.write_dataset(data, path)
    back = files.read_dataset(path, need_3d=True)
    assert _bits(back) == _bits(data)
    fields = ("name", "skeleton", "synthetic", "normalisation", "licence", "credit")
    assert all(getattr(back, f) == getattr(data, f) for f in fields)
    for a, b in zip(data.clips, back.clips, strict=True):
        assert (a.name, a.frame_rate_hz, a.image_size_px) == (
            b.name,
            b.frame_rate_hz,
            b.image_size_px,
        )
        assert torch.equal(a.pose3d_cam, b.pose3d_cam)
        assert torch.equal(a.T_cam_world, b.T_cam_world)
        assert a.intrinsics.model == b.intrinsics.model
    assert [p.name for p in path.parent.iterdir()] == ["d.npz"]


def test_target_is_read_without_its_labels(tmp_path):
    data, path = _data(), tmp_path / "d.npz"
    files.write_dataset(data, path)
    target = files.read_dataset(path, need_3d=False)
    assert isinstance(target, TargetData)
    assert not hasattr(target.clips[0], "pose3d_cam")
    assert _bits(target) == _bits(data.as_target())
    files.write_dataset(target, path)
    again = files.read_dataset(path, need_3d=False)
    assert _bits(again) == _bits(target)
    with pytest.raises(DataError, match="clip 'clip00000': 'pose3d_cam' is missing"):
        files.read_dataset(path, need_3d=True)


def test_ten_lines_of_numpy_are_enough(tmp_path):
    arrays = {"skeleton": "h36m17", "frame_rate_hz": 30.0, "image_size_px": (1000, 1000)}
    for name in ("walk", "run"):
        arrays[f"{name}/pose2d_px"] = _arrays()["one/pose2d_px"]
    data = files.read_dataset(_save(tmp_path / "mine.npz", arrays), need_3d=False)
    assert [clip.action for clip in data.clips] == ["run", "walk"]
    assert data.name == "mine"
    assert data.clips[0].frame_rate_hz == 30
    torch.testing.assert_close(data.clips[0].pose2d, _data().clips[0].pose2d)
    assert bool(data.clips[0].valid.all())
    assert float(data.clips[0].confidence.min()) == 1


def test_pixels_and_labels_of_a_user(tmp_path):
    data = files.read_dataset(_save(tmp_path / "d.npz", _arrays()), need_3d=True)
    clip = data.clips[0]
    torch.testing.assert_close(cam.project(clip.pose3d_cam, clip.intrinsics), clip.pose2d)
    assert torch.equal(clip.T_cam_world, torch.eye(4))


def test_nan_in_frames_that_are_not_valid_become_zeros(tmp_path):
    arrays = _arrays()
    valid = np.ones(60, dtype=bool)
    valid[5] = False
    arrays["one/pose2d_px"] = _changed(arrays["one/pose2d_px"], (5, 3), np.nan)
    arrays["one/pose3d_cam"] = _changed(arrays["one/pose3d_cam"], 5, np.nan)
    path = _save(tmp_path / "d.npz", arrays, **{"one/valid": valid})
    clip = files.read_dataset(path, need_3d=True).clips[0]
    assert float(clip.pose2d[5, 3].abs().sum()) == 0
    assert float(clip.confidence[5, 3]) == 0
    assert bool(torch.isfinite(clip.pose3d_cam).all())
    path = _save(tmp_path / "d.npz", arrays)
    with pytest.raises(DataError, match="NaN or infinite 2D in frames marked valid"):
        files.read_dataset(path, need_3d=False)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("skeleton", lambda a: None, "'skeleton' is missing"),
        ("skeleton", lambda a: "h36m71", "did you mean 'h36m17'"),
        ("skeleton", lambda a: "h36m16", "expected 16 joints of 'h36m16', got 17 joints"),
        ("image_size_px", lambda a: None, "clip 'one': 'image_size_px' is missing"),
        ("image_size_px", lambda a: (0, 100), "expected width and height in pixels"),
        ("frame_rate_hz", lambda a: None, "clip 'one': 'frame_rate_hz' is missing"),
        ("frame_rate_hz", lambda a: -1.0, "expected a frame rate above 0"),
        ("frame_rate_hz", lambda a: "50", "frame_rate_hz: expected numbers, got type <U2"),
        ("one/pose2d_px", lambda a: a[:0], "no frames|expected shape"),
        ("one/pose2d_px", lambda a: a[:-1], r"pose3d_cam: expected shape \(59, 17, 3\)"),
        ("one/pose2d_px", lambda a: a[:, :5], r"pose3d_cam: expected shape \(60, 5, 3\)"),
        ("one/pose2d_px", lambda a: a / 1000, "expected pixels, got screen coordinates"),
        ("one/pose2d_px", lambda a: None, "'pose2d_px' is missing"),
        ("one/pose2d_px", lambda a: a.astype(str), "expected numbers, got type <U"),
        ("one/pose2d", lambda a: _arrays()["one/pose2d_px"], "store them as pose2d_px"),
        ("one/pose3d_cam", lambda a: a * 1000, "divide by 1000"),
        ("one/pose3d_cam", lambda a: a - a[:, :1], "behind the camera"),
        ("one/pose3d_cam", lambda a: a * np.float32([1, -1, 1]), "does not project to the 2D"),
        ("one/pose3d_cam", lambda a: _changed(a, (4, 4), np.nan), "NaN or infinite 3D"),
        ("one/intrinsics_px", lambda a: None, "'intrinsics_px' is missing"),
        ("one/intrinsics_px", lambda a: a[:4], r"expected shape \(9\), got \(4,\)"),
        ("one/intrinsics_px", lambda a: a * 0, "fx and fy above 0"),
        ("one/distortion_model", lambda a: "opencv5", "did you mean 'opencv'"),
        ("one/confidence", lambda a: np.full((60, 17), 2.0), "expected numbers from 0 to 1"),
        ("one/valid", lambda a: np.ones(7), r"expected shape \(60\)"),
        ("one/T_cam_world", lambda a: np.zeros((7, 4, 4)), r"expected shape \(60, 4, 4\)"),
        ("one/pose_2d", lambda a: np.zeros(3), "unknown key 'one/pose_2d'; did you mean"),
        ("one/subject", lambda a: np.array([object()]), "cannot be read"),
    ],
)  # fmt: skip
def test_wrong_files_are_named(tmp_path, key, change, message):
    arrays = _arrays()
    path = _save(tmp_path / "d.npz", arrays, **{key: change(arrays.get(key))})
    with pytest.raises(DataError, match=message) as raised:
        files.read_dataset(path, need_3d=True)
    assert str(path) in str(raised.value) or key == "skeleton"


def test_missing_empty_cut_and_foreign_files(tmp_path):
    path = tmp_path / "d.npz"
    with pytest.raises(DataError, match=r"d\.npz: no such file"):
        files.read_dataset(path, need_3d=False)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        files.read_dataset(path, need_3d=False)
    files.write_dataset(_data(), path)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"d\.npz"):
            files.read_dataset(path, need_3d=False)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(DataError, match="cannot be read"):
        files.read_dataset(path, need_3d=True)
    path.write_bytes(pickle.dumps({"skeleton": "h36m17"}))
    with pytest.raises(DataError, match=r"expected an \.npz archive"):
        files.read_dataset(path, need_3d=False)
    np.savez(path, positions_3d=np.zeros(3))
    with pytest.raises(DataError, match="unknown key 'positions_3d'"):
        files.read_dataset(path, need_3d=False)
    np.savez(path, skeleton="h36m17")
    with pytest.raises(DataError, match="no clips"):
        files.read_dataset(path, need_3d=False)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "d.npz"
    files.write_dataset(_data(), path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.np, "savez", full)
    with pytest.raises(DataError, match="cannot be written"):
        files.write_dataset(_data("handheld"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]
    with pytest.raises(DataError, match="without clips"):
        files.write_dataset(replace(_data(), clips=()), path)


def test_crossed_sides_are_found_in_every_form():
    pose = _data().clips[0].pose3d_cam
    legs, arms = H36M_17.ids(["left_hip", "left_knee", "left_ankle"]), H36M_17.ids(
        ["left_shoulder", "left_elbow", "left_wrist"]
    )  # fmt: skip
    mirror = H36M_17.mirror
    swap_legs = [mirror[i] if i in legs or mirror[i] in legs else i for i in range(17)]
    swap_arms = [mirror[i] if i in arms or mirror[i] in arms else i for i in range(17)]
    assert not checks.crossed_sides(pose, H36M_17)
    for crossed in (pose[:, list(mirror)], pose[:, swap_legs], pose[:, swap_arms]):
        assert checks.crossed_sides(crossed, H36M_17)
    assert checks.crossed_sides(pose * torch.tensor([-1.0, 1, 1]), H36M_17)
    assert not checks.crossed_sides(pose[:5, list(mirror)], H36M_17)


def test_wrong_human36m_order_is_refused(tmp_path):
    data = _data()
    index = H36M_17.ids(list(H36M_17_LEFT_FIRST.joints))
    arrays = _arrays()
    arrays["one/pose2d_px"] = arrays["one/pose2d_px"][:, index]
    arrays["one/pose3d_cam"] = arrays["one/pose3d_cam"][:, index]
    path = _save(tmp_path / "d.npz", arrays)
    with pytest.raises(DataError, match="left and right are crossed for 'h36m17'"):
        files.read_dataset(path, need_3d=True)
    arrays["skeleton"] = "h36m17-left-first"
    right = files.read_dataset(_save(path, arrays), need_3d=True).with_skeleton(H36M_17)
    torch.testing.assert_close(right.clips[0].pose3d_cam, data.clips[0].pose3d_cam)


def test_crossed_legs_show_in_2d_where_the_person_is_seen_from_the_front():
    legs = [4, 5, 6, 1, 2, 3]
    crossed = [0, *legs, *range(7, 17)]
    found = []
    for clip in film([walking_motion(100, speed=0.3, turn=0.2)], RIGS["surround"], 0):
        assert not checks.crossed_sides_2d(clip.pose2d, H36M_17)
        found.append(checks.crossed_sides_2d(clip.pose2d[:, crossed], H36M_17))
    assert sum(found) >= 4


def test_no_recorded_person_seems_crossed(data_root):
    from adaptpose.datasets.hdm05 import read_hdm05_take
    from adaptpose.datasets.uiprmd import read_vicon_take

    paths = sorted((data_root / "hdm05" / "test").rglob("*.amc*"))[::40]
    motions = [read_hdm05_take(path) for path in paths]
    # Knees of people who stand straight lie a little behind the line from hip to ankle.
    for name in ("m08_s01_e01", "m10_s07_e03"):
        motions += [
            read_vicon_take(path) for path in (data_root / "ui_prmd/vicon").glob(f"{name}_pos*")
        ]
    found = 0
    for motion in motions:
        assert not checks.crossed_sides(motion.joints_world, H36M_17), motion.name
        mirrored = motion.joints_world[:, list(H36M_17.mirror)]
        found += checks.crossed_sides(mirrored, H36M_17)
    assert len(motions) > 3
    assert found > len(motions) / 2
