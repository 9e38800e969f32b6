"""The two examples that this project began with, on recorded histories and one version apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from replay.engine.poison_call import Decided
from replay.kernel.poison_types import ActionType
from replay.session import run
from replay.trace.poison import NO_ACTION, ActionResult
from replay.trace.schema import EventKind

RECORDED = Path(__file__).parents[2] / "traces" / "recorded"
ENXIO, EBUSY = -6, -16


def calls(trace: str, kernel: str) -> list[Decided]:
    found: list[Decided] = []
    run(RECORDED / f"{trace}.arrow", kernel, log=lambda _kernel, _names, call: found.append(call))
    return [c for c in found if c.kind is EventKind.MEMORY_FAILURE and not c.undecided]


def event(call: Decided) -> tuple[str, str]:
    assert call.action != NO_ACTION
    return ActionType(call.action).name, ActionResult(call.result).name


def test_madvise_on_a_dax_pmd_mapping() -> None:
    """v4.18 takes it for a reserved kernel page; v4.19 kills its task and says how much was lost (2 MiB: lsb 21)."""
    old, new = (
        {c.row: c for c in calls("5.10.223-s6-poison-dax", kernel) if c.surroundings.pgmap}
        for kernel in ("v4.18", "v4.19")
    )
    huge = {row for row, c in new.items() if any((sent.code, sent.lsb) == (4, 21) for sent in c.signals)}
    assert len(huge) > 50
    for row in huge:
        assert (event(old[row]), old[row].ret, old[row].signals) == (("KERNEL", "FAILED"), EBUSY, [])
        assert (event(new[row]), new[row].ret) == (("DAX", "RECOVERED"), 0)
        sent = [(each.signal, each.code, each.lsb) for each in new[row].signals]
        assert sent.count((7, 4, 21)) == 1  # the caller
        assert set(sent) <= {(7, 4, 21), (7, 5, 21)}  # and others that map the page


def test_metadata_of_a_namespace() -> None:
    """v5.11 goes by the RAM of the same section and takes the page for an ordinary one; v5.12 fails it with -ENXIO."""
    old, new = (
        [c for c in calls("5.10.223-s2a-pmem-collision", kernel) if c.surroundings.metadata]
        for kernel in ("v5.11", "v5.12")
    )
    assert len(old) == len(new) == 29
    assert Counter((event(c), c.ret) for c in new) == {(("DAX", "FAILED"), ENXIO): 29}
    first = [c for c in old if c.action != NO_ACTION]
    assert {c.ret for c in old} == {EBUSY, 0}  # 0: poisoned before, by the call on the same page
    assert {event(c) for c in first} == {("KERNEL", "FAILED"), ("KERNEL_HIGH_ORDER", "IGNORED")}
