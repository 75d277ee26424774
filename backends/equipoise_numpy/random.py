"""numba kernel of the random words: the ten rounds in vector registers, 64 counters at a time.

A product of two 32-bit words fits into uint64, so that a round is two multiplications, where the portable body needs
four and a temporary array for every operation. Counters do not depend on each other, but the compiler makes vectors of
them only if its innermost loop runs over counters: over tiles that stay in the first-level cache, two rounds a pass.
That is three times as fast as one counter after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled import njit
from .views import plain

__all__ = ["philox"]

TILE = 64
ROUNDS = 10
MASK = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@njit(cache=True)
def one_round(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """All of it is uint64, since numba makes a float of uint64 and int64."""
    p0, p1 = M0 * (c0 & MASK), M1 * (c2 & MASK)  # the masks tell the compiler that 32-bit multiplication will do
    return (p1 >> HALF) ^ c1 ^ k0, p1 & MASK, (p0 >> HALF) ^ c3 ^ k1, p0 & MASK


@njit(cache=True)
def fill(index, block, step, stream, k0, k1, out):  # type: ignore[no-untyped-def]
    """Words for every index; its block is ``block[step * i]``."""
    tile = np.empty((4, TILE), dtype=np.uint64)
    c0, c1, c2, c3 = tile[0], tile[1], tile[2], tile[3]
    for start in range(0, index.size, TILE):
        count = min(TILE, index.size - start)
        for j in range(count):
            c0[j], c1[j], c2[j], c3[j] = index[start + j], index[start + j] >> HALF, block[step * (start + j)], stream
        a0, a1 = k0, k1
        for _ in range(ROUNDS // 2):
            b0, b1 = (a0 + W0) & MASK, (a1 + W1) & MASK
            for j in range(TILE):
                x0, x1, x2, x3 = one_round(c0[j], c1[j], c2[j], c3[j], a0, a1)
                c0[j], c1[j], c2[j], c3[j] = one_round(x0, x1, x2, x3, b0, b1)
            a0, a1 = (b0 + W0) & MASK, (b1 + W1) & MASK
        for j in range(count):
            out[start + j, 0], out[start + j, 1], out[start + j, 2], out[start + j, 3] = c0[j], c1[j], c2[j], c3[j]


def philox(index: Any, block: Any = 0, key: Any = (0, 0), *, stream: int = 0) -> Any:
    """Override of ``random.philox``."""
    block = np.asarray(block)
    shape = np.broadcast_shapes(index.shape, block.shape)
    out = np.empty((*shape, 4), dtype=np.int64)
    blocks = _flat(block, shape if block.ndim else (1,))
    settings = np.uint64(stream), np.uint64(key[0]), np.uint64(key[1])
    fill(_flat(index, shape), blocks, 1 if block.ndim else 0, *settings, out.reshape(-1, 4).view(np.uint64))
    return out


def _flat(x: Any, shape: tuple[int, ...]) -> Any:
    return plain(np.broadcast_to(x, shape), dtype=np.int64).reshape(-1).view(np.uint64)
