"""A bar on any long solve, ``with equipoise.progress():``; it is tqdm's, in terminals and notebooks alike."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .iterate import Info

__all__ = ["listener", "progress", "tqdm_here"]

_settings: ContextVar[dict[str, Any] | None] = ContextVar("equipoise.progress", default=None)


@contextlib.contextmanager
def progress(**settings: Any) -> Iterator[None]:
    """Show a progress bar for every solve inside the block: its method, steps, rate, current error and tolerance.

    A bar is drawn at the checks of a solve, so it costs nothing in between. Under a jax transformation there is none.

    Parameters
    ----------
    **settings
        Handed to ``tqdm.auto.tqdm``; for instance ``leave=False``, ``file=sys.stdout``, ``mininterval=1.0``.

    Raises
    ------
    ImportError
        If tqdm is not installed; the extra ``plot`` brings it.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> import equipoise as eq
    >>> seen = io.StringIO()
    >>> with eq.progress(file=seen):
    ...     result = eq.transport.sinkhorn(np.array([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.5)
    >>> "transport.sinkhorn" in seen.getvalue()
    True
    """
    try:
        tqdm_here()
    except ImportError as error:
        raise ImportError("progress() needs tqdm; install it with `pip install 'equipoise[plot]'`") from error
    before = _settings.set(settings)
    try:
        yield
    finally:
        _settings.reset(before)


def tqdm_here() -> Any:
    """The bar for this place; in a notebook without ipywidgets it is one of text, which needs no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm
    return tqdm


@contextlib.contextmanager
def listener() -> Iterator[Callable[[Info], None] | None]:
    """What the loop tells of every check: a function while ``progress()`` is on, else None."""
    settings = _settings.get()
    if settings is None:
        yield None
        return
    tqdm = tqdm_here()
    bar: Any = None

    def show(info: Info) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=info.max_steps, unit=" steps", desc=info.method, **settings)
        bar.n = info.step
        bar.set_postfix_str(f"error {info.error:.2e}, tol {info.tol:.0e}", refresh=False)
        if info.error <= info.tol:
            bar.total = info.step  # converged: a full bar, not one that stops at a tenth
        bar.update(0)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
