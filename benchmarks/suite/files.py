"""Trace files: reading, replaying from disk, writing, and bytes per event."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from .common import Measured, Timed, chunk_rows, needed, per_event_timer, size, workload

CODECS = (None, "zstd")
KINDS = ("random", "runs-1e6", "mixed-1", "hot")  # lookups, runs, with transitions, poison
KERNEL = "v6.1"  # the rules of another kernel read no other bytes


def _rows(name: str) -> int:
    """Rows of a file: one chunk; files take longer per row than the engine, and the disk is not what is measured."""
    return min(size(name).rows, needed("benchmarks.workloads", "CHUNK_ROWS"))


def _events(name: str) -> int:
    return _rows(name) + len(workload(name).setup())


# In memory where there is such a place: the disk is not what is measured. Goes with the process.
_FOLDER = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


@cache
def _written(name: str, codec: str | None) -> Path:
    """Return a trace of the workload, written once per process."""
    path = Path(_FOLDER.name) / f"{name}-{codec}.arrow"
    workload(name).write(str(path), _rows(name), compression=codec)
    return path


@cache
def _columns(name: str) -> dict[str, Any]:
    """Return the rows of the workload as the writer takes them, made once per process."""
    (columns,) = workload(name).chunks(_rows(name), chunk_rows=chunk_rows(_rows(name)))
    return {key: values if given is None else (values, given) for key, (values, given) in columns.items()}


class Run(Timed):
    """``replay.session.run``: open, check rows and digests, replay. The file is in the page cache."""

    params = (KINDS, CODECS)
    param_names = ("workload", "compression")

    def setup(self, name: str, codec: str | None) -> None:
        self.run = needed("replay.session", "run")
        self.path = _written(name, codec)
        self.events = _events(name)
        self.timer = per_event_timer(self.events)

    def time_per_event(self, name: str, codec: str | None) -> None:
        if self.run(self.path, KERNEL).tally.events != self.events:
            raise AssertionError(f"{name}: not every row was replayed")


class Read(Timed):
    """``TraceFile.open`` and ``batches``, everything checked, nothing replayed."""

    params = (KINDS, CODECS)
    param_names = ("workload", "compression")

    def setup(self, name: str, codec: str | None) -> None:
        self.open = needed("replay.trace.reader", "TraceFile").open
        self.path = _written(name, codec)
        self.events = _events(name)
        self.timer = per_event_timer(self.events)

    def time_per_event(self, name: str, codec: str | None) -> None:
        with self.open(self.path) as trace:
            if sum(len(batch) for batch in trace.batches()) != self.events:
                raise AssertionError(f"{name}: not every row was read")


class Write(Timed):
    """``TraceWriter``: check, digest, compress, write. The rows are in memory."""

    params = (KINDS, CODECS)
    param_names = ("workload", "compression")

    def setup(self, name: str, codec: str | None) -> None:
        self.writer = needed("replay.trace.writer", "TraceWriter")
        self.provenance = needed("replay.trace.header", "Provenance")("synthetic", name, clock="generated")
        self.columns = _columns(name)
        self.timer = per_event_timer(_rows(name))

    def time_per_event(self, name: str, codec: str | None) -> None:
        path = Path(_FOLDER.name) / "written.arrow"
        options = {"machine": workload(name).machine, "provenance": self.provenance, "compression": codec}
        with self.writer(path, columns=sorted(self.columns), **options) as writer:
            writer.write(self.columns)
        if writer.rows != _rows(name):
            raise AssertionError(f"{name}: not every row was written")


class FileSize(Measured):
    """Bytes per event of a file, header included; the same rows give the same bytes."""

    params = (KINDS, CODECS)
    param_names = ("workload", "compression")

    def setup(self, name: str, codec: str | None) -> None:
        needed("replay.trace.writer", "TraceWriter")
        self.path = _written(name, codec)

    def track_bytes_per_event(self, name: str, codec: str | None) -> float:
        return self.path.stat().st_size / _events(name)

    track_bytes_per_event.unit = "bytes/event"  # type: ignore[attr-defined]
