"""Workloads by name: the walkers, and everything else that can be generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from replay.errors import UnknownNameError, UsageError
from replay.sources.synthetic import hotplug, poison, populations
from replay.sources.synthetic.machines import SyntheticMachine
from replay.sources.synthetic.mixing import mixed
from replay.sources.synthetic.parameters import Parameter, choice, count, rate, resolve, share, size, yes_no
from replay.sources.synthetic.places import marching, random_in
from replay.sources.synthetic.pmem_as_ram import pmem_as_ram
from replay.sources.synthetic.populations import POLICIES
from replay.sources.synthetic.rows import Part, repeated
from replay.sources.synthetic.streams import Stream
from replay.sources.synthetic.walker import Walker, line_of
from replay.sources.synthetic.walkers import WALKERS
from replay.sources.synthetic.walks import walk
from replay.trace.schema import EventKind

__all__ = ("WORKLOADS", "Workload", "absent", "parts_of", "present", "workload")

# (machine, values, stream, (number of the part, number of parts)) -> rows
_Make = Callable[[SyntheticMachine, Mapping[str, Any], Stream, tuple[int, int]], Part]


@dataclass(frozen=True)
class Workload:
    """Something that can be generated.

    Attributes:
        name: as on the command line.
        about: one line.
        kind: "walker", "lookups", "hotplug", "poison" or "mix".
        parameters: what can be set; every workload but a mix also has ``rate``.
        make: makes the rows; None for a mix.
        mix: of a mix: (workload, rate) of its parts.
        note: what a reader should know.
    """

    name: str
    about: str
    kind: str
    parameters: tuple[Parameter, ...] = ()
    make: _Make | None = None
    mix: tuple[tuple[str, str], ...] = ()
    note: str = ""


def _rate(default: str) -> Parameter:
    return Parameter("rate", default, "rows per second", rate)


def _walker(walker: Walker) -> Workload:
    def make(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
        return walk(walker, machine, values, stream)

    note = walker.note if len(walker.kernels) == 11 else f"kernels {', '.join(walker.kernels)}. {walker.note}".strip()
    return Workload(walker.name, walker.about, "walker", (_rate("1000000"), *walker.parameters), make, note=note)


def _random(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    spans = [(0, _top(machine))] if values["holes"] else machine.ram
    return repeated("random", [{"kind": int(_KINDS[values["ask"]]), "pfn": 0}], random_in(spans, stream))


def _sequential(machine: SyntheticMachine, values: Mapping[str, Any], _stream: Stream, _slot: tuple[int, int]) -> Part:
    row = {"kind": int(_KINDS[values["ask"]]), "pfn": 0}
    run = values["run"]
    template = [row | {"nr_pages": run}] if run > 1 else [row]
    return repeated("sequential", template, marching([(0, -(-_top(machine) // run) * run)], run))


def _top(machine: SyntheticMachine) -> int:
    return max(machine.max_pfn, *(d.end for d in machine.devices), *(end for _, end in machine.partial), 0)


_KINDS = {"online": EventKind.PFN_TO_ONLINE_PAGE, "valid": EventKind.PFN_VALID, "pagemap": EventKind.GET_DEV_PAGEMAP}
_ASK = Parameter(
    "ask", "online", "online (pfn_to_online_page), valid (pfn_valid) or pagemap (get_dev_pagemap)", choice(*_KINDS)
)
_CONSUMED = Parameter(
    "consumed", "1/4", "share of the errors that a task runs into; the scrubber finds the others", share
)
_DEVICE = Parameter("device", "0", "number of the device", count(0, 255))


def _number(given: str) -> Fraction:
    try:
        value = Fraction(given)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= 10**6:
        raise ValueError("a number from 0 to 1000000")
    return value


def _policies(given: str) -> tuple[str, ...]:
    one = choice(*POLICIES)
    return tuple(one(part) for part in given.split("+"))


_OTHERS = (
    Workload(
        "random",
        "single lookups of random pfns",
        "lookups",
        (_rate("1000000"), _ASK, Parameter("holes", "yes", "pfns outside of RAM too", yes_no)),
        _random,
    ),
    Workload(
        "sequential",
        "lookups of pfn after pfn, holes and devices included",
        "lookups",
        (_rate("1000000"), _ASK, Parameter("run", "1", "pages of one row", count(1, 1 << 30))),
        _sequential,
    ),
    Workload(
        "hotplug-churn",
        "memory blocks go offline and online again",
        "hotplug",
        (
            _rate("100"),
            Parameter("blocks", "64", "how many take part, the highest", count(2, 1 << 20)),
            Parameter("depth", "8", "how many are offline at any time", count(1, 1 << 20)),
        ),
        hotplug.churn,
    ),
    Workload(
        "kmem-flips",
        "a device is devdax and RAM by turns",
        "hotplug",
        (_rate("10"), _DEVICE, Parameter("blocks", "16", "memory blocks that go online", count(1, 1 << 20))),
        hotplug.flips,
    ),
    Workload(
        "pmem-life-cycle",
        "a namespace becomes devdax, raw and fsdax, disabled in between",
        "hotplug",
        (
            _rate("10"),
            _DEVICE,
            Parameter("phases", "yes", "whether lookups can fall into the middle of a call", yes_no),
        ),
        hotplug.life_cycle,
    ),
    Workload("bit-flips", "single pages break, anywhere", "poison", (_rate("1"), _CONSUMED), poison.background),
    Workload(
        "row-failure",
        "a DRAM row breaks: a few pages close together",
        "poison",
        (
            _rate("100"),
            _CONSUMED,
            Parameter("pages", "4", "pages that lie on the row", count(1, 4096)),
            Parameter("stride", "2", "pages from one to the next, by interleaving", count(1, 1 << 20)),
        ),
        poison.bursts,
    ),
    Workload(
        "column-failure",
        "a DRAM column breaks: many pages far apart",
        "poison",
        (
            _rate("1000"),
            _CONSUMED,
            Parameter("pages", "256", "rows that the column crosses", count(1, 4096)),
            Parameter("stride", "256", "pages from one row to the next", count(1, 1 << 20)),
        ),
        poison.bursts,
    ),
    Workload(
        "dimm-storm",
        "a DIMM breaks: each of its pages, in no order",
        "poison",
        (_rate("10000"), _CONSUMED, Parameter("dimm", "1G", "its size", size(1 << 12))),
        poison.storm,
    ),
    Workload(
        "repeated-consumption",
        "tasks run into the same few broken pages again and again",
        "poison",
        (_rate("100"), Parameter("pages", "64", "how many", count(1, 1 << 16))),
        poison.hot_pages,
    ),
    Workload(
        "soft-offline",
        "pages with too many corrected errors are taken out of use",
        "poison",
        (
            Parameter("corrected", "1000", "corrected errors per second, on weak pages", rate),
            Parameter("threshold", "10", "corrected errors of a page up to its soft offline", count(1, 1 << 20)),
            Parameter("failing", "5%", "share of the pages that cannot be migrated", share),
        ),
        poison.soft_offline,
    ),
    Workload("unpoison", "errors are injected and taken back", "poison", (_rate("100"),), poison.unpoison),
    Workload(
        "clear-error",
        "errors of pmem are cleared by writes",
        "poison",
        (_rate("100"), _CONSUMED, Parameter("pages", "1", "pages of one bad block", count(1, 512))),
        poison.clear_errors,
    ),
    Workload(
        "pmem-as-ram",
        "pmem with bad pages is used as RAM, scanned and cleared before or not",
        "poison",
        (
            _rate("100"),
            _DEVICE,
            Parameter("scan", "no", "whether bad pages are cleared before each period", yes_no),
            Parameter("errors", "100", "bad pages per TiB at the start", _number),
            Parameter("growth", "10", "bad pages per TiB that come in a period", _number),
            Parameter("touched", "60%", "share of the pages that is used in a period", share),
            Parameter("periods", "3", "times that the device becomes RAM", count(1, 10000)),
        ),
        pmem_as_ram,
    ),
    Workload(
        "tasks",
        "tasks that share pages, an error in them, who is told and who dies",
        "poison",
        (
            _rate("1000"),
            Parameter("sharers", "4", "tasks that map the same pages", count(1, 1024)),
            Parameter("pages", "16", "pages they share", count(1, 1 << 18)),
            Parameter(
                "use",
                "anonymous",
                "what the pages are: anonymous, shmem or cache",
                choice("anonymous", "shmem", "cache"),
            ),
            Parameter(
                "policies",
                "default+early+late+default-unhandled",
                f"of the tasks in turn, joined by +: {', '.join(POLICIES)}",
                _policies,
            ),
            Parameter("consumed", "yes", "whether the first task runs into the error", yes_no),
        ),
        populations.population,
    ),
    Workload(
        "walks",
        "walkers side by side: compaction, DAMON, kpageflags, kmemleak",
        "mix",
        mix=(("compaction", "600000"), ("damon", "18000"), ("kpageflags", "200000"), ("kmemleak", "100000")),
    ),
    Workload(
        "production",
        "walkers, hotplug and errors as on a machine at work",
        "mix",
        mix=(
            ("compaction", "600000"),
            ("damon", "18000"),
            ("kpageflags", "200000"),
            ("hotplug-churn", "100"),
            ("bit-flips", "100"),
        ),
    ),
    Workload(
        "all-hotplug",
        "walkers around memory that changes all the time",
        "mix",
        mix=(("compaction", "60000"), ("random", "60000"), ("hotplug-churn", "1000")),
    ),
    Workload(
        "errors",
        "errors of every kind in RAM",
        "mix",
        mix=(
            ("bit-flips", "40"),
            ("row-failure", "200"),
            ("column-failure", "200"),
            ("repeated-consumption", "100"),
            ("soft-offline", "100"),
            ("tasks", "800"),
        ),
    ),
)
WORKLOADS: dict[str, Workload] = {w.name: w for w in (*map(_walker, WALKERS.values()), *_OTHERS)}


def workload(name: str) -> Workload:
    """Return a workload by name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in WORKLOADS:
        raise UnknownNameError("workload", name, WORKLOADS, "`replay generate --list` shows all")
    return WORKLOADS[name]


