"""What a sequence of systems returns, and what it is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from ..arrays import A as Array_
from ..display import table
from ..record import record, static
from ..result import Status
from .policy import FixedOmega, check_grid, default_grid

__all__ = ["Regret", "SequenceInfo", "SequenceResult"]


@dataclass(frozen=True)
class SequenceInfo:
    """What a callback is told after each system. Of a batch, `steps` and `error` are the largest."""

    index: int
    context: float | None
    omega: float
    steps: int
    error: float
    converged: bool
    seconds: float


@record
class Regret:
    """What fixed factors would have taken.

    Attributes
    ----------
    omega : array, shape (k,)
        The factors.
    steps : array of int, shape (k, systems)
        The steps of each system with each of them.
    total : array of int, shape (k,)
        Their sums.
    best : float
        The factor with the least total.
    regret : int
        What the sequence took above the least total; negative where the policy was better than every fixed factor.
    """

    omega: Any
    steps: Any
    total: Any
    best: float
    regret: int


@record
class SequenceResult(Generic[Array_]):
    """The solutions of a sequence of systems, and what each took.

    Attributes
    ----------
    x : array, or list of arrays
        The last solution, or with ``keep="all"`` every one. None, or the start, if nothing was done.
    omega, context : numpy array of float, shape (systems,)
        The factors that were chosen; the contexts, NaN where there was none.
    steps : numpy array of int, shape (systems,)
        Of a batch the largest, as of `error`.
    error : numpy array of float, shape (systems,)
        As of :class:`LinearResult`.
    converged : numpy array of bool, shape (systems,)
        Whether each system was solved to the tolerance.
    policy : Policy
        The policy, with what it has learned.
    """

    x: Any
    omega: Any
    steps: Any
    error: Any
    converged: Any
    context: Any
    start: Any
    code: int = static()
    policy: Any = static()
    settings: tuple[tuple[str, Any], ...] = static()

    @property
    def status(self) -> Status:
        """Why it ended: INTERRUPTED or STOPPED by the callback before all were done, else the worst of all systems."""
        return Status(self.code)

    @property
    def total_steps(self) -> int:
        """The steps of all systems."""
        return int(np.sum(np.asarray(self.steps)))

    def summary(self) -> str:
        """How many systems took how many steps with which factors, in some lines of text.

        Examples
        --------
        >>> import numpy as np
        >>> import equipoise as eq
        >>> A = eq.operators.Stencil.laplacian((8, 8), shift=1.0)
        >>> print(eq.linear.solve_sequence([(A, np.ones((8, 8)))] * 3, warm_start=False).summary())
        3 systems by sor, YoungOmega(): 51 steps
        steps    17 to 17, mean 17.0
        omega    1.2052 to 1.2052, mean 1.2052
        status   CONVERGED: 3 of 3 systems have reached tol=1e-08
        """
        settings = dict(self.settings)
        steps, omega, converged = (np.asarray(x) for x in (self.steps, self.omega, self.converged))
        n = steps.size
        lines = [f"{n} system{'s' * (n != 1)} by {settings['solver']}, {self.policy!r}: {self.total_steps} steps"]
        if n:
            lines.append(f"steps    {steps.min()} to {steps.max()}, mean {steps.mean():.1f}")
            lines.append(f"omega    {omega.min():.4f} to {omega.max():.4f}, mean {omega.mean():.4f}")
        done = f"{int(converged.sum())} of {n} systems have reached tol={settings['tol']:.3g}"
        lines.append(f"status   {self.status.name}: {done}")
        return "\n".join(lines)

    def regret(self, systems: Iterable[Any], grid: Any = None) -> Regret:
        """Solve the systems again with every fixed factor of a grid, since regret cannot be seen from one run.

        Parameters
        ----------
        systems : iterable
            The same systems; they are held in a list meanwhile. A right-hand side that is callable gets the solutions
            of each run itself.
        grid : sequence of float, optional
            Factors in (0, 2); twelve from 1 to 1.95 by default.

        Returns
        -------
        Regret
            The steps of each system with each factor, their totals, the best factor, and the difference to it.

        Raises
        ------
        ValueError
            If there are fewer systems than were solved, or a factor lies outside of (0, 2).

        Examples
        --------
        >>> import numpy as np
        >>> import equipoise as eq
        >>> systems = [(eq.operators.Stencil.laplacian((8, 8), shift=c), np.ones((8, 8))) for c in (0.0, 1.0)]
        >>> found = eq.linear.solve_sequence(systems, warm_start=False)
        >>> found.regret(systems, [1.0, 1.2, 1.4]).regret < 0
        True
        """
        from .sequence import in_turn, pulled

        points = default_grid() if grid is None else check_grid(grid, 0.0, 2.0, "values of omega")
        n = int(np.asarray(self.steps).size)
        listed = list(itertools.islice(pulled(systems), n))
        if len(listed) < n:
            raise ValueError(f"systems must be those of the sequence, {n} of them, got {len(listed)}")
        if n == 0:
            raise ValueError("the sequence is empty: no system was solved")
        settings = {**dict(self.settings), "x0": self.start, "keep": "last", "callback": None}
        runs = [in_turn(listed[0], iter(listed[1:]), FixedOmega(w), settings, quiet=True) for w in points.tolist()]
        steps = np.stack([run.steps for run in runs])
        total = steps.sum(axis=1)
        best = int(np.argmin(total))
        return Regret(points, steps, total, float(points[best]), self.total_steps - int(total[best]))

    def _repr_html_(self) -> str:
        first, *lines = self.summary().splitlines()
        return table("SequenceResult", dict(row.split(maxsplit=1) for row in lines), first)

    def __repr__(self) -> str:
        return f"SequenceResult({np.asarray(self.steps).size} systems, {self.total_steps} steps, {self.status.name})"
