"""Pages against a plain dict of pfns: descriptions and marks, by ranges, one by one, and many at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.machine.pages import Condition, Page, Pages
from replay.trace.poison import MARKS, PageFlag, PageKind

END = 600
DESCRIPTIONS = (Page(), Page(PageKind.LRU), Page(PageKind.LRU, PageFlag.DIRTY), Page(PageKind.BUDDY, refs=0))
RANGES = st.tuples(st.integers(0, END - 1), st.sampled_from((1, 1, 2, 300, END)))


@st.composite
def operations(draw: Any) -> tuple[str, int, int, Page, PageFlag]:
    (start, pages), page = draw(RANGES), draw(st.sampled_from(DESCRIPTIONS))
    marks = draw(st.sampled_from((PageFlag.HWPOISON, PageFlag.TAKEN_OFF | PageFlag.HWPOISON, PageFlag.RAW_LISTED)))
    name = draw(st.sampled_from(("describe", "describe", "give", "mark", "mark", "change", "clear", "put")))
    return name, start, min(start + pages, END), page, marks


@given(st.lists(operations(), max_size=12))
def test_each_page_is_as_if_it_were_alone(history: list[tuple[str, int, int, Page, PageFlag]]) -> None:
    pages, model = Pages(), {pfn: Condition() for pfn in range(END)}
    for name, start, end, page, marks in history:
        span = range(start, end)
        if name == "describe":
            pages.describe(start, end, page)
            model |= {p: Condition(page, model[p].marks) for p in span}
        elif name == "give":
            pages.describe(start, end, replace(page, flags=page.flags | marks | PageFlag.POISON_GIVEN))
            model |= {p: Condition(page, marks) for p in span}
        elif name == "mark":
            pages.mark(start, marks)
            model[start] = replace(model[start], marks=model[start].marks | marks)
        elif name == "change":
            pages.change(start, refs=2)
            model[start] = replace(model[start], page=replace(model[start].page, refs=2))
        elif name == "clear":
            poisoned = sum(bool(model[p].marks & PageFlag.HWPOISON) for p in span)
            assert pages.clear(start, end) == poisoned
            model |= {p: replace(model[p], marks=0) for p in span}
        else:
            some = np.array(span, np.uint64)[::3]
            pages.put(pages.find(some), np.full(some.size, pages.number(Condition(page))))
            model |= {p: Condition(page) for p in some.tolist()}
    assert [pages.condition(pfn) for pfn in range(END)] == list(model.values())
    found = pages.find(np.arange(END, dtype=np.uint64)).numbers
    assert [pages.conditions[n] for n in found.tolist()] == list(model.values())
    for mark in MARKS:
        assert pages.marked_in(0, END, mark) == [p for p in model if model[p].marks & mark]
    assert pages.any_poisoned(0, END) == any(c.marks & PageFlag.HWPOISON for c in model.values())
