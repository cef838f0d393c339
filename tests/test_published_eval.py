"""`adapt eval` from files on disk to figures: every protocol, against a slow reference.

Each published dataset is written in miniature. The reference (`slow_protocols`) starts from the
arrays that went into the files, with camera transforms, projections and joint tables of its own.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import h36m_data
import mpi3dhp_data
import numpy as np
import pw3d_data
import pytest
import ski_data
import torch
from scipy.spatial.transform import Rotation
from slow_protocols import (
    H36M_16,
    H36M_17,
    MPI_TEST,
    REGRESSED,
    RULES,
    SMPL,
    Clip,
    Slow,
    of,
    on_screen,
)
from test_cli import adapt

from adaptpose.config import LifterConfig
from adaptpose.datasets import h36m_files
from adaptpose.lifter import save_lifter
from adaptpose.lifters import build_lifter, load_lifter
from adaptpose.runtime import stream
from adaptpose.skeleton import skeleton_by_name

TOLERANCE = 0.02
"""Millimetres and percent."""
FITTED = ("--channels", "8", "--widths", "3,3", "--pretrain-epochs", "1", "--pretrain-windows",
          "128", "--set", "pretrain.batch_size=64", "--epochs", "1", "--set",
          "rounds.warmup_epochs=0", "--set", "rounds.steps_per_epoch=2", "--set",
          "rounds.batch_size=64", "--set", "rounds.refine.steps=3",
          "--threads", "1", "--device", "cpu")  # fmt: skip
"""The smallest of budgets."""

Clips = dict[str, list[Clip]]
"""Protocol -> what it scores."""


@dataclass(frozen=True)
class Disk:
    """A dataset on disk below a root, and what was written there by protocol."""

    root: Path
    name: str
    clips: Clips


# Lifters


def make_lifter(path: Path, joints: int, clips: list[Clip], normalisation: str) -> Path:
    """A file of a lifter of random weights that sways about a pose of the first clip.

    Its root moves; neighbours in its windows are 2 frames of 50 Hz apart.
    """
    skeleton = skeleton_by_name(f"h36m{joints}")
    config = LifterConfig(widths=(3, 3), channels=8, predict_root=True)
    lifter = build_lifter(config, skeleton, skeleton, stream(joints, "lifter"))
    truth = of(clips[0].truth_mm[0], clips[0].labelled, ("hip",))
    pose = np.stack([truth[joint] for joint in {16: H36M_16, 17: H36M_17}[joints]]) / 1000
    with torch.no_grad():
        numbers = dict(lifter.named_parameters())
        numbers["shrink.weight"].mul_(0.2)
        numbers["shrink.bias"].mul_(0.1).add_(torch.from_numpy(pose).float().flatten())
    lifter.context_stride = 2
    save_lifter(path, lifter, {"normalisation": normalisation})
    return path


@pytest.fixture(scope="module")
def lifters(tmp_path_factory, h36m, mpi, pw3d, ski) -> dict[tuple[str, int], Path]:
    """Lifter files by dataset and number of joints."""
    folder = tmp_path_factory.mktemp("lifters")
    return {
        (disk.name, joints): make_lifter(
            folder / f"{disk.name}{joints}.safetensors",
            joints,
            disk.clips[protocol],
            "root_frobenius" if disk.name == "ski" else "screen",
        )
        for disk, protocol in (
            (h36m, "protocol1"),
            (mpi, "official"),
            (pw3d, "smpl14"),
            (ski, "single-frame"),
        )
        for joints in (16, 17)
    }


def evaluated(*arguments: str | Path) -> dict[str, Any]:
    """What `adapt eval` says as JSON."""
    result = adapt("eval", *arguments, "--device", "cpu", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def check_scores(found: dict[str, Any], disk: Disk, names: tuple[str, ...], slow: Slow) -> None:
    """Every figure of every protocol is that of the reference, and says something."""
    scores = found["protocols"]
    assert [score["protocol"]["name"] for score in scores] == list(names)
    for score in scores:
        name, metrics = score["protocol"]["name"], tuple(score["protocol"]["metrics"])
        rules = replace(RULES[disk.name][name], metrics=metrics)
        want = slow.scores(rules, disk.clips[name])
        got = {(r["variant"], r["group"], r["metric"]): r for r in score["rows"]}
        assert set(got) == set(want)
        for key, (value, frames) in want.items():
            assert got[key]["value"] == pytest.approx(value, abs=TOLERANCE), (name, key)
            assert got[key]["num_frames"] == frames, (name, key)
        assert score["frames"] == want["published", "overall", metrics[0]][1]
        for metric in metrics:
            figure = got["published", "overall", metric]["value"]
            assert 1 < figure < (99 if metric in ("pck", "auc") else 999), (name, metric)


def check_eval(lifter: Path, disk: Disk, names: tuple[str, ...], *more: str | Path) -> dict:
    """The figures of a lifter file on a dataset, compared; gives the command's answer."""
    arguments = ("--dataset", disk.name, "--lifter", lifter, "--data-root", disk.root, *more)
    found = evaluated(*arguments)
    check_scores(found, disk, names, Slow(load_lifter(lifter)[0], disk.name == "ski"))
    return found


