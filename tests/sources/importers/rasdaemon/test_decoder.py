"""From rasdaemon's text back to the number, and on to what the kernel meant: for each layout, with both tables."""

from __future__ import annotations

import numpy as np
import pytest

from replay.errors import UnknownNameError
from replay.kernel.poison_types import LAYOUTS, ActionType, layout_named
from replay.sources.importers.rasdaemon.decoder import (
    TABLES,
    Confidence,
    Place,
    at_place,
    only_old_texts,
    read_at,
    read_text,
    table_named,
)
from replay.sources.importers.rasdaemon.place import Places
from replay.trace.header import BootRange, Resource
from tests.trace.build import machine

OLD, NEW = TABLES
FIVE_TEN = layout_named("unsplit-thp")


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_round_trip(layout, table) -> None:
    """Every number of the kernel, through rasdaemon's table and back: right, or flagged with the right one among others."""
    for number, action in enumerate(layout.types):
        reading = read_text(table.text(number), layout, table, certain=True)
        same = [n for n in range(len(layout.types)) if table.text(n) == table.text(number)]
        assert list(reading.numbers) == same
        assert reading.types == tuple(layout.types[n] for n in same)
        if len(same) == 1:
            assert (reading.confidence, reading.type) == (Confidence.EXACT, action)
        else:
            assert (reading.confidence, reading.type) == (Confidence.AMBIGUOUS, None)
            assert reading.text == "unknown page"


def test_a_dax_page_of_5_10_is_not_an_unknown_page() -> None:
    """The trap: the newer table has no 20, and calls it what it calls everything that it does not know."""
    reading = read_text("unknown page", FIVE_TEN, NEW, certain=True)
    assert reading.types == (ActionType.BUDDY_2ND, ActionType.DAX, ActionType.UNSPLIT_THP, ActionType.UNKNOWN)
    assert reading.type is None
    assert at_place(reading, Place.UNKNOWN) is reading
    on_device = at_place(reading, Place.DEVICE)
    assert (on_device.type, on_device.confidence) == (ActionType.DAX, Confidence.PLACE)
    in_ram = at_place(reading, Place.RAM)
    assert (in_ram.type, in_ram.confidence) == (None, Confidence.AMBIGUOUS)
    assert ActionType.DAX not in in_ram.types


@pytest.mark.parametrize(
    ("kernel", "text", "meant"),
    [
        ("dax", "free buddy page", ActionType.CLEAN_LRU),
        ("dax", "unsplit thp", ActionType.BUDDY),
        ("dax", "already truncated LRU page", ActionType.DIRTY_LRU),
        ("get-hwpoison", "different compound page after locking", ActionType.HUGE),
        ("get-hwpoison", "free huge page", ActionType.GET_HWPOISON),
        ("pud-huge", "unknown page", ActionType.UNKNOWN),
    ],
)
def test_known_cases(kernel: str, text: str, meant: ActionType) -> None:
    """What rasdaemon's newer table makes of older and newer kernels."""
    assert read_text(text, layout_named(kernel), NEW, certain=True).type is meant


def test_the_table_is_assumed_only_where_it_matters() -> None:
    assert read_text("dax page", FIVE_TEN, OLD, certain=True).type is ActionType.DAX
    assert read_text("dax page", FIVE_TEN, NEW, certain=False).type is ActionType.TRUNCATED_LRU
    assert read_text("dax page", FIVE_TEN, NEW, certain=False).confidence is Confidence.ASSUMED
    assert read_text("kernel slab page", FIVE_TEN, NEW, certain=False).confidence is Confidence.EXACT


def test_the_text_for_everything_else_is_never_assumed() -> None:
    """Where the table is not certain, "unknown page" is all that it is with either."""
    for table in TABLES:
        reading = read_text("unknown page", FIVE_TEN, table, certain=False)
        assert reading.confidence is Confidence.AMBIGUOUS
        assert ActionType.DAX in reading.types
    assert read_text("unknown page", layout_named("pud-huge"), NEW, certain=False).type is ActionType.UNKNOWN


def test_the_place_can_tell_which_table_it_was() -> None:
    """A text that would be impossible there with the assumed table, and not with the other one."""
    dax = read_at("dax page", FIVE_TEN, NEW, Place.DEVICE, certain=False)
    assert (dax.type, dax.confidence) == (ActionType.DAX, Confidence.PLACE)
    assert read_at("dax page", FIVE_TEN, NEW, Place.DEVICE, certain=True).confidence is Confidence.CONFLICT
    ram = read_at("dax page", FIVE_TEN, NEW, Place.RAM, certain=False)
    assert (ram.type, ram.confidence) == (ActionType.TRUNCATED_LRU, Confidence.ASSUMED)


def test_what_cannot_be() -> None:
    """A text nobody writes; a text for which the kernel has no number; a type that is impossible at the place."""
    assert read_text("dirty lru page", FIVE_TEN, NEW, certain=True).confidence is Confidence.UNREADABLE
    late = read_text("unknown page", layout_named("before-dax"), OLD, certain=True)
    assert (late.confidence, late.numbers) == (Confidence.CONFLICT, ())
    dax = read_text("dax page", FIVE_TEN, OLD, certain=True)
    assert at_place(dax, Place.RAM).confidence is Confidence.CONFLICT
    assert at_place(dax, Place.RAM).type is None
    assert at_place(dax, Place.DEVICE) is dax


def test_texts_of_the_older_table() -> None:
    assert set(only_old_texts()) == {
        "huge page already hardware poisoned", "non-pmd-sized huge page", "free buddy page (2nd try)"
    }  # fmt: skip
    assert [table_named(table.name) for table in TABLES] == list(TABLES)
    with pytest.raises(UnknownNameError, match=r"2020 .rasdaemon before 0.8.1. and 2024"):
        table_named("2021")


def test_places() -> None:
    """RAM, a device in sections of its own, a device that shares a section with RAM, nothing."""
    described = machine(
        memory=(BootRange(0x100, 0x20000), BootRange(0x100000, 0x104000)),
        resources=(
            Resource(0x100000, 0x1FFFFFFF, "System RAM", busy=True, ram=True),
            Resource(0x104000000, 0x11FFFFFFF, "Persistent Memory"),
            Resource(0x200000000, 0x20FFFFFFF, "Persistent Memory"),
            Resource(0x200000000, 0x207FFFFFF, "System RAM (kmem)", busy=True, ram=True),
        ),
    )
    pfns = np.array([0x100, 0xFF, 0x104000, 0x108000, 0x11FFFF, 0x120000, 0x200000, 0x208000, 1 << 40], np.uint64)
    expected = [
        Place.RAM, Place.UNKNOWN, Place.UNKNOWN, Place.DEVICE, Place.DEVICE, Place.UNKNOWN, Place.RAM, Place.DEVICE,
        Place.UNKNOWN,
    ]  # fmt: skip
    assert Places(described).of(pfns).tolist() == expected
    assert set(Places(None).of(pfns).tolist()) == {Place.UNKNOWN}
