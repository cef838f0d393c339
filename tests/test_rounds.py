"""Adaptation in rounds: batches, averages, what learns, exact resumption, what enters it."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_data import CPU, small_lifter, small_source
from test_no_sync import NoWaiting, no_lists  # noqa: F401

from adaptpose import distributed, rounds_makers, selftrain
from adaptpose.batch_norm import StatisticsMaker, learning_weights
from adaptpose.bones import mirror_pose
from adaptpose.clips import PoseData, TargetData
from adaptpose.config import check_config, config_from_dict, config_to_dict, override
from adaptpose.errors import CheckpointError, ConfigError, DataError, SkeletonError
from adaptpose.inference import predict_clips
from adaptpose.label_free import label_free_score
from adaptpose.lifter import Lifter
from adaptpose.lifters import load_lifter
from adaptpose.on_rays import on_rays
from adaptpose.pairs import Pairs
from adaptpose.pseudo import lift_target
from adaptpose.pseudo_config import RefineConfig
from adaptpose.refine import refine
from adaptpose.replay import ReplayMaker, refined_pseudo
from adaptpose.rounds import (
    adapt_in_rounds,
    draw_batch,
    mirror_half,
    training_step,
    weighted_mean,
    without_unusable,
)
from adaptpose.rounds_config import (
    METHODS,
    RoundsConfig,
    SelfTrainConfig,
    SharesConfig,
    method_config,
)
from adaptpose.rounds_makers import Feed, SourceMaker, make_feeds
from adaptpose.rounds_state import RoundsData, create_state, set_learning_rate
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_17
from adaptpose.store import read_json
from adaptpose.windows import build_labelled_bank, build_target_bank

ALL = (*METHODS, "viewpoint+selftrain")


def small_rounds(method: str = "continue", **changes: object) -> RoundsConfig:
    """Five epochs of three steps of 40 windows, rounds of two; `full` warms up for one."""
    config = method_config(method)
    values: dict[str, object] = {
        "epochs": 5, "steps_per_epoch": 3, "batch_size": 40, "epochs_per_round": 2,
        "warmup_epochs": min(1, config.warmup_epochs), "refine": RefineConfig(steps=3),
    }  # fmt: skip
    return replace(config, **{**values, **changes})


def other_source() -> PoseData:
    """The clips of a target, with labels that nothing may see: other people, one rate higher."""
    source = small_source()
    clips = tuple(replace(clip, frame_rate_hz=60.0) for clip in source.clips)
    return replace(source, name="other", clips=clips)


def small_data(normalisation="screen") -> RoundsData:
    target = other_source().as_target()
    banks = build_labelled_bank(small_source(), CPU), build_target_bank(target, CPU)
    return RoundsData(*banks, target, normalisation)


def small_feeds(config: RoundsConfig, lifter: Lifter, data: RoundsData) -> list[Feed]:
    return make_feeds(data, lifter, lifter, config.shares, config, 1)


def run_rounds(path: Path, config: RoundsConfig, progress=lambda *_: None, **more) -> RunDirectory:
    run = open_run(path) if path.exists() else create_run(path, "fit", {}, {})
    lifter = more.pop("lifter", None) or small_lifter()
    source, target = small_source(), other_source().as_target()
    adapt_in_rounds(run, lifter, source, target, config, CPU, progress=progress, **more)
    return run


def weights_of(run: RunDirectory) -> dict[str, torch.Tensor]:
    return load_lifter(run.path / "lifter.safetensors")[0].state_dict()


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(Exception):
    pass


# ---- configuration


@given(
    st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(lambda n: n[0] > 0),
    st.integers(2, 3000),
)
def test_counts_are_the_shares_to_less_than_one_window(parts, batch_size):
    names = ("source", "wide", "transfer", "replay", "selftrain", "target")
    total = sum(parts)
    shares = SharesConfig(**{name: n / total for name, n in zip(names, parts, strict=True)})
    counts = shares.counts(batch_size)
    assert sum(counts.values()) == batch_size
    for name, n in zip(names, parts, strict=True):
        assert (name in counts) == (n > 0)
        assert abs(counts.get(name, 0) - n / total * batch_size) < 1


@pytest.mark.parametrize("method", ALL)
def test_methods_make_equally_many_steps_and_are_plain_data(method):
    config = method_config(method)
    check_config(config)
    assert config_from_dict(RoundsConfig, config_to_dict(config)) == config
    first = METHODS["continue"]
    for name in ("epochs", "steps_per_epoch", "batch_size", "learning_rate"):
        assert getattr(config, name) == getattr(first, name)


def test_methods_add_up():
    both = method_config("viewpoint+selftrain").shares
    # Of 0.75 transfer and 0.5 self-training, within what the smaller source share leaves.
    assert both.source == 0.25
    assert both.transfer == pytest.approx(0.75 * 0.75 / 1.25)
    assert both.selftrain == pytest.approx(0.75 * 0.5 / 1.25)
    assert method_config("augment+augment") == METHODS["augment"]
    assert method_config("viewpoint+full").refinement == "full"
    assert method_config("viewpoint+replay").refinement == "rays"
    assert method_config("augment+full").warmup_epochs == METHODS["full"].warmup_epochs
    with pytest.raises(ConfigError, match="unknown method 'viewpont'; did you mean 'viewpoint'"):
        method_config("viewpont")
    with pytest.raises(ConfigError, match=r"'bn' stands alone, got augment\+bn"):
        method_config("augment+bn")


def test_impossible_settings_are_named_with_what_is_wrong():
    config = METHODS["augment"]
    with pytest.raises(ConfigError, match=r"shares: expected a sum of 1, got 0.75 \(source 0.25"):
        check_config(override(config, {"shares.wide": "0.5"}))
    tiny = SharesConfig(source=0.01, wide=0.99)
    with pytest.raises(ConfigError, match=r"a batch of 4 has no window of source"):
        check_config(replace(config, batch_size=4, shares=tiny))
    with pytest.raises(ConfigError, match=r"source: expected a number above 0"):
        check_config(replace(config, shares=SharesConfig(source=0.0, wide=1.0)))
    with pytest.raises(
        ConfigError, match=r"warmup_epochs: expected 0 or more and fewer than the 2"
    ):
        check_config(replace(METHODS["full"], epochs=2, warmup_epochs=2))
    with pytest.raises(ConfigError, match=r"(?s)rounds.epochs: .*rounds.strides: .*teacher.keep: "):
        check_config(replace(config, epochs=0, strides=(3, 2), teacher=SelfTrainConfig(keep=0.0)))


def test_rounds_begin_after_the_warm_up_and_then_regularly():
    config = replace(METHODS["full"], epochs=8, warmup_epochs=2, epochs_per_round=3)
    assert [config.round_of(epoch) for epoch in range(8)] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert config.shares_in(1).lifted == 0
    assert sum(vars(config.shares_in(1)).values()) == pytest.approx(1)
    assert config.shares_in(2) == config.shares


# ---- batches


def test_a_batch_has_the_counts_of_its_shares_in_order():
    shares = SharesConfig(source=0.15, wide=0.2, transfer=0.25, replay=0.4)
    config, lifter = small_rounds("full", shares=shares), small_lifter()
    feeds = small_feeds(config, lifter, small_data())
    assert {f.maker.name: f.count for f in feeds} == {
        "source": 6, "wide": 8, "transfer": 10, "replay": 16,
    }  # fmt: skip
    pairs = draw_batch(feeds, stream(0, "batch"))
    assert pairs.pose2d.shape == (40, 9, 16, 2)
    assert torch.isfinite(pairs.pose2d).all()
    assert pairs.pose3d[:, 0].abs().max() < 1e-6


def test_source_windows_are_those_of_the_bank():
    data, lifter = small_data(), small_lifter()
    maker = SourceMaker(data.source, lifter.frames_before, lifter.frames_after, (2, 2))
    pairs = maker.make(50, stream(1, "x"))
    frame = data.source.draw_centres(50, stream(1, "x"))
    for row in range(50):
        clip = int(data.source.clip_of_frame[frame[row]])
        first, last = int(data.source.clip_start[clip]), int(data.source.clip_end[clip]) - 1
        for position in range(9):
            place = min(max(int(frame[row]) + 2 * (position - 4), first), last)
            assert torch.equal(pairs.pose2d[row, position], data.source.pose2d[place])
        pose = data.source.pose3d_cam[frame[row]]
        assert torch.equal(pairs.pose3d[row], pose - pose[:1])


def test_unusable_windows_are_copies_of_the_usable_ones_before_them():
    pose2d = torch.arange(5.0)[:, None, None, None].expand(5, 2, 3, 2).clone()
    pose3d = torch.arange(5.0)[:, None, None].expand(5, 3, 3).clone()
    pose2d[[1, 2, 4]] = torch.nan
    weight = torch.tensor([1.0, 0.0, 0.0, 0.5, 0.0])
    found = without_unusable(Pairs(pose2d, pose3d, weight))
    assert found.pose2d[:, 0, 0, 0].tolist() == [0, 0, 0, 3, 3]
    assert found.pose3d[:, 0, 0].tolist() == [0, 0, 0, 3, 3]
    assert torch.equal(found.weight, weight)


@dataclass
class Spoilt:
    """Windows of another maker of which every third is unusable, and full of something."""

    inner: SourceMaker
    filling: float
    name: str = "wide"

    def make(self, count: int, rng: torch.Generator) -> Pairs:
        pairs = self.inner.make(count, rng)
        bad = torch.arange(count) % 3 == 0
        pose2d = torch.where(bad[:, None, None, None], self.filling, pairs.pose2d)
        pose3d = torch.where(bad[:, None, None], self.filling, pairs.pose3d)
        return Pairs(pose2d, pose3d, torch.where(bad, 0.0, pairs.weight))


@pytest.mark.parametrize("filling", [torch.nan, torch.inf, 1e30, -7.0])
def test_windows_of_weight_0_change_neither_loss_nor_weights(filling):
    config = small_rounds("augment", learning_rate=1e-3)
    results = []
    for number in (0.0, filling):
        lifter, data = small_lifter(), small_data()
        state = create_state(lifter, config)
        maker = SourceMaker(data.source, 4, 4, (2, 5))
        feeds = [Feed(maker, 10), Feed(Spoilt(maker, number), 30)]
        for step in range(3):
            record = training_step(state, feeds, config, "screen", stream(0, "step", step))
        results.append((record, lifter.state_dict()))
    (one, first), (two, second) = results
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert equal(first, second)
    assert float(one["usable_wide"]) == pytest.approx(2 / 3)


def test_the_loss_is_the_weighted_mean_of_joint_distances():
    values, weight = torch.tensor([1.0, 5.0, 100.0]), torch.tensor([1.0, 3.0, 0.0])
    assert float(weighted_mean(values, weight)) == 4.0
    assert float(weighted_mean(values, torch.zeros(3))) == 0.0


def test_mirrored_windows_are_mirrored_in_both():
    data, lifter = small_data(), small_lifter()
    pairs = SourceMaker(data.source, 4, 4, (2, 5)).make(400, stream(0, "a"))
    found = mirror_half(pairs, lifter.skeleton_in, stream(0, "b"))
    flipped = (found.pose2d != pairs.pose2d).flatten(1).any(dim=1)
    assert 150 < int(flipped.sum()) < 250
    skeleton = lifter.skeleton_in
    assert torch.equal(found.pose2d[flipped], mirror_pose(pairs.pose2d[flipped], skeleton))
    assert torch.equal(found.pose3d[flipped], mirror_pose(pairs.pose3d[flipped], skeleton))
    assert torch.equal(found.pose3d[~flipped], pairs.pose3d[~flipped])


def test_a_root_centred_lifter_sees_root_centred_windows(monkeypatch):
    config, lifter, data = small_rounds("full"), small_lifter(), small_data("root_frobenius")
    state, seen = create_state(lifter, config), []
    original = type(lifter).lift_window
    monkeypatch.setattr(
        type(lifter), "lift_window", lambda self, x: seen.append(x) or original(self, x)
    )
    feeds = small_feeds(config, lifter, data)
    seen.clear()  # what was lifted for the feeds
    training_step(state, feeds, config, "root_frobenius", stream(0))
    (pose2d,) = seen
    assert pose2d[:, :, 0].abs().max() == 0
    torch.testing.assert_close(pose2d.flatten(2).norm(dim=-1), torch.ones(40, 9))


# ---- averages, and what learns


def test_the_average_follows_as_a_slow_reference_says():
    lifter = small_lifter()
    state = create_state(lifter, small_rounds(average_decay=0.9))
    expected = {key: value.clone().double() for key, value in lifter.state_dict().items()}
    rng = stream(0, "moves")
    for step in range(120):
        with torch.no_grad():
            for weight in lifter.parameters():
                weight += torch.randn(weight.shape, generator=rng)
            lifter.expand_bn.running_var += 1
            lifter.expand_bn.num_batches_tracked += 1
        state.average.follow(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for key, value in lifter.state_dict().items():
            if value.is_floating_point():
                expected[key] = decay * expected[key] + (1 - decay) * value.double()
            else:
                expected[key] = value.clone()
    for key, value in state.average.lifter.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key].double(), atol=1e-4, rtol=1e-4)
    assert int(state.average.lifter.expand_bn.num_batches_tracked) == 120


@pytest.mark.parametrize("part", ["statistics", "affine"])
def test_bn_changes_batch_norm_alone(tmp_path, part):
    lifter = small_lifter()
    before = copy.deepcopy(lifter.state_dict())
    config = small_rounds("bn", train=part, learning_rate=1e-2)
    after = weights_of(run_rounds(tmp_path / "run", config, lifter=lifter))
    statistics = [key for key in before if "running" in key or "tracked" in key]
    affine = [key for key in before if "bn" in key and key not in statistics]
    changing = statistics + (affine if part == "affine" else [])
    assert len(statistics) == 9
    assert len(affine) == 6
    for key, value in before.items():
        assert torch.equal(value, after[key]) == (key not in changing), key
    assert len(learning_weights(lifter, "affine")) == 6


def test_bn_statistics_are_those_of_source_and_target_together():
    """With frozen filters, a dropout-free lifter's first statistics can be computed by hand."""
    lifter, data = small_lifter(), small_data()
    lifter.drop.p = 0.0
    shifted = replace(data.target, pose2d=data.target.pose2d + 1)
    config = small_rounds("bn", batch_size=2000, mirror=False)
    state = create_state(lifter, config)
    feeds = [
        Feed(SourceMaker(data.source, 4, 4, (2, 5)), 1000),
        Feed(StatisticsMaker(shifted, 4, 4, (2, 5)), 1000, labelled=False),
    ]
    for step in range(50):
        record = training_step(state, feeds, config, "screen", stream(0, step))
    pairs = draw_batch(feeds, stream(1))
    assert pairs.weight.tolist() == [1.0] * 1000 + [0.0] * 1000
    assert "lifter_target" not in record
    with torch.no_grad():
        rows = lifter.expand_conv.strided(pairs.pose2d.flatten(2)).flatten(0, 1)
    spread = rows.std(dim=0).mean()
    assert (lifter.expand_bn.running_mean - rows.mean(dim=0)).abs().max() < 0.05 * spread
    alone = rows[: len(rows) // 2].mean(dim=0)
    assert (lifter.expand_bn.running_mean - alone).abs().max() > 0.2 * spread


def test_continue_is_training_on_the_source_alone(tmp_path):
    """Against plain Adam and a loop of its own, which reads nothing but the source."""
    few = {"epochs": 3, "mirror": False, "average_decay": 0.5}
    config = small_rounds(**few, gradient_clip=0.05, learning_rate=5e-4)
    run = run_rounds(tmp_path / "run", config)
    lifter, bank = small_lifter(), build_labelled_bank(small_source(), CPU)
    optimiser = torch.optim.Adam(lifter.parameters(), amsgrad=True, foreach=False)
    average = {k: v.clone() for k, v in lifter.state_dict().items()}
    for step in range(9):
        rng = stream(config.seed, "rounds", *divmod(step, 3))
        frame = bank.draw_centres(40, rng)
        stride = bank.draw_strides(frame, 2, 5, rng)
        index = bank.window_index(frame, 9, stride)
        lifter.train()
        lifter.set_generator(rng)
        pose = bank.pose3d_cam[frame]
        distance = lifter.lift_window(bank.pose2d[index]) - (pose - pose[:, :1])
        optimiser.zero_grad()
        distance.square().sum(-1).sqrt()[:, 1:].sum().div(40 * 16).backward()
        norm = torch.stack([w.grad.norm() for w in lifter.parameters()]).norm()
        for weight in lifter.parameters():
            weight.grad *= min(1.0, 0.05 / float(norm))
        for group in optimiser.param_groups:
            group["lr"] = 5e-4 * 10 ** (-step / 9)
        optimiser.step()
        share = 1 - min(0.5, (1 + step) / (10 + step))
        for key, value in lifter.state_dict().items():
            if value.is_floating_point():
                average[key] += share * (value - average[key])
    for key, value in weights_of(run).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, average[key], atol=2e-5, rtol=1e-3)


