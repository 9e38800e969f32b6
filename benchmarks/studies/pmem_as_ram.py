"""What does scanning pmem before it becomes RAM prevent?  python -m benchmarks.studies.pmem_as_ram

When kmem was merged, a concern was that pmem with known or unknown bad blocks would go to the page allocator without
anybody looking. This study generates the workload ``pmem-as-ram`` twice for each seed, with and without scan-and-clear,
over the same medium, the same use of pages and the same new errors, and replays both. Consumed errors, what became of
them and the tasks killed are counted by the replay, not by the generator.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.studies.document import replaced
from replay.engine.poison_call import Decided
from replay.kernel.profiles import Profile
from replay.session import run
from replay.sources.synthetic.generator import Generation
from replay.trace.poison import ActionResult
from replay.trace.schema import EventKind

DOCUMENT = Path(__file__).parents[2] / "docs" / "studies" / "pmem-as-ram.md"
RATES = (10, 100, 1_000, 10_000)  # bad pages per TiB at the start
SEEDS = range(5)
KERNELS = ("v6.1.192", "v6.12.107", "v7.2.13")
MACHINE = {"pmem": "128G", "modes": "devdax", "block": "2G"}
PERIODS = 4
_GROWTH = 10  # bad pages at the start for each that comes in a period


@dataclass
class Outcome:
    """What replays counted.

    Attributes:
        consumed: errors that something ran into.
        recovered: those that the kernel got over: action Recovered.
        killed: tasks that got a deadly signal.
    """

    consumed: int = 0
    recovered: int = 0
    killed: int = 0

    def take(self, _kernel: Profile, _names: Sequence[str], call: Decided) -> None:
        """Count one call that was decided."""
        if call.kind is EventKind.MEMORY_FAILURE:
            self.consumed += 1
            self.recovered += call.result == ActionResult.RECOVERED
            self.killed += len(call.signals)  # none of the tasks handles SIGBUS


def generation(rate: int, seed: int, *, scan: bool) -> Generation:
    """Return what is replayed."""
    parameters = {
        "errors": str(rate),
        "growth": f"{rate // _GROWTH}",
        "periods": str(PERIODS),
        "scan": "yes" if scan else "no",
    }
    return Generation("pmem-as-ram", settings=MACHINE, parameters=parameters, seed=seed)


def outcomes(rate: int, seed: int, *, scan: bool, kernels: Sequence[str] = KERNELS) -> list[Outcome]:
    """Return what each kernel makes of one trace."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.arrow"
        generation(rate, seed, scan=scan).write(path)
        found = []
        for kernel in kernels:
            counted = Outcome()
            run(path, kernel, log=counted.take)
            found.append(counted)
    return found


def spread(values: Sequence[int]) -> str:
    """Return the mean, and the least and the most."""
    mean = statistics.fmean(values)
    return f"{mean:,.1f} ({min(values):,} to {max(values):,})"


def tables(
    rates: Sequence[int] = RATES, seeds: Sequence[int] = SEEDS, kernels: Sequence[str] = KERNELS
) -> tuple[str, str]:
    """Return the two tables of the study as Markdown: errors by rate, and what became of them by kernel."""
    first = [
        "| bad pages per TiB | consumed without | consumed with scan-and-clear | prevented | share |",
        "|---:|---:|---:|---:|---:|",
    ]
    second = [
        "| bad pages per TiB | kernel | without scan-and-clear | with scan-and-clear |",
        "|---:|---|---:|---:|",
    ]
    for rate in rates:
        found = {scan: [outcomes(rate, seed, scan=scan, kernels=kernels) for seed in seeds] for scan in (False, True)}
        consumed = {scan: [run_[0].consumed for run_ in runs] for scan, runs in found.items()}
        assert all(o.consumed == runs[0].consumed for arm in found.values() for runs in arm for o in runs)
        spared = [a - b for a, b in zip(consumed[False], consumed[True], strict=True)]
        share = sum(spared) / max(sum(consumed[False]), 1)
        first.append(
            f"| {rate:,} | {spread(consumed[False])} | {spread(consumed[True])} | {spread(spared)} | {share:.1%} |"
        )
        for at, kernel in enumerate(kernels):
            cells = [fates([run_[at] for run_ in found[scan]]) for scan in (False, True)]
            second.append(f"| {rate:,} | {kernel} | {' | '.join(cells)} |")
    return "\n".join(first) + "\n", "\n".join(second) + "\n"


def fates(runs: Sequence[Outcome]) -> str:
    """Return the means of what became of the errors."""
    recovered, killed = (statistics.fmean(getattr(o, name) for o in runs) for name in ("recovered", "killed"))
    lost = statistics.fmean(o.consumed - o.recovered for o in runs)
    return f"{recovered:,.1f}, {lost:,.1f}, {killed:,.1f}"


if __name__ == "__main__":
    errors, ends = tables()
    sys.stdout.write(f"{errors}\n{ends}")
    if "--update-docs" in sys.argv:
        text = replaced(DOCUMENT.read_text(), "errors", errors)
        DOCUMENT.write_text(replaced(text, "fates", ends))
