"""Equilibria of matrix games, with bounds on the value that come from the strategies themselves."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import A as Array_
from ..arrays import first_index, library, like, namespace, shape_text
from ..backend import of
from ..boundary import public
from ..checks import check_finite, check_limits, check_mask, check_tol, values
from ..guide import guided
from ..implicit import differentiable
from ..iterate import iterate, repeat
from ..kernel import kernel, on_host
from ..operators import Dense, as_operator
from ..operators.protocol import beside
from ..record import leaves, map_arrays, plain, record
from ..result import report, settle
from .anchored import moved
from .products import forward, outer, transposed
from .resolvents import Simplex
from .result import GameResult
from .saddle_steps import MAPPED, RESTARTS, Centred, SaddleState, SaddleTask, begin, size_of, step

__all__ = ["GameState", "game_chunk", "matrix_game"]

PATIENCE = 20_000
REACH = 3.0  # of the primal weight: thin games that are nearly degenerate run away with a free one


@record
class GameState:
    """The iterate, and the strategies with the best guarantees so far; the two need not be of one step."""

    inner: SaddleState
    x: Any
    y: Any
    lower: Any
    upper: Any


def looked(s: SaddleState, best: GameState) -> GameState:
    """Whether T z guarantees more, to either player, than what was known."""
    xp, z = namespace(s.primal), s.point(MAPPED)
    upper, lower = xp.max(z.ax, axis=-1), xp.min(z.aty, axis=-1)
    for_x, for_y = xp.asarray(upper < best.upper), xp.asarray(lower > best.lower)
    return GameState(
        *(s, moved(for_x, z.x, best.x), moved(for_y, z.y, best.y)),
        *(moved(for_y, lower, best.lower), moved(for_x, upper, best.upper)),
    )


@kernel("monotone.game_chunk")
def game_chunk(state: GameState, task: SaddleTask, limit: Any, tol: Any) -> tuple[Any, Any, Any]:
    """`limit` steps, and the duality gap after them."""
    s = looked(repeat(step, state.inner, task, limit), state)
    return s, limit, s.upper - s.lower


# ---------------------------------------------------------------------------------------------------------------------
# Where to start


def uniform(K: Any, beside: Any, batch: tuple[int, ...]) -> tuple[Any, Any]:
    """Strategies that play everything alike."""
    xp = namespace(beside)
    m, n = plain(K).shape
    return tuple(xp.full((*batch, size), 1.0 / size, **like(beside)) for size in (n, m))


def pure(array: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The pure strategies of a saddle point of the entries where there is one, else x and y."""
    xp = namespace(array)
    floors, ceilings = xp.min(array, axis=-1), xp.max(array, axis=-2)
    row, column = xp.argmax(floors, axis=-1), xp.argmin(ceilings, axis=-1)
    found = xp.asarray(xp.max(floors, axis=-1) == xp.min(ceilings, axis=-1))

    def unit(index: Any, beside: Any) -> Any:
        index = xp.asarray(index)
        places = xp.arange(beside.shape[-1], **{**like(beside), "dtype": index.dtype})
        return xp.astype(places == index[..., None], beside.dtype)

    return moved(found, unit(column, x), x), moved(found, unit(row, y), y)


def start_of(init: Any, K: Any, beside: Any, batch: tuple[int, ...]) -> tuple[Any, Any]:
    """The strategies of a previous result, or of a pair of arrays."""
    pair = (init.x, init.y) if isinstance(init, GameResult) else init
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"init must be a GameResult or a pair of strategies (x, y), got {type(init).__name__}")
    made = []
    for name, x, size in zip(("x", "y"), pair, reversed(plain(K).shape), strict=True):
        xp = namespace(beside, x)
        if not library(x) or x.dtype != beside.dtype:
            raise TypeError(f"{name} of init must be an array of the dtype of A, {beside.dtype}")
        try:
            x = xp.broadcast_to(x, (*batch, size))
        except (ValueError, RuntimeError, TypeError):
            raise ValueError(f"{name} of init must have shape {(*batch, size)}, got {shape_text(x)}") from None
        check_strategy(f"{name} of init", x)
        made.append(x)
    return made[0], made[1]


def check_strategy(name: str, x: Any) -> None:
    """Not negative, and of sum 1."""
    seen = values(x)
    if seen is None:
        return
    xp = namespace(seen)
    check_finite(name, seen)
    slack = 1e-6 if seen.dtype == xp.float64 else 1e-4
    bad = xp.asarray((xp.min(seen, axis=-1) < -slack) | (xp.abs(xp.sum(seen, axis=-1) - 1.0) > slack))
    if bool(xp.any(bad)):
        at = f" at index {first_index(bad)}" if bad.ndim else ""
        raise ValueError(f"{name} must be a strategy, not negative and of sum 1, which it is not{at}")


