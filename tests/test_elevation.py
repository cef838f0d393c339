"""The learned elevation: drawn from what the batch shows, undone before a body is turned."""

import math

import pytest
import torch

from adaptpose.elevation import LIMIT_RAD, ElevationHead, draw_elevations, draw_levelled_views
from adaptpose.posenet import initialise
from adaptpose.posenet_config import ViewRange
from adaptpose.posenet_geometry import draw_views, turn_about_root, view_rotations
from tests.posenet_data import SMALL, bodies, generator


def test_elevations_have_the_batch_distribution():
    predicted = 0.2 + 0.1 * torch.randn(200, generator=generator()).double()
    drawn = torch.cat([draw_elevations(predicted, generator(k)) for k in range(200)])
    assert float(drawn.mean()) == pytest.approx(float(predicted.mean()), abs=2e-3)
    assert float(drawn.std()) == pytest.approx(float(predicted.std()), rel=0.02)
    assert torch.equal(draw_elevations(predicted, generator()), drawn[:200])


def test_gradient_reaches_mean_and_spread():
    predicted = torch.randn(5, generator=generator(), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: draw_elevations(x, generator(4)), (predicted,))


@pytest.mark.parametrize("count", [1, 6])
def test_equal_elevations_have_no_spread_and_a_finite_gradient(count):
    predicted = torch.full((count,), 0.3, requires_grad=True)
    drawn = draw_elevations(predicted, generator())
    assert (drawn - 0.3).abs().max() < 1e-3
    drawn.square().sum().backward()
    assert predicted.grad.isfinite().all()


def test_views_of_one_body_are_views_of_a_level_one():
    """Bodies seen from different elevations, levelled by the true ones, give the same views."""
    level = bodies(1, 2).expand(4, 2, 14, 3)
    elevation = torch.tensor([-0.3, 0.0, 0.2, 0.5], dtype=torch.float64)
    seen = turn_about_root(level, view_rotations(torch.zeros(4).double(), elevation))
    assert (seen[0] - seen[3]).abs().max() > 0.1
    turned = turn_about_root(seen, draw_levelled_views(elevation, ViewRange(), generator()))
    rng = generator()
    drawn = draw_elevations(elevation, rng)
    plain = draw_views(4, ViewRange(), rng, drawn)
    torch.testing.assert_close(turned, turn_about_root(level, plain.double()))


def test_wrong_elevations_tilt_the_views():
    rng_views = draw_levelled_views(torch.full((500,), 0.4), ViewRange(), generator())
    up = torch.tensor([0.0, -1.0, 0.0])
    # A level body, wrongly levelled by 0.4, leans by 0.4 to all sides.
    lean = torch.acos((rng_views @ up)[:, 1].neg().clamp(-1, 1))
    assert lean.max() > 0.7
    right = draw_levelled_views(torch.zeros(500), ViewRange(), generator())
    assert torch.acos((right @ up)[:, 1].neg().clamp(-1, 1)).max() < 0.01


def test_head_predicts_bounded_elevations_near_level():
    head = ElevationHead(SMALL)
    initialise(head, generator())
    features = torch.randn(50, 24, generator=generator(2))
    start = head(features)
    assert start.shape == (50,)
    assert start.abs().max() < math.radians(60)
    start.sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    with torch.no_grad():
        head.out.weight.mul_(1e4)
    assert head(features).abs().max() <= LIMIT_RAD
