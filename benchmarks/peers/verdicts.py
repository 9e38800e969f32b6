"""Verdicts that the peers know, numbered; and counts of them, from a peer or from the engine's tally."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from replay.engine.tally import Tally
from replay.kernel.memory_failure import MEMORY_FAILURE
from replay.kernel.unpoison import UNPOISON_MEMORY

__all__ = (
    "NR_VERDICTS",
    "POISONED",
    "WALK",
    "Counts",
    "c_enum",
    "coarse",
    "counts_of",
    "counts_of_tally",
    "number",
    "rule_number",
)

Counts = Counter[tuple[str, str]]  # (kernel function, deciding check) -> calls; a run counts each of its pfns

WALK = "pfn_to_online_page"
PAGE_CHECKS = ("untainted", "tainted-page")  # the checks of the walk that answer with a page
POISONED = ("poisoned pages", "at the end")

# In the order of the checks. What no row of any workload runs into is left out: see docs/performance.md.
_CHECKS = {
    WALK: ("section-number", "section-present", "section-online", "subsection", "untainted", "pagemap", "tainted-page"),
    "memory_block_offline": ("state", "holes", "offlined"),
    "memory_block_online": ("state", "onlined"),
    "memremap_pages": ("live-pagemap", "alignment", "populated", "mapped"),
    "memunmap_pages": ("unknown", "unmapped"),
    "memory_failure": (
        "not-online",
        "pagemap-metadata",
        "undecided",
        "already-error",
        "buddy",
        "not-handlable-unknown",
        "anon",
        "file",
    ),
    "unpoison_memory": ("not-online", "hardware-error-seen", "not-poisoned", "unpoisoned"),
}
_VERDICTS = tuple((function, check) for function, checks in _CHECKS.items() for check in checks)
_NUMBERS = {verdict: n for n, verdict in enumerate(_VERDICTS)}
NR_VERDICTS = len(_VERDICTS)


def rule_number(rule: str) -> str:
    """Return a rule's name in the documents without the letter of one of its cases: R90 for R90a."""
    return re.sub(r"(?<=\d)[a-z]$", "", rule)


# The engine has a check for each case of a rule: "R90a" and "R90e" are both rule R90 of docs/semantics/poison.md.
_RULES = {(f.name, c.id): rule_number(c.rule) for f in (MEMORY_FAILURE, UNPOISON_MEMORY) for c in f.checks}


def number(function: str, check: str) -> int:
    """Return the number by which peers call a verdict."""
    return _NUMBERS[function, check]


def c_enum() -> str:
    """Return the verdicts as a C enumeration, named FUNCTION_CHECK."""
    names = (f"{function}_{check}".upper().replace("-", "_") for function, check in _VERDICTS)
    return "enum verdict { " + ", ".join(f"{name} = {n}" for n, name in enumerate(names)) + " };\n"


def counts_of(by_number: Sequence[int]) -> Counts:
    """Return counts given by verdict number, without those that did not occur."""
    return Counter({_VERDICTS[n]: int(count) for n, count in enumerate(by_number) if count})


def counts_of_tally(tally: Tally) -> Counts:
    """Return the counts of the functions that peers know, and how many pages are poisoned at the end if any were."""
    counts: Counts = Counter()
    for function in _CHECKS:
        counts.update({(function, check): n for check, n in tally.checks.get(function, {}).items() if n})
    if "poisoned pages" in tally.counters:
        counts[POISONED] = tally.counters["poisoned pages"]
    return counts


def coarse(counts: Counts) -> Counts:
    """Return the same counts no finer than the scalar reference tells: page or NULL, and the documents' poison rules."""
    result: Counts = Counter()
    for (function, check), n in counts.items():
        answer = "page" if check in PAGE_CHECKS else "NULL"
        result[function, answer if function == WALK else _RULES.get((function, check), check)] += n
    return result
