"""Tables that stand in documents between two marks."""

from __future__ import annotations


def marks(name: str) -> tuple[str, str]:
    """Return the lines around a table."""
    return f"<!-- {name} -->\n", "<!-- end -->"


def replaced(text: str, name: str, table: str) -> str:
    """Return a document with another table."""
    start, end = marks(name)
    before, _, rest = text.partition(start)
    assert rest, f"no {start!r} in the document"
    return before + start + table + end + rest.partition(end)[2]


def found(text: str, name: str) -> str:
    """Return the table that a document has."""
    start, end = marks(name)
    return text.partition(start)[2].partition(end)[0]
