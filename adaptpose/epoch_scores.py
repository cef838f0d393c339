"""What is written down of a lifter after every epoch of an adaptation: scores without labels, and
what a monitor says, which is never read again."""

from collections.abc import Callable

from adaptpose.clips import TargetData
from adaptpose.label_free import label_free_score
from adaptpose.lifter import Lifter

Monitor = Callable[[Lifter], dict[str, float]]
"""Numbers of a lifter that are logged and never read: test errors, when labels exist."""


def epoch_scores(lifter: Lifter, target: TargetData, monitor: Monitor | None) -> dict[str, float]:
    """The label-free score of a lifter, its parts, size and focal length of the poses, and the
    monitor's numbers, by log name.
    """
    score = label_free_score(lifter, target)
    numbers = {
        "label_free": score.total,
        "label_free_rays": score.ray_residual,
        "label_free_constancy": score.bone_constancy,
        "label_free_symmetry": score.bone_symmetry,
        "label_free_flip_mm": score.flip_disagreement_mm,
        "label_free_reversal_mm": score.reversal_disagreement_mm,
        "label_free_view_mm": score.view_disagreement_mm,
        "label_free_unlikely_2d": score.unlikely_2d,
        "label_free_size_m": score.size_mm / 1000,
        "focal": float(score.focal),
    }
    watched = monitor(lifter) if monitor is not None else {}
    return numbers | {f"monitor_{name}": value for name, value in watched.items()}
