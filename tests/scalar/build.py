"""Rows and replays for the tests of the scalar engine."""

from __future__ import annotations

from typing import Any

from replay.kernel.profiles import profile
from replay.scalar import ScalarMachine, replay_rows
from replay.trace.schema import EventKind, Phase
from tests.vectors.model import Layout


def boot(layout: Layout, version: str) -> ScalarMachine:
    return ScalarMachine(layout.description(), profile(version).features)


def row(kind: EventKind, pfn: int | None = None, nr_pages: int | None = None, **columns: Any) -> dict[str, Any]:
    return {"time": 0, "kind": int(kind), "pfn": pfn, "nr_pages": nr_pages, **columns}


def phases(
    kind: EventKind, pfn: int, nr_pages: int, *pieces: tuple[Phase, int, int], **columns: Any
) -> list[dict[str, Any]]:
    begin = row(kind, pfn, nr_pages, phase=int(Phase.BEGIN), call=1, **columns)
    later = [row(kind, p, n, phase=int(phase), call=1) for phase, p, n in pieces]
    return [begin, *later, row(kind, phase=int(Phase.DONE), call=1)]


def replay(layout: Layout, version: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    return replay_rows(layout.description(), rows, profile(version).features)


def picked(outcome: dict[str, Any], *columns: str) -> tuple[Any, ...]:
    return tuple(outcome[name] for name in columns)
