"""The synthetic actor: bodies, joint limits, contact with the floor, smoothness, seeds."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from adaptpose.bones import bone_lengths
from adaptpose.datasets import synthetic_figure as fig
from adaptpose.datasets.motion import Motion, check_motion
from adaptpose.datasets.synthetic import MAX_SUBJECTS, PRESETS, SPLITS, synthetic_motions
from adaptpose.datasets.synthetic_body import Body, draw_body
from adaptpose.datasets.synthetic_curves import ease, hump, keyed, spline
from adaptpose.errors import ConfigError
from adaptpose.skeleton import H36M_17

SIDES = ("left", "right")
JUMPS = ("jumping", "long_jump", "jumping_jacks", "running", "skipping")


@pytest.fixture(scope="module")
def studio() -> list[Motion]:
    return synthetic_motions("studio", "train", num_subjects=2)


@pytest.fixture(scope="module")
def field() -> list[Motion]:
    return synthetic_motions("field", "train", num_subjects=2)


@pytest.fixture(params=["studio", "field"])
def motions(request) -> list[Motion]:
    return request.getfixturevalue(request.param)


def _at(motion: Motion, joint: str) -> torch.Tensor:
    return motion.joints_world[:, H36M_17.id(joint)].double()


def _speed(motion: Motion, joint: str) -> torch.Tensor:
    return _at(motion, joint).diff(dim=0).norm(dim=-1) * motion.frame_rate_hz


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def test_bones_keep_one_length_and_sides_are_alike(motions):
    for motion in motions:
        lengths = bone_lengths(motion.joints_world.double(), H36M_17)
        torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths), atol=2e-6, rtol=0)
        mirrored = lengths[:, list(H36M_17.bone_mirror)]
        torch.testing.assert_close(lengths, mirrored, atol=2e-6, rtol=0)


def test_knees_bend_forwards_within_their_range(motions):
    for motion in motions:
        lateral = _at(motion, "left_hip") - _at(motion, "right_hip")
        for side in SIDES:
            thigh = _at(motion, f"{side}_knee") - _at(motion, f"{side}_hip")
            shin = _at(motion, f"{side}_ankle") - _at(motion, f"{side}_knee")
            flexion = torch.rad2deg(torch.acos((_unit(thigh) * _unit(shin)).sum(-1)))
            assert float(flexion.min()) > 2.5
            assert float(flexion.max()) < 150
            # Bending forwards turns the shin backwards about the axis from right to left.
            turn = (torch.linalg.cross(thigh, shin) * lateral).sum(-1)
            assert float(turn.min()) > 0, (motion.name, side)


def test_elbows_bend_forwards_within_their_range(motions):
    for motion in motions:
        spine = _unit(_at(motion, "thorax") - _at(motion, "spine"))
        left = _unit(_at(motion, "left_shoulder") - _at(motion, "right_shoulder"))
        ahead = _unit(torch.linalg.cross(left, spine))
        for side in SIDES:
            upper = _unit(_at(motion, f"{side}_elbow") - _at(motion, f"{side}_shoulder"))
            lower = _unit(_at(motion, f"{side}_wrist") - _at(motion, f"{side}_elbow"))
            cosine = (upper * lower).sum(-1)
            assert math.cos(math.radians(149)) < float(cosine.min())
            assert float(cosine.max()) < math.cos(math.radians(3.5))
            hanging = (upper * -spine).sum(-1) > math.cos(math.radians(35))
            across = lower - cosine[:, None] * upper
            forwards = (_unit(across) * ahead).sum(-1)[hanging]
            assert bool((forwards > -0.6).all()), (motion.name, side)
            assert not forwards.numel() or float(forwards.median()) > 0, (motion.name, side)


def test_nothing_is_below_the_floor_and_feet_come_down_to_it(motions):
    for motion in motions:
        joints = motion.joints_world
        assert float(joints[..., 2].min()) > 0.01, motion.name
        ankles = torch.stack([_at(motion, f"{side}_ankle")[:, 2] for side in SIDES], dim=1)
        flat = float(ankles.min())
        assert 0.03 < flat < 0.1, motion.name
        if motion.action not in JUMPS:
            # On tiptoe at most: never both feet in the air.
            assert float(ankles.min(dim=1).values.max()) < flat + 0.12, motion.name


def test_running_and_jumping_leave_the_ground(field):
    for action in ("running", "skipping", "jumping", "long_jump"):
        for motion in (m for m in field if m.action == action):
            low = torch.stack([_at(motion, f"{side}_ankle")[:, 2] for side in SIDES]).amin(0)
            assert float(low.max()) > float(low.min()) + 0.05, motion.name


@pytest.mark.parametrize("action", ["walking", "walking_circle", "crouch_walk", "running"])
def test_travelling_goes_somewhere_on_planted_feet(studio, field, action):
    takes = [m for m in studio + field if m.action == action]
    assert takes
    for motion in takes:
        assert float(_speed(motion, "hip").mean()) * 6 > 2, motion.name
        extent = _at(motion, "hip").amax(0) - _at(motion, "hip").amin(0)
        assert float(extent.norm()) > 1
        slower = torch.minimum(_speed(motion, "left_ankle"), _speed(motion, "right_ankle"))
        share = 0.2 if action == "running" else 0.8
        assert float(slower.quantile(share)) < 0.12 * float(_speed(motion, "hip").mean())


def test_feet_stay_where_they_stand(studio):
    still = ("waving", "eating", "sitting", "picking_up", "bowing", "sit_down_stand_up")
    for motion in (m for m in studio if m.action in still):
        for side in SIDES:
            assert float(_speed(motion, f"{side}_ankle").max()) < 0.02, motion.name


@pytest.mark.parametrize(
    ("preset", "speed", "acceleration"), [("studio", 5, 45), ("field", 13, 200)]
)
def test_motion_is_smooth(request, preset, speed, acceleration):
    for motion in request.getfixturevalue(preset):
        velocity = motion.joints_world.double().diff(dim=0) * motion.frame_rate_hz
        assert float(velocity.norm(dim=-1).max()) < speed, motion.name
        change = velocity.diff(dim=0).norm(dim=-1) * motion.frame_rate_hz
        assert float(change.max()) < acceleration, motion.name


def test_everybody_moves(motions):
    for motion in motions:
        joints = motion.joints_world
        spread = (joints - joints[:, :1]).std(dim=0).norm(dim=-1)
        assert float(spread.max()) > 0.02, motion.name
        check_motion(motion, "synthetic")


def test_presets_differ_as_corpora_do(studio, field):
    assert not {m.action for m in studio} & {m.action for m in field}
    legs = [
        torch.stack([bone_lengths(m.joints_world[0], H36M_17)[1:3].sum() for m in group])
        for group in (studio, field)
    ]
    assert float(legs[1].std()) > 2 * float(legs[0].std())
    assert float(legs[1].min()) < float(legs[0].min()) - 0.05
    speeds = [
        torch.stack([_speed(m, "left_wrist").mean() for m in group]).mean()
        for group in (studio, field)
    ]
    assert float(speeds[1]) > 1.5 * float(speeds[0])


def test_there_are_enough_actions_and_subjects():
    for preset in PRESETS.values():
        assert len(preset.actions) >= 12
    motions = synthetic_motions("studio", "validation")
    assert len({m.subject for m in motions}) == SPLITS["validation"].num_subjects
    assert len({m.name for m in motions}) == len(motions)
    assert motions[0].joints_world.shape == (301, 17, 3)


def test_same_seed_same_motion_and_takes_do_not_depend_on_others(field):
    again = synthetic_motions("field", "train", num_subjects=1, clips_per_action=2)
    by_name = {m.name: m for m in again}
    first = [m for m in field if m.subject == field[0].subject]
    assert len(first) == len(PRESETS["field"].actions)
    for motion in first:
        assert torch.equal(motion.joints_world, by_name[motion.name].joints_world)
        second = by_name[motion.name.replace("take-1", "take-2")]
        assert not torch.allclose(motion.joints_world, second.joints_world, atol=0.05)


def test_another_seed_gives_other_people_and_motions(studio):
    other = synthetic_motions("studio", "train", seed=1, num_subjects=1)
    for a, b in zip(studio, other, strict=False):
        assert a.name == b.name
        assert not torch.allclose(a.joints_world, b.joints_world, atol=0.05)
        lengths = [bone_lengths(m.joints_world[0], H36M_17) for m in (a, b)]
        assert float((lengths[0] - lengths[1]).abs().max()) > 1e-3


def test_splits_hold_different_people():
    people = {}
    for split in SPLITS:
        motion = synthetic_motions("studio", split, num_subjects=1)[0]
        people[motion.subject] = bone_lengths(motion.joints_world[0].double(), H36M_17)
    lengths = torch.stack(list(people.values()))
    assert lengths.shape[0] == len(SPLITS)
    assert float((torch.cdist(lengths, lengths) + torch.eye(len(SPLITS))).min()) > 1e-3
    numbers = [range(s.first_subject, s.first_subject + MAX_SUBJECTS) for s in SPLITS.values()]
    assert len({n for span in numbers for n in span}) == len(SPLITS) * MAX_SUBJECTS


@pytest.mark.parametrize("preset", ["studio", "field"])
def test_another_frame_rate_samples_the_same_motion(request, preset):
    full = request.getfixturevalue(preset)
    half = synthetic_motions(preset, "train", num_subjects=1, frame_rate_hz=25)
    for a, b in zip(full, half, strict=False):
        assert (a.name, b.frame_rate_hz) == (b.name, 25)
        torch.testing.assert_close(a.joints_world[::2], b.joints_world, atol=1e-5, rtol=0)


def test_facing_is_spread_all_round(studio):
    lateral = torch.stack(
        [(_at(m, "left_hip") - _at(m, "right_hip"))[0, :2] for m in studio if m.action != "walking"]
    )
    quadrant = {(bool(x > 0), bool(y > 0)) for x, y in lateral}
    assert len(quadrant) == 4


@pytest.mark.parametrize("build", ["woman", "man", "child", "athlete"])
def test_segments_are_within_published_ratios(build):
    # Winter 2009, fig. 4.1, in shares of stature; people and builds differ by a few per cent.
    published = {"thigh": 0.245, "shin": 0.246, "upper_arm": 0.186, "forearm": 0.146}
    statures = []
    for seed in range(40):
        body = draw_body(build, torch.Generator().manual_seed(seed))
        statures.append(body.stature)
        for name, ratio in published.items():
            assert getattr(body, name) / body.stature == pytest.approx(ratio, rel=0.1)
        height = body.ankle_height + body.leg + body.lumbar + body.thoracic + body.neck + body.head
        assert 0.88 < height / body.stature < 1.0
        assert body.leg == body.thigh + body.shin
    mean = {"woman": 1.629, "man": 1.756, "child": 1.38, "athlete": 1.93}[build]
    assert sum(statures) / 40 == pytest.approx(mean, abs=0.03)


def _random_figure(frames: int) -> fig.Figure:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1

    hips = torch.tensor([0.3, -0.2, 0.75], dtype=torch.float64)
    return fig.Figure(
        root=hips + 0.1 * draw(frames, 3),
        pelvis=0.5 * draw(frames, 3),
        trunk=0.4 * draw(frames, 3),
        neck=0.5 * draw(frames, 3),
        arms=torch.tensor([0.5, 0.6, 0.0, 1.1]) + 0.9 * draw(frames, 2, 4),
        ankles=torch.tensor([0.3, -0.2, 0.2]) + 0.15 * draw(frames, 2, 3),
        toe_out=0.3 * draw(frames, 2),
    )


def _slow_joints(figure: fig.Figure, body: Body, t: int) -> dict:
    """One frame, joint by joint, with scipy's rotations."""

    def turn(angles):
        return Rotation.from_euler("ZYX", angles.numpy())

    pelvis = turn(figure.pelvis[t])
    lumbar = pelvis * turn(0.45 * figure.trunk[t])
    thoracic = lumbar * turn(0.55 * figure.trunk[t])
    at = {"hip": figure.root[t].numpy()}
    at["spine"] = at["hip"] + lumbar.apply([0, 0, body.lumbar])
    at["thorax"] = at["spine"] + thoracic.apply([0, 0, body.thoracic])
    for k, side in enumerate(SIDES):
        sign = 1 - 2 * k
        flexion, abduction, internal, elbow = figure.arms[t, k].tolist()
        rise = 0.15 * (1 - math.cos(flexion) * math.cos(abduction)) * math.pi / 2
        collar = Rotation.from_euler("X", sign * (rise - math.radians(8)))
        shoulder = at["thorax"] + (thoracic * collar).apply([0, sign * body.shoulder, 0])
        upper = thoracic * Rotation.from_euler(
            "YXZ", [-flexion, sign * abduction, -sign * internal]
        )
        at[f"{side}_shoulder"] = shoulder
        at[f"{side}_elbow"] = shoulder + upper.apply([0, 0, -body.upper_arm])
        lower = upper * Rotation.from_euler("Y", -elbow)
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + lower.apply([0, 0, -body.forearm])
        at[f"{side}_hip"] = at["hip"] + pelvis.apply([0, sign * body.hip, 0])
        at[f"{side}_ankle"] = figure.ankles[t, k].numpy()
    return at


