"""Numbers that are no pfns, where a kernel does not notice: it asks about what is left of them as an address."""

from __future__ import annotations

import numpy as np

from replay.errors import TraceError
from replay.kernel.config import KernelConfig
from replay.trace.batch import Batch, Slot
from replay.trace.schema import EventKind

__all__ = ("loses_bits", "without_lost_bits")


def loses_bits(config: KernelConfig, features: frozenset[str]) -> bool:
    """Return whether pfn_valid looks at the address of a pfn, and not at whether the pfn comes back from it."""
    return config.arch_pfn_valid and "arm64-pfn-valid-roundtrip" not in features


def without_lost_bits(batch: Batch, page_shift: int, where: str) -> Batch:
    """Return the rows with what such a kernel's pfn_valid makes of its argument.

    pfn_to_online_page looks at the section's number first, which no alias has.

    Raises:
        TraceError: a poison call is handed such a number: what pfn_to_page makes of it is no page at all.
    """
    limit = np.uint64(1 << 64 - page_shift)
    pfn = batch.column("pfn")
    beyond = pfn >= limit
    if not beyond.any():
        return batch
    kinds = batch.column("kind")
    other = np.flatnonzero(beyond & ~np.isin(kinds, (EventKind.PFN_VALID, EventKind.PFN_TO_ONLINE_PAGE)))
    if other.size:
        row = int(other[0])
        raise TraceError(
            f"{where}: row {batch.row + row}, column pfn", hex(int(pfn[row])), f"a pfn below {int(limit):#x}",
            "this kernel takes such a number for another page, and the page behind it is not memory",
        )  # fmt: skip
    asked = beyond & (kinds == EventKind.PFN_VALID)
    slots = {name: Slot(batch.stored(name), batch.given(name)) for name in batch.stored_names}
    slots["pfn"] = Slot(np.where(asked, pfn & (limit - np.uint64(1)), pfn), batch.given("pfn"))
    return Batch(batch.row, len(batch), slots)
