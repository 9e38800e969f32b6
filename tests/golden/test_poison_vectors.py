"""The vectors of docs/semantics/poison.md, section 10, cell by cell, on the rules of replay.kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from replay.kernel.config import KernelConfig, built_features
from replay.kernel.decision import KernelFunction
from replay.kernel.kill import (
    KILL_ACCESSING_PROCESS,
    KILL_PROCS,
    KILL_PROCS_2009,
    KillState,
    MappingFacts,
    Signal,
    accessor_signals,
)
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.poison_2009 import MEMORY_FAILURE_2009
from replay.kernel.poison_calls import KEEP, Kills, PoisonFunction, Verdicts, madvise_flags, verdicts
from replay.kernel.poison_state import DEFAULTS, HugeState, PoisonState
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import profile
from replay.kernel.soft_offline import SOFT_OFFLINE_PAGE
from replay.kernel.unpoison import UNPOISON_MEMORY
from replay.trace.outcomes import RET_BUG
from replay.trace.poison import NO_ACTION, ActionResult, MappingClass, MfFlag, PageKind
from replay.trace.schema import PgmapType
from tests.poison_columns import DOCUMENT, PRESETS

FEATURES = {column: built_features(profile(name).features, KernelConfig()) for column, name in PRESETS.items()}
VERSIONS = list(PRESETS)

# The document spells enumerations as in its section 8.1.
KIND = {
    "HUGE": PageKind.HUGE,
    "ISOL": PageKind.ISOLATED,
    "SLAB": PageKind.SLAB,
    "SLABC": PageKind.SLAB_COMPOUND,
    "PGTABLE": PageKind.PAGE_TABLE,
    "RSVD": PageKind.RESERVED,
    "HZERO": PageKind.HUGE_ZERO,
    "KTAIL": PageKind.KERNEL_TAIL,
    "KERN": PageKind.KERNEL,
    **{name: PageKind[name] for name in ("BUDDY", "PCP", "MOVABLE", "OFFLINE")},
}
MAP = {
    "NONE": MappingClass.NONE,
    "NONREG": MappingClass.NOT_REGULAR,
    "BDEV": MappingClass.BLOCK_DEVICE,
    "NOOP": MappingClass.NO_OPERATION,
    "SHMEM": MappingClass.SHMEM,
    "HTLB": MappingClass.HUGETLB,
}
PGMAP = {
    "FSDAX": PgmapType.FS_DAX,
    "GENERIC": PgmapType.GENERIC,
    "PRIVATE": PgmapType.PRIVATE,
    "COHERENT": PgmapType.COHERENT,
}
ENUMS: dict[str, Any] = {"kind": KIND, "map": MAP, "pgmap": PGMAP, "ht": HugeState.__members__}
TYPE_2009 = {
    "outside control": {ActionType.OUTSIDE_CONTROL},
    "already": {ActionType.ALREADY_POISONED},
    "free or high order": {ActionType.KERNEL_HIGH_ORDER},
    "non LRU": {ActionType.NOT_LRU},
    "already truncated LRU": {ActionType.TRUNCATED_LRU},
    "swapcache": {ActionType.DIRTY_SWAPCACHE, ActionType.CLEAN_SWAPCACHE},
    "LRU": {ActionType.DIRTY_LRU},
    "clean LRU": {ActionType.CLEAN_LRU},
    "mlocked LRU": {ActionType.DIRTY_MLOCKED_LRU, ActionType.CLEAN_MLOCKED_LRU},
    "unevictable LRU": {ActionType.DIRTY_UNEVICTABLE_LRU, ActionType.CLEAN_UNEVICTABLE_LRU},
}
RESULT = {"I": ActionResult.IGNORED, "F": ActionResult.FAILED, "D": ActionResult.DELAYED, "R": ActionResult.RECOVERED}

# The text says it in words (section 4.1: "Before 4.19 the same pfn is a reserved page"), the attribute lists do not.
RESERVED_BEFORE_DAX = {"M81", "M82", "M83", "M84", "M85", "M87", "M88", "M89", "SO02"}
MAPPING_ATTRIBUTES = {"own", "main_p", "main_e", "any_e", "has_def", "mapped_here", "covers", "addr_ok", "shift"}


@dataclass(frozen=True)
class Cell:
    """One version of one vector: what goes in, and what the document says comes out."""

    id: str
    version: str
    attributes: str
    text: str
    num: str = ""
    hwp: str = ""

    @property
    def features(self) -> frozenset[str]:
        return FEATURES[self.version]

    def values(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Attributes of the page and of the mapping task."""
        page: dict[str, Any] = {}
        task: dict[str, Any] = {}
        for word in self.attributes.split():
            if word == "(defaults)":
                continue
            if word == "MADV":
                flags = madvise_flags(self.features)
                page |= {
                    "COUNT": MfFlag.COUNT_INCREASED in flags,
                    "AR": MfFlag.ACTION_REQUIRED in flags,
                    "SW": MfFlag.SW_SIMULATED in flags,
                }
                continue
            name, _, value = word.removeprefix("!").partition("=")
            assert name in DEFAULTS or name in MAPPING_ATTRIBUTES, word
            number = ENUMS[name][value] if name in ENUMS else int(value or not word.startswith("!"))
            (task if name in MAPPING_ATTRIBUTES else page)[name] = number
        if self.version == "V418" and self.id in RESERVED_BEFORE_DAX:
            page["kind"] = PageKind.RESERVED
        return page, task

    def state(self) -> PoisonState:
        return PoisonState.of(None, self.features, **self.values()[0])


