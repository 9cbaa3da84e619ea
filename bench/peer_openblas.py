"""Peer: float32 matrix products by the OpenBLAS that NumPy brings along.

    echo 1280x576x576 | peer_openblas.py --threads 2

Answers each line "MxNxK" with the GFLOPS of y = x Wᵀ, best of the runs of 0.3 s.
"""

import argparse
import os
import sys
import time


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = str(a.threads)
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # it chooses by itself, for this processor
        os.environ.pop(name, None)
    import numpy as np

    random = np.random.default_rng(1)
    for line in sys.stdin:
        m, n, k = map(int, line.split("x"))
        x, w = random.standard_normal((m, k), dtype=np.float32), random.standard_normal((n, k), dtype=np.float32)
        y = np.empty((m, n), np.float32)
        np.matmul(x, w.T, out=y)
        best, spent = 0.0, 0.0
        while spent < 0.3:
            begin = time.perf_counter()
            np.matmul(x, w.T, out=y)
            took = time.perf_counter() - begin
            spent += took
            best = max(best, 2e-9 * m * n * k / took)
        print(best, flush=True)


if __name__ == "__main__":
    main()
