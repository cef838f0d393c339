"""The pieces of work that are measured: those of a real run, on synthetic people."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from plain_conv import PlainConvLifter
from rounds import Work, timed
from torch import Tensor

from adaptpose.config import FitConfig, LifterConfig, PretrainConfig
from adaptpose.critic import source_error_table
from adaptpose.datasets.registry import DatasetSpec, open_dataset
from adaptpose.generate import GenerateRequest, generate
from adaptpose.lifters import build_lifter
from adaptpose.lifters.tcn import TemporalLifter
from adaptpose.runtime import has_fused_optimisers, stream
from adaptpose.sampling import Sampler, draw_block
from adaptpose.shards import Origin
from adaptpose.skeleton import H36M_16
from adaptpose.state import FitData, FitState, create_state
from adaptpose.steps import (
    discriminator_step,
    draw_real2d,
    draw_source,
    generator_step,
    judge,
)
from adaptpose.supervised import draw_batch, pose_loss
from adaptpose.tuning import lifter_step
from adaptpose.windows import build_labelled_bank, build_target_bank

SEED = 0


@dataclass
class Bench:
    """An adaptation past its warm-up, about to be measured."""

    config: FitConfig
    data: FitData
    state: FitState
    buffer: tuple[Tensor, Tensor]
    """Generated 2D and their poses, as many as a batch."""
    step: int = 0

    @property
    def count(self) -> int:
        """Windows per batch."""
        return self.config.batch_size

    def next_stream(self) -> torch.Generator:
        """A new stream per step, as in training."""
        self.step += 1
        return stream(SEED, "bench", self.step, device=self.data.device)


def open_data(device: torch.device, max_clips: int | None) -> FitData:
    """Studio actors as source, the 2D of actors in the field as target."""
    source = open_dataset(DatasetSpec("synthetic-studio", max_clips=max_clips))
    target = open_dataset(DatasetSpec("synthetic-field", max_clips=max_clips)).as_target()
    return FitData(build_labelled_bank(source, device), build_target_bank(target, device), "screen")


def make_bench(data: FitData, channels: int) -> Bench:
    """An untrained lifter of the given width with everything around it, past the warm-up."""
    config = FitConfig()
    lifter = build_lifter(
        LifterConfig(channels=channels), H36M_16, H36M_16, stream(SEED, "lifter", channels)
    ).to(data.device)
    state = create_state(lifter, data, config)
    state.epoch = config.warmup_epochs
    rng = stream(SEED, "statistics", device=data.device)
    state.domain.set_statistics(draw_real2d(state, data, config, 4096, rng))
    state.pose.set_statistics(draw_source(state, data, config, 4096, rng).pose3d_cam)
    # Errors of an untrained lifter are all alike; the real table takes long and is measured apart.
    state.source_errors = data.source.pose2d.new_full((data.source.pose2d.shape[0], 3), 0.5)
    shape = (config.batch_size, lifter.receptive_field, H36M_16.num_joints, 2)
    pose2d = data.source.pose2d.new_zeros(shape)
    truth = pose2d.new_zeros(config.batch_size, H36M_16.num_joints, 3)
    return Bench(config, data, state, (pose2d, truth))


def adversarial(bench: Bench) -> int:
    """Two adversarial steps, one of them with the discriminators, and what they keep."""
    state, data, config = bench.state, bench.data, bench.config
    for step in range(config.discriminator.every):
        rng = bench.next_stream()
        source = draw_source(state, data, config, bench.count, rng)
        outcome = generator_step(state, data, config, source, rng)
        if step == 0:
            discriminator_step(state, data, config, outcome, source, rng)
        judge(state, data, config, outcome, source.frame)
        middle = outcome.generated.pose3d_cam[:, state.lifter.frames_before]
        root = data.source.skeleton.root
        bench.buffer[0].copy_(outcome.seen2d)
        bench.buffer[1].copy_(middle - middle[:, root : root + 1])
    return bench.count * config.discriminator.every


def fine_tuning(bench: Bench) -> int:
    """One update of the lifter on generated windows alone."""
    rng = bench.next_stream()
    lifter_step(bench.state, bench.data, bench.config, bench.buffer, 0, rng)
    return bench.count


def pretraining(bench: Bench, channels: int) -> Work:
    """One supervised update on source windows."""
    config, bank = PretrainConfig(), bench.data.source
    lifter = build_lifter(
        LifterConfig(channels=channels), H36M_16, H36M_16, stream(SEED, "pretrained")
    ).to(bank.device)
    fused = has_fused_optimisers(bank.device)
    optimiser = torch.optim.Adam(lifter.parameters(), 1e-3, amsgrad=True, fused=fused)

    def work() -> int:
        rng = bench.next_stream()
        lifter.train()
        lifter.set_generator(rng)
        centre = bank.draw_centres(config.batch_size, rng)
        batch = draw_batch(bank, centre, lifter, config, rng)
        optimiser.zero_grad(set_to_none=True)
        pose_loss(lifter.lift_window(batch.pose2d), batch.pose3d).backward()
        optimiser.step()
        return config.batch_size

    return work


def gathering(bench: Bench) -> int:
    """Source windows with 3D and target windows of 2D, cut at random."""
    rng = bench.next_stream()
    draw_source(bench.state, bench.data, bench.config, bench.count, rng)
    draw_real2d(bench.state, bench.data, bench.config, bench.count, rng)
    return 2 * bench.count


def inference_pair(bench: Bench, frames: int) -> tuple[Work, Work, float]:
    """Our inference on one long clip, the plain convolutions on it, and how far apart they are."""
    lifter = bench.state.lifter
    assert isinstance(lifter, TemporalLifter)
    plain = PlainConvLifter(lifter).to(bench.data.device).eval()
    bank = bench.data.target
    index = torch.arange(frames + lifter.receptive_field - 1, device=bank.device)
    clip = bank.pose2d[index % bank.pose2d.shape[0]][None]

    def ours() -> int:
        lifter.eval()
        with torch.no_grad():
            return lifter(clip).shape[1]

    def theirs() -> int:
        with torch.no_grad():
            return plain(clip).shape[1]

    lifter.eval()
    with torch.no_grad():
        apart = float((lifter(clip) - plain(clip)).abs().max())
    return ours, theirs, apart


def make_sampler(bench: Bench) -> Sampler:
    """The state's generator as `adapt generate` uses it without its critic."""
    return Sampler(
        bench.state.generator,
        bench.data.source,
        bench.config.strides,
        bench.state.lifter.receptive_field,
        bench.config.selection,
        SEED,
    )


def generation(bench: Bench, sampler: Sampler) -> int:
    """One block of windows in memory, selected by place and depth."""
    bench.step += 1
    return draw_block(sampler, bench.step).keep.shape[0]


def source_table(bench: Bench) -> int:
    """Errors of the lifter on every source frame, as once per epoch."""
    middle = round(sum(bench.config.strides) / 2)
    data = bench.data
    return source_error_table(bench.state.lifter, data.source, middle, data.normalisation).shape[0]


def generate_to_disk(sampler: Sampler, count: int, device: torch.device) -> dict[str, float]:
    """Windows per second and bytes per window of generation to half-precision files."""
    origin = Origin(asdict(DatasetSpec("synthetic-studio")), "synthetic-studio", synthetic=True)
    with tempfile.TemporaryDirectory() as folder:
        request = GenerateRequest(count, Path(folder) / "windows")
        seconds, _ = timed(lambda: generate(sampler, request, origin).num_windows, device)
        size = sum(path.stat().st_size for path in request.folder.iterdir())
    return {"windows": count, "seconds": seconds, "bytes_per_window": size / count}
