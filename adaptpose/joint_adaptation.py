"""Semantic joint adaptation: from vertices of a body model to the joints that are seen in 2D.

Tripathi et al., PoseNet3D, 3DV 2020, section 3.3.1. All start at a given regressor.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptpose.errors import ConfigError, DataError, expected_message, unknown_name_message

AdaptationKind = Literal["convex", "linear", "none"]
ConvexRule = Literal["squares", "softmax"]

_SUM_TOLERANCE = 1e-2
"""How far a row of a regressor may be from convex and is still meant to be: files round."""

_LEAST: dict[str, float] = {"squares": 1e-8, "softmax": 1e-6}
"""Least start of a weight, as a share of its row's largest: 0 has no slope, or no logarithm."""


class JointAdaptation(nn.Module, ABC):
    """A map from vertices to joints, in the unit and axes of the vertices."""

    kind: AdaptationKind

    @abstractmethod
    def forward(
        self, vertices: Float[Tensor, "*batch vertices 3"]
    ) -> Float[Tensor, "*batch joints 3"]:
        """The joints of every frame."""

    def spec(self) -> dict[str, object]:
        """Plain data from which `adaptation_from_spec` makes the module again."""
        sizes = {name: list(value.shape) for name, value in self.state_dict().items()}
        return {"kind": self.kind, "sizes": sizes}


class ConvexAdaptation(JointAdaptation):
    """J' = W' V with a learned convex W': the paper's SJA, which does not say how W' stays convex.

    Rows are non-negative and sum to 1 whatever the optimiser does. By "squares", W' = u² / sum u²:
    Adam, whose steps do not depend on the size of a gradient, soon raises any vertex. By
    "softmax", W' = softmax(u): weights change by factors, so those that start at next to nothing
    stay small for thousands of steps, and a joint stays near its first vertices. Weights of 0 in
    the regressor start so low that all vertices of a body together move a joint by less than a
    millimetre (`_LEAST`).
    """

    kind = "convex"

    def __init__(
        self, regressor: Float[Tensor, "joints vertices"], rule: ConvexRule = "squares"
    ) -> None:
        super().__init__()
        if rule not in _LEAST:
            raise ConfigError(unknown_name_message("rule of convex weights", rule, _LEAST))
        self.rule: ConvexRule = rule
        weights = convex_rows(regressor)
        weights = torch.maximum(weights, _LEAST[rule] * weights.amax(dim=1, keepdim=True))
        self.raw = nn.Parameter(weights.sqrt() if rule == "squares" else weights.log())

    def weights(self) -> Float[Tensor, "joints vertices"]:
        """W' as it is now."""
        if self.rule == "softmax":
            return self.raw.softmax(dim=1)
        squares = self.raw.square()
        return squares / squares.sum(dim=1, keepdim=True)

    def forward(
        self, vertices: Float[Tensor, "*batch vertices 3"]
    ) -> Float[Tensor, "*batch joints 3"]:
        """The joints of every frame, inside the convex hull of its vertices."""
        _check_vertices(vertices, self.raw)
        return self.weights() @ vertices

    def spec(self) -> dict[str, object]:
        """As the other adaptations, and the rule."""
        return {**super().spec(), "rule": self.rule}


class LinearAdaptation(JointAdaptation):
    """J' = A J + b on the vectorised joints J = W V (eq. 6), which may leave the body.

    `choice` says which convex combination of the K joints each output starts at; without it,
    outputs are the K joints.
    """

    kind = "linear"

    def __init__(
        self,
        regressor: Float[Tensor, "inputs vertices"],
        choice: Float[Tensor, "joints inputs"] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("regressor", regressor.detach().clone())
        start = torch.eye(len(regressor)).to(regressor) if choice is None else choice
        axes = torch.eye(3).to(start)
        self.matrix = nn.Parameter(torch.kron(start.contiguous(), axes))
        self.shift = nn.Parameter(start.new_zeros(len(self.matrix)))

    def forward(
        self, vertices: Float[Tensor, "*batch vertices 3"]
    ) -> Float[Tensor, "*batch joints 3"]:
        """The mapped joints of every frame."""
        _check_vertices(vertices, self.get_buffer("regressor"))
        given = (self.get_buffer("regressor") @ vertices).flatten(-2)
        return nn.functional.linear(given, self.matrix, self.shift).unflatten(-1, (-1, 3))


class NoAdaptation(JointAdaptation):
    """J = W V with a fixed regressor."""

    kind = "none"

    def __init__(self, regressor: Float[Tensor, "joints vertices"]) -> None:
        super().__init__()
        self.register_buffer("regressor", regressor.detach().clone())

    def forward(
        self, vertices: Float[Tensor, "*batch vertices 3"]
    ) -> Float[Tensor, "*batch joints 3"]:
        """The joints of every frame."""
        _check_vertices(vertices, self.get_buffer("regressor"))
        return self.get_buffer("regressor") @ vertices


KINDS: dict[str, type[ConvexAdaptation] | type[LinearAdaptation] | type[NoAdaptation]] = {
    "convex": ConvexAdaptation,
    "linear": LinearAdaptation,
    "none": NoAdaptation,
}


def build_adaptation(kind: str, regressor: Float[Tensor, "joints vertices"]) -> JointAdaptation:
    """The adaptation of a name, started at a regressor; ConfigError for an unknown name."""
    if kind not in KINDS:
        raise ConfigError(unknown_name_message("joint adaptation", kind, KINDS))
    return KINDS[kind](regressor)


def adaptation_from_spec(spec: dict[str, Any]) -> JointAdaptation:
    """The module that `JointAdaptation.spec` described, with weights still to be loaded."""
    kind, sizes = spec["kind"], spec["sizes"]
    rows, vertices = sizes["raw"] if kind == "convex" else sizes["regressor"]
    regressor = torch.full((rows, vertices), 1 / vertices)
    if kind == "convex":
        return ConvexAdaptation(regressor, spec["rule"])
    if kind == "linear":
        return LinearAdaptation(regressor, torch.zeros(sizes["shift"][0] // 3, rows))
    return build_adaptation(kind, regressor)


def convex_rows(
    regressor: Float[Tensor, "joints vertices"],
) -> Float[Tensor, "joints vertices"]:
    """A regressor with its rounding taken out: rows non-negative, with sum 1.

    DataError if a row is further from convex than rounding explains.
    """
    sums = regressor.sum(dim=1)
    negative = regressor.clamp(max=0).sum(dim=1)
    worst = max(float((sums - 1).abs().max()), float(-negative.min()))
    if not worst <= _SUM_TOLERANCE:
        raise DataError(
            expected_message(
                "joint regressor",
                "rows of non-negative weights with sum 1",
                f"rows that miss it by up to {worst:.3g}",
            )
        )
    weights = regressor.detach().clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def _check_vertices(vertices: Tensor, weights: Tensor) -> None:
    if vertices.shape[-2] != weights.shape[1]:
        expected = f"{weights.shape[1]} vertices"
        got = f"{vertices.shape[-2]} vertices"
        raise DataError(expected_message("joint adaptation", expected, got))
