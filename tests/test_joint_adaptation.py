"""Semantic joint adaptation: starts at a regressor, stays convex, learns, is stored."""

import pytest
import torch

from adaptpose.errors import ConfigError, DataError
from adaptpose.joint_adaptation import (
    ConvexAdaptation,
    LinearAdaptation,
    NoAdaptation,
    adaptation_from_spec,
    build_adaptation,
    convex_rows,
)
from tests.posenet_data import generator, sparse_regressor

BODY = 6890


def _vertices(count=60, frames=3, seed=1):
    """Bodies about as large as people (m)."""
    spread = torch.tensor([0.3, 0.5, 0.15])
    return spread * torch.randn(2, frames, count, 3, generator=generator(seed))


@pytest.mark.parametrize("kind", ["convex", "linear", "none"])
def test_all_start_at_the_regressor(kind):
    regressor, vertices = sparse_regressor(), _vertices()
    got = build_adaptation(kind, regressor)(vertices)
    for b in range(2):
        for t in range(3):
            expected = regressor.double() @ vertices[b, t].double()
            torch.testing.assert_close(got[b, t].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("rule", "limit_mm"), [("squares", 0.01), ("softmax", 0.5)])
def test_start_on_a_whole_body(rule, limit_mm):
    regressor, vertices = sparse_regressor(24, BODY, nonzero=30), _vertices(BODY)
    vertices = vertices + torch.tensor([1.0, 0, 0])
    start = ConvexAdaptation(regressor, rule)
    error = (start(vertices) - regressor @ vertices).norm(dim=-1).max()
    assert 1000 * float(error.detach()) < limit_mm


@pytest.mark.parametrize("rule", ["squares", "softmax"])
def test_stays_convex_whatever_the_optimiser_does(rule):
    adaptation, vertices = ConvexAdaptation(sparse_regressor(), rule), _vertices()
    optimiser = torch.optim.Adam(adaptation.parameters(), lr=0.3)
    target = 5 * torch.randn(2, 3, 14, 3, generator=generator(3))
    for _ in range(30):
        optimiser.zero_grad()
        (adaptation(vertices) - target).square().sum().backward()
        optimiser.step()
    weights = adaptation.weights()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(14))
    joints = adaptation(vertices)
    assert (joints <= vertices.amax(dim=2, keepdim=True) + 1e-5).all()
    assert (joints >= vertices.amin(dim=2, keepdim=True) - 1e-5).all()


def test_learns_another_regressor_from_zeros():
    """Vertices with weight 0 at the start are found."""
    start, wanted = sparse_regressor(seed=0), sparse_regressor(seed=8)
    vertices = _vertices(frames=20)
    adaptation = ConvexAdaptation(start)
    target = wanted @ vertices
    before = (adaptation(vertices) - target).norm(dim=-1).mean()
    optimiser = torch.optim.Adam(adaptation.parameters(), lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        loss = (adaptation(vertices) - target).square().sum(dim=-1).mean()
        loss.backward()
        optimiser.step()
    after = (adaptation(vertices) - target).norm(dim=-1).mean()
    assert float(after.detach()) < 0.1 * float(before.detach())
    overlap = (adaptation.weights() * (wanted > 0)).sum(1)
    assert overlap.min() > 0.8


def test_softmax_keeps_to_its_vertices_where_squares_do_not():
    start, vertices = sparse_regressor(), _vertices()
    outside = {}
    for rule in ("squares", "softmax"):
        adaptation = ConvexAdaptation(start, rule)
        optimiser = torch.optim.Adam(adaptation.parameters(), lr=0.01)
        for _ in range(100):
            optimiser.zero_grad()
            (-adaptation(vertices)[..., 0]).sum().backward()
            optimiser.step()
        outside[rule] = float((adaptation.weights() * (start == 0)).sum(1).mean().detach())
    assert outside["softmax"] < 0.01 < outside["squares"]


def test_gradient_of_the_convex_weights():
    for rule in ("squares", "softmax"):
        adaptation = ConvexAdaptation(sparse_regressor(3, 8).double(), rule).double()
        vertices = _vertices(8, 2).double().requires_grad_()

        def run(raw, points, module=adaptation):
            return torch.func.functional_call(module, {"raw": raw}, (points,))

        raw = torch.rand(3, 8, generator=generator(), dtype=torch.float64).add(0.2)
        assert torch.autograd.gradcheck(run, (raw.requires_grad_(), vertices))


def test_linear_is_equation_six_and_leaves_the_body():
    regressor, vertices = sparse_regressor(), _vertices()
    adaptation = LinearAdaptation(regressor)
    assert adaptation.matrix.shape == (42, 42)
    with torch.no_grad():
        adaptation.matrix.copy_(torch.randn(42, 42, generator=generator(2)))
        adaptation.shift.copy_(torch.randn(42, generator=generator(3)))
        got = adaptation(vertices)
        for b in range(2):
            for t in range(3):
                vector = (regressor @ vertices[b, t]).reshape(42)
                expected = adaptation.matrix @ vector + adaptation.shift
                torch.testing.assert_close(got[b, t].reshape(42), expected, rtol=1e-4, atol=1e-4)
    assert (got.abs().amax(dim=2) > vertices.abs().amax(dim=2)).any()


def test_linear_can_choose_among_more_joints():
    regressor, vertices = sparse_regressor(24), _vertices()
    choice = torch.zeros(14, 24)
    choice[torch.arange(14), torch.arange(14) + 5] = 1
    adaptation = LinearAdaptation(regressor, choice)
    assert adaptation.matrix.shape == (42, 72)
    torch.testing.assert_close(adaptation(vertices), (regressor @ vertices)[:, :, 5:19])


def test_none_learns_nothing():
    assert not list(NoAdaptation(sparse_regressor()).parameters())


@pytest.mark.parametrize("kind", ["convex", "linear", "none"])
def test_round_trip(kind):
    adaptation = build_adaptation(kind, sparse_regressor())
    for parameter in adaptation.parameters():
        parameter.data += 0.1
    again = adaptation_from_spec(adaptation.spec())
    again.load_state_dict(adaptation.state_dict())
    torch.testing.assert_close(again(_vertices()), adaptation(_vertices()), rtol=0, atol=0)


def test_regressors_are_rounded_but_not_repaired():
    regressor = sparse_regressor()
    regressor[0, regressor[0] == 0] -= 1e-5
    rows = convex_rows(1.001 * regressor)
    assert (rows >= 0).all()
    torch.testing.assert_close(rows.sum(1), torch.ones(14))
    for bad in (2 * regressor, torch.zeros(14, 60), regressor * float("nan")):
        with pytest.raises(DataError, match="rows of non-negative weights with sum 1"):
            ConvexAdaptation(bad)
    wild = regressor.clone()
    wild[3, 0], wild[3, 1] = wild[3, 0] + 0.5, wild[3, 1] - 0.5
    with pytest.raises(DataError, match=r"miss it by up to 0\.[2-5]"):
        convex_rows(wild)


def test_wrong_names_and_bodies():
    with pytest.raises(
        ConfigError, match="unknown joint adaptation 'convx'; did you mean 'convex'"
    ):
        build_adaptation("convx", sparse_regressor())
    for kind in ("convex", "linear", "none"):
        with pytest.raises(DataError, match="expected 60 vertices, got 59 vertices"):
            build_adaptation(kind, sparse_regressor())(_vertices(59))
