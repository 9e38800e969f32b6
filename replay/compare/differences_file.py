"""The calls on which two kernels differ, as an Arrow file: one row for each row of the trace, or part of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from replay import __version__
from replay.compare.kernels import Comparison, Differing, compare_trace
from replay.errors import UsageError
from replay.kernel.profiles import Profile
from replay.session import named
from replay.trace.atomic import AtomicArrowFile
from replay.trace.reader import TraceFile

__all__ = ("compare_and_write",)

_FIELDS = [
    pa.field("row", pa.int64(), nullable=False),  # of the trace
    pa.field("first", pa.uint64(), nullable=False),  # lowest pfn
    pa.field("last", pa.uint64(), nullable=False),  # highest pfn, inclusive
    pa.field("calls", pa.int64(), nullable=False),  # pfns of a lookup, 1 of a call
    pa.field("function", pa.string(), nullable=False),
    pa.field("baseline_check", pa.string(), nullable=False),
    pa.field("baseline_answer", pa.string(), nullable=False),
    pa.field("candidate_check", pa.string(), nullable=False),
    pa.field("candidate_answer", pa.string(), nullable=False),
]


def compare_and_write(
    path: str,
    baseline: str | Profile,
    candidate: str | Profile,
    output: str | os.PathLike[str],
    *,
    open_loop: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare two kernels on one trace, and write the calls on which they differ.

    Schema metadata, JSON values: ``replay.differences`` (format version), ``replay.trace`` (digest), ``replay.baseline``,
    ``replay.candidate``, ``replay.tool``. Rows come batch by batch, in each by function and cause.

    Raises:
        TraceError: the trace is damaged.
        UsageError: an unknown kernel, or the output cannot be written or is the trace itself.
    """
    if Path(output).exists() and Path(path).exists() and os.path.samefile(output, path):
        raise UsageError(f"--output {os.fspath(output)} is the trace itself; give the differences a file of their own")
    kernels = named(baseline), named(candidate)
    with TraceFile.open(path) as trace:
        metadata = {
            "replay.differences": {"major": 1, "minor": 0},
            "replay.trace": trace.digest,
            "replay.baseline": kernels[0].name,
            "replay.candidate": kernels[1].name,
            "replay.tool": f"pfn-replay {__version__}",
        }
        schema = pa.schema(_FIELDS, metadata={key: json.dumps(value) for key, value in metadata.items()})
        file = AtomicArrowFile(os.fspath(output))
        file.open(schema)
        try:
            found = compare_trace(
                trace,
                *kernels,
                path=path,
                open_loop=open_loop,
                sink=lambda differing: file.write(_batch(differing, schema)),
                progress=progress,
            )
        except BaseException:
            file.discard()
            raise
        file.finish()
    return found


def _batch(differing: Differing, schema: pa.Schema) -> pa.RecordBatch:
    words = (
        differing.function,
        differing.baseline.check,
        differing.baseline.answer,
        differing.candidate.check,
        differing.candidate.answer,
    )
    numbers = [pa.array(column) for column in (differing.row, differing.first, differing.last, differing.calls)]
    texts = [pa.repeat(pa.scalar(word), len(differing.row)) for word in words]
    return pa.RecordBatch.from_arrays([*numbers, *texts], schema=schema)