# Human3.6M

CALIBRATION = Path(str(h36m_files.__file__)).with_name("h36m_cameras.json")


def h36m_camera(subject: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The published constants of a camera: lens, and place for a subject."""
    constants = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    name = ("54138969", "55011271", "58860488", "60457274")[number]
    return constants["cameras"][name], constants["subjects"][subject][name]


def to_h36m_camera(world_m: np.ndarray, subject: str, number: int) -> np.ndarray:
    """Camera coordinates in metres; the quaternion (w, x, y, z) turns camera to world."""
    _, place = h36m_camera(subject, number)
    w, x, y, z = place["rotation"]
    turn = Rotation.from_quat([x, y, z, w]).inv()
    moved = world_m.astype(np.float64) - np.array(place["position_mm"]) / 1000
    return turn.apply(moved.reshape(-1, 3)).reshape(moved.shape)


def h36m_pixels(camera_m: np.ndarray, subject: str, number: int) -> np.ndarray:
    """Projection with VideoPose3D's distortion."""
    lens, _ = h36m_camera(subject, number)
    k1, k2, k3, *p = lens["distortion"]
    xy = camera_m[..., :2] / camera_m[..., 2:]
    r2 = (xy * xy).sum(axis=-1, keepdims=True)
    bent = xy * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + (xy * np.array(p)).sum(-1, keepdims=True))
    return (bent + np.array(p) * r2) * np.array(lens["focal_px"]) + np.array(lens["centre_px"])


def h36m_clips(poses: dict, points: dict | None, subjects: tuple[str, ...]) -> list[Clip]:
    """Clips of some people; projected 2D without a file of points."""
    clips = []
    for subject in subjects:
        for take, whole in poses[subject].items():
            if (subject, take) == ("S11", "Directions"):
                continue
            for number in range(4):
                camera = to_h36m_camera(whole[:, h36m_data.KEPT], subject, number)
                if points is None:
                    pixels = h36m_pixels(camera, subject, number)
                else:
                    pixels = points[subject][take][number][: len(camera)].astype(np.float64)
                size = h36m_camera(subject, number)[0]["image_size_px"]
                every = np.ones(len(camera), dtype=bool)
                clips.append(
                    Clip(on_screen(pixels, *size), H36M_17, 1000 * camera, H36M_17, every,
                         take.split(" ")[0].replace("TakingPhoto", "Photo"), 50.0)
                )  # fmt: skip
    return clips


@pytest.fixture(scope="module")
def h36m_arrays() -> tuple[dict, dict]:
    """Poses and keypoints with what is there in the real files: a damaged take, other names."""
    poses, points = h36m_data.positions_3d(frames=9), h36m_data.positions_2d(frames=12)
    for content in (poses, points):
        content["S11"]["Directions"] = content["S11"]["Walking"]
        content["S9"]["TakingPhoto"] = content["S9"].pop("Photo")
        for subject in ("S1", "S5", "S6", "S7", "S8"):
            del content[subject]["Walking"], content[subject]["Photo"]
    # A detector that found nobody for two frames.
    points["S9"]["Walking"][1][4:6] = np.nan
    return poses, points


