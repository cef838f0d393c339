"""Two processes share one run: gradients averaged, weights equal, rank 0 writes, exact resume."""

import os
import socket
from pathlib import Path

import pytest
import torch

from adaptpose import distributed
from adaptpose.config import FitConfig, SelectionConfig


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _join(rank: int, port: int) -> None:
    os.environ.update(
        {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank),
         "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    )  # fmt: skip
    torch.set_num_threads(1)
    distributed.start(torch.device("cpu"))


def _config() -> FitConfig:
    from method_data import small_config

    selection = SelectionConfig(hardness_band=(0.0, 1e6), screen=False, min_depth=1e-3)
    return small_config(selection=selection)


def _adapt(rank: int, port: int, folder: str, stop_after: int) -> None:
    from method_data import CPU, small_lifter, small_source

    from adaptpose.fit import fit
    from adaptpose.rundir import create_run, open_run

    _join(rank, port)
    path = Path(folder) / "run"
    if rank == 0 and not path.exists():
        create_run(path, "fit", {}, {})
    distributed.barrier()
    calls = 0

    def progress(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_after:
            os._exit(0)  # as a kill would: both ranks stop at the same step, nothing is saved

    source, lifter = small_source(), small_lifter()
    fit(
        open_run(path), lifter, source, source.as_target(), _config(), CPU, progress=progress
    )  # fmt: skip
    torch.save(lifter.state_dict(), Path(folder) / f"weights-{rank}.pt")
    distributed.stop()


def _run(folder: Path, stop_after: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    arguments = (_free_port(), str(folder), stop_after)
    torch.multiprocessing.spawn(_adapt, arguments, nprocs=2, join=True)


def _weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [torch.load(folder / f"weights-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_and_resume_exactly(tmp_path):
    _run(tmp_path / "whole")
    first, second = _weights(tmp_path / "whole")
    parameters = [key for key in first if "running" not in key and "tracked" not in key]
    assert all(torch.equal(first[key], second[key]) for key in parameters)
    _run(tmp_path / "killed", stop_after=7)
    assert not (tmp_path / "killed" / "weights-0.pt").exists()
    _run(tmp_path / "killed")
    resumed = _weights(tmp_path / "killed")[0]
    assert all(torch.equal(first[key], resumed[key]) for key in first)
    records = (tmp_path / "whole" / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(records) == 6


def _average(rank: int, port: int, folder: str) -> None:
    _join(rank, port)
    layer = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    shared = distributed.share_gradients(layer, torch.device("cpu"))
    shared(torch.full((1, 3), float(rank + 1))).sum().backward()
    assert layer.weight.grad is not None
    results = {
        "gradient": layer.weight.grad,
        "smallest": distributed.smallest(5 + rank, torch.device("cpu")),
        "total": distributed.total(torch.tensor([rank + 1])),
        "gathered": distributed.from_every_rank(rank),
    }
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.stop()


def test_gradients_are_averaged_over_processes(tmp_path):
    torch.multiprocessing.spawn(_average, (_free_port(), str(tmp_path)), nprocs=2, join=True)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["gradient"].tolist() == [[1.5, 1.5, 1.5]]
        assert found["smallest"] == 5
        assert found["total"].tolist() == [3]
        assert found["gathered"] == [0, 1]


def test_alone_nothing_is_shared():
    layer = torch.nn.Linear(2, 2)
    assert distributed.share_gradients(layer, torch.device("cpu")) is layer
    assert distributed.rank() == 0
    assert distributed.world_size() == 1
    assert distributed.from_every_rank("x") == ["x"]
