"""Rows that only ask: which answers were possible, and how they compare with what was recorded.

A query is made of units (the pfns of a run; a resource query or an oracle row is one unit), a unit has up to three aspects:
the main answer, whether the slow path was taken, and the pagemap found. Every aspect collects the answers of the states
that the query looked at; the outcome columns describe the first state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from replay.scalar.lookups import SLOW_CHECKS
from replay.scalar.machine import ScalarMachine
from replay.trace.outcomes import OUTCOME_COLUMNS
from replay.trace.schema import COLUMNS, KINDS, EventKind, SectionFlags

__all__ = ("QUERIES", "Query", "Row", "empty_outcome", "value")

Row = Mapping[str, int | None]
Answers = tuple[object, object, object]  # main, slow, pgmap; None: the aspect has no answer

ASPECTS = ("match", "slow_match", "pgmap_match")

SEVERAL = "several"

U64 = 1 << 64


def value(row: Row, column: str) -> int:
    """What a row holds in a column, or what null means there."""
    found = row.get(column)
    return found if found is not None else COLUMNS[column].default or 0


def empty_outcome() -> dict[str, object]:
    """The outcome of a row that decides nothing."""
    return {**dict.fromkeys(OUTCOME_COLUMNS, 0), "check": ""}


def pfns_of(row: Row) -> list[int]:
    """The pfns of a run, in its order."""
    return [(value(row, "pfn") + n * value(row, "stride")) % U64 for n in range(value(row, "nr_pages"))]


class Query:
    """One asking row."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.kind = EventKind(value(row, "kind"))
        self.recorded: Answers = (row.get("recorded_ret"), None, None)
        if self.kind == EventKind.PFN_TO_ONLINE_PAGE:
            self.recorded = (row.get("recorded_ret"), row.get("recorded_slow"), row.get("recorded_pgmap"))
        elif self.kind == EventKind.GET_DEV_PAGEMAP:
            self.recorded = (row.get("recorded_ret"), None, row.get("recorded_pgmap"))
        elif self.kind == EventKind.SECTIONS_DUMP:
            self.recorded = (row.get("nr_pages"), None, None)
        elif self.kind in (EventKind.RESOURCES_DUMP, EventKind.BLOCKS_DUMP, EventKind.DAX_DUMP):
            self.recorded = (row.get("value"), None, None)
        elif self.kind in (EventKind.RESOURCE_STATE, EventKind.BLOCK_STATE, EventKind.DAX_STATE):
            self.recorded = (True, None, None)
        elif self.kind == EventKind.SECTION_STATE:
            self.recorded = ((row.get("recorded_flags"), row.get("recorded_bits")), None, None)
        self.possible: list[list[Answers]] = []  # for each unit, the answers of each state
        self.columns: dict[str, object] = {}
        self.checks: Counter[str] = Counter()  # deciding checks in the first state

    def look(self, machine: ScalarMachine) -> None:
        """Ask in the present state of the machine."""
        columns = empty_outcome()
        units = QUERIES[self.kind](machine, self.row, columns)
        checks = columns.pop("checks", None)
        if not self.columns:
            self.columns = columns
            self.checks = checks if isinstance(checks, Counter) else Counter()
            self.possible = [[] for _ in units]
        for answers, unit in zip(self.possible, units, strict=True):
            answers.append(unit)

    def outcome(self) -> dict[str, object]:
        """The outcome columns of the row."""
        counts = dict.fromkeys((*ASPECTS, "race"), 0)
        for answers in self.possible:
            race = False
            for number, column in enumerate(ASPECTS):
                recorded = self.recorded[number]
                possible = {unit[number] for unit in answers}
                if recorded is None or recorded not in possible:
                    continue
                if len(possible) == 1:
                    counts[column] += 1
                else:
                    race = True
            counts["race"] += race
        return {**self.columns, **counts}


def note_check(kind: EventKind, checks: list[str], columns: dict[str, object]) -> None:
    """Put the check that decided into the columns."""
    if checks:
        columns["check"] = f"{KINDS[kind]}/{checks[0]}" if len(set(checks)) == 1 else SEVERAL
        columns["checks"] = Counter(checks)


