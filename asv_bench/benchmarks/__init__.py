"""Benchmarks, run by asv: one folder a family, and what they share.

Every thread pool is held to one thread, here, because it has to happen before numpy is first imported: two threads of
BLAS on a busy machine cost more than they give, and a comparison means something only where both sides have the same.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # torch takes its own number from OMP_NUM_THREADS
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