def parts_of(
    name: str, mix: Sequence[tuple[str, str]], given: Mapping[str, str], machine: SyntheticMachine, seed: int
) -> tuple[Part, Fraction]:
    """Return the rows of a workload, and how many of them come in a second.

    Args:
        name: of the workload, or "mix" for what ``mix`` says.
        mix: (workload, rate) of the parts of an own mix.
        given: parameters as texts; ``WORKLOAD.name`` for those of one part of a mix.
        machine: what it happens on.
        seed: of all random numbers.

    Raises:
        UsageError: names or values that cannot be.
    """
    asked = list(mix) if name == "mix" else present(name, machine) or [(name, "")]
    if not asked:
        raise UsageError("mix without parts; needed --part WORKLOAD=RATE, as --part compaction=1000 --part damon=600")
    names = [part for part, _ in asked]
    for part in names:
        if workload(part).mix:
            raise UsageError(
                f"part {part} is a mix itself; needed its parts: {', '.join(n for n, _ in workload(part).mix)}"
            )
    if len(set(names)) < len(names):
        raise UsageError(f"a part comes twice in {', '.join(names)}; needed each once, with the sum of the rates")
    alone = len(asked) == 1 and name != "mix"
    own = _own(names, given, alone=alone)
    parts, rates = [], []
    for number, (part, speed) in enumerate(asked):
        what = workload(part)
        values = resolve(part, what.parameters, own[part])
        values |= {"name": part, "seed": seed}
        assert what.make is not None
        made = what.make(machine, values, Stream(seed, part), (number, len(asked)))
        if made.finite and len(asked) > 1:
            raise UsageError(f"part {part} comes to an end after {made.length} rows; needed it alone")
        parts.append(made)
        rates.append(_given_rate(part, speed) if speed else _own_rate(values))
    return mixed(parts, rates), sum(rates, Fraction(0))


