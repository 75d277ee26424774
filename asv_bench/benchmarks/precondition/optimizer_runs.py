"""Runs of optimizers, and the walk on a grid that finds their rates.

All take the same schedule: constant, and from the middle on down to zero in a line. The clock stops while we judge.
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from dataclasses import replace
from typing import Any

from .optimizer_methods import LOOKS, Method, Run
from .optimizer_problems import Params, Problem, backward

__all__ = ["least", "run", "tuned"]

TUNING = 100  # the seed on which rates are found


def run(problem: Problem, method: Method, lr: float, knob: float, seed: int) -> Run:
    """One run of a method from its own start with its own noise."""
    if method.whole is not None:
        return method.whole(problem, lr, knob, seed)
    params = problem.start(seed)
    optimizer = method.make(params, lr, knob, seed)
    budget = problem.budget * method.times
    if method.exact:
        return run_exact(problem, params, optimizer, budget)
    steps = budget // method.cost
    looks = {max(1, round(share * steps)) for share in LOOKS}
    excess, seconds = [], 0.0
    for k in range(steps):
        data = problem.batch(seed, k)
        begun = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2.0 * (1.0 - k / steps))
        if method.closure == "loss":
            optimizer.zero_grad()
            optimizer.step(functools.partial(problem.loss, params, data))
        elif method.closure == "backward":
            optimizer.step(functools.partial(backward, problem, params, data))
        else:
            backward(problem, params, data)
            optimizer.step()
        seconds += time.process_time() - begun
        if k + 1 in looks:
            excess.append(problem.excess(params))
            if not math.isfinite(excess[-1]):
                return Run((math.inf,) * len(LOOKS), seconds, k + 1)
    return Run(tuple(excess), seconds, budget)


def run_exact(problem: Problem, params: Params, optimizer: Any, budget: int) -> Run:
    """A method that takes all data, or no noise, each time: an evaluation counts as many gradients as data cost."""
    excess, used, begun = [math.nan] * len(LOOKS), 0.0, time.process_time()
    best = math.inf

    def closure() -> Any:
        nonlocal used, best
        used += problem.epoch
        loss = backward(problem, params, problem.all_data)
        if used <= budget:
            best = min(best, float(loss.detach()) - problem.least)
        for k, share in enumerate(LOOKS):
            if used <= share * budget:
                excess[k] = best
        return loss

    while used < budget:
        before = used
        optimizer.step(closure)
        if used - before <= problem.epoch:  # it takes no further step
            break
    return Run(tuple(excess), time.process_time() - begun, int(used))


def rate(place: int) -> float:
    """Two marks a decade: 0.01, 0.03, 0.1, ..."""
    return float(f"{10.0 ** (place / 2.0):.0e}")


def tuned(problem: Problem, method: Method) -> tuple[float, float]:
    """Walk along the rates as long as they get better, then try the other knob at the best one."""
    if method.exact:
        return 1.0, method.knobs[0]

    shorter = replace(problem, budget=problem.budget // 2)

    @functools.cache
    def tried(place: int, knob: float) -> float:
        last = run(shorter, method, rate(place), knob, TUNING).last
        return last if math.isfinite(last) else math.inf

    knob, best = method.knobs[0], round(2.0 * math.log10(method.first))
    while best > -8 and not math.isfinite(tried(best, knob)):
        best -= 1
    for way in (1, -1):
        moved = False
        while abs(best + way) <= 8 and tried(best + way, knob) < tried(best, knob):
            best, moved = best + way, True
        if moved:
            break
    if tried(best, method.knobs[1]) < tried(best, knob):
        knob = method.knobs[1]
    return rate(best), knob


def least(problem: Problem, method: Method, lr: float, knob: float, rounds: int = 2) -> Run:
    """A run with the least CPU time of some; losses are the same each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return min((run(problem, method, lr, knob, 0) for _ in range(rounds)), key=lambda done: done.seconds)
