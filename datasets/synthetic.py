"""The embedded synthetic actor: seeded motions of people that never were.

For demonstrations and tests where no recorded motion is at hand; every number made with it must be
shown as synthetic. Two presets differ as recorded corpora differ: "studio" has adults in everyday
actions, "field" children and tall athletes in sports. World: metres, z up, floor at z = 0, each
take near the origin with a random facing; joints `H36M_17`.

Every take draws from its own stream, named by seed, preset, split, subject, action and take, so
that it does not depend on which others are made; subjects of the splits are different people.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.datasets.motion import Motion
from adaptpose.datasets.synthetic_blend import Action
from adaptpose.datasets.synthetic_body import Build, draw_body
from adaptpose.datasets.synthetic_curves import Style, Take
from adaptpose.datasets.synthetic_field import FIELD_ACTIONS
from adaptpose.datasets.synthetic_figure import figure_joints, rotation
from adaptpose.datasets.synthetic_studio import STUDIO_ACTIONS
from adaptpose.errors import ConfigError, expected_message, unknown_name_message
from adaptpose.runtime import stream

CLIP_SECONDS = 6.0
"""Length of every take."""

MAX_SUBJECTS = 99
"""Most subjects of one split; their numbers stay below those of the next split."""


@dataclass(frozen=True)
class SyntheticPreset:
    """What one preset is made of: actions, the builds its subjects take in turn, their tempo."""

    actions: dict[str, Action]
    builds: tuple[Build, ...]
    tempo: tuple[float, float]
    energy: tuple[float, float]


@dataclass(frozen=True)
class SyntheticSplit:
    """One split: its subjects are numbered from `first_subject` on, `num_subjects` by default."""

    first_subject: int
    num_subjects: int


PRESETS: dict[str, SyntheticPreset] = {
    "studio": SyntheticPreset(STUDIO_ACTIONS, ("man", "woman"), (0.85, 1.05), (0.7, 1.1)),
    "field": SyntheticPreset(FIELD_ACTIONS, ("child", "athlete"), (0.95, 1.2), (0.95, 1.3)),
}
SPLITS: dict[str, SyntheticSplit] = {
    "train": SyntheticSplit(1, 5),
    "validation": SyntheticSplit(101, 2),
    "test": SyntheticSplit(201, 3),
}


def synthetic_motions(
    preset: str,
    split: str,
    seed: int = 0,
    frame_rate_hz: float | int = 50.0,
    num_subjects: int | None = None,
    clips_per_action: int = 1,
) -> list[Motion]:
    """Motions of all subjects of a split in all actions of a preset, the same for the same seed.

    A take at another frame rate is the same motion sampled at other times. Raises ConfigError for
    an unknown preset or split, a frame rate not above 0, or impossible counts.
    """
    if preset not in PRESETS:
        raise ConfigError(unknown_name_message("synthetic preset", preset, PRESETS))
    if split not in SPLITS:
        raise ConfigError(unknown_name_message("synthetic split", split, SPLITS))
    count = SPLITS[split].num_subjects if num_subjects is None else num_subjects
    _check_sizes(frame_rate_hz, count, clips_per_action)
    wanted = _Wanted(preset, split, seed, float(frame_rate_hz), clips_per_action)
    return [motion for number in range(count) for motion in _subject_motions(wanted, number)]


@dataclass(frozen=True)
class _Wanted:
    preset: str
    split: str
    seed: int
    frame_rate_hz: float
    clips_per_action: int


def _check_sizes(frame_rate_hz: float | int, num_subjects: int, clips_per_action: int) -> None:
    if not (math.isfinite(frame_rate_hz) and frame_rate_hz > 0):
        raise ConfigError(
            expected_message("synthetic frame rate", "a number of Hz above 0", str(frame_rate_hz))
        )
    if not 1 <= num_subjects <= MAX_SUBJECTS:
        raise ConfigError(
            expected_message("synthetic subjects", f"1 to {MAX_SUBJECTS}", str(num_subjects))
        )
    if clips_per_action < 1:
        raise ConfigError(
            expected_message("synthetic clips per action", "at least 1", str(clips_per_action))
        )


def _subject_motions(wanted: _Wanted, number: int) -> list[Motion]:
    preset, rate = PRESETS[wanted.preset], wanted.frame_rate_hz
    subject = f"synth-{wanted.preset}-s{SPLITS[wanted.split].first_subject + number:02d}"
    path = ("synthetic", wanted.preset, wanted.split, subject)
    person = stream(wanted.seed, *path)
    body = draw_body(preset.builds[number % len(preset.builds)], person)
    style = _draw_style(preset, person)
    time = torch.arange(int(CLIP_SECONDS * rate + 1e-6) + 1, dtype=torch.float64) / rate
    motions = []
    for name, action in preset.actions.items():
        for k in range(wanted.clips_per_action):
            draws = stream(wanted.seed, *path, name, k)
            take = Take(time, CLIP_SECONDS, body, style, draws)
            joints = _somewhere(figure_joints(action(take), body), take)
            motions.append(Motion(subject, name, f"take-{k + 1}", rate, joints.float()))
    return motions


def _draw_style(preset: SyntheticPreset, generator: torch.Generator) -> Style:
    u = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
    low, high = preset.tempo
    weak, strong = preset.energy
    return Style(
        tempo=low + (high - low) * u[0],
        energy=weak + (strong - weak) * u[1],
        # About one person in ten is left-handed.
        hand=int(u[2] > 0.1),
        lean_rad=math.radians(-2 + 8 * u[3]),
        toe_out_rad=math.radians(2 + 14 * u[4]),
        stance=0.22 + 0.12 * u[5],
    )


def _somewhere(joints: Float[Tensor, "frames 17 3"], take: Take) -> Float[Tensor, "frames 17 3"]:
    turn = rotation(joints.new_tensor([take.uniform(0, 2 * math.pi), 0, 0]))
    shift = joints.new_tensor([take.uniform(-0.3, 0.3), take.uniform(-0.3, 0.3), 0])
    return joints @ turn.T + shift
