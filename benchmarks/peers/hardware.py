"""The machine that the figures are of."""

from __future__ import annotations

import datetime
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers.c_loop import FLAGS, compiler_version

__all__ = ("describe",)

_PACKAGES = ("numpy", "pyarrow", "numba", "polars", "duckdb")


def describe() -> dict[str, str]:
    """Return what figures depend on, by name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": found[1].strip() if found else platform.processor() or platform.machine(),
        "cores": f"{usable} usable",
        "caches": _caches() or "unknown",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
    }
    facts |= {name: _version(name) for name in _PACKAGES}
    said = compiler_version()
    facts["C compiler"] = "none" if said is None else f"{said}, {' '.join(f for f in FLAGS if f[:2] in ('-O', '-m'))}"
    return facts


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _caches() -> str:
    parts = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            parts.append(f"L{level} {size}")
    return ", ".join(parts)
