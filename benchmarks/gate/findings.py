"""What is worth a red light: answers that changed, benchmarks that are gone, and what is slower or larger for certain."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.gate.results import Benchmark, Measurement
from benchmarks.gate.statistics import MIN_SAMPLES, P_THRESHOLD, p_slower

__all__ = ("SLOWER", "THRESHOLD", "Finding", "Results", "compare", "incomplete", "label", "suspects")

Key = tuple[str, tuple[str, ...]]
Results = Mapping[Key, Measurement]

SLOWER = "slower"
THRESHOLD = 1.10  # slower or larger by a tenth
_EXACT = frozenset({"calls", "rows", "states"})  # tracked counts that only a change of verdicts moves
_DISAGREEMENTS = "disagreements"
_SIZE_THRESHOLD = 1.01  # the same rows give the same bytes
_PER_EVENT_FLOOR = 0.1e-9  # seconds; of rows by the million
_FLOOR = 2e-3  # seconds
_MEMORY_FLOOR = 4 << 20  # bytes


@dataclass(frozen=True)
class Finding:
    """Something that got worse.

    Attributes:
        kind: first word of the line: slower, unsure, larger, wrong, changed, failed, gone, not run.
        key: the benchmark and its parameters.
        what: values and how sure, if there is more to say.
    """

    kind: str
    key: Key
    what: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {label(self.key)}{': ' if self.what else ''}{self.what}"


def label(key: Key) -> str:
    """Return a benchmark and its parameters as asv writes them."""
    name, parameters = key
    return f"{name}({', '.join(parameters)})" if parameters else name


def incomplete(benchmarks: Mapping[str, Benchmark], declared: set[str], results: Results) -> list[str]:
    """Return a line for every benchmark that exists and has no result.

    Args:
        benchmarks: what asv found.
        declared: names of what the source declares.
        results: what was measured.
    """
    lines = [f"not found by asv: {name}" for name in sorted(declared - benchmarks.keys())]
    lines += [f"not declared in the suite: {name}" for name in sorted(benchmarks.keys() - declared)]
    for key in _keys(benchmarks):
        measured = results.get(key)
        if measured is None:
            lines.append(f"not run: {label(key)}")
        elif measured.failed or measured.skipped:
            lines.append(f"{'failed' if measured.failed else 'skipped'}: {label(key)}")
    return lines


def compare(
    benchmarks: Mapping[str, Benchmark], base: Results, head: Results, *, threshold: float = THRESHOLD
) -> list[Finding]:
    """Return everything that got worse from base to head; nothing if nothing did.

    Args:
        benchmarks: what asv found; benchmarks that only the results know are gone.
        base: results of the older commit.
        head: results of the newer one.
        threshold: ratio above which something is slower or larger.
    """
    found = [Finding("gone", key) for key in sorted(base.keys() - head.keys()) if _counts(base[key])]
    for key in _keys(benchmarks):
        before, after = base.get(key), head.get(key)
        if after is None:
            found += [Finding("not run", key)] if before is None else []  # else it is gone, see above
        elif after.failed:
            found.append(Finding("failed", key))
        elif before is not None and _counts(before):
            if after.skipped:
                found.append(Finding("gone", key, "skipped now"))
            else:
                worse = _worse(benchmarks[key[0]], before, after, threshold)
                found += [Finding(worse[0], key, worse[1])] if worse else []
    return found


def suspects(
    benchmarks: Mapping[str, Benchmark], base: Results, head: Results, *, threshold: float = THRESHOLD
) -> list[Key]:
    """Return the timings that may have got slower: typically by half of the threshold, significantly or not."""
    found = []
    for key in _keys(benchmarks):
        before, after = base.get(key), head.get(key)
        if before is not None and after is not None and before.samples and after.samples:
            old, new = statistics.median(before.samples), statistics.median(after.samples)
            if new > old * (1 + (threshold - 1) / 2):
                found.append(key)
    return found


def _keys(benchmarks: Mapping[str, Benchmark]) -> Iterator[Key]:
    for name in sorted(benchmarks):
        for parameters in benchmarks[name].parameters:
            yield name, parameters


def _counts(measured: Measurement) -> bool:
    return not (measured.failed or measured.skipped)


def _worse(benchmark: Benchmark, before: Measurement, after: Measurement, threshold: float) -> tuple[str, str] | None:
    """Return what is wrong, and the two values, or None."""
    assert before.value is not None
    assert after.value is not None
    old, new = before.value, after.value
    if benchmark.type == "time":
        return _slower(before, after, _PER_EVENT_FLOOR if "per_event" in benchmark.name else _FLOOR, threshold)
    values = f"{old:.10g} -> {new:.10g} {benchmark.unit}"
    if benchmark.unit == _DISAGREEMENTS:
        return ("wrong", values) if new > old else None
    if benchmark.unit in _EXACT:
        return ("changed", values) if new != old else None
    if benchmark.type == "peakmemory":
        return ("larger", values) if new > old * threshold and new - old > _MEMORY_FLOOR else None
    return ("larger", values) if new > old * _SIZE_THRESHOLD else None


def _slower(before: Measurement, after: Measurement, floor: float, threshold: float) -> tuple[str, str] | None:
    """Slower for certain: by more than the threshold and the floor, and significantly so."""
    taken = min(len(before.samples), len(after.samples))
    if taken < MIN_SAMPLES:
        return "unsure", f"{len(before.samples)}+{len(after.samples)} samples; needed {MIN_SAMPLES} of each commit"
    old, new = statistics.median(before.samples), statistics.median(after.samples)
    best_old, best_new = min(before.samples), min(after.samples)
    p = p_slower(before.samples, after.samples)
    if new / old <= threshold or new - old <= floor or p >= P_THRESHOLD:
        return None
    samples = f"{len(before.samples)}+{len(after.samples)} samples"
    return (
        "slower",
        f"{_time(old)} -> {_time(new)} (x{new / old:.2f}, at best x{best_new / best_old:.2f}, {samples}, p {p:.2g})",
    )


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