@pytest.fixture(scope="module")
def h36m(tmp_path_factory, h36m_arrays) -> Disk:
    root, (poses, points) = tmp_path_factory.mktemp("h36m"), h36m_arrays
    (root / "h36m").mkdir()
    h36m_data.write_poses(root / "h36m", poses)
    h36m_data.write_keypoints(root / "h36m", "gt", points, h36m_data.metadata())
    test = h36m_clips(poses, points, ("S9", "S11"))
    rest = h36m_clips(poses, points, ("S5", "S6", "S7", "S8"))
    return Disk(root, "h36m", {"protocol1": test, "protocol1-16": test, "s1-s5678": rest})


@pytest.mark.parametrize("joints", [17, 16])
def test_h36m(h36m, lifters, joints):
    names = ("protocol1", "protocol1-16", "s1-s5678")
    found = check_eval(lifters["h36m", joints], h36m, names)
    assert found["not_scored"] == {}
    complete = [score["complete"] for score in found["protocols"]]
    assert complete == [joints == 17, True, True]
    assert [score["frames"] for score in found["protocols"]] == [216, 216, 144]


def test_h36m_without_keypoints_projects_the_labels(h36m, lifters, h36m_arrays, tmp_path):
    (tmp_path / "h36m").mkdir()
    h36m_data.write_poses(tmp_path / "h36m", h36m_arrays[0])
    clips = h36m_clips(h36m_arrays[0], None, ("S9", "S11"))
    disk = Disk(tmp_path, "h36m", {"protocol1": clips})
    check_eval(lifters["h36m", 17], disk, ("protocol1",), "--protocol", "protocol1")


# MPI-INF-3DHP

LENGTHS = {"TS1": 40, "TS2": 30, "TS3": 125, "TS4": 120, "TS5": 25, "TS6": 20}


def mpi_clips(tests: dict[str, Any]) -> Clips:
    """What each protocol scores of test sequences in pixels and millimetres."""
    clips: Clips = {name: [] for name in RULES["3dhp"]}
    for name, made in tests.items():
        size = (2048, 2048) if name in ("TS1", "TS2", "TS3", "TS4") else (1920, 1080)
        seen = on_screen(made.view.annot2, *size)
        one = Clip(seen, MPI_TEST, made.view.univ_annot3, MPI_TEST, made.valid, name, 25.0)
        clips["official"].append(one)
        clips["poseaug"].append(one)
        clips["official-annot3"].append(replace(one, truth_mm=made.view.annot3))
        first = 100 if name in ("TS3", "TS4") else 0
        every = np.ones(len(seen) - first, dtype=bool)
        clips["adaptpose"].append(
            replace(one, points=seen[first:], truth_mm=one.truth_mm[first:], scored=every)
        )
    return clips


@pytest.fixture(scope="module")
def mpi(tmp_path_factory) -> Disk:
    """The test set as it is downloaded."""
    root = tmp_path_factory.mktemp("mpi")
    tests = {name: mpi3dhp_data.make_test(name, frames) for name, frames in LENGTHS.items()}
    for name, made in tests.items():
        path = root / "3dhp" / "mpi_inf_3dhp_test_set" / name / "annot_data.mat"
        mpi3dhp_data.write_v73(path, mpi3dhp_data.test_arrays(made))
    return Disk(root, "3dhp", mpi_clips(tests))


def test_3dhp_as_downloaded(mpi, lifters):
    found = check_eval(lifters["3dhp", 17], mpi, ("official", "official-annot3"))
    assert set(found["not_scored"]) == {"poseaug", "adaptpose"}
    assert all(score["complete"] for score in found["protocols"])
    named = ("poseaug", "adaptpose")
    found = check_eval(lifters["3dhp", 16], mpi, named, "--protocol", ",".join(named))
    assert all(score["complete"] for score in found["protocols"])
    groups = {row["group"] for row in found["protocols"][1]["rows"]}
    assert groups == {"overall", *LENGTHS, "green screen", "no green screen", "outdoor"}


