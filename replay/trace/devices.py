"""Checks of the rows about the dax bus and namespaces: what each action needs, and values that this version knows."""

from __future__ import annotations

import numpy as np

from replay.errors import TraceError
from replay.trace.batch import Batch
from replay.trace.schema import (
    DEVICE_CALLS,
    KINDS,
    BadblocksAction,
    DaxAction,
    DaxDriver,
    DaxFlags,
    EventKind,
    NamespaceFlags,
    Phase,
)

__all__ = ("check_devices",)

_A = DaxAction
_ACTIONS: dict[int, tuple[DaxAction, ...] | tuple[BadblocksAction, ...]] = {
    EventKind.DAX_REGION: (_A.CREATE, _A.DELETE),
    EventKind.DAX_DEVICE: (_A.CREATE, _A.DELETE, _A.SIZE, _A.ALIGN, _A.MAPPING),
    EventKind.DAX_DRIVER: (_A.BIND, _A.UNBIND, _A.NEW_ID, _A.REMOVE_ID),
    EventKind.NAMESPACE: (_A.CREATE, _A.DELETE, _A.INFO),
    EventKind.BADBLOCKS: tuple(BadblocksAction),
}
_FLAGS: dict[int, int] = {
    EventKind.DAX_REGION: DaxFlags.KMEM | DaxFlags.DYNAMIC | DaxFlags.MEMMAP_ON_MEMORY,
    EventKind.DAX_DEVICE: DaxFlags.MEMMAP_ON_MEMORY,
    EventKind.DAX_DRIVER: DaxDriver.DEVICE_DAX | DaxDriver.KMEM,
    EventKind.NAMESPACE: NamespaceFlags.FSDAX
    | NamespaceFlags.DEVDAX
    | NamespaceFlags.MAP_MEM
    | NamespaceFlags.LEGACY
    | NamespaceFlags.KEEP,
    EventKind.BADBLOCKS: 0,
}
# What an action needs besides what all rows of the kind need.
_SPANS = {
    (EventKind.DAX_REGION, _A.CREATE),
    (EventKind.NAMESPACE, _A.CREATE),
    (EventKind.NAMESPACE, _A.INFO),
    (EventKind.DAX_DEVICE, _A.MAPPING),
}
_ALIGNED = {(EventKind.NAMESPACE, _A.CREATE), (EventKind.NAMESPACE, _A.INFO), (EventKind.DAX_DEVICE, _A.ALIGN)}
_COLUMNS = ("kind", "phase", "key", "flags", "size", "value")


def check_devices(batch: Batch, where: str, page_shift: int) -> int:
    """Check the rows about devices of a batch that passed the other checks; these rows are rare.

    Args:
        batch: the rows.
        where: the file, for errors.
        page_shift: of the machine.

    Returns:
        The minor version of the format that has all that they use.

    Raises:
        TraceError: a row holds what this version does not know, or lacks what its action needs.
    """
    rows = np.flatnonzero(np.isin(batch.column("kind"), [int(kind) for kind in DEVICE_CALLS]))
    fields = [batch.column(name)[rows].tolist() for name in _COLUMNS]
    minor = 0
    for row, kind, phase, key, flags, size, value in zip(rows.tolist(), *fields, strict=True):
        if phase > Phase.BEGIN:
            continue
        minor = max(minor, _minor(kind, key, flags, size))
        at = f"{where}: row {batch.row + row}, column"
        if key not in _ACTIONS[kind]:
            known = ", ".join(f"{int(action)} {action.name}" for action in _ACTIONS[kind])
            raise TraceError(f"{at} key", str(key), f"an action of a {KINDS[kind]} row: {known}")
        known_flags = int(_FLAGS[kind])  # the complement of an IntFlag would hold known bits only
        if flags & ~known_flags:
            raise TraceError(f"{at} flags", f"bits {flags & ~known_flags:#x}", f"bits of {known_flags:#x}")
        if kind == EventKind.DAX_DRIVER and flags not in (DaxDriver.DEVICE_DAX, DaxDriver.KMEM):
            raise TraceError(f"{at} flags", str(flags), "one driver: 1 device_dax, 2 kmem")
        both = NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX
        if kind == EventKind.NAMESPACE and flags & both == both:
            raise TraceError(f"{at} flags", "both fsdax and devdax", "one of them, or none for raw")
        if (kind, key) in _SPANS and not size:
            raise TraceError(f"{at} size", "null", f"start and size in a {KINDS[kind]} row of {_A(key).name}")
        if kind == EventKind.NAMESPACE and key == _A.INFO:
            _check_info(batch, row, at, page_shift)
        if kind == EventKind.DAX_REGION and value < 0:
            raise TraceError(f"{at} value", str(value), "the number of a region, 0 or more")
        if (kind, key) in _ALIGNED and (value < 0 or value & (value - 1)):
            raise TraceError(
                f"{at} value", str(value), "an alignment in bytes, a power of two; 0 or null for the default"
            )
    return minor


def _minor(kind: int, key: int, flags: int, size: int) -> int:
    """Return the minor version that has what a row uses: 1 brought bad blocks with a place, and info blocks."""
    kept = kind == EventKind.NAMESPACE and (flags & NamespaceFlags.KEEP or key == _A.INFO)
    return int(bool(kept or (kind == EventKind.BADBLOCKS and (key or size))))


def _check_info(batch: Batch, row: int, at: str, page_shift: int) -> None:
    """Refuse an info block of no mode, or whose data, or padding in front of them, lie outside of their namespace."""
    if not int(batch.column("flags")[row]) & (NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX):
        raise TraceError(f"{at} flags", "neither fsdax nor devdax", "one of them: raw namespaces have no info block")
    if not _given(batch, "pfn", row) or not _given(batch, "nr_pages", row):
        raise TraceError(f"{at} pfn", "null", "the pages of the data of an info block, pfn and nr_pages")
    start, size, pfn, pages = (int(batch.column(name)[row]) for name in ("start", "size", "pfn", "nr_pages"))
    base = int(batch.column("altmap_base")[row]) << page_shift if _given(batch, "altmap_base", row) else start
    data, end = pfn << page_shift, pfn + pages << page_shift
    if not start <= base <= data < end <= start + size:
        found = f"data {data:#x}-{end - 1:#x}, mapped from {base:#x} on"
        raise TraceError(
            f"{at} pfn", found, f"both in this order within the namespace, {start:#x}-{start + size - 1:#x}"
        )


def _given(batch: Batch, name: str, row: int) -> bool:
    given = batch.given(name)
    return given if isinstance(given, bool) else bool(given[row])
