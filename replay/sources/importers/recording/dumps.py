"""Parsers for the /proc and /sys copies of a recording: iomem, sections, memory blocks, zones, sysctls, probes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from replay.errors import InputError
from replay.trace.schema import SectionFlags

__all__ = (
    "IomemEntry",
    "SectionsDump",
    "action_types",
    "armed_probes",
    "block_nodes",
    "kprobe_misses",
    "node_spans",
    "parse_iomem",
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
_IOMEM = re.compile(r"( *)([0-9a-f]+)-([0-9a-f]+) : (.*)")
_SECTION = re.compile(r"(\d+) (?:0x)?([0-9a-f]+) 0x[0-9a-f]+ ([PMOET-]{5}) ([0-9a-f]{1,16})")
_ZONE = re.compile(r"Node (\d+), zone +\w+\n(.*?)(?=^Node |\Z)", re.M | re.S)


@dataclass(frozen=True)
class IomemEntry:
    """A line of /proc/iomem: bytes [start, end], inclusive; depth 0 is a top-level entry."""

    depth: int
    start: int
    end: int
    name: str


@dataclass(frozen=True)
class SectionsDump:
    """A print of the section table.

    Attributes:
        vmemmap_base: virtual address of the struct page of pfn 0; 0 when the header does not say.
        sections: per present section: first pfn, SectionFlags, subsection bits.
    """

    vmemmap_base: int
    sections: tuple[tuple[int, int, int], ...]


def parse_iomem(text: str, where: object) -> list[IomemEntry]:
    """Parse /proc/iomem, in file order.

    Raises:
        InputError: a line is none of /proc/iomem, the file is empty, or it was read without privileges.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        found = _IOMEM.fullmatch(line.rstrip())
        if found is None:
            if line.strip():
                raise InputError(f"{where}:{number}", repr(line[:80]), "`START-END : NAME` in hexadecimal")
            continue
        entries.append(IomemEntry(len(found[1]) // 2, int(found[2], 16), int(found[3], 16), found[4]))
    if not entries:
        raise InputError(where, "an empty file", "a copy of /proc/iomem")
    if all(entry.end == 0 for entry in entries):
        raise InputError(where, "addresses that are all zero", "real addresses", "read /proc/iomem as root")
    return entries


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


def block_nodes(text: str) -> dict[int, tuple[int, ...]]:
    """Parse memory_blocks.txt: the nodes of each memory block, by block number."""
    found = re.findall(r"^memory(\d+) .*\bnode=([\d,]+)", text, re.M)
    return {int(number): tuple(int(node) for node in nodes.split(",") if node) for number, nodes in found}


def node_spans(text: str) -> list[tuple[int, int, int]]:
    """Parse /proc/zoneinfo: (first pfn, pfn after the last, node) of every zone that spans something, ascending."""
    spans = []
    for node, body in _ZONE.findall(text):
        spanned, start = re.search(r"^\s+spanned\s+(\d+)", body, re.M), re.search(r"^\s+start_pfn:\s+(\d+)", body, re.M)
        if spanned and start and int(spanned[1]):
            spans.append((int(start[1]), int(start[1]) + int(spanned[1]), int(node)))
    return sorted(spans)


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
