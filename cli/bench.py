"""`adapt bench`: the open benchmark on real motion, every number of docs/results.md."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.console import notice, print_json, print_table, progress_hook
from adaptpose.cli.options import (
    DataRootOption,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    choose,
    parse_count,
)
from adaptpose.errors import ConfigError, expected_message, unknown_name_message

if TYPE_CHECKING:
    from adaptpose.cli.bench_study import Study
else:
    Study = Any

TasksOption = Annotated[
    str,
    typer.Option("--tasks", help="Tasks between commas: O1 (HDM05), O2 (UI-PRMD), O3 (dance), O4 "
                 "(real detections)."),
]  # fmt: skip
SeedsOption = Annotated[
    str, typer.Option("--seeds", help="How many seeds, or seeds between commas, such as 0,2.")
]
RowsOption = Annotated[
    str,
    typer.Option("--rows", help="Rows between commas: mean, source, continue, bn, augment, "
                 "adaptpose, viewpoint, replay, selftrain, full, oracle; key, all."),
]  # fmt: skip
OwnRowOption = Annotated[
    list[str] | None,
    typer.Option("--row", metavar="TEXT", help="A row of your own, e.g. \"long=full "
                 "epochs_per_round=2\"; may be repeated."),
]  # fmt: skip
InputsOption = Annotated[
    str, typer.Option("--inputs", help="The target's 2D: gt, det (a detector's errors), or both.")
]
FramesOption = Annotated[
    str, typer.Option("--frames", help="Frames that the lifter sees, e.g. 27,1.")
]
BudgetOption = Annotated[
    str, typer.Option("--budget", help="quick, or standard: 3,000 updates of 256 windows.")
]
StepsOption = Annotated[
    str | None, typer.Option("--steps", help="Updates of the lifter in every row.")
]
OracleStepsOption = Annotated[
    str | None,
    typer.Option("--oracle-steps", help="Updates of the oracle's lifter, by default as --steps."),
]
PrecisionOption = Annotated[
    str,
    typer.Option("--precision", help="Of products while rows learn: float32, or bfloat16, faster "
                 "where the processor has it."),
]  # fmt: skip
ChannelsOption = Annotated[
    int, typer.Option("--channels", min=1, help="Width of the lifter's hidden layers.")
]
DropoutOption = Annotated[
    float, typer.Option("--dropout", min=0.0, max=0.99, help="Dropout of the lifter's layers.")
]
RaysOption = Annotated[
    str,
    typer.Option("--rays", help="Score every row also with poses on their rays: none, rays, "
                 "refined."),
]  # fmt: skip
RedoOption = Annotated[
    str | None, typer.Option("--redo", help="Run these rows again, though they are finished.")
]
RescoreOption = Annotated[
    bool, typer.Option("--rescore", help="Score finished rows again, without running them.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to, or to go on in.")]


def bench(
    out: OutOption,
    tasks: TasksOption = "O1,O2,O3,O4",
    seeds: SeedsOption = "3",
    rows: RowsOption = "all",
    own_rows: OwnRowOption = None,
    inputs: InputsOption = "gt",
    frames: FramesOption = "27",
    budget: BudgetOption = "standard",
    steps: StepsOption = None,
    oracle_steps: OracleStepsOption = None,
    precision: PrecisionOption = "float32",
    channels: ChannelsOption = 256,
    dropout: DropoutOption = 0.1,
    rays: RaysOption = "none",
    redo: RedoOption = None,
    rescore: RescoreOption = False,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare all methods on open data; the same command again goes on."""
    from adaptpose.cli.bench_rows import BUDGETS, chosen_rows
    from adaptpose.cli.bench_study import Study
    from adaptpose.cli.bench_tasks import (
        chosen_frames,
        chosen_inputs,
        chosen_tasks,
        settings_of,
        words_of,
    )
    from adaptpose.config import LifterConfig

    wanted = chosen_tasks(tasks), chosen_inputs(inputs), chosen_frames(frames)
    spent = BUDGETS[_one_of(budget, "--budget", tuple(BUDGETS))]
    exactness = _one_of(precision, "--precision", ("float32", "bfloat16"))
    spent = dataclasses.replace(spent, precision=exactness)
    if steps is not None:
        spent = spent.with_steps(parse_count(steps, "--steps"))
    oracle = spent
    if oracle_steps is not None:
        oracle = spent.with_steps(parse_count(oracle_steps, "--oracle-steps"), "--oracle-steps")
    chosen = chosen_rows(rows, own_rows)
    names = [row.name for row in chosen]
    again = () if redo is None else words_of(redo, "--redo", "row", names)
    study = Study(
        path=out,
        settings=tuple(settings_of(*wanted)),
        seeds=seed_numbers(seeds),
        rows=chosen,
        budget=spent,
        oracle=oracle,
        lifter=LifterConfig(channels=channels, dropout=dropout),
        rays=_one_of(rays, "--rays", ("none", "rays", "refined")),
        data_root=data_root,
    )
    execute(study, choose(device, threads), again, rescore, as_json)