def test_the_learning_rate_falls_exponentially_over_the_run():
    config = small_rounds(epochs=4, steps_per_epoch=5, learning_rate=1.0, learning_rate_end=0.01)
    state = create_state(small_lifter(), config)
    rates = [set_learning_rate(state, config, step) for step in range(20)]
    assert rates[0] == 1.0
    assert rates[10] == pytest.approx(0.1)
    ratios = [b / a for a, b in itertools.pairwise(rates)]
    assert max(ratios) - min(ratios) < 1e-9
    assert state.optimiser is not None
    assert state.optimiser.param_groups[0]["lr"] == rates[-1]


def test_what_is_learnt_holds_for_the_source(tmp_path):
    source, lifter = small_source(), small_lifter()
    lifter.drop.p = 0.0

    def error_m(lifter: Lifter) -> float:
        poses = predict_clips(lifter, source.clips)
        truth = [clip.pose3d_cam - clip.pose3d_cam[:, :1] for clip in source.clips]
        return float((torch.cat(poses) - torch.cat(truth)).norm(dim=-1).mean())

    before = error_m(lifter)
    config = small_rounds("augment", epochs=2, steps_per_epoch=60, learning_rate=5e-3)
    run = run_rounds(tmp_path / "run", config, lifter=lifter)
    first, last = run.records()
    after = error_m(load_lifter(run.path / "lifter.safetensors")[0])
    assert after < 0.7 * before
    assert last["lifter_loss"] < first["lifter_loss"]


