"""People's own 2D detections to 3D in metres.

    from pathlib import Path
    from adaptpose.datasets.detections import open_detections
    from adaptpose.lifters import load_lifter
    from adaptpose.predict import PredictOptions, predict

    lifter, meta = load_lifter(Path("run/lifter.safetensors"))
    people = open_detections(Path("openpose"), image_size_px=(1080, 1920), frame_rate_hz=50)
    options = PredictOptions(normalisation=meta["normalisation"], height_m=1.75)
    for person in predict(lifter, people, options):
        print(person.name, person.pose3d_cam.shape)  # (frames, joints, 3): metres, camera axes

The lifter gives the pose of every frame; the rest is geometry. The body gets the person's height
and constant bones, the camera a focal length if it is not calibrated, and the root stands where
the joints come nearest to their rays. One person keeps one body in one recording, over all tracks.
If asked, joints are then put on their rays, or every track is refined (`adaptpose.refine`).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.body_scale import Heights, check_heights, people_in, resized, size_factors
from adaptpose.camera import Intrinsics, pinhole
from adaptpose.clips import Clip2D, Normalisation, TargetData
from adaptpose.constant_bones import robust_lengths, with_bone_lengths
from adaptpose.errors import ConfigError, DataError, expected_message
from adaptpose.focal import estimate_focal
from adaptpose.inference import CHUNK_FRAMES, TestTime, predict_clips, resolve_tta
from adaptpose.inference_options import InferenceOptions, Rays, placed_poses, shown_keypoints
from adaptpose.lifter import Lifter
from adaptpose.prediction import Detections, Prediction
from adaptpose.progress import ProgressHook, silent
from adaptpose.rays import ray_distances
from adaptpose.root_path import ROOT_CUTOFF_HZ, root_path
from adaptpose.skeleton import Skeleton


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    `normalisation`: how the lifter sees 2D, as its file's metadata says; None takes the data's.
    `tta`: passes averaged; "auto" takes all four where the lifter's context is symmetric (four
    times the work of "none") and the mirror image alone elsewhere (twice). `height_m`: stature of
    everybody, or by person (`Clip2D.subject`); who has none keeps the lifter's size.
    `constant_bones`: one length per bone, left as right. `rays`: "rays" puts joints on the rays of
    their keypoints, which changes lengths again; "refined" fits every track to rays, lifted poses,
    one set of bones of its own and smoothness, instead of the constant bones. `focal_px`: focal
    length of cameras that are not calibrated; None estimates one per camera. `root_cutoff_hz`:
    low-pass on the root's distance, 0 for none. `chunk_frames` bounds memory and changes nothing.
    """

    normalisation: Normalisation | None = None
    tta: TestTime | Literal["auto"] = "auto"
    height_m: Heights | None = None
    constant_bones: bool = True
    focal_px: float | int | None = None
    root_cutoff_hz: float | int = ROOT_CUTOFF_HZ
    chunk_frames: int = CHUNK_FRAMES
    rays: Rays = "none"


@dataclass(frozen=True)
class _Track:
    """A clip with what the lifter made of it; 2D, weight and confidence are of the pose's joints.

    Joints that cannot be used have weight 0 and some finite 2D.
    """

    clip: Clip2D
    pose: Float[Tensor, "frames joints 3"]
    pose2d: Float[Tensor, "frames joints 2"]
    weight: Float[Tensor, "frames joints"]
    confidence: Float[Tensor, "frames joints"]


