"""The list of backends for this family: bodies that jax compiles are those of ``jax-jit``, and are compiled once."""

from __future__ import annotations

import pytest

from ..backends import CASES, Case


@pytest.fixture(params=[case for case in CASES if case.name != "jax-portable"], ids=lambda case: case.name)
def on(request: pytest.FixtureRequest) -> Case:
    """Every backend in turn."""
    case: Case = request.param
    if case.missing:
        pytest.skip(case.missing)
    return case
