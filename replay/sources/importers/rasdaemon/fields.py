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
_MAX_DIGITS, _NO_DIGIT = 16, 255
_DIGIT_VALUES = np.full(256, _NO_DIGIT, np.uint64)  # of bytes as hexadecimal digits
for _value, _digit in enumerate("0123456789abcdef"):
    _DIGIT_VALUES[[ord(_digit), ord(_digit.upper())]] = _value


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
    """Return days since 1970 of dates as yyyymmdd, and which of them exist; most are that of the row before."""
    given = np.where(fine, dates, 0)
    changes = np.diff(given, prepend=-1) != 0
    which = np.cumsum(changes) - 1
    days, known = np.zeros(int(changes.sum()), np.int64), np.zeros(int(changes.sum()), np.bool_)
    for index, number in enumerate(given[changes].tolist()):
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
    """Read pfns as rasdaemon writes them, in hexadecimal with 0x in front; and where one could be read."""
    width = len("0x") + _MAX_DIGITS
    raw = np.array(values, f"S{width + 1}").view(np.uint8).reshape(len(values), width + 1)
    fine = (raw[:, 0] == ord("0")) & (raw[:, 1] == ord("x")) & (raw[:, 2] != 0) & (raw[:, width] == 0)
    number, over = np.zeros(len(values), np.uint64), np.zeros(len(values), np.bool_)
    for column in range(len("0x"), width):
        digit = _DIGIT_VALUES[raw[:, column]]
        over |= raw[:, column] == 0
        fine &= over == (digit == _NO_DIGIT)  # nothing after the end, and nothing but digits before
        number = np.where(over, number, (number << np.uint64(4)) | digit)
    return np.where(fine, number, np.uint64(0)), fine


def text_of(value: Value) -> str:
    """Return a value as one line of text that can be shown."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
