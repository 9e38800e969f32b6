"""Drivers and devices of a recording: told by the calls that they made and by what /sys shows afterwards."""

from __future__ import annotations

from pathlib import Path

from replay.sources.importers.recording.nd_dumps import read_nd
from replay.trace.schema import DaxAction, DaxDriver, DaxFlags, EventKind, NamespaceFlags, Phase
from tests.sources.importers.recording.build import ALTMAP, IOMEM, Lab, Row

LOW, HIGH = 0x10C000, 0x118000  # the namespace, and the region
MAP = 0xFF11000000001000
KINDS = (EventKind.NAMESPACE, EventKind.DAX_DRIVER)

REGION = f"[/sys/bus/nd/devices/region0]\nresource={LOW << 12:#x}\nsize={HIGH - LOW << 12}\nmappings=0\ntarget_node=0\n"
NAMESPACE = f"""\
[/sys/bus/nd/devices/namespace0.0]
resource={LOW << 12:#x}
size={HIGH - LOW << 12}
holder={{holder}}
target_node=0
driver={{driver}}
[/sys/bus/nd/devices/dax0.0]
align=2097152
devtype=nd_dax
driver={{dax}}
"""
DAX = (
    f"[/sys/bus/dax/devices/dax0.0]\nresource={LOW + 0x200 << 12:#x}\nsize={HIGH - LOW - 0x200 << 12}\ntarget_node=0\n"
)
RAW = REGION + NAMESPACE.format(holder="", driver="nd_pmem", dax="")
DEVDAX = REGION + NAMESPACE.format(holder="dax0.0", driver="", dax="dax_pmem") + DAX
GONE = REGION + NAMESPACE.format(holder="", driver="", dax="")
WITH_ALTMAP = {**ALTMAP, "flags": "0x1", "altmap_base_pfn": hex(LOW), "altmap_reserve": 2, "altmap_free": 0x1FE}


def step(lab: Lab, number: int, name: str) -> None:
    lab.mark(f"STEP {number:02} begin {name}")


def end(lab: Lab, number: int, name: str, dump: str) -> None:
    lab.mark(f"STEP {number:02} end {name} rc=0")
    lab.files[f"dax-{number:02}-{name}.txt"] = dump


def told(rows: list[Row]) -> list[tuple[int, int, int]]:
    """Kind, action and flags of each call about devices."""
    return [(r["kind"], r["key"], r.get("flags", 0)) for r in rows if r["kind"] in KINDS and "key" in r]


def callers(rows: list[Row]) -> list[tuple[int, int]]:
    """Kind of each call that was made, and of the call that made it."""
    calls = {r["call"]: r["kind"] for r in rows if r.get("phase") == Phase.BEGIN}
    return [(r["kind"], calls[r["caller"]]) for r in rows if "caller" in r]


def test_what_is_in_use() -> None:
    """A namespace is raw without a holder, in use where something drives it or its holder; the region is of e820."""
    for text, flags in ((RAW, 0), (DEVDAX, NamespaceFlags.DEVDAX)):
        found = read_nd(text)
        assert found.regions["region0"].legacy
        assert (found.namespaces["namespace0.0"].flags, found.namespaces["namespace0.0"].start) == (flags, LOW << 12)
    assert not read_nd(GONE).namespaces
    assert read_nd(DEVDAX + "driver=kmem\n").daxes["dax0.0"].driver == DaxDriver.KMEM
    assert read_nd(DEVDAX).daxes["dax0.0"].driver == DaxDriver.NONE


