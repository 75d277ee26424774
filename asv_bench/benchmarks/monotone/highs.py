"""HiGHS in a process of its own: ``program_peers.Worker`` starts this file as a script, and nothing imports it.

It reads a pickled problem from its standard input, and then for every further message solves it anew and answers with
the CPU seconds of the solve, the point, the multipliers, the steps and the status.
"""

from __future__ import annotations

import pickle
import sys
import time
from typing import Any

STEPS = {"ipm": "ipm_iteration_count", "simplex": "simplex_iteration_count", "pdlp": "pdlp_iteration_count"}


def model(data: dict[str, Any]) -> Any:
    """The problem as HiGHS takes it; it stores the entries that are not zero."""
    import highspy
    import numpy as np

    K, side = np.vstack([data["A"], data["G"]]), np.concatenate([data["b"], data["h"]])
    made, entries = highspy.HighsLp(), K != 0.0
    made.num_row_, made.num_col_ = K.shape
    made.col_cost_, made.col_lower_, made.col_upper_ = data["c"], data["lower"], data["upper"]
    made.row_lower_ = side
    made.row_upper_ = np.concatenate([data["b"], np.full(data["h"].size, np.inf)])
    made.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    made.a_matrix_.start_ = np.append(0, np.cumsum(entries.sum(axis=1))).astype(np.int32)
    made.a_matrix_.index_ = np.nonzero(entries)[1].astype(np.int32)
    made.a_matrix_.value_ = K[entries]
    return made


def solve(problem: Any, solver: str, tol: float) -> tuple[Any, ...]:
    """One solve from the start, timed without handing the problem over."""
    import highspy
    import numpy as np

    highs = highspy.Highs()
    options = {
        "output_flag": False,
        "threads": 1,
        "parallel": "off",
        "solver": solver,
        "run_crossover": "off",
        "ipm_optimality_tolerance": tol,
        "pdlp_optimality_tolerance": tol,
        "time_limit": 20.0,
    }
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(problem)
    start = time.process_time()
    highs.run()
    seconds = time.process_time() - start
    found, info = highs.getSolution(), highs.getInfo()
    status = highs.modelStatusToString(highs.getModelStatus()).lower()
    return seconds, np.array(found.col_value), np.array(found.row_dual), int(getattr(info, STEPS[solver])), status


def main() -> None:
    answers = sys.stdout.buffer
    solver, tol, data = pickle.load(sys.stdin.buffer)
    problem = model(data)
    while True:
        try:
            pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(solve(problem, solver, tol), answers)
        answers.flush()


if __name__ == "__main__":
    main()
