"""Parts of a target lifted per round, and the precision of a lifter's products."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_data import CPU, small_lifter, small_source

from adaptpose.clips import TargetData
from adaptpose.lifter import SeededDropout, dropout_of
from adaptpose.lifters import load_lifter
from adaptpose.pseudo import some_clips
from adaptpose.pseudo_config import PseudoConfig, RefineConfig
from adaptpose.rounds import adapt_in_rounds
from adaptpose.rounds_config import RoundsConfig, method_config
from adaptpose.rounds_makers import make_feeds
from adaptpose.rounds_state import RoundsData
from adaptpose.rundir import RunDirectory, create_run
from adaptpose.runtime import stream
from adaptpose.store import read_json
from adaptpose.windows import build_labelled_bank, build_target_bank


def many_clips(copies: int = 6) -> TargetData:
    """Clips of 30, 31, ... frames, each under a name of its own."""
    clips = []
    for clip in small_source().as_target().clips * copies:
        length = 30 + len(clips)
        cut = {key: getattr(clip, key)[:length] for key in ("pose2d", "confidence", "valid")}
        clips.append(replace(clip, action=f"clip{len(clips):02d}", **cut))
    return replace(small_source().as_target(), clips=tuple(clips))


def test_some_clips_are_just_enough_in_order_and_others_next_time():
    target = many_clips()
    order = [clip.name for clip in target.clips]
    seen = set()
    for seed in range(40):
        part = some_clips(target, 100, stream(seed, "part"))
        again = some_clips(target, 100, stream(seed, "part"))
        names = [clip.name for clip in part.clips]
        assert names == [clip.name for clip in again.clips]
        assert names == sorted(names, key=order.index)
        assert len(set(names)) == len(names)
        lengths = [clip.num_frames for clip in part.clips]
        assert sum(lengths) >= 100
        assert sum(lengths) - max(lengths) < 100, "one clip fewer is too few"
        seen |= set(names)
    assert seen == set(order)


@pytest.mark.parametrize("frames", [0, 10**6])
def test_all_clips_of_a_small_target_or_if_asked(frames):
    target, rng = many_clips(), stream(0, "part")
    before = rng.get_state()
    assert some_clips(target, frames, rng) is target
    assert torch.equal(rng.get_state(), before)


def test_clips_without_a_valid_frame_are_not_drawn():
    target = many_clips()
    blind = [replace(c, valid=torch.zeros_like(c.valid)) for c in target.clips[::2]]
    mixed = replace(target, clips=(*blind, *target.clips[1::2]))
    for seed in range(10):
        part = some_clips(mixed, 60, stream(seed, "part"))
        assert all(bool(clip.valid.any()) for clip in part.clips)


def test_every_round_lifts_other_clips():
    target = many_clips()
    data = RoundsData(
        build_labelled_bank(small_source(), CPU), build_target_bank(target, CPU), target, "screen"
    )
    config = method_config("replay+selftrain")
    config = replace(
        config, batch_size=40, pseudo=PseudoConfig(frames=90), refine=RefineConfig(steps=2)
    )
    lifter, frames = small_lifter(), []
    for number in (1, 2, 1):
        feeds = make_feeds(data, lifter, lifter, config.shares, config, number)
        makers = {feed.maker.name: feed.maker for feed in feeds}
        frames.append(makers["replay"].pseudo.bank.pose2d)
        assert len(frames[-1]) < 90 + 50
        taught = makers["selftrain"]
        assert torch.equal(taught.bank.pose2d, frames[-1])
        assert len(taught.pose3d) == len(frames[-1])
        assert int(taught.trusted.max()) < len(frames[-1])
    assert torch.equal(frames[0], frames[2])
    assert frames[0].shape != frames[1].shape or not torch.equal(frames[0], frames[1])


def test_frames_below_0_are_refused():
    assert any("pseudo.frames" in told for told in PseudoConfig(frames=-1).problems())


def _run(path: Path, config: RoundsConfig) -> tuple[RunDirectory, list[float]]:
    run = create_run(path, "fit", {}, {})
    target = small_source().as_target()
    adapt_in_rounds(run, small_lifter(), small_source(), target, config, CPU)
    return run, [r["lifter_loss"] for r in run.records()]


def test_half_precision_learns_the_same_to_its_rounding(tmp_path):
    common = {"epochs": 4, "steps_per_epoch": 10, "batch_size": 64}
    config = replace(method_config("continue"), **common)
    run, exact = _run(tmp_path / "exact", config)
    other, halved = _run(tmp_path / "halved", replace(config, precision="bfloat16"))
    assert exact != halved
    assert halved == pytest.approx(exact, rel=0.02)
    weights = [load_lifter(r.path / "lifter.safetensors")[0].state_dict() for r in (run, other)]
    for name, value in weights[1].items():
        if value.is_floating_point():
            assert value.dtype == torch.float32, name


def test_the_bench_hands_its_precision_to_every_row_that_learns():
    from adaptpose.cli.bench_rows import BUDGETS, ROWS, row_settings

    budget = replace(BUDGETS["quick"], precision="bfloat16")
    for row in ROWS.values():
        if row.trains:
            assert row_settings(row, budget, 0).precision == "bfloat16"


def test_an_unknown_precision_is_refused_by_the_bench(tmp_path):
    from typer.testing import CliRunner

    from adaptpose.cli.main import build_app

    found = CliRunner().invoke(
        build_app(), ["bench", "--out", str(tmp_path), "--precision", "half"]
    )
    assert found.exit_code == 2
    assert "--precision" in found.output


def _rates(lifter) -> list[float]:
    return [module.p for module in lifter.modules() if isinstance(module, SeededDropout)]


def test_dropout_is_changed_for_a_while_alone():
    lifter = small_lifter()
    own = _rates(lifter)
    assert min(own) > 0
    with dropout_of(lifter, 0):
        assert set(_rates(lifter)) == {0.0}
    assert _rates(lifter) == own
    with dropout_of(lifter, None):
        assert _rates(lifter) == own


def test_learning_without_dropout_is_that_of_a_lifter_that_has_none(tmp_path):
    common = {"epochs": 2, "steps_per_epoch": 4, "batch_size": 40, "dropout": None}
    config = replace(method_config("augment"), **common)
    target, losses = small_source().as_target(), []
    for name, own, changed in (("a", 0.0, None), ("b", 0.4, 0.0), ("c", 0.4, None)):
        lifter = small_lifter()
        lifter.drop.p = own
        run = create_run(tmp_path / name, "fit", {}, {})
        settings = replace(config, dropout=changed)
        adapt_in_rounds(run, lifter, small_source(), target, settings, CPU)
        losses.append([r["lifter_loss"] for r in run.records()])
        assert lifter.drop.p == own
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_an_impossible_dropout_is_refused(rate):
    assert any("rounds.dropout" in told for told in RoundsConfig(dropout=rate).problems())


def test_methods_on_what_does_not_change_keep_the_lifters_own_dropout():
    assert method_config("full").dropout == 0.0
    for name in ("continue", "bn", "selftrain", "full+selftrain"):
        assert method_config(name).dropout is None


def test_a_small_target_is_not_replayed_over_and_over():
    config = method_config("full+selftrain")
    windows = config.epochs * config.steps_per_epoch * config.batch_size
    assert config.fitted_to(10**6) == config
    for frames in (1, 200, 2000):
        shares = config.fitted_to(frames).shares
        assert sum(vars(shares).values()) == pytest.approx(1)
        assert (shares.source, shares.transfer) == (config.shares.source, config.shares.transfer)
        for own in (shares.replay, shares.selftrain):
            assert own * windows <= config.most_draws * frames * (1 + 1e-9)
            assert own == 0 or own * config.batch_size >= 1
    # The share grows with the target, up to the configured one.
    replays = [config.fitted_to(n).shares.replay for n in (50, 500, 5000, 50_000)]
    assert replays == sorted(replays)
    assert replays[-1] == config.shares.replay


def test_what_a_small_target_cannot_give_is_made_wide(tmp_path):
    common = {"epochs": 2, "steps_per_epoch": 5, "batch_size": 64, "warmup_epochs": 0}
    config = replace(method_config("replay"), **common, most_draws=0.2)
    run, _ = _run(tmp_path / "run", config)
    made = read_json(run.path / "statistics.json", "the run's statistics")["windows"]
    frames = sum(int(clip.valid.sum()) for clip in small_source().clips)
    assert 0 < made["replay"] <= 0.2 * frames + config.epochs * config.steps_per_epoch
    assert made["wide"] > made["transfer"] > made["replay"]


def test_processes_of_one_bench_keep_what_another_made_anew(tmp_path):
    from adaptpose.cli.bench_rows import BUDGETS
    from adaptpose.cli.bench_sources import Bench
    from adaptpose.cli.bench_study import Study, read_description, write_description
    from adaptpose.config import LifterConfig
    from adaptpose.progress import silent

    budget = BUDGETS["quick"]
    study = Study(tmp_path, (), (0,), (), budget, budget, LifterConfig())
    old = {"format": 1, **study.described(), "data": {}, "sources": {}}
    write_description(tmp_path, {**old, "results": {"a": {"steps": 1}, "b": {"steps": 1}}})
    first, second = (Bench(study, CPU, silent, read_description(tmp_path)) for _ in range(2))
    for bench, row in ((first, "a"), (second, "c")):
        bench.found["results"][row] = {"steps": 2}
        bench.made.add(row)
        bench.write()
    steps = {row: kept["steps"] for row, kept in read_description(tmp_path)["results"].items()}
    assert steps == {"a": 2, "b": 1, "c": 2}
