"""Several parts in one trace, each at its own rate."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from replay.errors import UsageError
from replay.sources.synthetic.rows import Columns, Part
from replay.trace.schema import COLUMNS

__all__ = ("MAX_FRAME", "mixed")

MAX_FRAME = 1 << 20  # rows after which the order of the parts repeats


def mixed(parts: Sequence[Part], rates: Sequence[Fraction]) -> Part:
    """Return one part in which the rows of several take turns, spread evenly by their rates.

    Args:
        parts: at least one; each keeps its own order.
        rates: rows per second of each, above 0.

    Raises:
        UsageError: two parts change the same thing, or the rates are too far apart for a repeating order.
    """
    _check_claims(parts)
    if len(parts) == 1:
        return parts[0]
    weights = _weights(parts, rates)
    frame = sum(weights)
    order = _order(weights)
    # How many rows of each part stand before each place of the frame.
    before = [np.concatenate(([0], np.cumsum(order == number))) for number in range(len(parts))]
    names = frozenset().union(*(part.columns for part in parts))

    def rows(first: int, count: int) -> Columns:
        turn, start = divmod(first, frame)
        repeats = -(-(start + count) // frame)
        which = (np.tile(order, repeats) if repeats > 1 else order)[start : start + count]
        pieces = []
        for number, part in enumerate(parts):
            at = np.flatnonzero(which == number)
            if at.size:
                own = turn * weights[number] + int(before[number][start])
                pieces.append((at, part.rows(own, at.size)))
        return _joined(pieces, count)

    front = tuple(row for part in parts for row in part.front)
    claims = frozenset().union(*(part.claims for part in parts))
    return Part("+".join(part.name for part in parts), rows, names, front, claims)


def _joined(pieces: Sequence[tuple[np.ndarray, Columns]], count: int) -> Columns:
    """Put the rows of each part where they belong."""
    found: Columns = {}
    for name in dict.fromkeys(name for _, columns in pieces for name in columns):
        wide = np.zeros(count, COLUMNS[name].numpy)
        everywhere = all(name in columns and columns[name][1] is None for _, columns in pieces)
        mask = None if everywhere else np.zeros(count, np.bool_)
        for at, columns in pieces:
            if name in columns:
                values, given = columns[name]
                wide[at] = values
                if mask is not None:
                    mask[at] = True if given is None else given
        found[name] = (wide, mask)
    return found


def _weights(parts: Sequence[Part], rates: Sequence[Fraction]) -> list[int]:
    """Return how many rows of each part stand in one frame."""
    scale = lcm(*(rate.denominator for rate in rates))
    weights = [int(rate * scale) for rate in rates]
    common = gcd(*weights)
    weights = [weight // common for weight in weights]
    if sum(weights) > MAX_FRAME:
        slow = min(range(len(rates)), key=rates.__getitem__)
        near = sum(rates) / (MAX_FRAME // 2)
        told = ", ".join(f"{p.name}={float(r):g}" for p, r in zip(parts, rates, strict=True))
        raise UsageError(
            f"rates of {told}: they repeat only after {sum(weights):,} rows; needed at most {MAX_FRAME:,}: round them, "
            f"or raise {parts[slow].name} to about {float(near):.3g}"
        )
    return weights


def _order(weights: Sequence[int]) -> np.ndarray:
    """Return the part of each place of a frame; the k-th of n rows of a part stands around (k + 1/2) / n of it."""
    places = np.concatenate([(np.arange(weight) + 0.5) / weight for weight in weights])
    part = np.repeat(np.arange(len(weights), dtype=np.uint16), weights)
    return part[np.argsort(places, kind="stable")]


def _check_claims(parts: Sequence[Part]) -> None:
    owners: dict[str, str] = {}
    for part in parts:
        for claim in sorted(part.claims):
            if claim in owners:
                raise UsageError(
                    f"{owners[claim]} and {part.name} both change {claim}; "
                    "needed one of them, or another device for the second"
                )
            owners[claim] = part.name