# ---- the loop


@pytest.mark.parametrize("method", ALL)
def test_killed_in_the_middle_and_resumed_is_never_stopped(tmp_path, method):
    config = small_rounds(method)
    whole = run_rounds(tmp_path / "whole", config)
    # Within a round; and for one method that warms up, in the first epoch and at the very end.
    for moment in (2, 7, 15) if method == "full" else (7,):
        calls, path = 0, tmp_path / str(moment)

        def kill(*_: object, moment: int = moment) -> None:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Killed

        with pytest.raises(Killed):
            run_rounds(path, config, kill)
        resumed = run_rounds(path, config)
        assert equal(weights_of(whole), weights_of(resumed))
        assert whole.records() == resumed.records()
    assert whole.done
    assert not (whole.path / "state.safetensors").exists()


@pytest.mark.parametrize("method", ["bn", "full"])
def test_records_hold_what_a_report_needs(tmp_path, method):
    config = small_rounds(method)
    run = run_rounds(tmp_path / "run", config, monitor=lambda lifter: {"mpjpe": 1.5})
    records = run.records()
    assert [(r["stage"], r["epoch"], r["round"]) for r in records] == [
        ("fit", epoch + 1, config.round_of(epoch)) for epoch in range(5)
    ]
    made = set(config.shares.counts(40)) - {"target"}
    assert {f"lifter_{name}" for name in made} <= set(records[-1])
    assert all(record["monitor_mpjpe"] == 1.5 for record in records)
    assert all(record["lifter_steps"] == 3 for record in records)
    lifter, meta = load_lifter(run.path / "lifter.safetensors")
    assert meta["normalisation"] == "screen"
    assert lifter.context_stride == 2
    score = label_free_score(lifter, other_source().as_target())
    assert records[-1]["label_free"] == pytest.approx(score.total)
    counts = read_json(run.path / "statistics.json", "")
    assert counts["lifter_steps"] == 15
    assert sum(counts["windows"].values()) == 15 * 40
    before = weights_of(run)
    assert equal(before, weights_of(run_rounds(tmp_path / "run", config)))
    assert len(run.records()) == 5


