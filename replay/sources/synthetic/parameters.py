"""Parameters of machines, walkers and workloads: text in, checked values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from replay.errors import UnknownNameError, UsageError, did_you_mean

__all__ = (
    "Parameter",
    "choice",
    "count",
    "in_bytes",
    "parse_pairs",
    "rate",
    "resolve",
    "share",
    "size",
    "text",
    "yes_no",
)

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_MAX_DIGITS = 30


@dataclass(frozen=True)
class Parameter:
    """One thing that can be set.

    Attributes:
        name: as on the command line.
        default: as on the command line; what it is parsed to is the value.
        about: meaning, and unit.
        parse: text to value; raises ValueError that says what was needed.
    """

    name: str
    default: str
    about: str
    parse: Callable[[str], Any]


def in_bytes(given: str) -> int:
    """Return a size such as 2T, 512M, 4096 or 0x200000 in bytes.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(given)
    if not found or len(given) > _MAX_DIGITS:
        raise ValueError("a size such as 512M, 2T or 0x200000")
    return int(found[1], 0 if found[1][:2] in {"0x", "0X"} else 10) << _UNITS[found[2].upper()]


def size(low: int = 0, high: int = 1 << 56) -> Callable[[str], int]:
    """Return a parser of sizes from ``low`` to ``high`` bytes, both inclusive."""

    def parse(given: str) -> int:
        value = in_bytes(given)
        if not low <= value <= high:
            raise ValueError(f"{show_bytes(low)} to {show_bytes(high)}")
        return value

    return parse


def show_bytes(value: int) -> str:
    """Return a size in the largest unit that it is a multiple of."""
    for unit, shift in reversed(_UNITS.items()):
        if value and not value % (1 << shift):
            return f"{value >> shift}{unit}"
    return str(value)


def count(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``low`` to ``high``, both inclusive."""

    def parse(given: str) -> int:
        try:
            value = int(given, 0) if len(given) <= _MAX_DIGITS else -1
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"a whole number, {low} to {high}")
        return value

    return parse


def share(given: str) -> Fraction:
    """Return a part of a whole, 0 to 1, from 0.25, 1/4 or 25%."""
    try:
        value = Fraction(given[:-1]) / 100 if given.endswith("%") else Fraction(given)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= 1 or len(given) > _MAX_DIGITS:
        raise ValueError("a share from 0 to 1, such as 0.25, 1/4 or 25%")
    return value


def rate(given: str) -> Fraction:
    """Return events per second, above 0, at most one per nanosecond."""
    try:
        value = Fraction(given) if len(given) <= _MAX_DIGITS else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 < value <= 10**9:
        raise ValueError("events per second, more than 0 and at most 1e9 (times are in nanoseconds)")
    return value


def choice(*known: str) -> Callable[[str], str]:
    """Return a parser that takes one of some words."""

    def parse(given: str) -> str:
        if given not in known:
            raise ValueError(f"one of {', '.join(known)}{did_you_mean(given, known)}")
        return given

    return parse


def yes_no(given: str) -> bool:
    """Return whether the text says yes."""
    if given not in {"yes", "no"}:
        raise ValueError("yes or no")
    return given == "yes"


def text(given: str) -> str:
    """Return the text itself."""
    return given


def parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` texts as a mapping.

    Raises:
        UsageError: one of them has another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {pair!r}: needed NAME=VALUE")
        if name in found:
            raise UsageError(f"{option} {name} is given twice: {found[name]} and {value}")
        found[name] = value
    return found


def resolve(what: str, parameters: Iterable[Parameter], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of all parameters, given or default.

    Args:
        what: whose parameters they are, for errors.
        parameters: the known ones.
        given: texts by name.

    Raises:
        UnknownNameError: a name that is not among them.
        UsageError: a value that cannot be.
    """
    known = {p.name: p for p in parameters}
    for name in given:
        if name not in known:
            there = f"{what} has {', '.join(known)}" if known else f"{what} has none"
            raise UnknownNameError(f"parameter of {what}", name, known, there)
    values = {}
    for name, parameter in known.items():
        chosen = given.get(name, parameter.default)
        try:
            values[name] = parameter.parse(chosen)
        except ValueError as error:
            raise UsageError(f"{what}: {name}={chosen}: needed {error}") from None
    return values
