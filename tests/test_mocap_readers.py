"""Motion capture readers: slow references on small files, real corpora against geometry."""

import gzip
import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptpose.datasets import cmu, corpora, hdm05, plugin_gait, uiprmd
from adaptpose.datasets.asfamc import bone_ends, read_amc, read_asf
from adaptpose.datasets.bvh import bvh_pose, read_bvh
from adaptpose.datasets.kinematics import euler_to_matrix, y_up_to_z_up
from adaptpose.datasets.mocap_joints import point_on_path
from adaptpose.errors import AdaptError, ConfigError, DataError
from adaptpose.skeleton import H36M_17

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Leg
  {
    OFFSET 0.5 -4 0.25
    CHANNELS 3 Yrotation Zrotation Xrotation
    End Site
    {
      OFFSET 0 -3 1
    }
  }
  JOINT Back
  {
    OFFSET 0 5 -1
    CHANNELS 3 Xrotation Yrotation Zrotation
    End Site
    {
      OFFSET 1 1 1
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.02
1 2 3 10 20 30 40 50 60 -70 80 15
4 5 6 -15 25 35 45 -55 65 5 -85 95
"""

ASF = """# a comment
:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0.6 -0.8 0
    length 7
    axis 0 0 20 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
    id 2
    name shin
    direction 0 -1 0
    length 6
    axis 10 -30 20 XYZ
    dof rx rz
  end
  begin
    id 3
    name stub
    direction 0 0 1
    length 2
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
    shin stub
  end
"""

AMC = """#!OML
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 10 20 30
thigh 5 -15 25
shin 40 -8
2
root 4 5 6 -15 25 35
thigh 45 55 -65
shin -20 12
"""

LIMBS_CMU = {
    "02": (0.429, 0.411, 0.275), "05": (0.371, 0.449, 0.306), "12": (0.336, 0.453, 0.278),
    "35": (0.418, 0.447, 0.286), "49": (0.387, 0.453, 0.307),
}  # fmt: skip
LIMBS_HDM05 = {
    "bd": (0.414, 0.394, 0.273), "bk": (0.445, 0.476, 0.303), "dg": (0.378, 0.442, 0.259),
    "mm": (0.403, 0.386, 0.283), "tr": (0.407, 0.445, 0.277),
}  # fmt: skip


def _loop_turn(letter: str, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array(
        {
            "X": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[letter]
    )


def _loop_turns(letters: str, degrees: Sequence[float]) -> np.ndarray:
    product = np.eye(3)
    for letter, angle in zip(letters, degrees, strict=True):
        product = product @ _loop_turn(letter, angle)
    return product


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _smallest(paths: Iterable[Path]) -> Path:
    return min(sorted(paths), key=lambda path: path.stat().st_size)


def _length(joints: torch.Tensor, a: str, b: str) -> float:
    gap = joints[:, H36M_17.id(a)] - joints[:, H36M_17.id(b)]
    return float(gap.norm(dim=-1).median())


@pytest.fixture(scope="module")
def samples(data_root: Path) -> dict[str, torch.Tensor]:
    """A standing or walking take of each reader."""
    lists = cmu.read_cmu_lists(data_root / "cmu")
    vicon = uiprmd.read_vicon_take(data_root / "ui_prmd/vicon/m04_s01_e01_positions.txt.gz")
    assert vicon is not None
    motions = {
        "own": cmu.read_cmu_trial(data_root / "cmu/bvh/02/02_01.bvh.gz", "own", lists),
        "daz": cmu.read_cmu_trial(data_root / "cmu/bvh_daz/09/09_12.bvh.gz", "daz", lists),
        "asf": cmu.read_cmu_trial(data_root / "cmu/asfamc/zombie.amc.gz", "asf", lists),
        "hdm05": hdm05.read_hdm05_take(
            next(iter(sorted((data_root / "hdm05").glob("train/*/HDM_bd_jog*.amc.gz"))))
        ),
        "vicon": vicon,
        "kinect": uiprmd.read_kinect_take(
            data_root / "ui_prmd/kinect/m04_s01_e01_positions.txt.gz"
        ),
    }
    return {name: motion.joints_world for name, motion in motions.items()}


@pytest.mark.parametrize("order", ["XYZ", "ZYX", "YXZ", "ZXY", "Y", ""])
def test_euler_matrices_against_the_product(order):
    angles = torch.tensor([30.0, -70.0, 140.0], dtype=torch.float64)[: len(order)]
    expected = _loop_turns(order, angles.tolist())
    np.testing.assert_allclose(euler_to_matrix(angles, order), expected, atol=1e-12)


def test_y_up_to_z_up_is_a_rotation():
    axes = y_up_to_z_up(torch.eye(3, dtype=torch.float64))
    assert float(torch.linalg.det(axes)) == pytest.approx(1)
    assert axes[1].tolist() == [0, 0, 1]


@pytest.mark.parametrize("packed", [False, True])
def test_bvh_kinematics_against_loops(tmp_path, packed):
    path = tmp_path / "a.bvh"
    path.write_bytes(gzip.compress(BVH.encode()) if packed else BVH.encode())
    clip = read_bvh(path)
    pose = bvh_pose(clip)
    assert clip.joints == ("Hips", "Leg", "Leg_end", "Back", "Back_end")
    for t, line in enumerate(BVH.strip().splitlines()[-2:]):
        v = [float(x) for x in line.split()]
        hips = np.array(v[:3])
        R_hips = _loop_turns("ZYX", v[3:6])
        leg, R_leg = hips + R_hips @ [0.5, -4, 0.25], R_hips @ _loop_turns("YZX", v[6:9])
        back, R_back = hips + R_hips @ [0, 5, -1], R_hips @ _loop_turns("XYZ", v[9:12])
        expected = {
            "Hips": hips, "Leg": leg, "Leg_end": leg + R_leg @ [0, -3, 1],
            "Back": back, "Back_end": back + R_back @ [1, 1, 1],
        }  # fmt: skip
        for name, place in expected.items():
            np.testing.assert_allclose(pose[name][0][t], place, atol=1e-12)
        np.testing.assert_allclose(pose["Back"][1][t], R_back, atol=1e-12)


def test_asf_kinematics_against_loops(tmp_path):
    skeleton = read_asf(_write(tmp_path / "a.asf", ASF))
    placed = bone_ends(skeleton, read_amc(_write(tmp_path / "a.amc", AMC)), "a")
    unit = 0.0254 / 0.45
    rows = [[1, 2, 3, 10, 20, 30, 5, -15, 25, 40, -8], [4, 5, 6, -15, 25, 35, 45, 55, -65, -20, 12]]
    for t, v in enumerate(rows):
        root, R_root = unit * np.array(v[:3]), _loop_turns("ZYX", v[5:2:-1])
        C = _loop_turns("ZYX", [20, 0, 0])
        R_thigh = R_root @ C @ _loop_turns("ZYX", v[8:5:-1]) @ C.T
        thigh = root + R_thigh @ np.array([0.6, -0.8, 0]) * 7 * unit
        C = _loop_turns("ZYX", [20, -30, 10])
        R_shin = R_thigh @ C @ _loop_turns("ZX", [v[10], v[9]]) @ C.T
        shin = thigh + R_shin @ np.array([0, -1, 0]) * 6 * unit
        stub = shin + R_shin @ np.array([0, 0, 1]) * 2 * unit
        for name, place in {"root": root, "thigh": thigh, "shin": shin, "stub": stub}.items():
            np.testing.assert_allclose(placed[name][0][t], place, atol=1e-12)


def test_point_on_path_against_steps():
    corners = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 2, 3]], dtype=torch.float64)
    path = [corner[None] for corner in corners]
    walked = torch.cat([corners[i] + torch.linspace(0, 1, 10001, dtype=torch.float64)[:, None]
                        * (corners[i + 1] - corners[i]) for i in range(3)])  # fmt: skip
    lengths = torch.cat([torch.zeros(1), (walked[1:] - walked[:-1]).norm(dim=-1).cumsum(0)])
    for fraction in (0.0, 0.1, 0.5, 0.77, 1.0):
        nearest = walked[(lengths - fraction * 6).abs().argmin()]
        torch.testing.assert_close(point_on_path(path, fraction)[0], nearest, atol=1e-3, rtol=0)


def test_hips_follow_the_regression_wherever_the_pelvis_is():
    flat = {"LASI": [0, 120, 0], "RASI": [0, -120, 0]}
    flat |= {"LPSI": [-180, 50, 0], "RPSI": [-180, -50, 0]}
    turn = torch.from_numpy(_loop_turns("ZYX", [70, 20, -30]))
    shift = torch.tensor([1.0, -2.0, 0.9], dtype=torch.float64)
    place = lambda mm: (turn @ (torch.tensor(mm, dtype=torch.float64) / 1000) + shift)[None]  # noqa: E731
    hips = plugin_gait.hip_centres({name: place(mm) for name, mm in flat.items()})
    behind, below, aside = 0.24 * 180 + 9.9, 0.30 * 240 + 10.9, 0.33 * 240 + 7.3
    torch.testing.assert_close(hips["left_hip"], place([-behind, aside, -below]))
    torch.testing.assert_close(hips["right_hip"], place([-behind, -aside, -below]))


def test_lost_markers_are_mirrored_or_bridged():
    one = torch.ones(4, dtype=torch.bool)
    place = lambda *mm: torch.tensor([mm], dtype=torch.float64).expand(4, 3).clone()  # noqa: E731
    markers = {"LASI": place(0, 0, 0), "RASI": place(0.2, -0.12, 1),
               "LPSI": place(0, 0.05, 1), "RPSI": place(0, -0.05, 1)}  # fmt: skip
    seen = {"LASI": ~one, "RASI": one, "LPSI": one, "RPSI": one}
    plugin_gait.repair_missing_asi(markers, seen)
    assert bool(seen["LASI"].all())
    torch.testing.assert_close(markers["LASI"], place(0.2, 0.12, 1))
    track = torch.arange(6, dtype=torch.float64)[:, None].repeat(1, 3)
    kept = torch.tensor([False, True, False, False, True, False])
    assert plugin_gait.longest_gap(kept) == 2
    bridged = plugin_gait.bridge_gaps(torch.where(kept[:, None], track, 0 * track), kept)
    assert bridged[:, 0].tolist() == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(("side", "sign"), [("left", 1.0), ("right", -1.0)])
@pytest.mark.parametrize("flexion_deg", [5.0, 30.0, 60.0, 120.0])
def test_elbow_centre_is_found_from_its_lateral_marker(side, sign, flexion_deg):
    bend = math.radians(flexion_deg)
    place = lambda *m: torch.tensor([m], dtype=torch.float64)  # noqa: E731
    # Upper arm down, forearm forwards (x ahead, y left): the marker is lateral, sign * y.
    shoulder, centre = place(0, 0, 0.3), place(0, 0, 0)
    wrist = place(0.25 * math.sin(bend), 0, -0.25 * math.cos(bend))
    marker = place(0, sign * 0.042, 0)
    found = plugin_gait.hinge_centre(shoulder, marker, wrist, sign, 0.042)
    # Between the two rules, at a slight bend, the centre is known less well.
    assert float((found - centre).norm()) < (0.016 if flexion_deg < 45 else 0.001), side


def test_limb_lengths_against_the_table(data_root):
    lists = cmu.read_cmu_lists(data_root / "cmu")
    read = {
        ("cmu", actor): lambda a: cmu.read_cmu_trial(
            _smallest((data_root / "cmu/bvh" / a).iterdir()), "own", lists
        )
        for actor in LIMBS_CMU
    } | {
        ("hdm05", actor): lambda a: hdm05.read_hdm05_take(
            _smallest((data_root / "hdm05").glob(f"*/*/HDM_{a}_*.amc.gz"))
        )
        for actor in LIMBS_HDM05
    }
    for (corpus, actor), reader in read.items():
        joints = reader(actor).joints_world
        table = (LIMBS_CMU if corpus == "cmu" else LIMBS_HDM05)[actor]
        limbs = [("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow")]
        found = [_length(joints, f"left_{a}", f"left_{b}") for a, b in limbs]
        np.testing.assert_allclose(found, table, atol=0.002, err_msg=f"{corpus} {actor}")


def test_repaired_bvh_agrees_with_the_asf_of_the_same_trial(data_root):
    """pirouette.amc is trial 05_11: the repaired BVH must be the original, joint by joint."""
    lists = cmu.read_cmu_lists(data_root / "cmu")
    own = cmu.read_cmu_trial(data_root / "cmu/bvh/05/05_11.bvh.gz", "own", lists).joints_world
    asf = cmu.read_cmu_trial(data_root / "cmu/asfamc/pirouette.amc.gz", "asf", lists).joints_world
    assert own.shape == asf.shape
    assert float((own - asf).norm(dim=-1).max()) < 0.005


def test_daz_figure_does_what_the_asf_of_the_same_trial_does(data_root):
    """Two bodies, one motion: bones point the same way (median over frames and bones)."""
    lists = cmu.read_cmu_lists(data_root / "cmu")
    folder, trial = data_root / "cmu", "11_01"
    daz = cmu.read_cmu_trial(folder / f"bvh_daz/{trial[:2]}/{trial}.bvh.gz", "daz", lists)
    asf = cmu.read_cmu_trial(folder / f"asfamc/{trial}.amc.gz", "asf", lists)
    # A Daz clip begins with one T-pose, so its frame k + 1 is the original's frame k.
    start = cmu.DAZ_SETTLING_FRAMES - 1
    original = asf.joints_world[start : start + daz.joints_world.shape[0]]
    bones = list(H36M_17.bones)
    arrows = []
    for joints in (daz.joints_world[: original.shape[0]], original):
        bone = torch.stack([joints[:, c] - joints[:, p] for p, c in bones], dim=1)
        arrows.append(bone / bone.norm(dim=-1, keepdim=True))
    angle_deg = torch.rad2deg((arrows[0] * arrows[1]).sum(-1).clamp(-1, 1).acos())
    assert float(angle_deg.median()) < 12


def test_people_stand_on_the_ground_head_up_and_left_is_left(samples):
    for name, joints in samples.items():
        hip, head = joints[:, H36M_17.id("hip")], joints[:, H36M_17.id("head")]
        assert float((head - hip)[:, 2].median()) > 0.55, name
        ankles = joints[:, H36M_17.ids(["left_ankle", "right_ankle"]), 2]
        assert 0.03 < float(ankles.min(dim=1).values.median()) < 0.17, name
        # Knees bend forwards: they tell where the front is without asking left from right.
        across = joints[:, H36M_17.id("left_hip")] - joints[:, H36M_17.id("right_hip")]
        front = torch.linalg.cross(across, torch.tensor([0.0, 0.0, 1.0]).expand_as(across))
        for side in ("left", "right"):
            above, knee, below = (
                joints[:, H36M_17.id(f"{side}_{part}")] for part in ("hip", "knee", "ankle")
            )
            bend = knee - (above + below) / 2
            assert float((bend * front).sum(dim=-1).median()) > 0, name


WALKS = ["bvh/02/02_01", "bvh/35/35_01", "bvh/16/16_15", "bvh_daz/09/09_01"]


@pytest.mark.parametrize("trial", WALKS)
def test_walkers_go_where_they_face(data_root, trial):
    lists = cmu.read_cmu_lists(data_root / "cmu")
    form = "daz" if "daz" in trial else "own"
    joints = cmu.read_cmu_trial(data_root / "cmu" / f"{trial}.bvh.gz", form, lists).joints_world
    way = joints[-1, 0] - joints[0, 0]
    across = (joints[:, H36M_17.id("left_hip")] - joints[:, H36M_17.id("right_hip")]).mean(dim=0)
    front = torch.linalg.cross(across, torch.tensor([0.0, 0.0, 1.0]))
    assert float((way * front).sum() / (way.norm() * front.norm())) > 0.8


def test_one_name_is_one_place_in_every_corpus(samples):
    for name, joints in samples.items():
        legs = _length(joints, "left_hip", "left_knee") + _length(joints, "left_knee", "left_ankle")
        trunk = _length(joints, "hip", "spine") + _length(joints, "spine", "thorax")
        neck = _length(joints, "thorax", "neck_nose") + _length(joints, "neck_nose", "head")
        shoulders = _length(joints, "left_shoulder", "right_shoulder")
        assert 0.46 < trunk < 0.57, name
        # The depth camera sees short legs: its own bias, not a matter of definition.
        assert 0.56 < trunk / legs < (0.80 if name == "kinect" else 0.70), name
        assert 0.19 < neck < 0.30, name
        assert 0.30 < shoulders < 0.42, name
        lower = _length(joints, "hip", "spine") / trunk
        assert lower == pytest.approx(0.475, abs=0.045), name
        forearm = _length(joints, "left_elbow", "left_wrist")
        assert 0.75 < forearm / _length(joints, "left_shoulder", "left_elbow") < 1.15, name


def test_a_jump_at_the_start_is_dropped():
    joints = torch.zeros(8, 17, 3)
    joints[:, :, 2] = torch.arange(8)[:, None] * 0.01
    assert cmu.drop_leading_jump(joints).shape[0] == 8
    joints[:2, 4, 0] = 3.0
    torch.testing.assert_close(cmu.drop_leading_jump(joints), joints[2:])
    joints[7, 4, 0] = 3.0
    assert cmu.drop_leading_jump(joints).shape[0] == 6


def test_kinect_feet_stand_still(data_root):
    path = data_root / "ui_prmd/kinect/m08_s01_e01_positions.txt.gz"
    joints = uiprmd.read_kinect_take(path).joints_world
    ankles = joints[:, H36M_17.ids(["left_ankle", "right_ankle"])]
    assert float(ankles.std(dim=0).max()) < 0.03


def _break_bvh(kind: str) -> str:
    lines = BVH.strip().splitlines()
    return {
        "empty": "",
        "asf": ASF,
        "no motion": BVH.split("MOTION")[0],
        "cut hierarchy": "\n".join(lines[:9]),
        "cut frames": "\n".join(lines[:-1]),
        "few columns": "\n".join([*lines[:-1], lines[-1].rsplit(" ", 1)[0]]),
        "many columns": "\n".join([*lines[:-2], lines[-2] + " 1", lines[-1] + " 1"]),
        "nan": BVH.replace("4 5 6", "4 nan 6"),
        "word": BVH.replace("4 5 6", "4 x 6"),
        "no frames": BVH.replace("Frames: 2", "Frames: 0"),
        "channel": BVH.replace("Zrotation Xrotation\n    End", "Zrotation Wrotation\n    End"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("empty", "an empty file"), ("asf", "expected a BVH file"), ("no motion", "MOTION"),
        ("cut hierarchy", "MOTION"), ("cut frames", "expected 2 frames"),
        ("few columns", "not a table of 12 numbers a row"),
        ("many columns", "expected 12 numbers a row, got 13"),
        ("nan", "not a table|row 2"), ("word", "not a table"), ("no frames", "Frames: n"),
        ("channel", "unknown channels"),
    ],
)  # fmt: skip
def test_bad_bvh_names_the_file(tmp_path, kind, match):
    path = _write(tmp_path / "broken.bvh", _break_bvh(kind))
    with pytest.raises(DataError, match=match) as caught:
        read_bvh(path)
    assert "broken.bvh" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "match"),
    [
        ("asf", BVH, "an ASF file"), ("asf", ASF.split(":hierarchy")[0], "hierarchy"),
        ("asf", ASF.replace("length 6", ""), "complete ASF skeleton"),
        ("amc", BVH, "AMC"), ("amc", AMC.rsplit(" ", 1)[0], "cut short"),
        ("amc", AMC.replace("-20 12", "-20 nan"), "NaN"),
        ("amc", AMC.replace("45 55", "45 ?"), "number"),
        ("amc", AMC.replace("shin -20", "thin -20"), "same place"),
    ],
)  # fmt: skip
def test_bad_asf_and_amc_name_the_file(tmp_path, kind, text, match):
    path = _write(tmp_path / f"broken.{kind}", text)
    with pytest.raises(DataError, match=match) as caught:
        (read_asf if kind == "asf" else read_amc)(path)
    assert "broken" in str(caught.value)


def test_motion_of_another_skeleton_is_refused(tmp_path):
    skeleton = read_asf(_write(tmp_path / "a.asf", ASF))
    fewer = AMC.replace("shin 40 -8", "shin 40").replace("-20 12", "-20")
    motion = read_amc(_write(tmp_path / "a.amc", fewer))
    with pytest.raises(DataError, match="expected 2 values for 'shin', got 1"):
        bone_ends(skeleton, motion, "a.amc")


def test_missing_damaged_and_foreign_files_are_one_message(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_bvh(tmp_path / "none.bvh")
    cut = tmp_path / "cut.bvh.gz"
    cut.write_bytes(gzip.compress(BVH.encode())[:-20])
    with pytest.raises(DataError, match=r"cut\.bvh\.gz"):
        read_bvh(cut)
    rows = "\n".join([BVH.strip().splitlines()[-1]] * 18)
    path = _write(tmp_path / "foreign.bvh", BVH.replace("Frames: 2", "Frames: 20") + rows)
    with pytest.raises(DataError, match=r"foreign\.bvh: not a 'own' clip"):
        cmu.read_cmu_trial(path, "own", cmu.CmuLists({}, {}))
    with pytest.raises(DataError, match="expected 117 numbers a row, got 2"):
        uiprmd.read_vicon_take(_write(tmp_path / "m01_s01_e01_positions.txt", "1,2\n3,4\n"))


@pytest.mark.parametrize(
    ("description", "name"),
    [("walk", "walk"), ("playground - forward jumps, turn around", "playground-forward-jumps"),
     ("run/jog", "run-jog"), ("", "unknown")],
)  # fmt: skip
def test_action_names_are_short(description, name):
    assert cmu.short_action(description) == name


def test_hdm05_action_names():
    names = ["hopBothLegs1hops", "squat1Reps", "depositFloorR", "elbowToKnee1RepsLelbowStart"]
    found = [hdm05.hdm05_action(name) for name in names]
    assert found == ["hop-both-legs", "squat", "deposit-floor-r", "elbow-to-knee"]


def test_missing_corpus_and_unknown_names(tmp_path):
    with pytest.raises(DataError, match=r"get it from .* and put it there"):
        corpora.find_corpus("hdm05", tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'hdm05'"):
        corpora.find_corpus("hdm5", tmp_path)
    (tmp_path / "hdm05").mkdir()
    with pytest.raises(ConfigError, match="unknown split of 'hdm05' 'validation'"):
        corpora.load_motions("hdm05", tmp_path, "validation")
    with pytest.raises(AdaptError, match="corpus 'hdm05'"):
        corpora.load_motions("hdm05", tmp_path, "test")


def _small_corpus(data_root: Path, folder: Path) -> Path:
    for part, actor in (("train", "bd"), ("test", "mm")):
        source = data_root / "hdm05" / part / "11"
        target = folder / "hdm05" / part / "11"
        target.mkdir(parents=True)
        takes = sorted(source.glob(f"HDM_{actor}_*.amc.gz"))[: 2 if part == "test" else 1]
        for path in (source / f"HDM_{actor}.asf", *takes):
            shutil.copyfile(path, target / path.name)
    return folder


def test_load_motions_splits_resamples_and_caches(data_root, tmp_path):
    root, cache = _small_corpus(data_root, tmp_path / "data"), tmp_path / "cache"
    plain = corpora.load_motions("hdm05", root, "test")
    assert {motion.subject for motion in plain} == {"mm"}
    assert {motion.subject for motion in corpora.load_motions("hdm05", root, "train")} == {"bd"}
    assert {motion.frame_rate_hz for motion in plain} == {50.0}
    first = corpora.load_motions("hdm05", root, "test", cache_dir=cache)
    (stored,) = cache.iterdir()
    second = corpora.load_motions("hdm05", root, "test", cache_dir=cache)
    stored.write_bytes(stored.read_bytes()[:1000])
    third = corpora.load_motions("hdm05", root, "test", cache_dir=cache)
    for motions in (first, second, third):
        assert [motion.name for motion in motions] == [motion.name for motion in plain]
        for a, b in zip(motions, plain, strict=True):
            assert bool((a.joints_world == b.joints_world).all())
    corpora.load_motions("hdm05", root, "test", 25.0, cache)
    next(iter((root / "hdm05/test/11").glob("*.amc.gz"))).unlink()
    corpora.load_motions("hdm05", root, "test", cache_dir=cache)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(corpora.CORPORA))
def test_splits_are_disjoint_and_whole(data_root, tmp_path, name):
    splits = corpora.CORPORA[name].splits
    loaded = {split: corpora.load_motions(name, data_root, split) for split in splits}
    names = {split: {motion.name for motion in motions} for split, motions in loaded.items()}
    assert len(names["all"]) == len(loaded["all"])
    parts = [part for part in splits if part != "all"]
    assert set().union(*(names[part] for part in parts)) == names["all"]
    assert sum(len(names[part]) for part in parts) == len(names["all"])
    if name == "cmu-dance":  # it does not say who dances: takes are held out, not people
        return
    people = [{motion.subject.removeprefix("daz-") for motion in loaded[part]} for part in parts]
    assert sum(map(len, people)) == len(set().union(*people))
