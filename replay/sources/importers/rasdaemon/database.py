"""rasdaemon's database: opened read-only, as a file of strangers; its tables in chunks of columns."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from replay.errors import InputError

__all__ = ("Chunk", "Database", "Value")

Value = int | float | bytes | None

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CHUNK_ROWS = 1 << 16
_LONGEST = 4000  # characters of a value that are read; a label has 200
_MAX_VALUE = 1 << 20  # bytes of one value; rasdaemon's largest is a CPER record of a few KiB
_HINT = "copy the database again with `sqlite3 ras-mc_event.db '.backup copy.db'`, or rescue it with `.recover`"


@dataclass(frozen=True)
class Chunk:
    """Rows of a table.

    Attributes:
        table: its name.
        columns: per column its values; texts are bytes. A column that the table does not have is all None.
    """

    table: str
    columns: dict[str, Sequence[Value]]

    def __len__(self) -> int:
        return len(self.columns["id"])

    def place(self, row: int) -> str:
        """Return where a row is, for people."""
        return f"{self.table} id {_shown(self.columns['id'][row])}"

    def text(self, row: int) -> str:
        """Return what a row says, for people."""
        return ", ".join(f"{name}={_shown(values[row])}" for name, values in self.columns.items() if name != "id")


class Database:
    """An open database; a context manager.

    Attributes:
        tables: the columns of every table, by its name.

    Args:
        path: the file.

    Raises:
        InputError: it is no database, or is damaged or locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InputError(path, "no such file", "rasdaemon's database", "it is /var/lib/rasdaemon/ras-mc_event.db")
        with self._errors("the header"):
            # Nothing in a stranger's schema is run: no views, no virtual tables, no functions.
            self._connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
            self._connection.text_factory = bytes
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
            self._connection.execute("PRAGMA trusted_schema = OFF")
            self._connection.execute("PRAGMA cell_size_check = ON")
            self.tables = self._read_tables()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        with self._errors(table):
            return int(self._connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0])  # noqa: S608

    def last_id(self, table: str, column: str, texts: Sequence[str]) -> int | None:
        """Return the last id of the rows that have one of some texts in a column; None where there is none."""
        marks = ", ".join("?" * len(texts))
        query = f"SELECT max(id) FROM {_quoted(table)} WHERE {_quoted(column)} IN ({marks})"  # noqa: S608
        with self._errors(table):
            found = self._connection.execute(query, texts).fetchone()[0]
        return found if isinstance(found, int) else None

    def chunks(self, table: str, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the rows of a table in the order of their ids.

        Raises:
            InputError: the table is damaged.
        """
        there = [name for name in ("id", *columns) if name in self.tables[table]]
        query = f"SELECT {', '.join(map(_cut, there))} FROM {_quoted(table)} ORDER BY id"  # noqa: S608
        with self._errors(table):
            cursor = self._connection.execute(query)
            while rows := cursor.fetchmany(_CHUNK_ROWS):
                values = dict(zip(there, zip(*rows, strict=True), strict=True))
                nothing = (None,) * len(rows)
                yield Chunk(table, {name: values.get(name, nothing) for name in ("id", *columns)})

    def _read_tables(self) -> dict[str, frozenset[str]]:
        """Return the ordinary tables with an id; a virtual one has no root page."""
        found = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        tables = {}
        for (raw,) in found.fetchall():
            name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
            if not _NAME.fullmatch(name):
                continue  # none of rasdaemon's
            rows = self._connection.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
            columns = frozenset(bytes(row[1]).decode("utf-8", "replace") for row in rows)
            if "id" in columns:
                tables[name] = columns
        return tables

    @contextmanager
    def _errors(self, place: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeError) as error:  # its messages hold names out of the file
            said = "".join(c if c.isprintable() else "?" for c in str(error)[:120])
            found = f"what SQLite refuses ({said})"
            raise InputError(f"{self._path}: {place}", found, "rasdaemon's SQLite database", _HINT) from None


def _cut(name: str) -> str:
    """Return SQL for a column whose long values are cut, so that a stranger's rows take no more memory than rasdaemon's."""
    column = _quoted(name)
    return f"CASE WHEN length({column}) > {_LONGEST} THEN substr({column}, 1, {_LONGEST}) ELSE {column} END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _shown(value: Value) -> str:
    return value[:80].decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
