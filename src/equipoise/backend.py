"""Backends: what a library of arrays can do for us, how it is found, and the context that moves work to it.

A backend is one object, `BACKEND`, in a package of its own, registered under the entry-point group
``equipoise.backends``. It is imported when its arrays are first met. A library without one (any Array API library) gets
:class:`Eager` as it stands: portable bodies in a Python loop.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from .arrays import library, namespace

if TYPE_CHECKING:
    from .iterate import Iterated, Options

__all__ = [
    "Backend",
    "Eager",
    "Everything",
    "Setting",
    "available",
    "backend",
    "current",
    "find",
    "of",
    "portable",
    "unlocked",
]

F = TypeVar("F", bound=Callable[..., Any])
Tree = Any  # arrays, records, tuples, lists and dicts of them: see equipoise.record


class Backend(Protocol):
    """What the core asks of a library of arrays."""

    def __hash__(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def kernels(self) -> Mapping[str, str]:
        """Overrides by kernel name, as ``"package.module:function"``, imported on first use."""

    @property
    def borrows(self) -> Collection[str]:
        """Names of the kernels for which numpy's override serves host arrays that share its memory."""

    @property
    def stops_inside(self) -> bool:
        """Whether its chunk kernels test the error inside, so that they may be given many steps at a time."""

    def version(self) -> str: ...
    def devices(self) -> Sequence[str]: ...
    def threads(self) -> int:
        """Threads that its host code may use."""

    def asarray(self, x: Any, device: Any, dtype: Any) -> Any:
        """`x`, a numpy array, on `device`; only floating arrays take `dtype`. May share memory."""

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]: ...

    def traced(self, arrays: Sequence[Any]) -> bool:
        """Whether some array holds no values now."""

    def readable(self, x: Any) -> bool:
        """Whether the values of `x` can be looked at now."""

    def differentiable(self, arrays: Sequence[Any]) -> bool:
        """Whether a derivative with respect to some array may be wanted."""

    def borrow(self, x: Any) -> np.ndarray[Any, Any] | None:
        """A numpy view of `x` that costs no copy, if there is one."""

    def lend(self, x: np.ndarray[Any, Any], like: Any) -> Any:
        """A numpy array as one of ours, on the device of `like`."""

    def run(self, body: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]) -> Any:
        """Run a portable body (jax: compiled, cached)."""

    def repeat(self, step: Callable[..., Any], state: Tree, data: Tree, count: Any) -> Tree: ...
    def loop(self, advance: Callable[..., Any], state: Tree, data: Tree, options: Options) -> Iterated: ...
    def check_every(self, x: Any) -> int: ...

    def by_panels(self, body: Callable[..., Any], rows: tuple[Any, ...], size: int) -> Any:
        """``body(*rows)``, `size` rows at a time; all arrays, the answer too, have the shape (..., n, k)."""

    def put(self, x: Any, start: Any, piece: Any) -> Any:
        """`x` with `piece` along its last axis from ``start``, of shape (1,), on."""

    def matmul(self, x: Any, y: Any) -> Any:
        """The product in the full precision of its dtype, where that is not the library's default."""

    def with_vjp(
        self, fun: Callable[..., Any], vjp: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> Any:
        """``fun(*args, **settings)`` whose derivative is `vjp`: see :mod:`equipoise.implicit`."""

    def vjp_of(self, fun: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]: ...
    def stop_gradient(self, x: Any) -> Any: ...


class Everything(Collection[str]):
    """The collection that contains every name: a backend that borrows all of numpy's kernels."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(find("numpy").kernels)

    def __len__(self) -> int:
        return len(find("numpy").kernels)


class Memory:
    """The memory of an array, for numpy to look at as if it might be written."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, view: np.ndarray[Any, Any], pointer: int, owner: Any) -> None:
        self.owner = owner
        shape = {"shape": view.shape, "strides": view.strides, "typestr": view.dtype.str}
        self.__array_interface__ = {**shape, "data": (pointer, False), "version": 3}


def unlocked(view: np.ndarray[Any, Any], pointer: int, owner: Any) -> np.ndarray[Any, Any]:
    """A view of the memory of `owner`, laid out like `view`, that may be written, for compiled kernels.

    No kernel writes what it is given; but numba compiles once more for arrays that may not be written.
    """
    return np.asarray(Memory(view, pointer, owner)) if view.dtype.kind in "fiub" else view


class Eager:
    """A library that computes at once and knows no derivatives; numpy, torch and cupy refine it."""

    kernels: Mapping[str, str] = MappingProxyType({})
    borrows: Collection[str] = ()
    stops_inside: bool = False

    def __init__(self, name: str, xp: Any = None) -> None:
        self.name = name
        self._xp = xp

    def version(self) -> str:
        from importlib.metadata import version

        return version(self.name)

    def devices(self) -> Sequence[str]:
        return ("cpu",)

    def threads(self) -> int:
        return 1

    def asarray(self, x: Any, device: Any, dtype: Any) -> Any:
        xp = self._xp
        kind = getattr(xp, str(dtype)) if dtype is not None and x.dtype.kind == "f" else None
        return xp.asarray(x, dtype=kind, device=device)

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        if hasattr(x, "to_device"):
            x = x.to_device(namespace(x).__array_namespace_info__().default_device())
        return np.asarray(x)

    def traced(self, arrays: Sequence[Any]) -> bool:
        return False

    def readable(self, x: Any) -> bool:
        return not self.traced([x])

    def differentiable(self, arrays: Sequence[Any]) -> bool:
        return False

    def borrow(self, x: Any) -> np.ndarray[Any, Any] | None:
        return None

    def lend(self, x: np.ndarray[Any, Any], like: Any) -> Any:
        return self.asarray(x, getattr(like, "device", None), None)

    def run(self, body: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]) -> Any:
        return body(*args, **settings)

    def repeat(self, step: Callable[..., Any], state: Tree, data: Tree, count: Any) -> Tree:
        for _ in range(int(count)):
            state = step(state, data)
        return state

    def loop(self, advance: Callable[..., Any], state: Tree, data: Tree, options: Options) -> Iterated:
        from .iterate import python_loop

        return python_loop(self, advance, state, data, options)

    def check_every(self, x: Any) -> int:
        return 1

    def by_panels(self, body: Callable[..., Any], rows: tuple[Any, ...], size: int) -> Any:
        n = rows[0].shape[-2]
        if n <= size:
            return body(*rows)
        made = [body(*(x[..., k : min(k + size, n), :] for x in rows)) for k in range(0, n, size)]
        return namespace(*made).concat(made, axis=-2)

    def put(self, x: Any, start: Any, piece: Any) -> Any:
        first = int(start[0])
        return namespace(x, piece).concat([x[..., :first], piece, x[..., first + piece.shape[-1] :]], axis=-1)

    def matmul(self, x: Any, y: Any) -> Any:
        return namespace(x, y).matmul(x, y)

    def with_vjp(
        self, fun: Callable[..., Any], vjp: Callable[..., Any], args: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> Any:
        return fun(*args, **settings)

    def vjp_of(self, fun: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        raise TypeError(f"{self.name} arrays carry no derivatives; use torch or jax arrays")

    def stop_gradient(self, x: Any) -> Any:
        return x


# ---------------------------------------------------------------------------------------------------------------------
# Finding


@functools.cache
def available() -> Mapping[str, Any]:
    """The registered backends by name, each an entry point that is not loaded yet."""
    from importlib.metadata import entry_points

    return MappingProxyType({point.name: point for point in entry_points(group="equipoise.backends")})


@functools.cache
def find(name: str) -> Backend:
    """The backend called `name`.

    Raises
    ------
    ValueError
        If no backend of that name is registered; the sentence lists those that are.
    ImportError
        If its library is not installed; the sentence says which extra installs it.
    """
    point = available().get(name)
    if point is None:
        raise ValueError(f"there is no backend {name!r}; the registered ones are {', '.join(sorted(available()))}")
    try:
        return point.load()
    except ImportError as error:
        raise ImportError(
            f"backend {name!r} could not be imported ({error}); install it with `pip install 'equipoise[{name}]'`"
        ) from error


_found: dict[str, Backend] = {}


def of_library(name: str) -> Backend:
    """The backend of a library of arrays: a registered one, else the portable one."""
    try:
        return _found[name]
    except KeyError:
        return _found.setdefault(name, find(name) if name in available() else Eager(name))


def of(*arrays: Any) -> Backend:
    """The backend of the first array among `arrays`."""
    for x in arrays:
        name = library(x)
        if name:
            made = of_library(name)
            if isinstance(made, Eager) and made._xp is None:
                made._xp = namespace(x)
            return made
    raise TypeError("expected an array")


# ---------------------------------------------------------------------------------------------------------------------
# The context


@dataclass(frozen=True)
class Setting:
    """What one ``with backend(...)`` asks for, and the one outside of it."""

    backend: Backend
    device: Any
    dtype: str | None
    keep: bool
    outer: Setting | None


current: ContextVar[Setting | None] = ContextVar("equipoise.backend", default=None)
_portable: ContextVar[bool] = ContextVar("equipoise.portable", default=False)


class backend:
    """Compute on another library: numpy arrays in, numpy arrays out.

    A context manager and a decorator (of functions and coroutine functions). Inside it every public function moves the
    numpy arrays it is given, bare or in records, to the backend, and moves its results back to numpy. Arrays of another
    library win over the context. Contexts nest, and end with their block whatever happens in it.

    Parameters
    ----------
    name
        ``"numpy"``, ``"torch"``, ``"jax"``, ``"cupy"`` or any registered backend.
    device
        Where on it, as that library names devices: ``"cuda"``, ``"cuda:1"``, ``"cpu"``. Its default device otherwise.
    dtype
        The floating dtype to compute in, ``"float32"`` or ``"float64"``; otherwise that of each array. Integer and
        boolean arrays keep theirs.
    keep
        Leave results on the backend instead of moving them back. Inputs are copied then.

    Raises
    ------
    ValueError
        For an unknown backend, device or dtype.
    ImportError
        If the library is not installed; the sentence names the extra.

    Notes
    -----
    The setting is a context variable. Tasks of asyncio and ``asyncio.to_thread`` inherit it from where they are
    started; a plain ``threading.Thread`` and the threads of a ``ThreadPoolExecutor`` start outside of every context:
    enter it in the function that they run, or decorate that function.

    Not for arrays that already are on the backend: just pass them, no context is needed.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> cost = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> with eq.backend("numpy", dtype="float32"):
    ...     result = eq.transport.sinkhorn(cost, epsilon=0.5)
    >>> result.f.dtype
    dtype('float32')
    """

    def __init__(self, name: str, *, device: Any = None, dtype: Any = None, keep: bool = False) -> None:
        self.backend = find(name)
        known = self.backend.devices()
        if device is not None and not any(d == str(device) or d.startswith(f"{device}:") for d in known):
            raise ValueError(f"backend {name!r} has no device {device!r} here; it has {', '.join(known)}")
        self._device = device
        self._dtype = None if dtype is None else np.dtype(dtype).name
        if self._dtype not in (None, "float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        self._keep = keep

    def __enter__(self) -> backend:
        current.set(Setting(self.backend, self._device, self._dtype, self._keep, current.get()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        setting = current.get()
        current.set(setting.outer if setting is not None else None)

    def __call__(self, fn: F) -> F:
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(f"{fn.__name__} is a generator: it would run outside of the context; use `with` inside it")
        wrapper: Any
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await fn(*args, **kwargs)

        else:

            @functools.wraps(fn)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return fn(*args, **kwargs)

        return wrapper


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Run portable bodies only, without any backend's kernels: for tests, and to tell whether a kernel is to blame.

    Examples
    --------
    >>> import numpy as np
    >>> import equipoise as eq
    >>> with eq.portable():
    ...     result = eq.transport.sinkhorn(np.array([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.5)
    >>> result.converged
    True
    """
    before = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(before)
