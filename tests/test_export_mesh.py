"""Meshes in OBJ and GLB: read again by a few lines, and by trimesh where it is installed."""

import json
import struct

import numpy as np
import pytest
import torch

from adaptpose.datasets.export_mesh import write_glb, write_obj_frames
from adaptpose.errors import DataError
from adaptpose.runtime import stream

FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [3, 2, 4]])


def _frames(count: int) -> torch.Tensor:
    return torch.randn(count, 5, 3, generator=stream(0, "mesh"))


def test_obj_frames_hold_what_was_given(tmp_path):
    vertices = _frames(3)
    paths = write_obj_frames(tmp_path / "new", vertices, FACES, "body")
    assert [path.name for path in paths] == [f"body_00000{k}.obj" for k in range(3)]
    assert sorted((tmp_path / "new").iterdir()) == paths
    for path, frame in zip(paths, vertices, strict=True):
        lines = [line.split() for line in path.read_text().splitlines()]
        found = np.array([[float(x) for x in line[1:]] for line in lines if line[0] == "v"])
        np.testing.assert_allclose(found, frame, atol=1e-6)
        assert [[int(x) - 1 for x in line[1:]] for line in lines if line[0] == "f"] == (
            FACES.tolist()
        )


def _read_glb(path):
    content = path.read_bytes()
    magic, version, total = struct.unpack_from("<4sII", content)
    assert (magic, version, total) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert (kind, size % 4) == (b"JSON", 0)
    document = json.loads(content[20 : 20 + size])
    rest, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert (kind, rest % 4) == (b"BIN\0", 0)
    return document, content[28 + size :]


def _array(document, body, number):
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    dtype = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
    width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
    count = accessor["count"] * width
    assert view["byteLength"] == 4 * count
    assert view["byteOffset"] % 4 == 0
    array = np.frombuffer(body, dtype, count, view["byteOffset"]).reshape(-1, width)
    np.testing.assert_allclose(array.min(0), accessor["min"], rtol=1e-6)
    np.testing.assert_allclose(array.max(0), accessor["max"], rtol=1e-6)
    return array


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_glb_shows_each_frame_in_its_time_alone(tmp_path, count):
    vertices = _frames(count)
    write_glb(tmp_path / "a.glb", vertices, FACES, 25)
    document, body = _read_glb(tmp_path / "a.glb")
    for mesh, frame in zip(document["meshes"], vertices, strict=True):
        (primitive,) = mesh["primitives"]
        positions = _array(document, body, primitive["attributes"]["POSITION"])
        np.testing.assert_array_equal(positions, frame)
        corners = _array(document, body, primitive["indices"])
        np.testing.assert_array_equal(corners.reshape(-1, 3), FACES)
    if count == 1:
        assert "animations" not in document
        return
    (animation,) = document["animations"]
    for moment in range(count):
        seen = []
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            assert sampler["interpolation"] == "STEP"
            times = _array(document, body, sampler["input"])[:, 0]
            assert (np.diff(times) > 0).all()
            scales = _array(document, body, sampler["output"])
            key = max(np.searchsorted(times, (moment + 0.5) / 25) - 1, 0)
            seen += [channel["target"]["node"]] if scales[key].all() else []
        assert seen == [moment]
    assert [n.get("scale", [1.0])[0] for n in document["nodes"]] == [1.0] + [0.0] * (count - 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_trimesh_reads_both(tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    vertices = _frames(4)
    write_glb(tmp_path / "a.glb", vertices, FACES, 30.0)
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    assert len(scene.geometry) == 4
    for number, frame in enumerate(vertices):
        mesh = scene.geometry[f"frame_{number}"]
        np.testing.assert_array_equal(np.asarray(mesh.vertices, np.float32), frame)
        np.testing.assert_array_equal(mesh.faces, FACES)
        transform, _ = scene.graph.get(f"frame_{number}")
        np.testing.assert_allclose(transform[:3, :3], np.eye(3) * (number == 0), atol=1e-12)
    (path,) = write_obj_frames(tmp_path, vertices[:1], FACES)
    mesh = trimesh.load(path, process=False)
    np.testing.assert_allclose(mesh.vertices, vertices[0], atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, FACES)


def test_bad_meshes_are_refused_and_nothing_is_written(tmp_path):
    broken = _frames(3)
    broken[1, 2, 0] = torch.inf
    for vertices, faces, message in (
        (broken, FACES, "NaN or infinity in frame 1"),
        (_frames(0), FACES, "expected frames of vertices"),
        (_frames(2), FACES + 1, "faces of vertices 0 to 4, got 1 to 5"),
        (_frames(2), FACES[:0], "got no faces"),
    ):
        with pytest.raises(DataError, match=message):
            write_glb(tmp_path / "a.glb", vertices, faces, 30)
        with pytest.raises(DataError, match=message):
            write_obj_frames(tmp_path / "a", vertices, faces)
    with pytest.raises(DataError, match="a frame rate above 0, got 0"):
        write_glb(tmp_path / "a.glb", _frames(2), FACES, 0)
    assert not list(tmp_path.iterdir())
