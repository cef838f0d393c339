"""A small sampler over filmed walks, and a fit run's directory that generates with it."""

from pathlib import Path

import torch
from stick_figure import walking_motion

from adaptpose.clips import PoseData
from adaptpose.config import FitConfig, GeneratorConfig, LifterConfig, SelectionConfig
from adaptpose.config import config_to_dict as plain
from adaptpose.critic import source_error_table
from adaptpose.datasets.files import read_dataset, write_dataset
from adaptpose.datasets.rigs import STUDIO, film
from adaptpose.generator import MotionGenerator
from adaptpose.lifter import Lifter, save_lifter
from adaptpose.lifters import build_lifter
from adaptpose.rundir import create_run
from adaptpose.runtime import stream
from adaptpose.sampling import Sampler
from adaptpose.shards import Origin
from adaptpose.skeleton import H36M_16, H36M_17
from adaptpose.store import write_tensors
from adaptpose.windows import build_labelled_bank

CPU = torch.device("cpu")
WINDOW = 9


def walks_file(folder: Path) -> Path:
    """A file of two walks at different frame rates, each filmed by the four studio cameras."""
    motions = [walking_motion(60, 1.0, take="slow"), walking_motion(60, 1.4, frame_rate_hz=25.0)]
    clips = tuple(film(motions, STUDIO, seed=0))
    path = folder / "walks.npz"
    write_dataset(PoseData("walks", H36M_17, clips, synthetic=True, credit="a stick"), path)
    return path


def small_generator(config: GeneratorConfig) -> MotionGenerator:
    """A generator as it is before training, for windows of 9 frames."""
    return MotionGenerator(config, H36M_16, WINDOW // 2, stream(1, "generator")).eval()


def window_lifter() -> Lifter:
    """A lifter of receptive field 9."""
    config = LifterConfig(widths=(3, 3), channels=16)
    return build_lifter(config, H36M_16, H36M_16, stream(0, "lifter")).eval()


def small_sampler(walks: Path, seed: int = 5, hard: bool = False, **changes: object) -> Sampler:
    """A sampler over the walks; `changes` are of the generator."""
    config = GeneratorConfig(hidden=32, **changes)  # type: ignore[arg-type]
    bank = build_labelled_bank(read_dataset(walks, need_3d=True).with_skeleton(H36M_16), CPU)
    critic = window_lifter() if hard else None
    errors = None if critic is None else source_error_table(critic, bank, 3, "screen")
    selection = SelectionConfig(hardness_band=(2.0, 1.9))
    return Sampler(
        small_generator(config), bank, (2, 5), WINDOW, selection, seed, critic, errors, "screen"
    )


def origin_of(walks: Path) -> Origin:
    """The walks as an index describes them."""
    spec = {"name": str(walks), "data_root": None, "skeleton": "h36m16"}
    return Origin(spec, "walks", synthetic=True, credit="a stick")


def fit_run(path: Path, walks: Path) -> Path:
    """A fit run's directory, as far as generation reads it."""
    config = FitConfig(
        generator=GeneratorConfig(hidden=32), selection=SelectionConfig(hardness=False), seed=5
    )
    values = {"source": origin_of(walks).spec, "fit": plain(config), "normalisation": "screen"}
    run = create_run(path, "fit", values, {})
    for name in ("source_lifter", "lifter"):
        save_lifter(path / f"{name}.safetensors", window_lifter(), {"normalisation": "screen"})
    weights = small_generator(config.generator).state_dict()
    write_tensors(path / "generator.safetensors", weights, {})
    run.finish()
    return path
