"""What can be set, with the published defaults and their sources. Standard library only.

Abbreviations of sources: [AP] the AdaptPose paper (CVPR 2022), [APc] its released code where the
paper gives no number, [PA] PoseAug (CVPR 2021), [VP] VideoPose3D (CVPR 2019), [own] ours, with the
reason. Every config can name what is wrong with it (`problems`), all at once.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from adaptpose.config_values import (
    check_config,
    config_from_dict,
    config_to_dict,
    override,
    positive_problems,
)

__all__ = [
    "BoneMethod",
    "CameraMethod",
    "DiscriminatorConfig",
    "FitConfig",
    "GeneratorConfig",
    "LifterConfig",
    "LossConfig",
    "PretrainConfig",
    "Rotation",
    "SelectionConfig",
    "Start",
    "check_config",
    "config_from_dict",
    "config_to_dict",
    "override",
]

BoneMethod = Literal["none", "bg1", "bg2", "bg3"]
CameraMethod = Literal["none", "deterministic", "probabilistic"]
Rotation = Literal["axis_angle", "quaternion", "euler"]
Start = Literal["source", "wide", "viewpoint"]


@dataclass(frozen=True)
class LifterConfig:
    """Architecture of a lifter."""

    name: str = "tcn"
    """"tcn" [VP] or "mlp" (SimpleBaseline)."""
    widths: tuple[int, ...] = (3, 3, 3)
    """Filter widths of the TCN; their product is the receptive field: 27 frames [AP section 6]."""
    channels: int = 1024
    """Width of the hidden layers [VP]."""
    dropout: float = 0.25
    """Dropout probability [VP]."""
    causal: bool = False
    """Use past frames only [VP]."""
    predict_root: bool = False
    """Give the root as a free output [VP]; False fixes it at 0, with J - 1 outputs [APc]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = []
        if not self.widths or any(w < 1 or w % 2 == 0 for w in self.widths):
            found.append(f"lifter.widths: expected odd positive numbers, got {self.widths}")
        found += positive_problems(self, "lifter", "channels")
        if not 0 <= self.dropout < 1:
            found.append(f"lifter.dropout: expected 0 <= p < 1, got {self.dropout}")
        return found


@dataclass(frozen=True)
class PretrainConfig:
    """Supervised training of a lifter on a source."""

    epochs: int = 60
    """[VP] 60 by default, 80 in its paper."""
    windows_per_epoch: int = 0
    """Windows drawn per epoch; 0 means one per source frame [VP]."""
    batch_size: int = 1024
    """[VP], [AP]."""
    learning_rate: float = 1e-3
    """Adam with amsgrad [VP]."""
    learning_rate_decay: float = 0.95
    """Factor per epoch [VP]."""
    batch_norm_momentum: tuple[float, float] = (0.1, 0.001)
    """First and last momentum, exponential in between [VP]."""
    strides: tuple[int, int] = (2, 5)
    """Range of the random frame stride at 50 Hz [AP section 6]."""
    mirror: bool = True
    """Mirror half of the windows [VP doubles the data with mirrored windows]."""
    trajectory: bool = False
    """Train a trajectory lifter beside it, L1 weighted by 1 / depth [VP semi-supervised]."""
    seed: int = 0

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(self, "pretrain", "epochs", "batch_size", "learning_rate")
        found += _range(self, "pretrain", "strides")
        if self.windows_per_epoch < 0:
            found.append(f"pretrain.windows_per_epoch: expected >= 0, got {self.windows_per_epoch}")
        return found


