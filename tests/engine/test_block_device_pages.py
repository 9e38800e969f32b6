"""Pages of block devices: dropped while they are clean; without buffer heads, an operation refuses them all."""

from __future__ import annotations

import pytest

from replay.engine.poison_call import Decided
from replay.engine.replay import Replayer
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import profile
from replay.scalar import replay_poison_rows
from replay.trace.header import BootRange, MachineDescription
from replay.trace.poison import ActionResult, MappingClass, PageFlag, PageKind
from replay.trace.schema import EventKind
from tests.property.engines import as_batch
from tests.property.strategies import STRINGS

PFN = 0x40000
RECOVERED, FAILED = (0, ActionResult.RECOVERED), (-16, ActionResult.FAILED)


def told(kernel: str, mapping: MappingClass, flags: PageFlag, config: dict[str, bool]) -> tuple[int, int]:
    """Return what both engines say that memory_failure returns and reports."""
    machine = MachineDescription(
        "x86_64", 12, 27, 46, 1 << 27, kernel, config=config, memory=(BootRange(0, PFN << 1, 0),)
    )
    rows = [
        {"kind": EventKind.PAGE_STATE, "pfn": PFN, "nr_pages": 1, "page_kind": PageKind.LRU, "mapping": mapping,
         "page_flags": int(flags)},
        {"kind": EventKind.MEMORY_FAILURE, "pfn": PFN, "flags": 0},
    ]  # fmt: skip
    found: list[Decided] = []
    used = profile(f"v{kernel}")
    replayer = Replayer(machine, used, STRINGS, log=found.append)
    replayer.feed(as_batch([{**row, "time": i} for i, row in enumerate(rows)]))
    replayer.finish()
    (call,) = found
    assert call.action == (ActionType.DIRTY_LRU if PageFlag.DIRTY in flags else ActionType.CLEAN_LRU)
    *_, other = replay_poison_rows(machine, rows, used.features)
    assert (other["ret"], str(other["result"])[0]) == (call.ret, ActionResult(call.result or 0).name[0])
    return call.ret, ActionResult(call.result or 0)


@pytest.mark.parametrize("kernel", ["4.19", "5.10", "6.1", "6.12", "7.2"])
def test_with_buffer_heads(kernel: str) -> None:
    """As recorded on 6.1.192 and 7.2.13: there is no operation, so a clean page is dropped and a dirty one stays."""
    for config in ({}, {"BUFFER_HEAD": True}):
        assert told(kernel, MappingClass.BLOCK_DEVICE, PageFlag(0), config) == RECOVERED
        assert told(kernel, MappingClass.BLOCK_DEVICE, PageFlag.DIRTY, config) == FAILED
    assert told(kernel, MappingClass.NO_OPERATION, PageFlag.DIRTY, {}) == FAILED
    assert told(kernel, MappingClass.REGULAR, PageFlag.DIRTY, {}) == RECOVERED


@pytest.mark.parametrize(("kernel", "clean"), [("6.1", RECOVERED), ("6.12", FAILED), ("7.2", FAILED)])
def test_without_buffer_heads(kernel: str, clean: tuple[int, int]) -> None:
    """Since v6.6 a kernel can be built so, and older ones do not know the option."""
    config = {"BUFFER_HEAD": False}
    assert told(kernel, MappingClass.BLOCK_DEVICE, PageFlag(0), config) == clean
    assert told(kernel, MappingClass.BLOCK_DEVICE, PageFlag.DIRTY, config) == FAILED
    assert told(kernel, MappingClass.NO_OPERATION, PageFlag(0), config) == RECOVERED
