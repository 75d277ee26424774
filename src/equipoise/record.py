"""Records: frozen dataclasses whose fields are arrays, other records, or plain settings.

Costs, operators, solver states and results are all records, so that one function, :func:`map_arrays`, moves any of them
between libraries, makes them pytrees under jax, and one pair, :func:`save` and :func:`load`, stores them. A field is
data unless it is declared ``static()``; data are traced, moved and differentiated, static settings are compared and
hashed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, dataclass_transform

import numpy as np

from .arrays import library
from .display import line, table
from .guide import point

__all__ = ["Opaque", "as_data", "fill", "leaves", "load", "map_arrays", "plain", "rebuild", "record", "save", "static"]

T = TypeVar("T")
C = TypeVar("C", bound=type)

_STATIC = "equipoise.static"
_classes: dict[str, type] = {}  # every record class by its qualified name: what `load` may build
_watchers: list[Callable[[type], None]] = []  # told of every record class: jax registers pytrees
_TREE_LIBRARIES = {"jax"}  # libraries with trees of their own, until their backend has been told


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """Declare a record's field to be a plain setting: hashable, never traced, moved or differentiated."""
    return dataclasses.field(default=default, metadata={_STATIC: True})


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(static, dataclasses.field))
def record(cls: C) -> C:
    """Make `cls` a record: a frozen dataclass of data and ``static()`` settings.

    A record whose fields are all static is compared by value and hashable; any other is compared by identity, since
    arrays do not compare to one truth. It is printed by the shapes of its arrays, unless `cls` says otherwise.

    Raises
    ------
    TypeError
        If a data field is annotated as text: a string can be neither moved nor traced, so it must be ``static()``.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.record import record, static
    >>> @record
    ... class Grid:
    ...     values: object
    ...     spacing: float = static(default=1.0)
    >>> Grid(np.zeros((30, 40)))
    Grid(values=float64 (30, 40), spacing=1)
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    fields = dataclasses.fields(made)
    made._static = tuple(f.name for f in fields if f.metadata.get(_STATIC))
    made._data = tuple(f.name for f in fields if not f.metadata.get(_STATIC))
    for f in fields:
        if f.name in made._data and f.type in (str, "str"):
            raise TypeError(f"{made.__name__}.{f.name} is text and so must be declared static()")
    if not made._data and "__eq__" not in cls.__dict__:
        made.__eq__ = lambda self, other: type(self) is type(other) and parts(self) == parts(other)
        made.__hash__ = lambda self: hash((type(self), parts(self)))
    if made.__repr__ is object.__repr__:
        made.__repr__ = lambda self: line(self, _printed(self))
        made._repr_html_ = lambda self: table(type(self).__name__, _printed(self))
    made.__init__ = _announcing(made.__init__)
    _classes[f"{made.__module__}:{made.__qualname__}"] = made
    for told in _watchers:
        told(made)
    return made


def _announcing(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, which first makes sure that a tree library imported meanwhile knows our records; errors name a page."""

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        if _TREE_LIBRARIES:
            for name in [name for name in _TREE_LIBRARIES if name in sys.modules]:
                from .backend import find

                _TREE_LIBRARIES.discard(name)
                find(name)
        try:
            init(self, *args, **kwargs)
        except (ValueError, TypeError) as error:
            point(error, type(self).__module__)
            raise

    return wrapper


def watch(told: Callable[[type], None]) -> None:
    """Call `told` with every record class, those made before and those still to come."""
    for cls in list(_classes.values()):
        told(cls)
    _watchers.append(told)


@record
class Opaque:
    """Somebody else's object, carried through as one static setting that is equal to itself only."""

    value: Any = static()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def as_data(x: Any) -> Any:
    """`x` itself where arrays can be found in it, else `x` wrapped as :class:`Opaque`."""
    if x is None or library(x) or _is_record(x) or isinstance(x, (tuple, list, dict, bool, int, float, complex)):
        return x
    return Opaque(x)


def plain(x: Any) -> Any:
    """The object that :func:`as_data` may have wrapped."""
    return x.value if isinstance(x, Opaque) else x


def _is_record_class(cls: type) -> bool:
    return "_data" in cls.__dict__ and dataclasses.is_dataclass(cls)


def _is_record(x: object) -> bool:
    return _is_record_class(type(x))


def rebuild(cls: type[T], data: Sequence[Any], settings: Sequence[Any]) -> T:
    """A record of class `cls` without its checks: under a tracer the fields hold no values to be checked."""
    made: Any = object.__new__(cls)
    for name, value in zip(made._data, data, strict=True):
        object.__setattr__(made, name, value)
    for name, value in zip(made._static, settings, strict=True):
        object.__setattr__(made, name, value)
    return made


