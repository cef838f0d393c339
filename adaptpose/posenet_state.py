"""Everything that changes while PoseNet3D is trained, and how it is saved and restored."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.body_parts import (
    farthest_points,
    joint_regressor_for,
    used_vertices,
    with_vertices,
)
from adaptpose.elevation import ElevationHead
from adaptpose.errors import CheckpointError, ConfigError, expected_message
from adaptpose.joint_adaptation import ConvexAdaptation, JointAdaptation, build_adaptation
from adaptpose.lifter import Lifter
from adaptpose.pose_density import PoseDensity
from adaptpose.posenet import Teacher, TemporalDiscriminator, initialise, set_generator
from adaptpose.posenet_body import SkinnedBody, Student
from adaptpose.posenet_geometry import JOINTS
from adaptpose.posenet_run_config import PoseNetRunConfig, Stage
from adaptpose.runtime import has_fused_optimisers, stream
from adaptpose.skinning import BodyModel

LifterFactory = Callable[[Teacher, Student | None, str], Lifter]
"""Makes the lifter of networks; the text is "teacher", "student" or "average"."""


@dataclass(frozen=True)
class FittedBody:
    """The body that a student poses, and the regressor of the 14 joints from its vertices."""

    model: BodyModel
    regressor: Float[Tensor, "14 vertices"]


def fitted_body(model: BodyModel, vertices: int = 0) -> FittedBody:
    """The body with the vertices that its joints use and so many more, evenly spread; 0: all.

    SkeletonError for a body of which not all of the 14 joints can be made.
    """
    regressor = joint_regressor_for(model, JOINTS)
    if not vertices or vertices >= len(model.template):
        return FittedBody(model, regressor)
    spread = farthest_points(model, vertices)
    index = torch.cat([used_vertices(regressor), spread]).unique()
    return FittedBody(with_vertices(model, index), regressor[:, index])


@dataclass
class PoseNetState:
    """Networks, optimisers of the current stage, and counters.

    `stage` counts the stages of the configuration, `epoch` the epochs within it, `epochs_done`
    those of all stages.
    """

    teacher: Teacher
    discriminator: TemporalDiscriminator
    student: Student | None = None
    elevation: ElevationHead | None = None
    density: PoseDensity | None = None
    optimisers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    stage: int = 0
    epoch: int = 0
    epochs_done: int = 0

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by name."""
        named = {
            "teacher": self.teacher,
            "discriminator": self.discriminator,
            "student": self.student,
            "elevation": self.elevation,
        }
        return {name: network for name, network in named.items() if network is not None}

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Give every dropout the generator its masks are drawn from."""
        for network in self.networks.values():
            set_generator(network, generator)

    def begin_stage(self, config: PoseNetRunConfig) -> None:
        """New optimisers for what learns in the current stage; none when all stages are over."""
        self.optimisers = {}
        for network in self.networks.values():
            network.requires_grad_(False)
        if self.stage >= len(config.stages):
            return
        for name, modules in learning(self, config, config.stages[self.stage]).items():
            for module in modules:
                module.requires_grad_(True)
            weights = [weight for module in modules for weight in module.parameters()]
            fused = has_fused_optimisers(weights[0].device)
            self.optimisers[name] = torch.optim.Adam(weights, config.learning_rate, fused=fused)

    def advance(self, config: PoseNetRunConfig) -> None:
        """Count an epoch; after the last one of a stage the next begins."""
        self.epoch += 1
        self.epochs_done += 1
        if self.epoch >= getattr(config.epochs, config.stages[self.stage]):
            self.stage, self.epoch = self.stage + 1, 0
            self.begin_stage(config)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "density": None if self.density is None else self.density.state_dict(),
            "optimisers": {name: opt.state_dict() for name, opt in self.optimisers.items()},
            "stage": self.stage,
            "epoch": self.epoch,
            "epochs_done": self.epochs_done,
        }

    def load_state_dict(self, state: dict[str, Any], config: PoseNetRunConfig) -> None:
        """Go on from a saved state; CheckpointError if it is of other networks."""
        try:
            for name, network in self.networks.items():
                network.load_state_dict(state["networks"][name])
            if state["density"] is not None:
                self.density = PoseDensity(config.density)
                self.density.load_state_dict(state["density"])
                self.density.requires_grad_(False).eval()
                self.density.to(next(self.teacher.parameters()).device)
            self.stage, self.epoch = int(state["stage"]), int(state["epoch"])
            self.epochs_done = int(state["epochs_done"])
            self.begin_stage(config)
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            got = f"one that does not fit ({str(error)[:200]})"
            message = expected_message("state of the run", "a state of these networks", got)
            raise CheckpointError(message) from error


def learning(
    state: PoseNetState, config: PoseNetRunConfig, stage: Stage
) -> dict[str, list[nn.Module]]:
    """What learns in a stage, by optimiser (section 3.5)."""
    elevation = [] if state.elevation is None else [state.elevation]
    judge: dict[str, list[nn.Module]] = {"discriminator": [state.discriminator]}
    if stage == "teacher":
        return {"lifters": [state.teacher, *elevation], **judge}
    assert state.student is not None
    pupil: list[nn.Module] = [state.student.head]
    if stage != "distill" and any(True for _ in state.student.adaptation.parameters()):
        pupil.append(state.student.adaptation)
    if stage == "joint":
        return {"lifters": [state.teacher, *pupil, *elevation], **judge}
    if config.student == "reprojection":
        pupil.append(state.teacher.backbone)
    return {"lifters": pupil}


def create_state(
    config: PoseNetRunConfig,
    body: FittedBody | None,
    device: torch.device,
    start: Teacher | None = None,
) -> PoseNetState:
    """Fresh networks, drawn from the seed alone, about to begin the first stage.

    `start` is a trained teacher to go on from. ConfigError if the stages need a body or a teacher
    that is not there, or the given teacher has other sizes.
    """
    network = config.network
    _check_parts(config, body, start)
    teacher = Teacher(network)
    initialise(teacher, stream(config.seed, "posenet3d", "teacher"))
    if start is not None:
        teacher.load_state_dict(start.state_dict())
    seen = network if config.judge == "window" else replace(network, widths=(1, 1))
    judge = TemporalDiscriminator(seen)
    initialise(judge, stream(config.seed, "posenet3d", "discriminator"))
    state = PoseNetState(teacher, judge)
    if config.has_student:
        assert body is not None
        adaptation = _adaptation(config, body.regressor)
        state.student = Student(network, SkinnedBody(body.model), adaptation)
        initialise(state.student, stream(config.seed, "posenet3d", "student"))
        state.student.set_size()
    if config.elevation == "learned":
        state.elevation = ElevationHead(network)
        initialise(state.elevation, stream(config.seed, "posenet3d", "elevation"))
    for module in state.networks.values():
        module.to(device)
    state.begin_stage(config)
    return state


def _check_parts(config: PoseNetRunConfig, body: FittedBody | None, start: Teacher | None) -> None:
    asked = ",".join(config.stages)
    needs_teacher = config.student == "distillation" and "teacher" not in config.stages
    if needs_teacher and start is None:
        fix = "--steps teacher,..., or --pretrained with a run that has one"
        raise ConfigError(expected_message(f"stages {asked}", "a trained teacher", "none", fix))
    if config.has_student and body is None:
        raise ConfigError(expected_message(f"stages {asked}", "a body model", "none"))
    if start is None:
        return
    want, got = vars(config.network), vars(start.config)
    keys = ("widths", "channels", "distance", "nearest")
    other = [f"{key} {got[key]} instead of {want[key]}" for key in keys if want[key] != got[key]]
    if other:
        fix = "set posenet.network as in its run"
        raise ConfigError(
            expected_message("the given teacher", "the sizes set", ", ".join(other), fix)
        )


def _adaptation(config: PoseNetRunConfig, regressor: Tensor) -> JointAdaptation:
    if config.adaptation == "convex":
        return ConvexAdaptation(regressor, config.convex_rule)
    return build_adaptation(config.adaptation, regressor)


def set_learning_rate(state: PoseNetState, config: PoseNetRunConfig, share: float) -> float:
    """The learning rate at a share of the current stage, exponentially falling; set."""
    rate = config.learning_rate * config.learning_rate_end**share
    for optimiser in state.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate
    return rate
