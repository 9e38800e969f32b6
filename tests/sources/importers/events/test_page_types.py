"""The number of a page type means what the kernel's layout says; texts and numbers are decoded, doubt is kept."""

from __future__ import annotations

import pytest

from replay.errors import UnknownNameError
from replay.kernel.poison_types import LAYOUTS, ActionType
from replay.sources.importers.events.page_types import PageTypes, layout_named
from replay.trace.reader import TraceFile
from tests.sources.importers.events.imported import calls, import_bytes

OF_LAYOUT = {layout.name: f"{layout.last[0]}.{layout.last[1]}" for layout in LAYOUTS}


def raw(numbers: range) -> bytes:
    line = "  a-5  [000] .....  1.0001: memory_failure_event:  pfn=0x{0:x} type={0} result=1\n"
    return "".join(line.format(n) for n in numbers).encode()


def test_there_are_eight_layouts() -> None:
    assert len(OF_LAYOUT) == 8


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_raw_numbers_by_the_layout_of_the_kernel(tmp_path, layout) -> None:
    """As `trace-cmd report -R` prints them."""
    import_bytes(raw(range(len(layout.types))), tmp_path / "t.arrow", kernel=OF_LAYOUT[layout.name])
    assert [row["recorded_type"] for row in calls(tmp_path / "t.arrow")] == list(range(len(layout.types)))
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        for number, kind in enumerate(layout.types):
            said = trace.provenance.parameters[f"page type '{number}'"]
            assert (
                said == f"{kind.name}, number {number}; as sure as that the number is of layout {layout.name}; 1 events"
            )


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_texts_get_the_number_of_the_kernel(layout) -> None:
    types = PageTypes(OF_LAYOUT[layout.name])
    for number, kind in enumerate(layout.types):
        decoded = types.read(kind.display)
        assert (decoded.types, decoded.stored) == ((kind,), number)
        assert decoded.sure.startswith("exact")
    absent = set(ActionType) - set(layout.types)
    assert absent
    for kind in absent - {ActionType.OUTSIDE_CONTROL, ActionType.NOT_LRU}:
        assert types.read(kind.display).stored is None
    assert "the input is of another kernel" in types.notes()[0]


def test_numbers_of_another_layout_are_renumbered(tmp_path) -> None:
    """A distribution's 4.18 with the layout of 5.10: one version, two layouts."""
    dax, unsplit = 20, 21
    import_bytes(raw(range(dax, unsplit + 1)), tmp_path / "t.arrow", kernel="5.18", layout="unsplit-thp")
    assert [row["recorded_type"] for row in calls(tmp_path / "t.arrow")] == [18, 19]
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        assert trace.provenance.parameters["page type '20'"].startswith("DAX, number 18; as sure as")


def test_symbols_that_the_tool_does_not_know_are_numbers() -> None:
    """The table of symbols of v4.19 lacks dax pages, so the ring buffer prints them in hexadecimal."""
    decoded = PageTypes("4.19").read("0x14")
    assert (decoded.types, decoded.stored) == ((ActionType.DAX,), 20)
    assert not PageTypes("4.19").read("0x99").types
    assert not PageTypes("4.19").read("a yak").types


def test_what_v2_6_32_does_not_tell_apart_stays_open() -> None:
    types = PageTypes("2.6.32")
    decoded = types.read("swapcache")
    assert set(decoded.types) == {ActionType.DIRTY_SWAPCACHE, ActionType.CLEAN_SWAPCACHE}
    assert decoded.stored is None
    assert decoded.sure.startswith("ambiguous")
    assert types.read("free kernel").types == (ActionType.BUDDY,)
    assert "no recorded_type" in types.notes()[0]


def test_unknown_layouts() -> None:
    with pytest.raises(UnknownNameError, match="unsplit-thp"):
        layout_named("unsplit-the")
    assert layout_named("pfn-map").last == (7, 2)


def test_a_kernel_whose_numbers_are_not_known_keeps_the_result(tmp_path) -> None:
    line = b"  a-5  [000] .....  1.0001: memory_failure_event: pfn 0x77: recovery action for dax page: Failed\n"
    report = import_bytes(line, tmp_path / "t.arrow", kernel="6.10.3")
    assert calls(tmp_path / "t.arrow") == [{"kind": "memory_failure", "pfn": 0x77, "recorded_result": 1}]
    assert any("6.10.3 are not known" in note for note in report.warnings)
