"""Options: counts, KEY=VALUE, configuration files, and the order in which settings apply."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptpose.cli import console, options
from adaptpose.cli.settings import settle
from adaptpose.config import FitConfig, LifterConfig, PretrainConfig
from adaptpose.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1500000", 1_500_000),
        ("1_500_000", 1_500_000),
        ("1.5e6", 1_500_000),
        ("1.5M", 1_500_000),
        ("20k", 20_000),
        (" 2G ", 2_000_000_000),
        ("1e3", 1000),
        ("12.0", 12),
    ],
)
def test_counts_people_write(text, number):
    assert options.parse_count(text, "--samples") == number


@given(st.integers(0, 10**15))
def test_count_round_trip(number):
    assert options.parse_count(str(number), "--samples") == number
    assert options.parse_count(f"{number:_}", "--samples") == number


@pytest.mark.parametrize("text", ["many", "", "1,5", "1.5", "1e-3", "nan", "inf", "2M5", "0x10"])
def test_what_is_no_count(text):
    with pytest.raises(ConfigError, match="--samples: expected a whole number such as"):
        options.parse_count(text, "--samples")


def test_counts_out_of_range():
    with pytest.raises(ConfigError, match="--samples: expected 0 or more, got '-5'"):
        options.parse_count("-5", "--samples")
    with pytest.raises(ConfigError, match="--samples: expected at most 1e15"):
        options.parse_count("1e99", "--samples")


def test_assignments():
    assert options.read_assignments(["a=1", "b.c = x=y "]) == {"a": "1", "b.c": "x=y"}
    assert options.read_assignments(None) == {}
    with pytest.raises(ConfigError, match="--set: expected KEY=VALUE, got 'epochs'"):
        options.read_assignments(["epochs"])
    with pytest.raises(ConfigError, match="--set a: given twice"):
        options.read_assignments(["a=1", "a=2"])


def _sections():
    return {"lifter": LifterConfig(), "pretrain": PretrainConfig()}


def test_later_layers_win(tmp_path):
    file = tmp_path / "settings.json"
    values = {"lifter": {"channels": 64, "widths": [3, 3]}, "epochs": 3, "pretrain.seed": 4}
    file.write_text(json.dumps(values))
    found = settle(_sections(), file, ["epochs=5", "lifter.dropout=0.1"], {"pretrain.seed": 9})
    assert found["lifter"] == LifterConfig(channels=64, widths=(3, 3), dropout=0.1)
    assert found["pretrain"] == PretrainConfig(epochs=5, seed=9)


def test_flags_that_were_not_given_change_nothing():
    assert settle(_sections(), None, None, {"epochs": None}) == _sections()


def test_nested_settings_without_their_section():
    found = settle({"fit": FitConfig()}, None, ["generator.bones=bg1", "strides=1,3"])["fit"]
    assert (found.generator.bones, found.strides) == ("bg1", (1, 3))


def test_unknown_settings_name_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"--set: unknown setting 'chanels'; did you mean"):
        settle(_sections(), None, ["chanels=3"])
    file = tmp_path / "settings.json"
    file.write_text('{"pretrain": {"epoch": 3}}')
    wanted = r"--config .*settings.json: unknown setting 'pretrain.epoch'; .*'pretrain.epochs'"
    with pytest.raises(ConfigError, match=wanted):
        settle(_sections(), file)


def test_ambiguous_settings_name_both():
    sections = {"fit": FitConfig(), "pretrain": PretrainConfig()}
    with pytest.raises(ConfigError, match=r"'epochs' is ambiguous \(fix: fit.epochs or pretrain"):
        settle(sections, None, ["epochs=3"])


def test_wrong_values_name_setting_and_origin():
    with pytest.raises(ConfigError, match="--set: epochs: expected a whole number, got 'abc'"):
        settle(_sections(), None, ["epochs=abc"])
    with pytest.raises(ConfigError, match=r"(?s)lifter.channels.*pretrain.epochs"):
        settle(_sections(), None, ["channels=0", "epochs=-1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "expected a JSON object, got list"), ("{", "cannot be read as JSON")],
)
def test_damaged_configuration_files(tmp_path, content, message):
    file = tmp_path / "settings.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        settle(_sections(), file)
    with pytest.raises(ConfigError, match="no such file"):
        settle(_sections(), tmp_path / "other.json")


def test_json_is_alone_on_stdout_and_always_valid(capsys):
    console.print_json({"value": math.nan, "rows": (1.5, math.inf), 3: "x"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"value": None, "rows": [1.5, None], "3": "x"}
    assert captured.err == ""


def test_tables_do_not_cut_in_pipes(capsys):
    long = "word " * 30
    console.print_table("Title", ("name", "mm"), [("a", "12.3"), (long.strip(), "")], "note")
    out = capsys.readouterr().out
    assert long.strip() in out
    assert "Title" in out
    assert "note" in out


def test_progress_lines_come_now_and_then():
    times = iter([0.0, 1.0, 40.0, 41.0, 50.0, 60.0])
    written: list[str] = []
    lines = console.Lines(written.append, lambda: next(times))
    for done in (0, 10, 400, 410, 500):
        lines("training", done, 500)
    lines("evaluation", 0, 0)
    assert written == [
        "training: 0 of 500 (0%)",
        "training: 400 of 500 (80%), 10/s, 0:40 elapsed, 0:10 left",
        "training: 500 of 500 (100%), 10/s, 0:50 elapsed",
        "evaluation: 0",
    ]


def test_progress_lines_write_the_end_once():
    written = []
    lines = console.Lines(written.append, lambda: 1.0)
    for done in (0, 500, 500, 500):
        lines("training", done, 500)
    assert written == ["training: 0 of 500 (0%)", "training: 500 of 500 (100%)"]


def test_progress_bars_show_rate_and_counts():
    progress = console._bars()
    bars = console.Bars(progress)
    for done in (5, 10, 20):
        bars("training", done, 20)
    bars("frames", 3, 0)
    texts = [str(console.CountColumn().render(task)) for task in progress.tasks]
    assert texts == ["20/20", "3"]
    assert len(progress.tasks) == 2


@pytest.mark.parametrize(
    ("rate", "text"), [(0.5, "0.5/s"), (950, "950/s"), (12345, "12.3 k/s"), (2.5e6, "2.5 M/s")]
)
def test_rates(rate, text):
    assert console.format_rate(rate) == text


def test_times():
    assert [console.format_time(s) for s in (5, 65, 3661)] == ["0:05", "1:05", "1:01:01"]
