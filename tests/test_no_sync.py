"""Steps of training never wait for the device: no number is read, no index comes from the host."""

from collections.abc import Iterator

import pytest
import torch
from method_data import small_config, small_state
from torch.utils._python_dispatch import TorchDispatchMode

from adaptpose.config import FitConfig, GeneratorConfig, LossConfig
from adaptpose.critic import source_error_table
from adaptpose.runtime import stream
from adaptpose.state import FitData, FitState
from adaptpose.steps import (
    discriminator_step,
    draw_source,
    generator_step,
    judge,
)
from adaptpose.tuning import lifter_step

WAITING = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::nonzero_numpy", "aten::masked_select",
    "aten::_unique2", "aten::unique_dim", "aten::is_nonzero", "aten::equal", "aten::lift_fresh",
    "aten::repeat_interleave.Tensor", "aten::bincount",
}  # fmt: skip
"""Operators whose result's size or value the host has to know, or whose input lies on the host."""


class NoWaiting(TorchDispatchMode):
    """Raises at operators that a GPU would have to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        if name in WAITING or name.removesuffix(".default") in WAITING:
            raise AssertionError(f"{name} waits for the device")
        if name.startswith(("aten::index.", "aten::index_put", "aten::_index_put")):
            kinds = {i.dtype for i in args[1] if i is not None}
            if kinds & {torch.bool, torch.uint8}:
                raise AssertionError(f"{name} with a mask waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_lists(monkeypatch) -> None:
    """Indexing a tensor by a list raises: the list would be copied to the device."""
    for name in ("__getitem__", "__setitem__"):
        original = getattr(torch.Tensor, name)

        def checked(self, index, *value, _original=original):
            parts = index if isinstance(index, tuple) else (index,)
            if any(isinstance(part, list) for part in parts):
                raise AssertionError("indexed by a list")
            return _original(self, index, *value)

        monkeypatch.setattr(torch.Tensor, name, checked)


VARIANTS = {
    "published": small_config(),
    "sequential": small_config(mixing="sequential", lifter_loss="mse", mirror=False),
    "lifter reprojection": small_config(loss=LossConfig(reprojection="lifter")),
    "all get feedback": small_config(loss=LossConfig(feedback_fraction=1.0)),
    "bg1": small_config(generator=GeneratorConfig(bones="bg1", symmetric_lengths=False)),
    "bg2": small_config(generator=GeneratorConfig(bones="bg2", camera="deterministic")),
    "camera alone": small_config(generator=GeneratorConfig(bones="none", rotation="quaternion")),
    "bones alone": small_config(generator=GeneratorConfig(camera="none")),
    "euler": small_config(generator=GeneratorConfig(rotation="euler", translation="metric")),
    "static root": small_config(generator=GeneratorConfig(keep_trajectory=False, depth="square")),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_no_step_waits_for_the_device(name, no_lists):
    config = VARIANTS[name]
    state, data = small_state(config)
    state.epoch = config.warmup_epochs
    state.source_errors = source_error_table(state.lifter, data.source, 3, "screen")
    for pool in state.pools.values():
        pool.size = 48  # full after two steps
    # Tables of indices are made at their first use, and the optimisers' moments too.
    for step in _steps(state, data, config, range(3)):
        assert step
    with NoWaiting():
        for step in _steps(state, data, config, range(3, 5)):
            assert step


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x[[0, 1]],
        lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    ],
)
def test_the_check_notices(waits, no_lists):
    with NoWaiting(), pytest.raises(AssertionError):
        waits(torch.ones(3))


def _steps(
    state: FitState, data: FitData, config: FitConfig, numbers: range
) -> Iterator[dict[str, torch.Tensor]]:
    for number in numbers:
        rng = stream(0, "no sync", number)
        source = draw_source(state, data, config, config.batch_size, rng)
        outcome = generator_step(state, data, config, source, rng)
        yield outcome.losses
        yield discriminator_step(state, data, config, outcome, source, rng)
        judge(state, data, config, outcome, source.frame)
        middle = outcome.generated.pose3d_cam[:, state.lifter.frames_before]
        generated = (outcome.seen2d, middle - middle[:, :1])
        yield lifter_step(state, data, config, generated, config.batch_size, rng)