def test_3dhp_in_archives(lifters, tmp_path):
    """AdaptPose's with more frames than a batch has, which ends within a sequence; PoseAug's."""
    lengths = {"TS1": 500, "TS2": 400, "TS3": 130, "TS4": 190, "TS5": 25, "TS6": 20}
    tests = {name: _looped(mpi3dhp_data.make_test(name, 60), n) for name, n in lengths.items()}
    mpi3dhp_data.write_adaptpose(tmp_path / "3dhp", {}, tests)
    mpi3dhp_data.write_poseaug(tmp_path / "3dhp", tests)
    clips = mpi_clips(tests)
    clips["poseaug"] = [replace(clip, group="all") for clip in clips["poseaug"]]
    names = ("poseaug", "adaptpose")
    disk = Disk(tmp_path, "3dhp", clips)
    found = check_eval(lifters["3dhp", 16], disk, names, "--metric", "mpjpe")
    assert set(found["not_scored"]) == {"official", "official-annot3"}
    assert found["protocols"][1]["frames"] == 1065
    assert found["protocols"][1]["complete"]


def _looped(made: Any, frames: int) -> Any:
    """A test sequence that goes to and fro, long but in view."""
    length = len(made.valid)
    index = np.abs((np.arange(frames) + length) % (2 * length) - length) % length
    view = type(made.view)(*(getattr(made.view, key)[index] for key in vars(made.view)))
    return type(made)(view, np.arange(frames) % 5 == 2)


def test_3dhp_in_the_archive_of_p_stmo(mpi, lifters, tmp_path):
    tests = {name: mpi3dhp_data.make_test(name, frames) for name, frames in LENGTHS.items()}
    mpi3dhp_data.write_pstmo(tmp_path / "3dhp", {}, tests)
    disk = replace(mpi, root=tmp_path)
    found = check_eval(lifters["3dhp", 17], disk, ("official",))
    assert "univ_annot3, it seems" in found["not_scored"]["official-annot3"]


# 3DPW


def _pw3d_clips(sequence: dict[str, Any], person: int, body: dict | None) -> dict[str, Clip]:
    """What each protocol scores of a person; regressed joints if there is a body."""
    cameras, lens = sequence["cam_poses"], sequence["cam_intrinsics"]
    smpl = np.array([
        [pose[:3, :3] @ joint + pose[:3, 3] for joint in joints.reshape(24, 3)]
        for pose, joints in zip(cameras, sequence["jointPositions"][person], strict=True)
    ])  # fmt: skip
    names, joints = H36M_16, _approximated(smpl)
    if body is not None:
        names, joints = REGRESSED, _regressed(sequence, person, body)
    image = joints @ lens.T
    size = 2 * lens[0, 2], 2 * lens[1, 2]
    every = on_screen(image[..., :2] / image[..., 2:], *size)
    aligned = sequence["campose_valid"][person] != 0
    seen = np.where(aligned[:, None, None], every, np.nan)
    found = sequence["poses2d"][person][:, 2] > 0
    name = sequence["sequence"]

    def clip(points: np.ndarray, scored: np.ndarray, group: str = name) -> Clip:
        return Clip(points, names, 1000 * joints, names, scored, group, 30.0)

    challenge = clip(seen, aligned & found.any(axis=1))
    clips = {
        "smpl14": clip(seen, aligned),
        "challenge24": replace(challenge, truth_mm=1000 * smpl, labelled=SMPL),
        "adaptpose": clip(every, np.ones(len(smpl), dtype=bool)),
        "sim2real": clip(seen, found.sum(axis=1) >= 7, f"{name}_{person}"),
    }
    return clips if body is not None else {k: v for k, v in clips.items() if k != "smpl14"}


def _approximated(smpl: np.ndarray) -> np.ndarray:
    """The 16 joints from SMPL's 24."""
    order = (2, 5, 8, 1, 4, 7), (16, 18, 20, 17, 19, 21)
    hip, neck = (smpl[:, 1] + smpl[:, 2]) / 2, smpl[:, 12]
    limbs = [[smpl[:, k] for k in part] for part in order]
    spine, head = 0.7 * hip + 0.3 * neck, 2 * smpl[:, 15] - neck
    return np.stack([hip, *limbs[0], spine, neck, head, *limbs[1]], axis=1)


