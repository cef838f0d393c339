"""`adapt fit --method posenet3d`: from end to end, what it leaves, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from posenet_data import body_model, sparse_regressor
from stick_figure import walking_motion
from test_cli import adapt, fails
from test_predict_command import openpose_people

from adaptpose.clips import PoseData
from adaptpose.datasets.body_store import read_body, write_body
from adaptpose.datasets.files import write_dataset
from adaptpose.datasets.rigs import SURROUND, film
from adaptpose.lifters import load_lifter
from adaptpose.lifters.posenet import PoseNetLifter
from adaptpose.lifters.posenet_mesh import PoseNetMesh
from adaptpose.posenet_geometry import JOINTS
from adaptpose.posenet_run_config import STAGES
from adaptpose.rundir import RunDirectory, open_run
from adaptpose.skeleton import H36M_17
from adaptpose.skinning import BodyModel

TINY = ("--method", "posenet3d", "--threads", "1", "--epochs", "2", "--channels", "16", "--set",
        "posenet.steps_per_epoch=2", "--set", "posenet.batch_size=16", "--set",
        "posenet.score_every=0", "--device", "cpu")  # fmt: skip


def tiny_body() -> BodyModel:
    """A body with all 14 joints and triangles."""
    names = (*(joint for joint in JOINTS if joint != "head"), "spine")
    model = body_model(joints=14)
    faces = torch.arange(60, dtype=torch.int32).view(20, 3)
    fields = {**vars(model), "joint_names": names, "faces": faces, "name": "tiny"}
    return BodyModel(**{**fields, "joint_regressor": sparse_regressor(nonzero=3)})


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> tuple[str, ...]:
    """Options for a target of walks in a file, and a body."""
    folder = tmp_path_factory.mktemp("data")
    clips = tuple(film([walking_motion(60, 1.4, take="t")], SURROUND, seed=0))[:2]
    target = folder / "target.npz"
    write_dataset(PoseData("target", H36M_17, clips, synthetic=True), target)
    write_body(folder / "body.safetensors", tiny_body())
    return ("--target", str(target), "--test", str(target), "--body",
            str(folder / "body.safetensors"))  # fmt: skip


@pytest.fixture(scope="module")
def run(given, tmp_path_factory) -> RunDirectory:
    """A run of all four stages."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = adapt("fit", *given, *TINY, "--out", out, "--json", "--seed", "3")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    assert list(scores) == ["teacher before joint", "student before joint", "teacher", "student",
                            "average", "constant depth"]  # fmt: skip
    assert all(np.isfinite(list(row.values())).all() for row in scores.values())
    assert scores["constant depth"]["flips"] == 0
    return open_run(out)


def test_all_four_stages_from_end_to_end(run):
    assert run.done
    assert (run.kind, run.config["method"]) == ("fit", "posenet3d")
    assert [record["part"] for record in run.records()] == [s for s in STAGES for _ in range(2)]
    network = run.config["posenet"]["network"]
    assert (network["body_joints"], network["shapes"], network["channels"]) == (14, 3, 16)
    assert run.config["posenet"]["seed"] == 3
    lifter, meta = load_lifter(run.path / "lifter.safetensors")
    assert isinstance(lifter, PoseNetLifter)
    assert lifter.output == "average"
    assert meta["body"] == run.config["body"]
    assert (run.path / "scores.json").is_file()


def test_its_lifters_are_evaluated_and_predict(run, tmp_path):
    result = adapt("eval", "--run", run.path, "--metric", "pmpjpe", "--json", "--threads", "1")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["evaluations"]
    assert found["lifter"] == "adapted"
    result = adapt("eval", "--lifter", run.path / "teacher.safetensors", "--dataset",
                   run.config["target"]["name"], "--json", "--threads", "1")  # fmt: skip
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """A folder of OpenPose files of one person."""
    place = tmp_path_factory.mktemp("people") / "walk_json"
    place.mkdir()
    for frame, points in enumerate(openpose_people()):
        person = {"person_id": [-1], "pose_keypoints_2d": points.flatten().tolist()}
        text = json.dumps({"version": 1.3, "people": [person]})
        (place / f"walk_{frame:012d}_keypoints.json").write_text(text)
    return place


@pytest.mark.parametrize("kind", ["obj", "glb"])
def test_predictions_come_with_meshes(run, people, tmp_path, kind):
    result = adapt("predict", people, "--lifter", run.path, "--size", "1080x1920", "--fps", "50",
                   "--export", "npz", "--mesh", kind, "--tta", "none", "--free-bones", "--out",
                   tmp_path / "p", "--json", "--threads", "1")  # fmt: skip
    assert result.exit_code == 0, result.output
    (track,) = json.loads(result.stdout)["tracks"]
    place = tmp_path / "p" / track["mesh"]
    if kind == "glb":
        assert place.read_bytes()[:4] == b"glTF"
        return
    files = sorted(place.iterdir())
    assert len(files) == track["frames"]
    lines = files[3].read_text().splitlines()
    assert [line[0] for line in lines].count("v") == 60
    assert [line[0] for line in lines].count("f") == 20
    vertices = torch.tensor([[float(x) for x in line[2:].split()] for line in lines[1:61]])
    # y up and the person before the camera, which looks along -z.
    distance = -vertices[:, 2].mean()
    assert distance == pytest.approx(track["median_distance_m"], rel=0.3)


