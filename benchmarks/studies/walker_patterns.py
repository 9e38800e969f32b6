"""Do generated walkers walk as recorded ones did?  python -m benchmarks.studies.walker_patterns

Each walker of the table that recordings contain is held against them: the same calls on the same blocks, generated and
recorded.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from benchmarks.studies.document import replaced
from benchmarks.studies.recorded_walks import Call, Recording
from replay.sources.synthetic.machines import SyntheticMachine, make_machine
from replay.sources.synthetic.parameters import resolve
from replay.sources.synthetic.streams import Stream
from replay.sources.synthetic.walkers import WALKERS
from replay.sources.synthetic.walks import units_of, walk
from replay.trace.schema import EventKind

_DOCUMENT = Path(__file__).parents[2] / "docs" / "synthetic.md"
_HOTPLUG = {
    "6.1.192": ("6.1.192-s3-hotplug.arrow", "6.1.192-s4-kmem.arrow"),
    "6.12.107": ("6.12.107-s4-kmem.arrow",),
    "7.2.13": ("7.2.13-s3-hotplug.arrow",),
}
_KPAGEFLAGS = ("5.10.223-s1-walk-boot.arrow", "6.1.192-s1-walk-boot.arrow", "7.2.13-s1-walk-boot.arrow")
_DAMON = "7.2.13-s3-hotplug.arrow"
_SAMPLES = 30_000
Row: TypeAlias = tuple[str, str, str, str, str]


def generated(name: str, machine: SyntheticMachine, rows: int, **given: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield (kind, pfn, pages, stride) of the first rows of a walker."""
    walker = WALKERS[name]
    part = walk(walker, machine, resolve(name, walker.parameters, given), Stream(1, name))
    columns = part.rows(0, rows)
    for row in range(rows):
        pages, stride = (
            int(columns[c][0][row]) if c in columns and (columns[c][1] is None or columns[c][1][row]) else 1
            for c in ("nr_pages", "stride")
        )
        yield int(columns["kind"][0][row]), int(columns["pfn"][0][row]), pages, stride


def expanded(rows: Iterator[tuple[int, int, int, int]], kind: EventKind) -> Counter[int]:
    """Return the pfns that rows of one kind ask for."""
    return Counter(pfn + k * stride for asked, pfn, pages, stride in rows if asked == kind for k in range(pages))


def machine_around(start: int, pages: int, kernel: str) -> SyntheticMachine:
    """Return a machine whose second-last memory block is a given one, with RAM on both sides."""
    first, size = (start - pages) << 12, 3 * pages << 12
    return make_machine("plain", {"ram": f"0x100000+1M,{first:#x}+{size:#x}", "kernel": kernel})


def offlining() -> Iterator[Row]:
    """Compare what offline_pages asked for before the sections changed."""
    for kernel, names in _HOTPLUG.items():
        calls = [call for name in names for call in Recording(name).calls(EventKind.OFFLINE_PAGES)]
        equal = sum(_as_offline(call, kernel) for call in calls)
        behind = sum(dict(call.before).get(call.start + call.pages) == 1 for call in calls)
        yield (
            "offline", f"{kernel}, {len(calls)} calls, memory behind the block online in {behind}",
            f"{sum(len(c.before) for c in calls):,} lookups", f"{equal} of {len(calls)} calls ask for the same pfns",
            "yes" if equal == len(calls) else "NO",
        )  # fmt: skip


def _as_offline(call: Call, kernel: str) -> bool:
    machine = machine_around(call.start, call.pages, kernel)
    size = len(WALKERS["offline"].looks_of(kernel)(units_of(machine)))
    every = list(generated("offline", machine, 3 * size))
    at = next(n for n, row in enumerate(every) if row[1] == call.start - 1)
    mine = every[at : at + size]
    found = expanded(iter(mine), EventKind.PFN_TO_ONLINE_PAGE)
    end = call.start + call.pages
    if dict(call.before).get(end) != 1:  # then nothing is asked for before the end once more
        units = units_of(machine)
        for unit in (units.buddy, units.pageblock)[: 1 if kernel.startswith("6.1.") else 2]:
            found[end - unit] -= 1
    return +found == Counter(pfn for pfn, _ in call.before)


def onlining() -> Iterator[Row]:
    """Compare what online_pages asked for: the zone up to its first hole, before; all pageblocks of the block,
    after."""
    for kernel, names in _HOTPLUG.items():
        calls = [call for name in names for call in Recording(name).calls(EventKind.ONLINE_PAGES)]
        unit = 512
        undone = sum(
            Counter(pfn for pfn, _ in call.after) == Counter(range(call.start, call.start + call.pages, unit))
            for call in calls
        )
        machine = machine_around(calls[0].start, calls[0].pages, kernel)
        steps = Counter(b - a for a, b in pairwise(_pageblocks(machine)))
        # Nothing is asked for behind the first miss; a page of another zone ends the walk as well.
        on = sum(all(ret == 1 for _, ret in call.before[:-1]) for call in calls)
        misses = sum(call.before[-1][1] == 0 for call in calls)
        rising = sum(_rises(call, unit) for call in calls)
        yield (
            "isolation, undone", f"{kernel}, {len(calls)} calls", f"{sum(len(c.after) for c in calls):,} lookups",
            f"{undone} of {len(calls)} calls: every pageblock of the block once", "yes" if undone == len(calls) else "NO",
        )  # fmt: skip
        yield (
            "pageblock-contiguity", f"{kernel}, {len(calls)} calls", f"{sum(len(c.before) for c in calls):,} lookups",
            f"{rising} of {len(calls)} rise by {max(steps)} pfns; {misses} end at the first miss, "
            f"{on - misses} at a page of another zone",
            "yes" if rising == on == len(calls) and set(steps) == {unit} else "NO",
        )  # fmt: skip


