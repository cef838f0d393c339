"""Cameras: round trips, the slow formula of the sources, points behind the camera."""

import numpy as np
import pytest
import torch

from adaptpose import camera as cam
from adaptpose.errors import DataError


def _lens(model: str) -> cam.Intrinsics:
    return cam.Intrinsics(
        torch.tensor([2.29, 2.28], dtype=torch.float64),
        torch.tensor([0.02, -0.03], dtype=torch.float64),
        torch.tensor([-0.2, 0.24, -0.002, -0.0009, -0.0014], dtype=torch.float64),
        model,
    )


def _points(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(4, 17, 2, generator=generator, dtype=torch.float64) * 2 - 1
    z = torch.rand(4, 17, 1, generator=generator, dtype=torch.float64) * 3 + 3
    return torch.cat([xy, z], dim=-1)


@pytest.mark.parametrize("model", ["h36m", "opencv"])
def test_unproject_inverts_project(model):
    points, lens = _points(), _lens(model)
    image = cam.project(points, lens)
    torch.testing.assert_close(
        cam.unproject(image, points[..., 2], lens), points, atol=1e-6, rtol=0
    )


def test_h36m_formula_against_loops():
    points, lens = _points(), _lens("h36m")
    k1, k2, k3, p1, p2 = lens.distortion.tolist()
    image = cam.project(points, lens).numpy()
    for b in range(4):
        for j in range(17):
            x, y = (points[b, j, :2] / points[b, j, 2]).tolist()
            r2 = x * x + y * y
            radial, tangential = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3, p1 * x + p2 * y
            u = 2.29 * (x * (radial + tangential) + p1 * r2) + 0.02
            v = 2.28 * (y * (radial + tangential) + p2 * r2) - 0.03
            np.testing.assert_allclose(image[b, j], [u, v], atol=1e-12)


def test_opencv_formula_against_loops():
    points, lens = _points(), _lens("opencv")
    k1, k2, k3, p1, p2 = lens.distortion.tolist()
    image = cam.project(points, lens).numpy()
    for b in range(4):
        for j in range(17):
            x, y = (points[b, j, :2] / points[b, j, 2]).tolist()
            r2 = x * x + y * y
            radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
            xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
            yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
            np.testing.assert_allclose(
                image[b, j], [2.29 * xd + 0.02, 2.28 * yd - 0.03], atol=1e-12
            )


def test_points_behind_the_camera_are_never_plausible():
    points = _points()
    points[1, 3, 2] = -4.0
    image = cam.project(points, _lens("h36m"))
    assert torch.isnan(image[1, 3]).all()
    assert torch.isfinite(image).sum() == image.numel() - 2
    assert int((~cam.in_front(points)).sum()) == 1
    with pytest.raises(DataError, match="1 of 68 points are behind the camera"):
        cam.project_checked(points, _lens("h36m"))


@pytest.mark.parametrize("size", [(1000, 1002), (1080, 1920), (2048, 2048)])
def test_pixels_and_screen_round_trip(size):
    points_px = torch.rand(5, 17, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        size
    )
    screen = cam.px_to_normalised(points_px, size)
    assert float(screen.abs().max()) <= 1
    torch.testing.assert_close(cam.normalised_to_px(screen, size), points_px)
    lens = cam.pinhole(1145.0, (512.0, 515.0))
    back = cam.intrinsics_to_px(cam.intrinsics_to_normalised(lens, size), size)
    torch.testing.assert_close(back.focal, lens.focal)
    torch.testing.assert_close(back.centre, lens.centre)


def test_normalised_intrinsics_project_to_normalised_pixels():
    size = (1080, 1920)
    lens = cam.pinhole(1500.0, (540.0, 960.0))
    points = _points().float()
    screen = cam.project(points, cam.intrinsics_to_normalised(lens, size))
    torch.testing.assert_close(screen, cam.px_to_normalised(cam.project(points, lens), size))


def test_world_and_camera_round_trip_and_look_at():
    eye, target = torch.tensor([3.0, -4.0, 1.5]), torch.tensor([0.2, 0.1, 0.9])
    T_cam_world = cam.look_at(eye, target, 0.1)
    points = _points().float()
    there = cam.world_to_camera(points, T_cam_world)
    torch.testing.assert_close(cam.camera_to_world(there, T_cam_world), points, atol=1e-5, rtol=0)
    ahead = cam.world_to_camera(target[None], T_cam_world)[0]
    torch.testing.assert_close(
        ahead, torch.tensor([0, 0, (target - eye).norm()]), atol=1e-5, rtol=0
    )
    upright = cam.look_at(eye, target)
    above = cam.world_to_camera((target + torch.tensor([0, 0, 0.5]))[None], upright)[0]
    assert above[1] < -0.3
    assert abs(float(above[0])) < 1e-5
    assert float(torch.linalg.det(T_cam_world[:3, :3])) == pytest.approx(1, abs=1e-5)
