"""The sampler of a fit run in rounds: its makers, its source, its target, the lifter it gave."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.cli.console import notice
from adaptpose.errors import AdaptError, CheckpointError, ConfigError

if TYPE_CHECKING:
    from adaptpose.clips import PoseData, TargetData
    from adaptpose.datasets.registry import DatasetSpec
    from adaptpose.round_sampler import RoundSampler
    from adaptpose.rounds_config import RoundsConfig, SharesConfig
    from adaptpose.rundir import RunDirectory
    from adaptpose.shards import Content, Origin
else:
    PoseData = TargetData = DatasetSpec = RoundSampler = RoundsConfig = Any
    SharesConfig = RunDirectory = Content = Origin = Any


def check_choices(
    run: RunDirectory, content: Content, hardness: bool | None, keep_off_screen: bool
) -> None:
    """Raise ConfigError for what windows of a run in rounds do not have: recipes, selection."""
    from adaptpose import distributed

    windows = f"windows of a run of --method {run.config.get('method')}"
    if content == "recipe":
        raise ConfigError(
            f"--recipe: {windows} are motion before new cameras, which no recipe makes of the "
            "source again (fix: leave --recipe out)"
        )
    if hardness:
        raise ConfigError(
            f"--hardness: {windows} are not selected by hardness (fix: leave --hardness out)"
        )
    if keep_off_screen:
        raise ConfigError(
            f"--no-screen: {windows} are those that it could train on, within the view limits of "
            "its settings (fix: leave --no-screen out)"
        )
    if hardness is False and distributed.rank() == 0:
        notice(f"--no-hardness changes nothing: {windows} are not selected by hardness")


def sampler_of_rounds(
    run: RunDirectory, seed: int | None, data_root: Path | None, device: Any
) -> tuple[RoundSampler, Origin]:
    """What a run in rounds is drawn from; CheckpointError if it lacks a part, or makes nothing.

    The target is opened only if windows are made with it.
    """
    from adaptpose.cli.experiment import plan_of_run
    from adaptpose.cli.specs import change_spec
    from adaptpose.datasets.registry import open_dataset
    from adaptpose.lifters import load_lifter
    from adaptpose.round_sampler import RoundSampler, config_as_run
    from adaptpose.windows import build_labelled_bank

    plan = plan_of_run(run)
    assert plan.rounds is not None
    needed = _shares(run, plan.rounds).lifted > 0
    lifter, meta = load_lifter(run.path / "lifter.safetensors")
    spec = change_spec(plan.source, data_root=data_root)
    source = open_dataset(spec)
    target = _open_target(run, plan.target, data_root) if needed else None
    config = config_as_run(plan.rounds, target)
    _say_what_is_drawn(_shares(run, config), config)
    sampler = RoundSampler(
        build_labelled_bank(source, device),
        target,
        lifter.to(device),
        config,
        config.seed if seed is None else seed,
        plan.normalisation or meta.get("normalisation") or "screen",
    )
    return sampler, _origin(spec, source, None if target is None else plan.target, target)


def _shares(run: RunDirectory, config: RoundsConfig) -> SharesConfig:
    from adaptpose.round_sampler import made_shares

    try:
        return made_shares(config.shares)
    except ConfigError as error:
        fix = "a run of --method full, replay, viewpoint or augment"
        raise CheckpointError(f"{run.path}: it films nobody anew: {error} (fix: {fix})") from error


def _say_what_is_drawn(made: SharesConfig, config: RoundsConfig) -> None:
    from adaptpose import distributed

    shares = {name: share for name, share in vars(made).items() if share}
    left = [name for name, share in vars(config.shares).items() if share and name not in shares]
    if distributed.rank() == 0:
        drawn = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        notice(f"windows are drawn as {drawn}; left out: {', '.join(left)}")


def _open_target(run: RunDirectory, spec: DatasetSpec, data_root: Path | None) -> TargetData:
    """The target's 2D; its reader's error with a word on why it is needed."""
    from adaptpose.cli.specs import change_spec
    from adaptpose.datasets.registry import open_target

    try:
        return open_target(change_spec(spec, data_root=data_root))
    except AdaptError as error:
        why = f"windows of {run.path} are made with the 2D of its target, which cannot be read"
        raise type(error)(f"{why}: {error}") from error


def _origin(
    spec: DatasetSpec,
    source: PoseData,
    target_spec: DatasetSpec | None,
    target: TargetData | None,
) -> Origin:
    """The source, and the target if windows are made with it, with what is due to both."""
    from adaptpose.cli.specs import spec_to_dict
    from adaptpose.shards import Origin

    parts = [(source.name, source.licence, source.credit)]
    synthetic = source.synthetic
    if target_spec is not None and target is not None:
        parts.append((target.name, *_terms(target_spec.name)))
        synthetic = synthetic or target.synthetic
    names, licences, credits = (
        list(dict.fromkeys(text for text in texts if text)) for texts in zip(*parts, strict=True)
    )
    terms = ("; ".join(licences), "; ".join(credits))
    return Origin(spec_to_dict(spec), " and ".join(names), synthetic, *terms)


def _terms(name: str) -> tuple[str, str]:
    """Licence and credit of a dataset by its name; empty for people's own files."""
    from adaptpose.datasets.corpora import CORPORA
    from adaptpose.datasets.registry import published_info
    from adaptpose.datasets.spec import PUBLISHED

    if name in CORPORA:
        return CORPORA[name].licence, CORPORA[name].credit
    if name in PUBLISHED:
        return published_info(name).licence, published_info(name).credit
    return "", ""