def _pageblocks(machine: SyntheticMachine) -> list[int]:
    low = machine.ram[-1][0]
    rows = generated("pageblock-contiguity", machine, 200)
    return [pfn for kind, pfn, _, _ in rows if kind == EventKind.PFN_TO_ONLINE_PAGE and pfn >= low][:64]


def _rises(call: Call, unit: int) -> bool:
    pfns = [pfn for pfn, _ in call.before]
    return all(b - a == unit for a, b in pairwise(pfns))


def shrinking() -> Iterator[Row]:
    """Compare how zones are measured anew after a block went."""
    for kernel, names in _HOTPLUG.items():
        calls = [call for name in names for call in Recording(name).calls(EventKind.OFFLINE_PAGES)]
        for walker, first in (("zone-shrink", lambda c: c.start + c.pages), ("zone-shrink-end", lambda c: c.start - 1)):
            runs = [run for call in calls if (run := _run_from(call, first(call)))]
            machine = machine_around(1 << 20, 1 << 15, kernel)
            rows = [pfn for _, pfn, _, _ in generated(walker, machine, 40)]
            step = Counter(b - a for a, b in pairwise(rows[4:])).most_common(1)[0][0]
            last = rows[8] % 512  # of a subsection
            fits = sum(all(b - a == step for a, b in pairwise(r)) and r[0] % 512 == last for r in runs)
            if runs:
                yield (
                    walker, f"{kernel}, {len(runs)} calls", f"{sum(map(len, runs)):,} lookups",
                    f"{fits} of {len(runs)} go by {step} pfns from such a pfn of a subsection",
                    "yes" if fits == len(runs) else "NO",
                )  # fmt: skip


def _run_from(call: Call, first: int) -> list[int]:
    """Return the lookups from a pfn on up to the first page, if that is where they begin."""
    found: list[int] = []
    for pfn, ret in call.after:
        if not found and pfn != first:
            return []
        found.append(pfn)
        if ret:
            break
    return found


def sampling() -> Iterator[Row]:
    """Compare DAMON's passes: each set of addresses is asked for three times, region by region upwards."""
    recorded = Recording(_DAMON).passes()
    regions = Counter(map(len, recorded)).most_common(1)[0][0]
    machine = make_machine("plain", {"kernel": "7.2", "memory": "2G"})
    even = regions + regions % 2
    pfns = [pfn for _, pfn, _, _ in generated("damon", machine, _SAMPLES, regions=str(even))]
    mine = [tuple(pfns[at : at + even]) for at in range(0, len(pfns) - even, even)]
    assert all(list(one) == sorted(one) for one in mine)
    shares = [sum(a == b for a, b in pairwise(p)) / (len(p) - 1) for p in (recorded, mine)]
    close = abs(shares[0] - shares[1]) < 0.05
    yield (
        "damon", f"7.2.13, {len(recorded)} passes of {regions} regions", f"{sum(map(len, recorded)):,} lookups",
        f"a pass equals the one before: recorded {shares[0]:.2f}, generated {shares[1]:.2f}", "yes" if close else "NO",
    )  # fmt: skip


def reading() -> Iterator[Row]:
    """Compare reads of /proc/kpageflags: which function, by which stride; where to read is the reader's choice."""
    for name in _KPAGEFLAGS:
        strides, others = Recording(name).dense_runs()
        kernel = name.split("-")[0]
        machine = make_machine("plain", {"kernel": kernel})
        rows = list(generated("kpageflags", machine, 100))
        same = {kind for kind, _, _, _ in rows} == {int(EventKind.PFN_TO_ONLINE_PAGE)} and not others
        top = strides.most_common(1)[0][0]
        yield (
            "kpageflags", f"{kernel}, {sum(strides.values()):,} lookups in long runs",
            f"{strides[1] / sum(strides.values()):.0%} at stride 1, "
            f"{strides[37] / sum(strides.values()):.0%} at the reader's 37",
            f"pfn_to_online_page, stride {rows[0][3]}", "yes" if same and top == rows[0][3] else "NO",
        )  # fmt: skip


def table() -> str:
    """Return the table as Markdown."""
    rows = [*offlining(), *onlining(), *shrinking(), *sampling(), *reading()]
    head = "| walker | recorded | size | generated against recorded | same |\n|---|---|---|---|---|\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    text = table()
    sys.stdout.write(text)
    if "--update-docs" in sys.argv:
        _DOCUMENT.write_text(replaced(_DOCUMENT.read_text(), "walker-patterns", text))
