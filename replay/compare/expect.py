"""Differences that are expected: a file that lists them by cause, so that only new ones fail a build."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from replay.compare.causes import Cause
from replay.errors import InputError, UsageError

__all__ = ("Expected", "read_expected", "write_expected")

_MOST = 1 << 26  # characters of such a file
_VERSION = 2  # 1 had answers in short
_FIELDS = ("function", "baseline_check", "baseline_answer", "candidate_check", "candidate_answer")


class Expected:
    """Causes that are accepted.

    Args:
        causes: as (function, check and full answer of the baseline, check and full answer of the candidate).
    """

    def __init__(self, causes: Iterable[tuple[str, ...]] = ()) -> None:
        self._causes = set(causes)

    def __contains__(self, cause: Cause) -> bool:
        return _key(cause) in self._causes

    def unseen(self, causes: Iterable[Cause]) -> list[tuple[str, ...]]:
        """Return the accepted causes that did not occur."""
        return sorted(self._causes - {_key(cause) for cause in causes})


def read_expected(path: str | os.PathLike[str]) -> Expected:
    """Read a file of accepted causes.

    Raises:
        InputError: there is no such file, or it is not one of these.
    """
    needed = (
        f'a file as written by --write-expect: {{"version": {_VERSION}, "differences": [{{"function": ..., ...}}]}}'
    )
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise InputError(path, f"more than {_MOST:,} characters", needed)
        content = json.loads(text)
    except OSError as error:
        raise InputError(path, f"no way to read it ({error.strerror})", needed) from error
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"no JSON ({error})", needed) from error
    if not isinstance(content, dict) or not isinstance(content.get("differences"), list):
        raise InputError(path, "other content", needed)
    if content.get("version") != _VERSION:
        found = f"version {content.get('version', 'none')}"
        hint = "write it again with --write-expect, and read what it accepts"
        if content.get("version") == 1:
            found += ", which names answers in short: others may hide behind them"
        raise InputError(path, found, f"version {_VERSION}", hint)
    causes = []
    for number, entry in enumerate(content["differences"]):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in _FIELDS):
            raise InputError(
                f"{os.fspath(path)}: difference {number}", str(entry)[:80], f"the texts {', '.join(_FIELDS)}"
            )
        causes.append(tuple(entry[name] for name in _FIELDS))
    return Expected(causes)


def write_expected(path: str | os.PathLike[str], causes: Iterable[Cause]) -> None:
    """Write causes as accepted ones; calls are noted for readers and not compared.

    Raises:
        UsageError: the file cannot be written.
    """
    entries = [{**dict(zip(_FIELDS, _key(cause), strict=True)), "calls": cause.calls} for cause in causes]
    text = json.dumps({"version": _VERSION, "differences": entries}, indent=2)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: cannot be written ({error.strerror})") from None


def _key(cause: Cause) -> tuple[str, ...]:
    a, b = cause.baseline, cause.candidate
    return cause.function, a.check, a.in_full, b.check, b.in_full
