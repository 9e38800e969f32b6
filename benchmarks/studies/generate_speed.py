"""How fast are traces generated?  python -m benchmarks.studies.generate_speed [--folder DIR]

Rows made in memory, and rows in a finished file: made, checked, digested, written, synced. Best of three.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from replay.sources.synthetic.generator import Generation

ROWS = 1 << 24
_STRETCH = 1 << 20
WORKLOADS = (
    "random", "sequential", "kpageflags", "page-idle", "compaction", "compaction-migrate", "pagetypeinfo", "damon",
    "isolation", "hibernation", "shuffle", "contiguous-alloc", "walks", "production", "dimm-storm", "soft-offline", "tasks",
)  # fmt: skip


def _best(function: Callable[[], None]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _made(generation: Generation, rows: int) -> None:
    for first in range(0, rows, _STRETCH):
        generation.stretch(first, _STRETCH)


def measure(name: str, folder: str, rows: int = ROWS) -> tuple[float, float]:
    """Return million rows per second made in memory, and written to a file."""
    generation = Generation(name, machine="server", events=rows)
    generation.columns()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "trace.arrow"
        return tuple(  # type: ignore[return-value]
            rows / 1e6 / _best(work)
            for work in (lambda: _made(generation, rows), lambda: generation.write(path) and None)
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", default=None, help="where the files are written; a disk of its own decides what is measured"
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    sys.stdout.write("| workload | M rows/s made | M rows/s in a file |\n|---|---:|---:|\n")
    for each in WORKLOADS:
        made, written = measure(each, given.folder, given.rows)
        sys.stdout.write(f"| `{each}` | {made:.0f} | {written:.0f} |\n")
        sys.stdout.flush()
