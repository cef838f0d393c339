"""Files and run directories: round trips, damage, atomicity."""

import os

import pytest
import torch

from adaptpose import rundir, store
from adaptpose.errors import CheckpointError, DataError


def test_optimiser_state_round_trips(tmp_path):
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(layer.parameters(), amsgrad=True)
    layer(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    state = {"optimiser": optimiser.state_dict(), "epoch": 3, "names": ["a", None, 1.5]}
    store.write_state(tmp_path / "s.safetensors", state)
    back = store.read_state(tmp_path / "s.safetensors", "state")
    assert back["epoch"] == 3
    assert back["names"] == ["a", None, 1.5]
    other = torch.optim.Adam(layer.parameters(), amsgrad=True)
    other.load_state_dict(back["optimiser"])
    for mine, theirs in zip(
        optimiser.state_dict()["state"].values(), other.state_dict()["state"].values(), strict=True
    ):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            torch.testing.assert_close(value, theirs[key], rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x80\x04K\x01."])
def test_foreign_checkpoint_is_one_message(tmp_path, content):
    path = tmp_path / "lifter.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"lifter\.safetensors: expected weights"):
        store.read_tensors(path, "weights")


def test_truncated_checkpoint_is_one_message(tmp_path):
    path = tmp_path / "w.safetensors"
    store.write_tensors(path, {"a": torch.ones(1000)}, {"k": 1})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        store.read_tensors(path, "weights")


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def fail():
        with store.atomic_file(path) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_run_directory_resumes_its_log(tmp_path):
    run = rundir.create_run(tmp_path / "r", "fit", {"a": 1}, {"seed": 0})
    run.log({"step": 1})
    run.save_state({"step": 1, "w": torch.ones(2)})
    run.log({"step": 2})
    again = rundir.open_run(tmp_path / "r")
    assert len(again.records()) == 2
    state = again.load_state()
    assert state is not None
    assert state["step"] == 1
    assert again.records() == [{"step": 1}]
    assert not again.done
    again.finish()
    assert again.done


def test_run_directory_messages(tmp_path):
    with pytest.raises(CheckpointError, match="no such run directory"):
        rundir.open_run(tmp_path / "nothing")
    run = rundir.create_run(tmp_path / "r", "fit", {}, {})
    with pytest.raises(CheckpointError, match="expected a new or empty folder"):
        rundir.create_run(tmp_path / "r", "fit", {}, {})
    store.write_json(run.path / "run.json", {"format": 99, "kind": "fit", "config": {}})
    with pytest.raises(CheckpointError, match="format 99"):
        rundir.open_run(tmp_path / "r")
    with pytest.raises(CheckpointError, match="no pretrain run"):
        rundir.latest_run(tmp_path / "empty", "pretrain")
