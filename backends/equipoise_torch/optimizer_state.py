"""What :class:`PSGD` stores: settings as numbers and words, states as tensors by name, and both of them back.

A checkpoint is read with ``weights_only=True`` then, without importing anything of this package.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch

from equipoise.checks import number
from equipoise.precondition import Annealed, Psgd
from equipoise.precondition import psgd as settings_of
from equipoise.precondition.checks import check_number
from equipoise.precondition.states import (
    DenseState,
    DiagonalState,
    KroneckerState,
    LowRankState,
    ScaledState,
    XmatState,
)
from equipoise.record import parts, rebuild

__all__ = ["fitting", "made", "packed", "plain_number", "plain_settings", "resting", "shadow", "unpacked"]

STATES: dict[str, Any] = {
    "dense": DenseState,
    "diagonal": DiagonalState,
    "kronecker": KroneckerState,
    "low_rank": LowRankState,
    "scaled": ScaledState,
    "xmat": XmatState,
}


def resting(p: torch.Tensor) -> torch.Tensor:
    """A tensor like the state of a parameter."""
    return torch.empty_like(p, dtype=resting_dtype(p), requires_grad=False)


def resting_dtype(p: torch.Tensor) -> torch.dtype:
    """That of the state of a parameter."""
    return torch.float32 if p.element_size() <= 2 else p.dtype


def shadow(p: torch.Tensor, group: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state that a parameter will get without its numbers: the checks, shapes and dtypes; empty without entries."""
    return shadow_once(fitting(group["preconditioner"], p), p.shape, resting_dtype(p)) if p.numel() else {}


@functools.lru_cache(4096)
def shadow_once(settings: Psgd, shape: torch.Size, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    like = torch.empty(shape, dtype=dtype, device="meta")
    return {"step": torch.tensor(0), "momentum": like, **packed(settings.init(like))}


def plain_settings(p: Any) -> dict[str, Any]:
    """The settings of a preconditioner as a dict of numbers and words."""
    if isinstance(p, dict):
        made(p)
        return p
    if not isinstance(p, Psgd):
        raise TypeError(f"preconditioner must be what psgd() returns, got {type(p).__name__}")
    values = dict(zip(type(p)._static, parts(p)[1], strict=True))  # type: ignore[attr-defined]
    if isinstance(p.step, Annealed):
        values["step"] = [p.step.start, p.step.half_life, p.step.floor]
    return values


def plain_number(name: str, x: Any, demand: str) -> float:
    """The value of a number that is not negative, also of one in an array."""
    value = number(name, x)
    return check_number(name, x if value is None else value, demand, 0.0)


def fitting(values: Any, p: torch.Tensor) -> Psgd:
    """Settings for one parameter: no rank is larger than it."""
    settings = made(values)
    return replace(settings, rank=p.numel()) if 0 < p.numel() < settings.rank else settings


def made(values: Any) -> Psgd:
    """The settings that :func:`plain_settings` took apart, or that somebody put into a group as they are."""
    if isinstance(values, Psgd):
        return values
    return made_once(tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()))


@functools.cache
def made_once(items: tuple[tuple[str, Any], ...]) -> Psgd:
    values = dict(items)
    kind, step = values.pop("kind"), values.pop("step")
    return settings_of(kind, step=Annealed(*step) if isinstance(step, tuple) else step, **values)


def packed(state: Any) -> dict[str, torch.Tensor]:
    """The arrays of a state by name; ``Q.0``, ``Q.1`` for those that have one an axis."""
    entries: dict[str, torch.Tensor] = {}
    for name, x in zip(type(state)._data, parts(state)[0], strict=True):
        entries.update({f"{name}.{k}": y for k, y in enumerate(x)} if isinstance(x, tuple) else {name: x})
    return entries


def unpacked(kind: str, entries: dict[str, Any], numel: int) -> Any:
    """The state that :func:`packed` took apart."""
    cls = STATES[kind]

    def field(name: str) -> Any:
        if name in entries:
            return entries[name]
        count = sum(key.startswith(f"{name}.") for key in entries)
        return tuple(entries[f"{name}.{k}"] for k in range(count))

    return rebuild(cls, [field(name) for name in cls._data], [numel] * len(cls._static))
