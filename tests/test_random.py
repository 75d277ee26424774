from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.random import Stream, key, mulhi, normal, philox, signs, uniform, words_of

from .backends import Case

WORD = st.integers(0, 2**32 - 1)


def reference(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10 in Python's own whole numbers, after the paper."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def dtype_of(on: Case, name: str) -> Any:
    """The library's own dtype called `name`."""
    return on.array(np.zeros(1, dtype=name)).dtype


def pluses(x: np.ndarray) -> str:
    return "".join("+" if sign > 0 else "-" for sign in x)


# ---------------------------------------------------------------------------------------------------------------------
# Words

KNOWN = [  # Random123's test vectors: counter, key, words
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "keys", "words"), KNOWN)
def test_known_answers(on: Case, counter: str, keys: str, words: str) -> None:
    c0, c1, block, stream = (int(word, 16) for word in counter.split())
    k0, k1 = (int(word, 16) for word in keys.split())
    index = np.array([c0 + (c1 << 32)], dtype=np.uint64).view(np.int64)  # beyond 2^63 too: the bits count
    out = on.numpy(on.call(lambda i: philox(i, key=(k0, k1), block=block, stream=stream), index))
    assert [f"{word:08x}" for word in out[0]] == words.split()


@given(index=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=70), keys=st.tuples(WORD, WORD), c2=WORD, c3=WORD)
@pytest.mark.parametrize("portable", [False, True])
def test_words_are_those_of_the_paper(
    portable: bool, index: list[int], keys: tuple[int, int], c2: int, c3: int
) -> None:
    expected = [reference((i % 2**32, i >> 32, c2, c3), keys) for i in index]
    call = words_of.body if portable else words_of
    assert call(np.array(index), np.uint32(c2), keys, stream=c3).tolist() == expected


def test_the_same_bits_everywhere(on: Case) -> None:
    rng = np.random.default_rng(3)
    index, blocks = rng.integers(0, 2**63, size=(7, 1)), rng.integers(0, 2**32, size=(33,))
    expected = [[reference((i % 2**32, i >> 32, b, 2), (8, 9)) for b in blocks.tolist()] for i in index[:, 0].tolist()]
    out = on.call(lambda i, b: philox(i, key=(8, 9), block=b, stream=Stream.SPARSE_SIGN), index, blocks)
    assert on.numpy(out).tolist() == expected
    assert on.numpy(out).dtype == np.int64


@pytest.mark.parametrize("shape", [(), (0,), (65,), (2, 3, 1)])
def test_shapes_and_integer_dtypes(on: Case, shape: tuple[int, ...]) -> None:
    index = np.arange(int(np.prod(shape))).reshape(shape).astype("uint8" if len(shape) == 3 else "int32")
    out = on.numpy(on.call(lambda i: philox(i, key=(1, 2)), index))
    assert out.shape == (*shape, 4)
    assert out.reshape(-1, 4).tolist() == [reference((i, 0, 0, 0), (1, 2)) for i in range(index.size)]


def test_any_part_is_made_alone() -> None:
    whole = philox(np.arange(1000) + 5_000_000_000, key=(1, 2))
    assert np.array_equal(whole[300:417], philox(np.arange(300, 417) + 5_000_000_000, key=(1, 2)))


def test_jax_does_not_compile_for_every_seed() -> None:
    from equipoise_jax import _compiled

    run = _compiled(words_of.body, (("stream", 0),))
    philox(jax.numpy.arange(11), key=(1, 2))
    before = run._cache_size()
    for seed in (2**31, 2**64 - 1):
        philox(jax.numpy.arange(11), key=key(seed), block=2**32 - 1)
    assert run._cache_size() == before


@pytest.mark.parametrize(
    ("error", "sentence", "call"),
    [
        (TypeError, "index must be an array of int, got int", lambda: philox(3, key=(0, 0))),
        (TypeError, "index must be an array of int, got list", lambda: philox([3], key=(0, 0))),
        (TypeError, "index must hold whole numbers, got dtype float64", lambda: philox(np.zeros(2), key=(0, 0))),
        (TypeError, "block must hold whole numbers", lambda: philox(np.arange(2), key=(0, 0), block=np.zeros(2))),
        (TypeError, "block must hold whole numbers", lambda: philox(np.arange(2), key=(0, 0), block=1.0)),
        (ValueError, r"block must be in \[0, 2\^32\), got -1", lambda: philox(np.arange(2), key=(0, 0), block=-1)),
        (ValueError, r"stream must be in \[0, 2\^32\)", lambda: philox(np.arange(2), key=(0, 0), stream=2**32)),
        (ValueError, r"key must be in \[0, 2\^32\)", lambda: philox(np.arange(2), key=(0, 2**32))),
        (TypeError, "numpy and torch", lambda: philox(np.arange(2), key=(0, 0), block=torch.arange(2))),
    ],
)
def test_bad_counters(error: type[Exception], sentence: str, call: Any) -> None:
    with pytest.raises(error, match=sentence):
        call()


