"""Action types: table 1.8 of docs/semantics/poison.md, numbers and lines."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from replay.errors import UnknownNameError, UsageError
from replay.kernel.poison_lines import action_line, kill_line, trace_payload
from replay.kernel.poison_types import (
    LAYOUTS,
    ActionType,
    Layout,
    decode,
    kernel_version,
    layout_by_features,
    layout_matching,
    layout_named,
    layout_of,
    number,
)
from replay.kernel.profiles import PRESETS, profile
from replay.trace.poison import NO_ACTION, ActionResult

TEXT = (Path(__file__).parents[2] / "docs" / "semantics" / "poison.md").read_text()
# A kernel of each column of the table, at both ends of its range.
KERNELS = {
    "A": ("4.18", "v4.18.20"),
    "B": ("4.19", "5.1.9", "5.9.1"),
    "C": ("5.10.223", "5.11", "5.12.9", "5.15.55"),
    "D": ("5.17",),
    "E": ("6.0", "6.1.192", "6.9"),
    "F": ("6.12", "6.12.107", "6.14"),
    "G": ("6.19.10", "7.2.13"),
}


def rows() -> dict[str, dict[str, str]]:
    start = TEXT.index("### 1.8 Action types")
    lines = [line for line in TEXT[start:].split("\n### ")[0].split("\n## 2")[0].splitlines() if line.startswith("| ")]
    header = [c.strip() for c in lines[0].strip("|").split("|")]
    found = {}
    for line in lines[1:]:
        cells = dict(zip(header, (c.strip() for c in line.strip("|").split("|")), strict=True))
        found[cells["enum suffix"]] = cells
    return found


ROWS = rows()


@pytest.mark.parametrize(("column", "kernel"), [(c, k) for c, kernels in KERNELS.items() for k in kernels])
def test_numbers(column: str, kernel: str) -> None:
    """Every cell of the table, both ways."""
    expected = {name: int(cells[column].split()[0]) for name, cells in ROWS.items() if cells[column]}
    for action in ActionType:
        assert number(kernel, action) == expected.get(action.name), action.name
    assert len(layout_of(kernel).types) == len(expected)
    for name, value in expected.items():
        assert decode(kernel, value) is ActionType[name]
    assert decode(kernel, len(expected)) is None
    assert decode(kernel, NO_ACTION) is None
    assert decode(kernel, -1) is None


def test_v5_18_has_one_more() -> None:
    """Text of 1.8: "5.18 adds DIFFERENT_PAGE_SIZE 20, UNKNOWN 21"."""
    assert decode("5.18.12", 20) is ActionType.DIFFERENT_PAGE_SIZE
    assert decode("5.18.12", 21) is ActionType.UNKNOWN
    assert decode("5.18.12", 19) is decode("5.17", 19) is ActionType.UNSPLIT_THP


def test_the_same_number_means_different_things() -> None:
    """Why a recorded number needs its kernel."""
    assert [decode(k, 14) for k in ("5.10.223", "6.1.192", "6.12.107")] == [
        ActionType.CLEAN_UNEVICTABLE_LRU,
        ActionType.CLEAN_LRU,
        ActionType.CLEAN_LRU,
    ]
    assert [decode(k, 19) for k in ("5.10.223", "6.1.192", "6.12.107")] == [
        ActionType.BUDDY_2ND,
        ActionType.UNKNOWN,
        ActionType.ALREADY_POISONED,
    ]


@pytest.mark.parametrize("kernel", ["2.6.32", "4.17", "5.16", "5.19", "6.10", "6.11.3", "6.15", "6.18", "7.3"])
def test_unknown_layouts(kernel: str) -> None:
    with pytest.raises(UsageError, match=f"{re.escape(kernel)}.*not known; known are those of 4.18, 4.19 to 5.9"):
        decode(kernel, 1)


def test_versions() -> None:
    assert kernel_version("v6.1.192-debug") == (6, 1, 192)
    assert kernel_version("6.12") == (6, 12, 0)
    with pytest.raises(UsageError, match="'latest' is not a version"):
        kernel_version("latest")


def test_strings() -> None:
    """The display strings of the table."""
    for name, cells in ROWS.items():
        assert ActionType[name].display == re.split(r" \((?:trace|no string)", cells["display string"])[0], name
    assert len({a.display for a in ActionType}) == len(ActionType)


def test_layouts_do_not_overlap() -> None:
    for before, after in pairwise(LAYOUTS):
        assert before.first <= before.last < after.first
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)


@pytest.mark.parametrize("kernel", [k for k in PRESETS if k != "v2.6.32"])
def test_features_give_the_layout_of_the_version(kernel: str) -> None:
    """Two ways to the same order: the ranges of versions, and the features that moved members."""
    assert layout_by_features(profile(kernel).features) is layout_of(kernel)


def test_a_backport_changes_the_layout_under_the_old_version() -> None:
    """A 4.18.0 of a distribution with the members of 5.10: one version number, two layouts."""
    backported = "v4.18+memory-failure-dev-pagemap+unsplit-thp-event"
    assert layout_of("4.18.0").name == "before-dax"
    assert layout_of(backported) is layout_of("5.10.223")
    assert decode(backported, 20) is ActionType.DAX
    assert layout_of("v6.1-hugetlb-raw-list").name == "two-fewer"
    odd = layout_of("v5.10-memory-failure-dev-pagemap")
    assert ActionType.DAX not in odd.types
    assert odd not in LAYOUTS
    with pytest.raises(UnknownNameError, match="did you mean unsplit-thp-event"):
        layout_of("v4.18+unsplit-thp-evnt")


@pytest.mark.parametrize("release", ["6.1.0+", "6.1.0-debug", "6.1.0-32-amd64", "6.1.192+deb12-amd64"])
def test_the_end_of_a_release_is_no_feature(release: str) -> None:
    assert layout_of(release) is layout_of("6.1")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_table_of_texts_shows_the_layout(layout: Layout) -> None:
    """Also when the kernel leaves texts out of it; not when a number differs."""
    numbers = {action.display: number for number, action in enumerate(layout.types)}
    assert layout_matching(numbers) is layout
    without = {text: n for text, n in numbers.items() if text not in {"dax page", "non-pmd-sized huge page"}}
    assert layout_matching(without) is layout
    assert layout_matching(numbers | {"dirty LRU page": 1}) is None
    assert layout_matching({}) is None


def test_layouts_by_name() -> None:
    for layout in LAYOUTS:
        assert layout_named(layout.name) is layout
    with pytest.raises(UnknownNameError, match=r"did you mean unsplit-thp\b.*unsplit-thp \(5.10 to 5.15\)"):
        layout_named("unsplit-th")


FIRST = profile("v2.6.32").features


def test_lines() -> None:
    """Forms of 1.8."""
    lru, recovered = ActionType.DIRTY_LRU, ActionResult.RECOVERED
    assert trace_payload(0x12345, lru, recovered) == "pfn 0x12345: recovery action for dirty LRU page: Recovered"
    assert (
        action_line(profile("v5.10.223").features, 0x12345, lru, recovered)
        == "Memory failure: 0x12345: recovery action for dirty LRU page: Recovered"
    )
    already = (ActionType.ALREADY_POISONED, ActionResult.FAILED)
    for kernel, words in (
        ("v6.12", "already poisoned: Failed"),
        ("v6.12.107", "already poisoned page: Failed"),
        ("v7.2.13", "already poisoned page: Failed"),
    ):
        line = action_line(profile(kernel).features, 1, *already)
        assert line == f"Memory failure: 0x1: recovery action for {words}"
    assert trace_payload(1, *already) == "pfn 0x1: recovery action for already poisoned: Failed"


def test_lines_of_the_first_release() -> None:
    """Form and texts of 1.2."""
    clean = action_line(FIRST, 1, ActionType.CLEAN_LRU, ActionResult.RECOVERED)
    assert clean == "MCE 0x1: clean LRU page recovery: Recovered"
    dirty = action_line(FIRST, 1, ActionType.DIRTY_LRU, ActionResult.FAILED, dirty=True)
    assert dirty == "MCE 0x1: dirty LRU page recovery: Failed"
    with pytest.raises(UsageError, match="no message for DAX"):
        action_line(FIRST, 1, ActionType.DAX, ActionResult.FAILED)


def test_kill_line() -> None:
    """One word changed between v5.1 and v5.4."""
    rest = "a.out:42 due to hardware memory corruption"
    for kernel in PRESETS:
        if kernel == "v2.6.32":
            continue
        old = kernel in {"v4.18", "v4.19", "v5.1", "v5.3"}
        words = "Killing" if old else "Sending SIGBUS to"
        assert kill_line(profile(kernel).features, 16, "a.out", 42) == f"Memory failure: 0x10: {words} {rest}", kernel
