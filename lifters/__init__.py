"""Architectures that fulfil the contract of `adaptpose.lifter`, by name, and their files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from adaptpose.config import LifterConfig, check_config, config_from_dict
from adaptpose.errors import AdaptError, CheckpointError, ConfigError, unknown_name_message
from adaptpose.lifter import Lifter, load_weights
from adaptpose.lifters.layers import initialise
from adaptpose.lifters.mlp import ResidualLifter
from adaptpose.lifters.posenet import ARCHITECTURE, build_posenet_lifter
from adaptpose.lifters.tcn import TemporalLifter
from adaptpose.skeleton import Skeleton
from adaptpose.store import read_tensors

LIFTERS: dict[str, Callable[[LifterConfig, Skeleton, Skeleton], Lifter]] = {
    "tcn": TemporalLifter,
    "mlp": ResidualLifter,
}
"""Builders by the name in `LifterConfig.name`."""

PUBLISHED_SUFFIXES = (".bin", ".pth", ".pt", ".tar")
"""Suffixes of checkpoints written by `torch.save`, as VideoPose3D, PoseAug and AdaptPose do."""


def build_lifter(
    config: LifterConfig,
    skeleton_in: Skeleton,
    skeleton_out: Skeleton,
    generator: torch.Generator,
) -> Lifter:
    """A new lifter on the CPU with weights drawn from the generator alone.

    ConfigError for an unknown name, with the nearest known one, and for impossible sizes.
    """
    lifter = _blank_lifter(config, skeleton_in, skeleton_out)
    initialise(lifter, generator)
    return lifter


def build_trajectory_lifter(
    config: LifterConfig, skeleton: Skeleton, generator: torch.Generator
) -> Lifter:
    """A new lifter whose one joint is the root's position in the camera (m) [VP semi-supervised].

    Its output is free, whatever `config.predict_root` says of the pose lifter beside it.
    """
    free = replace(config, predict_root=True)
    return build_lifter(free, skeleton, root_skeleton(skeleton), generator)


def root_skeleton(skeleton: Skeleton) -> Skeleton:
    """The skeleton that is left of another when only its root is."""
    root = (skeleton.joints[skeleton.root],)
    return Skeleton(f"{skeleton.name}-root", root, (root,))


def lifter_from_spec(spec: dict[str, Any]) -> Lifter:
    """The architecture that `Lifter.spec` described, with weights still to be loaded (zeros).

    ConfigError or SkeletonError for a description that makes no lifter.
    """
    try:
        skeletons = [_skeleton_from(spec[key]) for key in ("skeleton_in", "skeleton_out")]
        if spec.get("architecture") == ARCHITECTURE:
            return build_posenet_lifter(spec, *skeletons)
        config = config_from_dict(LifterConfig, spec["config"])
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"the description of a lifter is incomplete: {error!r}") from error
    return _blank_lifter(config, *skeletons)


def load_lifter(path: Path) -> tuple[Lifter, dict[str, Any]]:
    """The lifter that `save_lifter` wrote, on the CPU in evaluation mode, and its metadata.

    A published checkpoint, by its suffix (`PUBLISHED_SUFFIXES`), is read by
    `adaptpose.lifters.weights`. CheckpointError if the file is missing, damaged, foreign, or its
    weights do not fit.
    """
    if path.suffix in PUBLISHED_SUFFIXES:
        # Here, because that module builds on this one.
        from adaptpose.lifters.weights import load_published

        return load_published(path), {"normalisation": "screen"}
    tensors, stored = read_tensors(path, "a lifter")
    if not isinstance(stored, dict) or not isinstance(stored.get("lifter"), dict):
        raise CheckpointError(f"{path}: expected a lifter, got another kind of file")
    meta = dict(stored)
    try:
        lifter = lifter_from_spec(meta.pop("lifter"))
    except AdaptError as error:
        raise CheckpointError(f"{path}: not a lifter of this version: {error}") from error
    load_weights(lifter, tensors, str(path))
    lifter.context_stride = int(meta.pop("context_stride", 1))
    return lifter.eval(), meta


def _skeleton_from(values: dict[str, Any]) -> Skeleton:
    chains = tuple(tuple(chain) for chain in values["chains"])
    return Skeleton(values["name"], tuple(values["joints"]), chains)


def _blank_lifter(config: LifterConfig, skeleton_in: Skeleton, skeleton_out: Skeleton) -> Lifter:
    check_config(config)
    if config.name not in LIFTERS:
        raise ConfigError(unknown_name_message("lifter", config.name, LIFTERS))
    return LIFTERS[config.name](config, skeleton_in, skeleton_out)
