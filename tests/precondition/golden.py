"""Fifty steps of every kind and of the torch wrapper: what comes out is stored, so that a change of defaults is seen.

``python -m tests.precondition.golden`` writes the file anew; a new file needs a line in the changelog.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from equipoise_torch import PSGD

from equipoise.precondition import psgd

FILE = Path(__file__).with_name("golden.json")
STEPS, SHAPE = 50, (3, 4)
FORMS = ("eq", "quad", "procrustes", "qeq")
SETTINGS = [("dense", form) for form in FORMS] + [("kronecker", form) for form in FORMS]
SETTINGS += [(kind, "quad") for kind in ("low_rank", "diagonal", "scaled", "xmat")]


def kinds() -> dict[str, list[float]]:
    """P g after fifty pairs, defaults but for the rank."""
    rng, found = np.random.default_rng(11), {}
    scales = np.exp(rng.standard_normal(SHAPE))
    V, g = rng.standard_normal((STEPS, *SHAPE)), rng.standard_normal(SHAPE)
    H = scales * V + 0.1 * np.roll(V, 1, axis=1)
    for kind, form in SETTINGS:
        p = psgd(kind, form=form, rank=2)
        found[f"{kind} {form}"] = p.apply(p.sweep(p.init(g, rng=5), V, H), g).ravel().tolist()
    return found


def wrapped() -> dict[str, list[float]]:
    """Parameters after fifty steps, defaults but for the rank."""
    found, target = {}, torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(SHAPE)
    for kind, form in SETTINGS:
        for pairs in ("whitening", "hessian"):
            x = torch.ones(SHAPE, dtype=torch.float64, requires_grad=True)
            settings = psgd(kind, form=form, rank=2)
            optimizer = PSGD([x], 0.05, preconditioner=settings, pairs=pairs, hvp="exact", seed=2)
            for _ in range(STEPS):

                def closure(x: Any = x, pairs: str = pairs, optimizer: PSGD = optimizer) -> Any:
                    loss = ((x - target) ** 2 * torch.arange(1, 5)).sum() + (x.sum() ** 2) / 2
                    if pairs == "whitening":
                        optimizer.zero_grad()
                        loss.backward()
                    return loss

                optimizer.step(closure)
            found[f"{kind} {form} {pairs}"] = x.detach().ravel().tolist()
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps({"kinds": kinds(), "wrapped": wrapped()}, indent=0) + "\n")
