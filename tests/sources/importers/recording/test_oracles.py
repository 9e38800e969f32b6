"""Marks, and dumps of the section table between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.errors import InputError
from replay.trace.schema import EventKind, Phase
from tests.sources.importers.recording.build import SECTIONS, Lab, Row

LOW, HIGH, MAP = 0x10C000, 0x110000, 0xFF11000000001000
DUMP, STATE, MARK = EventKind.SECTIONS_DUMP, EventKind.SECTION_STATE, EventKind.MARK


def labels(rows: list[Row], strings: tuple[str, ...]) -> list[str]:
    return [strings[r["label"]] for r in rows if r["kind"] in (DUMP, MARK)]


def kcore(lab: Lab) -> None:
    """A read of /proc/kcore as it shows in the trace."""
    lab.online_enter(0x100000, task=400)
    lab.line("pfn_to_online_page__return", "(read_kcore_iter+0x1/0x2 <- pfn_to_online_page) page=0x0", task=400)


def test_where_dumps_stand(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files |= {"sections-01-a.txt": SECTIONS, "sections-102-c.txt": SECTIONS, "sections-end.txt": SECTIONS}
    for step in ("01 begin a", "01 end a rc=0", "02 begin b", "02 end b rc=0", "102 begin c", "102 end c rc=1"):
        lab.mark(f"STEP {step}")
    for mark in ("WALK begin name=x", "WALK end name=x", "VICTIM id=1 begin", "VICTIM id=1 end", "SOAK seed=1"):
        lab.mark(mark)
    rows, _, provenance, strings = lab.read()
    assert labels(rows, strings) == [
        "ARMED kernel=6.1 scenario=made-up", "sections", "STEP 01 begin a", "STEP 01 end a rc=0", "sections-01-a",
        "STEP 02 begin b", "STEP 02 end b rc=0", "STEP 102 begin c", "STEP 102 end c rc=1", "sections-102-c",
        "WALK begin name=x", "WALK end name=x", "sections-end",
    ]  # fmt: skip
    assert all("window" not in r or r["window"] == 0 for r in rows)
    assert provenance.unused == {"mark VICTIM": 2, "mark SOAK": 1}
    states = [r for r in rows if r["kind"] == STATE]
    assert [(r["pfn"], r["recorded_flags"], r["recorded_bits"]) for r in states[:3]] == [
        (0, 15, (1 << 64) - 1), (0x100000, 15, (1 << 64) - 1), (0x108000, 15, (1 << 32) - 1),
    ]  # fmt: skip
    assert [r["nr_pages"] for r in rows if r["kind"] == DUMP] == [3] * 4


def late(lab: Lab, *, read_before: bool = False, read_after: bool = False) -> list[Row]:
    """A step whose change comes after the mark that ends it; the dump is read before or after that."""
    lab.files["sections-01-a.txt"] = SECTIONS
    lab.mark("STEP 01 begin a")
    lab.mark("STEP 01 end a rc=0")
    if read_before:
        kcore(lab)
    lab.map(MAP, LOW, HIGH)
    if read_after:
        kcore(lab)
    lab.mark("STEP 02 begin b")
    lab.unmap(MAP, LOW, HIGH)
    return lab.rows()


def windows(rows: list[Row]) -> dict[int, Row]:
    """The row that the window of each section state reaches, by pfn; 1 for the dump as a whole."""
    dump = [r for r in rows if r["kind"] in (DUMP, STATE)][4:]
    return {r.get("pfn", 1): rows[r["row"] + r["window"]] for r in dump if r["window"]}


def test_a_change_after_the_end_of_the_step(tmp_path: Path) -> None:
    rows = late(Lab(tmp_path))
    found = windows(rows)
    assert set(found) == {1, 0x108000}
    assert all((r["kind"], r["phase"]) == (EventKind.MEMREMAP_PAGES, Phase.ZONE) for r in found.values())


@pytest.mark.parametrize("before", [False, True])
def test_reads_of_kcore_tell_when_the_dump_was_made(tmp_path: Path, before: bool) -> None:
    rows = late(Lab(tmp_path), read_before=before, read_after=not before)
    zone = next(r for r in rows if r.get("phase") == Phase.ZONE)
    dump = [r for r in rows if r["kind"] == DUMP][1]
    assert (dump["row"] < zone["row"]) == before
    # Read before the change, by a task of which nothing is seen later: the last piece may have been read at any time.
    assert bool(windows(rows)) == before


def test_a_dump_without_its_mark(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files["sections-09-x.txt"] = SECTIONS
    rows, _, provenance, strings = lab.read()
    assert labels(rows, strings)[-1] == "sections"
    assert provenance.notes == (
        "sections-09-x.txt: the trace has no mark that ends this step, so the dump is not used",
    )


def test_no_armed_mark(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.lines.clear()
    lab.online(LOW)
    rows, _, provenance, _ = lab.read()
    blocks = (EventKind.BLOCKS_DUMP, EventKind.BLOCK_STATE)
    kinds = [r["kind"] for r in rows if r["kind"] not in blocks]
    assert kinds == [DUMP, STATE, STATE, STATE, EventKind.PFN_TO_ONLINE_PAGE]
    assert "ARMED" in provenance.notes[0]


def test_a_damaged_dump(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files["sections-end.txt"] = "0 0 0x0 PMO\n"
    with pytest.raises(InputError, match=r"sections-end\.txt:1"):
        lab.read()
