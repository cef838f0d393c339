"""`adapt predict --mesh`: the student's mesh of every track, as OBJ files or one GLB."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptpose.errors import ConfigError, DataError, expected_message

if TYPE_CHECKING:
    from adaptpose.lifter import Lifter
    from adaptpose.prediction import Prediction
else:
    Lifter = Prediction = Any

MESHES = ("obj", "glb")
MeshWriter = Callable[[Prediction, Path, str], str]
"""Writes a track's mesh below a folder under a name; what it wrote, relative to the folder."""


def mesh_writer(kind: str, lifter: Lifter, meta: dict[str, Any], device: Any) -> MeshWriter:
    """The writer of meshes for a lifter of PoseNet3D and its file's metadata.

    The whole body comes from where the run had it; what is not there is taken with the vertices
    that the lifter has, if they have triangles. ConfigError for other lifters, DataError without.
    """
    from adaptpose.lifters.posenet import PoseNetLifter
    from adaptpose.lifters.posenet_mesh import PoseNetMesh

    if not isinstance(lifter, PoseNetLifter) or lifter.student is None:
        fix = "a run of adapt fit --method posenet3d, its lifter or student"
        raise ConfigError(expected_message("--mesh", "a lifter with a body", "one without", fix))
    body = _whole_body(lifter, meta)
    faces = body.faces
    assert faces is not None
    mesh = PoseNetMesh(lifter, body).to(device)

    def write(prediction: Prediction, folder: Path, name: str) -> str:
        from adaptpose.datasets.export_mesh import write_glb, write_obj_frames
        from adaptpose.inference import predict_clip

        vertices = predict_clip(mesh, prediction.clip) * prediction.scale
        placed = vertices + prediction.root_cam[:, None].to(vertices)
        # Half a turn about x: viewers have y up.
        placed = placed * placed.new_tensor([1.0, -1.0, -1.0])
        if kind == "obj":
            write_obj_frames(folder / f"{name}_mesh", placed, faces)
            return f"{name}_mesh"
        write_glb(folder / f"{name}.glb", placed, faces, prediction.clip.frame_rate_hz)
        return f"{name}.glb"

    return write


def _whole_body(lifter: Any, meta: dict[str, Any]) -> Any:
    """The body with all its vertices."""
    from adaptpose.cli.specs import cache_folder
    from adaptpose.datasets.body_store import load_body

    own = lifter.student.body.model()
    named = meta.get("body")
    try:
        body = load_body(str(named), cache_folder())[0] if named else own
    except DataError:
        body = own
    if body.faces is None or not len(body.faces):
        got = f"none, and no whole body at {named}"
        fix = "put the run's body model back where it was"
        raise DataError(expected_message("--mesh", "a body with triangles", got, fix))
    return body