def check_game(A: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """The matrix as an operator, an array of its library, and the shape of the batch."""
    K = as_operator(A)
    arrays = leaves(K)
    if not arrays:
        raise TypeError(f"A must be an array, a sparse matrix or an operator made of arrays, got {type(A).__name__}")
    if 0 in K.shape:
        raise ValueError(f"A must not be empty, got shape {tuple(K.shape)}")
    for x in arrays:
        check_mask("A", x)
        seen = values(x)
        if seen is not None and namespace(x).isdtype(x.dtype, "real floating"):
            check_finite("A", seen)
    beside = next(x for x in arrays if namespace(x).isdtype(x.dtype, "real floating"))
    batch = tuple(beside.shape[:-2]) if isinstance(K, Dense) else ()
    return K, beside, batch


def game_vjp(cotangent: Any, out: Any, args: tuple[Any, ...], **settings: Any) -> tuple[Any, ...]:
    """The value is y^T A x at the equilibrium, where neither strategy would move: dv/dA = y x^T."""
    if cotangent[0] is None:
        return (None,) * 4
    _, x, y, *_ = out
    bar = beside(cotangent[0], x)
    return outer(args[0], bar[..., None] * y, x), None, None, None


def solve(K: Any, x: Any, y: Any, tol: Any, **options: Any) -> tuple[Any, ...]:
    """The value, both strategies, the bounds, restarts, error, steps, code and history."""
    xp = namespace(x)
    inner, shift = K, 0.0 * x[..., 0]
    if isinstance(K, Dense):
        common = xp.mean(K.array, axis=(-2, -1), keepdims=True)  # what every outcome has in common
        inner = Dense(K.array - common)
    turned = xp.matrix_transpose(inner.array) if isinstance(inner, Dense) and game_chunk.overridden(of(x)) else None
    task = SaddleTask(inner, 0.0 * x, 0.0 * y, Simplex(), Simplex(), turned, reach=REACH)
    state = begin(x, y, task, 1.0, size_of(Centred(inner), x))
    worst = xp.asarray(shift + math.inf)
    start = looked(state, GameState(state, x, y, -worst, worst))
    run = iterate(game_chunk, start, task, tol=tol, patience=PATIENCE, method="monotone.matrix_game", **options)
    s = run.state
    upper = xp.asarray(xp.max(forward(K, s.x), axis=-1))
    lower = xp.minimum(xp.asarray(xp.min(transposed(K, s.y), axis=-1)), upper)  # they may cross by rounding
    error = xp.asarray(upper - lower)
    restarts = xp.astype(xp.asarray(s.inner.number(RESTARTS)), run.steps.dtype)
    ending = (error, run.steps, settle(error, tol, run.code), run.history)
    return xp.asarray(lower + 0.5 * error), s.x, s.y, lower, upper, restarts, *ending


solve_dense = differentiable(game_vjp)(on_host(game_chunk)(solve))
solve_any = differentiable(game_vjp)(solve)  # a user's operator wants arrays of its own library


@public
def game_of(K: Any, *, tol: Any, init: Any, **options: Any) -> GameResult[Any]:
    """:func:`matrix_game`, of a matrix that has become an operator and so may cross the boundary."""
    K, numbers, batch = check_game(K)
    tol = check_tol(tol, numbers, 1e-6, 1e-4)
    check_limits(tol, options["max_steps"], options["check_every"])
    stop = of(numbers).stop_gradient
    still, init = map_arrays(stop, (K, init))
    if init is not None:
        x, y = start_of(init, K, stop(numbers), batch)
    else:
        x, y = uniform(K, stop(numbers), batch)
        if isinstance(K, Dense):
            x, y = pure(still.array, x, y)
    value, *rest = (solve_dense if isinstance(K, Dense) else solve_any)(K, x, y, tol, **options)
    x, y, lower, upper, restarts, error, steps, code, rows = map_arrays(stop, rest)
    result = GameResult(error, steps, code, rows, x, y, value, lower, upper, restarts)
    report(result, "monotone.matrix_game", tol)
    return result


@guided
def matrix_game(
    A: Array_,
    *,
    tol: float | None = None,
    max_steps: int = 1_000_000,
    init: Any = None,
    check_every: int = 40,
    callback: Any = None,
    history: bool | None = None,
) -> GameResult[Array_]:
    """Solve the zero-sum game ``min_x max_y y^T A x`` over mixed strategies.

    Take it for games of up to some thousands of pure strategies a side, and where bounds on the value matter more than
    the last digit. Do not take it where the exact vertex is wanted, or for a single game of fewer than a hundred
    strategies: a simplex method is exact and faster there.

    Parameters
    ----------
    A : array, shape (..., m, n), sparse matrix, or operator
        What the player of the columns, x, pays to the player of the rows, y. Leading axes are a batch.
    tol : float, optional
        Bound on the duality gap, in the units of A: 1e-6, in float32 1e-4, by default; 0 runs all steps.
    max_steps : int
        The most steps, of two products each.
    init : GameResult or (x, y), optional
        Strategies to start from; by default uniform ones, or a saddle point of the entries where there is one.
    check_every : int
        Steps between two looks at the gap.
    callback : callable, optional
        Called at every check with an :class:`equipoise.iterate.Info`; a true answer stops.
    history : bool, optional
        Record step, error and seconds at every check. By default where that is free.

    Returns
    -------
    GameResult
        The strategies with the best guarantees that were met, and the guarantees.

    Raises
    ------
    TypeError
        If A is not made of floating-point arrays.
    ValueError
        If A is empty or not finite, or `init` does not hold strategies that fit.

    Warns
    -----
    ConvergenceWarning
        If the gap is above `tol` in the end.

    Notes
    -----
    Halpern's iteration of the reflected primal-dual hybrid gradient map, with restarts and a primal weight that adapt:
    H. Lu and J. Yang, "Restarted Halpern PDHG for linear programming", 2024. On torch and jax `value` is
    differentiable in A, once: its derivative is y x^T, one of several where the strategies are not unique. The rest of
    the result carries none.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> game = eq.monotone.matrix_game(np.array([[3.0, -1.0], [-2.0, 4.0]]))
    >>> game.x.round(4), game.y.round(4), float(game.value.round(4))
    (array([0.5, 0.5]), array([0.6, 0.4]), 1.0)
    """
    watching = {"check_every": check_every, "callback": callback, "history": history}
    result: GameResult[Array_] = game_of(as_operator(A), tol=tol, max_steps=max_steps, init=init, **watching)
    return result
