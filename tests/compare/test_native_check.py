"""A candidate in C gets the verdicts of the tables, lookup by lookup, wherever the machine is in its trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from replay.compare.native import NativeCandidate, NativeReport
from replay.compare.native.candidate import built_in_for
from replay.compare.native.layout import Function
from replay.compare.native.pieces import Piece
from replay.compare.native.random_states import X86_64, RandomStates
from replay.compare.native.stream import TraceLookups
from replay.engine.replay import replay_trace
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.walk import Bit
from replay.trace.header import MachineDescription, Provenance
from replay.trace.reader import TraceFile
from replay.trace.schema import COLUMNS, EventKind
from replay.trace.writer import write_trace
from tests.compare.c_files import (
    COLLISION,
    GIVES_BACK_TWICE,
    KEEPS_REFERENCE,
    NO_SUBSECTION,
    TRACES,
    needs_compiler,
    online,
)
from tests.golden.states import CAN_BE, CODES
from tests.property.strategies import STRINGS, Case, cases

ONLINE, VALID, METADATA = Function.PFN_TO_ONLINE_PAGE, Function.PFN_VALID, Function.PGMAP_PFN_VALID
WALKS = [name for name, preset in PRESETS.items() if not preset.poison_only]
FORMS = ("v4.18", "v5.11", "v5.12")
QUICK = ("5.10.223-s6-poison-dax", "6.1.192-s2a-pmem-collision", "6.1.192-s4-kmem", "7.2.13-s3-hotplug")
ARM64 = MachineDescription("aarch64", 12, 30, 48, 1 << 30, "5.10")
GEOMETRIES = (
    X86_64,
    ARM64,
    replace(ARM64, section_size_bits=27),
    MachineDescription("aarch64", 16, 29, 52, 1 << 29, "6.1"),
    MachineDescription("ppc64", 16, 24, 51, 1 << 24, "6.1"),
    MachineDescription("riscv64", 12, 27, 56, 1 << 27, "6.1"),
    MachineDescription("s390x", 12, 28, 46, 1 << 28, "6.1"),
)

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def forms() -> dict[str, NativeCandidate]:
    """The built-in forms, compiled once for each machine that they meet."""
    return {name: NativeCandidate(name) for name in FORMS}


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> NativeCandidate:
        path = tmp_path / "candidate.c"
        path.write_text(text)
        return NativeCandidate(path)

    return write


@pytest.mark.parametrize("trace", QUICK)
@pytest.mark.parametrize("kernel", ["v4.18", "v5.11", "v6.1"])
def test_built_in_forms_say_what_the_tables_say_on_recorded_traces(
    forms: dict[str, NativeCandidate], trace: str, kernel: str
) -> None:
    chosen = profile(kernel)
    path = TRACES / f"{trace}.arrow"
    report = forms[built_in_for(chosen)].check(path, chosen, processes=0)
    assert report.agrees
    with TraceFile.open(path) as opened:
        tally = replay_trace(opened, chosen).tally
    # Every lookup of the trace was made, and decided by the checks that the engine counts.
    checks = Counter()
    for (check, _, _), n in report.functions[ONLINE].verdicts.items():
        checks[check] += n
    with_window = sum(tally.agreement[ONLINE.name.lower()].not_compared.values())
    assert checks.total() == tally.agreement[ONLINE.name.lower()].recorded
    assert checks.total() - sum(tally.checks[ONLINE.name.lower()].values()) in {0, with_window}


@pytest.mark.parametrize("kernel", WALKS)
def test_built_in_forms_say_what_the_tables_say_in_any_state(forms: dict[str, NativeCandidate], kernel: str) -> None:
    chosen = profile(kernel)
    form = built_in_for(chosen)
    assert form is not None
    report = forms[form].check_source(RandomStates(chosen, 8_000), chosen)
    assert report.agrees, report.functions[ONLINE].differences
    assert report.functions[ONLINE].lookups == 8_000


@pytest.mark.parametrize("kernel", ["v5.11", "v6.1"])
@pytest.mark.parametrize("machine", GEOMETRIES, ids=lambda m: f"{m.arch}-{m.page_shift}-{m.section_size_bits}")
def test_every_geometry(forms: dict[str, NativeCandidate], kernel: str, machine: MachineDescription) -> None:
    chosen = profile(kernel)
    report = forms[built_in_for(chosen)].check_source(RandomStates(chosen, 8_000, description=machine), chosen)
    assert report.agrees, [f.differences for f in report.functions.values()]


@pytest.mark.parametrize("option", ["SPARSEMEM_VMEMMAP", "MEMORY_HOTPLUG", "HOLES_IN_ZONE"])
@pytest.mark.parametrize("kernel", ["v4.18", "v5.11", "v6.1"])
def test_every_configuration(forms: dict[str, NativeCandidate], kernel: str, option: str) -> None:
    chosen = profile(kernel)
    machine = replace(X86_64, config={option: option == "HOLES_IN_ZONE"})
    report = forms[built_in_for(chosen)].check_source(RandomStates(chosen, 8_000, description=machine), chosen)
    assert report.agrees, report.functions[ONLINE].differences


@pytest.mark.parametrize("kernel", ["v4.18", "v5.1", "v5.3", "v5.4.195", "v5.11", "v5.12", "v6.1"])
@pytest.mark.parametrize("machine", [X86_64, ARM64], ids=["x86_64", "arm64"])
def test_the_headers_pfn_valid_is_that_of_the_kernel_compared_with(
    written, kernel: str, machine: MachineDescription
) -> None:
    # A file that replaces pfn_valid by what the header gives it must answer like the table of whichever kernel.
    candidate = written('#include "replay_pfn.h"\nint pfn_valid(unsigned long pfn) { return replay_pfn_valid(pfn); }\n')
    chosen = profile(kernel)
    report = candidate.check_source(RandomStates(chosen, 8_000, description=machine), chosen)
    wrong = {d.first for d in report.functions[VALID].differences}
    assert not report.functions[VALID].differing or _aliases(chosen.features, machine, wrong)


def _aliases(features: frozenset[str], machine: MachineDescription, wrong: set[int]) -> bool:
    """Whether all wrong pfns are those whose high bits are lost, in the one kernel that lets them alias (walk.md 2.3)."""
    one_of_them = machine.arch == "aarch64" and "arm64-pfn-valid-roundtrip" not in features
    return one_of_them and all(pfn >> (64 - machine.page_shift) for pfn in wrong)


def test_random_states_are_all_states_that_matter() -> None:
    states = RandomStates(profile("v6.1"), 900_000)
    for _ in states.pieces(frozenset((ONLINE,))):
        pass
    matters = ~np.uint16(1 << Bit.RAM | 1 << Bit.LIMIT)
    possible = {int(code) for code in np.unique(CODES[CAN_BE] & matters)}
    # Pagemaps and memblock end with the table.
    beyond = {
        code for code in possible if code >> Bit.BEYOND & 1 and (code >> Bit.PAGEMAP & 3 or code >> Bit.MEMBLOCK & 1)
    }
    assert {int(code & matters) for code in states.codes} == possible - beyond


@given(case=cases(profile("v6.1").features, windows=False))
@settings(max_examples=12)
def test_any_sequence_of_events(case: Case, forms: dict[str, NativeCandidate], tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("case") / "case.arrow"
    names = sorted({"time", "kind"}.union(*case.rows))
    columns = {
        name: (
            np.array([row.get(name, 0) for row in case.rows], COLUMNS[name].numpy),
            np.array([name in row for row in case.rows]),
        )
        for name in names
    }
    for name in ("time", "kind"):
        columns[name] = columns[name][0]
    write_trace(path, columns, machine=case.machine, provenance=Provenance("test"), strings=STRINGS)
    report = forms["v5.12"].check(path, "v6.1", processes=0)
    assert report.agrees
    asked = Counter(EventKind(row["kind"]).name for row in case.rows for _ in range(row.get("nr_pages", 1))
                    if row["kind"] in {EventKind.PFN_TO_ONLINE_PAGE, EventKind.PGMAP_PFN_VALID})  # fmt: skip
    assert {f.name: r.lookups for f, r in report.functions.items() if r.lookups} == dict(asked)


def test_runs_are_asked_pfn_by_pfn_in_their_order(tmp_path: Path) -> None:
    rows = [(5, 3, 1), (9, 4, -2), (1 << 20, 200_000, 3), (7, 1, 1)]
    columns = {
        "time": np.arange(4, dtype=np.uint64),
        "kind": np.full(4, EventKind.PFN_VALID, np.uint8),
        "pfn": np.array([r[0] for r in rows], np.uint64),
        "nr_pages": np.array([r[1] for r in rows], np.uint64),
        "stride": np.array([r[2] for r in rows], np.int64),
    }
    path = tmp_path / "runs.arrow"
    write_trace(path, columns, machine=X86_64, provenance=Provenance("test"))
    with TraceFile.open(path) as trace:
        pieces = list(TraceLookups(trace, profile("v6.1")).pieces(frozenset((VALID,))))
    expected = [(i, first + k * step) for i, (first, count, step) in enumerate(rows) for k in range(count)]
    got = [(row, pfn) for piece in pieces for row, pfn in zip(piece.rows.tolist(), piece.pfns.tolist(), strict=True)]
    assert expected == got


def test_a_missing_check_shows_with_rows_ranges_and_the_check_that_decides(written) -> None:
    report = written(NO_SUBSECTION).check(COLLISION, processes=0)
    found = report.functions[ONLINE]
    assert not report.agrees
    wrong = {key: n for key, n in found.verdicts.items() if key[1] != key[2]}
    assert wrong == {("subsection", "NULL", "page"): 16497}
    assert found.differing == 16497 == found.ranges.total
    first = found.differences[0]
    assert (first.row, first.first, first.last, first.count) == (72, 0x11C000, 0x11C44B, 0x44C)
    assert report.to_dict()["functions"]["pfn_to_online_page"]["differing"] == 16497


def test_a_reference_that_is_kept_is_found(written) -> None:
    report = written(KEEPS_REFERENCE).check(COLLISION, processes=0)
    assert not report.functions[ONLINE].differing
    taken = report.functions[ONLINE].verdicts["pagemap", "NULL", "NULL"]
    assert report.references_kept == taken > 0
    assert report.first_kept is not None
    assert not report.agrees


def test_a_reference_given_back_too_often_is_found(written) -> None:
    assert written(GIVES_BACK_TWICE).check(COLLISION, processes=0).references_kept < 0


def test_a_page_of_another_pfn_is_no_page(written) -> None:
    report = written(online("\treturn pfn_to_page(pfn ^ 1);")).check(COLLISION, processes=0)
    assert {got for _, _, got in report.functions[ONLINE].verdicts} == {"another page"}
    assert report.functions[ONLINE].differing == report.functions[ONLINE].lookups


def test_pfn_valid_of_the_file_is_used_by_it_and_asked(written) -> None:
    text = '#include "replay_pfn.h"\nint pfn_valid(unsigned long pfn) { return pfn == 0x1000; }\n'
    text += "struct page *pfn_to_online_page(unsigned long pfn) { return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL; }\n"
    report = written(text).check(COLLISION, processes=0)
    pages = sum(n for (_, _, got), n in report.functions[ONLINE].verdicts.items() if got == "page")
    valid = sum(n for (_, _, got), n in report.functions[VALID].verdicts.items() if got == "1")
    assert pages == _asked(COLLISION, ONLINE, 0x1000)
    assert valid == _asked(COLLISION, VALID, 0x1000)


def _asked(path: Path, function: Function, pfn: int) -> int:
    with TraceFile.open(path) as trace:
        lookups = TraceLookups(trace, profile("v6.1"))
        return sum(int(np.count_nonzero(p.pfns == pfn)) for p in lookups.pieces(frozenset((function,))))


def test_calls_of_a_function_that_the_kernel_does_not_have_are_not_checked(forms: dict[str, NativeCandidate]) -> None:
    report = forms["v5.12"].check(COLLISION, "v5.11+online-page-subsection-validity+taint-zone-device", processes=0)
    assert report.functions[METADATA].lookups == 0
    assert report.not_asked == 255


def test_timing_is_of_the_lookups_and_has_intervals(forms: dict[str, NativeCandidate]) -> None:
    report = forms["v5.12"].check(COLLISION, baseline="v5.11", processes=6, rounds=2)
    timing = report.functions[ONLINE].timing
    assert timing is not None
    assert timing.processes == 6
    assert timing.of == report.functions[ONLINE].lookups
    for figure in (timing.candidate, timing.baseline, timing.empty):
        assert 0 < figure.low <= figure.median <= figure.high
    metadata = report.functions[METADATA].timing
    assert metadata.baseline is None  # v5.11 has no pgmap_pfn_valid
    assert metadata.difference is None
    assert (timing.cycles is None) == bool(timing.cycles_missing)
    assert _plain(report)


def _plain(report: NativeReport) -> bool:
    """Whether the report is JSON."""
    import json

    return json.loads(json.dumps(report.to_dict())) is not None


def test_pieces_know_where_states_begin(forms: dict[str, NativeCandidate]) -> None:
    with TraceFile.open(COLLISION) as trace:
        for piece in TraceLookups(trace, profile("v6.1")).pieces(frozenset((ONLINE,))):
            assert isinstance(piece, Piece)
            assert (piece.places(piece.pfns) <= piece.pfns).all()
