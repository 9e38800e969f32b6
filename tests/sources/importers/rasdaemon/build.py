"""rasdaemon databases for tests: the real one, and changes of it."""

from __future__ import annotations

import lzma
import sqlite3
from pathlib import Path

DATA = Path(__file__).parent / "data"


def database(path: Path, *statements: str) -> Path:
    """Write the database of rasdaemon 0.8.4 to a path and change it with SQL."""
    path.write_bytes(lzma.decompress((DATA / "ras-mc_event-0.8.4.db.xz").read_bytes()))
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def failures(path: Path, *rows: tuple[object, object, object, object]) -> Path:
    """Write a database with only these memory_failure_event rows: timestamp, pfn, page type, action result."""
    database(path, "DELETE FROM memory_failure_event")
    connection = sqlite3.connect(path)
    query = "INSERT INTO memory_failure_event (timestamp, pfn, page_type, action_result) VALUES (?, ?, ?, ?)"
    connection.executemany(query, rows)
    for table in ("mc_event", "mce_record", "extlog_event", "cxl_poison_event", "signal_event"):
        connection.execute(f"DELETE FROM {table}")
    connection.commit()
    connection.close()
    return path
