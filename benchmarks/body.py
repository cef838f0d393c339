"""Cost of posing a body with all its vertices and with fewer, in joints per second.

    python benchmarks/body.py [--body anny] [--frames 64] [--threads N] [--device auto] [--rounds 5]

Every line poses the same frames with rotation matrices, regresses the joints of h36m16, and (lines
"with gradient") runs back to shape and rotations, as training does. "used" are the vertices that
the joint regressor uses. Fewer vertices chosen by farthest points cannot carry the regressor: their
joints are made by as many weights, so that the work is that of a learned one.
"""

import argparse
import json
import os
import sys
from functools import partial
from typing import Any

import roma
import torch
from rounds import Work, measure, ratio
from torch import Tensor

from adaptpose.body_parts import (
    farthest_points,
    joint_regressor_for,
    moved,
    used_vertices,
    with_vertices,
)
from adaptpose.cli.specs import cache_folder
from adaptpose.datasets.body_store import load_body
from adaptpose.errors import AdaptError
from adaptpose.runtime import choose_device, stream
from adaptpose.skeleton import H36M_16
from adaptpose.skinning import BodyModel, regress_joints, skin


def main() -> None:
    """Measure and print."""
    options = _options()
    try:
        device = choose_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        report = run(options.body, options.frames, options.vertices, options.rounds, device)
    except AdaptError as error:
        sys.exit(str(error))
    print(json.dumps(report, indent=1) if options.json else _table(report))


def run(
    body: str, frames: int, counts: list[int], rounds: int, device: torch.device
) -> dict[str, Any]:
    """All numbers of this machine as plain data."""
    whole = moved(load_body(body, cache_folder())[0], device)
    regressor = joint_regressor_for(whole, H36M_16)
    used = used_vertices(regressor)
    parts = {"all": (whole, regressor), "used": (with_vertices(whole, used), regressor[:, used])}
    for count in counts:
        chosen = farthest_points(whole, count)
        even = torch.full((len(regressor), count), 1 / count, device=device)
        parts[f"{count}"] = (with_vertices(whole, chosen), even)
    pose = _rotations(whole, frames, device)
    works: dict[str, Work] = {}
    for name, (part, rows) in parts.items():
        works[name] = partial(_pose, part, rows, pose, False)
        works[f"{name}, with gradient"] = partial(_pose, part, rows, pose, True)
    rates = measure(works, rounds, device)
    return {
        "settings": {
            "body": body, "frames": frames, "device": device.type,
            "threads": torch.get_num_threads(), "torch": torch.__version__,
            "load": round(os.getloadavg()[0], 1),
        },
        "joints_per_s": {
            name: {
                "vertices": len(parts[name.split(",")[0]][0].template),
                "median": rate.median,
                "times_all": ratio(rate, rates[_all_of(name)]),
            }
            for name, rate in rates.items()
        },
    }  # fmt: skip


def _all_of(name: str) -> str:
    return "all, with gradient" if name.endswith("gradient") else "all"


def _rotations(model: BodyModel, frames: int, device: torch.device) -> Tensor:
    vectors = 0.3 * torch.randn(frames, model.num_joints, 3, generator=stream(0, "benchmark"))
    return roma.rotvec_to_rotmat(vectors).to(device)


def _pose(model: BodyModel, regressor: Tensor, pose: Tensor, gradient: bool) -> int:
    betas = torch.zeros(1, min(10, model.shape_directions.shape[-1]), device=pose.device)
    still = torch.zeros(1, 3, device=pose.device)
    with torch.set_grad_enabled(gradient):
        betas, pose = betas.requires_grad_(gradient), pose.clone().requires_grad_(gradient)
        joints = regress_joints(skin(model, betas, pose, still)[0], regressor)
        if gradient:
            joints.square().mean().backward()
    return joints.shape[0] * joints.shape[1]


def _table(report: dict[str, Any]) -> str:
    lines = ["  ".join(f"{key} {value}" for key, value in report["settings"].items())]
    for name, found in report["joints_per_s"].items():
        lines.append(
            f"  {name:24}{found['vertices']:>8,} vertices{found['median']:>14,.0f} joints/s"
            f"{found['times_all']:>8.1f} times all"
        )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of posing a body model.")
    parser.add_argument("--body", default="anny", help="anny, or a model file")
    parser.add_argument("--frames", type=int, default=64, help="frames posed at once")
    parser.add_argument("--vertices", type=_counts, default=[200, 1000], help="e.g. 200,1000")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--rounds", type=int, default=5, help="times everything is measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _counts(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
