"""Small data, lifters and states for the tests of the adaptation method."""

import torch
from linear_lifter import wavy_data

from adaptpose.clips import PoseData
from adaptpose.config import FitConfig, LifterConfig
from adaptpose.lifter import Lifter
from adaptpose.lifters import build_lifter
from adaptpose.recipe import SourceWindows, cut_source_windows
from adaptpose.runtime import stream
from adaptpose.skeleton import H36M_16
from adaptpose.state import FitData, FitState, create_state
from adaptpose.windows import LabelledBank, build_labelled_bank, build_target_bank

CPU = torch.device("cpu")


def small_source() -> PoseData:
    """Three clips of swaying bodies."""
    return wavy_data((70, 40, 55), ("Walking", "Sitting", "Walking"))


def small_lifter(widths: tuple[int, ...] = (3, 3), seed: int = 0) -> Lifter:
    """A TCN of 16 channels with drawn weights."""
    config = LifterConfig(widths=widths, channels=16)
    return build_lifter(config, H36M_16, H36M_16, stream(seed, "small lifter"))


def small_config(**changes: object) -> FitConfig:
    """A configuration for steps of 32 windows."""
    values: dict[str, object] = {
        "epochs": 3, "samples_per_epoch": 128, "sections": 2, "batch_size": 32, "warmup_epochs": 1,
    }  # fmt: skip
    return FitConfig(**{**values, **changes})  # type: ignore[arg-type]


def small_state(config: FitConfig, lifter: Lifter | None = None) -> tuple[FitState, FitData]:
    """State and data of an adaptation about to start."""
    source = small_source()
    data = FitData(
        build_labelled_bank(source, CPU), build_target_bank(source.as_target(), CPU), "screen"
    )
    return create_state(lifter or small_lifter(), data, config), data


def source_windows(count: int, length: int, seed: int = 0) -> tuple[LabelledBank, SourceWindows]:
    """Windows cut from the small source."""
    bank = build_labelled_bank(small_source(), CPU)
    rng = stream(seed, "windows")
    frame = bank.draw_centres(count, rng)
    return bank, cut_source_windows(bank, frame, bank.window_index(frame, length, 2))
