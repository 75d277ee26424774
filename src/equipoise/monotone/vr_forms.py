"""The forms of variance-reduced Halpern iteration: which steps with which constants.

Each gives the state and the task of its chunk kernel at the start, and the probability of a new residual at a step.
"""

from __future__ import annotations

import math
from typing import Any

from ..record import plain
from . import forb, page
from .anchored import NEVER, factor_of
from .checks import checked_constant, first_image, known_constant
from .draws import plan

__all__ = ["FORMS"]

INNER = 0.05  # of n + sqrt(n) (c L + 1) inner steps, times log(k + 2): as in the authors' experiments

Start = tuple[Any, Any, float]


def published(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> Start:
    """Algorithm 1 of the paper."""
    n = int(plain(summed).n)
    root = math.sqrt(n)
    L = checked_constant(given["mean_lipschitz"], summed, "mean_lipschitz", "schedule='theory'")
    full = known_constant(given["lipschitz"], summed, "lipschitz")
    p, first = given["refresh"], 0
    if p is None:
        p, first = 4.0 / (root + 5.0), math.floor(root) + 1
    draws = plan(float(p), int(given["batch"] or math.ceil(root)), key, u0)
    scale = 1.0 / (L if full is None else full)
    task = page.PageTask(summed, resolvent, NEVER, scale, draws, given["budget"], "inner", first, False)
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    step = 0.25 / L if given["step"] is None else given["step"]
    return page.begin(u0, image, task, step), task, float(p)


def practical(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> Start:
    """The restarted form, with the step of the whole operator; half of the calls are those of refreshes."""
    n = int(plain(summed).n)
    root = math.sqrt(n)
    L = checked_constant(given["lipschitz"], summed, "lipschitz", "schedule='restarted'")
    p = float(0.5 / root if given["refresh"] is None else given["refresh"])
    draws = plan(p, int(given["batch"] or math.ceil(root / 4.0)), key, u0)
    factor = factor_of(given["restart"])
    task = page.PageTask(summed, resolvent, factor, 1.0 / L, draws, given["budget"], "scaled")
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    step = 2.0 / L if given["step"] is None else given["step"]
    return page.begin(u0, image, task, step), task, p


def nested(summed: Any, resolvent: Any, u0: Any, key: Any, given: dict[str, Any]) -> Start:
    """Algorithm 2 of the paper, with or without restarts."""
    n = int(plain(summed).n)
    root = math.sqrt(n)
    L = checked_constant(given["mean_lipschitz"], summed, "mean_lipschitz", "mode='lipschitz'")
    full = known_constant(given["lipschitz"], summed, "lipschitz")
    p = float(1.0 / n if given["refresh"] is None else given["refresh"])
    c = root / L
    gamma = given["step"]
    if gamma is None:
        gamma = math.sqrt(p * (1.0 - p)) / (2.0 * (root + 1.0))  # c L = sqrt(n)
        if gamma == 0.0:
            raise ValueError("with refresh=1, or a single component, the default step is 0: pass step")
    share = INNER if given["inner"] is None else given["inner"]
    length = share * (n + root * (root + 1.0))
    factor = factor_of(given["restart"] if given["schedule"] == "restarted" else None)
    scale = 1.0 / (L if full is None else full)
    draws = plan(p, int(given["batch"] or 1), key, u0)
    task = forb.ForbTask(summed, resolvent, factor, scale, c, gamma, 1.0 - p, length, draws, given["budget"])
    image = first_image(plain(summed).full(u0), u0, "finite_sum.full")
    return forb.begin(u0, image, task), task, min(p, 0.2 / length)


FORMS = {
    "theory": (page.page_chunk, published),
    "restarted": (page.page_chunk, practical),
    "lipschitz": (forb.forb_chunk, nested),
}
