"""The density of 2D poses: exact as a Gaussian, a true change of variables as a flow."""

import math

import pytest
import torch

from adaptpose.errors import ConfigError, DataError
from adaptpose.pose_density import PoseDensity, fit_density, start_density
from adaptpose.posenet_config import DensityConfig
from adaptpose.posenet_geometry import normalise_windows
from tests.posenet_data import generator, windows

SMALL = DensityConfig(components=6, layers=4, hidden=16, steps=20, batch_size=64)


def _poses(count, seed=0):
    return normalise_windows(windows(count, 1, seed, torch.float32))[0][:, 0]


def test_without_a_flow_it_is_the_gaussian_of_its_components():
    poses = _poses(400)
    density = start_density(poses, SMALL, generator()).double()
    flat = poses.flatten(1).double()
    covariance = (flat - flat.mean(0)).T @ (flat - flat.mean(0)) / 400
    values, vectors = torch.linalg.eigh(covariance)
    # Two directions, the middle of the hips, have no variance; the rest share theirs.
    free = vectors[:, 2:]
    variances = values[2:].clone()
    variances[:-6] = variances[:-6].mean()
    normal = torch.distributions.MultivariateNormal(torch.zeros(26).double(), torch.diag(variances))
    expected = normal.log_prob((flat - flat.mean(0)) @ free)
    got = density.log_likelihood(poses.double().view(20, 20, 14, 2))
    assert got.shape == (20, 20)
    torch.testing.assert_close(got.flatten(), expected, rtol=1e-4, atol=1e-3)


def _stirred(components=6):
    """A density whose flow does something."""
    config = DensityConfig(components=components, layers=4, hidden=16)
    density = start_density(_poses(200), config, generator()).double()
    rng = generator(3)
    with torch.no_grad():
        for parameter in density.layers.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng).double())
    return density


def test_volumes_are_those_of_the_jacobian():
    density = _stirred()
    for layer in density.layers:
        x = torch.randn(3, 6, generator=generator(1), dtype=torch.float64)
        moved, change = layer(x)
        assert (moved - x).abs().max() > 0.1
        for row, log in zip(x, change, strict=True):
            jacobian = torch.autograd.functional.jacobian(lambda v, f=layer: f(v[None])[0][0], row)
            assert float(log.detach()) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]))


def test_density_integrates_to_one():
    """On a grid over two components; what they leave out has one known factor."""
    density = _stirred(2)
    line = torch.linspace(-15, 15, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    poses = (density.mean + (grid * density.spread) @ density.axes.T).view(-1, 14, 2)
    log = density.log_likelihood(poses).detach()
    outside = -24 * (density.rest_spread.log() + 0.5 * math.log(2 * math.pi))
    inside = (log - outside + density.spread.log().sum()).exp()
    assert float(inside.sum() * (line[1] - line[0]) ** 2) == pytest.approx(1.0, abs=2e-3)
    normal = (-grid.square().sum(1) / 2).exp() / (2 * math.pi)
    assert (inside - normal).abs().max() > 0.05


def test_gradient():
    density = _stirred()
    poses = _poses(2, seed=7).double().requires_grad_()
    assert torch.autograd.gradcheck(density.log_likelihood, (poses,))


def _bent(count, seed):
    """Poses along a parabola, which no Gaussian describes."""
    rng = generator(seed)
    way = torch.randn(count, 1, 1, generator=rng)
    sides = 0.02 * torch.randn(2, 14, 2, generator=generator(1))
    noise = 0.001 * torch.randn(count, 14, 2, generator=rng)
    return _poses(1) + way * sides[0] + (way.square() - 1) * sides[1] + noise


def test_fitting_helps_on_poses_not_seen():
    seen, held_out = _bent(500, 0), _bent(100, 5)
    seen, held_out = (normalise_windows(p[:, None])[0][:, 0] for p in (seen, held_out))
    config = DensityConfig(
        components=4, layers=4, hidden=16, steps=150, batch_size=128, learning_rate=5e-3
    )
    gaussian = start_density(seen, config, generator())
    fitted = fit_density(seen, config, generator())
    with torch.no_grad():
        gain = fitted.log_likelihood(held_out).mean() - gaussian.log_likelihood(held_out).mean()
    assert float(gain) > 0.8
    wrong = held_out[:, torch.randperm(14, generator=generator())]
    assert (fitted.log_likelihood(wrong) < fitted.log_likelihood(held_out)).all()
    again = fit_density(seen, config, generator())
    assert torch.equal(again.log_likelihood(held_out), fitted.log_likelihood(held_out))
    assert not any(p.requires_grad for p in fitted.parameters())


def test_state_round_trip():
    fitted = fit_density(_poses(100), SMALL, generator())
    other = PoseDensity(SMALL)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other.log_likelihood(_poses(9)), fitted.log_likelihood(_poses(9)))


def test_impossible_densities():
    with pytest.raises(DataError, match="expected more than 6 poses, got 5"):
        fit_density(_poses(5), SMALL, generator())
    with pytest.raises(DataError, match="expected poses that differ"):
        fit_density(_poses(1).expand(50, 14, 2), SMALL, generator())
    with pytest.raises(ConfigError, match=r"density\.components: expected 2 to 26, got 40"):
        fit_density(_poses(50), DensityConfig(components=40), generator())


def test_poses_without_variance_left_are_finite():
    flat = _poses(80)
    flat = flat[:1] + 0.1 * (flat - flat[:1]) * torch.tensor([1.0, 0.0])
    density = fit_density(flat, DensityConfig(steps=3), generator())
    assert density.log_likelihood(_poses(30, 4)).isfinite().all()
