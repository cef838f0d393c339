"""Everything that changes while a lifter is adapted, and how it is saved and restored."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from adaptpose import distributed
from adaptpose.clips import Normalisation
from adaptpose.config import FitConfig
from adaptpose.discriminator import DomainDiscriminator, PoseDiscriminator, judged_frames
from adaptpose.generator import MotionGenerator
from adaptpose.lifter import Lifter
from adaptpose.pool import SamplePool
from adaptpose.runtime import has_fused_optimisers, stream
from adaptpose.shots import WindowMaker
from adaptpose.windows import FrameBank, LabelledBank


@dataclass(frozen=True)
class FitData:
    """What adaptation reads: a labelled source, a target without 3D, how 2D is normalised."""

    source: LabelledBank
    target: FrameBank
    normalisation: Normalisation

    @property
    def device(self) -> torch.device:
        """Where the frames are."""
        return self.source.device


class WindowLifter(nn.Module):
    """A lifter whose `forward` lifts single windows, for wrappers that only know `forward`."""

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.lifter = lifter

    def forward(self, pose2d: torch.Tensor) -> torch.Tensor:
        """Poses of windows, as `Lifter.lift_window`."""
        return self.lifter.lift_window(pose2d)


@dataclass
class FitState:
    """Networks, optimisers, pools and counters of one adaptation."""

    lifter: Lifter
    generator: MotionGenerator
    domain: DomainDiscriminator
    pose: PoseDiscriminator
    optimisers: dict[str, torch.optim.Optimizer]
    pools: dict[str, SamplePool]
    shared: dict[str, nn.Module]
    """The networks as gradients are to be taken: the same objects, or wrapped for several ranks."""
    epoch: int = 0
    section: int = 0
    best_score: float = float("inf")
    source_errors: torch.Tensor | None = field(default=None, repr=False)
    """Denominators of the hard ratio, of the lifter at the start of the epoch."""
    teacher: Lifter | None = field(default=None, repr=False)
    """The lifter that lifted the target for the viewpoints generation starts from, if it does."""
    maker: WindowMaker | None = field(default=None, repr=False)
    """What films the windows generation starts from; None for the source's own. Not saved: the
    teacher and the settings say all of it."""

    def networks(self) -> dict[str, nn.Module]:
        """The four networks by name."""
        return {
            "lifter": self.lifter,
            "generator": self.generator,
            "domain": self.domain,
            "pose": self.pose,
        }

    def set_teacher(self, weights: dict[str, torch.Tensor]) -> None:
        """Make a frozen copy of the lifter, with these weights, the teacher."""
        self.lifter.set_generator(None)  # which cannot be copied; every step sets its own
        self.teacher = copy.deepcopy(self.lifter).eval().requires_grad_(False)
        self.teacher.load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs; collective when several processes share the run."""
        # On the CPU: gathered as they are, every process would keep tensors on all devices.
        pools = {name: pool.state_dict() for name, pool in self.pools.items()}
        pools = {name: {k: _on_cpu(v) for k, v in pool.items()} for name, pool in pools.items()}
        return {
            "networks": {name: net.state_dict() for name, net in self.networks().items()},
            "optimisers": {name: opt.state_dict() for name, opt in self.optimisers.items()},
            "pools": distributed.from_every_rank(pools),
            "source_errors": distributed.from_every_rank(_on_cpu(self.source_errors)),
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
            "epoch": self.epoch,
            "section": self.section,
            "best_score": self.best_score,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        device = next(self.lifter.parameters()).device
        for name, network in self.networks().items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        own = min(distributed.rank(), len(state["pools"]) - 1)
        for name, pool in self.pools.items():
            saved = dict(state["pools"][own][name])
            if saved["samples"] is not None:
                saved["samples"] = saved["samples"].to(device)
            pool.load_state_dict(saved)
        errors = state["source_errors"][own]
        self.source_errors = errors.to(device) if errors is not None else None
        if state.get("teacher") is not None:
            self.set_teacher(state["teacher"])
        self.epoch, self.section = int(state["epoch"]), int(state["section"])
        self.best_score = float(state["best_score"])


def create_state(lifter: Lifter, data: FitData, config: FitConfig) -> FitState:
    """Fresh networks, optimisers and pools around a pretrained lifter."""
    device, skeleton = data.device, data.source.skeleton
    rng = stream(config.seed, "fit", "initial weights")
    middle = lifter.frames_before
    frames = judged_frames(config.discriminator, lifter.receptive_field, middle)
    generator = MotionGenerator(config.generator, skeleton, middle, rng).to(device)
    domain = DomainDiscriminator(config.discriminator, skeleton, frames, rng).to(device)
    pose = PoseDiscriminator(config.discriminator, skeleton, frames, rng).to(device)
    networks = {"lifter": lifter, "generator": generator, "domain": domain, "pose": pose}
    rates = {
        "lifter": config.learning_rate_lifter,
        "generator": config.learning_rate_generator,
        "domain": config.learning_rate_discriminator,
        "pose": config.learning_rate_discriminator,
    }
    fused = has_fused_optimisers(device)
    optimisers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.Adam(list(net.parameters()), lr=rates[name], fused=fused)
        for name, net in networks.items()
        if any(True for _ in net.parameters())
    }
    size = config.discriminator.pool_size
    shared = {
        name: distributed.share_gradients(net, device)
        for name, net in (("generator", generator), ("domain", domain), ("pose", pose))
        if name in optimisers
    }
    shared.setdefault("generator", generator)
    shared["lifter"] = distributed.share_gradients(WindowLifter(lifter), device)
    pools = {"domain": SamplePool(size), "pose": SamplePool(size)}
    return FitState(lifter, generator, domain, pose, optimisers, pools, shared)


def set_learning_rates(state: FitState, config: FitConfig) -> None:
    """Linear decay over the epochs, lr0 (1 - epoch / (epochs + 1)) [APc]."""
    factor = 1 - state.epoch / (config.epochs + 1)
    rates = {
        "lifter": config.learning_rate_lifter,
        "generator": config.learning_rate_generator,
        "domain": config.learning_rate_discriminator,
        "pose": config.learning_rate_discriminator,
    }
    for name, optimiser in state.optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = rates[name] * factor


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, torch.Tensor) else value