def test_a_namespace_is_put_to_use_and_given_up(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    step(lab, 1, "raw")
    lab.map(MAP, LOW, HIGH)
    end(lab, 1, "raw", RAW)
    step(lab, 2, "off")
    lab.unmap(MAP, LOW, HIGH)
    end(lab, 2, "off", GONE)
    rows = lab.rows()
    legacy = int(NamespaceFlags.LEGACY)
    kind = EventKind.NAMESPACE
    assert told(rows) == [(kind, DaxAction.CREATE, legacy), (kind, DaxAction.DELETE, 0)]
    assert callers(rows) == [(EventKind.MEMREMAP_PAGES, kind), (EventKind.MEMUNMAP_PAGES, kind)]
    begin = next(r["row"] for r in rows if r["kind"] == kind)
    made = [r["row"] for r in rows if r["kind"] == EventKind.MEMREMAP_PAGES]
    done = [r["row"] for r in rows if r["kind"] == kind and r.get("phase") == Phase.DONE]
    assert begin < made[0] < made[-1] < done[0]


def test_from_devdax_to_memory_and_back(tmp_path: Path) -> None:
    """Unmapping before memory is added, and removing before the device is mapped, are the device's driver only."""
    lab = Lab(tmp_path)
    block = (0x110000, HIGH)
    where = {"start": hex(block[0] << 12), "size": hex(block[1] - block[0] << 12)}
    step(lab, 1, "devdax")
    lab.map(MAP, LOW, HIGH, **WITH_ALTMAP)
    end(lab, 1, "devdax", DEVDAX + "driver=device_dax\n")
    step(lab, 2, "kmem")
    lab.unmap(MAP, LOW, HIGH)
    lab.enter("add_memory_driver_managed", 200, nid=0, **where)
    lab.add(*block)
    lab.leave("add_memory_driver_managed", 200, ret=0)
    end(lab, 2, "kmem", DEVDAX + "driver=kmem\n")
    step(lab, 3, "back")
    lab.enter("try_remove_memory", 200, **where)
    lab.enter("section_deactivate", 200, pfn=hex(block[0]), nr_pages=hex(block[1] - block[0]))
    lab.leave("try_remove_memory", 200, ret=0)
    lab.map(MAP, LOW, HIGH, **WITH_ALTMAP)
    end(lab, 3, "back", DEVDAX + "driver=device_dax\n")
    step(lab, 4, "off")
    lab.unmap(MAP, LOW, HIGH)
    end(lab, 4, "off", GONE)
    rows = lab.rows()
    driver, device, kmem = EventKind.DAX_DRIVER, int(DaxDriver.DEVICE_DAX), int(DaxDriver.KMEM)
    flags = int(NamespaceFlags.DEVDAX | NamespaceFlags.LEGACY)
    assert told(rows) == [
        (EventKind.NAMESPACE, DaxAction.CREATE, flags),
        (driver, DaxAction.REMOVE_ID, device),
        (driver, DaxAction.UNBIND, device),
        (driver, DaxAction.NEW_ID, kmem),
        (driver, DaxAction.REMOVE_ID, kmem),
        (driver, DaxAction.UNBIND, kmem),
        (driver, DaxAction.BIND, device),
        (EventKind.NAMESPACE, DaxAction.DELETE, 0),
    ]
    assert [kind for kind, _ in callers(rows)] == [
        EventKind.MEMREMAP_PAGES,
        EventKind.MEMUNMAP_PAGES,
        EventKind.ADD_MEMORY,
        EventKind.REMOVE_MEMORY,
        EventKind.MEMREMAP_PAGES,
        EventKind.MEMUNMAP_PAGES,
    ]


def test_memory_that_is_no_device_is_left_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    step(lab, 1, "plug")
    lab.enter("__add_memory", 200, nid=0, start="0x120000000", size="0x8000000")
    lab.add(0x120000, 0x128000)
    lab.leave("__add_memory", 200, ret=0)
    end(lab, 1, "plug", GONE)
    rows = lab.rows()
    assert told(rows) == []
    assert callers(rows) == []


def test_regions_of_the_firmwares_table_are_claimed(tmp_path: Path) -> None:
    """Not those of the e820 map, which /proc/iomem shows from the start."""
    lab = Lab(tmp_path)
    step(lab, 1, "load")
    nfit = "[/sys/bus/nd/devices/region1]\nresource=0x200000000\nsize=1073741824\nmappings=1\n"
    end(lab, 1, "load", REGION + nfit)
    claims = lab.rows(EventKind.RESOURCE_INSERT)
    assert [(r["start"], r["size"]) for r in claims] == [(0x200000000, 1 << 30)]


def test_dumps_of_the_machine(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    step(lab, 1, "devdax")
    lab.map(MAP, LOW, HIGH, **WITH_ALTMAP)
    end(lab, 1, "devdax", DEVDAX + "driver=device_dax\n")
    lab.files["iomem-01-devdax.txt"] = "100000000-10bffffff : System RAM\n10c000000-117ffffff : Persistent Memory\n"
    lab.files["memory_blocks-01-devdax.txt"] = (
        "memory32 phys_index=20 state=online node=0\nmemory33 phys_index=21 state=offline node=0\n"
        "memory34 phys_index=22 state=going-offline node=0\n"
    )
    rows, _, provenance, strings = lab.read()
    resources = [r for r in rows if r["kind"] == EventKind.RESOURCE_STATE]
    assert [(strings[r["label"]], r["start"], r["value"]) for r in resources] == [
        ("System RAM", 0x100000000, 0),
        ("Persistent Memory", 0x10C000000, 0),
    ]
    blocks = [(r["pfn"], r["recorded_flags"]) for r in rows if r["kind"] == EventKind.BLOCK_STATE]
    assert blocks[-2:] == [(0x100000, 4), (0x108000, 0)]
    assert any("memory34 is going-offline" in note for note in provenance.notes)
    (dax,) = [r for r in rows if r["kind"] == EventKind.DAX_STATE]
    assert (dax["recorded_flags"], dax["node"], dax["start"]) == (DaxDriver.DEVICE_DAX, 0, LOW + 0x200 << 12)


def test_a_raw_namespace_without_a_pagemap_is_seen_in_print_only(tmp_path: Path) -> None:
    """It is put to use by the end of the step, and given up before it is mapped otherwise."""
    lab = Lab(tmp_path)
    dimms = REGION.replace("mappings=0", "mappings=1")
    lab.files["iomem.txt"] = lab.files["iomem.txt"].replace("10c000000-117ffffff : Persistent Memory (legacy)\n", "")
    step(lab, 1, "raw")
    end(lab, 1, "raw", RAW.replace(REGION, dimms))
    step(lab, 2, "devdax")
    lab.map(MAP, LOW, HIGH, **WITH_ALTMAP)
    end(lab, 2, "devdax", DEVDAX.replace(REGION, dimms) + "driver=device_dax\n")
    rows = lab.rows()
    kind, devdax = EventKind.NAMESPACE, int(NamespaceFlags.DEVDAX)
    assert told(rows) == [(kind, DaxAction.CREATE, 0), (kind, DaxAction.DELETE, 0), (kind, DaxAction.CREATE, devdax)]
    kinds = [r["kind"] for r in rows]
    assert kinds.index(EventKind.RESOURCE_INSERT) < kinds.index(kind) < kinds.index(EventKind.MEMREMAP_PAGES)


def without_claims(lab: Lab) -> str:
    """Return the note that says why the resource tree is not compared, after checking that it is not."""
    lab.files["iomem-01-a.txt"] = "100000000-10bffffff : System RAM\n"
    rows, _, provenance, _ = lab.read()
    kinds = {r["kind"] for r in rows}
    assert not kinds & {EventKind.RESOURCES_DUMP, EventKind.DAX_DUMP, *KINDS}
    assert EventKind.BLOCKS_DUMP in kinds
    (note,) = [note for note in provenance.notes if "are not compared" in note]
    return note


def test_claims_that_are_not_known_are_not_compared(tmp_path: Path) -> None:
    """Devices from before the first event, a mapping without prints, a mapping of nothing that is printed."""
    early, blind, foreign = (Lab(tmp_path / name) for name in ("early", "blind", "foreign"))
    early.files["dax.txt"] = DEVDAX
    for lab in (early, blind, foreign):
        step(lab, 1, "a")
        if lab is not early:
            lab.map(MAP, LOW, HIGH)
        lab.mark("STEP 01 end a rc=0")
    foreign.files["dax-01-a.txt"] = GONE
    assert "before the first event" in without_claims(early)
    assert "no print of /sys/bus/nd" in without_claims(blind)
    assert "of no namespace that /sys shows" in without_claims(foreign)


def test_a_namespace_that_is_enabled_again_says_nothing_of_itself(tmp_path: Path) -> None:
    """The uuid of its info block is that of an earlier print: KEEP. One of another uuid is told of as ever."""
    lab = Lab(tmp_path)
    for number, (name, uuid) in enumerate((("new", "1"), ("again", "1"), ("other", "2")), 1):
        step(lab, number, name)
        lab.map(MAP, LOW, HIGH, **WITH_ALTMAP)
        text = DEVDAX.replace("devtype=nd_dax", f"devtype=nd_dax\nuuid={uuid}") + "driver=device_dax\n"
        end(lab, number, name, text)
        off = f"{name}-off"
        step(lab, number + 10, off)
        lab.unmap(MAP, LOW, HIGH)
        end(lab, number + 10, off, GONE)
    rows = lab.rows()
    created = [r for r in rows if r["kind"] == EventKind.NAMESPACE and r.get("key") == DaxAction.CREATE]
    keep, legacy, devdax = (int(flag) for flag in (NamespaceFlags.KEEP, NamespaceFlags.LEGACY, NamespaceFlags.DEVDAX))
    assert [r["flags"] for r in created] == [devdax | legacy, keep | legacy, devdax | legacy]
    assert ["value" in r for r in created] == [True, False, True]


SOFT = IOMEM.replace("Persistent Memory (legacy)", "Soft Reserved")


def device(name: str, *ranges: tuple[int, int], driver: str = "") -> str:
    """A print of a device of a dynamic region with pfn ranges [start, end)."""
    lines = [f"[/sys/bus/dax/devices/{name}]", f"resource={ranges[0][0] << 12 if ranges else LOW << 12:#x}"]
    lines += [f"size={sum(high - low for low, high in ranges) << 12}", "target_node=1"]
    for n, (low, high) in enumerate(ranges):
        lines += [f"mapping{n}/start={low << 12:#x}", f"mapping{n}/end={(high << 12) - 1:#x}"]
    return "\n".join([*lines, *([f"driver={driver}"] if driver else [])]) + "\n"


def test_devices_of_a_dynamic_region(tmp_path: Path) -> None:
    """They appear, are sized, taken by drivers and given up; where no call tells when, it is by the end of the step."""
    one, two = (LOW, LOW + 0x1000), (0x110000, HIGH)
    where = {"start": hex(two[0] << 12), "size": hex(two[1] - two[0] << 12)}
    lab = Lab(tmp_path)
    lab.files["iomem.txt"] = SOFT
    step(lab, 1, "load")
    end(lab, 1, "load", device("dax0.0", (LOW, HIGH)))
    step(lab, 2, "free")
    end(lab, 2, "free", device("dax0.0"))
    step(lab, 3, "make")
    lab.map(MAP, *one)
    end(lab, 3, "make", device("dax0.0") + device("dax0.1", one, two, driver="device_dax"))
    step(lab, 4, "ram")
    lab.unmap(MAP, *one)
    lab.enter("add_memory_driver_managed", 200, nid=1, **where)
    lab.add(*two)
    lab.leave("add_memory_driver_managed", 200, ret=0)
    end(lab, 4, "ram", device("dax0.0") + device("dax0.1", one, two, driver="kmem"))
    step(lab, 5, "off")
    lab.enter("try_remove_memory", 200, **where)
    lab.enter("section_deactivate", 200, pfn=hex(two[0]), nr_pages=hex(two[1] - two[0]))
    lab.leave("try_remove_memory", 200, ret=0)
    end(lab, 5, "off", device("dax0.0"))
    rows = lab.rows()
    region, dax, driver = EventKind.DAX_REGION, EventKind.DAX_DEVICE, EventKind.DAX_DRIVER
    found = [
        (r["kind"], r["key"], r.get("size", 0) >> 12) for r in rows if r["kind"] in (region, dax, driver) and "key" in r
    ]
    assert found == [
        (region, DaxAction.CREATE, HIGH - LOW),
        (dax, DaxAction.CREATE, 0), (dax, DaxAction.SIZE, HIGH - LOW),
        (dax, DaxAction.SIZE, 0),
        (dax, DaxAction.CREATE, 0), (dax, DaxAction.SIZE, 0x1000 + two[1] - two[0]), (driver, DaxAction.NEW_ID, 0),
        (driver, DaxAction.REMOVE_ID, 0), (driver, DaxAction.UNBIND, 0), (driver, DaxAction.NEW_ID, 0),
        (driver, DaxAction.REMOVE_ID, 0), (driver, DaxAction.UNBIND, 0), (dax, DaxAction.SIZE, 0),
        (dax, DaxAction.DELETE, 0),
    ]  # fmt: skip
    (appears,) = (r for r in rows if r["kind"] == region)
    assert (appears["start"], appears["node"], appears["value"]) == (LOW << 12, 1, 0)
    assert appears["flags"] == DaxFlags.DYNAMIC | DaxFlags.KMEM
    assert [kind for kind, _ in callers(rows)] == [
        EventKind.MEMREMAP_PAGES, EventKind.MEMUNMAP_PAGES, EventKind.ADD_MEMORY, EventKind.REMOVE_MEMORY,
    ]  # fmt: skip
    states = [(r["size"] >> 12, r["recorded_flags"]) for r in rows if r["kind"] == EventKind.DAX_STATE and "size" in r]
    assert states == [(HIGH - LOW, 0), (0x1000, DaxDriver.DEVICE_DAX), (0x1000, DaxDriver.KMEM)], "the first range"


def test_a_device_outside_of_what_is_known_tells_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files["iomem.txt"] = SOFT
    step(lab, 1, "load")
    lab.map(MAP, LOW, LOW + 0x1000)
    end(lab, 1, "load", device("dax0.0", (0x900000, 0x908000), driver="device_dax"))
    rows = lab.rows()
    assert not any(r["kind"] in (EventKind.DAX_REGION, EventKind.DAX_DEVICE, EventKind.DAX_DUMP) for r in rows)


def test_devices_that_are_not_told_apart(tmp_path: Path) -> None:
    """Memory is added while kmem has two devices: no rows about devices, and a warning says why."""
    lab = Lab(tmp_path)
    lab.files["iomem.txt"] = SOFT
    step(lab, 1, "ram")
    lab.enter("add_memory_driver_managed", 200, nid=1, start=hex(0x110000 << 12), size="0x8000000")
    lab.add(0x110000, HIGH)
    lab.leave("add_memory_driver_managed", 200, ret=0)
    both = device("dax0.0", (LOW, 0x110000), driver="kmem") + device("dax0.1", (0x110000, HIGH), driver="kmem")
    end(lab, 1, "ram", both)
    rows, _, provenance, _ = lab.read()
    assert not any(r["kind"] in (EventKind.DAX_REGION, EventKind.DAX_DEVICE, EventKind.DAX_DUMP) for r in rows)
    assert any("no print tells which dax device add_memory_driver_managed is for" in note for note in provenance.notes)
