"""Lifted clips refined as a whole: the most probable motion given rays, lifted poses, one body.

Bone directions, the root and one symmetric set of bone lengths per clip are fitted so that joints
are near their rays and near the lifted pose, and motion is smooth. Corrections are quadratic
B-splines in time: a gradient step then never makes motion rough, which would cost many more steps.
Clips lie end to end in one tensor; all are refined in the same steps, and do not see each other.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.bones import chain_matrix, symmetry_matrix
from adaptpose.camera import Intrinsics
from adaptpose.clips import Clip2D
from adaptpose.config_values import check_config
from adaptpose.lifted import LiftedClips, gather_lifted
from adaptpose.on_rays import NEAREST_M, keypoint_noise, on_rays
from adaptpose.pseudo_config import RefineConfig
from adaptpose.recipe import difference_matrix
from adaptpose.skeleton import Skeleton

_TINY = 1e-9
_NO_WIDTH = 0.2  # frames: a Gaussian that leaves everything as it is
_LONGEST_REACH = 15
_RISE = 0.15  # of the steps: the first ones of Adam are as large for what is right already
_SHARES = (1.0, 0.2, 0.2)  # of the step size: directions of bones, root, lengths


def refined(
    poses: Sequence[Float[Tensor, "_ joints 3"]],
    clips: Sequence[Clip2D],
    intrinsics: Sequence[Intrinsics],
    skeleton: Skeleton,
    config: RefineConfig | None = None,
    heights_m: Sequence[float | None] | None = None,
    device: torch.device | None = None,
) -> list[Float[Tensor, "_ joints 3"]]:
    """Poses in camera axes (m, absolute) as `refine` makes them on a device; on the CPU.

    Raises as `gather_lifted`.
    """
    lifted = gather_lifted(poses, clips, intrinsics, skeleton, heights_m)
    lifted = lifted if device is None else lifted.to(device)
    return lifted.split(refine(lifted, config).cpu())


def refine(
    lifted: LiftedClips,
    config: RefineConfig | None = None,
    lengths: Float[Tensor, "clips bones"] | None = None,
) -> Float[Tensor, "frames joints 3"]:
    """Absolute poses of least energy: near rays, lifted poses and their bones, and smooth.

    Every clip gets one set of bone lengths, left as right, near those given (m) or else lifted.
    The energy is a sum of squares in standard deviations of the config, those of rays and lifted
    poses robust; rays weigh by the confidence. A clip whose energy did not fall keeps what it
    started from: joints on their rays, with those lengths. The same on every call on one device.
    """
    config = config or RefineConfig()
    check_config(config)
    noise, start = keypoint_noise(lifted, config), on_rays(lifted, config)
    result = torch.empty_like(lifted.pose)
    for knot, clips in _chunks(lifted, config):
        layout = _lay_out(lifted, clips, knot)
        known = None
        if lengths is not None:
            known = lengths.index_select(0, torch.tensor(clips, device=lengths.device))
        terms = _Terms.build(lifted, start, noise, layout, config, known)
        with torch.enable_grad():
            planes = _descend(terms, config)
        result[layout.frame[layout.real]] = planes.movedim(-1, 0)[layout.real]
    return result


@dataclass(frozen=True)
class _Layout:
    """Frames of some clips in slots: whole cells of the spline, with a spare one on either side.

    Spare slots repeat the nearest frame of their clip, so nothing in them is odd, and count 0.
    """

    knot: int
    frame: Tensor
    clip: Tensor
    real: Tensor
    num_clips: int
    rate_hz: float


def _chunks(lifted: LiftedClips, config: RefineConfig) -> Iterator[tuple[int, list[int]]]:
    """(frames between knots, clips) of one frame rate and about `chunk_frames` frames."""
    for rate in sorted(set(lifted.rates_hz)):
        knot, chunk, frames = max(1, round(config.knot_s * rate)), [], 0
        for k, own in enumerate(lifted.rates_hz):
            if own != rate:
                continue
            if chunk and frames + lifted.lengths[k] > config.chunk_frames:
                yield knot, chunk
                chunk, frames = [], 0
            chunk.append(k)
            frames += lifted.lengths[k]
        yield knot, chunk


def _lay_out(lifted: LiftedClips, clips: list[int], knot: int) -> _Layout:
    starts = [0]
    for length in lifted.lengths:
        starts.append(starts[-1] + length)
    frame, clip, real = [], [], []
    for number, k in enumerate(clips):
        length = lifted.lengths[k]
        slots = torch.arange(-knot, (-(-length // knot) + 1) * knot)
        frame.append(starts[k] + slots.clamp(0, length - 1))
        clip.append(torch.full_like(slots, number))
        real.append((slots >= 0) & (slots < length))
    device = lifted.pose.device
    frame, clip, real = (torch.cat(part).to(device) for part in (frame, clip, real))
    return _Layout(knot, frame, clip, real, len(clips), lifted.rates_hz[clips[0]])


@dataclass(frozen=True)
class _Terms:
    """What the energy is made of, in planes: slots are the last axis."""

    layout: _Layout
    chain: Tensor
    spread: Tensor
    directions: Tensor
    root: Tensor
    log_length: Tensor
    about: float
    lifted: Tensor
    slopes: Tensor
    ray_weight: Tensor
    ray_sd: Tensor
    accelerates: Tensor

    @staticmethod
    def build(
        lifted: LiftedClips,
        start: Tensor,
        noise: Tensor,
        layout: _Layout,
        config: RefineConfig,
        known: Tensor | None,
    ) -> "_Terms":
        """The terms of the clips of a layout, from where the descent starts."""
        skeleton, frame, real = lifted.skeleton, layout.frame, layout.real
        pose, focal = lifted.pose[frame], lifted.focal[frame]
        points = _calmed(start[frame], noise[frame] / focal, layout, config)
        difference = difference_matrix(skeleton, pose)
        spread = symmetry_matrix(skeleton, pose)
        bones = difference @ (points - points[:, skeleton.root : skeleton.root + 1])
        if known is None:
            lengths = (difference @ pose).norm(dim=-1)
            known = _usual_lengths(lengths, layout, config.length_quantile)
            about = config.length_spread
        else:
            about = config.known_spread
        sd = (config.ray_slack**2 + noise[frame].square()).sqrt() / focal
        inside = (real[2:] & real[1:-1] & real[:-2]).to(pose)
        return _Terms(
            layout=layout,
            chain=chain_matrix(skeleton, pose),
            spread=spread,
            directions=_unit(bones.permute(1, 2, 0).contiguous()),
            root=points[:, skeleton.root].T.contiguous(),
            log_length=known.clamp_min(1e-3).log() @ spread.T / spread.sum(dim=1),
            about=about,
            lifted=pose.permute(1, 2, 0).contiguous(),
            slopes=lifted.slopes[frame].permute(1, 2, 0).contiguous(),
            ray_weight=(lifted.weight[frame] * real[:, None]).T.contiguous(),
            ray_sd=sd,
            accelerates=inside * layout.rate_hz**2 / config.acceleration,
        )

    def pose(self, turn: Tensor, shift: Tensor, longer: Tensor) -> tuple[Tensor, Tensor]:
        """(root-relative, absolute) joints (J, 3, slots) of corrections at the knots."""
        directions = self.directions + _spline(turn, self.layout.knot)
        # The root moves along its ray and across it: rays fix the one a hundred times better.
        across, along = _spline(shift, self.layout.knot).split([2, 1])
        depth = self.root[2:] * along.exp()
        root = torch.cat([(self.root[:2] / self.root[2:] + across) * depth, depth])
        length = ((self.log_length + longer) @ self.spread).exp().T[:, self.layout.clip]
        bones = _unit(directions) * length[:, None]
        relative = (self.chain @ bones.flatten(1)).unflatten(1, (3, -1))
        return relative, relative + root

    def energy(self, relative: Tensor, points: Tensor, config: RefineConfig) -> Tensor:
        """Energy of every slot, without that of bone lengths."""
        image = points[:, :2] / points[:, 2:].clamp_min(NEAREST_M)
        off_ray = ((image - self.slopes) / self.ray_sd).square().sum(dim=1)
        energy = (_robust(off_ray, config.ray_outlier) * self.ray_weight).sum(dim=0)
        off_pose = ((relative - self.lifted) / config.prior_m).square().sum(dim=1)
        energy = energy + _robust(off_pose, config.prior_outlier).sum(dim=0) * self.layout.real
        bend = points[..., 2:] - 2 * points[..., 1:-1] + points[..., :-2]
        swing = (bend * self.accelerates).square().sum(dim=(0, 1)) / 2
        return energy + torch.nn.functional.pad(swing, (1, 1))


def _calmed(points: Tensor, noise: Tensor, layout: _Layout, config: RefineConfig) -> Tensor:
    """Points without most of the keypoints' noise, which splines are too slow to take away.

    A Gaussian over time with the width of the best linear smoother of noisy positions under random
    accelerations: the fourth root of the ratio of their variances.
    """
    depth = points[..., 2].mean(dim=1)
    width = (noise * depth * layout.rate_hz**2 / config.acceleration).sqrt()[:, None]
    reach = min(_LONGEST_REACH, math.ceil(3 * float(width.max())))
    if not float(width.max()) > _NO_WIDTH:
        return points
    shares, total = torch.ones_like(width), points.flatten(1).clone()
    flat = points.flatten(1)
    for lag in range(1, reach + 1):
        share = torch.exp(-0.5 * (lag / width.clamp_min(_NO_WIDTH)).square())
        together = (layout.clip[lag:] == layout.clip[:-lag])[:, None] * 1.0
        # Both ways by the same share, so that straight paths stay straight inside a clip.
        total[lag:] += share[lag:] * together * flat[:-lag]
        total[:-lag] += share[:-lag] * together * flat[lag:]
        shares[lag:] += share[lag:] * together
        shares[:-lag] += share[:-lag] * together
    return (total / shares).view_as(points)


def _descend(terms: _Terms, config: RefineConfig) -> Tensor:
    """Absolute joints (J, 3, slots) after the steps; where energy did not fall, those before."""
    knots = terms.root.shape[-1] // terms.layout.knot
    variables = [
        terms.directions.new_zeros(*terms.directions.shape[:2], knots),
        terms.root.new_zeros(3, knots),
        torch.zeros_like(terms.log_length),
    ]
    groups = [
        {"params": [variable.requires_grad_()], "share": share}
        for variable, share in zip(variables, _SHARES, strict=True)
    ]
    optimiser = torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    for step in range(config.steps):
        rise = min(1.0, (step + 1) / (_RISE * config.steps))
        rate = config.learning_rate * rise * (1 + math.cos(math.pi * step / config.steps)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        stretch = (variables[2] / terms.about).square().sum() / 2
        loss = terms.energy(*terms.pose(*variables), config).sum() + stretch
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return _better(terms, variables, config)


def _better(terms: _Terms, variables: list[Tensor], config: RefineConfig) -> Tensor:
    energies, candidates = [], []
    for values in ([torch.zeros_like(v) for v in variables], variables):
        relative, points = terms.pose(*values)
        total = (values[2] / terms.about).square().sum(dim=1) / 2
        energy = terms.energy(relative, points, config)
        energies.append(total.index_add(0, terms.layout.clip, energy))
        candidates.append(points)
    # Not `>`: an energy that is not a number did not fall either.
    fell = (energies[1] <= energies[0])[terms.layout.clip]
    return torch.where(fell, candidates[1], candidates[0])


def _spline(knots: Tensor, spacing: int) -> Tensor:
    """Quadratic B-spline through cells of `spacing` frames each: (..., K) to (..., K spacing)."""
    t = (torch.arange(spacing, dtype=knots.dtype, device=knots.device) + 0.5) / spacing
    taps = torch.stack([(1 - t).square() / 2, 0.5 + t - t.square(), t.square() / 2])
    wide = torch.nn.functional.pad(knots, (1, 1))
    return (wide.unfold(-1, 3, 1) @ taps).flatten(-2)


def _unit(bones: Tensor) -> Tensor:
    return bones / (bones.square().sum(dim=1, keepdim=True) + _TINY).sqrt()


def _robust(square: Tensor, bound: float) -> Tensor:
    """Half the square for small ones, growing as the root beyond `bound` (pseudo-Huber)."""
    return bound**2 * ((1 + square / bound**2).sqrt() - 1)


def _usual_lengths(lengths: Tensor, layout: _Layout, quantile: float) -> Tensor:
    """A quantile over every clip's frames of each column: (slots, N) to (clips, N), no loop."""
    lengths = torch.where(layout.real[:, None], lengths, torch.inf)
    order = lengths.argsort(dim=0)
    order = order.gather(0, layout.clip[order].argsort(dim=0, stable=True))
    slots = torch.bincount(layout.clip, minlength=layout.num_clips)
    frames = torch.bincount(layout.clip[layout.real], minlength=layout.num_clips)
    place = slots.cumsum(0) - slots + ((frames - 1) * quantile).long()
    return lengths.gather(0, order)[place]