@dataclass(frozen=True)
class GeneratorConfig:
    """The human motion generator [AP section 4]."""

    bones: BoneMethod = "bg3"
    """Bone generation: BG1 (eq. 5), BG2 (eq. 6), BG3 (eq. 7-10), or none (ablation A2)."""
    lengths: bool = True
    """Change bone lengths (lambda of eq. 5-6)."""
    camera: CameraMethod = "probabilistic"
    """Camera generation [AP 4.2], or none: the source camera (ablation A1)."""
    rotation: Rotation = "axis_angle"
    """What the rotation is drawn as [AP 4.2, table 7]."""
    angle_profile: Literal["full", "paper"] = "full"
    """Angle over the window: "paper" j/n leaves a single frame unturned; "full" j/(n-1), 0.5 for
    n = 1 [own: BG3 must act on single frames]."""
    max_angle_rad: float = 3.141592653589793
    """Bound of the bone angle, by tanh [own: the paper's angle is unbounded]."""
    max_length_change: float = 0.2
    """Bound of lambda, by tanh [PA]."""
    symmetric_lengths: bool = True
    """One lambda per left-right pair [APc]; False: one per bone [AP eq. 5]."""
    translation: Literal["screen", "metric"] = "screen"
    """"screen": root position in the image and depth, back-projected [own: stays in view];
    "metric": lateral shift in metres [AP eq. 3]."""
    depth: Literal["softplus", "square"] = "softplus"
    """Depth from the raw output; "square" is [APc], with no gradient at 0."""
    min_depth: float = 1.0
    """Floor of the root's depth in metres [own: the released one reaches 2e-6 m]."""
    keep_trajectory: bool = True
    """Rotate the root's own motion with the person; False: static root [APc]."""
    hidden: int = 256
    """Width of the generator's layers [PA]."""
    noise_size: int = 45
    """Dimensions of the Gaussian noise [APc]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(
            self, "generator", "max_angle_rad", "min_depth", "hidden", "noise_size"
        )  # fmt: skip
        if not 0 < self.max_length_change < 1:
            got = self.max_length_change
            found.append(f"generator.max_length_change: expected between 0 and 1, got {got}")
        return found


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Domain (2D) and 3D discriminators [AP 4.3]."""

    real_2d: Literal["target", "source"] = "target"
    """Real 2D of the domain discriminator; "source" is the ablation without adaptation [AP 6.4]."""
    frames: Literal["window", "single"] = "window"
    """Judge whole windows [AP eq. 1, sequences], or the middle frame [APc]."""
    kcs_2d: bool = True
    """The 2D-KCS branch of the domain discriminator [AP 4.3]."""
    kcs_frames: int = 5
    """Evenly spaced frames of a window whose KCS is judged; the keypoint branch sees all frames
    [own: the KCS of neighbouring frames hardly differs]."""
    hidden_2d: int = 100
    """Width of the keypoint branch [PA]."""
    hidden_kcs: int = 256
    """Width of the 2D-KCS branch [APc]."""
    hidden_3d: int = 128
    """Width of each of the five part-wise branches of the 3D discriminator [own: 256 in PA, where
    each reads 225 numbers of which at most 28 differ from zero]."""
    max_perturbation_deg: float = 10.0
    """Random turn of every bone of the real 3D [AP 4.3: beta < 10 degrees]."""
    pool_size: int = 4096
    """Generated samples kept to show again [PA]."""
    every: int = 2
    """Discriminators are updated every n-th step [PA]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(
            self, "discriminator", "kcs_frames", "hidden_2d", "hidden_kcs", "hidden_3d", "every",
            "pool_size",
        )  # fmt: skip
        if not 0 <= self.max_perturbation_deg < 90:
            got = self.max_perturbation_deg
            found.append(f"discriminator.max_perturbation_deg: expected 0 to 90, got {got}")
        return found


@dataclass(frozen=True)
class LossConfig:
    """Weights and bands of the generator's losses."""

    adversarial_2d: float = 1.0
    """[PA]."""
    adversarial_3d: float = 6.0
    """[PA]."""
    regularisation: float = 3.0
    """Weight of the angle and length penalties [PA]."""
    angle_band: tuple[float, float] = (0.205, 0.165)
    """Centre and half-width of the free band of mean 1 - cos(angle) [PA]."""
    free_length_change: float = 0.1
    """Length changes below this cost nothing [PA]."""
    hardness_bones: float = 0.1
    """Weight of the hard-ratio feedback after bone generation [APc]."""
    hardness_camera: float = 0.01
    """Weight of the hard-ratio feedback after camera generation [APc]."""
    hardness_bones_band: tuple[float, float, float] = (3.0, 5.0, 2.0)
    """c at the first and the last epoch, and d, of eq. 20-21 [PA]."""
    hardness_camera_band: tuple[float, float] = (17.0, 15.0)
    """c and d of eq. 20-21 [APc]."""
    hardness_rule: Literal["outside", "inside"] = "outside"
    """Penalise ratios outside the band [APc] or inside it (eq. 21 as printed)."""
    reprojection: Literal["generator", "lifter", "none"] = "generator"
    """Where eq. 18 acts: on generated pairs, on the lifter's target predictions, or nowhere."""
    reprojection_weight: float = 1e-4
    """[APc]."""
    feedback_fraction: float = 0.25
    """Share of a batch that the lifter gives feedback on [own: speed]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        if not 0 <= self.feedback_fraction <= 1:
            return [f"loss.feedback_fraction: expected 0 to 1, got {self.feedback_fraction}"]
        return []


@dataclass(frozen=True)
class SelectionConfig:
    """Which generated samples the lifter is trained on [AP 4.4]."""

    hardness: bool = True
    """Apply eq. 14; False is the ablation without selection."""
    hardness_band: tuple[float, float] = (17.0, 16.0)
    """a and b of eq. 14 [APc]."""
    screen: bool = True
    """Every joint of the window inside the image, on both sides [own: APc tests one side]."""
    min_depth: float = 0.5
    """Every joint at least this far in front of the camera, in metres [own]."""

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        return positive_problems(self, "selection", "min_depth")


@dataclass(frozen=True)
class FitConfig:
    """Adversarial adaptation of a lifter to a target [AP section 5]."""

    epochs: int = 50
    """[APc]."""
    samples_per_epoch: int = 1_500_000
    """Generated windows per epoch, before selection [AP section 5]."""
    sections: int = 5
    """Parts of an epoch; the lifter is fine-tuned on the samples of each [APc]."""
    warmup_epochs: int = 2
    """First epochs without fine-tuning and feedback [APc]."""
    batch_size: int = 1024
    """[AP]."""
    learning_rate_generator: float = 1e-4
    """[APc]."""
    learning_rate_discriminator: float = 1e-4
    """[APc]."""
    learning_rate_lifter: float = 1e-4
    """[APc]."""
    gradient_clip: float = 1.0
    """Largest gradient norm of every network [APc]."""
    start: Start = "source"
    """Windows that the generator starts from [own, beside the source]: real ones of the source
    [AP], wide augmentation of them, or their motions filmed from the target's viewpoints."""
    start_epochs: int = 4
    """Epochs after which the target is lifted anew for such viewpoints [own: as in rounds]."""
    start_share: float = 0.5
    """Share of the source windows the lifter is tuned on that are made as the generator's start
    is; nothing where that is the source [own]."""
    repeat_kept: bool = False
    """Show kept windows again until a section has made an update per generated batch [own]; [AP]
    makes fewer the more its selection leaves out."""
    mixing: Literal["mixed", "sequential"] = "mixed"
    """Source and generated windows in every batch (eq. 23), or a generated pass per section and a
    source pass per epoch [APc: the two passes pull against each other]."""
    lifter_loss: Literal["mpjpe", "mse"] = "mpjpe"
    """Norm (eq. 23) or squared error [APc]."""
    mirror: bool = True
    """Mirror half of the windows the lifter is tuned on [own: as in pretraining]."""
    strides: tuple[int, int] = (2, 5)
    """Range of the random frame stride at 50 Hz [AP section 6]."""
    critic_mode: Literal["eval", "train"] = "eval"
    """Mode of the lifter as critic; "train" lets its batch norm drift [APc]."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the lifter's layers [own: bfloat16 for GPUs that are fast at it]."""
    checkpoint_rule: Literal["last", "label_free"] = "last"
    """Which epoch's lifter is the result; neither rule sees target 3D."""
    seed: int = 0
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def problems(self) -> list[str]:
        """What is wrong, in the user's words; empty if nothing."""
        found = positive_problems(
            self, "fit", "epochs", "samples_per_epoch", "sections", "batch_size",
            "learning_rate_generator", "learning_rate_discriminator", "learning_rate_lifter",
            "gradient_clip", "start_epochs",
        )  # fmt: skip
        found += _range(self, "fit", "strides")
        if self.warmup_epochs < 0:
            found.append(f"fit.warmup_epochs: expected >= 0, got {self.warmup_epochs}")
        if not 0 <= self.start_share <= 1:
            found.append(f"fit.start_share: expected 0 to 1, got {self.start_share}")
        if self.samples_per_epoch < self.sections * self.batch_size:
            found.append(
                f"fit.samples_per_epoch: expected at least sections x batch_size = "
                f"{self.sections * self.batch_size}, got {self.samples_per_epoch} "
                f"(fix: lower fit.batch_size or fit.sections)"
            )
        parts = (self.generator, self.discriminator, self.loss, self.selection)
        return found + [problem for part in parts for problem in part.problems()]

    @property
    def steps_per_section(self) -> int:
        """Adversarial steps in one section."""
        return max(1, self.samples_per_epoch // (self.sections * self.batch_size))


def _range(config: Any, prefix: str, name: str) -> list[str]:
    low, high = getattr(config, name)
    if 1 <= low <= high:
        return []
    return [f"{prefix}.{name}: expected 1 <= low <= high, got {low}, {high}"]
