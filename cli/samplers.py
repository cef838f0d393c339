"""The sampler of a fit run: its generator, its source, its selection, its lifter as critic.

That of a run in rounds is made by `adaptpose.cli.round_samplers`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.errors import CheckpointError

if TYPE_CHECKING:
    from adaptpose.generator import MotionGenerator
    from adaptpose.lifter import Lifter
    from adaptpose.rundir import RunDirectory
    from adaptpose.sampling import Sampler, WindowSampler
    from adaptpose.shards import Content, Origin
else:
    MotionGenerator = Lifter = RunDirectory = Sampler = WindowSampler = Content = Origin = Any


@dataclass(frozen=True)
class Choices:
    """What changes the windows themselves: seed and selection."""

    seed: int | None
    hardness: bool | None
    keep_off_screen: bool


def sampler_of_run(
    run: RunDirectory, choices: Choices, content: Content, data_root: Path | None, device: Any
) -> tuple[WindowSampler, Origin]:
    """What a fit run generates with, and what from; CheckpointError if the run lacks a part.

    ConfigError for choices that a run in rounds does not leave.
    """
    if "rounds" in run.config:
        from adaptpose.cli.round_samplers import check_choices, sampler_of_rounds

        check_choices(run, content, choices.hardness, choices.keep_off_screen)
        return sampler_of_rounds(run, choices.seed, data_root, device)
    return _sampler_of_generator(run, choices, data_root, device)


def _sampler_of_generator(
    run: RunDirectory, choices: Choices, data_root: Path | None, device: Any
) -> tuple[Sampler, Origin]:
    from adaptpose.cli.specs import change_spec, spec_from_dict, spec_to_dict
    from adaptpose.config import FitConfig, config_from_dict
    from adaptpose.critic import source_error_table
    from adaptpose.datasets.registry import open_dataset
    from adaptpose.lifter import check_lifter_skeleton
    from adaptpose.lifters import load_lifter
    from adaptpose.sampling import Sampler
    from adaptpose.shards import Origin
    from adaptpose.windows import build_labelled_bank

    config = config_from_dict(FitConfig, _part(run, "fit"), "fit.")
    if config.start != "source":
        raise CheckpointError(
            f"{run.path}: expected a generator that starts from windows of the source, as those "
            f"of stored motion, got fit.start '{config.start}' (fix: a run of --method adaptpose)"
        )
    spec = spec_from_dict(_part(run, "source"), f"{run.path}/run.json, source")
    spec = change_spec(spec, data_root=data_root)
    lifter, meta = load_lifter(run.path / "lifter.safetensors")
    generator = load_generator(run.path / "generator.safetensors", config, lifter)
    source = open_dataset(spec)
    check_lifter_skeleton(lifter, source.skeleton, f"{run.path}/lifter.safetensors")
    normalisation = run.config.get("normalisation") or meta.get("normalisation") or "screen"
    hard = config.selection.hardness if choices.hardness is None else choices.hardness
    selection = dataclasses.replace(
        config.selection,
        hardness=hard,
        screen=config.selection.screen and not choices.keep_off_screen,
    )
    bank, lifter = build_labelled_bank(source, device), lifter.to(device)
    errors = None
    if hard:
        middle = round(sum(config.strides) / 2)
        errors = source_error_table(lifter, bank, middle, normalisation)
    sampler = Sampler(
        generator=generator.to(device),
        source=bank,
        strides=config.strides,
        window=lifter.receptive_field,
        selection=selection,
        seed=config.seed if choices.seed is None else choices.seed,
        critic=lifter if hard else None,
        critic_errors=errors,
        normalisation=normalisation,
    )
    spec_values = spec_to_dict(spec)
    origin = Origin(spec_values, source.name, source.synthetic, source.licence, source.credit)
    return sampler, origin


def load_generator(path: Path, config: Any, lifter: Lifter) -> MotionGenerator:
    """The generator of a fit; CheckpointError if the file is missing or does not fit its config."""
    from adaptpose.generator import MotionGenerator
    from adaptpose.runtime import stream
    from adaptpose.store import read_tensors

    tensors, _ = read_tensors(path, "the run's generator")
    unused = stream(0, "weights that are replaced")
    generator = MotionGenerator(config.generator, lifter.skeleton_in, lifter.frames_before, unused)
    own = generator.state_dict()
    wrong = [key for key in sorted({*own, *tensors}) if key not in own or key not in tensors
             or own[key].shape != tensors[key].shape]  # fmt: skip
    if wrong:
        raise CheckpointError(f"{path}: does not fit the run's configuration: {', '.join(wrong)}")
    generator.load_state_dict(tensors)
    return generator.eval()


def _part(run: RunDirectory, key: str) -> dict[str, Any]:
    values = run.config.get(key)
    if not isinstance(values, dict):
        raise CheckpointError(f"{run.path}/run.json: no '{key}' in the configuration of the run")
    return values
