"""From the 39 surface markers of Plug-in-Gait to joint centres, by published rules.

Conventions: metres, Z up, right-handed; a marker at exactly (0, 0, 0) was not seen.
- hips: Harrington et al., J. Biomechanics 40 (2007), from the ASI and PSI markers;
- shoulders: 17 % of the distance of the acromions below them (Rab et al., Gait & Posture 15, 2002);
- knees and elbows: half the joint's width inwards of the lateral marker, along the hinge's axis;
- ankles: the same, square to foot and shank; wrists: midway between the two wrist markers.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adaptpose.datasets.mocap_joints import H36M_NECK_FRACTION, H36M_SPINE_FRACTION, stack_h36m

PLUGIN_GAIT_MARKERS: tuple[str, ...] = (
    "LFHD", "RFHD", "LBHD", "RBHD", "C7", "T10", "CLAV", "STRN", "RBAK", "LSHO", "LUPA", "LELB",
    "LFRM", "LWRA", "LWRB", "LFIN", "RSHO", "RUPA", "RELB", "RFRM", "RWRA", "RWRB", "RFIN", "LASI",
    "RASI", "LPSI", "RPSI", "LTHI", "LKNE", "LTIB", "LANK", "LHEE", "LTOE", "RTHI", "RKNE", "RTIB",
    "RANK", "RHEE", "RTOE",
)  # fmt: skip
"""Columns of UI-PRMD's Vicon files, inferred from positions and the Plug-in-Gait convention."""

NEEDED_MARKERS: tuple[str, ...] = tuple(
    marker
    for marker in PLUGIN_GAIT_MARKERS
    if marker[-3:] not in ("BAK", "UPA", "FRM", "FIN", "THI", "TIB", "TRN")
)
"""Markers from which the joints are made; the others may be missing."""

LONGEST_GAP_FRAMES = 25
"""Longest loss of a needed marker that is bridged by interpolation (a quarter of a second)."""

KNEE_OFFSET_M = 0.057
ANKLE_OFFSET_M = 0.042
ELBOW_OFFSET_M = 0.042
"""Half the joint's width and the marker's radius, for widths of 100, 70 and 70 mm."""

ACROMION_TO_SHOULDER = 0.17
"""Shoulder centre below the acromion, over the distance of the acromions (Rab et al. 2002)."""

HEAD_TOP_ABOVE_BAND_M = 0.09
"""Top of the head above the middle of the four head band markers."""

COLLAR_OVER_TRUNK = 0.356
"""thorax to shoulder over hip to thorax: median of UI-PRMD's people with their arms down (m08)."""

UPPER_ARM_OVER_LEG = 0.325
"""shoulder to elbow over hip to knee to ankle: the same people's median in the same takes."""

Markers = dict[str, Tensor]


def markers_to_h36m(markers: Float[Tensor, "frames 39 3"]) -> Float[Tensor, "frames 17 3"] | None:
    """The 17 joints (m, z up), or None if a needed marker is lost too long to be bridged."""
    seen = (markers != 0).any(dim=-1)
    by_name = {name: markers[:, k] for k, name in enumerate(PLUGIN_GAIT_MARKERS)}
    seen_by_name = {name: seen[:, k] for k, name in enumerate(PLUGIN_GAIT_MARKERS)}
    repair_missing_asi(by_name, seen_by_name)
    for name in NEEDED_MARKERS:
        if longest_gap(seen_by_name[name]) > LONGEST_GAP_FRAMES:
            return None
        by_name[name] = bridge_gaps(by_name[name], seen_by_name[name])
    joints = hip_centres(by_name)
    for side in ("left", "right"):
        joints |= _leg(by_name, joints[f"{side}_hip"], side)
    joints |= _trunk(by_name, joints["hip"])
    return stack_h36m(joints | _arms(by_name, joints))


def hip_centres(markers: Markers) -> dict[str, Float[Tensor, "frames 3"]]:
    """Left, right and middle hip centre by Harrington's regression, for adults and children.

    With pelvic depth PD (middle of ASI to middle of PSI) and width PW (between the ASI), in mm:
    0.24 PD + 9.9 behind, 0.30 PW + 10.9 below and 0.33 PW + 7.3 to the side of the ASI's middle.
    The median PD and PW of the take are used, so that the hips are fixed in the pelvis.
    """
    front = (markers["LASI"] + markers["RASI"]) / 2
    back = (markers["LPSI"] + markers["RPSI"]) / 2
    left = unit(markers["LASI"] - markers["RASI"])
    up = unit(torch.linalg.cross(front - back, left))
    ahead = torch.linalg.cross(left, up)
    width = (markers["LASI"] - markers["RASI"]).norm(dim=-1).median()
    depth = (front - back).norm(dim=-1).median()
    middle = front - (0.24 * depth + 0.0099) * ahead - (0.30 * width + 0.0109) * up
    aside = (0.33 * width + 0.0073) * left
    return {"hip": middle, "left_hip": middle + aside, "right_hip": middle - aside}


