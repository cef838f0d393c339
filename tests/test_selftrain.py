"""Self-training: which frames are trusted, what is taught, and that runs repeat."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from linear_lifter import LinearLifter
from method_data import CPU, small_lifter, small_source

from adaptpose import selftrain
from adaptpose.bones import bone_lengths
from adaptpose.clips import TargetData
from adaptpose.config import check_config, override
from adaptpose.errors import ConfigError, DataError
from adaptpose.hypotheses import compare_passes
from adaptpose.pseudo import lift_target
from adaptpose.rounds import adapt_in_rounds
from adaptpose.rounds_config import METHODS, RoundsConfig, SelfTrainConfig
from adaptpose.rounds_makers import make_feeds
from adaptpose.rounds_state import RoundsData
from adaptpose.rundir import RunDirectory, create_run, open_run
from adaptpose.runtime import stream
from adaptpose.seen_lengths import size_of
from adaptpose.windows import build_labelled_bank, build_target_bank


def small_data() -> RoundsData:
    source = small_source()
    banks = build_labelled_bank(source, CPU), build_target_bank(source.as_target(), CPU)
    return RoundsData(*banks, source.as_target(), "screen")


def small_config(**changes: object) -> RoundsConfig:
    """Without refinement, which takes its time."""
    values = {"epochs": 3, "steps_per_epoch": 2, "batch_size": 24, "refinement": "none"}
    return replace(METHODS["selftrain"], **{**values, **changes})  # type: ignore[arg-type]


def made(config: RoundsConfig, number: int = 1) -> selftrain.SelfTrainMaker:
    lifter = small_lifter()
    feeds = make_feeds(small_data(), lifter, lifter, config.shares, config, number)
    (maker,) = (feed.maker for feed in feeds if feed.maker.name == "selftrain")
    assert isinstance(maker, selftrain.SelfTrainMaker)
    return maker


def test_what_cannot_be_trusted_is_left_out():
    target, lifter = small_source().as_target(), LinearLifter(3, 0)
    first = target.clips[0]
    confidence, valid = first.confidence.clone(), first.valid.clone()
    confidence[:20], valid[20:30] = 0.1, False
    clips = (replace(first, confidence=confidence, valid=valid), *target.clips[1:])
    target = TargetData(target.name, target.skeleton, clips)
    config = SelfTrainConfig(keep=0.5)
    trusted, found = selftrain.trusted_frames(lifter, target, config, stream(0))
    again = compare_passes(lifter, target, config, stream(0))
    assert torch.equal(found.pose3d, again.pose3d)
    usable = range(30, len(found.residual))
    assert set(trusted.tolist()) <= set(usable)
    assert len(trusted) == round(len(usable) / 2)
    left = sorted(set(usable) - set(trusted.tolist()))
    spread, residual = found.spread_m, found.residual
    badness = spread / spread[30:].median() + residual / residual[30:].median()
    assert badness[trusted].max() <= badness[left].min()
    every, _ = selftrain.trusted_frames(lifter, target, SelfTrainConfig(keep=1.0), stream(0))
    assert every.tolist() == list(usable)
    unseen = SelfTrainConfig(min_confidence=2.0)
    with pytest.raises(DataError, match=r"rounds\.teacher\.min_confidence=0"):
        selftrain.trusted_frames(lifter, target, unseen, stream(0))


def test_trusted_frames_are_shown_with_their_poses():
    target = small_data().target
    pose, trusted = torch.randn(165, 16, 3, generator=stream(3)), torch.tensor([5, 90])
    maker = selftrain.SelfTrainMaker(target, pose, trusted, 4, 4, (2, 2))
    pairs = maker.make(30, stream(0, "x"))
    middle = pairs.pose2d[:, 4]
    which = (middle == target.pose2d[90]).flatten(1).all(dim=1)
    assert 5 < int(which.sum()) < 25
    assert torch.equal(pairs.pose3d[which], pose[90].expand(int(which.sum()), 16, 3))
    assert torch.equal(middle[~which], target.pose2d[5].expand(int((~which).sum()), 16, 2))


@pytest.mark.parametrize("body_size", ["source", "lifted"])
def test_fused_poses_are_taught_if_asked_for(body_size):
    config = small_config(body_size=body_size, teacher=SelfTrainConfig(taught="fused"))
    maker, data, lifter = made(config), small_data(), small_lifter()
    rng = stream(config.seed, "rounds", "hypotheses", 1)
    found = compare_passes(lifter, data.clips, config.teacher, rng)
    ratio = maker.pose3d[:, 1:] / found.pose3d[:, 1:]
    torch.testing.assert_close(ratio, ratio[:1, :1, :1].expand_as(ratio))
    if body_size == "lifted":
        assert torch.equal(maker.pose3d, found.pose3d)
        return
    pseudo = lift_target(lifter, data.clips, config.pseudo, stream(0, "rounds", "pseudo", 1))
    skeleton = data.source.skeleton
    size = size_of(bone_lengths(maker.pose3d, skeleton), skeleton)
    mean = (size * pseudo.weight).sum() / pseudo.weight.sum()
    wanted = size_of(bone_lengths(data.source.pose3d_cam, skeleton), skeleton).mean()
    assert float(mean) == pytest.approx(float(wanted), rel=1e-4)


def test_what_is_taught_does_not_change_who_is_trusted():
    refined = made(small_config())
    fused = made(small_config(teacher=SelfTrainConfig(taught="fused")))
    assert torch.equal(refined.trusted, fused.trusted)
    assert not torch.allclose(refined.pose3d, fused.pose3d, atol=1e-3)


def test_every_round_and_seed_has_its_own_dropout():
    fused = SelfTrainConfig(taught="fused")
    one, same, later, other = (
        made(small_config(teacher=fused, seed=seed, body_size="lifted"), number).pose3d
        for seed, number in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, later)
    assert not torch.equal(one, other)


def run_rounds(path: Path, config: RoundsConfig) -> bytes:
    run = open_run(path) if path.exists() else create_run(path, "fit", {}, {})
    adapt_in_rounds(run, small_lifter(), small_source(), small_source().as_target(), config, CPU)
    return (path / "lifter.safetensors").read_bytes()


def test_a_run_stopped_within_a_round_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    config = small_config(epochs_per_round=2, teacher=SelfTrainConfig(taught="fused"))
    whole, save = run_rounds(tmp_path / "whole", config), RunDirectory.save_state

    def stop(run: RunDirectory, state: dict) -> None:
        save(run, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "save_state", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_rounds(tmp_path / "run", config)
    monkeypatch.undo()
    assert run_rounds(tmp_path / "run", config) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher.dropout_passes": "-1"}, r"teacher\.dropout_passes: expected 0 or more, got -1"),
        ({"teacher.sharpness": "-0.5"}, r"teacher\.sharpness: expected 0 or more, got -0.5"),
        ({"teacher.sharpness": "nan"}, r"teacher\.sharpness: expected 0 or more, got nan"),
        ({"teacher.taught": "lifted"}, r"value of teacher\.taught 'lifted'"),
        (
            {"teacher.context_strides": "1,3,6"},
            r"within rounds\.strides, 2 to 5, got 1, 6 \(fix: --set rounds\.teacher\.context_str",
        ),
        ({"strides": "1,3"}, r"context_strides: expected strides within rounds.strides, 1 to 3"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_config(override(METHODS["selftrain"], changes))


def test_methods_without_self_training_do_not_mind_its_strides():
    check_config(override(METHODS["continue"], {"strides": "1,3"}))
    check_config(override(METHODS["selftrain"], {"teacher.context_strides": "2"}))
