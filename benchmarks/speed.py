"""Speed of training, generation and inference on the device at hand.

    python benchmarks/speed.py [--device auto] [--threads N] [--channels 1024,256] [--quick]

Prints rates, ratios of rates measured in the same run, and the targets beside them. A target that
is missed changes nothing: machines differ, and this says what this one does.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import workloads
from rounds import Rate, measure, peak_memory_mib, ratio, timed

from adaptpose.errors import AdaptError
from adaptpose.runtime import choose_device
from adaptpose.state import FitData

UNITS = {"inference": "frames/s", "plain convolutions": "frames/s", "source table": "frames/s"}
"""Units of the rates that do not count windows."""


@dataclass(frozen=True)
class Target:
    """A number that is aimed at, for one lifter width or (0) whatever its width."""

    name: str
    channels: int
    least: float


TARGETS = (
    Target("fine-tuning", 1024, 1100),
    Target("generation", 0, 15_000),
    Target("adversarial / fine-tuning", 1024, 1.0),
    Target("adversarial / fine-tuning", 256, 0.5),
    Target("inference / plain convolutions", 0, 1.0),
)
"""Rates are meant for two CPU cores; ratios for any machine."""


def main() -> None:
    """Measure and print."""
    options = _options()
    try:
        device = choose_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        report = run(device, options.channels, options.quick, options.disk_windows)
    except AdaptError as error:
        sys.exit(str(error))
    print(json.dumps(report, indent=1) if options.json else _table(report))


def run(
    device: torch.device, channels: list[int], quick: bool, disk_windows: int | None
) -> dict[str, Any]:
    """All numbers of this machine as plain data."""
    machine = _machine(device)
    data = workloads.open_data(device, 40 if quick else None)
    results = [_measure_width(data, width, quick) for width in channels]
    disk = _measure_disk(data, channels[-1], disk_windows or (20_000 if quick else 100_000))
    return {
        "machine": machine,
        "settings": {"quick": quick, "batch": 1024, "window": 27, "skeleton": "h36m16"},
        "lifters": results,
        "disk": disk,
        "peak_memory_mib": peak_memory_mib(device),
    }


def _measure_width(data: FitData, channels: int, quick: bool) -> dict[str, Any]:
    bench = workloads.make_bench(data, channels)
    sampler = workloads.make_sampler(bench)
    ours, plain, apart = workloads.inference_pair(bench, 1000 if quick else 4000)
    works = {
        "adversarial": partial(workloads.adversarial, bench),
        "fine-tuning": partial(workloads.fine_tuning, bench),
        "pretraining": workloads.pretraining(bench, channels),
        "generation": partial(workloads.generation, bench, sampler),
        "inference": ours,
        "plain convolutions": plain,
        "gathering": partial(workloads.gathering, bench),
    }
    rates = measure(works, 2 if quick else 7, data.device)
    ratios = {
        f"{above} / {below}": ratio(rates[above], rates[below])
        for above, below in (
            ("adversarial", "fine-tuning"), ("inference", "plain convolutions"),
        )
    }  # fmt: skip
    seconds, frames = timed(partial(workloads.source_table, bench), data.device)
    rates["source table"] = Rate([frames / seconds])
    return {
        "channels": channels,
        "rates": {
            name: {
                "median": rate.median,
                "unit": UNITS.get(name, "windows/s"),
                "rounds": rate.rounds,
            }
            for name, rate in rates.items()
        },
        "ratios": ratios,
        "source_table_s": seconds,
        "inference_apart_m": apart,
        "targets": _judge(channels, {name: rate.median for name, rate in rates.items()} | ratios),
        "peak_memory_mib": peak_memory_mib(data.device),
    }


def _measure_disk(data: FitData, channels: int, count: int) -> dict[str, float]:
    before = peak_memory_mib(data.device)["host"]
    sampler = workloads.make_sampler(workloads.make_bench(data, channels))
    found = workloads.generate_to_disk(sampler, count, data.device)
    after = peak_memory_mib(data.device)["host"]
    return {
        **found,
        "windows_per_s": found["windows"] / found["seconds"],
        "peak_before_mib": before,
        "peak_after_mib": after,
    }


def _judge(channels: int, values: dict[str, float]) -> list[dict[str, Any]]:
    chosen = (t for t in TARGETS if t.channels in (0, channels))
    return [
        {
            "name": t.name,
            "value": values[t.name],
            "target": t.least,
            "met": values[t.name] >= t.least,
        }
        for t in chosen
    ]


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": device.type,
        "name": name or platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _table(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = ["  ".join(f"{key} {value}" for key, value in machine.items())]
    if machine["load"] + machine["threads"] > machine["cores"] + 0.5:
        lines.append("other programs keep this machine busy: all rates are too low")
    lines.append("27-frame windows, batches of 1024, 16 joints; medians of interleaved rounds")
    for part in report["lifters"]:
        lines += ["", f"lifter of {part['channels']} channels"]
        for name, rate in part["rates"].items():
            low, high = min(rate["rounds"]), max(rate["rounds"])
            spread = f"  ({low:,.0f} to {high:,.0f})" if high > low else ""
            lines.append(f"  {name:32}{rate['median']:>12,.0f} {rate['unit']}{spread}")
        lines.append(f"  {'source table, once per epoch':32}{part['source_table_s']:>12.2f} s")
        for name, value in part["ratios"].items():
            lines.append(f"  {name:32}{value:>12.2f}")
        for target in part["targets"]:
            met = "met" if target["met"] else "not met"
            wanted = f"target {target['target']:,g}, got {target['value']:,.4g}: {met}"
            lines.append(f"  {target['name']:32}  {wanted}")
        lines.append(_memory("peak memory so far", part["peak_memory_mib"]))
    disk = report["disk"]
    lines += [
        "",
        f"generation to disk: {disk['windows']:,} windows, {disk['windows_per_s']:,.0f} windows/s, "
        f"{disk['bytes_per_window']:,.0f} bytes per window, peak memory "
        f"{disk['peak_before_mib']:,.0f} MiB before, {disk['peak_after_mib']:,.0f} MiB after",
    ]
    return "\n".join(lines)


def _memory(label: str, peak: dict[str, float]) -> str:
    return f"  {label:32}  " + ", ".join(f"{where} {mib:,.0f} MiB" for where, mib in peak.items())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of adaptpose on the device at hand.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=_positive, help="CPU threads (default: torch's choice)")
    parser.add_argument("--channels", type=_widths, default=[1024, 256], help="e.g. 1024,256")
    parser.add_argument("--disk-windows", type=_positive, help="windows to generate to disk")
    parser.add_argument("--quick", action="store_true", help="few rounds on few clips")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got '{text}'")
    return int(text)


def _widths(text: str) -> list[int]:
    return [_positive(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