def _section(title: str) -> str:
    text = DOCUMENT.read_text()
    start = text.index(f"\n### {title}")
    return text[start + 1 : text.index("\n#", start + 1)]


def cells(title: str) -> list[Cell]:
    """The cells of a table that exist: ditto marks resolved, n/a left out."""
    found: list[Cell] = []
    header: list[str] = []
    for line in _section(title).splitlines():
        if not line.startswith("| "):
            continue
        fields = [f.strip() for f in line.strip("|").split("|")]
        if fields[0] == "id":
            header = fields
            continue
        row = dict(zip(header, fields, strict=True))
        text = ""
        for at, version in enumerate(v for v in header if v in PRESETS):
            text = text if row[version] == '"' else row[version]
            if text != "n/a":
                columns = [row.get(c, "") for c in ("num", "hwp")]
                num, hwp = (c if len(c) < 2 else c[at] for c in columns)
                found.append(Cell(row["id"], version, row["attributes"], text, num, hwp))
    return found


def _params(title: str) -> list[Any]:
    return [pytest.param(c, id=f"{c.id}-{c.version}") for c in cells(title)]


FAILURES, SIGNALS = _params("10.1"), _params("10.2")
SOFT, UNPOISON = _params("10.4"), _params("10.5")


def decide(function: PoisonFunction, cell: Cell) -> Verdicts:
    return verdicts(function, cell.state(), 1)


def failure_function(version: str) -> PoisonFunction:
    return MEMORY_FAILURE_2009 if version == "V26" else MEMORY_FAILURE


def test_the_tables_are_complete() -> None:
    """No row is lost on the way: 91, 23, 29 and 17 vectors."""
    for params, letters, count in ((FAILURES, "M", 91), (SIGNALS, "K", 23), (SOFT, "SO", 29), (UNPOISON, "UN", 17)):
        assert {p.values[0].id for p in params} == {f"{letters}{n:02}" for n in range(1, count + 1)}
    assert sum(map(len, (FAILURES, SIGNALS, SOFT, UNPOISON))) == 1492


@pytest.mark.parametrize("cell", FAILURES)
def test_memory_failure(cell: Cell) -> None:
    """10.1: return code, event, counter and HWPoison."""
    found = decide(failure_function(cell.version), cell)
    code, event = cell.text.split(" ", 1)
    assert found.ret[0] == (RET_BUG if code == "PANIC" else int(code))
    if event == "-":
        assert (found.action[0], found.result[0]) == (NO_ACTION, NO_ACTION)
    else:
        kind, letter = event.split(":")
        types = TYPE_2009[kind] if cell.version == "V26" else {ActionType[kind]}
        assert ActionType(found.action[0]) in types
        assert found.result[0] == RESULT[letter]
    assert found.counted[0] == int(cell.num)
    assert found.poison[0] == (KEEP if cell.hwp == "=" else int(cell.hwp))


@pytest.mark.parametrize("cell", SOFT)
def test_soft_offline_page(cell: Cell) -> None:
    """10.4."""
    found = decide(SOFT_OFFLINE_PAGE, cell)
    code, _, num = cell.text.partition(" n+")
    assert (found.ret[0], found.counted[0]) == (int(code), int(num or 0))
    assert found.poison[0] == (1 if num else KEEP)
    assert (found.action[0], found.result[0]) == (NO_ACTION, NO_ACTION)


