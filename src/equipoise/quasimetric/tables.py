"""Given distances: a square table, or triples of observed pairs."""

from __future__ import annotations

import math
from typing import Any

from ..arrays import first_index, library, like, namespace, shape_text
from ..backend import of
from ..checks import number, values
from ..segments import check_index
from .checks import check_points, check_values

__all__ = ["check_discount", "check_table", "check_triple", "discounted", "off_diagonal"]


def check_discount(discount: Any) -> None:
    """A number in (0, 1), or None."""
    if discount is None:
        return
    if library(discount):
        raise TypeError(f"discount must be a number in (0, 1) or None, got {type(discount).__name__}")
    value = number("discount", discount)
    if value is None or not 0 < value < 1:
        raise ValueError(f"discount must lie in (0, 1), or be None, got {value}")


def off_diagonal(table: Any) -> Any:
    """Where a pair is one of two points."""
    xp = namespace(table)
    places = xp.arange(table.shape[0], **{**like(table), "dtype": xp.int32})
    return places[:, None] != places[None, :]


def check_table(distances: Any) -> None:
    """(n, n), not negative, without NaN, zero on the diagonal; infinite is allowed."""
    check_points("distances", distances, 2)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or distances.shape[0] < 2:
        raise ValueError(
            f"distances must be square, (n, n) with n of at least 2, or a triple (rows, columns, values), got shape "
            f"{shape_text(distances)}"
        )
    check_values("distances", distances, lambda x: ~(x >= 0), "at least 0 (or infinite)")
    seen = values(distances)
    if seen is None:
        return
    xp = namespace(seen)
    wrong = (seen != 0) & ~off_diagonal(seen)
    if bool(xp.any(wrong)):
        index = first_index(wrong)
        raise ValueError(f"distances must be zero on the diagonal, got {float(seen[index])} at index {index}")


def check_triple(triple: Any) -> int:
    """(rows, columns, values) of one length; the number of points, the largest index + 1."""
    if len(triple) != 3:
        raise ValueError(
            f"distances must be an (n, n) array or a triple (rows, columns, values), got {len(triple)} parts"
        )
    rows, columns, lengths = triple
    check_index("rows", rows)
    check_index("columns", columns)
    check_points("values", lengths)
    namespace(rows, columns, lengths)
    sizes = {tuple(x.shape) for x in triple}
    if len(sizes) > 1 or rows.shape[0] == 0:
        shapes = ", ".join(shape_text(x) for x in triple)
        raise ValueError(f"rows, columns and values must have one shape (K,) with K of at least 1, got {shapes}")
    check_values("values", lengths, lambda x: ~(x >= 0), "at least 0 (or infinite)")
    backend = of(rows)
    if backend.traced([rows, columns]):
        raise TypeError("rows and columns must be known, not traced: how many points there are is read off them")
    ends = [backend.to_numpy(x) for x in (rows, columns)]
    for name, x in zip(("rows", "columns"), ends, strict=True):
        if int(x.min()) < 0:
            raise ValueError(f"{name} must not be negative, got {int(x.min())} at index {int(x.argmin())}")
    seen = values(lengths)
    if seen is not None:
        wrong = backend.to_numpy(namespace(seen).asarray(seen != 0)) & (ends[0] == ends[1])
        if wrong.any():
            (k,) = first_index(wrong)
            raise ValueError(f"values must be zero from a point to itself, got {float(seen[k])} at index {k}")
    return max(2, 1 + max(int(x.max()) for x in ends))


def discounted(distances: Any, discount: float) -> Any:
    """discount^d, 0 for infinite d."""
    return namespace(distances).exp(math.log(discount) * distances)
