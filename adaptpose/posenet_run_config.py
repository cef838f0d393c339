"""What can be set of the training of PoseNet3D. Standard library only.

[PN] marks what the paper says (Tripathi et al., 3DV 2020, section 4.1), [own] what it leaves open.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from adaptpose.config_values import config_to_dict, positive_problems
from adaptpose.posenet_config import DensityConfig, LossWeights, PoseNetConfig, ViewRange

Stage = Literal["teacher", "distill", "sja", "joint"]
STAGES: tuple[Stage, ...] = ("teacher", "distill", "sja", "joint")
"""The four training steps of section 3.5, in their order."""


@dataclass(frozen=True)
class StageEpochs:
    """Epochs of each stage; the paper's 150 are read as those of every stage."""

    teacher: int = 150
    distill: int = 150
    sja: int = 150
    joint: int = 150


@dataclass(frozen=True)
class PoseNetRunConfig:
    """Training of PoseNet3D in stages; the defaults are the published ones."""

    stages: tuple[Stage, ...] = STAGES
    """Stages to train, in their order. The teacher's can be left out where a teacher is given."""
    epochs: StageEpochs = field(default_factory=StageEpochs)
    steps_per_epoch: int = 0
    """Updates between two records of the log; 0: as many as it takes to draw as many windows as the
    target has."""
    batch_size: int = 6000
    """Windows of an update [PN]."""
    student_batch_size: int = 0
    """Windows of an update that the student learns from, whose body takes most of the time; 0: all
    [PN]."""
    learning_rate: float = 1e-4
    """Adam [PN], of all networks."""
    learning_rate_end: float = 1.0
    """Factor on the learning rate at the end of a stage, reached exponentially; 1: none [PN]."""
    strides: tuple[int, int] = (1, 1)
    """Range of the random frame stride at 50 Hz: neighbouring frames of Human3.6M [PN]."""
    network: PoseNetConfig = field(default_factory=PoseNetConfig)
    """Sizes of the networks. `body_joints` is taken from the body model; `shapes` is the number of
    shape coefficients."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses. The published weight of the pose, 30, with sums over joints in
    head-root distances lets hardly any joint bend: see `LossWeights`."""
    pose_of_root: bool = True
    """Whether eq. 8 counts the root joint as printed, which penalises facing away."""
    adversarial: Literal["non-saturating", "saturating"] = "non-saturating"
    """How the networks minimise eq. 5, see `posenet_losses.adversarial_loss`."""
    judge: Literal["window", "frame"] = "window"
    """What the discriminator sees: windows [PN], or one frame of each [own]. Over a window it soon
    knows lifted motion by its trembling, and says little of poses then."""
    views: ViewRange = field(default_factory=ViewRange)
    """Random views of eq. 1; the paper gives no range."""
    elevation: Literal["range", "learned"] = "range"
    """Elevations of the random views: from the range, or ElePose's learned distribution [own]."""
    density_weight: float = 0.0
    """Weight of minus the log density of projected 2D poses, per frame; 0: no density [own]."""
    density: DensityConfig = field(default_factory=DensityConfig)
    check_sign: Literal["never", "perspective", "anatomy"] = "never"
    """After every epoch of the teacher's stage: turn all depths round if mirrored in depth the
    left limbs are more like the right ones, or if shins fold forward more than back, see
    `posenet_sign.turn_depths_if_flipped` [own]."""
    scale: Literal["window", "clip"] = "window"
    """What a window's 2D is scaled by in training: its own head-root distance [PN] or its clip's,
    so that a body which bends does not grow [own]. Lifters scale by the window in either case."""
    adaptation: Literal["convex", "linear", "none"] = "convex"
    """Semantic joint adaptation: convex W' [PN], linear (eq. 6), or none."""
    convex_rule: Literal["squares", "softmax"] = "squares"
    """How W' stays convex, see `joint_adaptation.ConvexAdaptation`; the paper does not say."""
    student: Literal["distillation", "reprojection"] = "distillation"
    """What teaches the student: the teacher, or directly the 2D (baselines 1 and 2 of section 4.5),
    for which there is no teacher and the backbone learns with the student."""
    vertices: int = 0
    """Vertices of the body that W' may use, spread evenly, besides those that the initial
    regressor uses; 0: all [PN]."""
    output: Literal["average", "student", "teacher"] = "average"
    """What the run's lifter gives, once there is a student: "PoseNet3D" is the average [PN]."""
    score_every: int = 1
    """Epochs between scores in the log, which also has them at the end of a stage; 0: none."""
    seed: int = 0

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        counts = ("batch_size", "learning_rate")
        found = self._stage_problems() + positive_problems(self, "posenet", *counts)
        if not 0 < self.learning_rate_end <= 1:
            got = self.learning_rate_end
            found.append(f"posenet.learning_rate_end: expected above 0, at most 1, got {got}")
        if self.batch_size < 2:
            found.append(f"posenet.batch_size: expected at least 2, got {self.batch_size}")
        if self.student_batch_size == 1:
            found.append("posenet.student_batch_size: expected 0, or at least 2, got 1")
        for name in (
            "steps_per_epoch",
            "student_batch_size",
            "vertices",
            "density_weight",
            "score_every",
        ):
            if not getattr(self, name) >= 0:
                found.append(f"posenet.{name}: expected 0 or more, got {getattr(self, name)}")
        low, high = self.strides
        if not 1 <= low <= high:
            got = f"{low},{high}"
            found.append(f"posenet.strides: expected two rising numbers from 1 on, got {got}")
        inner = self.network.problems()
        found += [text.replace("posenet.", "posenet.network.", 1) for text in inner]
        for part in (self.weights, self.views, self.density):
            found += [f"posenet.{text}" for text in part.problems()]
        return found

    def _stage_problems(self) -> list[str]:
        found = []
        for stage, epochs in vars(self.epochs).items():
            if epochs < 1:
                found.append(f"posenet.epochs.{stage}: expected at least 1, got {epochs}")
        asked = ",".join(self.stages)
        if not self.stages or list(self.stages) != [s for s in STAGES if s in self.stages]:
            wanted = f"some of {','.join(STAGES)} in this order, once each"
            return [*found, f"posenet.stages: expected {wanted}, got '{asked}'"]
        if "joint" in self.stages and "distill" not in self.stages:
            found.append(
                f"posenet.stages: expected distill before joint, got '{asked}' "
                "(fix: a student has to learn before all are tuned)"
            )
        if "sja" in self.stages and "distill" not in self.stages:
            found.append(f"posenet.stages: expected distill before sja, got '{asked}'")
        alone = not {"teacher", "joint"} & set(self.stages)
        if self.student == "reprojection" and not alone:
            found.append(
                "posenet.student: 'reprojection' has no teacher, expected the stages distill or "
                f"distill,sja, got '{asked}' (fix: --steps distill,sja)"
            )
        return found

    @property
    def student_windows(self) -> int:
        """Windows of an update that the student learns from."""
        return min(self.student_batch_size or self.batch_size, self.batch_size)

    def windows_in(self, stage: Stage) -> int:
        """Windows that an update of a stage draws."""
        return self.student_windows if stage in ("distill", "sja") else self.batch_size

    @property
    def has_student(self) -> bool:
        """Whether any stage needs a student."""
        return self.stages != ("teacher",)


