"""The scalar reference: the rules of the documents, one event at a time, in plain Python."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

from benchmarks.peers.case import Case
from benchmarks.peers.peer import Pass
from benchmarks.peers.verdicts import POISONED, WALK, Counts, rule_number
from replay.scalar import replay_poison_rows, replay_rows
from replay.trace.batch import Batch
from replay.trace.schema import POISON_CALLS, EventKind

__all__ = ("Scalar",)


class Scalar:
    """replay/scalar."""

    name, about = "scalar", "replay's scalar reference, plain Python"
    coarse, by_page = True, True

    def refuses(self, workload: str) -> str | None:
        """Refuse runs of a million pages and more."""
        slow = "plain Python, page by page: a row takes minutes; runs-1e3 shows the cost of a page"
        return slow if workload in {"runs-1e6", "runs-1e9"} else None

    def prepare(self, case: Case) -> Pass:
        """Return a pass."""
        return _ScalarPass(case)


class _ScalarPass:
    def __init__(self, case: Case) -> None:
        self._start = case.start
        self._front = list(_rows(case.start.setup))
        self._rows = [row for batch in case.batches for row in _rows(batch)]
        self._poison = bool(case.kinds & POISON_CALLS)
        self._outcomes: list[dict[str, object]] = []
        self.seconds: float | None = None

    def run(self) -> None:
        began = 0.0

        def rows() -> Iterator[dict[str, int]]:
            nonlocal began
            yield from self._front
            began = time.perf_counter()  # all rows in front have been replayed
            yield from self._rows

        replay = replay_poison_rows if self._poison else replay_rows
        outcomes = replay(self._start.workload.machine, rows(), self._start.profile.features)
        self.seconds = time.perf_counter() - began
        self._outcomes = outcomes[len(self._front) :]

    def counts(self) -> Counts:
        counts: Counts = Counter()
        for row, outcome in zip(self._rows, self._outcomes, strict=True):
            kind = EventKind(row["kind"])
            if kind is EventKind.PFN_TO_ONLINE_PAGE:
                pages = int(str(outcome["pages"]))
                counts[WALK, "page"] += pages
                counts[WALK, "NULL"] += row.get("nr_pages", 1) - pages
            elif kind in POISON_CALLS:
                counts[kind.name.lower(), rule_number(str(outcome["rule"]))] += 1
                counts[POISONED] += int(str(outcome["counted"]))
            else:
                function, _, check = str(outcome["check"]).partition("/")
                counts[function, check] += 1
        return Counter({verdict: n for verdict, n in counts.items() if n})


def _rows(batch: Batch) -> Iterator[dict[str, int]]:
    """Yield the rows of a batch as dictionaries without what a row does not give."""
    names = batch.stored_names
    values = [batch.column(name).tolist() for name in names]
    given = [np.broadcast_to(batch.given(name), len(batch)).tolist() for name in names]
    for row in range(len(batch)):
        yield {name: v[row] for name, v, g in zip(names, values, given, strict=True) if g[row]}
