"""Event text of any length, as ftrace, perf and the kernel log print it: the lookups of four tasks, and memory errors."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ("log_lines", "lookup_lines")

TASKS = (("walk", 1201), ("kworker/0:1", 77), ("kdamond.0", 54), ("v0-anon", 40211))
MEMMAP = 0xFFFF_EA00_0000_0000
SYMBOL = "pfn_to_online_page"


def lookup_lines(count: int, form: str) -> Iterator[str]:
    """Yield the entries and returns of walks by four tasks; two of them jump about, so that they make no runs.

    Args:
        count: lines.
        form: "ftrace" or "perf".
    """
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
    """Yield a kernel log; every tenth line is a memory error."""
    for i in range(count):
        if i % 10:
            yield f"[{i // 100:5d}.{i % 100:06d}] usb 1-1: new high-speed USB device number {i}\n"
        else:
            text = f"Memory failure: {i:#x}: recovery action for dirty LRU page: Recovered"
            yield f"[{i // 100:5d}.{i % 100:06d}] {text}\n"
