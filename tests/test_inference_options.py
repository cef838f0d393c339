"""Options at inference: against the functions themselves, noisy lifters, records, bad input."""

import json
from dataclasses import replace

import pytest
import torch
from pseudo_scenes import KnowingLifter, walks
from test_cli import adapt, fails
from test_refine import _error_mm, _spoiled
from torch import Tensor

from adaptpose.body_scale import stature_m
from adaptpose.cli.evaluation_tables import (
    LENS_NOTES,
    height_note,
    print_evaluations,
    protocol,
    variant_note,
)
from adaptpose.cli.report_words import protocol_lines
from adaptpose.clips import PoseData
from adaptpose.config import LifterConfig
from adaptpose.datasets.files import write_dataset
from adaptpose.errors import ConfigError, DataError, SkeletonError
from adaptpose.evaluate import EvalOptions, evaluate, evaluate_predictions
from adaptpose.inference import predict_clips
from adaptpose.inference_options import (
    InferenceOptions,
    apply_inference,
    infer_clips,
    placed_poses,
)
from adaptpose.lifted import estimate_lenses
from adaptpose.lifter import save_lifter
from adaptpose.lifters import build_lifter
from adaptpose.on_rays import ray_consistent
from adaptpose.pseudo_config import RefineConfig
from adaptpose.refine import refined
from adaptpose.report_tables import figures, full_table
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16, H36M_17

FUNCTIONS = {"rays": ray_consistent, "refined": refined}
KINDS = tuple(FUNCTIONS)
NECK = H36M_17.id("neck_nose")
QUICK = EvalOptions(("mpjpe", "pmpjpe"), tta="none", bootstrap_samples=0)


def relative(poses: list[Tensor]) -> list[Tensor]:
    return [pose - pose[:, :1] for pose in poses]


def lenses_of(data: PoseData) -> list:
    return [clip.intrinsics for clip in data.clips]


@pytest.fixture(scope="module")
def data() -> PoseData:
    return walks(3, 7)


@pytest.mark.parametrize("rays", KINDS)
@pytest.mark.parametrize("focal", ["given", "estimated"])
def test_equal_to_the_functions_themselves(data, rays, focal):
    poses, targets = _spoiled(data.clips, 0.04), data.as_target().clips
    lenses = lenses_of(data) if focal == "given" else estimate_lenses(poses, targets, H36M_16)
    wanted = FUNCTIONS[rays](poses, targets, lenses, H36M_16)
    options = InferenceOptions(rays=rays, focal=focal)
    known = lenses_of(data) if focal == "given" else None
    absolute = placed_poses(poses, targets, known, H36M_16, options)
    found = apply_inference(poses, targets, known, H36M_16, options)
    again = apply_inference(poses, targets, known, H36M_16, options)
    for one, two, three, want in zip(absolute, found, again, wanted, strict=True):
        assert torch.equal(one, want)
        assert torch.equal(two, want - want[:, :1])
        assert torch.equal(two, three)


@pytest.mark.parametrize("rays", KINDS)
def test_an_estimated_lens_never_is_the_clips_own(data, rays):
    poses = _spoiled(data.clips, 0.04)
    options = InferenceOptions(rays=rays)
    blind = apply_inference(poses, data.as_target().clips, None, H36M_16, options)
    seeing = apply_inference(poses, data.clips, lenses_of(data), H36M_16, options)
    for one, other in zip(blind, seeing, strict=True):
        assert torch.equal(one, other)


def test_none_leaves_poses_as_they_are(data):
    poses = _spoiled(data.clips, 0.04)
    kept = apply_inference(poses, data.clips, None, H36M_16, InferenceOptions())
    assert all(one is other for one, other in zip(kept, poses, strict=True))


@pytest.mark.parametrize("rays", KINDS)
def test_a_perfect_lifter_stays_and_a_noisy_one_improves(data, rays):
    known = replace(QUICK, rays=rays, focal="given")
    perfect = evaluate(KnowingLifter(data), data, known)
    assert perfect.row("mpjpe").value < 1e-3
    assert perfect.row("mpjpe", f"raw + {rays}").value < 5
    poses = _spoiled(data.clips, 0.05)
    spoil = [pose - own for pose, own in zip(poses, relative(_true(data)), strict=True)]
    lifter = KnowingLifter(data, spoil)
    for options, share in ((known, 0.9), (replace(known, focal="estimated"), 0.93)):
        noisy = evaluate(lifter, data, options)
        assert noisy.row("mpjpe", f"raw + {rays}").value < share * noisy.row("mpjpe").value
        assert noisy.row("mpjpe").value == pytest.approx(_error_mm(poses, data.clips), rel=1e-3)


