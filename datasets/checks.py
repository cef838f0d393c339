"""Checks that geometry allows on labelled clips: crossed left and right, 2D that is not the 3D.

Votes are counted over frames and the limits are wide, so that no unusual movement fires them: a
label error is there in nearly every frame, a movement is not.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adaptpose.camera import MIN_DEPTH, project
from adaptpose.clips import Clip2D, Clip3D
from adaptpose.errors import DataError
from adaptpose.skeleton import Skeleton

LEAST_VOTES = 25
"""Votes below which nothing is concluded."""
CROSSED_SHARE = 0.85
"""Share of votes from which sides count as crossed."""
BENT_M = 0.06
"""Distance of a knee from the line hip-ankle from which its bend has a direction."""
LEAST_BREADTH = 0.3
"""Breadth of hips and shoulders, by the trunk's length, from which their order shows in 2D."""
FAR_OFF = 0.5
"""Reprojection error, by the size of the person in the image, from which labels disagree."""


def crossed_sides(pose3d: Float[Tensor, "frames joints 3"], skeleton: Skeleton) -> bool:
    """True where the left and right labels of 3D poses (m) contradict the body.

    Either knees bend backwards in nearly all frames where they are bent (all sides or the legs
    are exchanged), or hips and shoulders point opposite ways in nearly all frames (legs or arms
    are exchanged). Any right-handed axes; False where too few frames can tell.
    """
    opposite = (_line(pose3d, skeleton, "hip") * _line(pose3d, skeleton, "shoulder")).sum(-1) < 0
    if _decided(opposite):
        return True
    return _decided(_knees_bend_backwards(pose3d, skeleton))


def crossed_sides_2d(pose2d: Float[Tensor, "frames joints 2"], skeleton: Skeleton) -> bool:
    """True where hips and shoulders point opposite ways in nearly all frames that show both.

    An exchange of all sides at once cannot be told from 2D. Frames seen from the side, where a
    twist of the trunk may turn the order, have no vote; False where too few frames can tell.
    """
    hips, shoulders = _line(pose2d, skeleton, "hip"), _line(pose2d, skeleton, "shoulder")
    trunk = (_at(pose2d, skeleton, "thorax") - _at(pose2d, skeleton, "hip")).norm(dim=-1)
    shown = torch.minimum(hips.norm(dim=-1), shoulders.norm(dim=-1)) > LEAST_BREADTH * trunk
    return _decided(((hips * shoulders).sum(-1) < 0)[shown])


def check_sides(clip: Clip2D, skeleton: Skeleton, where: str) -> None:
    """DataError if the left and right labels of a clip's valid frames are crossed."""
    if isinstance(clip, Clip3D):
        crossed = crossed_sides(clip.pose3d_cam[clip.valid], skeleton)
    else:
        crossed = crossed_sides_2d(clip.pose2d[clip.valid], skeleton)
    if crossed:
        raise DataError(
            f"{where}, clip '{clip.name.strip('/')}': left and right are crossed for "
            f"'{skeleton.name}' (fix: check the order of the joints; 'h36m17' has the right leg "
            "first, 'h36m17-left-first' the left one; and that x points right, y down, z forward)"
        )


def check_reprojection(clip: Clip3D, skeleton: Skeleton, where: str) -> None:
    """DataError if a clip's 3D does not project to its 2D in most valid frames.

    The limit is half the size of the person in the image: it catches a wrong order of joints,
    wrong axes and wrong intrinsics, not the errors of a detector.
    """
    in_front = clip.valid & (clip.pose3d_cam[..., 2] > MIN_DEPTH).all(dim=-1)
    thing = f"{where}, clip '{clip.name.strip('/')}'"
    if int(in_front.sum()) * 2 < int(clip.valid.sum()):
        raise DataError(
            f"{thing}: most 3D poses are behind the camera (fix: pose3d_cam is absolute, in "
            "metres, with x right, y down, z forward; not root-relative)"
        )
    if not bool(in_front.any()):
        return
    seen = clip.pose2d[in_front]
    error = project(clip.pose3d_cam[in_front], clip.intrinsics) - seen
    spread = seen - seen[:, skeleton.root, None]
    share = error.norm(dim=-1).mean(dim=1) / spread.norm(dim=-1).mean(dim=1).clamp_min(1e-9)
    if float(share.median()) > FAR_OFF:
        raise DataError(
            f"{thing}: pose3d_cam does not project to the 2D, off by "
            f"{float(share.median()):.1f} of the person's size (fix: check intrinsics, "
            "image size, axes and the order of the joints)"
        )


def _knees_bend_backwards(pose: Tensor, skeleton: Skeleton) -> Bool[Tensor, "votes"]:
    """For every leg that is bent: does its knee lie behind the line from hip to ankle?

    Ahead is left x up with the leg's own line as up, so it holds for sitting and lying bodies.
    """
    left = _line(pose, skeleton, "hip")
    votes = []
    for side in ("left", "right"):
        ankle = _at(pose, skeleton, f"{side}_ankle")
        knee = _at(pose, skeleton, f"{side}_knee") - ankle
        leg = torch.nn.functional.normalize(_at(pose, skeleton, f"{side}_hip") - ankle, dim=-1)
        bend = knee - (knee * leg).sum(-1, keepdim=True) * leg
        ahead = (torch.linalg.cross(left, leg) * bend).sum(-1)
        votes.append((ahead < 0)[bend.norm(dim=-1) > BENT_M])
    return torch.cat(votes)


def _decided(votes: Bool[Tensor, "votes"]) -> bool:
    return len(votes) >= LEAST_VOTES and float(votes.float().mean()) >= CROSSED_SHARE


def _line(pose: Tensor, skeleton: Skeleton, pair: str) -> Tensor:
    return _at(pose, skeleton, f"left_{pair}") - _at(pose, skeleton, f"right_{pair}")


def _at(pose: Tensor, skeleton: Skeleton, joint: str) -> Tensor:
    return pose[..., skeleton.id(joint), :]