def present(name: str, machine: SyntheticMachine) -> list[tuple[str, str]]:
    """Return the parts of a mix by name; without walkers that look nothing up on the machine's kernel."""
    return [(part, speed) for part, speed in workload(name).mix if part not in absent(name, machine)]


def absent(name: str, machine: SyntheticMachine) -> list[str]:
    """Return the walkers of a mix by name that look nothing up on the machine's kernel."""
    parts = [part for part, _ in workload(name).mix] if name != "mix" else []
    return [part for part in parts if part in WALKERS and line_of(machine.kernel) not in WALKERS[part].kernels]


def _own(names: Sequence[str], given: Mapping[str, str], *, alone: bool) -> dict[str, dict[str, str]]:
    """Return the parameters of each part."""
    own: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, value in given.items():
        part, dot, parameter = key.partition(".")
        if not dot:
            if not alone:
                raise UsageError(f"--param {key}: of which part? needed PART.{key}, with one of {', '.join(names)}")
            part, parameter = names[0], key
        if part not in own:
            raise UnknownNameError("part", part, names, f"there are {', '.join(names)}")
        own[part][parameter] = value
    return own


def _given_rate(part: str, speed: str) -> Fraction:
    try:
        return rate(speed)
    except ValueError as error:
        raise UsageError(f"--part {part}={speed}: needed {error}") from None


def _own_rate(values: Mapping[str, Any]) -> Fraction:
    if "rate" in values:
        return Fraction(values["rate"])
    return Fraction(values["corrected"]) / int(values["threshold"])