def hinge_centre(
    above: Float[Tensor, "frames 3"],
    marker: Float[Tensor, "frames 3"],
    below: Float[Tensor, "frames 3"],
    inward_turn: float,
    offset: float,
) -> Float[Tensor, "frames 3"]:
    """Centre of a hinge joint, `offset` (m) inwards of its lateral marker.

    A bent joint shows its axis: square to the limb's two parts, `above` to centre and centre to
    `below`; `inward_turn` is the sign (+1 or -1) with which their cross product points inwards.
    A straight joint does not, but then its marker stands out from the line of `above` and
    `below`. Between 20 and 45 degrees of flexion the two directions are blended.
    """
    line = unit(below - above)
    to_line = above - marker
    to_line = to_line - (to_line * line).sum(dim=-1, keepdim=True) * line
    axis = torch.linalg.cross(unit(marker - above), unit(below - marker)) * inward_turn
    along = (unit(marker - above) * unit(below - marker)).sum(dim=-1)
    flexion_deg = torch.rad2deg(torch.atan2(axis.norm(dim=-1), along))
    bent = ((flexion_deg - 20) / 25).clamp(0, 1)[:, None]
    centre = marker + offset * unit(bent * unit(axis) + (1 - bent) * unit(to_line))
    # The limb's parts meet at the centre, not at the marker: two rounds settle the axis.
    for _ in range(2):
        axis = torch.linalg.cross(unit(centre - above), unit(below - centre)) * inward_turn
        centre = marker + offset * unit(bent * unit(axis) + (1 - bent) * unit(to_line))
    return centre


def repair_collapsed_shoulders(
    joints: dict[str, Float[Tensor, "frames 3"]],
) -> dict[str, Float[Tensor, "frames 3"]]:
    """Both shoulders moved to where collar bone and upper arm keep one length each.

    When the arms go up, the skin carries the acromion markers 5 to 8 cm towards the neck and the
    shoulders seem 0.2 m apart. Of the points at the collar's length from the thorax and the upper
    arm's from the elbow, the one nearest to the shoulder given is taken; where there is none (a
    stretched arm too far off), the point that divides the way as the two lengths do.
    """
    thorax = joints["thorax"]
    collar = COLLAR_OVER_TRUNK * (thorax - joints["hip"]).norm(dim=-1).median()
    upper_arm = UPPER_ARM_OVER_LEG * _leg_length(joints)
    moved = {}
    for side in ("left", "right"):
        way = joints[f"{side}_elbow"] - thorax
        reach = way.norm(dim=-1, keepdim=True)
        along = (reach**2 + collar**2 - upper_arm**2) / (2 * reach)
        meets = (collar**2 - along**2) > 0
        along = torch.where(meets, along, reach * collar / (collar + upper_arm))
        aside = (collar**2 - along**2).clamp(min=0).sqrt() * meets
        given = joints[f"{side}_shoulder"] - thorax
        given = given - (given * way).sum(dim=-1, keepdim=True) * way / reach**2
        moved[f"{side}_shoulder"] = thorax + along * way / reach + aside * unit(given)
    return moved


def repair_missing_asi(markers: Markers, seen: dict[str, Tensor]) -> None:
    """A lost ASI marker put at the mirror image of the other one, in place.

    Bellies and arms hide one ASI for whole takes (s10, shoulder extension). The pelvis is
    symmetric about the plane through the middle of the PSI markers, square to their line.
    """
    middle = (markers["LPSI"] + markers["RPSI"]) / 2
    across = unit(markers["LPSI"] - markers["RPSI"])
    for name, other in (("LASI", "RASI"), ("RASI", "LASI")):
        usable = ~seen[name] & seen[other] & seen["LPSI"] & seen["RPSI"]
        source = markers[other]
        aside = ((source - middle) * across).sum(dim=-1, keepdim=True)
        markers[name] = torch.where(usable[:, None], source - 2 * aside * across, markers[name])
        seen[name] = seen[name] | usable


