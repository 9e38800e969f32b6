"""Amplified traces: recorded answers hold in every repetition, and what would not hold is left out or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replay.errors import UsageError
from replay.kernel.registry import DEVICE_FUNCTIONS
from replay.session import run
from replay.sources.synthetic.amplify import amplify
from replay.trace.header import BootRange, MachineDescription, Provenance, Resource
from replay.trace.reader import TraceFile
from replay.trace.schema import DEVICE_CALLS, DUMPS, EventKind
from replay.trace.writer import write_trace

RECORDED = Path(__file__).parents[3] / "traces" / "recorded"
# One of each scenario that can be moved, kernels by turns.
MOVABLE = (
    "7.2.13-s1-walk-boot",
    "5.10.223-s2a-pmem-collision",
    "5.10.223-s2p-raw",
    "6.1.192-s3-hotplug",
    "6.12.107-s4-kmem",
    "6.12.107-s5-poison-ram",
    "6.1.192-s6-poison-dax",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOVABLE)
def test_recorded_answers_hold_in_every_repetition(name: str, tmp_path: Path) -> None:
    """Moving by whole sections changes no answer: as many compared as in so many single replays, and all agree."""
    source = RECORDED / f"{name}.arrow"
    made = amplify(source, tmp_path / "big.arrow", 2)
    once, often = run(source).tally.agreement, run(tmp_path / "big.arrow").tally.agreement
    for aspect, agreement in often.items():
        assert agreement.differed == 0, aspect
        assert agreement.compared == 2 * once[aspect].compared, aspect
    # What is left out are dumps and counters, which are facts about the whole machine, and calls about devices by name.
    about_devices = {"calls made by drivers", "namespace", *(f.name for f in DEVICE_FUNCTIONS)}
    gone = once.keys() - often.keys() - about_devices
    assert all("dump" in aspect or "counter" in aspect for aspect in gone)
    with TraceFile.open(source) as trace, TraceFile.open(tmp_path / "big.arrow") as big:
        left_out = {*DUMPS, *DEVICE_CALLS, EventKind.COUNTERS}
        kept = sum(int((~np.isin(b.column("kind"), list(left_out))).sum()) for b in trace.batches())
        big.verify()
        sysctls = big.rows - 2 * kept
        assert big.rows == made.rows
        assert 0 <= sysctls <= 3  # put back before the second time


@pytest.mark.parametrize("mixes", [False, True])
def test_in_place_any_number_of_times(mixes: bool, tmp_path: Path) -> None:
    """The same rows again and again, with fresh calls and pagemaps, without what was recorded of them."""
    name = "5.10.223-s3-hotplug" if mixes else "5.10.223-s2p-raw"
    source = RECORDED / f"{name}.arrow"
    made = amplify(source, tmp_path / "t.arrow", 7, in_place=True)
    assert made.shift == 0
    with TraceFile.open(source) as trace, TraceFile.open(tmp_path / "t.arrow") as big:
        big.verify()
        assert not [c for c in big.columns if c.startswith("recorded_")]
        assert big.machine == trace.machine
        (whole,) = big.batches()
        kinds, pfns = whole.column("kind"), whole.column("pfn")
        size = made.rows // 7 if not mixes else 0
        for turn in range(1, 7 if size else 0):
            assert np.array_equal(kinds[turn * size : (turn + 1) * size], kinds[:size])
            assert np.array_equal(pfns[turn * size : (turn + 1) * size], pfns[:size])
    assert run(tmp_path / "t.arrow").events == made.rows


def small(path: Path, rows: list[dict[str, int]], **machine: object) -> Path:
    """Write a trace of 128 MiB of RAM at 0 and 4 GiB on x86_64."""
    memory = (BootRange(0, 1 << 15), BootRange(1 << 20, (1 << 20) + (1 << 15)))
    options = {"max_physmem_bits": 46, "memory": memory, **machine}
    description = MachineDescription("x86_64", 12, 27, memory_block_bytes=1 << 27, kernel="6.1", **options)  # type: ignore[arg-type]
    names = sorted({name for row in rows for name in row} | {"time"})
    columns = {}
    for name in names:
        given = np.array([name in row or name == "time" for row in rows])
        values = np.array([row.get(name, at if name == "time" else 0) for at, row in enumerate(rows)])
        columns[name] = values if name in {"time", "kind"} else (values, given)
    write_trace(path, columns, machine=description, provenance=Provenance("test"))
    return path


LOOK, FAIL, UNPOISON = EventKind.PFN_TO_ONLINE_PAGE, EventKind.MEMORY_FAILURE, EventKind.UNPOISON_MEMORY


def test_what_moves_and_what_does_not(tmp_path: Path) -> None:
    """Pfns, ids and times of repetition two; pfns beyond all memory and tasks' addresses stay."""
    rows = [
        {"kind": int(EventKind.MEMREMAP_PAGES), "pfn": 1 << 16, "nr_pages": 512, "pgmap": 3, "altmap_base": 1 << 16,
         "altmap_reserve": 2, "altmap_free": 6},
        {"kind": int(LOOK), "pfn": 5, "recorded_pgmap": 3, "recorded_slow": 1, "call": 9, "task": 4, "window": 2},
        {"kind": int(EventKind.COUNTERS), "key": 1, "value": 0},
        {"kind": int(LOOK), "pfn": 1 << 40, "recorded_pgmap": 0},
        {"kind": int(EventKind.TASK_STATE), "task": 4, "value": 4},
        {"kind": int(EventKind.MAP_PAGES), "task": 4, "pfn": 7, "vaddr": 1 << 30},
        {"kind": int(EventKind.RESOURCE_REMOVE), "start": 1 << 33, "size": 4096},
    ]  # fmt: skip
    source = small(tmp_path / "s.arrow", rows, resources=(Resource(0, (1 << 27) - 1, "System RAM", True, True),))
    made = amplify(source, tmp_path / "t.arrow", 2)
    assert made.shift == 3 << 20  # above the last byte that is spoken of, in units of 4 GiB
    with TraceFile.open(tmp_path / "t.arrow") as big:
        (batch,) = big.batches()
        column = {name: batch.column(name).tolist() for name in big.columns}
        assert big.machine.memory[2:] == tuple(
            BootRange(p.start + made.shift, p.end + made.shift) for p in big.machine.memory[:2]
        )
        assert [r.start for r in big.machine.resources] == [0, made.shift << 12]
    assert column["kind"] == [row["kind"] for row in rows if row["kind"] != EventKind.COUNTERS] * 2
    assert column["time"] == [0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]
    second = {name: values[6:] for name, values in column.items()}
    assert second["pfn"] == [(1 << 16) + made.shift, 5 + made.shift, 1 << 40, 0, 7 + made.shift, 0]
    assert second["altmap_base"][0] == (1 << 16) + made.shift
    assert second["pgmap"][0] == 3 + 4
    assert second["recorded_pgmap"][1:3] == [3 + 4, 0]
    assert second["call"][1] == 9 + 10
    assert second["task"][3:5] == second["value"][3:4] * 2 == [4 + 5] * 2
    assert second["vaddr"][4] == 1 << 30
    assert second["start"][5] == (1 << 33) + (made.shift << 12)
    assert column["window"][1] == 1  # one of the two rows is no longer there


