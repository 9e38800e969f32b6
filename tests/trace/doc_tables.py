"""The tables of docs/trace-format.md that follow from the schema.

After a change of the schema, ``python -m tests.trace.doc_tables`` puts them into the document; the meaning of an event
kind is written there by hand and kept.
"""

from __future__ import annotations

import re
from pathlib import Path

from replay.trace import COLUMNS, NEEDS, EventKind

DOCUMENT = Path(__file__).parents[2] / "docs" / "trace-format.md"


def column_table() -> str:
    """The table of columns."""
    lines = ["| column | type | null reads as | meaning |", "|---|---|---|---|"]
    for column in COLUMNS.values():
        null = "never null" if not column.nullable else "not given" if column.default is None else str(column.default)
        lines.append(f"| `{column.name}` | {column.dtype} | {null} | {column.doc} |")
    return "\n".join(lines)


def kind_table(text: str) -> str:
    """The table of event kinds, with the meanings that the document has for them."""
    meanings = dict(re.findall(r"^\| \d+ \| `(\w+)` \|[^|]*\| (.*) \|$", text, re.MULTILINE))
    lines = ["| number | kind | needs | meaning |", "|---|---|---|---|"]
    for kind in EventKind:
        needs = ", ".join(f"`{name}`" for name in NEEDS.get(kind, ()))
        lines.append(f"| {int(kind)} | `{kind.name}` | {needs} | {meanings.get(kind.name, '')} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """The document with its tables as the schema has them."""
    for name, table in (("columns", column_table()), ("kinds", kind_table(text))):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, t=table: m[1] + t + "\n" + m[2], text, count=1, flags=re.DOTALL)
        assert count == 1, name
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
