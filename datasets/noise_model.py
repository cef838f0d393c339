"""The parameters of a 2D detector's errors, and the JSON files that hold them.

What the parameters do to keypoints is in `adaptpose.datasets.noise`. Scales are shares of the
person's size in the image, times are in seconds.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message
from adaptpose.skeleton import mirror_free_name
from adaptpose.store import write_bytes

JOINT_CLASSES = (
    "pelvis", "spine", "thorax", "nose", "head", "hip", "knee", "ankle", "shoulder", "elbow",
    "wrist",
)  # fmt: skip
_MIDDLE_CLASS = {
    "hip": "pelvis", "spine": "spine", "thorax": "thorax", "neck_nose": "nose", "head": "head",
}  # fmt: skip
SWAP_GROUPS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
"""Joints that change sides together: the legs, and the arms."""
DEFAULT_NOISE = Path(__file__).with_name("detector_noise.json")
"""The shipped model; its provenance says what it was fitted on."""
_FORMAT = "adaptpose detector noise 1"


@dataclass(frozen=True)
class DetectorNoise:
    """Parameters of a detector's errors. All zero, as by default, it changes nothing.

    `scale`: Student-t scale per joint class (`JOINT_CLASSES`), share of the person's size;
    `tail_dof`: degrees of freedom ν, smaller is heavier-tailed. `slow_share`, `jitter_share`:
    shares of the slow and the memoryless part of the error's Gaussian variance, the rest is the
    fast part; `slow_s`, `fast_s`: their correlation times. Swaps: bursts per second for each of
    `SWAP_GROUPS` and mean length. Missing: bursts per second for each joint and mean length; a
    missing joint holds its last place, or, in `gross_share` of the bursts, lies off by a normal
    offset of `gross_scale` person sizes; its confidence is multiplied by `missing_confidence`.
    Confidence: min(1, level · exp(-slope · error share + spread · normal)).
    """

    scale: dict[str, float] = field(default_factory=lambda: dict.fromkeys(JOINT_CLASSES, 0.0))
    tail_dof: float = 5.0
    slow_share: float = 0.0
    slow_s: float = 2.0
    fast_s: float = 0.1
    jitter_share: float = 0.0
    swap_rate_hz: float = 0.0
    swap_mean_s: float = 0.1
    missing_rate_hz: float = 0.0
    missing_mean_s: float = 0.1
    missing_confidence: float = 0.0
    gross_share: float = 0.0
    gross_scale: float = 0.2
    confidence_level: float = 1.0
    confidence_slope: float = 0.0
    confidence_spread: float = 0.0

    def __post_init__(self) -> None:
        if set(self.scale) != set(JOINT_CLASSES):
            wrong = ", ".join(sorted(set(self.scale) ^ set(JOINT_CLASSES)))
            expected = f"a value for each of {', '.join(JOINT_CLASSES)}"
            raise ConfigError(
                expected_message("detector noise, scale", expected, f"a mismatch in {wrong}")
            )
        numbers = {f"scale.{joint}": value for joint, value in self.scale.items()}
        numbers |= {f.name: getattr(self, f.name) for f in fields(self) if f.name != "scale"}
        for name, value in numbers.items():
            positive = name in ("tail_dof", "slow_s", "fast_s", "swap_mean_s", "missing_mean_s")
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                expected = f"a number {'above' if positive else 'of at least'} 0"
                raise ConfigError(expected_message(f"detector noise, {name}", expected, str(value)))
        for name in ("gross_share", "missing_confidence", "confidence_level"):
            if getattr(self, name) > 1:
                got = str(getattr(self, name))
                raise ConfigError(expected_message(f"detector noise, {name}", "at most 1", got))
        if self.slow_share + self.jitter_share > 1:
            got = f"{self.slow_share} + {self.jitter_share}"
            raise ConfigError(
                expected_message("detector noise, slow_share + jitter_share", "at most 1", got)
            )

    def correlation(self, lag_s: float) -> float:
        """Correlation of the Gaussian behind the error at a time difference of `lag_s` seconds."""
        if lag_s == 0:
            return 1.0
        fast = 1 - self.slow_share - self.jitter_share
        slow = self.slow_share * math.exp(-abs(lag_s) / self.slow_s)
        return slow + fast * math.exp(-abs(lag_s) / self.fast_s)

    def times(self, factor: float) -> "DetectorNoise":
        """The same detector with errors and burst rates `factor` times as large."""
        return replace(
            self,
            scale={joint: value * factor for joint, value in self.scale.items()},
            swap_rate_hz=self.swap_rate_hz * factor,
            missing_rate_hz=self.missing_rate_hz * factor,
        )


def joint_class(joint: str) -> str:
    """The class in `JOINT_CLASSES` of a joint by name; DataError for a joint without one."""
    name = _MIDDLE_CLASS.get(joint, mirror_free_name(joint))
    if name not in JOINT_CLASSES:
        raise DataError(unknown_name_message("joint class of", joint, JOINT_CLASSES))
    return name


def load_noise(path: Path | None = None) -> DetectorNoise:
    """The model of a JSON file, by default the shipped one; DataError if it is damaged."""
    where = path or DEFAULT_NOISE
    values = _read_json(where).get("model")
    known = [f.name for f in fields(DetectorNoise)]
    if not isinstance(values, dict):
        raise DataError(expected_message(f"{where}, model", "a table of parameters", str(values)))
    for name in values:
        if name not in known:
            raise DataError(f"{where}: {unknown_name_message('parameter', name, known)}")
    if missing := [name for name in known if name not in values]:
        raise DataError(expected_message(str(where), "all parameters", f"no {missing[0]}"))
    try:
        scale = {str(joint): float(value) for joint, value in dict(values["scale"]).items()}
        rest = {name: float(values[name]) for name in known if name != "scale"}
        return DetectorNoise(scale=scale, **rest)
    except (TypeError, ValueError, ConfigError) as error:
        raise DataError(f"{where}: {error}") from error


def noise_provenance(path: Path | None = None) -> dict[str, str]:
    """What a model file says about its origin: data, credit, command, priors."""
    values = _read_json(path or DEFAULT_NOISE).get("provenance", {})
    return {str(key): str(value) for key, value in dict(values).items()}


def save_noise(path: Path, model: DetectorNoise, provenance: dict[str, str]) -> None:
    """Write a model and its origin as JSON, whole or not at all; DataError if it cannot be."""
    payload = {"format": _FORMAT, "provenance": provenance, "model": asdict(model)}
    write_bytes(path, (json.dumps(payload, indent=2, ensure_ascii=False) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(expected_message(str(path), "a noise model (JSON)", str(error))) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        fix = "make one with adapt noise-fit"
        raise DataError(expected_message(str(path), f"format '{_FORMAT}'", "another", fix))
    return content