# ---------------------------------------------------------------------------------------------------------------------
# Keys


def test_an_int_is_the_key() -> None:
    assert key(0) == (0, 0)
    assert key(2**64 - 1) == (2**32 - 1, 2**32 - 1)
    assert key(np.int32(5)) == key(5) == (5, 0)  # type: ignore[arg-type]


def test_a_generator_gives_one_draw() -> None:
    rng, twin = np.random.default_rng(4), np.random.default_rng(4)
    low, high = key(rng)
    assert low + (high << 32) == int(twin.integers(2**64, dtype=np.uint64))
    assert rng.random() == twin.random()


@pytest.mark.parametrize("rng", [None, 1.0, "1", True, np.random, (1, 2)])
def test_no_other_kind_of_seed(rng: Any) -> None:
    with pytest.raises(TypeError, match=r"rng must be an int in \[0, 2\^64\) or a numpy\.random\.Generator, got"):
        key(rng)


@pytest.mark.parametrize("rng", [-1, 2**64])
def test_seeds_out_of_range(rng: int) -> None:
    with pytest.raises(ValueError, match=rf"rng must be in \[0, 2\^64\), got {rng}"):
        key(rng)


def test_global_state_is_left_alone() -> None:
    before, of_torch = np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002
    key(np.random.default_rng(1))
    normal(philox(torch.arange(5), key=(1, 2)), torch.float64)
    normal(philox(np.arange(5), key=(1, 2)), np.float64)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(of_torch, torch.get_rng_state())


# ---------------------------------------------------------------------------------------------------------------------
# What is made of words: the layout of the streams, as the specification of the sketches pins it


def test_signs_of_the_srht(on: Case) -> None:
    out = on.call(
        lambda i: signs(philox(i, key=key(0), stream=Stream.SRHT_SIGNS), dtype_of(on, "int64")), np.arange(32)
    )
    flat = on.numpy(out).reshape(-1)
    assert pluses(flat[:16]) == "-+-+-+--+++-+---"
    assert flat.sum() == 8
    words = philox(np.arange(32), key=key(0))
    for i in (0, 31, 32, 77, 128, 4095):
        assert flat[i] == 1 - 2 * ((words[i >> 7, (i >> 5) & 3] >> (i & 31)) & 1)