def parts(x: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The data and the settings of a record, each in the order of its fields."""
    return tuple(getattr(x, n) for n in type(x)._data), tuple(getattr(x, n) for n in type(x)._static)


def _printed(x: Any) -> dict[str, Any]:
    """The fields of a record by name, but for those declared with ``field(repr=False)``."""
    return {f.name: getattr(x, f.name) for f in dataclasses.fields(x) if f.repr}


def map_arrays(fn: Callable[..., Any], tree: T, *more: Any) -> T:
    """Apply `fn` to every array in `tree`, with the arrays at the same places of `more`.

    Trees are arrays, records, tuples, named tuples, lists, dicts and whatever they hold; anything else is kept. A part
    in which nothing changed is the same object as before.
    """
    x: Any = tree
    if library(x):
        return fn(x, *more)
    if _is_record(x):
        old, settings = parts(x)
        new = tuple(map_arrays(fn, o, *(getattr(m, n) for m in more)) for o, n in zip(old, type(x)._data, strict=True))
        return x if _same(old, new) else rebuild(type(x), new, settings)
    if isinstance(x, (tuple, list)):
        items = [map_arrays(fn, o, *(m[i] for m in more)) for i, o in enumerate(x)]
        if _same(x, items):
            return tree
        made: Any = type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
        return made
    if isinstance(x, dict):
        values = [map_arrays(fn, o, *(m[k] for m in more)) for k, o in x.items()]
        return tree if _same(x.values(), values) else typing.cast(T, dict(zip(x, values, strict=True)))
    return tree


def _same(old: Any, new: Any) -> bool:
    return all(o is n for o, n in zip(old, new, strict=True))


def leaves(tree: Any) -> list[Any]:
    """Every array in `tree`, in order."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(x: Any, found: list[Any]) -> None:
    if library(x):
        found.append(x)
    elif _is_record(x):
        for name in type(x)._data:
            _collect(getattr(x, name), found)
    elif isinstance(x, (tuple, list)):
        for item in x:
            _collect(item, found)
    elif isinstance(x, dict):
        for item in x.values():
            _collect(item, found)


def fill(tree: T, values: Sequence[Any]) -> T:
    """`tree` with its arrays replaced by `values`, in the order of :func:`leaves`."""
    rest: Iterator[Any] = iter(values)
    return map_arrays(lambda _: next(rest), tree)


# ---------------------------------------------------------------------------------------------------------------------
# Storing


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Store a record (or a tuple, list or dict of them) in one ``.npz`` file: arrays and a JSON header, never code.

    Parameters
    ----------
    path
        The file; it is overwritten, and written under exactly this name.
    tree
        Arrays, records, and plain settings: numbers, text, booleans, None, tuples.

    Raises
    ------
    TypeError
        If something in `tree` is none of these; the sentence says where it stands.

    See Also
    --------
    load : the way back.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import equipoise as eq
    >>> result = eq.transport.sinkhorn(np.array([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     eq.save(os.path.join(folder, "plan.npz"), result)
    ...     again = eq.load(os.path.join(folder, "plan.npz"))
    >>> bool(np.all(again.plan() == result.plan()))
    True
    """
    import json

    from .backend import of

    arrays: list[np.ndarray[Any, Any]] = []

    def describe(x: Any, where: str) -> Any:
        if library(x):
            stored = of(x).to_numpy(x)
            if stored.dtype.kind not in "biufc" or not str(x.dtype).endswith(stored.dtype.name):
                raise TypeError(f"{where} holds {x.dtype}, which an .npz file cannot; convert it to float32 first")
            arrays.append(stored)
            return {"array": len(arrays) - 1}
        if x is None or isinstance(x, (bool, int, float, str)):
            return {"value": x.item() if isinstance(x, np.generic) else x}
        if isinstance(x, np.generic):
            return describe(np.asarray(x), where)
        if _is_record(x) and not isinstance(x, Opaque):
            cls = type(x)
            names = (*cls._data, *cls._static)
            fields = {n: describe(getattr(x, n), f"{where}.{n}") for n in names}
            return {"record": f"{cls.__module__}:{cls.__qualname__}", "fields": fields}
        if isinstance(x, (tuple, list)) and not hasattr(x, "_fields"):
            return {type(x).__name__: [describe(item, f"{where}[{i}]") for i, item in enumerate(x)]}
        if isinstance(x, dict) and all(isinstance(k, str) for k in x):
            return {"dict": {k: describe(item, f"{where}[{k!r}]") for k, item in x.items()}}
        raise TypeError(f"cannot store {where}: {type(x).__name__} is neither an array, a record nor a plain setting")

    header = json.dumps({"equipoise": 1, "tree": describe(tree, type(tree).__name__)})
    with open(path, "wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            header=np.frombuffer(header.encode(), dtype=np.uint8),
            **{f"array{i}": a for i, a in enumerate(arrays)},
        )


def load(path: str | os.PathLike[str], *, like: Any = None) -> Any:
    """Read back what :func:`save` stored.

    Parameters
    ----------
    path
        The file.
    like
        An array whose library and device the arrays shall have; numpy without it.

    Raises
    ------
    ValueError
        If the file was not written by :func:`save`, or names a record class that is not imported: only classes declared
        with ``@record`` are ever built, and nothing is imported outside this package.
    """
    import json

    from .backend import of

    with np.load(path, allow_pickle=False) as stored:
        if "header" not in stored:
            raise ValueError(f"{os.fspath(path)!r} was not written by equipoise.save: it has no header")
        header = json.loads(bytes(stored["header"]).decode())
        arrays = {name: stored[name] for name in stored.files if name != "header"}

    def build(spec: Any) -> Any:
        ((kind, value), *_) = spec.items()
        if kind == "array":
            array = arrays[f"array{value}"]
            return array if like is None else of(like).asarray(array, getattr(like, "device", None), None)
        if kind == "value":
            return value
        if kind in ("tuple", "list"):
            return {"tuple": tuple, "list": list}[kind](build(item) for item in value)
        if kind == "dict":
            return {k: build(item) for k, item in value.items()}
        cls: Any = _class(value)
        fields = {k: build(item) for k, item in spec["fields"].items()}
        if set(fields) != {*cls._data, *cls._static}:
            raise ValueError(f"{value} has other fields in this version: the file holds {sorted(fields)}")
        return rebuild(cls, [fields[n] for n in cls._data], [fields[n] for n in cls._static])

    return build(header["tree"])


def _class(name: str) -> type:
    module = name.partition(":")[0]
    if name not in _classes and module.partition(".")[0] == __name__.partition(".")[0]:
        __import__(module)
    if name not in _classes:
        raise ValueError(f"the file holds a record of class {name}; import its module {module} before loading")
    return _classes[name]
