"""Rows about pages that no kernel's memory could be like, and calls on pfns that are not there."""

from __future__ import annotations

import pytest

from replay.engine.poison_call import Decided
from replay.engine.replay import Replayer
from replay.errors import TraceError
from replay.kernel.profiles import profile
from replay.trace.poison import PageKind
from replay.trace.schema import EventKind, PgmapType
from tests.property.engines import as_batch
from tests.property.poison import DEVICE, MACHINE
from tests.property.strategies import STRINGS

HALF = 0x200  # pages; half of a folio of order 10
NAMESPACE = {
    "kind": EventKind.MEMREMAP_PAGES,
    "pgmap": 9,
    "pfn": DEVICE + HALF,
    "nr_pages": 0x400,
    "pgmap_type": PgmapType.FS_DAX,
}


def fed(*rows: dict[str, int]) -> list[Decided]:
    found: list[Decided] = []
    replayer = Replayer(MACHINE, profile("v6.12"), STRINGS, log=found.append)
    replayer.feed(as_batch([{**row, "time": i} for i, row in enumerate(rows)]))
    replayer.finish()
    return found


def folio(pfn: int, nr_pages: int = 2 * HALF) -> dict[str, int]:
    return {"kind": EventKind.PAGE_STATE, "pfn": pfn, "nr_pages": nr_pages, "page_kind": PageKind.LRU, "order": 10}


@pytest.mark.parametrize("pfn", [DEVICE, DEVICE + 2 * HALF])
def test_a_folio_across_the_edge_of_a_pagemap(pfn: int) -> None:
    with pytest.raises(TraceError, match=rf"row 1, column order: found 10: the folio \[{pfn:#x}, .* crosses the edge"):
        fed(NAMESPACE, folio(pfn))
    fed(NAMESPACE, {**folio(DEVICE), "order": 9})  # which ends where the pagemap begins


def test_a_pfn_outside_of_the_machine_has_the_kernels_own_answer() -> None:
    (call,) = fed({"kind": EventKind.MEMORY_FAILURE, "pfn": 1 << 33})
    assert (call.ret, call.undecided, call.counted, call.poisoned) == (-6, False, 0, False)