@pytest.mark.parametrize(
    ("seed", "n", "m", "rows"),
    [
        (0, 1024, 8, [22, 137, 382, 465, 628, 680, 817, 973]),
        (2026, 1024, 10, [66, 192, 232, 314, 498, 515, 632, 719, 861, 989]),
    ],
)
def test_sampled_rows_of_the_srht(on: Case, seed: int, n: int, m: int, rows: list[int]) -> None:
    edges = np.arange(m + 1) * n // m

    def sample(k: Any, low: Any, width: Any) -> Any:
        words = philox(k, key=key(seed), stream=Stream.SRHT_ROWS)
        return low + mulhi(words, width)

    padded = np.pad(edges, (0, -(m + 1) % 4 + 1), mode="edge")
    quads = -(-m // 4)
    low, width = (x[: 4 * quads].reshape(quads, 4) for x in (padded[:-1], np.diff(padded)))
    out = on.numpy(on.call(sample, np.arange(quads), low, width))
    assert out.reshape(-1)[:m].tolist() == rows


@pytest.mark.parametrize(
    ("seed", "m", "s", "row", "rows", "plus_and_minus"),
    [
        (0, 32, 8, 0, [3, 6, 11, 15, 18, 22, 25, 29], "+-++++--"),
        (2026, 96, 4, 5_000_000_000, [22, 35, 66, 76], "++++"),
    ],
)
def test_sparse_signs(on: Case, seed: int, m: int, s: int, row: int, rows: list[int], plus_and_minus: str) -> None:
    def draw(index: Any, blocks: Any) -> tuple[Any, Any]:
        words = philox(index, key=key(seed), block=blocks, stream=Stream.SPARSE_SIGN)
        return mulhi(words, m // s), 1 - 2 * (words & 1)

    places, sign = on.numpy(on.call(draw, np.array([row]), np.arange(s // 4)))
    assert (np.arange(s) * (m // s) + places.reshape(-1)).tolist() == rows
    assert pluses(sign.reshape(-1)) == plus_and_minus


def test_streams_are_distinct() -> None:
    assert [int(stream) for stream in Stream] == list(range(13))


@given(words=st.lists(WORD, min_size=1, max_size=9), k=st.integers(1, 2**32))
def test_mulhi_is_exact(words: list[int], k: int) -> None:
    expected = [w * k >> 32 for w in words]
    assert mulhi(np.array(words), k).tolist() == expected
    assert mulhi(torch.tensor(words), k).tolist() == expected
    assert mulhi(np.array(words), np.full(len(words), k)).tolist() == expected


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_uniform_numbers_are_the_same_and_never_0_or_1(on: Case, name: str) -> None:
    words = np.concatenate([np.array([0, 1, 2**32 - 1, 2**31]), philox(np.arange(500), key=(1, 2)).reshape(-1)])
    out = on.numpy(on.call(lambda w: uniform(w, dtype_of(on, name)), words))
    bits = 32 if name == "float64" else 23
    exact = ((words >> (32 - bits)) + 0.5) / 2.0**bits
    assert out.dtype == name
    assert np.array_equal(out.astype(np.float64), exact)
    assert out.min() > 0
    assert out.max() < 1


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_normal_numbers_agree_to_four_units_in_the_last_place(on: Case, name: str) -> None:
    words = philox(np.arange(30_000), key=(1, 2), stream=Stream.GAUSSIAN)
    words[:2] = [[0, 0, 2**32 - 1, 2**32 - 1], [2**31, 2**30, 2**32 - 1, 2**31]]  # the ends and the quarter turns
    out = on.numpy(on.call(lambda w: normal(w, dtype_of(on, name)), words))
    expected = normal(words, np.dtype(name))
    assert out.dtype == name
    assert np.max(np.abs(out - expected) / np.spacing(np.abs(expected))) <= 4
    u = uniform(words, np.dtype(name)).astype(np.float64)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0::2])), 2 * np.pi * u[:, 1::2]
    formula = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(words.shape)
    assert np.max(np.abs(out - formula)) < 16 * np.finfo(name).eps


def test_laws() -> None:
    words = philox(np.arange(50_000), key=key(11), stream=Stream.DIRECTIONS)
    for dtype in (np.float64, np.float32):
        assert stats.kstest(normal(words, dtype).reshape(-1), "norm").pvalue > 1e-3
        assert stats.kstest(uniform(words, dtype).reshape(-1), "uniform").pvalue > 1e-3
    x = normal(words, np.float64)
    assert np.abs(np.corrcoef(x.T) - np.eye(4)).max() < 0.02
    assert abs(signs(words, np.int8).mean(dtype=np.float64)) < 1e-3
    counts = np.bincount(mulhi(words, 10).reshape(-1), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="dtype must be float64 or float32, got"):
        uniform(np.arange(3), np.int64)


# ---------------------------------------------------------------------------------------------------------------------
# jax without 64-bit numbers, in a process of its own: the flag is global

NARROW = """
import sys, jax, jax.numpy as jnp, numpy as np
assert not jax.config.jax_enable_x64
from equipoise.random import Stream, key, mulhi, normal, philox, signs, uniform
index, blocks = jnp.asarray(np.load(sys.argv[1]))[:, None], jnp.arange(5)
def everything(index, blocks):
    words = philox(index, key=key(2**63 + 12345), block=blocks, stream=Stream.GAUSSIAN)
    return {
        "words": words,
        "last": philox(index, key=(2**32 - 1,) * 2, block=2**32 - 1),
        "mulhi": mulhi(words, 2**31 - 1),
        "ranges": mulhi(words, 1 + index[..., None]),
        "signs": signs(words, jnp.float32),
        "uniform": uniform(words, jnp.float32),
        "normal": normal(words, jnp.float32),
    }
for compiled, name in ((everything, "plain"), (jax.jit(everything), "jit")):
    out = compiled(index, blocks)
    assert out["words"].dtype == "uint32" and out["mulhi"].dtype == "int32"
    np.savez(f"{sys.argv[2]}/{name}.npz", **out)
try:
    uniform(out["words"], jnp.float64)
except TypeError as error:
    assert "jax_enable_x64" in str(error)
else:
    raise AssertionError("float64 should have been refused")
"""


def test_jax_without_64_bits_gives_the_same_numbers(tmp_path: Path) -> None:
    index = np.concatenate([np.random.default_rng(0).integers(0, 2**31, 300), [0, 2**31 - 2]]).astype(np.int32)
    np.save(tmp_path / "index.npy", index)
    environment = {**os.environ, "JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-W", "error", "-c", NARROW, str(tmp_path / "index.npy"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wide, blocks = index.astype(np.int64)[:, None], np.arange(5)
    words = philox(wide, key=key(2**63 + 12345), block=blocks, stream=Stream.GAUSSIAN)
    expected = {
        "words": words,
        "last": philox(wide, key=(2**32 - 1,) * 2, block=2**32 - 1),
        "mulhi": mulhi(words, 2**31 - 1),
        "ranges": mulhi(words, 1 + wide[..., None]),
        "signs": signs(words, np.float32),
        "uniform": uniform(words, np.float32),
    }
    for name in ("plain", "jit"):
        with np.load(tmp_path / f"{name}.npz") as out:
            for what, numbers in expected.items():
                assert np.array_equal(out[what], numbers), what
            gauss = normal(words, np.float32)
            assert np.max(np.abs(out["normal"] - gauss) / np.spacing(np.abs(gauss))) <= 4
