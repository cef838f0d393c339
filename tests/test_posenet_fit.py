"""Training of PoseNet3D: every stage, what learns in it, exact resumption, what enters it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from posenet_data import STANDING, bodies, body_model, generator, person, sparse_regressor

from adaptpose import posenet_fit, posenet_sign, posenet_steps
from adaptpose.body_parts import used_vertices
from adaptpose.camera import pinhole
from adaptpose.clips import Clip2D, Clip3D, PoseData, TargetData
from adaptpose.config import check_config, config_from_dict, config_to_dict, override
from adaptpose.errors import ConfigError, DataError, SkeletonError
from adaptpose.joint_adaptation import ConvexAdaptation
from adaptpose.lifters import load_lifter
from adaptpose.lifters.posenet import PoseNetLifter
from adaptpose.metrics import pa_mpjpe_mm
from adaptpose.posenet import Teacher, initialise
from adaptpose.posenet_config import DensityConfig, LossWeights, PoseNetConfig
from adaptpose.posenet_fit import train_posenet
from adaptpose.posenet_geometry import (
    JOINTS,
    POSENET_15,
    draw_views,
    fill_matrix,
    normalise_windows,
    project_points,
    turn_about_root,
    view_rotations,
)
from adaptpose.posenet_run_config import (
    PRESETS,
    STAGES,
    PoseNetRunConfig,
    StageEpochs,
    preset_changes,
    with_body,
)
from adaptpose.posenet_scores import LIMBS, flipped_frames, pose_scores, score_lifters
from adaptpose.posenet_sign import turn_depths_if_flipped
from adaptpose.posenet_state import FittedBody, create_state, fitted_body, learning
from adaptpose.posenet_steps import draw_long_windows, posenet_data, training_step
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16

CPU = torch.device("cpu")
PARTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
BODY = FittedBody(body_model(), sparse_regressor())


def small(**changes: Any) -> PoseNetRunConfig:
    """All stages of two epochs of two steps with tiny networks."""
    config = PoseNetRunConfig(
        epochs=StageEpochs(2, 2, 2, 2),
        steps_per_epoch=2,
        batch_size=12,
        learning_rate=1e-3,
        network=PoseNetConfig(channels=16, body_joints=5, shapes=3),
        score_every=0,
    )
    return replace(config, **changes)


def rotating(clips: int = 3, frames: int = 40, joints=H36M_16) -> TargetData:
    """2D of bodies that turn about the vertical and swing their limbs."""
    standing = torch.tensor([STANDING[joint] for joint in JOINTS])
    found = []
    for number in range(clips):
        time = torch.linspace(0, 1, frames)
        swing = 0.15 * torch.randn(14, 3, generator=generator(number))
        body = standing + torch.sin(6.28 * (time + 0.3 * number))[:, None, None] * swing
        turn = view_rotations(6.28 * time + number, torch.full_like(time, 0.1))
        placed = body @ turn.mT + torch.tensor([0.3, 0.1, 4.0])
        flat = fill_matrix(joints) @ (1.5 * placed[..., :2] / placed[..., 2:])
        seen = torch.ones(frames, joints.num_joints)
        about = ("s", f"turn{number}", "c", 50.0, (1000, 1000))
        found.append(Clip2D(*about, flat, seen, seen[:, 0] > 0))
    return TargetData("rotating", joints, tuple(found), synthetic=True)


def wrap(teacher, student, output) -> PoseNetLifter:
    return PoseNetLifter(teacher, H36M_16, H36M_16, output, student)


def train(path: Path, config: PoseNetRunConfig, **more: Any) -> RunDirectory:
    run = open_run(path) if path.exists() else create_run(path, "fit", {}, {})
    body = more.pop("body", BODY)
    target = more.pop("target", None) or rotating()
    train_posenet(run, target, body, config, CPU, wrap=wrap, **more)
    return run


def weights_of(run: RunDirectory, stem: str = "lifter") -> dict[str, torch.Tensor]:
    return load_lifter(run.path / f"{stem}.safetensors")[0].state_dict()


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(Exception):
    pass


# ---- settings


def test_the_defaults_are_the_published_numbers():
    config = PoseNetRunConfig()
    assert (config.batch_size, config.learning_rate, config.learning_rate_end) == (6000, 1e-4, 1)
    assert set(vars(config.epochs).values()) == {150}
    assert vars(config.weights) == {
        "self_supervision": 2, "consistency": 1, "bones": 2, "adversarial": 1, "pose": 30,
        "shape": 10, "student": 2, "anatomy": 0, "proportions": 0,
    }  # fmt: skip
    assert (config.network.frames, config.network.channels, config.vertices) == (9, 1024, 0)
    assert (config.network.body_joints, config.network.shapes) == (24, 10)
    assert PRESETS["published"] == config


def test_presets_say_what_they_change_and_are_plain_data():
    changes = preset_changes("cpu")
    assert {"batch_size", "network.channels", "weights.pose", "pose_of_root"} <= changes.keys()
    assert changes["weights.pose"][0] == 30
    assert not preset_changes("published")
    for config in PRESETS.values():
        check_config(config)
        assert config_from_dict(PoseNetRunConfig, config_to_dict(config)) == config
    values = {key: own for key, (_, own) in changes.items()}
    assert override(PoseNetRunConfig(), values) == PRESETS["cpu"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("distill", "teacher")}, "expected some of teacher,distill,sja,joint in this"),
        ({"stages": ()}, "posenet.stages: expected some of"),
        ({"stages": ("teacher", "sja")}, "expected distill before sja, got 'teacher,sja'"),
        ({"stages": ("teacher", "joint")}, "expected distill before joint"),
        ({"student": "reprojection"}, "'reprojection' has no teacher, expected the stages distill"),
        ({"epochs": StageEpochs(sja=0)}, "posenet.epochs.sja: expected at least 1, got 0"),
        ({"strides": (3, 2)}, "posenet.strides: expected two rising"),
        ({"batch_size": 1}, "posenet.batch_size: expected at least 2"),
        ({"student_batch_size": 1}, "posenet.student_batch_size: expected 0, or at least 2, got 1"),
        ({"weights": LossWeights(pose=-1.0)}, "posenet.weights.pose: expected at least 0"),
        ({"network": PoseNetConfig(channels=0)}, "posenet.network.channels: expected a number"),
        ({"learning_rate_end": 0.0}, "posenet.learning_rate_end: expected above 0"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_config(small(**changes))


def test_a_body_sets_its_joints_and_bounds_the_shapes():
    assert with_body(small(), 24, 2).network == PoseNetConfig(channels=16, shapes=2)
    assert with_body(small(), 7, 99).network.shapes == 3


def test_the_body_keeps_what_its_joints_use_and_more():
    names = (*(joint for joint in JOINTS if joint != "head"), "spine")
    model = replace(body_model(joints=14), joint_names=names)
    whole = fitted_body(model)
    assert whole.model is model
    assert whole.regressor.shape == (14, 60)
    sparse = replace(model, joint_regressor=sparse_regressor(nonzero=2))
    part = fitted_body(sparse, 5)
    count = len(part.model.template)
    used = used_vertices(fitted_body(sparse).regressor)
    assert len(used) <= count <= len(used) + 5 < 60
    # The same joints of the posed body come out.
    torch.testing.assert_close(
        part.regressor @ part.model.template, fitted_body(sparse).regressor @ sparse.template
    )


# ---- windows


def test_windows_are_those_of_the_target_normalised_together():
    config, target = small(), rotating()
    data = posenet_data(target, config, CPU)
    found = draw_long_windows(data, config, 30, stream(1, "x"))
    frame = data.bank.draw_centres(30, stream(1, "x"))
    flat = torch.cat([clip.pose2d for clip in target.clips])[:, H36M_16.ids(JOINTS)]
    for row in range(30):
        clip = int(frame[row]) // 40
        places = [min(max(int(frame[row]) + k, 40 * clip), 40 * clip + 39) for k in range(-4, 6)]
        expected, _ = normalise_windows(flat[places][None])
        torch.testing.assert_close(found[row], expected[0])


def test_a_clips_windows_can_share_its_scale():
    config, target = small(scale="clip"), rotating()
    data = posenet_data(target, config, CPU)
    assert data.scale is not None
    own, _ = normalise_windows(data.bank.pose2d[40:80][None])
    whole = data.bank.pose2d[40:80] * data.scale[1]
    torch.testing.assert_close(whole - whole.mean(1, keepdim=True),
                               own[0] - own[0].mean(1, keepdim=True))  # fmt: skip


def test_other_joints_are_refused():
    skeleton = dataclasses.replace(
        POSENET_15,
        joints=POSENET_15.joints[:-1],
        chains=tuple(tuple(j for j in c if j != POSENET_15.joints[-1]) for c in POSENET_15.chains),
    )
    with pytest.raises(SkeletonError, match=f"has no {POSENET_15.joints[-1]}"):
        posenet_data(rotating(joints=skeleton), small(), CPU)


# ---- stages


def test_all_stages_run_and_leave_their_lifters(tmp_path):
    run = train(tmp_path / "run", small(score_every=1), monitor=lambda lifter: {"test": 1.0})
    assert run.done
    records = run.records()
    assert [r["part"] for r in records] == [stage for stage in STAGES for _ in range(2)]
    assert [r["epoch"] for r in records] == list(range(1, 9))
    assert all(r["monitor_test"] == 1.0 for r in records)
    assert ["label_free" in r for r in records] == [True] * 2 + [False] * 4 + [True] * 2
    outputs = {"lifter": "average", "teacher": "teacher", "student": "student",
               "teacher_before_joint": "teacher", "student_before_joint": "student"}  # fmt: skip
    for stem, output in outputs.items():
        lifter, meta = load_lifter(run.path / f"{stem}.safetensors")
        assert isinstance(lifter, PoseNetLifter)
        assert (lifter.output, meta["output"], meta["normalisation"]) == (output, output, "screen")
    assert not equal(weights_of(run, "teacher"), weights_of(run, "teacher_before_joint"))
    assert not (run.path / "state.safetensors").exists()


def networks_through(config: PoseNetRunConfig, stage_number: int):
    """Networks before and after one step of a stage."""
    state = create_state(config, BODY, CPU)
    state.stage = stage_number
    state.begin_stage(config)
    data = posenet_data(rotating(), config, CPU)
    copies = {n: {k: v.clone() for k, v in net.state_dict().items()}
              for n, net in state.networks.items()}  # fmt: skip
    training_step(state, data, config, config.stages[stage_number], stream(0, "step"))
    return copies, {n: net.state_dict() for n, net in state.networks.items()}, state


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("teacher", {"teacher": {"backbone", "head"}, "discriminator": {"backbone", "out"}}),
        ("distill", {"student": {"head"}}),
        ("sja", {"student": {"head", "adaptation"}}),
        ("joint", {"teacher": {"backbone", "head"}, "discriminator": {"backbone", "out"},
                   "student": {"head", "adaptation"}}),
    ],
)  # fmt: skip
def test_what_learns_in_a_stage(stage, expected):
    before, after, _ = networks_through(small(), STAGES.index(stage))
    for name in before:
        assert changed(before[name], after[name]) == expected.get(name, set()), name


def test_baselines_without_a_teacher_teach_the_backbone(tmp_path):
    config = small(student="reprojection", stages=("distill", "sja"))
    before, after, _ = networks_through(config, 0)
    assert changed(before["teacher"], after["teacher"]) == {"backbone"}
    assert changed(before["student"], after["student"]) == {"head"}
    run = train(tmp_path / "run", config)
    names = {path.stem for path in run.path.glob("*.safetensors")}
    assert names == {"lifter", "student"}
    lifter, _ = load_lifter(run.path / "lifter.safetensors")
    assert isinstance(lifter, PoseNetLifter)
    assert lifter.output == "student"


@pytest.mark.parametrize("rule", ["squares", "softmax"])
def test_the_adapted_regressor_stays_convex(rule):
    config = small(convex_rule=rule, learning_rate=0.1)
    before, _, state = networks_through(config, 2)
    assert state.student is not None
    adaptation = state.student.adaptation
    assert isinstance(adaptation, ConvexAdaptation)
    weights = adaptation.weights()
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(14))
    start = ConvexAdaptation(BODY.regressor, rule).weights()
    assert (weights - start).abs().max() > 1e-3
    assert before["student"]["adaptation.raw"].shape == (14, 60)


def test_without_adaptation_nothing_but_the_head_learns():
    before, after, _ = networks_through(small(adaptation="none"), 2)
    assert changed(before["student"], after["student"]) == {"head"}
    before, after, _ = networks_through(small(adaptation="linear"), 2)
    moved = {k for k in before["student"] if not torch.equal(before["student"][k],
                                                             after["student"][k])}  # fmt: skip
    assert {"adaptation.matrix", "adaptation.shift"} < moved
    assert "adaptation.regressor" not in moved


def test_extras_take_part():
    weights = LossWeights(anatomy=1.0, proportions=1.0)
    config = small(elevation="learned", density_weight=0.1, scale="clip", weights=weights)
    state = create_state(config, BODY, CPU)
    data = posenet_data(rotating(), config, CPU)
    assert state.elevation is not None
    names = learning(state, config, "teacher")
    assert state.elevation in names["lifters"]
    start = state.elevation.out.weight.clone()
    state.density = posenet_fit._fitted_density(
        data, replace(config, density=DensityConfig(steps=2))
    )
    log = training_step(state, data, config, "teacher", stream(0, "step"))
    for name in ("density", "anatomy", "proportions"):
        assert torch.isfinite(log[f"teacher_{name}"])
    assert not torch.equal(start, state.elevation.out.weight)


def test_projections_do_not_enter_the_statistics(monkeypatch):
    config = small(learning_rate=1e-12)
    found = []
    for scale in (1.0, 50.0):
        state = create_state(config, BODY, CPU)
        real = posenet_steps.project_points
        monkeypatch.setattr(posenet_steps, "project_points", lambda *a, s=scale, f=real: s * f(*a))
        data = posenet_data(rotating(), config, CPU)
        training_step(state, data, config, "teacher", stream(0, "step"))
        monkeypatch.undo()
        found.append(state.teacher.state_dict())
    for key in found[0]:
        if "running" in key:
            assert torch.equal(found[0][key], found[1][key]), key


def test_the_discriminator_sees_both_at_one_size():
    config = small()
    data = posenet_data(rotating(), config, CPU)
    state = create_state(config, BODY, CPU)
    seen = []
    state.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    training_step(state, data, config, "teacher", stream(0, "step"))
    assert len(seen) == 3
    head = JOINTS.index("head")
    for windows in seen:
        size = windows[:, :, head].norm(dim=-1).mean(1)
        assert size.max() < 0.1 + 1e-5
        hips = [JOINTS.index(f"{side}_hip") for side in ("left", "right")]
        assert windows[:, :, hips].mean(2).abs().max() < 1e-6


def test_the_discriminator_can_see_single_frames():
    config = small(judge="frame", scale="clip")
    state = create_state(config, BODY, CPU)
    windows = torch.randn(20, 9, 14, 2, generator=generator())
    state.discriminator.eval()
    logits = posenet_steps._logits(state, windows)
    for row in (0, 5, 11, 19):
        frame = windows[row : row + 1, row % 9 : row % 9 + 1]
        assert torch.allclose(logits[row], state.discriminator(frame)[0])
    log = training_step(
        state, posenet_data(rotating(), config, CPU), config, "joint", stream(0, "step")
    )
    assert torch.isfinite(log["student_adversarial"])


@pytest.mark.parametrize(("stage", "windows"), [("distill", 4), ("joint", 12)])
def test_the_student_can_see_fewer_windows(stage, windows):
    config = small(student_batch_size=4)
    check_config(config)
    state = create_state(config, BODY, CPU)
    state.stage = STAGES.index(stage)
    state.begin_stage(config)
    assert state.student is not None
    bodies, teachers = [], []
    state.student.body.register_forward_pre_hook(lambda _, given: bodies.append(len(given[0])))
    state.teacher.backbone.register_forward_pre_hook(lambda _, x: teachers.append(len(x[0])))
    training_step(state, posenet_data(rotating(), config, CPU), config, stage, stream(0, "step"))
    assert bodies == [4 * 9]
    assert teachers[-1] == windows


class Known(torch.nn.Module):
    """A head that knows the depths of windows, or their opposite."""

    def __init__(self, offsets: torch.Tensor) -> None:
        super().__init__()
        self.offsets = offsets
        self.out = torch.nn.Linear(1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.offsets


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("rule", ["perspective", "anatomy"])
def test_reversed_depths_are_noticed_without_labels(sign, rule, monkeypatch):
    config = small(check_sign=rule)
    state = create_state(config, BODY, CPU)
    body = bodies(64, 9, dtype=torch.float32)
    # Limbs of equal length on both sides, seen from all around in perspective.
    body = body[:1].expand(64, -1, -1, -1)
    left, right = ([JOINTS.index(f"{side}_{part}") for part in PARTS] for side in ("left", "right"))
    body = body.clone()
    body[:, :, left] = body[:, :, right] * torch.tensor([-1.0, 1, 1])
    if rule == "anatomy":
        # From far away, so that perspective says nothing.
        body = person(knee_rad=0.4).float()[:1].expand(64, -1, -1, -1) * 0.1
    turned = turn_about_root(body, draw_views(64, config.views, generator(3)))
    flat = project_points(turned)
    monkeypatch.setattr(posenet_sign, "draw_long_windows", lambda *a: torch.cat(
        [flat, flat[:, -1:]], dim=1))  # fmt: skip
    head = Known(sign * (turned[..., 2] - 10))
    state.teacher.add_module("head", head)
    before = head.out.weight.clone()
    state.begin_stage(config)
    found = turn_depths_if_flipped(state, posenet_data(rotating(), config, CPU), config, stream(0))
    assert found["teacher_turned_round"] == (sign < 0)
    expected = before if sign > 0 else -before
    assert torch.equal(head.out.weight, expected)


# ---- runs


def test_the_same_seed_gives_the_same_run(tmp_path):
    runs = [train(tmp_path / name, small(seed=seed)) for name, seed in (("a", 1), ("b", 1),
                                                                        ("c", 2))]  # fmt: skip
    a, b, c = map(weights_of, runs)
    assert equal(a, b)
    assert not equal(a, c)
    assert runs[0].records() == runs[1].records()


EXTRAS = {
    "elevation": "learned",
    "check_sign": "anatomy",
    "judge": "frame",
    "density_weight": 0.1,
    "density": DensityConfig(steps=2),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_is_one_that_never_stopped(tmp_path, stage, monkeypatch):
    config = small(**(EXTRAS if stage == "joint" else {}))
    whole = train(tmp_path / "whole", config)

    def die(stage_now: str, done: int, total: int) -> None:
        # In the second epoch of the stage, before its end.
        if stage_now == stage and done > total // 2:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", config, progress=die)
    resumed = train(tmp_path / "run", config)
    for stem in ("lifter", "teacher", "student", "teacher_before_joint"):
        assert equal(weights_of(whole, stem), weights_of(resumed, stem)), stem
    assert whole.records() == resumed.records()


def test_a_single_frame_can_be_lifted(tmp_path):
    network = PoseNetConfig(widths=(1, 1), channels=16)
    config = small(network=network, stages=("teacher",))
    run = train(tmp_path / "run", config, body=None)
    assert load_lifter(run.path / "lifter.safetensors")[0].receptive_field == 1
    assert run.records()[0]["teacher_consistency"] == 0
    assert not (run.path / "student.safetensors").exists()


def test_a_given_teacher_is_gone_on_from(tmp_path):
    network = small().network
    teacher = Teacher(replace(network, shapes=7))
    initialise(teacher, generator(5))
    run = train(tmp_path / "run", small(stages=("distill",)), start=teacher)
    kept, _ = load_lifter(run.path / "teacher.safetensors")
    assert isinstance(kept, PoseNetLifter)
    assert equal(kept.teacher.state_dict(), teacher.state_dict())
    with pytest.raises(ConfigError, match="expected a trained teacher, got none"):
        train(tmp_path / "a", small(stages=("distill",)))
    other = Teacher(replace(network, channels=8))
    with pytest.raises(ConfigError, match="channels 8 instead of 16"):
        train(tmp_path / "b", small(stages=("distill",)), start=other)
    with pytest.raises(ConfigError, match="expected a body model, got none"):
        train(tmp_path / "c", small(), body=None)


def test_target_data_has_no_3d():
    names = {field.name for kind in (TargetData, Clip2D) for field in dataclasses.fields(kind)}
    assert not {name for name in names if "3d" in name}


def test_nothing_is_saved_of_losses_that_are_not_finite(tmp_path, monkeypatch):
    def spoilt(*arguments: Any) -> dict[str, torch.Tensor]:
        return {"teacher_bones": torch.tensor(torch.nan)}

    monkeypatch.setattr(posenet_fit, "training_step", spoilt)
    with pytest.raises(DataError, match=r"teacher, epoch 1: .*teacher_bones"):
        train(tmp_path / "run", small())
    assert not (tmp_path / "run" / "lifter.safetensors").exists()


def test_losses_fall_on_rotating_bodies(tmp_path):
    network = PoseNetConfig(channels=32, dropout=0.0, body_joints=5, shapes=3)
    config = small(
        epochs=StageEpochs(6, 4, 4, 1), steps_per_epoch=10, batch_size=64, network=network,
        stages=("teacher", "distill", "sja"), learning_rate=3e-3,
        weights=LossWeights(pose=0.01, shape=0.01),
    )  # fmt: skip
    records = train(tmp_path / "run", config).records()
    by = {stage: [r for r in records if r["part"] == stage] for stage in STAGES}
    for name in ("teacher_self_supervision", "teacher_consistency", "teacher_bones"):
        assert by["teacher"][-1][name] < 0.5 * by["teacher"][0][name], name
    assert by["distill"][-1]["student_main"] < 0.9 * by["distill"][0]["student_main"]
    assert by["sja"][-1]["student_main"] < by["distill"][-1]["student_main"]


# ---- scores


def labelled(frames: int = 30) -> PoseData:
    """Two clips of bodies with their 3D, one frame of which is not valid."""
    clips = []
    for number, clip in enumerate(rotating(2, frames).clips):
        pose = torch.randn(1, 16, 3, generator=generator(number)) * 0.4
        pose = pose + 0.05 * torch.randn(frames, 16, 3, generator=generator(9 + number))
        valid = torch.ones(frames, dtype=torch.bool)
        valid[4] = False
        pose[4] = torch.nan
        fields = {**vars(clip), "valid": valid, "pose3d_cam": pose + torch.tensor([0.0, 0, 4])}
        clips.append(Clip3D(**fields, intrinsics=pinhole(1.5), T_cam_world=torch.eye(4)))
    return PoseData("labelled", H36M_16, tuple(clips))


def test_scores_do_not_depend_on_size_place_and_facing_but_on_reflection():
    test = labelled()
    turn = view_rotations(torch.tensor(1.1), torch.tensor(-0.3))
    moved = [2.5 * clip.pose3d_cam @ turn.mT + 1.0 for clip in test.clips]
    exact = pose_scores([torch.nan_to_num(pose) for pose in moved], test)
    assert exact.pmpjpe_mm < 1e-2
    assert exact.mpjve_mm < 1e-2
    assert (exact.pck, exact.flips) == (100, 0)
    mirrored = [torch.nan_to_num(pose) * torch.tensor([1.0, 1, -1]) for pose in moved]
    found = pose_scores(mirrored, test)
    assert found.flips == 100
    assert found.pmpjpe_mm > 100
    # Bones are as long in a mirror.
    assert found.mblstd_mm == pytest.approx(exact.mblstd_mm, rel=1e-4)


def test_flat_poses_are_no_flips():
    test = labelled()
    found = score_lifters({}, test)
    assert list(found) == ["constant depth"]
    assert found["constant depth"].flips == 0
    truth = test.clips[0].pose3d_cam[:4]
    flat = truth * torch.tensor([1.0, 1, 0])
    assert not flipped_frames(flat, truth).any()
    deeper = truth * torch.tensor([1.0, 1, 0.3])
    assert not flipped_frames(deeper, truth).any()
    assert flipped_frames(deeper * torch.tensor([1.0, 1, -1]), truth).all()


def test_scores_are_frame_weighted_means_of_a_slow_reference():
    test = labelled()
    poses = [torch.randn(30, 16, 3, generator=generator(40 + number)) for number in range(2)]
    found = pose_scores(poses, test)
    errors, lengths = [], []
    for pose, clip in zip(poses, test.clips, strict=True):
        for frame in range(30):
            if frame != 4:
                error = pa_mpjpe_mm(pose[frame], clip.pose3d_cam[frame])
                errors.append(float(error))
        kept = [frame for frame in range(30) if frame != 4]
        ratio = [
            torch.stack([(p[:, H36M_16.joints.index(a)] - p[:, H36M_16.joints.index(b)])
                         .norm(dim=-1) for a, b in LIMBS])
            for p in (pose[kept], clip.pose3d_cam[kept])
        ]  # fmt: skip
        scaled = 1000 * ratio[0] * (ratio[1].mean() / ratio[0].mean())
        lengths.append(float(scaled.var(dim=1, correction=0).sqrt().mean()))
    assert found.pmpjpe_mm == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    assert found.mblstd_mm == pytest.approx(sum(lengths) / 2, rel=1e-4)
