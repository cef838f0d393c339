"""Pose2Sim sessions: what is read, what the geometry says of it, and damage."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from adaptpose.camera import Intrinsics, look_at
from adaptpose.datasets import pose2sim as p2s
from adaptpose.datasets import tomltext
from adaptpose.datasets import triangulation as tri
from adaptpose.errors import DataError
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17

TRIAL = "S00_T01"


def _views() -> tri.Views:
    eyes = torch.tensor([[3.0, 0, 1.5], [0, 3.5, 1.7], [-3, 0.5, 1.4], [0.3, -4, 2]])
    T_cam_world = look_at(eyes.double(), torch.tensor([0.0, 0, 1]).double().expand(4, 3))
    lens = torch.tensor([-0.05, 0.02, 0.0, 0.001, -0.001], dtype=torch.float64)
    focal = torch.full((4, 2), 1600.0, dtype=torch.float64)
    centre = torch.tensor([540.0, 960.0], dtype=torch.float64).expand(4, 2)
    return tri.Views(Intrinsics(focal, centre, lens.expand(4, 5), "opencv"), T_cam_world)


def _points(count: int = 200) -> torch.Tensor:
    points = torch.rand(count, 3, generator=stream(0, "points"), dtype=torch.float64) - 0.5
    return points * torch.tensor([1.0, 1.0, 1.8]) + torch.tensor([0, 0, 1.0])


def test_triangulation_inverts_projection_and_ignores_one_bad_view():
    views, points = _views(), _points()
    image = tri.reproject(points, views)
    weight = torch.ones(image.shape[:2], dtype=torch.float64)
    torch.testing.assert_close(tri.triangulate(image, weight, views), points, atol=1e-5, rtol=0)
    image[2] += 300
    found = tri.triangulate(image, weight, views)
    assert float((found - points).norm(dim=-1).median()) < 0.005
    weight[2] = 0
    torch.testing.assert_close(tri.triangulate(image, weight, views), points, atol=1e-5, rtol=0)
    weight[1:] = 0
    assert bool(torch.isnan(tri.triangulate(image, weight, views)).all())
    with pytest.raises(DataError, match="expected 4 views, got detections of 3 cameras"):
        tri.triangulate(image[:3], weight[:3], views)


def test_held_out_error_has_the_spread_of_one_detection():
    views, points = _views(), _points(2000)
    image = tri.reproject(points, views)
    noise = 2 * torch.randn(image.shape, generator=stream(1, "noise"), dtype=torch.float64)
    weight = torch.ones(image.shape[:2], dtype=torch.float64)
    error = tri.leave_one_out(image + noise, weight, views)
    for camera in range(4):
        covariance = torch.cov(error.own_px[camera].T)
        torch.testing.assert_close(
            covariance, 4 * torch.eye(2, dtype=torch.float64), atol=0.3, rtol=0
        )
    assert float(error.residual_px.std()) > 2.3
    holed = image.clone()
    holed[0, 0] = torch.nan
    holed[1:3, 1] = torch.nan
    own = tri.leave_one_out(holed, weight, views).own_px
    assert bool(torch.isnan(own[0, 0]).all())
    assert bool(torch.isnan(own[:, 1]).all())
    assert bool(torch.isfinite(own[:, 2:]).all())


def test_refinement_takes_out_a_calibration_error_and_leaves_a_right_one():
    views, points = _views(), _points(80)
    image = tri.reproject(points, views)
    noise = torch.randn(image.shape, generator=stream(2, "noise"), dtype=torch.float64)
    weight = torch.ones(image.shape[:2], dtype=torch.float64)
    turned = views.T_cam_world.clone()
    turn = torch.tensor([[1.0, -0.01], [0.01, 1.0]], dtype=torch.float64)
    turned[0, :2] = turn @ turned[0, :2]
    turned[1, 0, 3] += 0.04
    wrong = tri.Views(views.intrinsics_px, turned)

    def spread(seen_by: tri.Views) -> float:
        return float(tri.leave_one_out(image + noise, weight, seen_by).own_px.std())

    assert spread(wrong) > 4
    assert spread(tri.refine_views(image + noise, weight, wrong)) < 1.2
    assert spread(tri.refine_views(image + noise, weight, views)) < 1.1
    with pytest.raises(DataError, match="24 points in three views or more, got 10"):
        tri.refine_views(image[:, :10], weight[:, :10], views)


def test_openpose_joints_become_human36m_joints_by_name():
    pose = torch.rand(3, 25, 2, generator=stream(3), dtype=torch.float64)
    confidence = torch.rand(3, 25, generator=stream(4), dtype=torch.float64)
    pose[0, p2s.BODY_25B.index("left_hip")] = torch.nan
    confidence[0, p2s.BODY_25B.index("left_hip")] = 0
    out, seen = p2s.body_25b_to_h36m(pose, confidence)
    left, right = p2s.BODY_25B.index("left_hip"), p2s.BODY_25B.index("right_hip")
    torch.testing.assert_close(out[1, H36M_17.id("hip")], (pose[1, left] + pose[1, right]) / 2)
    torch.testing.assert_close(
        out[:, H36M_17.id("right_wrist")], pose[:, p2s.BODY_25B.index("right_wrist")]
    )
    for joint in ("hip", "spine", "left_hip"):
        assert bool(torch.isnan(out[0, H36M_17.id(joint)]).all())
        assert float(seen[0, H36M_17.id(joint)]) == 0
    assert float(seen[1, H36M_17.id("hip")]) == float(confidence[1, [left, right]].min())


def _session(folder: Path) -> Path:
    """A session of two cameras and three frames, as Pose2Sim would write it."""
    camera = (
        '[cam_0{n}]\nname = "cam_0{n}"\nsize = [ 1088.0, 1920.0]\n'
        "matrix = [ [ 1600.0, 0.0, 540.0], [ 0.0, 1600.0, 960.0], [ 0.0, 0.0, 1.0]]\n"
        "distortions = [ -0.1, 0.02, 0.001, 0.002]\nrotation = [ 1.5707963267948966, 0.0, 0.0]\n"
        "translation = [ 0.0, 1.0, 3.0]\nfisheye = false\n\n"
    )
    (folder / "S00_Calibration").mkdir()
    text = "".join(camera.format(n=n) for n in (1, 2)) + "[metadata]\nerror = 0.0\n"
    (folder / "S00_Calibration" / "Calib_demo.toml").write_text(text)
    for number in (1, 2):
        frames = folder / TRIAL / "pose-associated" / f"cam0{number}_json"
        frames.mkdir(parents=True)
        for frame in range(3):
            values = [float(100 * frame + k) / 300 for k in range(75)]
            values[3 * 4 + 2] = 0.0
            people = [{"pose_keypoints_2d": values}] if frame < 2 else [{}]
            (frames / f"cam0{number}.{frame:04d}.json").write_text(json.dumps({"people": people}))
    (folder / TRIAL / "pose-3d").mkdir()
    rows = [f"{n}\t{n / 60}\t1000\t2000\t3000\t\t\t" for n in (1, 2)]
    header = [
        "PathFileType\t4\t(X/Y/Z)\tdemo.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits",
        "60\t60\t2\t2\tmm",
        "Frame#\tTime\tRHip\t\t\tLBigToe\t\t",
        "\t\tX1\tY1\tZ1\tX2\tY2\tZ2",
    ]
    (folder / TRIAL / "pose-3d" / "demo.trc").write_text("\n".join([*header, "", *rows]) + "\n")
    return folder


def test_a_session_is_read_in_the_house_conventions(tmp_path):
    trial = p2s.read_pose2sim(_session(tmp_path))
    assert (trial.name, trial.frame_rate_hz, len(trial.cameras)) == (TRIAL, 60.0, 2)
    assert trial.pose2d_px.shape == (2, 3, 25, 2)
    assert trial.pose2d_px[0, 1, 2].tolist() == pytest.approx([106 / 300, 107 / 300])
    assert bool(torch.isnan(trial.pose2d_px[0, 0, 4]).all())
    assert bool(torch.isnan(trial.pose2d_px[:, 2]).all())
    assert float(trial.confidence[:, 2].sum()) == 0
    camera = trial.cameras[0]
    assert camera.image_size_px == (1088, 1920)
    assert camera.intrinsics_px.model == "opencv"
    assert camera.intrinsics_px.distortion.tolist() == [-0.1, 0.02, 0.0, 0.001, 0.002]
    # A quarter turn about x takes world z (up) to camera -y (up).
    up = camera.T_cam_world[:3, :3] @ torch.tensor([0.0, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(up, torch.tensor([0.0, -1, 0], dtype=torch.float64))
    assert trial.markers.names == ("right_hip", "left_big_toe")
    assert trial.markers.points_world[0, 0].tolist() == [3.0, 1.0, 2.0]
    assert bool(torch.isnan(trial.markers.points_world[:, 1]).all())


def test_damage_is_named(tmp_path):
    session = _session(tmp_path / "whole") if (tmp_path / "whole").mkdir() is None else tmp_path
    trial = Path(TRIAL)
    frame = trial / "pose-associated" / "cam02_json" / "cam02.0001.json"
    calibration, trc = Path("S00_Calibration/Calib_demo.toml"), trial / "pose-3d" / "demo.trc"
    short = json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 54}]})

    def cut(text: str) -> str:
        return text[: int(0.6 * len(text))]

    cases = (
        (frame, cut, "cam02.0001.json: expected OpenPose's JSON"),
        (frame, lambda _: short, r"expected 25 joints of BODY_25B \(75 numbers\), got 54"),
        (frame, None, "expected equal frame counts, got cam01_json 3, cam02_json 2"),
        (frame.parent, None, "detections of camera 'cam_02': expected a folder"),
        (calibration, None, "calibration: expected one file"),
        (calibration, cut, "Calib_demo.toml"),
        (calibration, lambda t: t.replace("fisheye = false", "fisheye = true"), "pinhole lens"),
        (calibration, lambda t: t.replace("[ 0.0, 1.0, 3.0]", "[ 0.0]"), "translation: expected"),
        (calibration, lambda t: t.replace("rotation", "rotatoin"), "rotation: expected numbers"),
        (trc, lambda t: t[: t.rindex("2000")], "line 8: expected 6 coordinates"),
        (trc, lambda t: t[: t.rindex("2\t0.03")], "expected 2 frames, got 1"),
        (trc, lambda t: t.replace("mm", "ft"), "a TRC header with units"),
        (trc, lambda t: t.replace("3000", "3o00"), "expected a number, got '3o00'"),
        (trc, lambda _: "", "a TRC header"),
        (trc, None, "expected a .trc file, got none"),
        (trial, None, "trial folders with 'pose-associated'"),
    )
    for number, (path, change, message) in enumerate(cases):
        broken = tmp_path / f"broken{number}"
        shutil.copytree(session, broken)
        if change is not None:
            (broken / path).write_text(change((broken / path).read_text()))
        elif (broken / path).is_dir():
            shutil.rmtree(broken / path)
        else:
            (broken / path).unlink()
        with pytest.raises(DataError, match=message):
            p2s.read_pose2sim(broken)
    with pytest.raises(DataError, match=f"did you mean '{TRIAL}'"):
        p2s.read_pose2sim(session, "S00_T02")


def test_the_flat_toml_reader_agrees_with_the_full_one(tmp_path):
    text = (_session(tmp_path) / "S00_Calibration" / "Calib_demo.toml").read_text()
    assert tomltext.parse_flat_toml(text, "x") == tomltext.parse_toml(text, "x")
    for reader in (tomltext.parse_flat_toml, tomltext.parse_toml):
        with pytest.raises(DataError, match="calib"):
            reader("[cam]\nsize = [ 1088.0,", "calib")


def test_the_real_session_agrees_with_its_own_triangulation(data_root):
    trial = p2s.read_pose2sim(data_root / "pose2sim")
    assert trial.pose2d_px.shape == (4, 100, 25, 2)
    assert trial.frame_rate_hz == 60
    points = trial.pose2d_px.reshape(4, -1, 2)
    world = tri.triangulate(points, trial.confidence.reshape(4, -1), trial.views, math.inf)
    world = world.reshape(100, 25, 3)
    index = [p2s.BODY_25B.index(name) for name in trial.markers.names]
    apart = (world[:, index] - trial.markers.points_world).norm(dim=-1)
    # Pose2Sim leaves out the cameras that disagree, so the two differ by centimetres.
    assert float(apart.nanmedian(dim=0).values.max()) < 0.06
    z = trial.markers.points_world[..., 2].nanmedian(dim=0).values
    height = dict(zip(trial.markers.names, z.tolist(), strict=True))
    assert height["left_big_toe"] < 0.2 < 1.5 < height["head_top"]
    residual = (points - tri.reproject(world.reshape(-1, 3), trial.views)).norm(dim=-1)
    residual = residual[torch.isfinite(residual)]
    assert 10 < float(residual.median()) < 15
    assert 25 < float(residual.quantile(0.95)) < 35


def test_the_flat_toml_reader_reads_the_real_calibration(data_root):
    path = data_root / "pose2sim" / "S00_Calibration" / "Calib_qualisys.toml"
    text = path.read_text()
    assert tomltext.parse_flat_toml(text, "x") == tomltext.parse_toml(text, "x")
