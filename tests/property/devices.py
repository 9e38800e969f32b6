"""Random rows about namespaces, dax regions, dax devices and drivers, on a machine with two kinds of persistent memory."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from replay.trace.header import BootRange, MachineDescription, Resource
from replay.trace.schema import BadblocksAction, DaxAction, DaxDriver, DaxFlags, EventKind, NamespaceFlags, Phase
from tests.property.strategies import STRINGS, Row

__all__ = (
    "MACHINE",
    "PFNS",
    "bad_row",
    "device_rows",
    "driver_row",
    "label",
    "likely_row",
    "look",
    "memory_row",
    "namespace_row",
    "region_row",
)

BLOCK = 128 << 20
RAM = (0x100000000, 0x120000000)
PMEM = (0x120000000, 0x140000000)  # described by the NFIT; starts with a section
LEGACY = (0x144200000, 0x14C000000)  # of the e820 map; begins within a section
SOFT = (0x150000000, 0x170000000)  # for kmem

MACHINE = MachineDescription(
    arch="x86_64",
    page_shift=12,
    section_size_bits=27,
    max_physmem_bits=46,
    memory_block_bytes=BLOCK,
    kernel="6.1",
    memory=(BootRange(RAM[0] >> 12, RAM[1] >> 12), BootRange(0x140000, 0x144100)),
    resources=(
        Resource(RAM[0], RAM[1] - 1, "System RAM", busy=True, ram=True),
        Resource(PMEM[0], PMEM[1] - 1, "Persistent Memory"),
        Resource(0x140000000, 0x1440FFFFF, "System RAM", busy=True, ram=True),
        Resource(LEGACY[0], LEGACY[1] - 1, "Persistent Memory (legacy)"),
        Resource(SOFT[0], SOFT[1] - 1, "Soft Reserved"),
    ),
)
PFNS = tuple(
    (start >> 12) + offset
    for start, end in (RAM, PMEM, (0x140000000, 0x144100000), LEGACY, SOFT)
    for offset in (0, 0x200, (end - start >> 12) - 1)
)
NAMESPACES = ("namespace0.0", "namespace0.1", "namespace1.0")
DAXES = ("dax0.0", "dax0.1", "dax1.0", "dax2.0", "dax3.0", "dax3.1")
TEXTS = ("dax0", "dax3.1\n")


def label(name: str) -> int:
    """The index of a name among the strings of all traces of these tests."""
    return STRINGS.index(name)


def namespace_row(draw: Any) -> Row:
    """A namespace is put to use or given up."""
    name = draw(st.sampled_from(NAMESPACES))
    if not draw(st.integers(0, 2)):
        return {"kind": EventKind.NAMESPACE, "key": DaxAction.DELETE, "label": label(name)}
    legacy = name == NAMESPACES[2]
    low, high = LEGACY if legacy else PMEM
    middle = low + (high - low) // 2
    spans = [
        (low, high),
        (low, middle),
        (middle, high),
        (low + (1 << 20), middle),
        (low, low + (4 << 20)),
        (low, low + 4096),
    ]
    start, end = draw(st.sampled_from(spans))
    flags = draw(st.sampled_from((0, NamespaceFlags.FSDAX, NamespaceFlags.DEVDAX, NamespaceFlags.DEVDAX)))
    flags |= NamespaceFlags.LEGACY if legacy else 0
    flags |= NamespaceFlags.MAP_MEM if draw(st.booleans()) else 0
    if not draw(st.integers(0, 5)):
        return _told_block(draw, name, (start, end), flags)
    flags |= NamespaceFlags.KEEP if draw(st.booleans()) else 0
    row: Row = {"kind": EventKind.NAMESPACE, "key": DaxAction.CREATE, "label": label(name)}
    row |= {"start": start, "size": end - start, "flags": int(flags)}
    row |= {"value": draw(st.sampled_from((4096, 2 << 20, 1 << 30)))} if draw(st.booleans()) else {}
    return row | ({"node": draw(st.integers(0, 2))} if draw(st.integers(0, 3)) else {})


def _told_block(draw: Any, name: str, span: tuple[int, int], flags: int) -> Row:
    """The medium of a namespace holds an info block that some kernel wrote, or none ever did."""
    start, end = span
    row: Row = {"kind": EventKind.NAMESPACE, "key": DaxAction.INFO, "label": label(name), "start": start}
    flags |= NamespaceFlags.DEVDAX if not flags & (NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX) else 0
    pad = draw(st.sampled_from((0, 0, 0, 1 << 20, 2 << 20)))
    data = start + pad + draw(st.sampled_from((8 << 10, 2 << 20, 6 << 20, 16 << 20, 64 << 20)))
    data, last = min(data, end - 4096), end - draw(st.sampled_from((0, 0, 1 << 20, 2 << 20)))
    last = max(last, data + 4096)
    row |= {"size": end - start, "flags": int(flags), "pfn": data >> 12, "nr_pages": last - data >> 12}
    row |= {"altmap_base": start + pad >> 12} if pad and start + pad <= data else {}
    row |= {"value": draw(st.sampled_from((4096, 2 << 20, 16 << 20)))} if draw(st.integers(0, 3)) else {}
    return row | ({"map_shift": draw(st.sampled_from((12, 12, 12, 16)))} if draw(st.booleans()) else {})


def bad_row(draw: Any) -> Row:
    """Something becomes known, or is done, about bad ranges, mostly where info blocks and memmaps are."""
    low, high = draw(st.sampled_from((PMEM, PMEM, LEGACY, SOFT)))
    at = draw(st.sampled_from((0, 4096, 4096 + 512, 5000, 8192, 1 << 20, (2 << 20) - 512, (high - low) // 2 + 4096)))
    size = draw(st.sampled_from((1, 64, 512, 4096, 4096, 8192, 2 << 20)))
    key = draw(st.sampled_from(BadblocksAction))
    row: Row = {"kind": EventKind.BADBLOCKS, "key": int(key), "start": low + at, "size": size}
    return row if draw(st.integers(0, 15)) else {"kind": EventKind.BADBLOCKS}


def region_row(draw: Any) -> Row:
    """A region of soft reserved memory appears or goes, or a device of it is made, sized or deleted."""
    number = draw(st.sampled_from((2, 3)))
    half = SOFT[0] + (SOFT[1] - SOFT[0]) // 2
    span = (SOFT[0], half) if number == 2 else (half, SOFT[1])
    if draw(st.booleans()):
        row: Row = {"kind": EventKind.DAX_REGION, "key": DaxAction.DELETE, "value": number}
        if draw(st.integers(0, 3)):
            odd = draw(st.sampled_from((0, 0, 1 << 20, 100 << 20)))
            flags = draw(st.sampled_from((0, DaxFlags.KMEM, DaxFlags.MEMMAP_ON_MEMORY)))
            flags |= DaxFlags.DYNAMIC if number == 3 else 0
            row |= {
                "key": DaxAction.CREATE,
                "start": span[0] + odd,
                "size": span[1] - span[0] - odd,
                "flags": int(flags),
            }
            row |= {"node": draw(st.integers(0, 2))} if draw(st.integers(0, 3)) else {}
        return row
    row = {"kind": EventKind.DAX_DEVICE, "label": label(draw(st.sampled_from(DAXES[-3:])))}
    row["key"] = draw(st.sampled_from((*list(DaxAction)[:5], DaxAction.SIZE, DaxAction.SIZE)))
    size = draw(st.sampled_from((0, 4096, 2 << 20, BLOCK, 2 * BLOCK - (2 << 20), 1 << 40)))
    if row["key"] == DaxAction.ALIGN:
        row["value"] = draw(st.sampled_from((1, 4096, 2 << 20, 1 << 30)))
    if row["key"] == DaxAction.MAPPING:
        at = draw(st.sampled_from((0, 2 << 20, 1 << 20, BLOCK, 2 * BLOCK - (2 << 20))))
        row |= {"start": draw(st.sampled_from((SOFT[0], half))) + at, "size": size or BLOCK}
    elif size:
        row |= {"start": 0, "size": size}
    return row


def likely_row(draw: Any, bound: dict[str, int]) -> Row:
    """A write that makes sense: a device that has a driver loses it, one that has none gets one; as ``driver_row``."""
    name = draw(st.sampled_from(sorted(bound)))
    driver = bound[name]
    key = DaxAction.UNBIND if driver else draw(st.sampled_from((DaxAction.NEW_ID, DaxAction.NEW_ID, DaxAction.BIND)))
    driver = driver or draw(st.sampled_from((DaxDriver.KMEM, DaxDriver.KMEM, DaxDriver.DEVICE_DAX)))
    row: Row = {"kind": EventKind.DAX_DRIVER, "key": key, "label": label(name), "flags": int(driver)}
    if not draw(st.integers(0, 5)):
        row["env"] = -12
    return row


def life(draw: Any) -> list[Row]:
    """Rows of one device from its beginning to its end, some left out."""
    space, name, region = draw(st.sampled_from((("namespace0.0", "dax0.0", 0), ("", "dax2.0", 2), ("", "dax3.1", 3))))
    start, end = {0: PMEM, 2: SOFT, 3: SOFT}[region]
    odd = draw(st.sampled_from((0, 0, 1 << 20, 100 << 20)))
    node = {"node": 1} if draw(st.integers(0, 7)) else {}
    if space:
        both: Row = {"kind": EventKind.NAMESPACE, "label": label(space)}
        flags = NamespaceFlags.DEVDAX | draw(st.sampled_from((0, NamespaceFlags.MAP_MEM)))
        rows = [{**both, **node, "key": DaxAction.CREATE, "start": start, "size": end - start, "flags": int(flags)}]
    else:
        both = {"kind": EventKind.DAX_REGION, "value": region}
        flags = draw(st.sampled_from((0, DaxFlags.KMEM, DaxFlags.KMEM | DaxFlags.MEMMAP_ON_MEMORY)))
        flags |= DaxFlags.DYNAMIC if region == 3 else 0
        span = {"start": start + odd, "size": end - start - odd}
        rows = [{**both, **node, **span, "key": DaxAction.CREATE, "flags": int(flags)}]
    if region == 3:
        device: Row = {"kind": EventKind.DAX_DEVICE, "label": label(name)}
        rows += [
            {**device, "key": DaxAction.CREATE},
            {**device, "key": DaxAction.SIZE, "start": 0, "size": 3 * BLOCK // 2},
        ]
    write: Row = {"kind": EventKind.DAX_DRIVER, "label": label(name)}
    unbind = {**write, "key": DaxAction.UNBIND, "flags": int(DaxDriver.DEVICE_DAX)}
    told = {**write, "key": DaxAction.NEW_ID, "flags": int(DaxDriver.KMEM)}
    away = {**write, "key": DaxAction.UNBIND, "flags": int(DaxDriver.KMEM)}
    block: Row = {"pfn": -(-start // BLOCK) * (BLOCK >> 12) + (BLOCK >> 12), "nr_pages": BLOCK >> 12}
    online, offline = ({**block, "kind": k} for k in (EventKind.MEMORY_BLOCK_ONLINE, EventKind.MEMORY_BLOCK_OFFLINE))
    rows += [unbind, told, online, away, told, offline, away, told, {**both, "key": DaxAction.DELETE}]
    return [row for row in rows if draw(st.integers(0, 5))]


def medium_life(draw: Any) -> list[Row]:
    """A namespace whose medium holds a block, or gets one, put to use again and again; bad ranges come up between."""
    name, (start, end) = draw(st.sampled_from((("namespace0.0", PMEM), ("namespace1.0", LEGACY))))
    start, end = (-(-start // (2 << 20)) * (2 << 20), end) if draw(st.booleans()) else (start, end)
    kind = draw(st.sampled_from((NamespaceFlags.FSDAX, NamespaceFlags.DEVDAX)))
    flags = kind | (NamespaceFlags.MAP_MEM if draw(st.booleans()) else 0)
    flags |= NamespaceFlags.LEGACY if name == "namespace1.0" else 0
    both: Row = {"kind": EventKind.NAMESPACE, "label": label(name)}
    rows = [_told_block(draw, name, (start, end), flags)] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        wanted = draw(st.sampled_from((0, 0, flags, flags ^ NamespaceFlags.MAP_MEM, NamespaceFlags.FSDAX)))
        create = {**both, "key": DaxAction.CREATE, "start": start, "size": end - start, "node": 1}
        create |= {"value": draw(st.sampled_from((4096, 2 << 20)))} if draw(st.booleans()) else {}
        keep = NamespaceFlags.KEEP if draw(st.integers(0, 3)) else 0
        rows.append({**create, "flags": int(wanted | keep)})
        rows += [bad_row(draw)] if draw(st.booleans()) else []
        rows.append({**both, "key": DaxAction.DELETE})
    return [row for row in rows if draw(st.integers(0, 7))]


def dynamic_life(draw: Any) -> list[Row]:
    """Two devices of a dynamic region that take ranges of their own choice and sizes, with a driver or without."""
    low = SOFT[0] + (SOFT[1] - SOFT[0]) // 2
    region: Row = {"kind": EventKind.DAX_REGION, "value": 3, "node": 1, "start": low, "size": SOFT[1] - low}
    rows = [{**region, "key": DaxAction.CREATE, "flags": int(DaxFlags.DYNAMIC)}]
    rows += [{"kind": EventKind.DAX_DEVICE, "label": label(f"dax3.{n}"), "key": DaxAction.CREATE} for n in (0, 1)]
    for _ in range(draw(st.integers(1, 6))):
        name = draw(st.sampled_from(("dax3.0", "dax3.1")))
        row: Row = {"kind": EventKind.DAX_DEVICE, "label": label(name)}
        row["key"] = draw(st.sampled_from((DaxAction.MAPPING, DaxAction.MAPPING, *list(DaxAction)[1:4])))
        if row["key"] == DaxAction.ALIGN:
            row["value"] = draw(st.sampled_from((4096, 2 << 20, 1 << 30)))
        elif row["key"] != DaxAction.DELETE:
            size = draw(st.sampled_from((4096, 2 << 20, 2 << 20, BLOCK // 2, BLOCK)))
            row |= {"start": low + draw(st.integers(0, 4)) * (BLOCK // 2), "size": size}
        rows.append(row)
        if draw(st.booleans()):
            write: Row = {"kind": EventKind.DAX_DRIVER, "label": label(name)}
            key = draw(st.sampled_from((DaxAction.NEW_ID, DaxAction.BIND, DaxAction.UNBIND)))
            rows.append(
                {**write, "key": key, "flags": int(draw(st.sampled_from((DaxDriver.KMEM, DaxDriver.DEVICE_DAX))))}
            )
    return rows


def driver_row(draw: Any) -> Row:
    """A write to a driver's files."""
    key = draw(st.sampled_from((DaxAction.BIND, DaxAction.UNBIND, DaxAction.NEW_ID, DaxAction.REMOVE_ID)))
    texts = (*DAXES, *TEXTS) if key in (DaxAction.NEW_ID, DaxAction.REMOVE_ID) else DAXES
    row: Row = {"kind": EventKind.DAX_DRIVER, "key": key, "label": label(draw(st.sampled_from(texts)))}
    row["flags"] = draw(st.sampled_from((DaxDriver.DEVICE_DAX, DaxDriver.KMEM, DaxDriver.KMEM)))
    if not draw(st.integers(0, 7)):
        row["env"] = -12
    return row