def _true(data: PoseData) -> list[Tensor]:
    return [clip.pose3d_cam for clip in data.clips]


@pytest.mark.parametrize("rays", KINDS)
def test_other_rows_do_not_change_by_a_bit(data, rays):
    lifter = build_lifter(LifterConfig(widths=(3,), channels=16), H36M_16, H36M_16, stream(0, "l"))
    options = EvalOptions(("mpjpe", "pmpjpe", "accel"), bootstrap_samples=20)
    plain = evaluate(lifter, data, options)
    more = evaluate(lifter, data, replace(options, rays=rays))
    name = f"tta + {rays}"
    assert more.variants == (*plain.variants, name)
    assert tuple(row for row in more.rows if row.variant != name) == plain.rows
    for variant in plain.variants:
        assert more.joint_errors_mm[variant] == plain.joint_errors_mm[variant]
    assert evaluate(lifter, data, replace(options, rays=rays)).rows == more.rows
    # The variant is the poses of all passes after the function.
    own = infer_clips(lifter, data.as_target().clips, "screen", InferenceOptions(rays=rays))
    scored = evaluate_predictions(own, data, options)
    assert scored.row("mpjpe").value == more.row("mpjpe", name).value
    given = evaluate_predictions(
        predict_clips(lifter, data.clips, tta="both"), data, replace(options, rays=rays)
    )
    assert given.row("pmpjpe", f"raw + {rays}").value == more.row("pmpjpe", name).value


def test_joints_that_the_lifter_does_not_read_have_no_ray(data):
    class Wider(KnowingLifter):
        def forward(self, pose2d: Tensor) -> Tensor:
            pose = super().forward(pose2d)
            middle = (pose[..., NECK - 1, :] + pose[..., NECK, :])[..., None, :] / 2
            return torch.cat([pose[..., :NECK, :], middle, pose[..., NECK:, :]], dim=-2)

    lifter = Wider(data, [0 * pose for pose in _true(data)])
    lifter.skeleton_out = H36M_17
    options = InferenceOptions(tta="none", rays="rays", focal="given")
    raw = predict_clips(lifter, data.clips)
    found = infer_clips(lifter, data.clips, "screen", options, lenses_of(data))
    for pose, lifted in zip(found, raw, strict=True):
        torch.testing.assert_close(pose, lifted, atol=0.02, rtol=0)


def test_root_centred_lifters_and_centred_data(data):
    centred = replace(data, normalisation="root_frobenius")
    lifter = build_lifter(LifterConfig(widths=(3,), channels=16), H36M_16, H36M_16, stream(0, "l"))
    found = evaluate(lifter, centred, replace(QUICK, rays="rays"))
    assert "raw + rays" in found.variants
    clips = tuple(replace(c, pose2d=c.pose2d - c.pose2d[:, :1]) for c in data.clips)
    with pytest.raises(DataError, match="ray consistency: expected 2D with its place in the image"):
        evaluate(lifter, replace(data, clips=clips), replace(QUICK, rays="rays"))
    assert evaluate(lifter, replace(data, clips=clips), QUICK).variants[0] == "raw"


def test_records_and_reports_take_the_variant(data, capsys):
    lifter = KnowingLifter(data)
    options = replace(QUICK, rays="rays", bootstrap_samples=10)
    evaluation = evaluate(lifter, data, options)
    record = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert (record["options"]["rays"], record["options"]["focal"]) == ("rays", "estimated")
    assert "raw + rays" in {row["variant"] for row in record["rows"]}
    assert "raw + rays,all frames,mpjpe" in evaluation.csv()
    assert "raw + rays" in full_table({"adapted": record})
    assert [f.variant for f in figures({"adapted": record})].count("raw + rays") > 0
    assert any(LENS_NOTES["estimated"] in line for line in protocol_lines(record))
    # Evaluations stored before there was such an option.
    for key in ("rays", "focal"):
        del record["options"][key]
    assert protocol_lines(record) == protocol(evaluation)[:3]
    note = variant_note("raw + rays", evaluation)
    assert note.splitlines()[-1] == LENS_NOTES["estimated"]
    assert LENS_NOTES["estimated"] not in variant_note("raw", evaluation)
    given = evaluate(lifter, data, replace(options, focal="given"))
    assert LENS_NOTES["given"] in variant_note("raw + rays", given)
    print_evaluations(["adapted"], [given])
    assert "true lenses" in capsys.readouterr().out


def _stature(data: PoseData) -> float:
    pose = torch.cat(_true(data))
    return stature_m(pose, torch.ones(pose.shape[:2]), data.skeleton)


