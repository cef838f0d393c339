"""What follows from a benchmark's results: gaps closed, and how well the label-free score chooses.

Of a metric and a variant (raw, averaged passes, ...), a row closes (source - row) / (source -
oracle) of the gap, seed by seed, all three under the same variant. Source and oracle are the rows
of those names.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from adaptpose.cli.bench_rows import ROWS
from adaptpose.cli.bench_study import Results
from adaptpose.cli.bench_tasks import METRICS

PICK = "test-set pick"
"""What the epoch chosen by test labels stands under."""
PICKED_ROW = "adaptpose"
"""The row beside which the test-set pick is shown, because its released code picks so."""
_NOT_CHOSEN_FROM = ("oracle", "mean")
_LOGGED = "label_free_"
"""What names of the score's parts begin with in a curve."""
_SIZE = "size_m"
"""Size of the poses, which is no part of the score but what its parts in mm are divided by."""


def summary(results: Results, metrics: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Lines of every setting, and the label-free choice in it; `metrics` are reported by task.

    Settings come in the order of their names, longer windows first, rows in that of the table and
    then of the results. Plain data.
    """
    settings: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(results.values(), key=_order):
        settings.setdefault(setting_key(result), []).append(result)
    return {
        key: {
            "task": found[0]["task"],
            "input": found[0]["input"],
            "frames": found[0]["frames"],
            "metrics": list(metrics.get(found[0]["task"], tuple(METRICS))),
            "lines": lines_of(found),
            "choice": choice_of(found, metrics.get(found[0]["task"], tuple(METRICS))[0]),
        }
        for key, found in settings.items()
    }


def setting_key(result: dict[str, Any]) -> str:
    """The setting that a result belongs to."""
    return f"{result['task']}/{result['input']}-{result['frames']}"


def _order(result: dict[str, Any]) -> tuple[str, bool, int, int, int]:
    names = list(ROWS)
    place = names.index(result["row"]) if result["row"] in names else len(names)
    seen = result["input"] == "det"
    return result["task"], seen, -result["frames"], place, result["seed"]


def lines_of(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per row of a setting, and one for the test-set pick of `PICKED_ROW`.

    A line has "errors" and "closed" by variant and metric, each with mean and standard deviation
    over seeds (None for one seed), steps and seconds as means.
    """
    by_row: dict[str, dict[int, dict[str, Any]]] = {}
    for result in found:
        by_row.setdefault(result["row"], {})[result["seed"]] = result
    lines = []
    for name, seeds in by_row.items():
        scores = {seed: result["scores"] for seed, result in seeds.items()}
        about = {"steps": _mean([result["steps"] for result in seeds.values()]),
                 "seconds": _mean([result["seconds"] for result in seeds.values()])}  # fmt: skip
        lines.append(_line(name, scores, by_row) | about)
        if name == PICKED_ROW:
            picks = {seed: _pick(result["curve"]) for seed, result in seeds.items()}
            raw = {seed: {"raw": pick} for seed, pick in picks.items() if pick is not None}
            if len(raw) == len(picks):
                lines.append(_line(f"{name}, {PICK}", raw, by_row) | dict.fromkeys(about))
    return lines


def closed(source: float | int, row: float | int, oracle: float | int) -> float | None:
    """The fraction of the gap that is closed; None if the oracle is no better than the source."""
    gap = source - oracle
    return (source - row) / gap if math.isfinite(gap) and gap > 0 else None


def choice_of(found: Sequence[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """How the label-free score orders all checkpoints of all rows that may see no label.

    Per seed, because the source lifters differ, and the means: Spearman's rank correlation with
    the true raw error, what the score picks, and its regret, which is the picked error less the
    lowest, in mm. `stopping_regret_mm` is the same within each row, by name. "parts" has the rank
    correlation of every part of the score that curves have, see `part_scores`, with the number of
    checkpoints that have it: parts are younger than the score. Points without a score are left out.
    None without curves.
    """
    seeds = sorted({result["seed"] for result in found})
    told = [_choice([r for r in found if r["seed"] == seed], metric, seed) for seed in seeds]
    kept = [one for one in told if one is not None]
    if not kept:
        return None
    known = [one["spearman"] for one in kept if one["spearman"] is not None]
    return {
        "metric": metric,
        "spearman": _mean(known) if known else None,
        "regret_mm": _mean([one["regret_mm"] for one in kept]),
        "parts": _mean_parts([one["parts"] for one in kept]),
        "seeds": kept,
    }


def part_scores(point: dict[str, Any]) -> dict[str, float]:
    """Parts of the label-free score of a curve's point by name, such as "rays"; lower is better.

    Parts in mm come as fractions of the poses' size where that is known, and are then named without
    their unit ("flip" instead of "flip_mm"): a lifter of small people is not good for that. A part
    that is not finite is infinite.
    """
    found = {
        name.removeprefix(_LOGGED): _or_worst(value)
        for name, value in point.items()
        if name.startswith(_LOGGED)
    }
    size = found.pop(_SIZE, None)
    if size is None:
        return found
    size_mm = max(1.0, 1000 * size) if math.isfinite(size) else 1.0
    return {
        name.removesuffix("_mm"): value / size_mm if name.endswith("_mm") else value
        for name, value in found.items()
    }


def spearman(first: Sequence[float | int], second: Sequence[float | int]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs or a side without variety."""
    from scipy.stats import rankdata

    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))


def _choice(found: list[dict[str, Any]], metric: str, seed: int) -> dict[str, Any] | None:
    chosen_from = [
        (result, point)
        for result in found
        if result["row"] not in _NOT_CHOSEN_FROM
        for point in result["curve"]
        if point[metric] is not None and "label_free" in point
    ]
    points = [
        {
            "row": result["row"],
            "epoch": point["epoch"],
            "score": _or_worst(point["label_free"]),
            "error_mm": point[metric],
        }
        for result, point in chosen_from
    ]
    if not points:
        return None
    scores = [point["score"] for point in points]
    picked, best = _lowest(points, "score"), _lowest(points, "error_mm")
    stopping = {}
    for name in dict.fromkeys(point["row"] for point in points):
        own = [point for point in points if point["row"] == name]
        stopping[name] = _lowest(own, "score")["error_mm"] - _lowest(own, "error_mm")["error_mm"]
    return {
        "seed": seed,
        "checkpoints": len(points),
        "spearman": spearman(scores, [point["error_mm"] for point in points]),
        "picked": picked,
        "best": best,
        "regret_mm": picked["error_mm"] - best["error_mm"],
        "parts": _parts([point for _, point in chosen_from], metric),
        "stopping_regret_mm": stopping,
    }


def _parts(points: list[dict[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """By part, its rank correlation with the true error over the points that have it."""
    scores: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for point in points:
        for name, value in part_scores(point).items():
            scores.setdefault(name, []).append(value)
            errors.setdefault(name, []).append(point[metric])
    return {
        name: {"spearman": spearman(values, errors[name]), "checkpoints": len(values)}
        for name, values in scores.items()
    }


def _mean_parts(seeds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The same as means over the seeds that have a part; numbers of checkpoints are summed."""
    found = {}
    for name in dict.fromkeys(name for parts in seeds for name in parts):
        own = [parts[name] for parts in seeds if name in parts]
        known = [one["spearman"] for one in own if one["spearman"] is not None]
        found[name] = {
            "spearman": _mean(known) if known else None,
            "checkpoints": sum(one["checkpoints"] for one in own),
        }
    return found


def _or_worst(value: float | int | None) -> float:
    """A number that is not finite comes back from JSON as None: the worst there is."""
    return math.inf if value is None or not math.isfinite(value) else float(value)


def _lowest(points: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return min(points, key=lambda point: point[key])


def _pick(curve: list[dict[str, Any]]) -> dict[str, float] | None:
    """The errors of the epoch with the lowest test MPJPE."""
    known = [point for point in curve if point["mpjpe"] is not None]
    if not known:
        return None
    return {name: _lowest(known, "mpjpe")[name] for name in METRICS}


def _line(
    name: str,
    scores: dict[int, dict[str, dict[str, Any]]],
    by_row: dict[str, dict[int, dict[str, Any]]],
) -> dict[str, Any]:
    """Errors and fractions of a row; `scores` are by seed, variant and metric."""
    variants = list(dict.fromkeys(variant for one in scores.values() for variant in one))
    errors = {
        variant: {
            metric: _spread([one[variant][metric] for one in scores.values() if variant in one])
            for metric in METRICS
        }
        for variant in variants
    }
    fractions = {
        variant: {
            metric: _spread(_fractions(scores, by_row, variant, metric)) for metric in METRICS
        }
        for variant in variants
    }
    return {"row": name, "seeds": sorted(scores), "errors": errors, "closed": fractions}


def _fractions(
    scores: dict[int, dict[str, dict[str, Any]]],
    by_row: dict[str, dict[int, dict[str, Any]]],
    variant: str,
    metric: str,
) -> list[float]:
    found = []
    for seed, own in scores.items():
        ends = [by_row.get(name, {}).get(seed) for name in ("source", "oracle")]
        values = [end["scores"].get(variant, {}).get(metric) for end in ends if end is not None]
        row = own.get(variant, {}).get(metric)
        if len(values) == 2 and row is not None and None not in values:
            fraction = closed(values[0], row, values[1])
            found += [] if fraction is None else [fraction]
    return found


def _mean(values: Iterable[float | int]) -> float:
    return statistics.fmean(values)


def _spread(values: Sequence[float | int | None]) -> dict[str, float | None] | None:
    """Mean and standard deviation over seeds; None if there is nothing finite to average."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": _mean(known), "standard_deviation": deviation}
