"""Several processes, one run: gradients are averaged, rank 0 writes.

Start with `torchrun --nproc-per-node N --no-python -- adapt ...`. Without it every function here
does nothing.
"""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start(device: torch.device) -> torch.device:
    """Join the process group that torchrun set up, if it did; the device of this process."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        return device
    if device.type != "cpu":
        device = torch.device(device.type, int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device.type == "cpu" else "nccl")
    return device


def stop() -> None:
    """Leave the process group, if there is one."""
    if active():
        dist.destroy_process_group()


def active() -> bool:
    """Whether several processes share this run."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, 0 if alone."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """Number of processes, 1 if alone."""
    return dist.get_world_size() if active() else 1


def share_gradients(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with gradients averaged over the processes; itself if alone."""
    if not active():
        return module
    devices = None if device.type == "cpu" else [device]
    return nn.parallel.DistributedDataParallel(module, device_ids=devices)


def smallest(value: int, device: torch.device) -> int:
    """The smallest of a number over the processes, so that all take the same number of steps."""
    if not active():
        return value
    number = torch.tensor(value, device=device)
    dist.all_reduce(number, dist.ReduceOp.MIN)
    return int(number)


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over the processes."""
    if active():
        values = values.clone()
        dist.all_reduce(values)
    return values


def from_every_rank(value: object) -> list[object]:
    """A picklable value of every process, in rank order, on every process."""
    if not active():
        return [value]
    values: list[object] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until every process is here."""
    if active():
        dist.barrier()