def test_figure_against_slow_loop():
    body = draw_body("man", torch.Generator().manual_seed(1))
    figure = _random_figure(12)
    joints = fig.forward_kinematics(figure, body).numpy()
    for t in range(12):
        for joint, place in _slow_joints(figure, body, t).items():
            # Legs keep a few millimetres off their ends: the clamp of the reach is soft.
            slack = 1e-3 if joint.endswith("ankle") else 1e-9
            assert joints[t, H36M_17.id(joint)] == pytest.approx(place, abs=slack), joint


def test_planted_foot_out_of_reach_lowers_the_pelvis():
    body = draw_body("woman", torch.Generator().manual_seed(2))
    figure = _random_figure(6)
    figure.root[:, 2] = 1.4
    before = fig.forward_kinematics(figure, body)[:, H36M_17.id("left_ankle")]
    assert float((before - figure.ankles[:, 0]).norm(dim=-1).min()) > 0.1
    joints = fig.figure_joints(figure, body)
    for k, side in enumerate(SIDES):
        ankle = joints[:, H36M_17.id(f"{side}_ankle")]
        torch.testing.assert_close(ankle, figure.ankles[:, k], atol=4e-3, rtol=0)


def test_joint_limits_hold_whatever_is_asked():
    figure = _random_figure(8)
    wild = fig.Figure(**{**vars(figure), "arms": figure.arms * 50, "trunk": figure.trunk * 50})
    tame = fig.within_limits(wild)
    for name in ("arms", "trunk"):
        low, high = torch.deg2rad(torch.tensor(fig.LIMITS_DEG[name])).double().unbind(-1)
        value = getattr(tame, name)
        assert bool(((value >= low - 1e-6) & (value <= high + 1e-6)).all())
    calm = fig.within_limits(fig.Figure(**{**vars(figure), "trunk": 0.3 * figure.trunk}))
    torch.testing.assert_close(calm.trunk, 0.3 * figure.trunk, atol=0.01, rtol=0)