def _too_tall(data: PoseData, factor: float = 1.15) -> KnowingLifter:
    """A lifter whose people are all right but for their size."""
    return KnowingLifter(data, [(factor - 1) * pose for pose in relative(_true(data))])


@pytest.mark.parametrize("rays", ["none", *KINDS])
@pytest.mark.parametrize("how", ["metres", "person", "given"])
def test_a_body_of_the_wrong_size_is_mended_by_its_height(data, rays, how):
    stature = _stature(data)
    heights = {"metres": stature, "person": {"S": stature}, "given": "given"}[how]
    options = replace(QUICK, rays=rays, focal="given", height_m=heights)
    found = evaluate(_too_tall(data), data, options)
    wrong = found.row("mpjpe").value
    assert wrong == pytest.approx(0.15 * _mean_reach_mm(data), rel=1e-4)
    assert found.row("mpjpe", "raw + height").value < 0.01
    if rays == "none":
        assert found.variants == ("raw", "scale-aligned", "raw + height")
        return
    assert found.variants[2:] == (f"raw + {rays}", "raw + height", f"raw + height + {rays}")
    assert found.row("mpjpe", f"raw + {rays}").value > 0.8 * wrong
    assert found.row("mpjpe", f"raw + height + {rays}").value < 0.1 * wrong
    plain = evaluate(_too_tall(data), data, replace(options, height_m=None))
    others = [row for row in found.rows if "height" not in row.variant]
    assert tuple(others) == plain.rows


def _mean_reach_mm(data: PoseData) -> float:
    """Mean distance of joints from the root."""
    return 1000 * float(torch.cat(relative(_true(data))).norm(dim=-1).mean())


def test_a_wrong_height_does_its_harm_and_the_pose_without_its_size_none(data):
    options = replace(QUICK, metrics=("mpjpe", "nmpjpe"), height_m=1.2 * _stature(data))
    found = evaluate(KnowingLifter(data), data, options)
    harm = found.row("mpjpe", "raw + height").value
    assert harm == pytest.approx(0.2 * _mean_reach_mm(data), rel=1e-4)
    assert found.row("nmpjpe", "raw + height").value < 0.01


def test_who_has_no_height_keeps_the_lifters_size(data):
    clips = tuple(replace(c, subject=f"S{k}") for k, c in enumerate(data.clips))
    people = replace(data, clips=clips)
    stature = stature_m(clips[1].pose3d_cam, torch.ones(clips[1].pose2d.shape[:2]), H36M_16)
    found = evaluate(_too_tall(people), people, replace(QUICK, height_m={"S1": stature}))
    wrong = [0.15 * _mean_reach_mm(replace(data, clips=(clip,))) for clip in clips]
    frames = [clip.num_frames for clip in clips]
    mean = (wrong[0] * frames[0] + wrong[2] * frames[2]) / sum(frames)
    assert found.row("mpjpe", "raw + height").value == pytest.approx(mean, rel=1e-4)
    assert f"S1 {stature:g} m; others keep" in height_note(found.options)
    with pytest.raises(ConfigError, match=r"height: unknown person 'S7'.*known: S0, S1, S2"):
        evaluate(_too_tall(people), people, replace(QUICK, height_m={"S7": 1.7}))
    with pytest.raises(ConfigError, match=r"expected a height of 0\.4 to 2\.6 m, got 175"):
        evaluate(_too_tall(people), people, replace(QUICK, height_m=175))
    joints, *chains = (
        tuple(joint.replace("head", "top") for joint in names)
        for names in (H36M_16.joints, *H36M_16.chains)
    )
    headless = replace(H36M_16, joints=joints, chains=tuple(chains))
    for height in (1.7, "given"):
        with pytest.raises(SkeletonError, match="has no head, so its height is not known"):
            evaluate_predictions(_true(people), replace(people, skeleton=headless),
                                 replace(QUICK, height_m=height))  # fmt: skip


def test_records_tell_whose_height_it_was(data):
    options = replace(QUICK, rays="rays", height_m={"S": 1.7})
    evaluation = evaluate(KnowingLifter(data), data, options)
    record = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert height_note(evaluation.options) in protocol_lines(record)
    note = variant_note("raw + height + rays", evaluation)
    assert "S 1.7 m; others keep the lifter's size" in note
    assert LENS_NOTES["estimated"] in note
    assert LENS_NOTES["estimated"] not in variant_note("raw + height", evaluation)
    given = evaluate(KnowingLifter(data), data, replace(options, height_m="given"))
    assert "by their labels, which a target does not show" in variant_note("raw + height", given)


