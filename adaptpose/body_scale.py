"""How tall a lifted body is, and the factor that makes it as tall as the person.

2D tells no size: a lifter's people are as tall as those it was trained on. A known height mends
that. The stature of a lifted body is the length of the chain ankle - knee - hip, root - trunk -
thorax, thorax - top of the head, plus the ankle's height above the floor, which is 0.039 of the
stature (Drillis and Contini 1966; Winter, Biomechanics and Motor Control of Human Movement):
stature = chain / 0.961. Hips, knees and thorax may lie anywhere on the chain, so it matters only
where ankles and head are.

Checked against the 28 people of CMU (own skeletons), HDM05 and UI-PRMD: the top of their head
stands 1.039 chains above the floor (standard deviation 0.012, range 1.017 to 1.059; 1 / 0.961 is
1.041), and the ankles of UI-PRMD's people stand at 0.039 of it (0.003). That says how well the sum
of bones gives the height of the head joint, 1 to 2 %; datasets place the head joint up to some 5 cm
apart, and a lifter's "head" is where its training data had it, which adds up to 3 %.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.clips import Clip2D
from adaptpose.constant_bones import weighted_median
from adaptpose.errors import ConfigError, SkeletonError, expected_message, unknown_name_message
from adaptpose.skeleton import Skeleton

ANKLE_HEIGHT = 0.039
"""Height of the ankle above the floor over the stature (Drillis and Contini 1966)."""

HEIGHT_RANGE_M = (0.4, 2.6)
"""Heights that a person can have, with room: what lies outside is another unit."""

Heights = float | int | Mapping[str, float | int]
"""Statures (m): one of everybody, or by person (`Clip2D.subject`)."""

_TOP, _LEG = "head", ("knee", "ankle")


def stature_m(
    pose: Float[Tensor, "frames joints 3"],
    confidence: Float[Tensor, "frames joints"],
    skeleton: Skeleton,
) -> float:
    """Height (m) of the person whose poses (m) these are, from median lengths along the body.

    Lengths are medians weighted by the confidence of both ends, over frames and over both legs.
    SkeletonError as `stature_chain`.
    """
    chain = 0.0
    for group in stature_chain(skeleton):
        ends = torch.tensor([skeleton.ids(pair) for pair in group])
        length = (pose[:, ends[:, 0]] - pose[:, ends[:, 1]]).norm(dim=-1)
        weight = confidence[:, ends[:, 0]] * confidence[:, ends[:, 1]]
        chain += float(weighted_median(length.flatten(), weight.flatten()))
    return chain / (1 - ANKLE_HEIGHT)


def stature_chain(skeleton: Skeleton) -> list[list[list[str]]]:
    """Groups of joint pairs whose lengths add up: a leg's bones on both sides, then the trunk's.

    SkeletonError if the skeleton does not reach from ankles to the top of the head.
    """
    needed = [_TOP, *(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", *_LEG))]
    missing = [joint for joint in needed if joint not in skeleton.joints]
    if missing:
        raise SkeletonError(
            f"skeleton '{skeleton.name}' has no {', '.join(missing)}, so its height is not known "
            f"(fix: leave the height out)"
        )
    groups = [
        [[f"{side}_{above}", f"{side}_{below}"] for side in ("left", "right")]
        for above, below in pairwise(("hip", *_LEG))
    ]
    return groups + [[[below, above]] for below, above in pairwise(_trunk(skeleton))]


def check_height(height_m: float | int, where: str) -> None:
    """Raise ConfigError unless a height is one in metres that a person can have."""
    low, high = HEIGHT_RANGE_M
    if low <= height_m <= high:
        return
    fix = f"{height_m / 100:.2f} if this is in centimetres" if low <= height_m / 100 <= high else ""
    raise ConfigError(
        expected_message(where, f"a height of {low} to {high} m", f"{height_m:g}", fix)
    )


def check_heights(heights: Heights | None, clips: Sequence[Clip2D], skeleton: Skeleton) -> None:
    """Raise what is wrong with the heights of the people in clips, lifted to a skeleton.

    ConfigError for people who are not there and as `check_height`, SkeletonError as
    `stature_chain`.
    """
    people, known = {clip.subject for clip in clips}, _by_person(heights)
    if known:
        stature_chain(skeleton)
    for person, height in known.items():
        check_height(height, f"height of '{person}'" if person else "height")
        if person and person not in people:
            raise ConfigError(f"height: {unknown_name_message('person', person, people)}")


def size_factors(
    poses: Sequence[Float[Tensor, "_ joints 3"]],
    weights: Sequence[Float[Tensor, "_ joints"]],
    clips: Sequence[Clip2D],
    heights: Heights | None,
    skeleton: Skeleton,
) -> list[float | None]:
    """By what each clip's poses (m) must be multiplied so that people are as tall as is known.

    All clips of a person in one camera get the same factor, from `stature_m` over their frames;
    None for people whose height is not known. `weights` are confidences of the joints.
    SkeletonError as `stature_chain`.
    """
    known = _by_person(heights)
    factors: list[float | None] = [None] * len(clips)
    for subject, own in people_in(clips):
        height = known.get(subject, known.get(""))
        if height is None:
            continue
        pose, weight = (torch.cat([one[k] for k in own]) for one in (poses, weights))
        factor = height / stature_m(pose, weight, skeleton)
        for k in own:
            factors[k] = factor
    return factors


def resized(
    poses: Sequence[Float[Tensor, "_ joints 3"]], factors: Sequence[float | None]
) -> list[Float[Tensor, "_ joints 3"]]:
    """Poses of clips times their factors; as they are where there is none."""
    pairs = zip(poses, factors, strict=True)
    return [pose if factor is None else pose * factor for pose, factor in pairs]


def people_in(clips: Sequence[Clip2D]) -> list[tuple[str, list[int]]]:
    """Everybody in every camera, with the places of their clips."""
    people: dict[tuple[str, str], list[int]] = {}
    for k, clip in enumerate(clips):
        people.setdefault((clip.camera, clip.subject), []).append(k)
    return [(subject, own) for (_, subject), own in people.items()]


def _by_person(heights: Heights | None) -> Mapping[str, float | int]:
    """Heights by person; one that holds for everybody stands under the empty name."""
    if isinstance(heights, Mapping):
        return heights
    return {} if heights is None else {"": heights}


def _trunk(skeleton: Skeleton) -> list[str]:
    """Joints from the root to the top of the head; the nose is beside the way, not on it."""
    walk, place = [], skeleton.id(_TOP)
    while place >= 0:
        walk.append(skeleton.joints[place])
        place = skeleton.parents[place]
    return [joint for joint in reversed(walk) if joint != "neck_nose"]
