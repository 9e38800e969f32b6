"""How the engine's time and memory grow with the rows: each size in a process of its own, rows made while it goes.

``python -m benchmarks.peers.scaling ROWS`` is such a process; it prints a JSON object.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Scale", "scale")


@dataclass(frozen=True)
class Scale:
    """A replay of random lookups.

    Attributes:
        rows: how many.
        ns_per_row: of the engine alone; making the rows is not timed.
        before_bytes: largest resident set before the first row: interpreter, packages, the machine.
        peak_bytes: largest resident set at the end.
    """

    rows: int
    ns_per_row: float
    before_bytes: int
    peak_bytes: int


def scale(rows: int) -> Scale:
    """Measure in a new process."""
    folder = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.peers.scaling", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return Scale(**json.loads(done.stdout))


def _here(rows: int) -> Scale:
    from benchmarks.workloads import WORKLOADS  # noqa: PLC0415 - only in the process that measures
    from replay.engine.replay import Replayer  # noqa: PLC0415
    from replay.kernel.profiles import profile  # noqa: PLC0415

    workload = WORKLOADS["random"]
    replayer = Replayer(workload.machine, profile(workload.machine.kernel), compiled=False)
    replayer.feed(workload.setup())
    before, taken = _peak(), 0.0
    for batch in workload.batches(rows):
        began = time.perf_counter()
        replayer.feed(batch)
        taken += time.perf_counter() - began
    if replayer.finish().pages != rows:
        raise AssertionError(f"{rows} rows were fed, {replayer.tally.pages} pfns were looked up")
    return Scale(rows, taken / rows * 1e9, before, _peak())


def _peak() -> int:
    """Return the largest resident set of this process so far, bytes.

    Not getrusage: the figure there is inherited from the process that started this one.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status has no VmHWM: memory can be measured on Linux only")
    return int(found[1]) * 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(vars(_here(int(float(sys.argv[1]))))) + "\n")
