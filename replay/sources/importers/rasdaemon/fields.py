"""Columns of rasdaemon's tables -> arrays: times, numbers, addresses, texts, many rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from .database import Value

__all__ = ("SENTINEL", "addresses", "integers", "pfns", "text_of", "times")

Bools = NDArray[np.bool_]

SENTINEL = 0  # 1970-01-01 00:00:00: rasdaemon could not tell the time

_LENGTH = 25  # "2025-03-30 01:59:00 +0100"
_TEMPLATE = np.frombuffer(b"0000-00-00 00:00:00 +0000", np.uint8)
_DIGITS = np.equal(_TEMPLATE, ord("0"))
_SIGN = 20
_LIMITS = {"hour": 23, "minute": 59, "second": 60}  # 60: a leap second
_SECOND = 1_000_000_000


def times(values: Sequence[Value]) -> tuple[NDArray[np.int64], Bools]:
    """Read local times with their distance from UTC, as rasdaemon writes them.

    Returns:
        ns since 1970 in UTC, and where a time could be read. 0 is the text for "not known".
    """
    text = np.array(values, f"S{_LENGTH + 1}")
    raw = text.view(np.uint8).reshape(len(text), _LENGTH + 1)
    fine = raw[:, _LENGTH] == 0
    raw = raw[:, :_LENGTH]
    digits = raw - np.uint8(ord("0"))  # wraps for what is below "0"
    fine &= (digits[:, _DIGITS] <= 9).all(1)
    literal = ~_DIGITS
    literal[_SIGN] = False
    fine &= (raw[:, literal] == _TEMPLATE[literal]).all(1)
    fine &= (raw[:, _SIGN] == ord("+")) | (raw[:, _SIGN] == ord("-"))
    days, known = _days(_number(digits, 0, 4) * 10000 + _number(digits, 5, 7) * 100 + _number(digits, 8, 10), fine)
    hour, minute, second = (_number(digits, at, at + 2) for at in (11, 14, 17))
    fine &= known & (hour <= _LIMITS["hour"]) & (minute <= _LIMITS["minute"]) & (second <= _LIMITS["second"])
    away, past = _number(digits, 21, 23), _number(digits, 23, 25)
    fine &= (away <= _LIMITS["hour"]) & (past <= _LIMITS["minute"])
    east = np.where(raw[:, _SIGN] == ord("-"), -1, 1) * (away * 3600 + past * 60)
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - east
    fine &= seconds >= 0
    return np.where(fine, seconds, 0) * _SECOND, fine


def _number(digits: NDArray[np.uint8], start: int, end: int) -> NDArray[np.int64]:
    number = np.zeros(len(digits), np.int64)
    for column in range(start, end):
        number = number * 10 + digits[:, column]
    return number


def _days(dates: NDArray[np.int64], fine: Bools) -> tuple[NDArray[np.int64], Bools]:
    """Return days since 1970 of dates as yyyymmdd, and which of them exist; there are few different ones."""
    different, which = np.unique(np.where(fine, dates, 0), return_inverse=True)
    days, known = np.zeros(len(different), np.int64), np.zeros(len(different), np.bool_)
    for index, number in enumerate(different.tolist()):
        try:
            days[index] = (
                date(number // 10000, number // 100 % 100, number % 100).toordinal() - date(1970, 1, 1).toordinal()
            )
            known[index] = True
        except ValueError:
            continue  # no such day
    return days[which], known[which]


def integers(values: Sequence[Value]) -> tuple[NDArray[np.int64], Bools]:
    """Read integers of 64 bits, signed as SQLite stores them; and where there is one."""
    if set(map(type, values)) <= {int}:  # numpy would turn texts and floats into integers
        return np.array(values, np.int64), np.ones(len(values), np.bool_)
    given = np.array([type(value) is int for value in values], np.bool_)
    return np.array([v if type(v) is int else 0 for v in values], np.int64), given


def addresses(values: Sequence[Value], page_shift: int) -> tuple[NDArray[np.uint64], Bools]:
    """Read physical addresses as pfns; 0 and all ones are what drivers give when they know none."""
    number, given = integers(values)
    return number.view(np.uint64) >> np.uint64(page_shift), given & (number != 0) & (number != -1)


def pfns(values: Sequence[Value]) -> tuple[NDArray[np.uint64], Bools]:
    """Read pfns as rasdaemon writes them, in hexadecimal with 0x in front."""
    try:
        return np.array([int(value, 16) for value in values], np.uint64), _hexadecimal(values)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        given = _hexadecimal(values)
        pairs = zip(values, given.tolist(), strict=True)
        numbers = [int(value, 16) if there else 0 for value, there in pairs]  # type: ignore[arg-type]
        return np.array(numbers, np.uint64), given


def _hexadecimal(values: Sequence[Value]) -> Bools:
    digits = set(b"0123456789abcdefABCDEF")
    return np.array(
        [type(v) is bytes and v[:2] == b"0x" and 2 < len(v) <= 18 and digits.issuperset(v[2:]) for v in values],
        np.bool_,
    )


def text_of(value: Value) -> str:
    """Return a value as one line of text that can be shown."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