def _regressed(sequence: dict[str, Any], person: int, body: dict) -> np.ndarray:
    """The 17 joints of the regressor from slowly skinned vertices, in camera axes."""
    rows = []
    for frame, pose in enumerate(sequence["cam_poses"]):
        posed = (sequence[key][person][frame] for key in ("poses", "trans"))
        vertices, _ = pw3d_data.slow_skin(body, sequence["betas"][person], *posed)
        joints = pw3d_data.h36m_regressor() @ vertices
        rows.append(joints @ pose[:3, :3].T + pose[:3, 3])
    return np.array(rows)


def _by_protocol(people: list[dict[str, Clip]]) -> Clips:
    return {name: [person[name] for person in people] for name in people[0]}


@pytest.fixture(scope="module")
def pw3d_sequences() -> list[dict[str, Any]]:
    """Two people in portrait, one in landscape; cameras and detections are missing in places."""
    one = pw3d_data.sequence("courtyard_one_00", 22, seed=1)
    one["campose_valid"][1][8:12] = 0
    one["poses2d"][0][3] = 0
    one["poses2d"][0][7:9, :, 6:] = 0
    two = pw3d_data.sequence("downtown_two_01", 17, ("f",), portrait=False, seed=2)
    two["campose_valid"][0][:2] = 0
    two["poses2d"][0][15, 2, 7:] = 0
    return [one, two]


@pytest.fixture(scope="module")
def pw3d(tmp_path_factory, pw3d_sequences) -> Disk:
    """Sequences, and bodies in the folder "smpl"."""
    root = tmp_path_factory.mktemp("pw3d")
    bodies = pw3d_data.write_body_models(root / "smpl")
    people = []
    for sequence in pw3d_sequences:
        pw3d_data.write_sequence(root / "3dpw", sequence)
        for person, gender in enumerate(sequence["genders"]):
            people.append(_pw3d_clips(sequence, person, bodies[gender]))
    return Disk(root, "3dpw", _by_protocol(people))


@pytest.mark.parametrize("joints", [17, 16])
def test_3dpw_with_bodies(pw3d, lifters, joints):
    names = ("smpl14", "challenge24", "adaptpose", "sim2real")
    found = check_eval(lifters["3dpw", joints], pw3d, names, "--body-model", pw3d.root / "smpl")
    assert [score["complete"] for score in found["protocols"]] == [True, False, True, True]
    assert [score["frames"] for score in found["protocols"]] == [55, 54, 61, 58]


@pytest.fixture(scope="module")
def pw3d_approximated(pw3d, pw3d_sequences) -> Disk:
    """The same, as it is seen without bodies."""
    people = [
        _pw3d_clips(sequence, person, None)
        for sequence in pw3d_sequences
        for person in range(len(sequence["genders"]))
    ]
    return replace(pw3d, clips=_by_protocol(people))


def test_3dpw_without_bodies(pw3d_approximated, lifters):
    disk = pw3d_approximated
    found = check_eval(lifters["3dpw", 16], disk, ("challenge24", "adaptpose", "sim2real"))
    assert "--body-model" in found["not_scored"]["smpl14"]


# Ski-PosePTZ-Camera


def ski_clips(arrays: dict[str, np.ndarray]) -> Clips:
    """The images of the test split, each as it is in the file."""
    clips = []
    for seq, cam in sorted(set(zip(arrays["seq"], arrays["cam"], strict=True))):
        rows = (arrays["seq"] == seq) & (arrays["cam"] == cam)
        points, truth = (arrays[key][rows].astype(np.float64) for key in ("2D", "3D"))
        every, group = np.ones(rows.sum(), dtype=bool), f"seq_{seq:03d}"
        seen = on_screen(256 * points.reshape(-1, 17, 2), 256, 256)
        poses = 1000 * truth.reshape(-1, 17, 3)
        clips.append(Clip(seen, H36M_17, poses, H36M_17, every, group, 30.0))
    return {"single-frame": clips}


@pytest.fixture(scope="module")
def ski(tmp_path_factory) -> Disk:
    root, arrays = tmp_path_factory.mktemp("ski"), ski_data.ski_arrays()
    ski_data.write_ski(root / "ski", arrays)
    return Disk(root, "ski", ski_clips(arrays))


@pytest.mark.parametrize("joints", [17, 16])
def test_ski(ski, lifters, joints):
    found = check_eval(lifters["ski", joints], ski, ("single-frame",))
    assert found["protocols"][0]["frames"] == 180
    assert found["protocols"][0]["normalisation"] == "root_frobenius"


