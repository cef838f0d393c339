"""The bone lengths of a target's people, from its 2D: seen lengths less the lifter's prejudice.

A lifter bends what it sees towards the people it was trained on, and `seen_lengths` with it. How
far is measured on windows made for it, in which source people with known bones are filmed from the
target's viewpoints: what is seen there, less what is true, is taken off what is seen of the target
(indirect inference). The nearer the made bodies are to the target's, the better, so it is done
again with the lengths just found. No 3D of the target has a part in it, and the size of people
stays as lifted, which 2D cannot tell.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptpose.bones import bone_lengths, mirror_pose, symmetry_matrix
from adaptpose.clips import Clip2D, Normalisation, TargetData, normalise_pose2d
from adaptpose.lifter import Lifter
from adaptpose.pseudo import PseudoPoses
from adaptpose.rounds_config import RoundsConfig
from adaptpose.seen_lengths import SeenLengths, seen_lengths, size_of
from adaptpose.skeleton import Skeleton
from adaptpose.transfer import TransferMaker, usual_lengths
from adaptpose.windows import LabelledBank

MOST = 2.0
"""Nobody's bones are longer or shorter than the source's by more than this factor, whatever a bad
lifter makes of them."""

_CHUNK = 1000


def find_people(
    teacher: Lifter,
    target: TargetData,
    pseudo: PseudoPoses,
    source: LabelledBank,
    config: RoundsConfig,
    rng: torch.Generator,
) -> Float[Tensor, "clips bones"]:
    """Bone lengths (m) of the person of each clip, left as right; on the device of `source`.

    Clips of one `subject` show one person. `pseudo` are the target's clips as `teacher` lifted
    them, on that device, as is `rng`.
    """
    skeleton, lifted = pseudo.bank.skeleton, pseudo.lifted
    person, count = persons_of(target.clips)
    person = person.to(pseudo.weight.device)[lifted.clip]
    weight = lifted.weight * pseudo.weight[:, None]
    seen = seen_lengths(lifted.pose, lifted.slopes, weight, skeleton, config.people.sharpness)
    own = seen.mean_by(person, count, config.people.prior_frames)
    size = _mean_size(lifted.pose, pseudo.weight, person, count, skeleton)
    groups = symmetry_matrix(skeleton, own)
    # The stride that clips are lifted at.
    strides = (config.strides[0], config.strides[0])
    window = (teacher.frames_before, teacher.frames_after, strides)
    for _ in range(config.people.passes):
        maker = TransferMaker(source, pseudo, *window, config.transfer)
        off = _prejudice(teacher, maker, target.normalisation, config, rng)
        lengths = ((own - off) @ groups).exp()
        lengths = lengths * (size / size_of(lengths, skeleton))[:, None]
        usual = usual_lengths(source)
        lengths = lengths.clamp(usual / MOST, usual * MOST)
        pseudo = pseudo.with_people(lengths[person[pseudo.bank.clip_start]])
    assert pseudo.lengths is not None
    return pseudo.lengths


def persons_of(clips: tuple[Clip2D, ...]) -> tuple[Int[Tensor, "clips"], int]:
    """Numbers of the persons of clips, by `subject`, and how many there are.

    A clip without a subject shows a person of its own.
    """
    numbers: dict[str | int, int] = {}
    of_clip = [
        numbers.setdefault(clip.subject or place, len(numbers)) for place, clip in enumerate(clips)
    ]
    return torch.tensor(of_clip), len(numbers)


def _mean_size(
    pose: Tensor, weight: Tensor, person: Tensor, count: int, skeleton: Skeleton
) -> Float[Tensor, "count"]:
    """Mean `size_of` (m) of each person as lifted; of all for one never seen."""
    total = size_of(bone_lengths(pose, skeleton), skeleton)
    everybody = (total * weight).sum() / weight.sum()
    sums, weights = (
        torch.zeros(count).to(total).index_add(0, person, value)
        for value in (total * weight, weight)
    )
    return torch.where(weights > 0, sums / weights.clamp_min(1e-9), everybody)


@torch.no_grad()
def _prejudice(
    teacher: Lifter,
    maker: TransferMaker,
    normalisation: Normalisation,
    config: RoundsConfig,
    rng: torch.Generator,
) -> Float[Tensor, "groups"]:
    """Mean logarithm of seen over true lengths, per symmetric group, of windows that are made."""
    skeleton = maker.bank.skeleton
    groups = symmetry_matrix(skeleton, maker.bank.pose3d_cam)
    parts, true, usable = [], [], []
    teacher.eval()
    for first in range(0, config.people.windows, _CHUNK):
        made = maker.make(min(_CHUNK, config.people.windows - first), rng)
        pose = _lift(teacher, made.pose2d, normalisation, config.pseudo.tta)
        # Under lenses as they are assumed of the target.
        focal = maker.pseudo.focal[maker.pseudo.draw(len(pose), rng)]
        slopes = made.pose2d[:, teacher.frames_before] / focal[:, None, None]
        weight = made.weight[:, None].expand(pose.shape[:2])
        parts.append(seen_lengths(pose, slopes, weight, skeleton, config.people.sharpness))
        logs = bone_lengths(made.pose3d, skeleton).clamp_min(1e-3).log()
        true.append(logs @ groups.T / groups.sum(dim=1))
        usable.append(made.weight)
    seen = SeenLengths(
        torch.cat([part.log_length for part in parts]), torch.cat([part.weight for part in parts])
    )
    share = torch.cat(usable)[:, None]
    return seen.mean() - (torch.cat(true) * share).sum(dim=0) / share.sum().clamp_min(1e-6)


def _lift(teacher: Lifter, pose2d: Tensor, normalisation: Normalisation, tta: str) -> Tensor:
    """Poses of windows, as the target's clips are lifted."""
    skeleton = teacher.skeleton_in
    pose = teacher.lift_window(normalise_pose2d(pose2d, normalisation, skeleton.root)).float()
    if tta == "none":
        return pose
    mirrored = _lift(teacher, mirror_pose(pose2d, skeleton), normalisation, "none")
    return (pose + mirror_pose(mirrored, teacher.skeleton_out)) / 2
