"""victims.jsonl of a recording: what the recording tool did to which page, and what it saw before and afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from replay.errors import InputError
from replay.sources.importers.pfns import PFN_LIMIT
from replay.trace.poison import MappingClass

__all__ = ("Facts", "Filter", "Pool", "Sharer", "Sigbus", "Victim", "parse_victims")

RAW = "raw"  # `action` of an injection into a page that the tool does not map itself


@dataclass(frozen=True)
class Sigbus:
    """A SIGBUS that a handler of the tool saw."""

    phase: str
    code: int
    addr: int
    lsb: int


@dataclass(frozen=True)
class Sharer:
    """A process of a victim.

    Attributes:
        pid: process id.
        sigbus: what its handler saw, in order.
        touch: what touching the page afterwards did: ``ok``, ``sigbus`` or ``none``.
        died: whether it was gone when the injection had returned.
    """

    pid: int
    sigbus: tuple[Sigbus, ...]
    touch: str
    died: bool


@dataclass(frozen=True)
class Filter:
    """The hwpoison filter: pages whose kpageflags differ from ``value`` in ``mask`` are left alone."""

    mask: int
    value: int


@dataclass(frozen=True)
class Pool:
    """A hugetlb page and its pool.

    Attributes:
        pages: pages of one hugetlb page.
        free: free hugetlb pages of the pool.
        reserved: how many of these are promised.
        filling: the page has left the pool and is being filled; no process maps it yet.
    """

    pages: int
    free: int
    reserved: int
    filling: bool = False


@dataclass(frozen=True)
class Facts:
    """What the tool knew about a page, or read at it, before the injection. Older recordings have nothing of it.

    Attributes:
        references: reference count by moment, from the struct page; of the head, where the page is a hugetlb page's.
        filter: the filter, if it is on.
        pool: of a hugetlb page.
        pins: references that the tool holds.
        mapping: class of the mapping, where the kind does not tell.
        owner_ret: what the owner of a dax page answers, None where there is no owner.
        by_machine: a machine check, which the kernel handles in a task of its choice.
    """

    references: dict[str, int] = field(default_factory=dict)
    filter: Filter | None = None
    pool: Pool | None = None
    pins: int = 0
    mapping: MappingClass | None = None
    owner_ret: int | None = None
    by_machine: bool = False


@dataclass(frozen=True)
class Victim:
    """A line of victims.jsonl.

    Attributes:
        number: id in the marks of the trace.
        kind: what the page is, in the tool's words.
        raw: the page is not mapped by the tool.
        pfn: the page.
        flags: kpageflags by moment (``before``, ``after``, ``after_touch``, ``after_exit``, ``after_unpoison``); None
            where /proc has no entry for the pfn. Only moments at which it was read.
        vaddr: address of the page in every process.
        length: bytes that are mapped.
        sub: index of the page in the mapping.
        pagemap: entry of the first process before the injection.
        path: file that is mapped.
        freed: the processes had exited before the injection.
        policy: early-kill policy.
        handler: the processes handle SIGBUS.
        early_kill: vm.memory_failure_early_kill at that time.
        sharers: the processes, in the order of their index.
        facts: what the tool knew about the page beyond kpageflags.
    """

    number: int
    kind: str
    raw: bool
    pfn: int
    flags: dict[str, int | None]
    vaddr: int
    length: int
    sub: int
    pagemap: int
    path: str
    freed: bool
    policy: str
    handler: bool
    early_kill: int | None
    sharers: tuple[Sharer, ...]
    facts: Facts = field(default_factory=Facts)

    @property
    def head_offset(self) -> int:
        """Pages from the start of the 2 MiB that hold the page."""
        return self.pfn % 512


_MAPPINGS = {"none": MappingClass.NONE, "block-device": MappingClass.BLOCK_DEVICE}
_MOMENTS = ("before", "after", "after_touch", "after_exit", "after_unpoison")


def parse_victims(text: str, where: object) -> list[Victim]:
    """Parse victims.jsonl, leaving out what was skipped.

    Raises:
        InputError: a line is no JSON object, or lacks a field.
    """
    victims = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            if "skipped" not in given:
                victims.append(_victim(given))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}:{number}", f"{line[:80]!r} ({type(error).__name__}: {error})", "a line of the recording tool"
            ) from None
    return victims


def _number(value: str | float, bits: int = 64) -> int:
    number = int(value, 0) if isinstance(value, str) else int(value)
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{value} is not a number of {bits} bits")
    return number


def _pfn(given: dict[str, Any]) -> int:
    """Return the pfn that the kernel is asked about: some files take an address, which has no room for every number."""
    pfn = _number(given["pfn"])
    return pfn % PFN_LIMIT if str(given.get("inject")).endswith("_offline_page") else pfn


def _victim(given: dict[str, Any]) -> Victim:
    flags = {m: given[f"kpageflags_{m}"] for m in _MOMENTS if f"kpageflags_{m}" in given}
    early_kill = given.get("early_kill_sysctl")
    return Victim(
        number=_number(given["id"]), kind=str(given["kind"]), raw=given["action"] == RAW, pfn=_pfn(given),
        flags={moment: None if value is None else _number(value) for moment, value in flags.items()},
        vaddr=_number(given.get("vaddr", 0)), length=_number(given.get("length", 0)), sub=_number(given.get("sub", 0)),
        pagemap=_number(given.get("pagemap", 0)), path=str(given.get("path", "")),
        freed=bool(given.get("freed_before_inject", False)), policy=str(given.get("early_kill_prctl", "default")),
        handler=bool(given.get("sigbus_handler", True)),
        early_kill=None if early_kill is None else _number(early_kill, 31),
        sharers=tuple(_sharer(sharer) for sharer in given.get("sharers", ())), facts=_facts(given),
    )  # fmt: skip


def _facts(given: dict[str, Any]) -> Facts:
    pages = {moment: given.get(f"page_{moment}") for moment in _MOMENTS}
    counts = {moment: page.get("head_refcount", page["refcount"]) for moment, page in pages.items() if page is not None}
    rule, mapping, owner = given.get("filter"), given.get("mapping"), given.get("owner_ret")
    pool = given.get("hugetlb")
    return Facts(
        references={moment: max(int(count), 0) for moment, count in counts.items()},
        filter=Filter(_number(rule["mask"]), _number(rule["value"])) if rule is not None else None,
        pool=None if pool is None else _pool(pool),
        pins=_number(given.get("pins", 0), 8), mapping=_MAPPINGS[mapping] if mapping is not None else None,
        owner_ret=None if owner is None else -_number(-owner, 12), by_machine=given.get("inject") == "machine check",
    )  # fmt: skip


def _pool(given: dict[str, Any]) -> Pool:
    pages, free, reserved = (_number(given[key], 32) for key in ("pages", "free", "reserved"))
    return Pool(pages, free, reserved, bool(given.get("filling", False)))


def _sharer(given: dict[str, Any]) -> Sharer:
    seen = tuple(
        Sigbus(str(e["phase"]), _number(e["si_code"], 31), _number(e["si_addr"]), _number(e["si_addr_lsb"], 8))
        for e in given["sigbus"]
    )
    return Sharer(_number(given["pid"], 32), seen, str(given["touch"]), bool(given["died_during_inject"]))