def test_the_seed_names_the_draws(tmp_path):
    runs = [
        run_rounds(tmp_path / str(n), small_rounds(seed=seed)) for n, seed in enumerate((0, 0, 1))
    ]
    assert equal(weights_of(runs[0]), weights_of(runs[1]))
    assert not equal(weights_of(runs[0]), weights_of(runs[2]))


def test_the_monitor_changes_nothing(tmp_path):
    config = small_rounds(checkpoint_rule="label_free")
    plain = run_rounds(tmp_path / "a", config)
    watched = run_rounds(tmp_path / "b", config, monitor=lambda lifter: {"mpjpe": 0.0})
    assert equal(weights_of(plain), weights_of(watched))


def test_the_rule_without_labels_keeps_the_best_epoch(tmp_path):
    config = small_rounds(epochs=6, learning_rate=0.05, checkpoint_rule="label_free")
    kept: list[dict[str, torch.Tensor]] = []
    run = run_rounds(
        tmp_path / "run", config,
        monitor=lambda lifter: kept.append(copy.deepcopy(lifter.state_dict())) or {},
    )  # fmt: skip
    scores = [record["label_free"] for record in run.records()]
    assert equal(weights_of(run), kept[scores.index(min(scores))])


def test_the_teacher_is_the_average_at_the_round_s_beginning(tmp_path, monkeypatch):
    taught: list[dict[str, torch.Tensor]] = []
    ends: list[dict[str, torch.Tensor]] = []
    original = rounds_makers.lift_target

    def watch(teacher: Lifter, *rest):
        taught.append(copy.deepcopy(teacher.state_dict()))
        return original(teacher, *rest)

    monkeypatch.setattr(rounds_makers, "lift_target", watch)
    config = small_rounds("viewpoint", epochs=6, epochs_per_round=2)
    run_rounds(
        tmp_path / "run", config,
        monitor=lambda lifter: ends.append(copy.deepcopy(lifter.state_dict())) or {},
    )  # fmt: skip
    assert len(taught) == 3
    assert equal(taught[0], small_lifter().state_dict())
    assert equal(taught[1], ends[1])
    assert equal(taught[2], ends[3])