def test_names_of_variants():
    assert InferenceOptions("none", height_m=1.7).variant == "raw + height"
    assert InferenceOptions("both", "refined", height_m=1.7).variant == "tta + height + refined"
    assert InferenceOptions("none").variant == "raw"
    assert InferenceOptions("flip").variant == "tta"
    assert InferenceOptions("both", "refined").variant == "tta + refined"
    assert InferenceOptions("none", "rays").variant == "raw + rays"


def test_what_cannot_be_is_refused(data):
    poses, clips = relative(_true(data)), data.clips

    def place(lenses: list | None = None, **changes: object) -> None:
        options = InferenceOptions(**{"rays": "rays", **changes})
        apply_inference(poses, clips, lenses, H36M_16, options)

    with pytest.raises(ConfigError, match="given focal length: expected a lens per clip, got none"):
        place(focal="given")
    with pytest.raises(ConfigError, match=r"clip 'S/walk1/a': expected a known lens"):
        place([clips[0].intrinsics, None, clips[2].intrinsics], focal="given")
    with pytest.raises(ConfigError, match="root_cutoff_hz: expected 0 or more, got -1"):
        place(root_cutoff_hz=-1)
    with pytest.raises(ConfigError, match=r"refine\.steps"):
        place(config=RefineConfig(steps=0))
    with pytest.raises(DataError, match="as many poses and lenses as clips"):
        place(lenses_of(data)[:2], focal="given")
    poses[1] = poses[1] * torch.nan
    with pytest.raises(DataError, match="NaN or infinite lifted poses"):
        place(lenses_of(data), focal="given")


@pytest.fixture
def files(data, tmp_path) -> tuple[str, ...]:
    """Arguments of `adapt eval`: the walks in a file and a lifter with random weights."""
    lifter = build_lifter(LifterConfig(widths=(3,), channels=16), H36M_16, H36M_16, stream(0, "l"))
    save_lifter(tmp_path / "lifter.safetensors", lifter, {"normalisation": "screen"})
    write_dataset(data, tmp_path / "walks.npz")
    return ("eval", "--lifter", tmp_path / "lifter.safetensors", "--dataset",
            tmp_path / "walks.npz", "--split", "all", "--metric", "mpjpe",
            "--device", "cpu")  # fmt: skip


def test_the_command_adds_a_table_and_says_whose_lens_it_is(files, tmp_path):
    plain = json.loads(adapt(*files, "--json").stdout)["evaluations"][0]
    more = adapt(*files, "--refine", "rays", "--json", "--csv", tmp_path / "all.csv")
    found = json.loads(more.stdout)["evaluations"][0]
    assert [row for row in found["rows"] if "+" not in row["variant"]] == plain["rows"]
    assert "tta + rays" in (tmp_path / "all.csv").read_text()
    text = adapt(*files, "--refine", "rays").stdout
    assert "tta + rays" in text
    assert "focal length estimated" in text
    assert "focal length given" in adapt(*files, "--refine", "rays", "--focal", "given").stdout


def test_the_command_takes_heights(files, tmp_path):
    plain = json.loads(adapt(*files, "--refine", "rays", "--json").stdout)["evaluations"][0]
    more = adapt(*files, "--refine", "rays", "--height", "1.8", "--json")
    found = json.loads(more.stdout)["evaluations"][0]
    assert [row for row in found["rows"] if "height" not in row["variant"]] == plain["rows"]
    new = {row["variant"] for row in found["rows"]} - {row["variant"] for row in plain["rows"]}
    assert new == {"tta + height", "tta + height + rays"}
    by_name = json.loads(adapt(*files, "--refine", "rays", "--height", "S=1.8", "--json").stdout)
    assert by_name["evaluations"][0]["rows"] == found["rows"]
    assert "height given: 1.8 m for everybody" in adapt(*files, "--height", "1.8").stdout
    assert "own by their labels" in adapt(*files, "--height", "given").stdout
    assert "--height: expected a height of 0.4 to 2.6 m, got 180 (fix: 1.80" in fails(
        *files, "--height", "180"
    )
    assert "--height: expected metres such as 1.75" in fails(*files, "--height", "tall")
    assert "height: unknown person 'S2'; did you mean 'S'?" in fails(*files, "--height", "S2=1.8")


def test_the_command_refuses_what_cannot_be(files):
    assert "--refine: unknown choice 'ray'; did you mean 'rays'?" in fails(
        *files, "--refine", "ray"
    )
    text = fails(*files, "--refine", "rays", "--focal", "true")
    assert "--focal: unknown choice 'true'" in text
    assert "--focal: expected --refine with it" in fails(*files, "--focal", "given")