def seed_numbers(text: str, flag: str = "--seeds") -> tuple[int, ...]:
    """Seeds of a text: "3" are the first three, "0,2" these two, "2," seed 2 alone."""
    from adaptpose.cli.ablate import parse_seeds

    numbers = parse_seeds(text, flag)
    if "," in text:
        return numbers
    if not 1 <= numbers[0] <= 100:
        expected = "1 to 100 seeds, or seeds between commas"
        raise ConfigError(expected_message(flag, expected, f"'{text}'", "0, for seed 0 alone"))
    return tuple(range(numbers[0]))


def execute(study: Study, device: Any, redo: tuple[str, ...], rescore: bool, as_json: bool) -> None:
    """Run what is missing of a study; write its summary, tables and figures; print them."""
    from adaptpose import distributed
    from adaptpose.cli.bench_data import check_tasks
    from adaptpose.cli.bench_runs import carry_out
    from adaptpose.rounds import check_alone

    device = distributed.start(device)
    try:
        check_alone()
        check_tasks(study)
        with progress_hook(quiet=as_json) as hook:
            found = carry_out(study, device, hook, redo, rescore)
    finally:
        distributed.stop()
    write_results(study.path, found)
    if as_json:
        print_json({"folder": str(study.path), **found})
        return
    _print_tables(study.path, found)


def write_results(path: Path, found: dict[str, Any]) -> None:
    """Add the summary to the content of bench.json, and write it with tables and figures."""
    from adaptpose.cli.bench_figures import curves_figure, gap_figure
    from adaptpose.cli.bench_results import summary
    from adaptpose.cli.bench_study import write_description
    from adaptpose.cli.bench_tables import markdown
    from adaptpose.cli.bench_tasks import TASKS
    from adaptpose.store import write_bytes

    metrics = {name: task.metrics for name, task in TASKS.items()}
    found["summary"] = summary(found["results"], metrics)
    write_description(path, found)
    write_bytes(path / "bench.md", markdown(found).encode())
    write_bytes(path / "gap-closed.png", gap_figure(found["summary"]))
    write_bytes(path / "curves.png", curves_figure(found["results"], found["summary"]))


def _print_tables(path: Path, found: dict[str, Any]) -> None:
    from adaptpose.cli.bench_tables import choice_table, how_to_read, setting_table, table_title

    settings = list(found["summary"].values())
    for one in settings:
        print_table(table_title(one), *setting_table(one))
    print_table("Label-free choice", *choice_table(settings))
    print_table("", ("how to read this",), [(text,) for text in how_to_read(found)])
    notice(f"also in {path}: bench.json, bench.md, gap-closed.png, curves.png")


def _one_of(text: str, flag: str, known: tuple[str, ...]) -> Any:
    if text not in known:
        message = unknown_name_message(f"value of {flag}", text, known)
        raise ConfigError(f"{flag}: {message}")
    return text