def test_without_poses_of_the_target_nobody_lifts_it(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError

    for method in ("continue", "augment", "bn"):
        monkeypatch.setattr(rounds_makers, "_lifted_makers", refuse)
        run_rounds(tmp_path / method, small_rounds(method))


def test_a_target_with_labels_does_not_come_in(tmp_path):
    run, source = create_run(tmp_path / "run", "fit", {}, {}), small_source()
    with pytest.raises(Exception, match="Type-check error"):
        adapt_in_rounds(run, small_lifter(), source, source, small_rounds(), CPU)
    target = source.as_target()
    assert isinstance(target, TargetData)
    assert not any(hasattr(clip, "pose3d_cam") for clip in target.clips)
    assert not hasattr(small_data().target, "pose3d_cam")


def test_a_run_that_breaks_keeps_the_state_before(tmp_path):
    config, lifter, calls = small_rounds(), small_lifter(), 0

    def spoil(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            with torch.no_grad():
                next(lifter.parameters()).fill_(torch.nan)

    with pytest.raises(DataError, match=r"epoch 2: expected finite losses.*weights of the lifter"):
        run_rounds(tmp_path / "run", config, spoil, lifter=lifter)
    saved = open_run(tmp_path / "run").load_state()
    assert saved is not None
    assert saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in saved["average"].values())


def test_impossible_requests_fail_before_work(tmp_path, monkeypatch):
    source = small_source()
    run = create_run(tmp_path / "run", "fit", {}, {})
    given = (run, small_lifter(), source, source.as_target())
    with pytest.raises(ConfigError, match=r"rounds\.epochs: expected a number above 0"):
        adapt_in_rounds(*given, small_rounds(epochs=0), CPU)
    other = small_lifter()
    other.skeleton_out = H36M_17
    with pytest.raises(CheckpointError, match="a lifter for 'h36m16'"):
        adapt_in_rounds(run, other, source, source.as_target(), small_rounds(), CPU)
    target = replace(source.as_target(), skeleton=H36M_17)
    with pytest.raises(SkeletonError, match="target 'wavy': expected skeleton 'h36m16'"):
        adapt_in_rounds(run, small_lifter(), source, target, small_rounds(), CPU)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ConfigError, match=r"only adaptpose can be shared by several.*got 2"):
        adapt_in_rounds(*given, small_rounds(), CPU)
    assert not (run.path / "state.safetensors").exists()