def test_curves_pass_their_keys_and_flight_is_a_parabola():
    time = torch.linspace(0, 2, 201, dtype=torch.float64)
    values = torch.tensor([0.0, 2.0, -1.0], dtype=torch.float64)
    curve = keyed(time, [0.0, 1.0, 2.0], values, dwell=0.3)
    torch.testing.assert_close(curve[[0, 100, 200]], values)
    assert float(curve[:30].abs().max()) == 0
    u = torch.tensor([-1.0, 0.0, 0.3, 1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(hump(u, 0.3), u.new_tensor([0, 0, 1, 0, 0]))
    torch.testing.assert_close(ease(u[[0, 1, 3, 4]]), u.new_tensor([0, 0, 1, 1]))
    gravity, speed = 9.81, 2.0
    flight = 2 * speed / gravity
    t = torch.linspace(0, flight, 50, dtype=torch.float64)
    height = spline(t, [0.0, flight], [0.1, 0.1], [speed, -speed])
    torch.testing.assert_close(height, 0.1 + speed * t - gravity * t**2 / 2)


def test_bad_requests_name_the_fix():
    with pytest.raises(
        ConfigError, match="unknown synthetic preset 'studoi'; did you mean 'studio'"
    ):
        synthetic_motions("studoi", "train")
    with pytest.raises(ConfigError, match="unknown synthetic split 'trian'; did you mean 'train'"):
        synthetic_motions("studio", "trian")
    with pytest.raises(ConfigError, match="synthetic frame rate: expected a number of Hz above 0"):
        synthetic_motions("studio", "train", frame_rate_hz=0)
    with pytest.raises(ConfigError, match="synthetic subjects: expected 1 to 99, got 0"):
        synthetic_motions("studio", "train", num_subjects=0)
    with pytest.raises(ConfigError, match="synthetic clips per action: expected at least 1"):
        synthetic_motions("studio", "train", clips_per_action=0)