def predict(
    lifter: Lifter,
    detections: Detections,
    options: PredictOptions | None = None,
    hook: ProgressHook = silent,
) -> tuple[Prediction, ...]:
    """One prediction per clip of the detections, in their order; on the CPU.

    The 2D is brought to the joints that the lifter reads by name; a joint of the result that the
    2D lacks has confidence 0. The lifter runs on the device of its parameters. Raises as
    `check_predict`, and DataError for a clip without usable 2D.
    """
    options = options or PredictOptions()
    check_predict(lifter, detections, options)
    data = _as_read(lifter, detections.data)
    tta = resolve_tta(lifter, options.tta)
    normalisation = options.normalisation or data.normalisation
    with _counted(lifter, sum(clip.num_frames for clip in data.clips), hook):
        poses = predict_clips(lifter, data.clips, normalisation, tta, options.chunk_frames)
    pairs = zip(data.clips, poses, strict=True)
    tracks = [
        _Track(clip, pose, *shown_keypoints(clip, lifter.skeleton_in, lifter.skeleton_out))
        for clip, pose in pairs
    ]
    factors, bodies = _bodies(tracks, lifter.skeleton_out, options)
    lenses = _lenses(tracks, bodies, detections, options)
    pairs = zip(tracks, bodies, lenses, strict=True)
    roots = [_root(track, body, lens, options) for track, body, lens in pairs]
    if options.rays != "none":
        factors, bodies, roots = _on_rays(tracks, factors, bodies, lenses, lifter, options)
    parts = zip(tracks, factors, bodies, roots, lenses, strict=True)
    return tuple(
        Prediction(
            clip=track.clip,
            first_frame=detections.first_frame[k],
            skeleton=lifter.skeleton_out,
            skeleton2d=lifter.skeleton_in,
            pose_lifter=track.pose,
            pose_root_relative=body,
            root_cam=root,
            confidence=track.confidence,
            scale=1.0 if factor is None else factor,
            scale_from="lifter" if factor is None else "height",
            intrinsics=lens,
            intrinsics_from="estimated" if _unknown(detections, k, options) else "given",
            T_cam_world=detections.T_cam_world[k],
        )
        for k, (track, factor, body, root, lens) in enumerate(parts)
    )


def check_predict(lifter: Lifter, detections: Detections, options: PredictOptions) -> None:
    """Raise what is wrong with options and detections, before any work.

    ConfigError for impossible options, passes that the lifter cannot make, heights of people who
    are not there; SkeletonError for joints that the lifter reads and the 2D lacks; DataError if
    there are no clips.
    """
    clips = detections.data.clips
    if not clips:
        raise DataError(f"detections '{detections.data.name}': they show nobody")
    resolve_tta(lifter, options.tta)
    _as_read(lifter, detections.data)
    check_heights(options.height_m, clips, lifter.skeleton_out)
    focal = options.focal_px
    if focal is not None and not (math.isfinite(focal) and focal > 0):
        raise ConfigError(expected_message("focal length", "pixels above 0", f"{focal:g}"))
    if focal is not None and all(lens is not None for lens in detections.intrinsics):
        fix = "leave the focal length out"
        raise ConfigError(f"focal length: every camera is calibrated already (fix: {fix})")
    cutoff = options.root_cutoff_hz
    if not (math.isfinite(cutoff) and cutoff >= 0):
        raise ConfigError(expected_message("root_cutoff_hz", "0 or more", f"{cutoff:g}"))


def ray_residual_mm(prediction: Prediction) -> float:
    """Median distance (mm) of the joints from the rays of their keypoints; NaN if none is seen.

    It says how well pose, camera and root fit the 2D, not how near they are to the truth.
    """
    pose2d, weight, _ = shown_keypoints(prediction.clip, prediction.skeleton2d, prediction.skeleton)
    distance = ray_distances(prediction.pose3d_cam, pose2d, prediction.intrinsics)[weight > 0]
    return float(distance.median()) * 1000 if len(distance) else math.nan


def _as_read(lifter: Lifter, data: TargetData) -> TargetData:
    same = data.skeleton == lifter.skeleton_in
    return data if same else data.with_skeleton(lifter.skeleton_in)


