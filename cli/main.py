"""Entry point of `adapt`: the table of commands, in the order of their use.

Command modules import torch and the libraries inside the command, so that `adapt --help` and
usage errors come at once.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from adaptpose.cli import (
    ablate,
    bench,
    body,
    datasets,
    demo,
    evaluate,
    fit,
    generate,
    noise,
    predict,
    pretrain,
    report,
)
from adaptpose.cli.failures import guarded
from adaptpose.version import __version__

COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("demo", demo.demo),
    ("datasets", datasets.datasets),
    ("pretrain", pretrain.pretrain),
    ("fit", fit.fit),
    ("eval", evaluate.evaluate),
    ("predict", predict.predict),
    ("report", report.report),
    ("ablate", ablate.ablate),
    ("bench", bench.bench),
    ("generate", generate.generate),
    ("noise-fit", noise.noise_fit),
)
"""Name and function of every command; the function's docstring is its help."""


def build_app() -> typer.Typer:
    """The application with all commands."""
    application = typer.Typer(
        name="adapt",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_root)
    for name, function in COMMANDS:
        application.command(name)(guarded(name, function))
    application.add_typer(body.build_group(), name="body")
    return application


def main() -> None:
    """Run `adapt` on the arguments of the process."""
    build_app()(prog_name="adapt")


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"adaptpose {__version__}")
        raise typer.Exit()
    return asked


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Adapt a 2D-to-3D human pose lifter to another dataset, from 2D keypoints alone."""
