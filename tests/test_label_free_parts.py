"""Time reversal, small changes of viewpoint and likelihood of 2D, without labels; and what the
benchmark says about parts of the label-free score."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from linear_lifter import LinearLifter, SymmetricLifter, wavy_clip, wavy_data

from adaptpose.bones import mirror_pose
from adaptpose.camera import pinhole, project
from adaptpose.cli.bench_results import choice_of, part_scores, summary
from adaptpose.cli.bench_runs import learning_curve
from adaptpose.cli.bench_tables import parts_table
from adaptpose.clips import PoseData, TargetData
from adaptpose.epoch_scores import epoch_scores
from adaptpose.errors import SkeletonError
from adaptpose.inference import predict_clip
from adaptpose.label_free import label_free_score
from adaptpose.label_free_parts import (
    AZIMUTH_DEG,
    ELEVATION_DEG,
    filmed,
    lifted_sample,
    reversal_disagreement_mm,
    turns,
    unlikely_2d,
    view_disagreement_mm,
)
from adaptpose.lifter import Lifter
from adaptpose.rundir import create_run, provenance
from adaptpose.skeleton import H36M_16, H36M_17
from adaptpose.viewpoint import body_axes

FOCAL = 2.3
LENS = pinhole(FOCAL)


def _body() -> torch.Tensor:
    """A body in its own axes (forward, left, up; m) whose left and right sides are alike."""
    place = {
        "hip": (0, 0, 0), "hip_side": (0, 0.14, 0), "knee": (0.18, 0.16, -0.45),
        "ankle": (-0.05, 0.17, -0.88), "spine": (0.02, 0, 0.25), "thorax": (0.0, 0, 0.5),
        "head": (0.09, 0, 0.72), "shoulder": (-0.01, 0.18, 0.47), "elbow": (0.03, 0.3, 0.2),
        "wrist": (0.24, 0.25, 0.12),
    }  # fmt: skip
    rows = []
    for joint in H36M_16.joints:
        side, _, bare = joint.partition("_")
        paired = side in ("left", "right")
        name = ("hip_side" if bare == "hip" else bare) if paired else joint
        x, y, z = place[name]
        rows.append((x, -y if side == "right" else y, z))
    return torch.tensor(rows, dtype=torch.float32)


BODY = _body()


def _orientations(count: int, seed: int = 0) -> torch.Tensor:
    """Camera from body, for people who stand and lean, seen from all around."""
    generator = torch.Generator().manual_seed(seed)
    turn, lean, tilt = torch.rand(3, count, generator=generator).unbind(0)
    turn, lean, tilt = 6.28 * turn, 0.6 * lean - 0.3, 0.5 * tilt - 0.25
    zero, one = torch.zeros(count), torch.ones(count)
    about_z = torch.stack([turn.cos(), -turn.sin(), zero, turn.sin(), turn.cos(), zero, zero, zero,
                           one], dim=1).view(-1, 3, 3)  # fmt: skip
    about_y = torch.stack([lean.cos(), zero, lean.sin(), zero, one, zero, -lean.sin(), zero,
                           lean.cos()], dim=1).view(-1, 3, 3)  # fmt: skip
    about_x = torch.stack([one, zero, zero, zero, tilt.cos(), -tilt.sin(), zero, tilt.sin(),
                           tilt.cos()], dim=1).view(-1, 3, 3)  # fmt: skip
    # Body forward is away from the camera's z, left to x, up against y.
    upright = torch.tensor([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    return upright @ about_x @ about_y @ about_z


def _rigid(frames: int = 60, depth: float = 5.0) -> TargetData:
    """A rigid person in every orientation."""
    pose = BODY @ _orientations(frames).mT + torch.tensor([0.3, -0.1, depth])
    clip = replace(wavy_clip(frames), pose3d_cam=pose, pose2d=project(pose, LENS))
    return PoseData("rigid", H36M_16, (clip,)).as_target()


class _Surveyor(Lifter):
    """Finds the orientation of a known rigid body from its projection, by linear resection.

    Exact for any view of that body (direct linear transform with a known lens). What it finds is
    spoiled by `spoil`.
    """

    def __init__(self, spoil=lambda pose: pose):
        super().__init__()
        self.skeleton_in = self.skeleton_out = H36M_16
        self.receptive_field, self.frames_before, self.frames_after = 1, 0, 0
        self.spoil = spoil

    def spec(self) -> dict[str, object]:
        return {}

    def forward(self, pose2d):
        xy, body = pose2d[0].double() / FOCAL, BODY.double()
        point = torch.cat([body, torch.ones(16, 1)], dim=1).expand(len(xy), -1, -1)
        nothing = torch.zeros_like(point)
        rows = [torch.cat([point, nothing, -xy[..., :1] * point], dim=2),
                torch.cat([nothing, point, -xy[..., 1:] * point], dim=2)]  # fmt: skip
        solution = torch.linalg.svd(torch.cat(rows, dim=1))[2][:, -1].view(-1, 3, 4)
        # In front of the camera, and a rotation again: two rows tell the third.
        solution = solution * solution[:, 2:, 3:].sign()
        u, _, vh = torch.linalg.svd(solution[:, :2, :3], full_matrices=False)
        across = u @ vh
        ahead = torch.linalg.cross(across[:, :1], across[:, 1:])
        return self.spoil((body @ torch.cat([across, ahead], dim=1).mT).float())[None]


def _flat(pose):
    return pose * torch.tensor([1.0, 1, 0])


def _mannequin(pose):
    return pose[:1].expand_as(pose)


def test_the_surveyor_is_right():
    target = _rigid()
    found = predict_clip(_Surveyor(), target.clips[0])
    torch.testing.assert_close(found, BODY @ _orientations(60).mT, atol=1e-3, rtol=0)


def test_a_perfect_lifter_is_perfect_in_every_part():
    score = label_free_score(_Surveyor(), _rigid(), FOCAL)
    assert score.total < 1e-2
    assert score.view_disagreement_mm < 0.5
    assert score.reversal_disagreement_mm == 0
    assert score.unlikely_2d < 1e-2


def test_turning_a_person_gives_them_away():
    target = _rigid()
    small = [_part(target, _Surveyor(spoil)) for spoil in (lambda p: p, _flat, _mannequin)]
    size = 1000 * float(BODY.norm(dim=-1).mean())
    assert small[0] < 0.5
    # The same pose turned back by two angles: its lever is about its size.
    assert small[2] > 0.5 * size * math.radians(AZIMUTH_DEG)
    assert small[1] > 0.3 * size * math.radians(AZIMUTH_DEG)


def _part(target: TargetData, lifter: Lifter) -> float:
    return view_disagreement_mm(lifted_sample(lifter, target, LENS))


def test_the_disagreement_of_a_mannequin_by_hand():
    """It shows the same pose in every view: what is left is the turn back."""
    target = _rigid()
    pose = (BODY @ _orientations(60).mT)[0]
    expected = []
    for sign in (1, -1):
        a, e = (math.radians(sign * degrees) for degrees in (AZIMUTH_DEG, ELEVATION_DEG))
        y = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        x = torch.tensor([[1, 0, 0], [0, math.cos(e), -math.sin(e)], [0, math.sin(e), math.cos(e)]])
        back = torch.stack([torch.linalg.inv(x @ y) @ joint for joint in pose])
        expected.append(1000 * float((back - pose).norm(dim=-1).mean()))
    found = _part(target, _Surveyor(lambda p: pose.expand_as(p)))
    assert found == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert found > 40


def test_turns_are_small_rotations_each_way():
    first, second = turns().double()
    for turn in (first, second):
        torch.testing.assert_close(turn @ turn.T, torch.eye(3).double(), atol=1e-6, rtol=0)
        assert torch.linalg.det(turn) == pytest.approx(1, abs=1e-6)
        angle = math.degrees(math.acos((float(turn.trace()) - 1) / 2))
        assert AZIMUTH_DEG < angle < AZIMUTH_DEG + ELEVATION_DEG
    assert float((first[0, 2] + second[0, 2]).abs()) < 1e-6
    assert float((first[1, 2] + second[1, 2]).abs()) < 1e-6


def test_size_changes_no_fraction():
    target = _rigid()

    def spoiled(scale):
        def spoil(pose):
            return scale * (pose * torch.tensor([1.0, 1, 0.6]) + 0.05 * (9 * pose).sin())

        return label_free_score(_Surveyor(spoil), target, FOCAL)

    whole, half = spoiled(1.0), spoiled(0.5)
    assert whole.view_disagreement_mm > 5
    assert half.size_mm == pytest.approx(whole.size_mm / 2, rel=1e-5)
    assert half.view_disagreement_mm == pytest.approx(whole.view_disagreement_mm / 2, rel=1e-3)
    assert half.unlikely_2d == pytest.approx(whole.unlikely_2d, rel=1e-3)
    assert half.total == pytest.approx(whole.total, rel=1e-4)


def test_backwards_by_hand():
    target = wavy_data((12, 9), ("A", "B")).as_target()
    symmetric = lifted_sample(SymmetricLifter(1, 1), target, LENS)
    assert reversal_disagreement_mm(symmetric) < 1e-3
    lifter = LinearLifter(2, 2)
    distances = []
    for clip in target.clips:
        forwards = predict_clip(lifter, clip)
        backwards = predict_clip(lifter, replace(clip, pose2d=clip.pose2d.flip(0)))
        for frame, pose in enumerate(forwards - forwards[:, :1]):
            other = backwards[clip.num_frames - 1 - frame]
            distances.append(1000 * float((pose - other + other[:1]).norm(dim=-1).mean()))
    found = reversal_disagreement_mm(lifted_sample(lifter, target, LENS))
    assert found == pytest.approx(sum(distances) / 21, rel=1e-4)


@pytest.mark.parametrize("sides", [(0, 0), (2, 0), (0, 1)])
def test_nothing_runs_backwards_without_symmetric_context(sides):
    target = wavy_data((9,), ("A",)).as_target()
    assert reversal_disagreement_mm(lifted_sample(LinearLifter(*sides), target, LENS)) == 0


def test_the_same_people_are_likely():
    """A rigid person's frames seen from one another's viewpoints are those frames."""
    assert _unlikely(lambda pose: pose) < 1e-2


def _unlikely(spoil, target: TargetData | None = None) -> float:
    return unlikely_2d(lifted_sample(_Surveyor(spoil), target or _rigid(), LENS))


def test_wrong_depths_are_unlikely():
    def some_flipped(pose):
        sign = torch.where(torch.arange(len(pose)) % 2 == 0, 1.0, -1.0)[:, None]
        return torch.cat([pose[..., :2], pose[..., 2:] * sign[:, None]], dim=-1)

    right, shallow = (
        _unlikely(lambda pose: pose),
        _unlikely(lambda p: p * torch.tensor([1, 1, 0.5])),
    )
    flipped, flat, dummy = _unlikely(some_flipped), _unlikely(_flat), _unlikely(_mannequin)
    assert right < 1e-2
    assert min(flipped, shallow) > 10 * max(right, 1e-2)
    assert min(flat, dummy) > 10 * max(right, 1e-2)


def test_likelihood_by_loops():
    """The same sets of 2D one by one, all pairs measured in a loop."""
    target = _rigid(9)
    bend = 0.1 * torch.randn(9, 16, 3, generator=torch.Generator().manual_seed(5))
    sample = lifted_sample(_Surveyor(lambda pose: pose + bend), target, LENS)
    pose, root = sample.pose, sample.roots()
    axes = body_axes(pose, H36M_16)
    cycle = torch.randperm(9, generator=torch.Generator().manual_seed(0)).tolist()
    real, made = [], []
    for frame, other in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        assert other != frame
        seen = torch.stack([axes[other].T @ (axes[frame] @ joint) for joint in pose[frame]])
        made.append(_shape(FOCAL * (seen + root[other])[:, :2] / (seen + root[other])[:, 2:]))
        real.append(_shape(target.clips[0].pose2d[frame]))
    there = [min(float((a - b).norm()) for b in made) for a in real]
    back = [min(float((a - b).norm()) for a in real) for b in made]
    assert unlikely_2d(sample) == pytest.approx(sum(there) / 9 + sum(back) / 9, rel=1e-3)


def _shape(pose2d: torch.Tensor) -> torch.Tensor:
    centred = pose2d - pose2d[:1]
    return centred / centred.norm()


def test_all_depths_of_the_wrong_sign_show_by_perspective_alone():
    """A depth-reversed world, seen from far away, looks like a world."""

    def reversed_depth(pose):
        return pose * torch.tensor([1, 1, -1])

    near, far = (_rigid(depth=depth) for depth in (5.0, 60.0))
    assert _unlikely(reversed_depth, near) > 0.1
    assert _unlikely(reversed_depth, far) < 0.03
    assert _unlikely(_flat, far) > 0.1
    # Views turned the other way are views too: this part is blind to it.
    assert _part(near, _Surveyor(reversed_depth)) < 0.5


def test_damaged_frames_do_not_enter():
    whole = _rigid()
    clip = whole.clips[0]
    valid = torch.ones(60, dtype=torch.bool)
    valid[10:15] = False
    holed, confidence = clip.pose2d.clone(), clip.confidence.clone()
    holed[10:15] = torch.nan
    confidence[20:25] = 0
    damaged = replace(clip, pose2d=holed, valid=valid, confidence=confidence)
    score = label_free_score(_Surveyor(), replace(whole, clips=(damaged,)), FOCAL)
    assert score.num_frames == 55
    assert score.view_disagreement_mm < 0.5
    assert score.unlikely_2d < 1e-2


def test_people_behind_the_camera_and_without_axes_are_finite_or_endless():
    pose = BODY.expand(3, -1, -1)
    for root in ([0.0, 0, -4], [0.0, 0, 0], [0.1, 0, 0.01]):
        assert torch.isfinite(filmed(pose, torch.tensor([root] * 3), LENS)).all()
    assert torch.isfinite(filmed(0 * pose, torch.zeros(3, 3), LENS)).all()

    def needle(pose):
        return torch.arange(16.0)[:, None].expand_as(pose) * torch.tensor([0, 0.05, 0])

    score = label_free_score(_Surveyor(needle), _rigid(), FOCAL)
    assert math.isinf(score.unlikely_2d)
    assert math.isfinite(score.total)
    assert math.isfinite(score.view_disagreement_mm)


def test_a_lifter_that_reads_joints_that_it_does_not_give():
    clip = wavy_clip(6)
    pick = [H36M_16.joints.index(j) if j in H36M_16.joints else 0 for j in H36M_17.joints]
    parts = {"pose2d": clip.pose2d[:, pick], "confidence": clip.confidence[:, pick]}
    target = TargetData("seventeen", H36M_17, (replace(clip.without_labels(), **parts),))
    lifter = _Surveyor()
    lifter.skeleton_in = H36M_17
    lifter.forward = lambda pose2d: torch.ones(1, pose2d.shape[1], 16, 3).cumsum(dim=2)
    with pytest.raises(SkeletonError, match="neck_nose"):
        label_free_score(lifter, target, FOCAL)


def test_many_frames_are_thinned_and_the_number_is_always_the_same():
    clips = tuple(wavy_clip(70, seed).without_labels() for seed in range(40))
    target, lifter = TargetData("many", H36M_16, clips), LinearLifter(1, 1)
    scores = [label_free_score(lifter, target, FOCAL) for _ in range(2)]
    assert scores[0] == scores[1]
    few = lifted_sample(lifter, target, LENS).part(0.5)
    assert len(few.poses) == 20
    for clip, pose in zip(few.seen, few.poses, strict=True):
        torch.testing.assert_close(pose, predict_clip(lifter, clip))


def test_epochs_log_every_part():
    target, lifter = _rigid(), _Surveyor(_flat)
    score, numbers = label_free_score(lifter, target), epoch_scores(lifter, target, None)
    assert numbers["label_free"] == score.total
    assert numbers["label_free_view_mm"] == score.view_disagreement_mm
    assert numbers["label_free_reversal_mm"] == score.reversal_disagreement_mm
    assert numbers["label_free_unlikely_2d"] == score.unlikely_2d
    assert 1000 * numbers["label_free_size_m"] == pytest.approx(score.size_mm)
    assert numbers["focal"] == score.focal
    assert len(numbers) == 10
    fractions = part_scores(numbers)
    assert fractions["flip"] == pytest.approx(score.flip_disagreement_mm / score.size_mm)
    assert set(fractions) == {"rays", "constancy", "symmetry", "flip", "reversal", "view",
                              "unlikely_2d"}  # fmt: skip


def test_parts_of_a_point():
    assert part_scores({"epoch": 1, "label_free": 0.5, "mpjpe": 70.0}) == {}
    old = {"label_free": 0.5, "label_free_rays": 0.1, "label_free_flip_mm": 30.0}
    assert part_scores(old) == {"rays": 0.1, "flip_mm": 30.0}
    assert part_scores({**old, "label_free_size_m": 0.3}) == {"rays": 0.1, "flip": 0.1}
    ended = {"label_free_rays": None, "label_free_flip_mm": None, "label_free_size_m": 0.0}
    assert part_scores(ended) == {"rays": math.inf, "flip": math.inf}


def _result(row: str, seed: int, points: Sequence[tuple[float, float, dict[str, float]]]):
    curve = [
        {"epoch": n + 1, "steps": n, "label_free": score, "mpjpe": error, "pmpjpe": error,
         "nmpjpe": error, **{f"label_free_{name}": value for name, value in parts.items()}}
        for n, (score, error, parts) in enumerate(points)
    ]  # fmt: skip
    scores = {"raw": dict.fromkeys(("mpjpe", "pmpjpe", "nmpjpe"), points[-1][1])}
    return {"task": "W", "input": "gt", "frames": 9, "seed": seed, "row": row, "steps": 1,
            "seconds": 1.0, "scores": scores, "curve": curve}  # fmt: skip


def _views(errors: list[float], sign: int = 1) -> list[tuple[float, float, dict[str, float]]]:
    return [(1.0 + k, e, {"rays": -sign * e, "view_mm": sign * e * (k + 1), "size_m": 1.0 + k})
            for k, e in enumerate(errors)]  # fmt: skip


def test_the_choice_names_the_part_that_orders():
    found = [
        _result("full", 0, _views([90, 70, 80])),
        _result("bn", 0, _views([100, 95])),
        _result("oracle", 0, _views([10, 20, 30], -1)),
        _result("full", 1, _views([60, 50, 55])),
    ]
    choice = choice_of(found, "mpjpe")
    assert choice is not None
    # By size the views have the order of the errors; in mm they have not.
    assert choice["parts"] == {
        "rays": {"spearman": pytest.approx(-1), "checkpoints": 8},
        "view": {"spearman": pytest.approx(1), "checkpoints": 8},
    }
    assert choice["seeds"][0]["parts"]["view"]["checkpoints"] == 5
    text = parts_table([{"task": "W", "input": "gt", "frames": 9, "choice": choice}])
    assert text[0] == ["setting", "total", "rays", "turned"]
    assert text[1][0][2:] == ["-1.00", "1.00"]


def test_rows_from_before_the_parts_still_count():
    old = _result("augment", 0, [(1.0, 60.0, {}), (2.0, 61.0, {})])
    mixed = [old, _result("full", 0, _views([90, 70, 80]))]
    choice = choice_of(mixed, "mpjpe")
    assert choice is not None
    assert choice["seeds"][0]["checkpoints"] == 5
    assert choice["parts"]["view"] == {"spearman": pytest.approx(1), "checkpoints": 3}
    told = summary({"a": old}, {"W": ("mpjpe",)})["W/gt-9"]
    assert told["choice"]["parts"] == {}
    assert parts_table([told]) == (["setting", "total"], [["W, gt 2D, 9 frames", ""]])
    rows = parts_table([{**told, "choice": choice}, {**told, "choice": None}])[1]
    assert [row[2:] for row in rows] == [["-1.00 (3)", "1.00 (3)"]]
    json.dumps(choice)


def test_a_part_without_variety_has_no_order():
    points = [(1.0 + k, 50.0 + k, {"reversal_mm": 0.0}) for k in range(4)]
    choice = choice_of([_result("full", 0, points)], "mpjpe")
    assert choice is not None
    assert choice["parts"]["reversal_mm"] == {"spearman": None, "checkpoints": 4}


def test_learning_curves_keep_the_parts(tmp_path):
    run = create_run(tmp_path / "run", "fit", {}, provenance([], 0, {}, "cpu"))
    monitored = {f"monitor_{name}": 50.0 for name in ("mpjpe", "pmpjpe", "nmpjpe")}
    for epoch, section in itertools.product((1, 2), (1, 2)):
        scores = {"label_free": 1.0 / epoch, "label_free_view_mm": 9.0, **monitored}
        last = scores if section == 2 else {}
        run.log({"stage": "fit", "epoch": epoch, "lifter_steps": 3.0, **last})
    points = learning_curve(run)
    assert [point["steps"] for point in points] == [6, 12]
    assert all(point["label_free_view_mm"] == 9.0 for point in points)
    assert points[1]["label_free"] == 0.5
    assert points[1]["mpjpe"] == 50.0


def test_mirrored_views_of_a_symmetric_body_are_views_of_it():
    """So the surveyor agrees with its mirror image, as `flip_disagreement_mm` asks."""
    clip = _rigid(5).clips[0]
    mirrored = replace(clip, pose2d=mirror_pose(clip.pose2d, H36M_16))
    found = mirror_pose(predict_clip(_Surveyor(), mirrored), H36M_16)
    torch.testing.assert_close(found, predict_clip(_Surveyor(), clip), atol=1e-3, rtol=0)
