"""A pool of past generated samples shown to a discriminator again, as tensors on the device."""

import torch
from jaxtyping import Float
from torch import Tensor


class SamplePool:
    """Fixed number of samples; half of every batch is exchanged against stored ones [PA].

    While it fills, batches pass through unchanged. A size of 0 stores nothing.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.filled = 0
        self.samples: Tensor | None = None

    def exchange(
        self, batch: Float[Tensor, "batch *rest"], generator: torch.Generator
    ) -> Float[Tensor, "batch *rest"]:
        """The batch with about half of its samples replaced by stored ones, which they replace."""
        if self.size == 0:
            return batch
        if self.samples is None:
            self.samples = batch.new_zeros(self.size, *batch.shape[1:])
        if self.filled < self.size:
            count = min(batch.shape[0], self.size - self.filled)
            self.samples[self.filled : self.filled + count] = batch[:count]
            self.filled += count
            return batch
        count = min(batch.shape[0], self.size)
        device = batch.device
        slot = torch.randperm(self.size, generator=generator, device=device)[:count]
        swap = torch.rand(count, generator=generator, device=device) < 0.5
        swap = swap.view(-1, *[1] * (batch.ndim - 1))
        stored = self.samples.index_select(0, slot)
        self.samples.index_copy_(0, slot, torch.where(swap, batch[:count], stored))
        shown = torch.where(swap, stored, batch[:count])
        return shown if count == batch.shape[0] else torch.cat([shown, batch[count:]])

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` needs."""
        return {"filled": self.filled, "samples": self.samples}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on where the saved pool was."""
        self.filled = int(state["filled"])  # type: ignore[arg-type]
        samples = state["samples"]
        self.samples = samples.clone() if isinstance(samples, Tensor) else None