def test_meshes_need_a_body(given, people, tmp_path, run):
    shape = ("--size", "1080x1920", "--fps", "50", "--out", tmp_path / "p")
    said = fails("predict", people, "--lifter", run.path / "teacher.safetensors", *shape,
                 "--mesh", "obj")  # fmt: skip
    assert "--mesh: expected a lifter with a body, got one without" in said
    said = fails("predict", people, "--lifter", run.path, *shape, "--mesh", "objs")
    assert "--mesh: unknown choice 'objs'; did you mean 'obj'?" in said


def test_the_mesh_is_the_students_body(run):
    lifter, meta = load_lifter(run.path / "student.safetensors")
    assert isinstance(lifter, PoseNetLifter)
    assert lifter.student is not None
    body, _ = read_body(Path(meta["body"]))
    mesh = PoseNetMesh(lifter, body)
    pose2d = torch.randn(2, 12, 16, 2, generator=torch.Generator().manual_seed(0))
    vertices = mesh(pose2d)
    assert vertices.shape == (2, 4, 60, 3)
    joints = lifter.student.adaptation(vertices)
    places = lifter.skeleton_out.ids(JOINTS)
    torch.testing.assert_close(joints, lifter(pose2d)[:, :, places], atol=1e-5, rtol=1e-4)


def test_the_table(given, tmp_path):
    steps = ("--steps", "teacher", "--preset", "cpu", "--set", "posenet.vertices=5")
    result = adapt("fit", *given, *TINY, *steps, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    for text in ("teacher", "constant depth", "flips (%)", "SYNTHETIC"):
        assert text in result.stdout
    assert "student" not in result.stdout
    assert "preset cpu: " in result.stderr
    assert "weights.pose 0.05 (published 30.0)" in result.stderr


@pytest.mark.parametrize("sja", ["linear", "none"])
def test_a_teacher_of_another_run_and_other_adaptations(given, run, tmp_path, sja):
    result = adapt("fit", *given, *TINY, "--steps", "distill,sja", "--pretrained", run.path,
                   "--sja", sja, "--out", tmp_path / "run", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    assert list(scores) == ["teacher", "student", "average", "constant depth"]
    before = json.loads((run.path / "scores.json").read_text())
    assert scores["teacher"] == before["teacher"]


def test_a_baseline_has_a_student_alone(given, tmp_path):
    result = adapt("fit", *given, *TINY, "--steps", "distill", "--set",
                   "posenet.student=reprojection", "--out", tmp_path / "run", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout)["scores"]) == ["student", "constant depth"]


def test_a_stopped_run_goes_on_to_the_same_weights(given, run, tmp_path, monkeypatch):
    def stop_in_the_third(of: RunDirectory, state: dict[str, Any]) -> None:
        save(of, state)
        if state["epochs_done"] == 5:
            raise KeyboardInterrupt

    save = RunDirectory.save_state
    monkeypatch.setattr(RunDirectory, "save_state", stop_in_the_third)
    out = tmp_path / "run"
    assert adapt("fit", *given, *TINY, "--seed", "3", "--out", out).exit_code == 130
    monkeypatch.undo()
    said = fails("fit", "--resume", out, "--steps", "teacher")
    assert "a run goes on with its own settings, but --steps came" in said
    result = adapt("fit", "--resume", out, "--threads", "1", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    whole, resumed = (path / "lifter.safetensors" for path in (run.path, out))
    assert whole.read_bytes() == resumed.read_bytes()
    assert "the run is complete" in fails("fit", "--resume", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "synthetic-studio"), "--source: means nothing to --method posenet3d"),
        (("--lifter", "mlp", "--oracle", "2"), "--lifter, --oracle: means nothing to"),
        (("--steps", "teacher,sjaa"), "--steps: unknown stage 'sjaa'; did you mean 'sja'?"),
        (("--steps", "sja,distill"), "--steps: expected some of teacher,distill,sja,joint"),
        (("--steps", "teacher,joint"), "expected distill before joint"),
        (("--steps", "distill"), "expected a trained teacher, got none"),
        (("--preset", "gpu"), "--preset: unknown preset 'gpu'"),
        (("--sja", "conves"), "unknown value of adaptation 'conves'; did you mean 'convex'?"),
        (("--set", "posenet.vertice=3"), "did you mean 'posenet.vertices'?"),
        (("--body", "any"), "body model: expected anny, or a file"),
        (("--pretrained", "nothing.safetensors"), "is not there"),
    ],
)  # fmt: skip
def test_what_is_refused(given, tmp_path, arguments, message):
    said = fails("fit", *given, *TINY, *arguments, "--out", tmp_path / "run")
    assert message in said
    assert not (tmp_path / "run").exists()


def test_its_flags_are_refused_elsewhere(given, tmp_path):
    said = fails("fit", *given, "--source", "synthetic-studio")
    assert "--body: means nothing to full, the default method (fix: --method posenet3d)" in said
    said = fails("fit", "--target", "synthetic-field", "--method", "posenet3d+augment")
    assert "expected 'posenet3d' alone, with adapt fit" in said
    said = fails("fit", "--method", "posenet3d")
    assert "--target: expected the name of a dataset, got none" in said
    assert Path(given[1]).is_file()
