"""A trace in one format -> the same trace, or a view of it, in another."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.errors import TraceError, UsageError
from replay.trace.reader import TraceFile
from replay.trace.writer import TraceWriter

from .formats import Format, format_of_input, format_of_output
from .header import Header, record_batches
from .oracle import write_oracle
from .perfetto import write_perfetto
from .tables import READERS, WRITERS

__all__ = ("Converted", "convert")

Progress = Callable[[int, int], None]
_BATCH_ROWS = 1 << 18
CODECS = ("none", "lz4", "zstd")
_CHANGED = "content was changed after it was written as another format"


@dataclass(frozen=True)
class Converted:
    """What became of a trace.

    Attributes:
        source: format of the input.
        target: format of the output.
        rows: rows of the trace.
        written: records of the output: rows, events, or lookups.
        digest: identity of the trace.
        loses: what the output does not hold.
        changed: the input was changed after it was written.
    """

    source: str
    target: Format
    rows: int
    written: int
    digest: str
    loses: tuple[str, ...]
    changed: bool


def convert(
    source: str,
    output: str,
    *,
    to: str | None = None,
    codec: str = "none",
    profile: str | None = None,
    take_changes: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Convert a trace.

    Args:
        source: Arrow, or a format that holds everything.
        output: the file to write.
        to: name of the format; None tells it by the end of the name.
        codec: "none", "lz4" or "zstd" for Arrow and Parquet.
        profile: Perfetto only: a kernel whose verdicts are shown with the events.
        take_changes: take content that was changed since it was written, and mark it.
        progress: is told rows done and rows in all.

    Raises:
        UsageError: the request contradicts itself.
        TraceError: the input is damaged, or was changed.
    """
    found, target = format_of_input(source), format_of_output(output, to)
    _check(source, output, target, codec, profile)
    if target.name == "arrow" and found.name != "arrow":
        digest, rows, changed = _to_arrow(source, found.name, output, codec, take_changes, progress)
        return Converted(found.name, target, rows, rows, digest, target.loses, changed)
    with _as_trace(source, found.name, take_changes) as (trace, changed):
        written = _write(trace, output, target, codec, profile, progress)
        return Converted(found.name, target, trace.rows, written, trace.digest, target.loses, changed)


def _check(source: str, output: str, target: Format, codec: str, profile: str | None) -> None:
    if codec not in CODECS:
        raise UsageError(f"unknown compression {codec!r}; there are {', '.join(CODECS)}")
    if codec != "none" and target.name not in {"arrow", "parquet"}:
        raise UsageError(
            "--compress is for Arrow and Parquet; a text is packed when its name ends in .gz, .zst or .lz4"
        )
    if profile is not None and target.name != "perfetto":
        raise UsageError(f"--profile shows verdicts in Perfetto; {target.name} holds what was recorded")
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(source, output):
        raise UsageError(f"{output} is the trace itself; give the output a name of its own")


def _write(
    trace: TraceFile, output: str, target: Format, codec: str, profile: str | None, progress: Progress | None
) -> int:
    if target.name == "perfetto":
        return write_perfetto(trace, output, profile, progress)
    if target.name == "oracle-general":
        return write_oracle(trace, output, progress)
    if target.name == "arrow":
        with TraceWriter(
            output, machine=trace.machine, provenance=trace.provenance, strings=trace.strings, columns=trace.columns,
            compression=None if codec == "none" else codec,
        ) as writer:  # fmt: skip
            for batch in trace.batches(max_rows=_BATCH_ROWS):
                writer.write(
                    {name: (batch.stored(name), _mask(batch.given(name), len(batch))) for name in trace.columns}
                )
                _tell(progress, batch.row + len(batch), trace.rows)
        return trace.rows

    def batches(schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in record_batches(trace, schema, _BATCH_ROWS):
            yield batch
            done += batch.num_rows
            _tell(progress, done, trace.rows)

    WRITERS[target.name](output, Header.of(trace), batches, codec)
    return trace.rows


@contextmanager
def _as_trace(source: str, form: str, take_changes: bool) -> Iterator[tuple[TraceFile, bool]]:
    """Open a file of any format as a trace."""
    if form == "arrow":
        with TraceFile.open(source) as trace:
            yield trace, False
        return
    with TemporaryDirectory(prefix="replay-convert-") as folder:
        path = os.path.join(folder, "trace.arrow")
        _, _, changed = _to_arrow(source, form, path, "none", take_changes, None)
        with TraceFile.open(path) as trace:
            yield trace, changed


def _to_arrow(
    source: str, form: str, output: str, codec: str, take_changes: bool, progress: Progress | None
) -> tuple[str, int, bool]:
    """Write the trace of another format; return its identity, its rows, and whether it was changed."""
    opened = READERS[form](source)
    header = opened.header
    with TemporaryDirectory(prefix="replay-convert-", dir=os.path.dirname(output) or None) as folder:
        # The identity is known only when all rows are written; a changed trace must not get its name before that.
        path = os.path.join(folder, "trace.arrow")
        digest, rows = _write_rows(path, source, header, opened.batches, codec, progress)
        changed = digest != header.identity
        if changed and not take_changes:
            raise TraceError(
                source, f"content with the identity {digest}", f"{header.identity}, with which it was written",
                "get it again, or take it as it is with --take-changes",
            )  # fmt: skip
        if changed:
            provenance = dataclasses.replace(header.provenance, notes=(*header.provenance.notes, _CHANGED))
            again = READERS[form](source)
            digest, rows = _write_rows(
                path, source, dataclasses.replace(header, provenance=provenance), again.batches, codec, progress
            )
        try:
            os.replace(path, output)
        except OSError as error:
            raise UsageError(f"{output}: cannot be written ({error.strerror or error})") from error
    return digest, rows, changed


def _write_rows(
    path: str, source: str, header: Header, batches: Iterator[pa.RecordBatch], codec: str, progress: Progress | None
) -> tuple[str, int]:
    try:
        with TraceWriter(
            path, machine=header.machine, provenance=header.provenance, strings=header.strings,
            columns=header.columns, compression=None if codec == "none" else codec,
        ) as writer:  # fmt: skip
            for batch in batches:
                writer.write(_columns(header, batch))
                _tell(progress, writer.rows, writer.rows)
    except TraceError as error:  # the user knows the table, not the file that is being written
        raise TraceError(error.where.replace(path, source), error.found, error.needed, error.hint) from None
    return writer.digest, writer.rows


def _columns(header: Header, batch: pa.RecordBatch) -> dict[str, tuple[NDArray[np.generic], NDArray[np.bool_]]]:
    columns = {}
    for name, column in zip(header.columns, batch.columns, strict=True):
        values = column.fill_null(0) if column.null_count else column
        given = column.is_valid().to_numpy(zero_copy_only=False)
        columns[name] = values.to_numpy(zero_copy_only=False), given
    return columns


def _mask(given: NDArray[np.bool_] | bool, rows: int) -> NDArray[np.bool_]:
    return np.broadcast_to(np.asarray(given), rows)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
