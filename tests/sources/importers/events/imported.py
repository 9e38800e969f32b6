"""Importing the texts of ``data`` and reading the traces back."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np

from replay.sources.importers.events.assembly import ImportReport
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions, import_text_blocks
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import BLOCK_BYTES, blocks_of
from replay.trace.reader import TraceFile
from replay.trace.schema import KINDS

DATA = Path(__file__).parent / "data"


def data(name: str) -> bytes:
    path = DATA / name
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def import_bytes(
    text: bytes, out: Path, dialect: str = "ftrace", *, size: int = BLOCK_BYTES, rejects: Rejects | None = None,
    kernel: str = "6.1.192", **options: Any,
) -> ImportReport:  # fmt: skip
    rejects = Rejects("text") if rejects is None else rejects
    given = EventOptions(MachineSource(kernel=kernel), **options)
    return import_text_blocks(blocks_of(io.BytesIO(text), rejects, size), "text", out, dialect, given, rejects)


def rows(path: Path, *without: str) -> list[dict[str, Any]]:
    """Return the rows of a trace as dicts of what they give."""
    result: list[dict[str, Any]] = []
    with TraceFile.open(path) as trace:
        for batch in trace.batches():
            columns = {}
            for name in trace.columns:
                if name not in without:
                    given = np.broadcast_to(batch.given(name), len(batch))
                    columns[name] = batch.column(name).tolist(), given.tolist()
            for i in range(len(batch)):
                row = {name: values[i] for name, (values, given) in columns.items() if given[i]}
                row["kind"] = KINDS[row["kind"]]
                result.append(row)
    return result


def lookups(path: Path) -> list[tuple[Any, ...]]:
    """Return every single lookup of a trace: runs taken apart, sorted."""
    result = []
    for row in rows(path):
        if row["kind"] in {"pfn_to_online_page", "get_dev_pagemap", "pfn_valid"}:
            rest = tuple(row.get(name) for name in ("task", "call", "recorded_ret", "recorded_slow", "recorded_pgmap"))
            result += [(row["kind"], row["pfn"] + i * row["stride"], *map(str, rest)) for i in range(row["nr_pages"])]
    return sorted(result)


def calls(path: Path) -> list[dict[str, Any]]:
    """Return the poison calls of a trace, without time and number."""
    kinds = {"memory_failure", "soft_offline_page", "unpoison_memory"}
    return [row for row in rows(path, "time", "call", "nr_pages", "stride", "window", "phase") if row["kind"] in kinds]