@pytest.mark.parametrize("method", [*ALL, "affine"])
@pytest.mark.usefixtures("no_lists")
def test_no_step_waits_for_the_device(method):
    config = small_rounds("bn", train="affine") if method == "affine" else small_rounds(method)
    lifter, data = small_lifter(), small_data()
    state, feeds = create_state(lifter, config), small_feeds(config, lifter, data)

    def go(steps: range) -> None:
        for step in steps:
            set_learning_rate(state, config, step)
            training_step(state, feeds, config, "root_frobenius", stream(0, step))
            state.average.follow(step)

    go(range(2))  # tables of indices and the optimiser's moments are made at their first use
    with NoWaiting():
        go(range(2, 5))


# ---- self-training


@pytest.mark.parametrize("refinement", ["none", "rays", "full"])
def test_self_training_learns_from_refined_poses(refinement):
    config, lifter, data = small_rounds("selftrain"), small_lifter(), small_data()
    config = replace(config, refinement=refinement, body_size="lifted", bone_lengths="lifted")
    (maker,) = (f.maker for f in small_feeds(config, lifter, data) if f.maker.name == "selftrain")
    assert isinstance(maker, selftrain.SelfTrainMaker)
    assert maker.pose3d[:, 0].abs().max() == 0
    pseudo = lift_target(lifter, data.clips, config.pseudo, stream(0, "rounds", "pseudo", 1))
    want = {
        "none": lambda: pseudo.pose3d_cam,
        "rays": lambda: on_rays(pseudo.lifted),
        "full": lambda: refine(pseudo.lifted, config.refine),
    }[refinement]()
    torch.testing.assert_close(maker.pose3d, want - want[:, :1])


