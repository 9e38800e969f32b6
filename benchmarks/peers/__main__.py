"""Command line: ``python -m benchmarks.peers``."""

from __future__ import annotations

import os

# One thread for everybody; thread pools read these when their packages are imported.
for _name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

from benchmarks.peers.cli import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
