"""How fast is data of other tools imported, and in how much memory?  python -m benchmarks.studies.import_speed

Each import runs in a process of its own, on one core, from a file to a finished trace (checked, digested, written,
synced). What comes out is counted: a row of the table is only printed if every event of the input is in the trace. The
processor time says more than that by the clock on a machine that does something else as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.event_text import log_lines, lookup_lines
from replay.sources.importers.events.kernel_log import import_log
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions, import_text
from replay.sources.importers.rasdaemon import host_of, import_rasdaemon
from replay.sources.importers.rejects import Rejects
from replay.trace.reader import TraceFile

KERNEL = "6.1.192"
LINES, EVENTS = 10_000_000, 1_000_000
SOURCES = ("ftrace", "perf", "dmesg", "rasdaemon")
_THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "ARROW_NUM_THREADS")
# As rasdaemon makes them.
_TABLES = (
    "CREATE TABLE memory_failure_event (id INTEGER PRIMARY KEY, timestamp TEXT, pfn TEXT, page_type TEXT, "
    "action_result TEXT)",
    "CREATE TABLE mc_event (id INTEGER PRIMARY KEY, timestamp TEXT, err_count INTEGER, err_type TEXT, err_msg TEXT, "
    "label TEXT, mc INTEGER, top_layer INTEGER, middle_layer INTEGER, lower_layer INTEGER, address INTEGER, "
    "grain INTEGER, syndrome INTEGER, driver_detail TEXT)",
)
_TYPES = ("dirty LRU page", "clean LRU page", "free buddy page", "huge page", "dax page", "unknown page")
_RESULTS = ("Ignored", "Failed", "Delayed", "Recovered")


def make(source: str, path: Path, count: int) -> None:
    """Write an input of so many lines or events."""
    if source == "rasdaemon":
        _database(path, count)
        return
    with path.open("w") as file:
        file.writelines(log_lines(count) if source == "dmesg" else lookup_lines(count, source))


def _database(path: Path, count: int) -> None:
    """Half memory failures, half corrected errors."""

    def at(number: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(1_700_000_000 + number // 10))

    connection = sqlite3.connect(path)
    for statement in _TABLES:
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO memory_failure_event (timestamp, pfn, page_type, action_result) VALUES (?, ?, ?, ?)",
        ((at(i), hex(i * 2654435761 % 0x400000), _TYPES[i % 6], _RESULTS[i % 4]) for i in range(count // 2)),
    )
    connection.executemany(
        "INSERT INTO mc_event (timestamp, err_count, err_type, err_msg, label, mc, top_layer, middle_layer, lower_layer, "
        "address, grain, syndrome, driver_detail) "
        "VALUES (?, 1, 'Corrected', 'memory read error', ?, 0, 0, ?, ?, ?, 12, 0, '')",
        (
            (at(i), f"CPU_SrcID#0_MC#0_Chan#{i % 4}_DIMM#{i % 2}", i % 4, i % 2, i * 2654435761 % 0x400000 << 12)
            for i in range(count - count // 2)
        ),
    )
    connection.commit()
    connection.close()


def load(source: str, path: Path, output: Path) -> int:
    """Import; returns how many lines or events of the input the trace accounts for."""
    rejects = Rejects("input", strict=True)
    options = EventOptions(MachineSource(kernel=KERNEL))
    if source == "rasdaemon":
        return sum(import_rasdaemon(path, output, host_of(kernel=KERNEL, table="2024"), rejects).tables.values())
    if source == "dmesg":
        report = import_log(path, output, options, rejects)
        return sum(report.events.values()) + sum(report.unused.values())
    return 2 * sum(import_text(path, output, source, options, rejects).events.values())  # entry and return


def _child(source: str, path: Path, output: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    start, used = time.perf_counter(), time.process_time()
    found = load(source, path, output)
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    with TraceFile.open(output) as trace:
        rows = trace.rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    sys.stdout.write(
        json.dumps({"found": found, "rows": rows, "seconds": seconds, "processor": processor, "peak": peak})
    )


def measure(source: str, count: int, folder: str | None, rounds: int = 3) -> dict[str, float]:
    """Return what the best of some rounds took, and the memory of the worst.

    Raises:
        ValueError: an event of the input is not in the trace.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path, output = Path(place) / "input", Path(place) / "trace.arrow"
        make(source, path, count)
        command = [
            sys.executable,
            "-m",
            __spec__.name if __spec__ else __name__,
            "--child",
            source,
            str(path),
            str(output),
        ]
        threads = dict.fromkeys(_THREADS, "1")
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, env=os.environ | threads).stdout)
            for _ in range(rounds)
        ]
        size = path.stat().st_size
    if any(run["found"] != count for run in runs):
        raise ValueError(f"{source}: {count} in the input, {runs[0]['found']} in the trace")
    best = min(runs, key=lambda run: float(run["seconds"]))
    return {**best, "peak": max(run["peak"] for run in runs), "size": size}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=None, help="where the files are written; the largest takes about 1.5 GB")
    parser.add_argument("--lines", type=int, default=LINES, help=f"lines of text, {LINES:,}")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"events of the database, {EVENTS:,}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", action="append", choices=SOURCES, help="only these; default all")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.child[0], Path(given.child[1]), Path(given.child[2]))
        return
    columns = ("input", "lines or events", "MB", "s", "processor s", "a second", "a processor second", "peak MiB")
    sys.stdout.write(f"| {' | '.join(columns)} |\n|---{'|---:' * (len(columns) - 1)}|\n")
    for source in given.source or SOURCES:
        count = given.events if source == "rasdaemon" else given.lines
        run = measure(source, count, given.folder, given.rounds)
        sys.stdout.write(
            f"| {source} | {count:,} | {run['size'] / 1e6:,.0f} | {run['seconds']:.1f} | {run['processor']:.1f} | "
            f"{count / run['seconds']:,.0f} | {count / run['processor']:,.0f} | {run['peak'] / (1 << 20):.0f} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
