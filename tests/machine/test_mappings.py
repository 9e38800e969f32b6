"""Tasks and their mappings against a plain list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.machine.mappings import Mapping
from replay.machine.tasks import Tasks
from replay.trace.poison import MapFlag

END = 700
SIZES = st.sampled_from((1, 2, 3, 64, 512))


class Listed:
    """All mappings in a list, each operation over all of them."""

    def __init__(self) -> None:
        self.mappings: list[Mapping] = []

    def rewrite(self, start: int, end: int, task: int | None, change: Callable[[Mapping], Mapping | None]) -> None:
        kept = []
        for m in self.mappings:
            low, high = max(m.start, start), min(m.end, end)
            if low >= high or task not in {None, m.task}:
                kept.append(m)
                continue
            changed = change(m.piece(low, high, 12))
            kept += [m.piece(a, b, 12) for a, b in ((m.start, low), (high, m.end)) if a < b]
            kept += [changed] if changed else []
        self.mappings = kept


@given(
    st.lists(
        st.tuples(st.sampled_from(("map", "unmap", "zap", "poison", "exit")), st.integers(0, 600), SIZES,
                  st.sampled_from((1, 2, 3, None))),
        max_size=12,
    )
)  # fmt: skip
def test_they_are_found_by_page(operations: list[tuple[str, int, int, int | None]]) -> None:
    """The same mappings of every page as in the list, oldest first, whatever was cut out of them."""
    tasks, model = Tasks(12), Listed()
    for name, start, pages, task in operations:
        end = start + pages
        if name == "map":
            mapping = Mapping(task or 4, start, end, start << 12, 12)
            tasks.map(mapping)
            model.rewrite(start, end, mapping.task, lambda _: None)
            model.mappings.append(mapping)
        elif name == "unmap":
            tasks.unmap(start, end, task)
            model.rewrite(start, end, task, lambda _: None)
        elif name == "zap":
            tasks.zap(start, end)
            model.rewrite(start, end, None, lambda m: replace(m, flags=m.flags | MapFlag.ABSENT))
        elif name == "poison":
            tasks.poison(start, end, whole=True)
            model.rewrite(start, end, None, lambda m: replace(m, poisoned=True))
        else:
            tasks.exit(task or 4)
            model.mappings = [m for m in model.mappings if m.task != (task or 4)]
    expected = [[m for m in model.mappings if m.start <= pfn < m.end] for pfn in range(0, END + 500, 3)]
    assert [tasks.of(pfn) for pfn in range(0, END + 500, 3)] == expected
    few, many = np.array([0, 63, 64, END], np.uint64), np.arange(END + 600, dtype=np.uint64)
    for pfns in (few, many, few):  # some are asked one by one, unless the borders are known already
        covered = [any(m.start <= pfn < m.end for m in model.mappings) for pfn in pfns.tolist()]
        assert tasks.mapped(pfns).tolist() == covered
    assert tasks.map_anything == bool(model.mappings)