def ask_pfns(
    ask: Callable[[ScalarMachine, int], tuple[int, str]], kind: EventKind
) -> Callable[[ScalarMachine, Row, dict[str, object]], list[Answers]]:
    """A lookup that is made for every pfn of a run, with a yes or no."""

    def run(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
        found = [ask(machine, pfn) for pfn in pfns_of(row)]
        note_check(kind, [check for _, check in found], columns)
        columns["pages"] = sum(answer for answer, _ in found)
        return [(answer, None, None) for answer, _ in found]

    return run


def ask_get_dev_pagemap(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """GET_DEV_PAGEMAP: the pagemap's id counts as well."""
    found = [machine.get_dev_pagemap(pfn) for pfn in pfns_of(row)]
    note_check(EventKind.GET_DEV_PAGEMAP, [check for _, check in found], columns)
    columns["pages"] = sum(1 for pgmap, _ in found if pgmap)
    return [(int(pgmap != 0), None, pgmap) for pgmap, _ in found]


def ask_pfn_to_online_page(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """PFN_TO_ONLINE_PAGE: slow path, nested pagemap lookup, and the truth."""
    units: list[Answers] = []
    checks = []
    count = dict.fromkeys(("pages", "slow_pages", "truth_pages", "false_online", "false_offline"), 0)
    for pfn in pfns_of(row):
        answer, check = machine.pfn_to_online_page(pfn)
        slow = check in SLOW_CHECKS
        truth = machine.truth(pfn)
        checks.append(check)
        units.append((answer, int(slow), machine.get_dev_pagemap(pfn)[0] if slow else None))
        count["pages"] += answer
        count["slow_pages"] += slow
        count["truth_pages"] += truth
        count["false_online"] += answer == 1 and not truth
        count["false_offline"] += answer == 0 and truth
    note_check(EventKind.PFN_TO_ONLINE_PAGE, checks, columns)
    columns.update(count)
    return units


def ask_pgmap_pfn_valid(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """PGMAP_PFN_VALID: nothing is compared where the function does not exist."""
    found = [machine.pgmap_pfn_valid(value(row, "pgmap"), pfn) for pfn in pfns_of(row)]
    note_check(EventKind.PGMAP_PFN_VALID, [check for _, check in found], columns)
    columns["pages"] = sum(answer for answer, _ in found)
    return [(None if check == "absent" else answer, None, None) for answer, check in found]


def ask_region_intersects(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """REGION_INTERSECTS."""
    ret, check = machine.region_intersects(value(row, "start"), value(row, "size"), value(row, "flags"))
    note_check(EventKind.REGION_INTERSECTS, [check], columns)
    columns["ret"] = ret
    return [(ret, None, None)]


def ask_walk(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """WALK_SYSTEM_RAM_RANGE."""
    ret, check, pages = machine.walk_system_ram_range(value(row, "pfn"), value(row, "nr_pages"))
    note_check(EventKind.WALK_SYSTEM_RAM_RANGE, [check], columns)
    columns["ret"], columns["pages"] = ret, pages
    return [(ret, None, None)]


def ask_sections_dump(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """SECTIONS_DUMP: how many sections are present."""
    return [(len(machine.present_sections()), None, None)]


def ask_section_state(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """SECTION_STATE: flags and subsection bits; a machine never has a flag that its profile does not know."""
    pfn = value(row, "pfn")
    flags = machine.section_flags(machine.state.section_of(pfn))
    return [((flags, machine.subsection_bits(pfn)), None, None)]


def ask_resources_dump(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """RESOURCES_DUMP: how many entries the tree has."""
    return [(sum(1 for _ in machine.state.resources.root.descendants()), None, None)]


def ask_resource_state(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """RESOURCE_STATE: whether an entry of these bytes and this name stands at this depth."""
    bytes_ = (value(row, "start"), value(row, "start") + value(row, "size"))
    named = (bytes_, machine.label(row.get("label")))
    level = [machine.state.resources.root]
    for _ in range(value(row, "value") + 1):
        level = [child for entry in level for child in entry.children]
    return [(named in [(entry.range, entry.name) for entry in level], None, None)]


def ask_blocks_dump(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """BLOCKS_DUMP: how many memory block devices there are."""
    return [(len(machine.state.blocks), None, None)]


def ask_block_state(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """BLOCK_STATE: whether the block at the pfn is online, or offline, as recorded."""
    online = machine.state.blocks.get(value(row, "pfn") // machine.state.geometry.pages_per_block)
    return [(online is not None and online == bool(value(row, "recorded_flags") & SectionFlags.ONLINE), None, None)]


def ask_dax_dump(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """DAX_DUMP: how many devices there are."""
    return [(sum(device.on_bus for device in machine.bus.devices.values()), None, None)]


def ask_dax_state(machine: ScalarMachine, row: Row, columns: dict[str, object]) -> list[Answers]:
    """DAX_STATE: whether the device has that driver, and memory where it is said to; the node as far as it is shown."""
    device = machine.bus.devices.get(machine.label(row.get("label")))
    if device is None or not device.on_bus:
        return [(False, None, None)]
    shown = machine.state.has("dax-target-node") and device.region.node >= 0
    same = device.driver == row.get("recorded_flags") and row.get("node") == (device.region.node if shown else None)
    if row.get("start") is not None:
        first = device.ranges[0] if device.ranges else (0, 0)
        same = same and first == (value(row, "start"), value(row, "start") + value(row, "size"))
    return [(same, None, None)]


QUERIES: dict[EventKind, Callable[[ScalarMachine, Row, dict[str, object]], list[Answers]]] = {
    EventKind.PFN_VALID: ask_pfns(ScalarMachine.pfn_valid, EventKind.PFN_VALID),
    EventKind.PFN_TO_ONLINE_PAGE: ask_pfn_to_online_page,
    EventKind.GET_DEV_PAGEMAP: ask_get_dev_pagemap,
    EventKind.PGMAP_PFN_VALID: ask_pgmap_pfn_valid,
    EventKind.REGION_INTERSECTS: ask_region_intersects,
    EventKind.WALK_SYSTEM_RAM_RANGE: ask_walk,
    EventKind.KPAGEFLAGS: ask_pfns(ScalarMachine.kpageflags, EventKind.KPAGEFLAGS),
    EventKind.SECTIONS_DUMP: ask_sections_dump,
    EventKind.SECTION_STATE: ask_section_state,
    EventKind.RESOURCES_DUMP: ask_resources_dump,
    EventKind.RESOURCE_STATE: ask_resource_state,
    EventKind.BLOCKS_DUMP: ask_blocks_dump,
    EventKind.BLOCK_STATE: ask_block_state,
    EventKind.DAX_DUMP: ask_dax_dump,
    EventKind.DAX_STATE: ask_dax_state,
}