PRESETS: dict[str, PoseNetRunConfig] = {
    "published": PoseNetRunConfig(),
    "cpu": PoseNetRunConfig(
        epochs=StageEpochs(teacher=40, distill=15, sja=15, joint=10),
        steps_per_epoch=100,
        batch_size=128,
        student_batch_size=96,
        learning_rate=1e-3,
        learning_rate_end=0.1,
        network=PoseNetConfig(channels=128, dropout=0.0, distance=7.0),
        weights=LossWeights(
            self_supervision=0.3,
            consistency=0.3,
            bones=0.5,
            adversarial=5.0,
            anatomy=1.5,
            proportions=1.0,
            pose=0.05,
            shape=0.1,
        ),
        pose_of_root=False,
        judge="frame",
        elevation="learned",
        check_sign="anatomy",
        vertices=300,
        score_every=5,
    ),
}
"""Settings by name. "cpu" is for two cores and less than an hour: narrower networks, small batches,
fewer steps, a larger learning rate that falls, a subset of the body's vertices; and, because the
published ones keep the student near its rest pose, smaller weights of its regularisers. What makes
its teacher lift real motion: the ways limbs bend, proportions, learned elevations, a discriminator
of single frames with more weight, and cameras nearer to the body."""


def preset_changes(name: str) -> dict[str, tuple[Any, Any]]:
    """Settings by dotted key in which a preset differs: (published, the preset's)."""
    published = _flat(config_to_dict(PRESETS["published"]))
    own = _flat(config_to_dict(PRESETS[name]))
    return {key: (published[key], own[key]) for key in own if own[key] != published[key]}


def with_body(config: PoseNetRunConfig, joints: int, shapes: int) -> PoseNetRunConfig:
    """The settings for a body of so many joints, with no more shape coefficients than it has."""
    network = replace(config.network, body_joints=joints, shapes=min(config.network.shapes, shapes))
    return replace(config, network=network)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found
