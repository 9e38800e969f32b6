"""What ``replay diff`` says about pairs of kernels whose differences are known from the commits between them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from replay.compare.diff import DEFAULT_SCOPE, Scope, diff
from replay.compare.diff_groups import conditions, groups
from replay.compare.diff_sides import AREAS
from replay.kernel.features import FEATURES
from replay.kernel.profiles import PRESETS, profile
from replay.report.diff import difference_facts, print_difference
from replay.session import named
from tests.compare.pairs import EVERYTHING, compared

GOLDEN = Path(__file__).parent / "golden"
CANDIDATES = Path(__file__).parents[2] / "examples" / "candidates"
SERIES = ["online-page-subsection-validity", "taint-zone-device", "pgmap-pfn-valid"]


def _text(p: str, q: str, *, verbose: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False, emoji=False)
    print_difference(console, compared(p, q, DEFAULT_SCOPE), verbose=verbose)
    return out.getvalue()


@pytest.mark.parametrize(("p", "q"), [("v5.11", "v5.12"), ("v4.18", "v4.19"), ("v6.12", "v7.2"), ("v7.2", "v7.2.13")])
def test_text(p, q):
    """To be read against docs/semantics when it changes; tests/compare/golden holds what was read."""
    assert _text(p, q) == (GOLDEN / f"{p}-{q}.txt").read_text()


def test_the_series_is_three_changes_on_one_screen():
    found = compared("v5.11", "v5.12", DEFAULT_SCOPE)
    causes = list(dict.fromkeys(group.cause for group in groups(found.compared)))
    assert [sorted(cause.features) for cause in causes] == [[feature] for feature in SERIES]
    assert not any(cause.checks for cause in causes)
    assert len(_text("v5.11", "v5.12").splitlines()) < 45


def test_conditions_of_the_series():
    found = compared("v5.11", "v5.12", DEFAULT_SCOPE)
    said = {(g.function, *sorted(g.cause.features)): conditions(g.space, g.cover()) for g in groups(found.compared)}
    assert said["pfn_to_online_page", SERIES[0]] == ["section online, subsection bit clear"]
    assert said["pfn_to_online_page", SERIES[1]] == [
        "section online, section tainted, subsection bit set, live pagemap"
    ]
    assert said["memory_failure", SERIES[2]] == ["recovery on, no online page, pfn valid, pagemap metadata"]


def test_nothing_that_differs_is_passed_over():
    """Every feature of one kernel only is a cause, asked for by a condition, or named as no matter to any decision."""
    for p, q in (("v5.11", "v5.12"), ("v5.4", "v5.10"), ("v6.12.107", "v7.2")):
        for scope in (DEFAULT_SCOPE, EVERYTHING):
            facts = difference_facts(compared(p, q, scope))
            causes = " ".join(
                c
                for part in ("outside", "other_configurations")
                for row in facts[part]
                for c in row["causes"].split(", ")
            ).split()
            causes += [f["id"] for change in facts["changes"] for f in change["features"]]
            named_ = {*causes, *facts["asked_besides"], *facts["without_decision"]}
            assert named_ == profile(p).features ^ profile(q).features, (p, q)


@pytest.mark.parametrize("name", PRESETS)
def test_a_kernel_is_equivalent_to_itself(name):
    scope = Scope(tuple(a for a in AREAS if a != "lookups" or not PRESETS[name].poison_only), (), "")
    found = diff(profile(name), profile(name), scope)
    assert not any(c.changes for c in (*found.compared, *found.outside, *found.elsewhere))
    assert not found.silent
    assert not found.asked_besides


def test_stable_kernels_without_a_change_are_equivalent():
    for p, q in (("v7.2", "v7.2.13"), ("v5.12", "v5.12.9")):
        found = compared(p, q)
        assert found.equivalent
        assert not any(c.only_possible for c in found.compared)


def test_both_directions_differ_in_the_same_states():
    there, back = compared("v5.12", "v6.1"), compared("v6.1", "v5.12")
    for a, b in zip(there.compared, back.compared, strict=True):
        assert a.space.diagrams.count(a.differing) == b.space.diagrams.count(b.differing)


def test_the_series_as_candidate_is_proven_equivalent():
    found = diff(named(f"{CANDIDATES / 'zone_device_series.py'}:series"), named("v5.12"), EVERYTHING)
    assert found.equivalent
    assert any("mark tainted" in text for text in found.assumptions)
    assert any("hooks" in text for text in found.assumptions)
    for part in ("out_of_line", "subsections", "collisions"):
        candidate = named(f"{CANDIDATES / 'zone_device_series.py'}:{part}")
        assert not diff(candidate, named("v5.12")).equivalent


def test_what_a_candidate_changes_is_named():
    coarse = named(f"{CANDIDATES / 'coarse_taint.py'}:coarse")
    found = diff(named("v5.12"), coarse)
    (cause,) = {group.cause for group in groups(found.compared)}
    assert cause.features == frozenset()
    assert f"{coarse.name}: pfn_to_online_page/shared-section" in cause.checks
    forgetful = diff(named("v5.12"), named(f"{CANDIDATES / 'forgets_altmap.py'}"))
    assert [c.function for c in forgetful.compared if c.changes] == ["pgmap_pfn_valid"]
    assert forgetful.follows == ("pgmap_pfn_valid",)


def test_all_features_of_the_table_are_known_to_the_report():
    """A feature that checks need is never reported as no matter to any decision when it is the only difference."""
    for feature in ("taint-zone-device", "handlable-test", "hotplug-prevalidates-range", "early-kill-others"):
        base = next(n for n in PRESETS if feature in profile(n).features and not PRESETS[n].poison_only)
        found = diff(profile(f"{base}-{feature}"), profile(base), EVERYTHING)
        assert not found.equivalent
        assert found.silent == ()
        assert {f for c in found.compared for ch in c.changes for f in ch.cause.features} == {feature}
        assert feature in FEATURES
