"""Lookups that differ by nothing but a pfn that advances in equal steps become one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replay.sources.importers.pfns import PFN_LIMIT

from .ftrace import Ints
from .lookups import Lookups

__all__ = ("Runs", "compress")


@dataclass(frozen=True)
class Runs:
    """Runs of lookups.

    Attributes:
        first: index of each run's first lookup, whose values are those of the run.
        length: lookups in the run.
        stride: pfns from one to the next; 1 for a run of one.
    """

    first: Ints
    length: Ints
    stride: Ints


def compress(lookups: Lookups, stretch: Ints, alone: np.ndarray) -> Runs:
    """Put lookups into runs.

    Lookups change nothing, so within a stretch that no other row interrupts their order does not matter: they are
    grouped by task, call, kind and answer, and each group is cut greedily where the step of the pfn changes.

    Args:
        lookups: the lookups, in order.
        stretch: per lookup a number that changes where another row stands; never decreases.
        alone: lookups that must stay rows of their own.

    Returns:
        The runs, in the order of their first lookups.
    """
    n = len(lookups)
    order, group = _grouped(lookups, stretch, alone | (lookups.pfn >= PFN_LIMIT))  # the format has no runs there
    pfn = lookups.pfn[order]
    step = np.zeros(n, np.int64)
    step[:-1] = np.where(group[1:] == group[:-1], (pfn[1:] - pfn[:-1]).view(np.int64), 0)
    # Where the step changes, from there on; a chain of equal steps i..j-1 links the lookups i..j.
    change = np.flatnonzero(np.append(step[1:] != step[:-1], True))
    chain = np.repeat(change + 1, np.diff(np.concatenate(([-1], change)))).tolist()
    steps = step.tolist()
    first, length, stride = [], [], []
    i = 0
    while i < n:
        linked = steps[i] != 0
        end = chain[i] if linked else i
        first.append(i)
        length.append(end - i + 1)
        stride.append(steps[i] if linked else 1)
        i = end + 1
    starts = order[np.array(first, np.int64)]
    by_first = np.argsort(starts)
    return Runs(starts[by_first], np.array(length, np.int64)[by_first], np.array(stride, np.int64)[by_first])


def _grouped(lookups: Lookups, stretch: Ints, alone: np.ndarray) -> tuple[Ints, Ints]:
    """Return the lookups sorted by group (stable), and the number of each one's group."""
    columns = [lookups.kind, lookups.task, lookups.call, lookups.pgmap, lookups.ret, lookups.slow, lookups.found]
    key, size = stretch - stretch.min(initial=0), int(stretch.max(initial=0)) + 1
    columns.append(np.where(alone, np.arange(len(lookups)), -1))
    for column in columns:
        values = column - column.min(initial=0)
        values_size = int(values.max(initial=0)) + 1
        if size * values_size >= 1 << 62:
            _, values = np.unique(values, return_inverse=True)
            _, key = np.unique(key, return_inverse=True)
            size, values_size = int(key.max(initial=0)) + 1, int(values.max(initial=0)) + 1
        key, size = key * values_size + values, size * values_size
    order = np.argsort(key, kind="stable")
    return order, key[order]