@contextmanager
def _counted(lifter: Lifter, frames: int, hook: ProgressHook) -> Iterator[None]:
    """Tell the listener how many frames came out of the lifter, as they come."""
    done = 0

    def count(_module: Any, _inputs: Any, poses: Tensor) -> None:
        nonlocal done
        done = min(done + poses.shape[1], frames)
        hook("lifting", done, frames)

    handle = lifter.register_forward_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _bodies(
    tracks: Sequence[_Track], skeleton: Skeleton, options: PredictOptions
) -> tuple[list[float | None], list[Tensor]]:
    """The factor of each track, None where no height is known, and poses at the person's size."""
    constant = options.constant_bones and options.rays != "refined"
    bodies = [track.pose for track in tracks]
    factors = _factors(tracks, bodies, skeleton, options)
    for _, own in people_in([track.clip for track in tracks]) if constant else ():
        pose = torch.cat([tracks[k].pose for k in own])
        weight = torch.cat([tracks[k].weight for k in own])
        lengths = robust_lengths(pose, weight, skeleton)
        for k in own:
            bodies[k] = with_bone_lengths(tracks[k].pose, lengths, skeleton)
    return factors, resized(bodies, factors)


def _factors(
    tracks: Sequence[_Track], poses: Sequence[Tensor], skeleton: Skeleton, options: PredictOptions
) -> list[float | None]:
    """What makes poses of the tracks as tall as the people."""
    weights, clips = [track.weight for track in tracks], [track.clip for track in tracks]
    return size_factors(poses, weights, clips, options.height_m, skeleton)


def _on_rays(
    tracks: Sequence[_Track],
    factors: list[float | None],
    bodies: list[Tensor],
    lenses: list[Intrinsics],
    lifter: Lifter,
    options: PredictOptions,
) -> tuple[list[float | None], list[Tensor], list[Tensor]]:
    """Factors, root-relative poses and roots of the tracks after rays or refinement."""
    clips = [replace(t.clip, pose2d=t.pose2d, confidence=t.weight) for t in tracks]
    cutoff, skeleton = options.root_cutoff_hz, lifter.skeleton_out
    wanted = InferenceOptions(rays=options.rays, focal="given", root_cutoff_hz=cutoff)
    device = next(lifter.parameters(), torch.empty(0)).device
    points = placed_poses(bodies, clips, lenses, skeleton, wanted, device)
    # Scaled about the camera, joints stay where they are in the image.
    resizes = _factors(tracks, points, skeleton, options)
    points = resized(points, resizes)
    pairs = zip(factors, resizes, strict=True)
    factors = [old if new is None else (old or 1.0) * new for old, new in pairs]
    roots = [pose[:, skeleton.root] for pose in points]
    return factors, [p - r[:, None] for p, r in zip(points, roots, strict=True)], roots


def _unknown(detections: Detections, k: int, options: PredictOptions) -> bool:
    return detections.intrinsics[k] is None and options.focal_px is None


def _lenses(
    tracks: Sequence[_Track],
    bodies: Sequence[Tensor],
    detections: Detections,
    options: PredictOptions,
) -> list[Intrinsics]:
    """The intrinsics of every track; what must be estimated is estimated once per camera."""
    cameras: dict[tuple[str, tuple[int, int]], list[int]] = {}
    for k, track in enumerate(tracks):
        if _unknown(detections, k, options):
            camera = (track.clip.camera, track.clip.image_size_px)
            cameras.setdefault(camera, []).append(k)
    lenses = [
        lens or pinhole(2 * (options.focal_px or 0) / max(track.clip.image_size_px))
        for lens, track in zip(detections.intrinsics, tracks, strict=True)
    ]
    for own in cameras.values():
        pose = torch.cat([bodies[k] for k in own])
        pose2d = torch.cat([tracks[k].pose2d for k in own])
        lens = pinhole(estimate_focal(pose, pose2d, torch.cat([tracks[k].weight for k in own])))
        lenses = [lens if k in own else other for k, other in enumerate(lenses)]
    return lenses


def _root(
    track: _Track, body: Tensor, lens: Intrinsics, options: PredictOptions
) -> Float[Tensor, "frames 3"]:
    clip = track.clip
    try:
        rate, cutoff = clip.frame_rate_hz, options.root_cutoff_hz
        return root_path(body, track.pose2d, track.weight, lens, rate, cutoff)
    except DataError as error:
        raise DataError(f"clip '{clip.name}': {error}") from error