def longest_gap(seen: Bool[Tensor, " frames"]) -> int:
    """Length of the longest run of frames in which a marker was not seen."""
    longest = run = 0
    for ok in seen.tolist():
        run = 0 if ok else run + 1
        longest = max(longest, run)
    return longest


def bridge_gaps(
    position: Float[Tensor, "frames 3"], seen: Bool[Tensor, " frames"]
) -> Float[Tensor, "frames 3"]:
    """The positions with unseen frames interpolated between, or held at the ends."""
    if bool(seen.all()):
        return position
    known = seen.nonzero()[:, 0]
    frame = torch.arange(seen.shape[0])
    after = torch.searchsorted(known, frame).clamp(max=known.shape[0] - 1)
    before = (torch.searchsorted(known, frame, right=True) - 1).clamp(min=0)
    low, high = known[before], known[after]
    weight = (frame - low).to(position.dtype) / (high - low).clamp(min=1)
    return position[low] + (position[high] - position[low]) * weight.clamp(0, 1)[:, None]


def unit(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Vectors of length one."""
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def _leg(markers: Markers, hip: Tensor, side: str) -> dict[str, Tensor]:
    s, sign = side[0].upper(), 1.0 if side == "left" else -1.0
    foot = markers[f"{s}TOE"] - markers[f"{s}HEE"]
    shank = markers[f"{s}KNE"] - markers[f"{s}ANK"]
    inward = sign * unit(torch.linalg.cross(foot, shank))
    ankle = markers[f"{s}ANK"] + ANKLE_OFFSET_M * inward
    knee = hinge_centre(hip, markers[f"{s}KNE"], ankle, -sign, KNEE_OFFSET_M)
    return {f"{side}_knee": knee, f"{side}_ankle": ankle}


def _trunk(markers: Markers, hip: Tensor) -> dict[str, Tensor]:
    """Thorax, spine, neck_nose and head."""
    thorax = (markers["C7"] + markers["CLAV"]) / 2
    back = (markers["LPSI"] + markers["RPSI"]) / 2
    # T10 shows how the back bends: its distance from the line between PSI and C7.
    line = markers["C7"] - back
    share = ((markers["T10"] - back) * line).sum(-1, keepdim=True) / (line**2).sum(-1, keepdim=True)
    bend = markers["T10"] - back - share * line
    spine = hip + H36M_SPINE_FRACTION * (thorax - hip) + bend
    band = torch.stack([markers[m] for m in ("LFHD", "RFHD", "LBHD", "RBHD")]).mean(dim=0)
    left = (markers["LFHD"] + markers["LBHD"] - markers["RFHD"] - markers["RBHD"]) / 2
    ahead = (markers["LFHD"] + markers["RFHD"] - markers["LBHD"] - markers["RBHD"]) / 2
    head = band + HEAD_TOP_ABOVE_BAND_M * unit(torch.linalg.cross(ahead, left))
    neck_nose = thorax + H36M_NECK_FRACTION * (head - thorax)
    return {"thorax": thorax, "spine": spine, "neck_nose": neck_nose, "head": head}


def _arms(markers: Markers, joints: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shoulders, elbows and wrists; elbows once more after the shoulders are repaired."""
    between = (markers["LSHO"] - markers["RSHO"]).norm(dim=-1).quantile(0.9)
    down = ACROMION_TO_SHOULDER * between * unit(joints["hip"] - joints["thorax"])
    arms = {"left_shoulder": markers["LSHO"] + down, "right_shoulder": markers["RSHO"] + down}
    arms |= _elbows_and_wrists(markers, arms)
    arms |= repair_collapsed_shoulders(joints | arms)
    return arms | _elbows_and_wrists(markers, arms)


def _elbows_and_wrists(markers: Markers, arms: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        s = side[0].upper()
        wrist = (markers[f"{s}WRA"] + markers[f"{s}WRB"]) / 2
        shoulder, marker = arms[f"{side}_shoulder"], markers[f"{s}ELB"]
        elbow = hinge_centre(shoulder, marker, wrist, sign, ELBOW_OFFSET_M)
        found |= {f"{side}_elbow": elbow, f"{side}_wrist": wrist}
    return found


def _leg_length(joints: dict[str, Tensor]) -> Tensor:
    """Thigh and shin together (m), the mean of both sides' medians over the take."""
    lengths = [
        (joints[f"{side}_{upper}"] - joints[f"{side}_{lower}"]).norm(dim=-1).median()
        for side in ("left", "right")
        for upper, lower in (("hip", "knee"), ("knee", "ankle"))
    ]
    return torch.stack(lengths).sum() / 2
