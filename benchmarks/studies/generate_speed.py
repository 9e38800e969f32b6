"""How fast are traces generated?  python -m benchmarks.studies.generate_speed [--folder DIR]

Rows made in memory, and rows in a finished file: made, checked, digested, written, synced. The best of five, by the
clock on the wall and by processor time (of all threads), which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from replay.sources.synthetic.generator import Generation

ROWS = 1 << 23
_ROUNDS = 5
_STRETCH = 1 << 20
WORKLOADS = (
    "random",
    "sequential",
    "kpageflags",
    "page-idle",
    "compaction",
    "pagetypeinfo",
    "damon",
    "isolation",
    "hibernation",
    "shuffle",
    "walks",
    "production",
    "dimm-storm",
    "tasks",
)


def _best(function: Callable[[], object]) -> tuple[float, float]:
    """Return the least seconds on the wall and of the processor."""
    wall, processor = [], []
    for _ in range(_ROUNDS):
        start, used = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return min(wall), min(processor)


def measure(name: str, folder: str | None, rows: int = ROWS, machine: str = "plain") -> list[float]:
    """Return million rows per second: made by wall and processor, in a file by wall and processor."""
    generation = Generation(name, machine=machine, events=rows)
    generation.columns()

    def make() -> None:
        for first in range(0, rows, _STRETCH):
            generation.stretch(first, min(_STRETCH, rows - first))

    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "trace.arrow"
        return [rows / 1e6 / seconds for work in (make, lambda: generation.write(path)) for seconds in _best(work)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=None, help="where the files are written: the disk is measured, too")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--machine", default="plain", help="one with devices has more columns, which all rows carry")
    given = parser.parse_args()
    sys.stdout.write(
        "| M rows/s | made, wall | made, processor | file, wall | file, processor |\n|---|---:|---:|---:|---:|\n"
    )
    for each in WORKLOADS:
        cells = " | ".join(f"{value:.0f}" for value in measure(each, given.folder, given.rows, given.machine))
        sys.stdout.write(f"| `{each}` | {cells} |\n")
        sys.stdout.flush()