def test_lifted_people_are_as_large_as_the_source_s_and_look_the_same():
    config = replace(small_rounds("full"), bone_lengths="lifted")
    lifter, data = small_lifter(), small_data()
    feeds = small_feeds(config, lifter, data)
    (maker,) = (feed.maker for feed in feeds if feed.maker.name == "replay")
    assert isinstance(maker, ReplayMaker)
    scaled = maker.pseudo
    raw = refined_pseudo(
        lift_target(lifter, data.clips, config.pseudo, stream(0, "rounds", "pseudo", 1)),
        config.refine,
    )
    factor = scaled.pose3d_cam[50, 3] / raw.pose3d_cam[50, 3]
    torch.testing.assert_close(scaled.pose3d_cam, raw.pose3d_cam * factor[0])
    skeleton, seen = data.source.skeleton, scaled.weight > 0
    chain = [(1.0, "hip", "spine"), (1.0, "spine", "thorax"), (1.0, "thorax", "head")]
    for side in ("left", "right"):
        chain += [(0.5, f"{side}_hip", f"{side}_knee"), (0.5, f"{side}_knee", f"{side}_ankle")]
    lengths = [
        sum(
            share * (pose[:, skeleton.id(a)] - pose[:, skeleton.id(b)]).norm(dim=-1)
            for share, a, b in chain
        )
        for pose in (scaled.pose3d_cam[seen], data.source.pose3d_cam)
    ]
    mean = (lengths[0] * scaled.weight[seen]).sum() / scaled.weight.sum()
    assert float(mean) == pytest.approx(float(lengths[1].mean()), rel=1e-4)
    # A larger body at a lower rate: the same size in the image, at the same place.
    torch.testing.assert_close(scaled.rate[seen] * factor[0], raw.rate[seen])
    torch.testing.assert_close(scaled.place[seen], raw.place[seen])