def memory_row(draw: Any) -> Row:
    """A block of any memory is taken off or on, added or removed by somebody else."""
    block = draw(st.integers(RAM[0] // BLOCK, SOFT[1] // BLOCK - 1)) * (BLOCK >> 12)
    kinds = (EventKind.MEMORY_BLOCK_ONLINE, EventKind.MEMORY_BLOCK_ONLINE, EventKind.MEMORY_BLOCK_OFFLINE)
    others = (EventKind.REMOVE_MEMORY, EventKind.ADD_MEMORY)
    row: Row = {"kind": draw(st.sampled_from((*kinds, *kinds, *others))), "pfn": block, "nr_pages": BLOCK >> 12}
    if row["kind"] == EventKind.ADD_MEMORY:
        row["label"] = 0
    return row


def look(pfn: int) -> Row:
    """A lookup."""
    return {"kind": EventKind.PFN_TO_ONLINE_PAGE, "pfn": pfn}


@st.composite
def device_rows(draw: st.DrawFn, *, max_events: int = 20) -> list[Row]:
    """Rows of a life of devices; calls may be in phases, with the calls that they make told or not, rightly or wrongly."""
    rows: list[Row] = []
    makers = (
        namespace_row,
        namespace_row,
        driver_row,
        driver_row,
        region_row,
        region_row,
        memory_row,
        bad_row,
        bad_row,
    )
    call = 0
    pgmap = 0
    coming: list[Row] = []
    for _ in range(draw(st.integers(1, max_events))):
        if not coming and draw(st.booleans()):
            coming = draw(st.sampled_from((life, life, medium_life, dynamic_life)))(draw)
        row = coming.pop(0) if coming and draw(st.integers(0, 4)) else draw(st.sampled_from(makers))(draw)
        if draw(st.booleans()):
            row["recorded_ret"] = draw(st.sampled_from((0, -16, -22)))
        if row["kind"] < EventKind.DAX_REGION or draw(st.integers(0, 2)):
            rows.append(row)
        else:
            call += 1
            done = {"kind": row["kind"], "phase": Phase.DONE, "call": call}
            if "recorded_ret" in row:
                done["recorded_ret"] = row.pop("recorded_ret")
            rows.append({**row, "phase": Phase.BEGIN, "call": call})
            for _ in range(draw(st.integers(0, 2))):
                pgmap += 1
                rows += _made(draw, caller=done["call"], call=call + 1, pgmap=pgmap)
                call += 1
            rows.append(done)
        rows += [look(pfn) for pfn in draw(st.lists(st.sampled_from(PFNS), max_size=4))]
    for i, row in enumerate(rows):
        row["time"] = i
    return rows


def _made(draw: Any, *, caller: int, call: int, pgmap: int) -> list[Row]:
    """The rows of a call that a driver is told to have made."""
    kind = draw(st.sampled_from((EventKind.ADD_MEMORY, EventKind.REMOVE_MEMORY, EventKind.MEMREMAP_PAGES)))
    row: Row = {"kind": kind, "pfn": PMEM[0] >> 12, "nr_pages": 2 * BLOCK >> 12, "caller": caller}
    # A trace tells of calls of the recorded kernel's driver; that of the replayed one may make others.
    if kind == EventKind.ADD_MEMORY and not draw(st.integers(0, 3)):
        row["env"] = -12
    if kind == EventKind.MEMREMAP_PAGES:
        row["pgmap"] = pgmap
    if draw(st.booleans()):
        row["recorded_ret"] = 0
    if draw(st.booleans()):
        return [row]
    part = {"kind": kind, "phase": Phase.SECTIONS, "call": call, "pfn": PMEM[0] >> 12, "nr_pages": BLOCK >> 12}
    done = {"kind": kind, "phase": Phase.DONE, "call": call}
    return [{**row, "phase": Phase.BEGIN, "call": call}, part, look(PMEM[0] >> 12), done]