@pytest.mark.parametrize("cell", UNPOISON)
def test_unpoison_memory(cell: Cell) -> None:
    """10.5."""
    found = decide(UNPOISON_MEMORY, cell)
    code, _, num = cell.text.partition(" n-")
    assert (found.ret[0], found.counted[0]) == (int(code), -int(num or 0))
    assert found.poison[0] == (0 if num else KEEP)
    assert (found.action[0], found.result[0]) == (NO_ACTION, NO_ACTION)


# Signals --------------------------------------------------------------------------------------------------------------


def kill_function(version: str) -> KernelFunction[KillState]:
    return KILL_PROCS_2009 if version == "V26" else KILL_PROCS


def kill_state(cell: Cell, make: Callable[[PoisonState, MappingFacts], KillState] = KillState.of) -> KillState:
    page, task = cell.values()
    # 8.1 gives the attributes of a mapping task no defaults; a task without a policy is the ordinary one.
    return make(PoisonState.of(None, cell.features, **page), MappingFacts.of(**task))


def signal(function: KernelFunction[KillState], state: KillState, features: frozenset[str]) -> Signal:
    return Signal(function.checks[function.decide(state, features)].answer.value)


@pytest.mark.parametrize("cell", SIGNALS)
def test_signal(cell: Cell) -> None:
    """10.2: what the mapping task gets."""
    expected = Signal[cell.text]
    found = signal(kill_function(cell.version), kill_state(cell), cell.features)
    if decide(failure_function(cell.version), cell).kills[0] == Kills.MAPPERS:
        assert found is expected
    else:  # K23 before files were split, and KSM: the call ends before anybody is collected
        assert expected is Signal.NOSIG


DAX_ROWS: list[tuple[str, str, dict[str, str]]] = [
    # K-DAX: "shift 21, synchronous, own mm: V419..V72 BUS_AR lsb 21".
    (
        "own mm",
        "own shift=21",
        {"V419": "BUS_AR", "V510": "BUS_AR", "V512": "BUS_AR", "V61": "BUS_AR", "V72": "BUS_AR"},
    ),
    # "Other process, default policy, sysctl 0: V419 BUS_AO, V510.. NOSIG"; the same decides an asynchronous worker's
    # "sysctl 0: V419 every mapper BUS_AO; V510.. nobody".
    ("other", "shift=21", {"V419": "BUS_AO", "V510": "NOSIG", "V511": "NOSIG", "V512": "NOSIG", "V72": "NOSIG"}),
    # "V512.. with EARLY task: BUS_AO and unmapped"; V510 and V511 by "nobody".
    (
        "early",
        "shift=21 any_e",
        {"V419": "BUS_AO", "V510": "NOSIG", "V511": "NOSIG", "V512": "BUS_AO", "V72": "BUS_AO"},
    ),
    # "VMA covers, nothing mapped (shift 0): V419 KILL, V510.. NOSIG".
    (
        "nothing mapped",
        "own shift=0",
        {"V419": "KILL", "V510": "NOSIG", "V511": "NOSIG", "V612": "NOSIG", "V72": "NOSIG"},
    ),
    # 8.5: here = covers.
    ("no vma", "own shift=21 !covers", {"V419": "NOSIG", "V72": "NOSIG"}),
]
DAX_CELLS = [
    pytest.param(Cell("K-DAX", v, f"!online pgmap=FSDAX mapped {words}", text), id=f"{name}-{v}")
    for name, words, row in DAX_ROWS
    for v, text in row.items()
]


@pytest.mark.parametrize("cell", DAX_CELLS)
def test_signal_of_a_dax_page(cell: Cell) -> None:
    """The K-DAX paragraph of 10.2."""
    assert decide(MEMORY_FAILURE, cell).kills[0] == Kills.DAX
    assert signal(KILL_PROCS, kill_state(cell, KillState.dax), cell.features) is Signal[cell.text]


@pytest.mark.parametrize("version", [v for v in VERSIONS if v != "V26"])
def test_signal_of_an_unsplit_thp(version: str) -> None:
    """10.2: "Unsplit THP (M52), AR, own mm, V612m..V72: BUS_AR; V61 and older: no signal at all"."""
    cell = Cell("K-THP", version, "anon large dirty mapped !split AR own", "")
    kills = decide(MEMORY_FAILURE, cell).kills[0]
    assert kills == (Kills.UNSPLIT if version in {"V612m", "V612", "V72"} else Kills.NOBODY)
    if kills:
        assert signal(KILL_PROCS, kill_state(cell, KillState.unsplit), cell.features) is Signal.BUS_AR


