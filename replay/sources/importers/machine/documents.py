"""JSON as tools print it: one value or several, with lines of text before and after."""

from __future__ import annotations

import json
import re
from pathlib import Path

from replay.errors import InputError
from replay.sources.importers.rejects import Rejects

from .files import read_text

__all__ = ("Json", "read_documents")

Json = object

# What ndctl and daxctl say when they are done, and headings of files that hold the output of several commands.
_SAID = re.compile(
    r"(?:(?:re)?configured|created|destroyed|enabled|disabled|onlined|offlined|changed) \d+ \w+.*|\[[a-z]+(?: [-\w]+)+\]",
    re.I,
)
_START = re.compile(r"^[ \t]*(?=[\[{])", re.M)


def read_documents(path: Path, what: str, rejects: Rejects) -> list[Json]:
    """Return the JSON values of a file, which may stand among lines of other text.

    Args:
        path: the file.
        what: what it should be, for the error.
        rejects: takes lines that are neither JSON nor what these tools say.

    Raises:
        InputError: there is none, or it is damaged.
    """
    text = read_text(path, what)
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    found: list[Json] = []
    at = 0
    while start := _START.search(text, at):
        line = text[start.start() : (text.find("\n", start.end()) + 1 or len(text) + 1) - 1]
        if _SAID.fullmatch(line.strip()):
            _reject(text, at, start.end() + len(line), rejects)
            at = start.end() + len(line)
            continue
        _reject(text, at, start.start(), rejects)
        try:
            value, at = decoder.raw_decode(text, start.end())
        except (ValueError, RecursionError) as error:
            number = text.count("\n", 0, start.end()) + 1
            raise InputError(f"{path}:{number}", f"damaged JSON ({str(error)[:80]})", what) from None
        found.append(value)
    _reject(text, at, len(text), rejects)
    if not found:
        raise InputError(path, "no JSON", what)
    return found


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return result


def _reject(text: str, start: int, end: int, rejects: Rejects) -> None:
    first = text.count("\n", 0, start) + 1
    for number, line in enumerate(text[start:end].split("\n"), first):
        if line.strip() and not _SAID.fullmatch(line.strip()):
            rejects.add(number, "text beside the JSON", line)
