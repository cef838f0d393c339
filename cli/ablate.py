"""`adapt ablate`: the tables of the paper's section 6.3 on any data, at any budget."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptpose.cli.ablation_rows import PUBLISHED, chosen_tables
from adaptpose.cli.console import notice, print_json, print_table, progress_hook
from adaptpose.cli.fit import (
    EpochsOption,
    PretrainedOption,
    PretrainEpochsOption,
    PretrainWindowsOption,
    SamplesOption,
    SourceNoiseOption,
    TestOption,
)
from adaptpose.cli.methods import ADAPTPOSE
from adaptpose.cli.options import (
    ChannelsOption,
    ConfigOption,
    DataRootOption,
    DeviceOption,
    FrameRateOption,
    JsonOption,
    LifterNameOption,
    MaxClipsOption,
    NoiseOption,
    RigOption,
    RunsOption,
    SetOption,
    SourceOption,
    TargetOption,
    TargetRigOption,
    ThreadsOption,
    WidthsOption,
    choose,
)
from adaptpose.cli.plans import moved_plan, new_plan
from adaptpose.cli.resume import refuse_with_resume
from adaptpose.errors import ConfigError, expected_message

if TYPE_CHECKING:
    from adaptpose.cli.ablation_study import Results, Study
    from adaptpose.cli.experiment import Material
else:
    Results = Study = Material = Any

TablesOption = Annotated[
    str | None,
    typer.Option("--tables", help=f"Tables between commas: {', '.join(PUBLISHED)} (default), "
                 "fixes (choices of the released code)."),
]  # fmt: skip
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", help="Seeds between commas (default: 0), each a run of every row."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder to write to, or to go on in; by default below --runs, "
                 "named after the data."),
]  # fmt: skip
ResumeOption = Annotated[
    Path | None, typer.Option("--resume", help="Go on in this folder with its own settings.")
]


def ablate(
    tables: TablesOption = None,
    seeds: SeedsOption = None,
    source: SourceOption = None,
    rig: RigOption = None,
    target: TargetOption = None,
    target_rig: TargetRigOption = None,
    test: TestOption = None,
    data_root: DataRootOption = None,
    noise: NoiseOption = None,
    source_noise: SourceNoiseOption = None,
    frame_rate: FrameRateOption = None,
    max_clips: MaxClipsOption = None,
    pretrained: PretrainedOption = None,
    lifter: LifterNameOption = None,
    channels: ChannelsOption = None,
    widths: WidthsOption = None,
    pretrain_epochs: PretrainEpochsOption = None,
    pretrain_windows: PretrainWindowsOption = None,
    epochs: EpochsOption = None,
    samples_per_epoch: SamplesOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    resume: ResumeOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the rows of the paper's tables 5 to 8; the same command again goes on."""
    from adaptpose.cli.ablation_study import Study, find_study

    flags = {"--lifter": lifter, "--channels": channels, "--widths": widths,
             "--pretrain-epochs": pretrain_epochs, "--pretrain-windows": pretrain_windows,
             "--epochs": epochs, "--samples-per-epoch": samples_per_epoch}  # fmt: skip
    data = {"--source": source, "--rig": rig, "--target": target, "--target-rig": target_rig,
            "--test": test, "--noise": noise, "--source-noise": source_noise,
            "--frame-rate": frame_rate, "--max-clips": max_clips,
            "--pretrained": pretrained}  # fmt: skip
    if resume is not None:
        rest = {"--config": config, "--set": assignments, "--out": out}
        refuse_with_resume({"--tables": tables, "--seeds": seeds, **flags, **data, **rest})
        study = find_study(resume)
        study = dataclasses.replace(study, plan=moved_plan(study.plan, data_root))
    else:
        names = chosen_tables(",".join(PUBLISHED) if tables is None else tables)
        numbers = (0,) if seeds is None else parse_seeds(seeds)
        plan = new_plan({**flags, "--seed": None}, data, data_root, config, assignments, ADAPTPOSE)
        place = f"ablation-{Path(plan.source.name).stem}-{Path(plan.target.name).stem}"
        study = Study(out or runs / place, plan, names, numbers)
    execute(study, choose(device, threads), as_json)


def parse_seeds(text: str, flag: str = "--seeds") -> tuple[int, ...]:
    """The seeds in a text like "0,1,2", once each; ConfigError for anything else."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdecimal() for word in words):
        expected = "whole numbers between commas, such as 0,1,2"
        raise ConfigError(expected_message(flag, expected, f"'{text}'"))
    return tuple(dict.fromkeys(int(word) for word in words))


def execute(study: Study, device: Any, as_json: bool) -> None:
    """Run what is missing of a study; write and print its tables."""
    from adaptpose import distributed
    from adaptpose.cli.ablation import Bench, carry_out
    from adaptpose.cli.ablation_study import check_place, check_study
    from adaptpose.cli.experiment import open_material
    from adaptpose.cli.start_checks import check_start

    device = distributed.start(device)
    try:
        check_study(study)
        check_place(study)
        first = distributed.rank() == 0
        if first:
            notice(f"reading {study.plan.source.name} and {study.plan.target.name}")
        material = open_material(study.plan)
        seen = material.source.normalisation
        study = dataclasses.replace(
            study, plan=dataclasses.replace(study.plan, normalisation=seen)
        )  # fmt: skip
        check_start(study.plan, material)
        with progress_hook(quiet=as_json or not first) as hook:
            results = carry_out(Bench(study, material, device, hook))
        if first:
            _report(study, results, material, as_json)
    finally:
        distributed.stop()


def _report(study: Study, results: Results, material: Material, as_json: bool) -> None:
    from adaptpose.cli.ablation_tables import (
        how_to_read,
        markdown,
        table_lines,
        table_texts,
        table_title,
    )
    from adaptpose.store import write_bytes

    notes = _about(material)
    path = study.path / "ablation.md"
    write_bytes(path, markdown(study, results, notes).encode())
    lines = {name: table_lines(name, study, results) for name in study.tables}
    if as_json:
        tables = {name: [line.to_json() for line in lines[name]] for name in study.tables}
        print_json({"folder": str(study.path), "settings": study.settings(), "notes": notes,
                    "results": results, "tables": tables})  # fmt: skip
        return
    for name in study.tables:
        header, rows = table_texts(name, lines[name])
        print_table(table_title(name), header, rows)
    print_table("", ("how to read this",), [(text,) for text in how_to_read(study, notes)])
    notice(f"also in {path}")


def _about(material: Material) -> list[str]:
    """What the data are: who moved in them, and whose they are."""
    test = material.test
    assert test is not None
    named = {"source": material.source, "test set": test}
    notes = [
        f"{role}: {data.name} ({'SYNTHETIC' if data.synthetic else 'recorded'} people), "
        f"{len(data.clips)} clips"
        for role, data in named.items()
    ]
    owners = [
        f"{data.name}: {'; '.join(text for text in (data.licence, data.credit) if text)}"
        for data in named.values()
        if data.licence or data.credit
    ]
    return notes + list(dict.fromkeys(owners))
