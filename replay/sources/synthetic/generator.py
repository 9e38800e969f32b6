"""Writing generated traces: provenance, times, stretches made ahead, one after the other into the file."""

from __future__ import annotations

import os
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np

from replay.errors import UsageError
from replay.sources.synthetic.devices import front_of
from replay.sources.synthetic.machines import SyntheticMachine, make_machine
from replay.sources.synthetic.rows import Columns, Part, Table
from replay.sources.synthetic.workloads import absent, parts_of
from replay.trace.header import Provenance
from replay.trace.layout import MAX_ROWS
from replay.trace.writer import BATCH_ROWS, TraceWriter, Values

__all__ = ("GENERATOR", "Generation", "Written")

GENERATOR = 1  # raised when the same request no longer gives the same rows
DEFAULT_EVENTS = 1_000_000
_NS = 10**9
_FRONT_TICK = 1000  # ns between the rows in front
_MAX_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Written:
    """A trace that was written.

    Attributes:
        rows: how many, those in front included.
        front: rows in front: devices mapped, pages described.
        digest: identity of the trace.
        seconds: of time on the trace's clock.
    """

    rows: int
    front: int
    digest: str
    seconds: float


@dataclass(frozen=True)
class Generation:
    """What is to be generated; the same request always gives the same rows.

    Attributes:
        workload: name, or "mix".
        mix: (workload, rate) of the parts of an own mix.
        machine: name of a plan.
        settings: of the machine, as texts.
        parameters: of the workload, as texts; ``PART.name`` in a mix.
        events: rows behind those in front; None takes 1,000,000, or all of a workload that ends.
        seed: of all random numbers.
    """

    workload: str
    mix: tuple[tuple[str, str], ...] = ()
    machine: str = "plain"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    events: int | None = None
    seed: int = 0

    @cached_property
    def plan(self) -> SyntheticMachine:
        """The machine."""
        return make_machine(self.machine, self.settings)

    @cached_property
    def _part(self) -> tuple[Part, Fraction]:
        if not 0 <= self.seed <= _MAX_SEED:
            raise UsageError(f"seed {self.seed}; needed 0 to {_MAX_SEED}")
        return parts_of(self.workload, self.mix, self.parameters, self.plan, self.seed)

    @cached_property
    def front(self) -> Table:
        """The rows in front, without their times."""
        part = self._part[0]
        # A workload that flips a device from RAM to devdax begins with its plugging.
        own = frozenset(d.number for d in self.plan.devices if d.mode == "kmem" and f"device {d.number}" in part.claims)
        rows = [*front_of(self.plan, without=own), *part.front]
        unique = {tuple(row.items()): row for row in rows}  # the parts of a mix describe the same pages
        return Table(list(unique.values()))

    @cached_property
    def rows(self) -> int:
        """Rows behind those in front."""
        part, events = self._part[0], self.events
        if part.finite:
            assert part.length is not None
            if events is not None and events > part.length:
                raise UsageError(
                    f"--events {events}: {self.workload} with these parameters has {part.length} rows; leave it out for all"
                )
            return part.length if events is None else events
        chosen = DEFAULT_EVENTS if events is None else events
        if not 0 < chosen <= MAX_ROWS - self.front.rows:
            raise UsageError(f"--events {chosen}; needed 1 to {MAX_ROWS - self.front.rows:,}, what a trace can hold")
        return chosen

    @property
    def command(self) -> str:
        """The line that generates the same trace."""
        words = ["replay", "generate", self.workload]
        words += [word for part, speed in self.mix for word in ("--part", f"{part}={speed}")]
        words += ["--machine", self.machine]
        words += [word for name, value in sorted(self.settings.items()) for word in ("--set", f"{name}={value}")]
        words += [word for name, value in sorted(self.parameters.items()) for word in ("--param", f"{name}={value}")]
        return shlex.join([*words, "--events", str(self.rows), "--seed", str(self.seed), "-o", "trace.arrow"])

    @property
    def provenance(self) -> Provenance:
        """What the file says about itself."""
        parameters = {
            "workload": self.workload,
            "machine": self.machine,
            "events": str(self.rows),
            "generator": str(GENERATOR),
        }
        parameters |= {f"part.{part}": speed for part, speed in self.mix}
        parameters |= {f"set.{name}": value for name, value in self.settings.items()}
        parameters |= {f"param.{name}": value for name, value in self.parameters.items()}
        return Provenance(
            "synthetic",
            self.workload,
            tool=f"replay generate {GENERATOR}",
            clock="generated",
            command=self.command,
            seed=self.seed,
            parameters=parameters,
            notes=tuple(
                f"without {part}, which looks nothing up on {self.plan.kernel}"
                for part in absent(self.workload, self.plan)
            ),
        )

    def stretch(self, first: int, count: int) -> Columns:
        """Return rows ``[first, first + count)`` behind those in front, with their times; any stretch, in any order."""
        part, speed = self._part
        start = self.front.rows * _FRONT_TICK
        return {"time": (_times(first, count, Fraction(_NS) / speed, start), None), **part.rows(first, count)}

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that the trace has."""
        return ("time", *sorted(self._part[0].columns | self.front.columns.keys()))

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        compression: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Written:
        """Write the trace.

        Args:
            path: the file; an existing one is replaced at the end.
            threads: that make rows while others are written; the rows do not depend on it.
            compression: None, "lz4" or "zstd".
            progress: is told (rows done, rows in all).

        Raises:
            UsageError: the request cannot be carried out.
        """
        total, front = self.rows, self.front
        writer = TraceWriter(
            path,
            machine=self.plan.description,
            provenance=self.provenance,
            strings=self.plan.strings,
            columns=self.columns(),
            compression=compression,
        )
        last = 0
        with writer:
            if front.rows:
                times = np.arange(front.rows, dtype=np.uint64) * np.uint64(_FRONT_TICK)
                writer.write(_values({"time": (times, None), **front.columns}))
            for columns in _ahead(self.stretch, _cuts(front.rows, total), threads):
                writer.write(_values(columns))
                last = int(columns["time"][0][-1])
                if progress:
                    progress(writer.rows - front.rows, total)
        return Written(writer.rows, front.rows, writer.digest, last / _NS)


def _times(first: int, count: int, tick: Fraction, start: int) -> np.ndarray:
    """Return the times of rows that come at a constant rate, in whole ns, rounded down."""
    base, rest = divmod(first * tick.numerator, tick.denominator)
    assert count * tick.numerator + rest < 1 << 64
    times = np.arange(count, dtype=np.uint64)
    times *= np.uint64(tick.numerator)
    if tick.denominator != 1:
        times += np.uint64(rest)
        times //= np.uint64(tick.denominator)
    times += np.uint64(start + base)
    return times


def _values(columns: Columns) -> dict[str, Values]:
    return {name: values if given is None else (values, given) for name, (values, given) in columns.items()}


def _cuts(front: int, total: int) -> Iterator[tuple[int, int]]:
    """Yield (first row, rows) of stretches that end where record batches do, so that the writer need not copy them."""
    first = 0
    while first < total:
        size = min(BATCH_ROWS - (front + first) % BATCH_ROWS, total - first)
        yield first, size
        first += size


def _ahead(make: Callable[[int, int], Columns], cuts: Iterator[tuple[int, int]], threads: int) -> Iterator[Columns]:
    """Yield the stretches in order, made by some threads while the one before is used."""
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="replay-generate") as pool:
        coming: deque[Future[Columns]] = deque()
        for first, count in cuts:
            coming.append(pool.submit(make, first, count))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
