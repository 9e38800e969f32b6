"""The peer in C: walk.c, compiled on this machine for this machine, called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import memory as m
from benchmarks.peers.case import Case
from benchmarks.peers.memory import Memory
from benchmarks.peers.peer import Pass, Unavailable
from benchmarks.peers.verdicts import NR_VERDICTS, POISONED, Counts, c_enum, counts_of
from replay.machine.geometry import Geometry
from replay.trace.poison import MfFlag
from replay.trace.schema import EventKind, SectionFlags

__all__ = ("FLAGS", "CLoop", "compiler", "compiler_version")

FLAGS = ("-O3", "-march=native", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
_ARRAYS = ("flags", "map", "blocks", "pagemap_start", "pagemap_end", "pagemap_data", "pagemap_id", "pages", "scalars")
_COLUMNS = ("kind", "pfn", "nr_pages", "flags", "pgmap")


class _Memory(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in _ARRAYS)


class _Rows(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_void_p) for name in _COLUMNS), ("count", ctypes.c_uint64))


def compiler() -> str | None:
    """Return the system's C compiler: ``$CC``, or the first of cc, gcc and clang there is."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def compiler_version() -> str | None:
    """Return the first line that the compiler says of itself."""
    cc = compiler()
    if cc is None:
        return None
    said = subprocess.run([cc, "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


def _header(geometry: Geometry) -> str:
    """Return machine.h: a kernel, too, has these as constants when it is compiled."""
    constants = {
        "SECTION_SHIFT": geometry.section_shift,
        "SUBSECTION_SHIFT": geometry.subsection_shift,
        "BLOCK_SHIFT": geometry.pages_per_block.bit_length() - 1,
        "NR_SECTIONS": geometry.nr_sections,
        "SECTION_PRESENT": int(SectionFlags.PRESENT),
        "SECTION_VALID": int(SectionFlags.HAS_MEM_MAP),
        "SECTION_ONLINE": int(SectionFlags.ONLINE),
        "SECTION_EARLY": int(SectionFlags.EARLY),
        "SECTION_TAINT": int(SectionFlags.TAINT_ZONE_DEVICE),
        "MF_SW_SIMULATED": int(MfFlag.SW_SIMULATED),
        "NR_VERDICTS": NR_VERDICTS,
        **{name: getattr(m, name) for name in m.__all__ if name.isupper()},
        **{f"KIND_{kind.name}": int(kind) for kind in EventKind},
    }
    return "".join(f"#define {name} {value}\n" for name, value in constants.items()) + c_enum()


@cache
def _library(geometry: Geometry) -> ctypes.CDLL:
    cc = compiler()
    if cc is None:
        raise Unavailable("no C compiler on this machine")
    source = Path(__file__).with_name("walk.c")
    with tempfile.TemporaryDirectory(prefix="replay-peers-") as folder:
        Path(folder, "machine.h").write_text(_header(geometry))
        target = str(Path(folder, "walk.so"))
        done = subprocess.run(
            [cc, *FLAGS, f"-I{folder}", "-o", target, str(source)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"{cc} does not compile {source.name}: {done.stderr.strip()}")
        library = ctypes.CDLL(target)
    library.walk_singles.restype = library.walk_singles_plain.restype = None
    return library


class CLoop:
    """The checks in a loop.

    Args:
        by_section: answer runs section by section where a section is the same all over, instead of page by page.
        plain: as one writes it first: no hints to the compiler, every verdict counted in its array.
    """

    coarse = False

    def __init__(self, *, by_section: bool = False, plain: bool = False) -> None:
        self.name = "c-sections" if by_section else "c-plain" if plain else "c"
        self.about = "C, the checks section by section" if by_section else "C, the checks page by page"
        self.about += ", untuned" if plain else ""
        self.by_page = not by_section
        self._by_section, self._plain = by_section, plain

    def refuses(self, workload: str) -> str | None:
        """Refuse, by section, what has no runs: it would be the same loop again."""
        if self._plain and workload not in {"random", "sequential"}:
            return "written for single lookups only"
        runs = workload.startswith("runs") or workload == "production"
        return "no runs in it: the same as `c`" if self._by_section and not runs else None

    def prepare(self, case: Case) -> Pass:
        """Return a pass.

        Raises:
            Unavailable: no compiler.
        """
        return _CPass(case, _library(case.start.memory.geometry), self._by_section, self._plain)


class _CPass:
    seconds = None

    def __init__(self, case: Case, library: ctypes.CDLL, by_section: bool, plain: bool) -> None:
        self._memory: Memory = case.start.memory.copy() if not case.only_asks else case.start.memory
        self._c_memory = _Memory(*(getattr(self._memory, name).ctypes.data for name in _ARRAYS))
        self._counts = np.zeros(NR_VERDICTS, np.uint64)
        self._singles = case.only_singles
        self._columns = case.columns
        largest = max(c["pfn"].size for c in case.columns)
        self._out: NDArray[np.generic] = np.ones(largest, np.uint8 if self._singles else np.uint64)
        self._walk = library.walk_singles_plain if plain else library.walk_singles
        self._events = library.events_by_section if by_section else library.events_by_page
        if not self._singles:
            self._rows = [
                _Rows(*(c[n].ctypes.data if n in c else None for n in _COLUMNS), c["pfn"].size) for c in case.columns
            ]

    def run(self) -> None:
        memory, out, counts = ctypes.byref(self._c_memory), self._out.ctypes.data, self._counts.ctypes.data
        out, counts = ctypes.c_void_p(out), ctypes.c_void_p(counts)
        if self._singles:
            for c in self._columns:
                pfn = c["pfn"]
                self._walk(memory, ctypes.c_void_p(pfn.ctypes.data), ctypes.c_uint64(pfn.size), out, counts)
            return
        for rows in self._rows:
            unknown = self._events(memory, ctypes.byref(rows), out, counts)
            if unknown:
                raise ValueError(f"walk.c knows no rows of kind {EventKind(unknown).name}")

    def counts(self) -> Counts:
        found = counts_of(self._counts.tolist())
        if self._memory.pages.size:
            found[POISONED] = int(self._memory.scalars[2])
        return found
