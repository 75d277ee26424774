"""What an array is here, whose it is, and the two checks that every public function makes of it.

Work runs where the arrays are: :func:`namespace` reads the library off the arguments, once a call, and nothing in an
algorithm consults global state. `array_api_compat.array_namespace` answers the same question in 1 to 3 microseconds an
array; caching the answer on the type brings that to a tenth, which matters because kernels are dispatched by it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

__all__ = ["A", "Array", "is_floating", "library", "like", "namespace", "shape_text"]


@runtime_checkable
class Array(Protocol):
    """What we need of an array: the attributes and operators of the Python Array API.

    `numpy.ndarray`, `torch.Tensor`, `jax.Array` and `cupy.ndarray` satisfy it as they are. Operators return ``Any``:
    libraries disagree on how they type the result, and a function that takes ``A`` promises the same ``A`` back.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def ndim(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...


A = TypeVar("A", bound=Array)

_ROOTS = {"jaxlib": "jax"}  # a concrete jax array's type lives in jaxlib


def _name_library(cls: type) -> str:
    if issubclass(cls, np.ndarray):
        return "numpy"
    if issubclass(cls, np.generic):
        return ""  # a numpy scalar is a number
    if not all(hasattr(cls, name) for name in ("shape", "dtype", "__add__", "__getitem__")):
        return ""
    for base in cls.__mro__:  # a subclass of torch.Tensor is a torch array, whoever defined it
        root = base.__module__.partition(".")[0]
        root = _ROOTS.get(root, root)
        if root in ("torch", "jax", "cupy", "array_api_strict", "dask"):
            return root
    return cls.__module__.partition(".")[0] if hasattr(cls, "__array_namespace__") else ""


_library_of_type: Callable[[type], str] = functools.cache(_name_library)


def library(x: object) -> str:
    """Name the library that `x` is an array of; the empty string for whatever is not an array.

    Numbers and numpy scalars are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> library(np.zeros(3)), library(np.float64(1.0)), library([1.0])
    ('numpy', '', '')
    """
    return _library_of_type(type(x))


_namespaces: dict[str, Any] = {}


def namespace(*arrays: object) -> Any:
    """The Array API namespace that all `arrays` share; whatever is not an array is passed over.

    Raises
    ------
    TypeError
        If there is no array among the arguments, or if they come from two libraries.

    Examples
    --------
    >>> import numpy as np
    >>> namespace(np.zeros(3), None, 2.0).__name__
    'array_api_compat.numpy'
    """
    name = ""
    for x in arrays:
        other = _library_of_type(type(x))
        if other and other != name:
            if name:
                raise TypeError(
                    f"the arguments mix arrays of two libraries, {name} and {other}; convert one of them, "
                    "or pass numpy arrays inside `with equipoise.backend(...)`"
                )
            name = other
    if not name:
        given = ", ".join(sorted({type(x).__name__ for x in arrays if x is not None})) or "nothing"
        raise TypeError(f"expected an array (numpy, torch, jax, cupy or another Array API library), got {given}")
    try:
        return _namespaces[name]
    except KeyError:
        from array_api_compat import array_namespace

        first = next(x for x in arrays if library(x))
        return _namespaces.setdefault(name, array_namespace(first))


def like(x: Array) -> dict[str, Any]:
    """The ``dtype`` and ``device`` keywords that make a new array live where `x` does.

    jax takes no device: a tracer has none, and an array made without one follows the arrays it meets.

    Examples
    --------
    >>> import numpy as np
    >>> like(np.zeros(3, dtype="float32"))
    {'dtype': dtype('float32'), 'device': 'cpu'}
    """
    if library(x) == "jax":
        return {"dtype": x.dtype}
    if library(x) == "numpy":
        return {"dtype": x.dtype, "device": "cpu"}
    from array_api_compat import device

    return {"dtype": x.dtype, "device": device(x)}


def is_floating(x: Array) -> bool:
    """Whether `x` holds real floating-point numbers.

    Examples
    --------
    >>> import numpy as np
    >>> is_floating(np.zeros(3)), is_floating(np.arange(3))
    (True, False)
    """
    return bool(namespace(x).isdtype(x.dtype, "real floating"))


def shape_text(x: Array) -> str:
    """The shape of `x` as errors print it.

    Examples
    --------
    >>> import numpy as np
    >>> shape_text(np.zeros((3, 4)))
    '(3, 4)'
    """
    return str(tuple(x.shape))


def first_index(mask: Any) -> tuple[int, ...]:
    """The index of the first true entry of a boolean `mask`, in row-major order; reads values."""
    xp = namespace(mask)
    flat = int(xp.argmax(xp.astype(xp.reshape(mask, (math.prod(mask.shape),)), xp.int8)))
    return tuple(int(k) for k in np.unravel_index(flat, tuple(mask.shape)))
