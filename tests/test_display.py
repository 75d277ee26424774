"""A result is printed by what its user asks first, and nothing that has axes is read for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise.display import brief, line, table
from equipoise.record import record, static
from equipoise.result import ConvergenceWarning

COST = np.abs(np.arange(4.0)[:, None] - np.arange(5.0))


@record
class Pair:
    first: Any
    second: Any
    name: str = static(default="pair")


def test_a_record_is_printed_by_the_shapes_of_its_arrays() -> None:
    x = Pair(np.zeros((300, 2)), torch.zeros((), dtype=torch.float32))
    assert repr(x) == "Pair(first=float64 (300, 2), second=0, name='pair')"
    assert repr(Pair(x, None)) == f"Pair(first={x!r}, second=None, name='pair')"
    assert len(repr(Pair(np.zeros((300, 2)), [np.zeros(3)] * 1000))) < 80


def test_a_class_may_print_itself() -> None:
    @record
    class Own:
        x: Any

        def __repr__(self) -> str:
            return "mine"

        def _repr_html_(self) -> str:
            return "<b>mine</b>"

    @record
    class Heir(Own):
        y: Any

    assert repr(Own(1.0)) == "mine" == repr(Heir(1.0, 2.0))
    assert Own(1.0)._repr_html_() == "<b>mine</b>"  # type: ignore[attr-defined]


def test_notebooks_show_what_a_class_says_of_itself_and_hide_what_it_hides() -> None:
    @record
    class Told:
        x: Any
        secret: Any = dataclasses.field(repr=False)

    @record
    class Own:
        x: Any

        def __repr__(self) -> str:
            return "mine"

    assert "secret" not in repr(Told(1, 2))
    assert "secret" not in Told(1, 2)._repr_html_()  # type: ignore[attr-defined]
    assert not hasattr(Own(1), "_repr_html_")


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros((2, 0)), "(2, 0)"),
        (np.asarray(1 / 3), "0.333333"),
        (jnp.asarray(7), "7"),
        (torch.tensor(True), "True"),
        (np.float64(0.5), "0.5"),
        (np.float32(1 / 3), "0.333333"),
        (np.int32(7), "7"),
        (torch.zeros((), device="meta"), "traced"),
        ("s" * 70, "'" + 57 * "s" + "...'"),
        (None, "None"),
        ("sum", "'sum'"),
        ({"a": 1}, "dict of 1"),
        (np.linalg.norm, "norm"),
        (object(), "object"),
    ],
)
def test_values_in_a_few_words(x: Any, text: str) -> None:
    assert brief(x) == text or (text == "object" and brief(x).startswith("<object"))


def test_a_line_and_a_table_say_what_they_are_given() -> None:
    assert line(Pair(1, 2), {"a": np.zeros(3), "b": 0.25}) == "Pair(a=float64 (3,), b=0.25)"
    shown = table("A <title>", {"x & y": np.zeros(3)}, "said")
    assert "A &lt;title&gt;" in shown
    assert "x &amp; y" in shown
    assert "float64 (3,), numpy" in shown
    assert "said" in shown


class TestResults:
    def test_one_problem(self) -> None:
        result = eq.transport.sinkhorn(COST, epsilon=0.5)
        text = repr(result)
        assert text.startswith("TransportResult(cost (4, 5), epsilon 0.5, f (4,), g (5,), error ")
        assert text.endswith(f"steps {int(result.steps)}, CONVERGED)")
        assert "float64 (4,), numpy" in result._repr_html_()
        assert "CONVERGED: The error is" in result._repr_html_()

    def test_a_batch_counts_its_solved_problems(self) -> None:
        costs = np.stack([COST, np.zeros((4, 5))])
        with pytest.warns(ConvergenceWarning):
            result = eq.transport.sinkhorn(costs, epsilon=0.05, max_steps=2)
        assert "steps at most 2, 1 of 2 CONVERGED, the worst MAX_STEPS" in repr(result)
        assert "1 of 2 CONVERGED, the worst MAX_STEPS: The number of steps ran out" in result._repr_html_()
        assert "all 2 CONVERGED" in repr(eq.transport.sinkhorn(costs, epsilon=0.5))

    def test_what_is_traced_is_said_to_be(self) -> None:
        seen: list[str] = []

        def solve(cost: Any) -> Any:
            result = eq.transport.sinkhorn(cost, epsilon=0.5)
            seen.extend([repr(result), result._repr_html_()])
            return result

        result = jax.jit(solve)(jnp.asarray(COST))
        assert "error traced, steps traced, traced" in seen[0]
        assert "<table>" in seen[1]
        assert "CONVERGED" in repr(result)
        assert "'here'" in repr(jax.tree.map(lambda x: "here", result))

    def test_what_tools_make_of_a_result_prints_too(self) -> None:
        costs = jnp.stack([jnp.asarray(COST), jnp.zeros((4, 5))])
        result = eq.transport.sinkhorn(costs, epsilon=0.5)
        assert "traced" in repr(jax.tree.map(jnp.zeros_like, result))  # no status has the code 0
        assert "<table>" in jax.tree.map(lambda x: None, result)._repr_html_()
        assert "<table>" in jax.tree.map(np.shape, result)._repr_html_()
        none = eq.map_arrays(lambda x: x[:0], result)
        assert "all 0 CONVERGED" in none._repr_html_()

    def test_a_member_of_a_batch_is_a_result(self) -> None:
        batch = eq.transport.sinkhorn(np.stack([COST, np.zeros((4, 5))]), epsilon=0.5)
        member = eq.map_arrays(lambda x: x[0] if x.ndim else x, batch)  # numpy gives scalars
        assert repr(member).endswith(f"steps {batch.steps[0]}, CONVERGED)")
        assert member.status is eq.Status.CONVERGED
        assert member.converged is True

    def test_under_torch_vmap(self) -> None:
        seen: list[str] = []

        def look(x: torch.Tensor) -> torch.Tensor:
            seen.append(repr(Pair(x, x.sum())))
            return x

        torch.func.vmap(look)(torch.zeros(3, 2))
        assert seen == ["Pair(first=float32 (2,), second=traced, name='pair')"]

    def test_every_family_prints_in_a_line_and_a_table(self) -> None:
        rng = np.random.default_rng(0)
        A, distances = rng.normal(size=(30, 4)), rng.random((5, 5))
        np.fill_diagonal(distances, 0.0)
        grid = eq.operators.Stencil.laplacian((6, 6), shift=1.0)
        results: list[Any] = [
            eq.transport.sinkhorn_divergence(A[:10], A[10:], epsilon=1.0),
            eq.transport.sinkhorn_newton_sparse(COST, epsilon=0.5),
            eq.linear.cg(grid, np.ones((6, 6))),
            eq.linear.solve_sequence([(grid, np.ones((6, 6)))]),
            eq.sketch.lstsq(A, A[:, 0]),
            eq.monotone.matrix_game(A),
            eq.quasimetric.fit(distances, dim=4, components=2),
            eq.precondition.fit_hessian(lambda v: 2.0 * v, np.ones(3)),
        ]
        for result in results:
            name, text, shown = type(result).__name__, repr(result), result._repr_html_()
            assert text.startswith(f"{name}("), text
            assert text.endswith(", CONVERGED)"), text
            assert "\n" not in text, text
            assert len(text) < 300, text
            assert name in shown, shown
            assert "CONVERGED" in shown, shown
