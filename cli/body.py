"""`adapt body`: body models made into one file that loads without running code, and shown."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.console import format_count, notice, print_json, print_table
from adaptpose.cli.failures import guarded
from adaptpose.cli.options import JsonOption

if TYPE_CHECKING:
    from adaptpose.datasets.body_store import BodyOrigin
    from adaptpose.skinning import BodyModel
else:
    BodyModel = BodyOrigin = Any

SourceArgument = Annotated[
    str, typer.Argument(help="anny, or a file: SMPL's .pkl or .npz, or .safetensors.")
]


def build_group() -> typer.Typer:
    """The commands below `adapt body`."""
    group = typer.Typer(no_args_is_help=True, help="Convert and show body models.")
    commands: tuple[tuple[str, Callable[..., None]], ...] = (("convert", convert), ("show", show))
    for name, function in commands:
        group.command(name)(guarded(f"body {name}", function))
    return group


def convert(
    source: SourceArgument,
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
) -> None:
    """Write a body model as one .safetensors file; chumpy is not needed."""
    from adaptpose.cli.specs import cache_folder
    from adaptpose.datasets.body_store import load_body, write_body
    from adaptpose.errors import ConfigError, expected_message

    if out.suffix.lower() != ".safetensors":
        raise ConfigError(expected_message("OUT", "a name that ends in .safetensors", f"'{out}'"))
    model, origin = load_body(source, cache_folder())
    write_body(out, model, origin)
    notice(f"body model written to {out}: {_sizes(model)}; licence: {origin.licence or 'unknown'}")


def show(body: SourceArgument, as_json: JsonOption = False) -> None:
    """Show what a body model holds: sizes, joints, rest places, licence and origin."""
    from dataclasses import asdict

    from adaptpose.cli.specs import cache_folder
    from adaptpose.datasets.body_store import load_body
    from adaptpose.skinning import linear_joints

    model, origin = load_body(body, cache_folder())
    names = model.joint_names or tuple(str(joint) for joint in range(model.num_joints))
    places = linear_joints(model)[0]
    extent = model.template.amax(dim=0) - model.template.amin(dim=0)
    if as_json:
        print_json(
            {
                "name": model.name,
                "vertices": len(model.template),
                "faces": None if model.faces is None else len(model.faces),
                "shapes": model.shape_directions.shape[-1],
                "pose_entries": model.pose_directions.shape[-1],
                "extent_m": extent.tolist(),
                "joints": [
                    {"name": name, "parent": names[p] if p >= 0 else None, "rest_m": place.tolist()}
                    for name, p, place in zip(names, model.parents, places, strict=True)
                ],
                "origin": asdict(origin),
            }
        )
        return
    rows = [
        (name, names[p] if p >= 0 else "", *(f"{x:.3f}" for x in place.tolist()))
        for name, p, place in zip(names, model.parents, places, strict=True)
    ]
    width, height, depth = extent.tolist()
    caption = f"{_sizes(model)}; {height:.2f} m tall, {width:.2f} m wide, {depth:.2f} m deep. "
    caption += "Axes: x to the body's left, y up, z ahead."
    print_table(f"Body model {model.name}", ("joint", "parent", "x", "y", "z"), rows, caption)
    print_table("Origin", ("what", ""), _origin_rows(origin))


def _sizes(model: BodyModel) -> str:
    faces = "no" if model.faces is None else format_count(len(model.faces))
    return (
        f"{format_count(len(model.template))} vertices, {faces} faces, {model.num_joints} joints, "
        f"{model.shape_directions.shape[-1]} shape coefficients"
    )


def _origin_rows(origin: BodyOrigin) -> list[tuple[str, str]]:
    rows = [
        ("licence", origin.licence or "unknown"),
        ("credit", origin.credit or "unknown"),
        ("made of", origin.source or "unknown"),
        ("fingerprint", origin.fingerprint or "none"),
    ]
    return rows + [("fit", note) for note in origin.notes]
