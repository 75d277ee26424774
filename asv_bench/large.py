"""Least squares of a file larger than memory, through dask: time, passes over the file, and peak memory.

Run ``python asv_bench/large.py --gigabytes 4 --folder DIR``. It writes a float64 file of that size and one of
right-hand sides to DIR, solves it with each method in a fresh process, compares with a QR factorisation that is
updated chunk by chunk, and deletes the files. Chunks are opened inside the tasks and closed with them, so that pages of
the map do not stay in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # chunks are shared among threads, not sums

import numpy as np  # noqa: E402

HEAD = ("method", "rows of S", "s", "passes", "corrections", "peak MB (idle)", "error", "far from QR", "in the bounds")
READS: Counter[str] = Counter()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of A")
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--condition", type=float, default=1e2, help="of A")
    parser.add_argument("--noise", type=float, default=1.0, help="standard deviation in b")
    parser.add_argument("--chunk", type=float, default=48.0, help="megabytes of a chunk")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epsilon", type=float, default=0.2)
    parser.add_argument("--methods", nargs="+", default=["sketch_solve", "cholesky_qr"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--solve", help=argparse.SUPPRESS)
    return parser.parse_args()


def sizes(given: argparse.Namespace) -> tuple[int, int]:
    """Rows of A and of a chunk."""
    row = 8 * given.columns
    return int(given.gigabytes * 2**30) // row + 1, max(1, int(given.chunk * 2**20) // row)


def cuts(given: argparse.Namespace) -> list[tuple[int, int]]:
    """Where the chunks begin and end."""
    n, rows = sizes(given)
    return [(start, min(n, start + rows)) for start in range(0, n, rows)]


def rows_of(path: Path, start: int, stop: int, columns: int) -> Any:
    """Some rows of a file; they are unmapped when nobody holds them."""
    READS[path.name] += 1
    return np.memmap(path, np.float64, "r", offset=8 * start * columns, shape=(stop - start, columns))


def write(given: argparse.Namespace, folder: Path) -> None:
    """A = G T with G normal and T of the wanted condition; b = A x0 + noise."""
    rng, d = np.random.default_rng(0), given.columns
    left, right = (np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2))
    T = left * np.geomspace(1.0, 1.0 / given.condition, d) @ right
    x0 = rng.normal(size=d)
    with (folder / "A").open("wb") as A, (folder / "b").open("wb") as b:
        for start, stop in cuts(given):
            rows = rng.normal(size=(stop - start, d)) @ T
            rows.tofile(A)
            (rows @ x0 + given.noise * rng.normal(size=stop - start)).tofile(b)


def reference(given: argparse.Namespace, folder: Path) -> Any:
    """x by a QR factorisation to which rows are added."""
    d = given.columns
    R = np.zeros((0, d + 1))
    for start, stop in cuts(given):
        rows = np.hstack([rows_of(folder / "A", start, stop, d), rows_of(folder / "b", start, stop, 1)])
        R = np.linalg.qr(np.vstack([R, rows]), mode="r")
    return np.linalg.solve(R[:d, :d], R[:d, d])


def block(path: str, columns: int, block_info: Any = None) -> Any:
    (start, stop), _ = block_info[None]["array-location"]
    return rows_of(Path(path), start, stop, columns)


def solve(given: argparse.Namespace, folder: Path, method: str) -> None:
    """One method, in this process; what it took goes to the standard output."""
    import dask
    import dask.array as da

    import equipoise as eq

    rows = tuple(stop - start for start, stop in cuts(given))

    def array(name: str, columns: int) -> Any:
        settings = {"dtype": float, "meta": np.zeros((0, 0))}
        return da.map_blocks(block, str(folder / name), columns, chunks=(rows, (columns,)), **settings)

    A, b = array("A", given.columns), array("b", 1)[:, 0]
    epsilon = {"epsilon": given.epsilon} if method == "sketch_solve" else {}
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=given.threads):
        result = eq.sketch.lstsq(A, b, method=method, **epsilon)
    seconds = time.perf_counter() - start
    bound = [] if result.deviation is None else list(map(float, result.coordinate_bound()))
    told = {
        "x": list(map(float, result.x)),
        "bound": bound,
        "method": result.method,
        "rows": result.sketch_rows,
        "seconds": seconds,
        "passes": READS["A"] / len(rows),
        "corrections": int(result.steps),
        "error": float(result.error),
        "residual_norm": float(result.residual_norm),
        "idle": idle,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(told))


def main() -> None:
    given = options()
    if given.solve:
        solve(given, given.folder, given.solve)
        return
    n, rows = sizes(given)
    print(
        f"A: {n} x {given.columns}, {8 * n * given.columns / 2**30:.2f} GB, condition {given.condition:g}, chunks of "
        f"{rows} rows, {given.threads} threads"
    )
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        start = time.perf_counter()
        write(given, folder)
        written = time.perf_counter()
        x = reference(given, folder)
        print(f"written in {written - start:.0f} s; QR by chunks took {time.perf_counter() - written:.0f} s")
        print("| " + " | ".join(HEAD) + " |")
        print("| --- " * len(HEAD) + "|")
        for method in given.methods:
            again = [sys.executable, __file__, *sys.argv[1:], "--folder", name, "--solve", method]
            told = json.loads(subprocess.run(again, check=True, capture_output=True, text=True).stdout)
            far = np.abs(np.array(told["x"]) - x)
            inside = f"{np.mean(far <= np.array(told['bound'])):.0%}" if told["bound"] else "-"
            print(
                f"| {told['method']} | {told['rows']} | {told['seconds']:.1f} | {told['passes']:g} | "
                f"{told['corrections']} | {told['peak']:.0f} ({told['idle']:.0f}) | {told['error']:.2e} | "
                f"{np.linalg.norm(far) / np.linalg.norm(x):.2e} | {inside} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
