"""The resource tree against statements about single bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import TraceError
from replay.machine.resources import Node, Region, ResourceTree
from replay.trace.header import Resource

TOP = 63
SHIFT = 2  # pages of four bytes
BYTES = st.integers(0, TOP)
RANGES = st.tuples(BYTES, BYTES).map(lambda r: (min(r), max(r)))
ENTRIES = st.lists(st.tuples(RANGES, st.booleans(), st.booleans()), max_size=9)

Entry = tuple[int, int, bool, bool]


def grown(entries: list[tuple[tuple[int, int], bool, bool]]) -> ResourceTree:
    """A tree of those entries that nest into it."""
    tree = ResourceTree()
    for i, ((start, end), busy, ram) in enumerate(entries):
        tree.place(Node(start, end, str(i), busy, ram))
    return tree


def nodes(tree: ResourceTree) -> list[tuple[Node, tuple[Node, ...]]]:
    """Every entry with its ancestors, outermost first."""
    found: list[tuple[Node, tuple[Node, ...]]] = []
    path: list[Node] = []
    for depth, node in tree.walk():
        del path[depth:]
        found.append((node, tuple(path)))
        path.append(node)
    return found


def sound(tree: ResourceTree) -> None:
    """Children lie within their parent, ascending and apart."""
    for node, above in nodes(tree):
        assert node.start <= node.end
        assert all(a.contains(node.start, node.end) for a in above)
    for parent in (tree.root, *(n for n, _ in nodes(tree))):
        for a, b in pairwise(parent.children):
            assert a.end < b.start


def shape(tree: ResourceTree) -> list[tuple[int, int, int, str]]:
    return [(depth, n.start, n.end, n.name) for depth, n in tree.walk()]


def busy_ram(tree: ResourceTree, *, children: bool = True) -> set[int]:
    """Bytes of busy System RAM: at any level, or at the top only."""
    return {
        byte
        for node, above in nodes(tree)
        if node.busy and node.ram and (children or not above)
        for byte in range(node.start, node.end + 1)
    }


@given(entries=ENTRIES, new=RANGES, nested=st.booleans())
def test_insertion(entries, new: tuple[int, int], nested: bool) -> None:
    """Accepted iff whatever overlaps contains the range and is not busy; without nesting, iff nothing overlaps."""
    tree = grown(entries)
    before = shape(tree)
    overlapping = [n for n, _ in nodes(tree) if n.overlaps(*new)]
    possible = all(nested and not n.busy and n.contains(*new) for n in overlapping)
    assert tree.insert(Node(*new, "new"), nested=nested) == possible
    sound(tree)
    if not possible:
        assert shape(tree) == before
        return
    depth = next(len(above) for n, above in nodes(tree) if n.name == "new")
    assert depth == len(overlapping)
    assert [s for s in shape(tree) if s[3] != "new"] == before


@given(entries=ENTRIES, asked=RANGES, busy=st.booleans(), ram=st.booleans(), nested=st.booleans())
def test_region_intersects(entries, asked: tuple[int, int], busy: bool, ram: bool, nested: bool) -> None:
    """By the top-level entries; with nesting, one that does not match counts as far as matching ones below cover it."""
    tree = grown(entries)
    of_type = other = False
    for top in [n for n, above in nodes(tree) if not above and n.overlaps(*asked)]:
        part = set(range(max(top.start, asked[0]), min(top.end, asked[1]) + 1))
        matching = [top] if top.matches(busy=busy, ram=ram) else []
        if not matching and nested:
            matching = [n for n, above in nodes(tree) if top in above and n.matches(busy=busy, ram=ram)]
        covered = part if top in matching else {b for n in matching for b in part if n.start <= b <= n.end}
        of_type |= bool(covered)
        other |= covered != part
    expected = Region.DISJOINT if not of_type else Region.MIXED if other else Region.INTERSECTS
    assert tree.region_intersects(*asked, busy=busy, ram=ram, nested=nested) is expected


@given(entries=ENTRIES, start=st.integers(0, 16), pages=st.integers(1, 16), children=st.booleans())
def test_ram_ranges(entries, start: int, pages: int, children: bool) -> None:
    """Exactly the pages that one busy System RAM entry covers wholly, ascending and apart."""
    tree = grown(entries)
    found = tree.ram_ranges(start, start + pages, SHIFT, children=children)
    expected = {
        page
        for node, above in nodes(tree)
        if node.busy and node.ram and (children or not above)
        for page in range(start, start + pages)
        if node.contains(page << SHIFT, (page + 1 << SHIFT) - 1)
    }
    assert {page for low, high in found for page in range(low, high)} == expected
    assert all(low < high for low, high in found)
    assert all(a[1] <= b[0] for a, b in pairwise(found))


@given(entries=ENTRIES, cut=RANGES)
def test_removal_of_ram(entries, cut: tuple[int, int]) -> None:
    """Busy System RAM loses exactly these bytes; entries that are not below any stay as they are."""
    tree = grown(entries)
    before = busy_ram(tree)
    outside = [
        (n.start, n.end, n.name)
        for n, above in nodes(tree)
        if not (n.busy and n.ram) and not any(a.busy and a.ram for a in above)
    ]
    tree.remove_ram(*cut)
    sound(tree)
    assert busy_ram(tree) == before - set(range(cut[0], cut[1] + 1))
    left = {(n.start, n.end, n.name) for n, _ in nodes(tree)}
    assert left.issuperset(outside)


@given(entries=ENTRIES, index=st.integers(0, 20), other=RANGES)
def test_removal_of_an_entry(entries, index: int, other: tuple[int, int]) -> None:
    """The innermost entry of exactly these bytes goes, with all below it; nothing else changes."""
    tree = grown(entries)
    found = nodes(tree)
    bounds = (found[index][0].start, found[index][0].end) if index < len(found) else other
    same = [(n, above) for n, above in found if (n.start, n.end) == bounds]
    if not same:
        before = shape(tree)
        assert not tree.remove(*bounds)
        assert shape(tree) == before
        return
    innermost = max(same, key=lambda pair: len(pair[1]))[0]
    kept = [n.name for n, above in found if n is not innermost and innermost not in above]
    assert tree.remove(*bounds)
    sound(tree)
    assert [n.name for n, _ in nodes(tree)] == kept


def test_entries_that_cross() -> None:
    """A description whose entries cross, or end before they start, is refused, with the entry named."""
    for bad in (Resource(5, 15, "crosses"), Resource(15, 5, "ends first")):
        with pytest.raises(TraceError) as caught:
            ResourceTree((Resource(0, 9, "first"), bad), "here")
        message = str(caught.value)
        assert message.startswith("here[1]: found ")
        assert bad.name in message
        assert "; needed entries that nest, parents first" in message