def test_refusals(tmp_path: Path) -> None:
    look = {"kind": int(LOOK), "pfn": 1}
    plain = small(tmp_path / "plain.arrow", [look])
    with pytest.raises(
        UsageError,
        match=r"each repetition takes 8G of the address space of 46 bits.*needed at most 8,192 times, or --in-place",
    ):
        amplify(plain, tmp_path / "t.arrow", 8193)
    with pytest.raises(UsageError, match="--times 0; needed 1 or more"):
        amplify(plain, tmp_path / "t.arrow", 0)
    with pytest.raises(UsageError, match="is the trace itself"):
        amplify(plain, plain, 2)
    border = {"kind": int(EventKind.OFFLINE_PAGES), "pfn": (1 << 20) - (1 << 15), "nr_pages": 1 << 16}
    with pytest.raises(UsageError, match=r"across the border of a boot zone.*needed --in-place"):
        amplify(small(tmp_path / "zone.arrow", [border]), tmp_path / "t.arrow", 2)
    late = [{"kind": int(UNPOISON), "pfn": 1}, {"kind": int(FAIL), "pfn": 1}]
    with pytest.raises(UsageError, match=r"1 unpoison calls before its first error of the hardware.*needed --in-place"):
        amplify(small(tmp_path / "latch.arrow", late), tmp_path / "t.arrow", 2)
    assert amplify(small(tmp_path / "early.arrow", late[::-1]), tmp_path / "t.arrow", 2).rows == 4
    ids = small(tmp_path / "ids.arrow", [{**look, "call": 1 << 31}])
    with pytest.raises(UsageError, match="uses call up to 2147483648; needed at most 1 times"):
        amplify(ids, tmp_path / "t.arrow", 2)
    assert not list(tmp_path.glob(".*"))