def test_windows_side_by_side_are_lifted_as_one_by_one(h36m, lifters):
    clip = h36m.clips["protocol1"][0]
    slow = Slow(load_lifter(lifters["h36m", 17])[0])
    windows = np.stack([slow.window(clip, frame, False) for frame in range(len(clip.points))])
    alone = np.concatenate([slow.lift_windows(window[None]) for window in windows])
    np.testing.assert_allclose(slow.lift_windows(windows), alone, atol=1e-3)
    assert np.abs(np.diff(windows, axis=1)).max() > 0.01


# Adaptation


def fit_and_score(root: Path, source: str, target: str, *more: str) -> dict[str, Any]:
    """What `adapt eval --metric pmpjpe` says after `adapt fit` of the smallest budget."""
    result = adapt("fit", "--source", source, "--target", target, "--data-root", root,
                   *FITTED, *more)  # fmt: skip
    assert result.exit_code == 0, result.output
    return evaluated("--metric", "pmpjpe")


def check_fit(found: dict[str, Any], disk: Disk, names: tuple[str, ...]) -> None:
    """Both lifters of a run have the figures of the reference, and are not the same."""
    figures = []
    for label, stem in (("source-only", "source_lifter"), ("adapted", "lifter")):
        scores = [score for score in found["protocols"] if score["lifter"] == label]
        lifter, _ = load_lifter(Path(found["run"]) / f"{stem}.safetensors")
        check_scores({"protocols": scores}, disk, names, Slow(lifter, disk.name == "ski"))
        figures.append(scores[0]["rows"][0]["value"])
    assert figures[0] != figures[1]


@pytest.fixture(scope="module")
def card(tmp_path_factory, h36m, mpi, pw3d, pw3d_sequences, ski) -> Path:
    """All four datasets below one root; what 3DHP and Ski have for training is 2D alone."""
    root = tmp_path_factory.mktemp("card")
    for disk in (h36m, mpi, pw3d, ski):
        shutil.copytree(disk.root / disk.name, root / disk.name)
    for sequence in pw3d_sequences:
        pw3d_data.write_sequence(root / "3dpw", sequence, "train")
    one = mpi3dhp_data.make_sequence(8)
    training = {(f"S{number}", "Seq1"): one for number in range(1, 8)}
    mpi3dhp_data.write_adaptpose(root / "3dhp", training, {})
    (root / "3dhp" / "data_3dhp_gt_test.npz").unlink()
    with h5py.File(root / "ski" / "train" / "labels.h5", "a") as file:
        for key in ("3D", "R_cam_2_world", "cam_position"):
            del file[key]
    return root


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The folder in which the commands run; they find each other's runs below it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_h36m_to_3dpw(card, pw3d_approximated, here):
    found = fit_and_score(card, "h36m", "3dpw")
    assert Path(found["run"]).resolve().parent == here / "runs"
    assert set(found["not_scored"]) == {"smpl14"}
    check_fit(found, pw3d_approximated, tuple(pw3d_approximated.clips))


def test_h36m_to_3dhp(card, mpi, here):
    check_fit(fit_and_score(card, "h36m", "3dhp"), mpi, tuple(RULES["3dhp"]))


def test_h36m_to_ski(card, ski, here):
    check_fit(fit_and_score(card, "h36m", "ski"), ski, ("single-frame",))


def test_3dhp_to_h36m(h36m, h36m_arrays, here):
    """Of Human3.6M there is no 3D but that of the people to test on."""
    shutil.copytree(h36m.root / "h36m", here / "h36m")
    tested = {subject: h36m_arrays[0][subject] for subject in ("S9", "S11")}
    h36m_data.write_poses(here / "h36m", tested)
    one = mpi3dhp_data.make_sequence(12)
    for number in range(1, 8):
        for part in ("Seq1", "Seq2"):
            mpi3dhp_data.write_sequence(here / "3dhp" / f"S{number}" / part, one)
    found = fit_and_score(here, "3dhp", "h36m", "--source-cameras", "0,5")
    assert set(found["not_scored"]) == {"s1-s5678"}
    check_fit(found, h36m, ("protocol1", "protocol1-16"))
