"""P of a state as a linear operator, as solvers take it."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

from ..arrays import A as Array_
from ..arrays import namespace
from ..boundary import public
from ..record import leaves, record, static
from .kinds import shape_of, size_of

if TYPE_CHECKING:
    from .psgd import Psgd

__all__ = ["Preconditioner"]


@record
class Preconditioner:
    """P of a state as a symmetric linear operator."""

    state: Any
    _: KW_ONLY
    settings: Psgd = static()

    __array_ufunc__ = None  # numpy leaves ``array @ operator`` to us

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        n = size_of(self.state)
        return n, n

    @property
    def dtype(self) -> Any:
        """The dtype of the state."""
        return leaves(self.state)[0].dtype

    @public
    def matvec(self, x: Array_) -> Array_:
        """P x for x of shape (..., n), where leading axes are a batch, (n, 1), or what `Psgd.apply` takes."""
        shape, n = shape_of(self.state), size_of(self.state)
        seen = tuple(getattr(x, "shape", ()))
        if shape is None or (seen[-1:] != (n,) and seen != (n, 1)):
            return self.settings.apply(self.state, x)
        xp, batch = namespace(x), seen[:-1] if seen[-1] == n else ()
        out: Array_ = xp.reshape(self.settings.apply(self.state, xp.reshape(x, (*batch, *shape))), seen)
        return out

    def rmatvec(self, y: Array_) -> Array_:
        """P y, since P is symmetric."""
        return self.matvec(y)

    def __matmul__(self, x: Any) -> Any:
        if getattr(x, "ndim", 1) < 2:
            return self.matvec(x)
        xp = namespace(x)
        return xp.matrix_transpose(self.matvec(xp.matrix_transpose(x)))

    def __rmatmul__(self, y: Any) -> Any:
        return self.matvec(y)

    def __repr__(self) -> str:
        n = size_of(self.state)
        return f"Preconditioner({n} x {n}, {self.settings.kind})"
