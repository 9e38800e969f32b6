"""What stands in front of a message in a log: levels, times and callers, in all forms that dmesg and syslog give them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

__all__ = ("BOOT", "CALENDAR", "Entry", "read_line")

BOOT, CALENDAR = "since boot", "calendar time"


class Entry(NamedTuple):
    """A message of the kernel.

    Attributes:
        line: number in the input.
        time: ns; None where the input does not say.
        clock: what the time counts from: BOOT or CALENDAR; "" without time.
        message: what the kernel printed.
        boot: id of the boot, where the input says it.
    """

    line: int
    time: int | None
    clock: str
    message: str
    boot: str = ""


def _boot(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)


def _calendar(form: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        parsed = datetime.strptime(text.replace(",", "."), form)  # noqa: DTZ007 - a zone is set below
        stamp = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return (int(stamp.timestamp()) * 10**6 + stamp.microsecond) * 1000

    return read


_DAY = r"[A-Z][a-z]{2}"
_CALLER = r"(?:\[ {0,8}[TC]\d{1,10}\] ?)?"
# Pattern (time, rest), clock, reader. Time since boot wins where both are there: it has microseconds.
_STAMPS: tuple[tuple[re.Pattern[str], str, Callable[[str], int]], ...] = (
    (re.compile(rf"\[ {{0,12}}(\d{{1,12}}\.\d{{6,9}})(?: < {{0,12}}[\d.]{{1,20}}>)?\] ?{_CALLER}"), BOOT, _boot),
    (re.compile(rf"\[({_DAY} {_DAY} [ \d]\d \d\d:\d\d:\d\d \d{{4}})\] {_CALLER}"), CALENDAR,
     _calendar("%a %b %d %H:%M:%S %Y")),
    (re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[,.]\d{6}(?:[+-]\d\d:?\d\d|Z)) "), CALENDAR,
     _calendar("%Y-%m-%dT%H:%M:%S.%f%z")),
    (re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[+-]\d\d:?\d\d|Z)) "), CALENDAR, _calendar("%Y-%m-%dT%H:%M:%S%z")),
)  # fmt: skip
_SYSLOG = re.compile(rf"({_DAY} [ \d]\d \d\d:\d\d:\d\d) ")
_HOST = re.compile(r"\S{1,255} kernel(?:\[\d+\])?: {1,2}")
_KMSG = re.compile(r"\d{1,3},\d{1,20},(\d{1,18}),[^;]{0,80};")
_LEVEL = re.compile(r"<\d{1,3}>|[a-z]{2,8} {0,5}:[a-z]{2,8} {0,5}: ")
_NO_TIME = re.compile(r"\[ {0,8}(?:<? {0,12}\+?[\d.]{1,20}>?|[A-Z][a-z]{2}\d\d? \d\d:\d\d)\] ")  # dmesg -d, -e
_SINCE_YEAR = _calendar("%Y %b %d %H:%M:%S")


def read_line(line: int, text: str) -> Entry:
    """Return what a line says; a line in none of the known forms is all message."""
    if found := _KMSG.match(text):
        return Entry(line, int(found[1]) * 1000, BOOT, text[found.end() :])
    if found := _LEVEL.match(text):
        text = text[found.end() :]
    time, clock = None, ""
    if found := _SYSLOG.match(text):  # the year is not told: counted from the beginning of one
        time, clock = _safe(_SINCE_YEAR, f"1972 {found[1]}"), CALENDAR
        text = text[found.end() :]
    else:
        time, clock, text = _stamp(text)
    if time is not None and (found := _HOST.match(text)):
        text = text[found.end() :]
        inner, inner_clock, text = _stamp(text)
        if inner_clock == BOOT:
            time, clock = inner, inner_clock
    if time is None and (found := _NO_TIME.match(text)):
        text = text[found.end() :]
    return Entry(line, time, clock if time is not None else "", text)


def _stamp(text: str) -> tuple[int | None, str, str]:
    for pattern, clock, read in _STAMPS:
        if found := pattern.match(text):
            time = _safe(read, found[1])
            if time is not None:
                return time, clock, text[found.end() :]
    return None, "", text


def _safe(read: Callable[[str], int], text: str) -> int | None:
    """Return a time, None where there is no such date or none that fits the column."""
    try:
        time = read(text)
    except (ValueError, OverflowError):
        return None
    return time if 0 <= time < 1 << 63 else None
