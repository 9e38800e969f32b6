"""Importing event text: lines per second of one core, and memory that does not grow with the input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.sources.importers.events.kernel_log import import_log
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions, import_text
from replay.sources.importers.rejects import Rejects
from replay.trace.schema import LOOKUPS

OPTIONS = EventOptions(MachineSource(kernel="6.1.192"))
TASKS = (("walk", 1201), ("kworker/0:1", 77), ("kdamond.0", 54), ("v0-anon", 40211))
MEMMAP = 0xFFFF_EA00_0000_0000
SYMBOL = "pfn_to_online_page"


def lookup_lines(count: int, form: str) -> Iterator[str]:
    """Yield the entries and returns of walks by four tasks; two of them jump about, so that they make no runs."""
    time = 10_000_000
    for i in range(count // 2):
        task = (i >> 6) & 3 if i % 7 else 0
        pfn = i if task < 2 else i * 2654435761 % 0x200000
        name, pid = TASKS[task]
        time += 3
        for event, answer in (("", f"pfn=0x{pfn:x}"), ("__return", f"page=0x{MEMMAP + 64 * pfn:x}")):
            time += 1
            clock = f"{time // 1_000_000:5d}.{time % 1_000_000:06d}"
            if form == "ftrace":
                where = f"({SYMBOL}+0x4/0xf0)" if not event else f"(kpageflags_read+0x8c/0x130 <- {SYMBOL})"
                yield f"{name:>16}-{pid:<7} [{task:03d}] ..... {clock}: {SYMBOL}{event}: {where} {answer}\n"
            else:
                where = "(ffffffffa18fc4e0)" if not event else "(ffffffffa18fc4e0 <- ffffffffa19565a1)"
                name_of_event = f"kprobes:{SYMBOL}{event}"
                yield f"{name:>16} {pid:5d} [{task:03d}] {clock}: {name_of_event:>34}: {where} {answer}\n"


def log_lines(count: int) -> Iterator[str]:
    for i in range(count):
        if i % 10:
            yield f"[{i // 100:5d}.{i % 100:06d}] usb 1-1: new high-speed USB device number {i}\n"
        else:
            text = f"Memory failure: {i:#x}: recovery action for dirty LRU page: Recovered"
            yield f"[{i // 100:5d}.{i % 100:06d}] {text}\n"


def written(path: Path, lines: Iterator[str]) -> Path:
    with path.open("w") as file:
        file.writelines(lines)
    return path


@pytest.mark.parametrize("form", ["ftrace", "perf"])
def test_import_text(benchmark, rows, note, tmp_path, form: str) -> None:
    """Every lookup of the text is in the trace."""
    count = rows(1_000_000, 2000)
    path = written(tmp_path / "text", lookup_lines(count, form))
    report = benchmark(lambda: import_text(path, tmp_path / "t.arrow", form, OPTIONS, Rejects("text")))
    assert sum(n for kind, n in report.events.items() if kind in {k.name.lower() for k in LOOKUPS}) == count // 2
    assert not report.rejected
    assert not report.unused
    note(count, report.events)


def test_import_log(benchmark, rows, note, tmp_path) -> None:
    """Every tenth line of the log is a memory error."""
    count = rows(1_000_000, 2000)
    path = written(tmp_path / "log", log_lines(count))
    report = benchmark(lambda: import_log(path, tmp_path / "t.arrow", OPTIONS, Rejects("log")))
    assert report.events == {"memory_failure": count // 10}
    note(count, report.events)