ACCESSES = [
    # Attributes, V61/V612/V72 and V612m (table 3.5), signalled.
    ("hwp AR nomm", (-14, -14), False),
    ("hwp AR curpt", (-133, -133), True),
    ("hwp AR", (0, -14), False),
    ("hwp", (-133, -133), False),
]


@pytest.mark.parametrize(("attributes", "codes", "signalled"), ACCESSES)
@pytest.mark.parametrize("version", ["V61", "V612m", "V612", "V72"])
def test_accessor(version: str, attributes: str, codes: tuple[int, int], signalled: bool) -> None:
    """Table 3.5: an already poisoned page, and the task that consumes it."""
    cell = Cell("K-ACC", version, attributes, "")
    found = decide(MEMORY_FAILURE, cell)
    assert found.kills[0] == Kills.ACCESSOR
    assert found.ret[0] == codes[version == "V612m"]
    assert bool(accessor_signals(cell.state())) is signalled


# Coverage -------------------------------------------------------------------------------------------------------------

# Checks that no vector of section 10 decides, and why; tests/kernel/test_poison_rules.py decides each of them.
UNREACHED: dict[str, dict[str, str]] = {
    "memory_failure": {"slab": "R72b: a slab page with a reference given in V61; no vector gives COUNT to slab pages"},
    "unpoison_memory": {
        "offline-page": "U6: no vector unpoisons an offline-type page",
        "compound": "U8: UN17 is a THP, but its references decide before",
    },
    "kill_procs_2009": {
        "not-mapped": "all vectors of 10.2 are mapped, and V26 splits nothing",
        "not-here": "K15, the only vector with the page table entry absent, is a file page: the VMA counts",
    },
}


def _decided() -> Iterator[tuple[str, str]]:
    for params, which in (
        (FAILURES, failure_function),
        (SOFT, lambda _: SOFT_OFFLINE_PAGE),
        (UNPOISON, lambda _: UNPOISON_MEMORY),
    ):
        for cell in (p.values[0] for p in params):
            function = which(cell.version)
            yield function.name, function.checks[decide(function, cell).check[0]].id
    for cell in (p.values[0] for p in SIGNALS):
        function = kill_function(cell.version)
        yield function.name, function.checks[function.decide(kill_state(cell), cell.features)].id
    for cell in (p.values[0] for p in DAX_CELLS):
        yield KILL_PROCS.name, KILL_PROCS.checks[KILL_PROCS.decide(kill_state(cell, KillState.dax), cell.features)].id
    for version in ("V61", "V612m"):
        for attributes, *_ in ACCESSES:
            state = Cell("", version, attributes, "").state()
            yield (
                KILL_ACCESSING_PROCESS.name,
                KILL_ACCESSING_PROCESS.checks[KILL_ACCESSING_PROCESS.decide(state, state.features)].id,
            )


FUNCTIONS: tuple[KernelFunction[Any], ...] = (
    MEMORY_FAILURE,
    MEMORY_FAILURE_2009,
    SOFT_OFFLINE_PAGE,
    UNPOISON_MEMORY,
    KILL_PROCS,
    KILL_PROCS_2009,
    KILL_ACCESSING_PROCESS,
)


def test_every_check_is_decided_by_a_vector() -> None:
    """Or is in UNREACHED, with the reason; and nothing is there without need."""
    decided = set(_decided())
    unreached = {f.name: sorted(c.id for c in f.checks if (f.name, c.id) not in decided) for f in FUNCTIONS}
    assert {name: ids for name, ids in unreached.items() if ids} == {
        name: sorted(ids) for name, ids in UNREACHED.items()
    }


def test_many_states_are_decided_like_each_alone() -> None:
    """All vectors of a version at once, often enough that only distinct states are evaluated."""
    for version in VERSIONS:
        for params, function in (
            (FAILURES, failure_function(version)),
            (SOFT, SOFT_OFFLINE_PAGE),
            (UNPOISON, UNPOISON_MEMORY),
        ):
            own = [p.values[0] for p in params if p.values[0].version == version]
            if not own:
                continue
            alone = [decide(function, cell) for cell in own]
            columns = {name: np.array([c.state().__dict__[name] for c in own] * 20) for name in DEFAULTS}
            count = len(own) * 20
            together = verdicts(function, PoisonState.of(count, FEATURES[version], **columns), count)
            for name in Verdicts.__dataclass_fields__:
                expected = np.array([getattr(a, name)[0] for a in alone] * 20)
                assert (getattr(together, name) == expected).all(), (version, function.name, name)
                assert getattr(together, name).dtype == expected.dtype
