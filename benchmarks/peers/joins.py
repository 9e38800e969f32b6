"""The peers that join rows to ranges of pfns with the same verdict: polars and DuckDB.

The ranges are worked out before the clock starts. Single lookups are as-of joins, runs are joins on overlap. Ranges
change with every transition, so workloads with transitions are refused: each stretch between two of them would be a join of
its own.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.peers.case import Case
from benchmarks.peers.memory import state_ranges
from benchmarks.peers.peer import Pass, Unavailable
from benchmarks.peers.verdicts import NR_VERDICTS, Counts, counts_of

__all__ = ("DuckDb", "Polars")

_STATIC = ("random", "sequential")
_REFUSED = "the ranges change between the rows: each stretch between transitions would be a join of its own"


def _refuses(workload: str) -> str | None:
    return None if workload in _STATIC or workload.startswith("runs") else _REFUSED


class Polars:
    """polars: ``join_asof`` on the first pfn of the ranges; ``join_where`` on overlap for runs."""

    name, about = "polars", "polars, join_asof on state ranges (join_where for runs)"
    coarse = by_page = False

    def refuses(self, workload: str) -> str | None:
        """Refuse transitions."""
        return _refuses(workload)

    def prepare(self, case: Case) -> Pass:
        """Return a pass."""
        return _PolarsPass(case)


class _PolarsPass:
    seconds = None

    def __init__(self, case: Case) -> None:
        import polars as pl  # noqa: PLC0415 - its thread pool reads the environment when it is imported

        self._found: Any = None
        ranges = state_ranges(case.start.memory)
        verdicts = pl.DataFrame({"first": ranges.start, "last": ranges.end, "check": ranges.check}).lazy()
        pfn = case.joined("pfn")
        if case.only_singles:
            rows = pl.DataFrame({"pfn": pfn})
            in_order = bool((pfn[1:] >= pfn[:-1]).all())
            left = rows.lazy().set_sorted("pfn") if in_order else rows.lazy().sort("pfn")
            joined = left.join_asof(verdicts.set_sorted("first"), left_on="pfn", right_on="first")
            self._query = joined.group_by("check").agg(pl.len().alias("n"))
        else:
            rows = pl.DataFrame({"pfn": pfn, "end": pfn + case.joined("nr_pages")})
            joined = rows.lazy().join_where(verdicts, pl.col("first") < pl.col("end"), pl.col("last") > pl.col("pfn"))
            low, high = pl.max_horizontal("pfn", "first"), pl.min_horizontal("end", "last")
            self._query = joined.group_by("check").agg((high - low).sum().alias("n"))

    def run(self) -> None:
        self._found = self._query.collect()

    def counts(self) -> Counts:
        return _counts(self._found["check"].to_list(), self._found["n"].to_list())


_ASOF = "SELECT v.check, count(*) AS n FROM events e ASOF JOIN verdicts v ON e.pfn >= v.first GROUP BY v.check"
_OVERLAP = """
SELECT v.check, sum(least(e.last, v.last) - greatest(e.pfn, v.first)) AS n
FROM events e JOIN verdicts v ON v.first < e.last AND v.last > e.pfn GROUP BY v.check
"""


class DuckDb:
    """DuckDB: ``ASOF JOIN`` on the first pfn of the ranges; a join on overlap for runs."""

    name, about = "duckdb", "DuckDB, ASOF JOIN on state ranges (a join on overlap for runs)"
    coarse = by_page = False

    def refuses(self, workload: str) -> str | None:
        """Refuse transitions."""
        return _refuses(workload)

    def prepare(self, case: Case) -> Pass:
        """Return a pass.

        Raises:
            Unavailable: no DuckDB.
        """
        try:
            import duckdb  # noqa: PLC0415 - a package of the extra "peers"
        except ModuleNotFoundError as error:
            raise Unavailable("no duckdb on this machine: pip install 'pfn-replay[peers]'") from error
        return _DuckDbPass(case, duckdb)


class _DuckDbPass:
    seconds = None

    def __init__(self, case: Case, duckdb: Any) -> None:
        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 1")
        ranges = state_ranges(case.start.memory)
        signed = {"first": ranges.start.view(np.int64), "last": ranges.end.view(np.int64)}
        self._connection.register("verdicts", pa.table({**signed, "check": ranges.check}))
        pfn = case.joined("pfn").view(np.int64)
        events = {"pfn": pfn}
        if not case.only_singles:
            events["last"] = pfn + case.joined("nr_pages").view(np.int64)
        self._connection.register("events", pa.table(events))
        self._query = _ASOF if case.only_singles else _OVERLAP
        self._found: list[tuple[int, int]] = []

    def run(self) -> None:
        self._found = self._connection.execute(self._query).fetchall()

    def counts(self) -> Counts:
        return _counts([check for check, _ in self._found], [n for _, n in self._found])


def _counts(checks: list[int], counts: list[int]) -> Counts:
    found: Counter[int] = Counter()
    for check, n in zip(checks, counts, strict=True):
        found[check] += int(n)
    return counts_of([found[n] for n in range(NR_VERDICTS)])
