"""Parsers for the copies that only a recording has: sections, sysctls, probes, losses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from replay.errors import InputError
from replay.trace.schema import SectionFlags

__all__ = (
    "SectionsDump",
    "action_types",
    "armed_probes",
    "kprobe_misses",
    "parse_sections",
    "stats_losses",
    "sysctls",
)

_FLAG_LETTERS = {
    "P": SectionFlags.PRESENT,
    "M": SectionFlags.HAS_MEM_MAP,
    "O": SectionFlags.ONLINE,
    "E": SectionFlags.EARLY,
    "T": SectionFlags.TAINT_ZONE_DEVICE,
}
_SECTION = re.compile(r"(\d+) (?:0x)?([0-9a-f]+) 0x[0-9a-f]+ ([PMOET-]{5}) ([0-9a-f]{1,16})")


@dataclass(frozen=True)
class SectionsDump:
    """A print of the section table.

    Attributes:
        vmemmap_base: virtual address of the struct page of pfn 0; 0 when the header does not say.
        sections: per present section: first pfn, SectionFlags, subsection bits.
    """

    vmemmap_base: int
    sections: tuple[tuple[int, int, int], ...]


def parse_sections(text: str, where: object) -> SectionsDump:
    """Parse a dump of the section table.

    Raises:
        InputError: a line cannot be read, or no section is there.
    """
    base = re.search(r"\bvmemmap_base=(0x[0-9a-f]+)", text)
    sections = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        found = _SECTION.fullmatch(line.strip())
        if found is None:
            raise InputError(f"{where}:{number}", repr(line[:80]), "`nr first_pfn mem_map flags subsection_map`")
        flags = sum(int(_FLAG_LETTERS[letter]) for letter in found[3] if letter != "-")
        sections.append((int(found[2], 16), flags, int(found[4], 16)))
    if not sections:
        raise InputError(where, "no section", "one line per present section")
    return SectionsDump(int(base[1], 16) if base else 0, tuple(sections))


def sysctls(text: str) -> dict[str, int]:
    """Parse the first block of vmstate.txt: ``vm.*`` values at the start."""
    first = re.split(r"^== ", text, maxsplit=2, flags=re.M)[1:2]
    return {k: int(v) for k, v in re.findall(r"^(vm\.\w+)=(-?\d+)$", first[0] if first else "", re.M)}


def stats_losses(text: str) -> int:
    """Count the events that trace_stats.txt says were lost, over all cpus."""
    return sum(int(n) for n in re.findall(r"^(?:overrun|commit overrun|dropped events): (\d+)", text, re.M))


def kprobe_misses(text: str) -> int:
    """Count the calls that kprobe_profile.txt says a probe missed."""
    return sum(int(n) for n in re.findall(r"^\s*\S+\s+\d+\s+(\d+)\s*$", text, re.M))


def armed_probes(text: str) -> frozenset[str]:
    """Parse kprobe_events.txt: names of the events that were armed."""
    return frozenset(re.findall(r"^[pr]\d*:(?:[\w.]+/)?([\w.]+) ", text, re.M))


def action_types(text: str) -> dict[str, int]:
    """Parse the event format file: this kernel's number of each page type that an action is reported for."""
    types = re.search(r"__print_symbolic\(REC->type,(.*?)\)\s*(?:,\s*__print_symbolic|$)", text, re.S)
    return {name: int(n) for n, name in re.findall(r'\{\s*(\d+),\s*"([^"]*)"\s*\}', types[1])} if types else {}
