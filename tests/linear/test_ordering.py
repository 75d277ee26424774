from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from equipoise.kernel import Kernel
from equipoise.linear import ordering
from equipoise.linear.ordering import ORDERS, Arrangement, arrange, rows_of, triangles
from equipoise.linear.substitution import product, solve_lower, solve_upper
from equipoise.operators import CSR, Dense, Stencil

from ..backends import Case
from .problems import dense, field, rows, sparse


def arranged(A: scipy.sparse.csr_array, order: str, make: Any = arrange) -> Arrangement:
    return Arrangement(*make(A.indptr, A.indices, order=order))


def grid(n: int, m: int) -> scipy.sparse.csr_array:
    S = field((n, m)).to_csr()
    return scipy.sparse.csr_array((S.data, S.indices, S.indptr), shape=S.shape)


class TestArrangement:
    @given(
        n=st.integers(1, 14),
        seed=st.integers(0, 99),
        symmetric=st.booleans(),
        order=st.sampled_from(["natural", "multicolor"]),
    )
    def test_groups_hold_no_coupling_and_triangles_all_entries(
        self, n: int, seed: int, symmetric: bool, order: str
    ) -> None:
        A = sparse(n, seed, symmetric=symmetric)
        for make in (arrange, arrange.body):
            place = arranged(A, order, make)
            assert sorted(place.rows.tolist()) == list(range(n))
            assert np.array_equal(place.places[place.rows], np.arange(n))
            full = A.toarray()[np.ix_(place.rows, place.rows)]
            lower = scipy.sparse.csr_array(
                (A.data[place.lower_source], place.lower_columns, place.lower_starts), (n, n)
            )
            upper = scipy.sparse.csr_array(
                (A.data[place.upper_source], place.upper_columns, place.upper_starts), (n, n)
            )
            assert np.array_equal(lower.toarray(), np.tril(full, -1))
            assert np.array_equal(upper.toarray(), np.triu(full, 1))
            for first, last in zip(place.groups[:-1], place.groups[1:], strict=True):
                block = full[first:last, first:last]
                assert np.array_equal(block, np.diag(np.diag(block)))

    def test_levels_keep_the_natural_order(self) -> None:
        """Of two coupled rows the one of lower number comes first, as it would row after row."""
        A = sparse(30, 5)
        place = arranged(A, "natural")
        i, j = A.nonzero()
        assert np.all((place.places[i] < place.places[j]) == (i < j))

    def test_levels_of_a_grid_are_its_diagonals(self) -> None:
        place = arranged(grid(4, 6), "natural")
        assert np.diff(place.groups).tolist() == [1, 2, 3, 4, 4, 4, 3, 2, 1]
        assert place.rows[:6].tolist() == [0, 1, 6, 2, 7, 12]

    def test_a_grid_has_two_colours(self) -> None:
        for order in ("red_black", "multicolor"):
            place = arranged(grid(3, 4), order)
            assert np.diff(place.groups).tolist() == [6, 6]
        assert arranged(grid(3, 4), "red_black").rows[:6].tolist() == [0, 2, 5, 7, 8, 10]

    @pytest.mark.parametrize("order", ORDERS)
    def test_the_kernel_is_the_body(self, order: str) -> None:
        assert isinstance(arrange, Kernel)
        for A in (grid(5, 7), sparse(40, 2), sparse(1), grid(1, 9), sparse(40, 3, symmetric=False)):
            if order == "red_black" and A.nnz > 3 * A.shape[0] and A.shape[0] == 40:
                continue  # has no two colours
            for x, y in zip(
                arrange(A.indptr, A.indices, order=order), arrange.body(A.indptr, A.indices, order=order), strict=True
            ):
                assert x.dtype == y.dtype
                assert np.array_equal(x, y)


class TestMemory:
    def test_a_pattern_is_arranged_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ordering._memory.clear()
        calls = []
        monkeypatch.setattr(ordering, "arrange", lambda *x, order: calls.append(order) or arrange(*x, order=order))
        A = sparse(20)
        shifted = A + 2.0 * scipy.sparse.eye_array(20, format="csr")
        assert shifted.indices is not A.indices
        for given_ in (A, shifted, A):
            triangles(rows_of(rows(given_)), "natural", padded=False)
        assert calls == ["natural"]
        triangles(rows_of(rows(A)), "multicolor", padded=False)
        assert calls == ["natural", "multicolor"]

    def test_an_array_that_changed_is_seen(self) -> None:
        A = rows(sparse(6, 1))
        triangles(rows_of(A), "natural", padded=False)
        indptr, indices = np.arange(7), np.arange(6)
        other = CSR(np.ones(6), indices, indptr, (6, 6))
        triangles(rows_of(other), "natural", padded=False)
        indices[:] = indices[::-1].copy()
        again = triangles(rows_of(CSR(np.ones(6), indices, indptr, (6, 6))), "natural", padded=False)
        assert again.lower.shape == (3,)


class TestSubstitution:
    @pytest.mark.parametrize("order", ["natural", "multicolor"])
    def test_triangular_systems(self, on: Case, order: str) -> None:
        A, r = sparse(12), np.random.default_rng(0).standard_normal((2, 12))
        place = arranged(A, order)
        full = A.toarray()[np.ix_(place.rows, place.rows)]
        D, L, U = np.diag(np.diag(full)), np.tril(full, -1), np.triu(full, 1)
        pattern = [on.array(k) for k in (A.indices, A.indptr)]

        def solved(data: Any, r: Any) -> Any:
            matrix = triangles(rows_of(CSR(data, *pattern, A.shape)), order, padded=True)
            return solve_lower(matrix, r, 1.3), solve_upper(matrix, r, 0.7), product(matrix, r)

        lower, upper, times = on.numpy(on.call(solved, A.data, r))
        np.testing.assert_allclose(lower, np.linalg.solve(D / 1.3 + L, r.T).T, atol=1e-13)
        np.testing.assert_allclose(upper, np.linalg.solve(D / 0.7 + U, r.T).T, atol=1e-13)
        np.testing.assert_allclose(times, r @ full.T, atol=1e-13)

    def test_groups_of_unequal_length_cost_little(self) -> None:
        """A long group is cut: the windows cover at most twice the rows."""
        n = 200
        star = scipy.sparse.diags_array(
            [np.ones(n - 1), 4 * np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1], format="lil"
        )
        star[50:, :] = 0
        star.setdiag(4.0)
        matrix = triangles(rows_of(rows(scipy.sparse.csr_array(star))), "natural", padded=True)
        assert matrix.padded is not None
        assert matrix.padded.first.shape[0] * matrix.padded.width <= 2 * n


class TestRows:
    def test_kinds(self) -> None:
        A = field((3, 4))
        for kind in (A, A.to_csr(), Dense(dense(A))):
            found = rows_of(kind)
            back = scipy.sparse.csr_array((found.data, found.indices, found.indptr), shape=(12, 12)).toarray()
            np.testing.assert_allclose(back, dense(A), atol=1e-15)
            np.testing.assert_allclose(found.diagonal, np.diag(dense(A)), atol=1e-15)

    def test_numbers_without_arrays(self) -> None:
        assert rows_of(Stencil.laplacian((2, 2))).data.dtype == np.float64
