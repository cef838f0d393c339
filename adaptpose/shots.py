"""Windows of people filmed anew: a body, a direction, a place and a size in the image, a lens.

The line of sight to the root is what a viewpoint refers to, so a person looks the same wherever
they stand in the image: rotations lead to ray axes, whose z points from the camera to the root.

Inside, windows are "points" (joints, 3, window, batch): numbers of a window then repeat along
outer axes alone, and every pass over the points is one long loop. Nothing here has a gradient.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptpose.camera import Intrinsics
from adaptpose.pairs import Pairs
from adaptpose.planes import NEAREST
from adaptpose.windows import FrameBank, LabelledBank

SEEN_SHARE = 0.9
"""Share of the joints of the supervised frame that must be in view."""


@dataclass(frozen=True)
class Shots:
    """From where a batch of windows is filmed.

    `rotation` leads from the axes of the poses to ray axes, `place` is the root's image position
    at the supervised frame and `rate` the image units per metre there (focal / depth), all in
    normalised coordinates.
    """

    rotation: Float[Tensor, "batch 3 3"]
    place: Float[Tensor, "batch 2"]
    rate: Float[Tensor, "batch"]
    focal: Float[Tensor, "batch"]


@dataclass(frozen=True)
class FilmedWindows:
    """Whole windows filmed anew by pinhole cameras.

    `pose3d_cam` are absolute poses (m) in the axes of the new cameras, `pose2d` their projection,
    `focal` the cameras' focal lengths, all in normalised coordinates. `usable` is what `in_view`
    says, and whatever else the maker asks for. Poses may be views whose memory is in another order.
    """

    pose3d_cam: Float[Tensor, "batch frames joints 3"]
    pose2d: Float[Tensor, "batch frames joints 2"]
    focal: Float[Tensor, "batch"]
    usable: Bool[Tensor, "batch"]

    @property
    def intrinsics(self) -> Intrinsics:
        """The cameras, without distortion."""
        focal = self.focal[:, None].expand(-1, 2)
        return Intrinsics(focal, torch.zeros_like(focal), focal.new_zeros(len(focal), 5))

    def pairs(self, middle: int, root: int) -> Pairs:
        """The windows with the poses of their frames `middle`; weight 0 for unusable ones."""
        pose = self.pose3d_cam[:, middle]
        pose = pose - pose[:, root : root + 1]
        return Pairs(self.pose2d, pose, self.usable.to(self.pose2d.dtype))


@dataclass(frozen=True)
class CutWindows:
    """Windows of a bank as points (m), to be filmed anew once: that changes the points in place.

    `frame` are the numbers of the supervised frames in the bank, `stride` counts its frames.
    """

    frame: Int[Tensor, "batch"]
    stride: Int[Tensor, "batch"]
    points: Float[Tensor, "joints 3 window batch"]


@runtime_checkable
class WindowMaker(Protocol):
    """Something that films windows of a source anew."""

    def windows(
        self, count: int, rng: torch.Generator
    ) -> tuple[Int[Tensor, "count"], FilmedWindows]:
        """`count` windows and the numbers of their supervised frames in the source's bank."""
        ...


class SourceFilmer(ABC):
    """What makers of pairs have in common that film a source's own motions anew."""

    bank: LabelledBank
    frames_before: int
    frames_after: int
    strides: tuple[int, int]

    def make(self, count: int, rng: torch.Generator) -> Pairs:
        """`count` new pairs; weight 0 for windows that are not usable, see `FilmedWindows`."""
        _, windows = self.windows(count, rng)
        return windows.pairs(self.frames_before, self.bank.skeleton.root)

    @torch.no_grad()
    def windows(
        self, count: int, rng: torch.Generator
    ) -> tuple[Int[Tensor, "count"], FilmedWindows]:
        """`count` whole windows, and the numbers of their supervised frames in the bank."""
        cut = self.cut(count, rng)
        return cut.frame, self.film(cut, rng)

    def cut(self, count: int, rng: torch.Generator) -> CutWindows:
        """`count` windows of the source as they are."""
        bank, around = self.bank, (self.frames_before, self.frames_after)
        centre = bank.draw_centres(count, rng)
        return cut_windows(bank, bank.pose3d_cam, centre, around, self.strides, rng)

    @abstractmethod
    def film(self, cut: CutWindows, rng: torch.Generator) -> FilmedWindows:
        """The windows filmed anew; changes their points in place."""


def cut_windows(
    bank: FrameBank,
    pose3d: Float[Tensor, "frames joints 3"],
    centre: Int[Tensor, "batch"],
    around: tuple[int, int],
    strides: tuple[int, int],
    rng: torch.Generator,
) -> CutWindows:
    """Windows of a bank's poses around centre frames, at strides drawn from a range at 50 Hz.

    `around` are the frames before and after the supervised one.
    """
    before, after = around
    stride = bank.draw_strides(centre, *strides, rng)
    index = bank.window_index(centre, before + 1 + after, stride, before)
    batch, window = index.shape
    rows = pose3d.flatten(1).index_select(0, index.T.flatten())
    points = rows.T.contiguous().view(*pose3d.shape[1:], window, batch)
    return CutWindows(centre, stride, points)


