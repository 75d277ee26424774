from __future__ import annotations

from typing import Any


def sparse_sign(*args: Any, **settings: Any) -> Any:
    return NotImplemented


def sparse_sign_lift(*args: Any, **settings: Any) -> Any:
    return NotImplemented


def sparse_sign_entries(*args: Any, **settings: Any) -> Any:
    return NotImplemented
