"""Calls of drivers and the calls that they make: told by rows or not, as the recorded driver made them or otherwise."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from replay.engine.replay import Replayer
from replay.engine.tally import DRIVER_CALLS, Tally
from replay.kernel.profiles import profile
from replay.trace.schema import DaxAction, DaxDriver, EventKind, Phase
from tests.property.devices import BLOCK, MACHINE, SOFT, label
from tests.property.engines import as_batch, dense, scalar, vector
from tests.property.strategies import STRINGS, Row

NOMEM, BUSY = -errno.ENOMEM, -errno.EBUSY
KMEM, DEVICE = int(DaxDriver.KMEM), int(DaxDriver.DEVICE_DAX)
FIRST, PAGES = SOFT[0] >> 12, SOFT[1] - SOFT[0] >> 12
REGION: Row = {"kind": EventKind.DAX_REGION, "key": DaxAction.CREATE, "value": 2, "node": 1}
REGION |= {"start": SOFT[0], "size": SOFT[1] - SOFT[0]}
SYSTEM_RAM, KMEM_RAM = STRINGS.index("System RAM"), STRINGS.index("System RAM (kmem)")


def driver(key: DaxAction, flags: int = KMEM, **fields: int) -> Row:
    return {"kind": EventKind.DAX_DRIVER, "key": key, "label": label("dax2.0"), "flags": flags, **fields}


def add(**fields: int) -> Row:
    """add_memory as kmem of v5.10 and later asks for it."""
    row: Row = {"kind": EventKind.ADD_MEMORY, "pfn": FIRST, "nr_pages": PAGES, "label": KMEM_RAM, "flags": 1, "node": 1}
    return {**row, "caller": 1, **fields}


def told(*inside: Row, key: DaxAction = DaxAction.BIND) -> list[Row]:
    """kmem is told the device, which has no driver, and asked to take it; these rows stand inside of that."""
    begin = driver(key, phase=Phase.BEGIN, call=1)
    done: Row = {"kind": EventKind.DAX_DRIVER, "phase": Phase.DONE, "call": 1}
    known = [REGION, driver(DaxAction.NEW_ID), driver(DaxAction.UNBIND, DEVICE)]
    return [*known, begin, *inside, done]


def replayed(rows: Sequence[Row], name: str) -> tuple[Replayer, Tally]:
    replayer = Replayer(MACHINE, profile(name), STRINGS)
    replayer.feed(as_batch([{**row, "time": i} for i, row in enumerate(rows)]))
    return replayer, replayer.finish()


def outcomes(rows: Sequence[Row], name: str) -> list[dict[str, object]]:
    timed = [{**row, "time": i} for i, row in enumerate(rows)]
    got = vector(MACHINE, timed, profile(name))
    assert got == scalar(MACHINE, timed, profile(name))
    return got


def claims(replayer: Replayer) -> list[str]:
    return [node.name for _, node in replayer.machine.resources.walk() if node.start >= SOFT[0]]


def test_the_verdict_is_on_the_last_row() -> None:
    got = outcomes(told(add(recorded_ret=0)), "v6.1")
    assert [o["check"] for o in got[3:]] == ["", "add_memory/added", "kmem_add/added"]
    assert got[4]["match"] == 1


@pytest.mark.parametrize(("name", "left"), [("v5.1", ["Soft Reserved", "dax2.0"]), ("v5.4", ["Soft Reserved"])])
def test_what_the_world_did_to_a_call_is_taken_from_its_row(name: str, left: list[str]) -> None:
    rows = told(add(env=NOMEM, recorded_ret=NOMEM))
    assert outcomes(rows, f"{name}+bind-returns-probe-code")[-1]["ret"] == NOMEM
    assert outcomes(rows, name)[-1]["ret"] == -errno.ENODEV  # what the probe says is not told
    replayer, tally = replayed(rows, name)
    assert claims(replayer) == left
    assert tally.agreement["add_memory"].not_compared.total() == 1  # imposed: it proves nothing


def test_a_call_that_no_row_tells_of_is_made_all_the_same() -> None:
    replayer, tally = replayed(told(), "v6.1")
    assert claims(replayer) == ["Soft Reserved", "dax2.0", "System RAM (kmem)"]
    assert tally.outcomes["add_memory"] == {"0": 1}
    assert DRIVER_CALLS not in tally.agreement


def test_the_rows_of_a_call_that_the_driver_does_not_make_do_nothing() -> None:
    """v5.1 takes no memory back; the recorded kernel did, in phases."""
    remove: Row = {"kind": EventKind.REMOVE_MEMORY, "pfn": FIRST, "nr_pages": PAGES}
    inside = [
        {**remove, "caller": 2, "phase": Phase.BEGIN, "call": 3, "recorded_ret": 0},
        {**remove, "phase": Phase.SECTIONS, "call": 3},
        {"kind": EventKind.REMOVE_MEMORY, "phase": Phase.DONE, "call": 3},
    ]
    unbind = driver(DaxAction.UNBIND, phase=Phase.BEGIN, call=2)
    rows = [*told(add()), unbind, *inside, {"kind": EventKind.DAX_DRIVER, "phase": Phase.DONE, "call": 2}]
    for name, stays in (("v5.1", True), ("v5.4", False)):
        outcomes(rows, name)
        replayer, tally = replayed(rows, name)
        assert (FIRST // (BLOCK >> 12) in replayer.machine.blocks) is stays, name
        assert tally.agreement[DRIVER_CALLS].differed >= stays, name


def test_a_driver_that_asks_for_something_else_is_noticed() -> None:
    """Range, name, flags and node are the driver's; the row's own do not count."""
    wrong = {"nr_pages": BLOCK >> 12, "label": SYSTEM_RAM, "flags": 0, "node": 0}
    for name, value in wrong.items():
        replayer, tally = replayed(told(add(**{name: value})), "v6.1")
        assert claims(replayer) == ["Soft Reserved", "dax2.0", "System RAM (kmem)"], name
        assert tally.agreement[DRIVER_CALLS].differed == 1, name
    _, tally = replayed(told(add()), "v6.1")
    assert (tally.agreement[DRIVER_CALLS].agreed, tally.agreement[DRIVER_CALLS].differed) == (1, 0)


def test_a_refused_driver_makes_no_calls() -> None:
    rows = [driver(DaxAction.BIND, phase=Phase.BEGIN, call=1), add(), {**told()[-1]}]
    got = outcomes(rows, "v6.1")
    assert [o["check"] for o in got] == ["", "", "dax_driver/unknown"]
    replayer, _ = replayed(rows, "v6.1")
    assert claims(replayer) == ["Soft Reserved"]


def test_flips_that_name_a_caller_are_not_taken_together() -> None:
    """No driver makes such calls; as many of them in a row as flips are taken together do nothing either."""
    online: Row = {"kind": EventKind.MEMORY_BLOCK_OFFLINE, "pfn": 0x100000, "nr_pages": BLOCK >> 12, "caller": 1}
    rows = told(*[dict(online) for _ in range(20)])
    with dense(2):
        replayer, _ = replayed(rows, "v6.1")
        assert replayer.machine.blocks[0x100000 // (BLOCK >> 12)]
    outcomes(rows, "v6.1")
