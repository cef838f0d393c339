"""Settings of pseudo-poses, viewpoint transfer, replay, refinement. Standard library only.

Amounts marked [own] were chosen on HDM05 in a surround rig, lifted by small lifters trained on CMU:
they describe how far lifters and viewpoints are off, not that corpus. Those of `RefineConfig` were
checked on people of the source that its lifter had not seen, in two rigs that it had not seen: half
and twice of each changed MPJPE by less than 2.5 mm of the 17 and 12 mm that refinement gains.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from adaptpose.config_values import positive_problems


@dataclass(frozen=True)
class RefineConfig:
    """How lifted poses are brought onto their rays, and refined over clips."""

    keypoint_noise: float = 0.0
    """Least standard deviation of the keypoints, in normalised coordinates; more where a clip's
    jitter says so. Errors of detectors that last over frames do not show in the jitter."""
    lateral_error_m: float = 0.02
    """How far lifted joints are off their rays [own]: a joint goes onto its ray by
    l² / (l² + n²), n the keypoint noise at its depth."""
    steps: int = 80
    """Steps of Adam over all clips at once [own: 40 lose up to 5 mm in half the time]."""
    learning_rate: float = 0.05
    """First step size, in metres for the root and in radians, nearly, for bones; it falls to 0."""
    knot_s: float = 0.1
    """Spacing of the spline that carries the corrections [own]: none is faster than this allows."""
    ray_slack: float = 0.0015
    """Distance from the keypoints, in normalised coordinates, that costs as much as one standard
    deviation even without noise [own]: bones of a wrong length need room."""
    ray_outlier: float = 3.0
    """Standard deviations beyond which a ray pulls evenly, not the more the farther."""
    prior_m: float = 0.08
    """Expected error of lifted joints [own]."""
    prior_outlier: float = 2.0
    """Standard deviations beyond which the lifted pose pulls evenly."""
    acceleration: float = 10.0
    """Usual acceleration of joints (m/s²) [own]."""
    length_quantile: float = 0.7
    """Which of the lifted lengths of a bone in a clip is taken for true, 0.5 for the median [own]:
    lifters that are unsure shorten bones, so longer ones are nearer to the truth."""
    length_spread: float = 0.05
    """Spread of a clip's bone lengths about those, as a logarithm."""
    known_spread: float = 0.01
    """The same about lengths that are given, see `adaptpose.people`."""
    chunk_frames: int = 4096
    """Frames refined at once; bounds memory, and changes nothing."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(
            self, "refine", "lateral_error_m", "steps", "learning_rate", "knot_s", "ray_slack",
            "ray_outlier", "prior_m", "prior_outlier", "acceleration", "length_spread",
            "known_spread", "chunk_frames",
        )  # fmt: skip
        if not 0 <= self.length_quantile <= 1:
            found.append(f"refine.length_quantile: expected 0 to 1, got {self.length_quantile}")
        return found


@dataclass(frozen=True)
class PseudoConfig:
    """How a target's own 2D is lifted to pseudo-poses."""

    tta: Literal["none", "flip"] = "flip"
    """Passes averaged."""
    focal: Literal["drawn", "estimated", "fixed"] = "estimated"
    """Focal length: one drawn per clip, one estimated from all clips of an image size, or given
    [own]."""
    focal_range: tuple[float, float] = (1.3, 2.6)
    """Range of the log-uniform draw, over half the larger image side [own: phones to studios]."""
    focal_fixed: float = 1.55
    """The focal length if it is given."""
    focal_spread: float = 0.15
    """Standard deviation of the logarithm, clip by clip, about an estimated focal length: errors of
    the estimate are not to be learned [own]."""
    root_cutoff_hz: float = 3.0
    """Low-pass on the root's distance, 0 for none."""
    frames: int = 20_000
    """Frames lifted in a round of adaptation, about: whole clips, drawn anew every round; 0 for
    all. Lifting and refining all of a large target again and again takes longer than learning."""
    tolerance: float = 2.0
    """A frame counts half if its ray residual, or its bones' deviation from the clip's, is this
    many times the target's median."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(self, "pseudo", "focal_fixed", "tolerance")
        found += _range(self, "pseudo", "focal_range")
        if not self.focal_spread >= 0:
            found.append(f"pseudo.focal_spread: expected 0 or more, got {self.focal_spread}")
        if not self.frames >= 0:
            found.append(f"pseudo.frames: expected 0 or more, got {self.frames}")
        if not self.root_cutoff_hz >= 0:
            found.append(f"pseudo.root_cutoff_hz: expected 0 or more, got {self.root_cutoff_hz}")
        return found


@dataclass(frozen=True)
class PeopleConfig:
    """How the bone lengths of the target's people are found, see `adaptpose.people`."""

    sharpness: float = 8.0
    """How much more bones count that lie across the line of sight [own]."""
    prior_frames: float = 100.0
    """Frames of the whole target that a person's own lengths are averaged with [own]."""
    windows: int = 4000
    """Windows of known bodies that show what the lifter makes of lengths, per pass."""
    passes: int = 2
    """Passes: in the first, these bodies are the source's, then those found before."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(self, "people", "windows", "passes")
        for name in ("sharpness", "prior_frames"):
            if not getattr(self, name) >= 0:
                found.append(f"people.{name}: expected 0 or more, got {getattr(self, name)}")
        return found


@dataclass(frozen=True)
class ShotNoise:
    """How far a new shot may be from the pseudo-viewpoint it was taken from."""

    rotation_rad: float = 0.12
    """Standard deviation of the rotation vector's components [own]."""
    place: float = 0.05
    """Of the root's image position, in normalised coordinates [own]."""
    log_rate: float = 0.08
    """Of the logarithm of the person's size in the image [own]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        return [
            f"noise.{name}: expected 0 or more, got {getattr(self, name)}"
            for name in ("rotation_rad", "place", "log_rate")
            if not getattr(self, name) >= 0
        ]


@dataclass(frozen=True)
class BodyConfig:
    """Light changes of bodies, as in `adaptpose.augment_config.WideConfig`; 0 everywhere: none."""

    length_sd: float = 0.08
    """Of the logarithm of bone lengths [own: as in wide augmentation]."""
    size_sd: float = 0.02
    """Of the logarithm of the body's size [own: half of wide augmentation's]."""
    exchange_share: float = 0.0
    """Share of windows that get another's limb [own: the motions are wanted as they are]."""
    turn_share: float = 0.0
    """Share of windows whose outer bones turn [own: as above]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        return [
            f"bodies.{name}: expected 0 to 1, got {getattr(self, name)}"
            for name in ("length_sd", "size_sd", "exchange_share", "turn_share")
            if not 0 <= getattr(self, name) <= 1
        ]


@dataclass(frozen=True)
class TransferConfig:
    """Source motions filmed from the target's viewpoints."""

    focal: Literal["drawn", "own"] = "own"
    """Draw a focal length per window, or take the one of the viewpoint's clip."""
    focal_range: tuple[float, float] = (1.0, 3.0)
    """Range of the log-uniform draw, over half the larger image side [own]."""
    noise: ShotNoise = field(default_factory=ShotNoise)
    bodies: BodyConfig = field(default_factory=BodyConfig)
    view_limit: float = 1.6
    """Joints may be this far from the middle of the image; 1 is the edge of the longer side."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(self, "transfer", "view_limit")
        found += _range(self, "transfer", "focal_range")
        return found + self.noise.problems() + self.bodies.problems()


@dataclass(frozen=True)
class ReplayConfig:
    """The target's own pseudo-poses filmed anew."""

    own_share: float = 0.5
    """Share of windows filmed from their own viewpoint, the rest from another frame's."""
    focal: Literal["drawn", "own"] = "own"
    """Draw a focal length per window, or take the one of the viewpoint's clip."""
    focal_range: tuple[float, float] = (1.0, 3.0)
    """Range of the log-uniform draw, over half the larger image side [own]."""
    noise: ShotNoise = field(default_factory=lambda: ShotNoise(rotation_rad=0.15))
    bodies: BodyConfig = field(default_factory=BodyConfig)
    view_limit: float = 1.6
    """Joints may be this far from the middle of the image; 1 is the edge of the longer side."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(self, "replay", "view_limit")
        if not 0 <= self.own_share <= 1:
            found.append(f"replay.own_share: expected 0 to 1, got {self.own_share}")
        found += _range(self, "replay", "focal_range")
        return found + self.noise.problems() + self.bodies.problems()


def _range(config: Any, prefix: str, name: str) -> list[str]:
    low, high = getattr(config, name)
    if 0 < low <= high:
        return []
    return [f"{prefix}.{name}: expected 0 < low <= high, got {low}, {high}"]