def film_shots(
    pose3d: Float[Tensor, "batch frames joints 3"], shots: Shots, middle: int, root: int
) -> tuple[Float[Tensor, "batch frames joints 3"], Float[Tensor, "batch frames joints 2"]]:
    """Poses (m) in the axes of the new cameras, absolute, and their pinhole projection.

    `middle` is the supervised frame of the windows. Depths below a quarter of a metre are clamped
    in the projection; `in_view` tells such windows. No gradients; the results may be views whose
    memory is in another order.
    """
    filmed, image = film_points(as_points(pose3d), shots, middle, root)
    return filmed.permute(3, 2, 0, 1), as_poses(image)


@torch.no_grad()
def film_points(
    points: Float[Tensor, "joints 3 window batch"], shots: Shots, middle: int, root: int
) -> tuple[Float[Tensor, "joints 3 window batch"], Float[Tensor, "joints 2 window batch"]]:
    """`film_shots` on points: in the axes of the new cameras (m), and projected."""
    slope = shots.place / shots.focal[:, None]
    turn = ray_rotation(slope) @ shots.rotation
    depth = shots.focal / shots.rate
    root_cam = torch.cat([slope, torch.ones_like(slope[:, :1])], dim=1) * depth[:, None]
    # R (p - c) + t as R p + (t - R c): centring costs no pass over all points.
    centre = points[root, :, middle].T
    shift = root_cam - (turn @ centre[..., None])[..., 0]
    # One row per number, so that the numbers of neighbouring windows lie side by side.
    entries = torch.cat([turn, shift[..., None]], dim=-1).permute(1, 2, 0).contiguous()
    x, y, z = points.unbind(1)
    filmed = torch.empty_like(points)
    for axis, (a, b, c, d) in enumerate(entries):
        row = torch.mul(x, a, out=filmed[:, axis])
        row.addcmul_(y, b).addcmul_(z, c).add_(d)
    rate = shots.focal / filmed[:, 2].clamp_min(NEAREST)
    return filmed, filmed[:, :2] * rate[:, None]


def as_points(
    pose: Float[Tensor, "batch window joints dims"],
) -> Float[Tensor, "joints dims window batch"]:
    """Windows as points: the same numbers with joints and coordinates first."""
    batch, window, joints, dims = pose.shape
    # As a plain transposition, which is done in blocks and so in a fraction of the time.
    rows = pose.transpose(0, 1).reshape(window * batch, joints * dims)
    return rows.T.contiguous().view(joints, dims, window, batch)


def as_poses(
    points: Float[Tensor, "joints dims window batch"],
) -> Float[Tensor, "batch window joints dims"]:
    """Points as windows; every frame's joints lie together in memory."""
    joints, dims, window, batch = points.shape
    rows = points.reshape(joints * dims, window * batch).T.contiguous()
    return rows.view(window, batch, joints, dims).transpose(0, 1)


def ray_rotation(slope: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3 3"]:
    """The smallest rotation that turns the optical axis to the ray through X/Z, Y/Z = `slope`."""
    ray = torch.nn.functional.normalize(
        torch.cat([slope, torch.ones_like(slope[..., :1])], dim=-1), dim=-1
    )
    x, y, z = ray.unbind(-1)
    share = 1 / (1 + z)
    rows = [
        torch.stack([1 - x * x * share, -x * y * share, x], dim=-1),
        torch.stack([-x * y * share, 1 - y * y * share, y], dim=-1),
        torch.stack([-x, -y, z], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def in_view(
    pose3d_cam: Float[Tensor, "batch frames joints 3"],
    pose2d: Float[Tensor, "batch frames joints 2"],
    middle: int,
    limit: float = 1.3,
    nearest_m: float = 0.4,
) -> Bool[Tensor, "batch"]:
    """Windows that may be shown to a lifter.

    At the supervised frame nine tenths of the joints lie within `limit` of the middle of the image
    (1 is the edge of its longer side), and in no frame is a joint nearer than `nearest_m` to the
    camera's plane. A window with a number that is not finite there is not in view.
    """
    inside = (pose2d[:, middle].abs() < limit).all(dim=-1)
    seen = inside.float().mean(dim=-1) >= SEEN_SHARE
    # Joint by joint: a reduction over outer axes at once takes twenty times as long.
    nearest = reduce(torch.minimum, pose3d_cam[..., 2].unbind(dim=2)).amin(dim=1)
    return seen & (nearest > nearest_m)
