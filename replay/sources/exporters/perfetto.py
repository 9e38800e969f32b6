"""Events and verdicts for people to look at: the JSON trace format of Chrome, which Perfetto loads.

Every event is an instant on the track of its kind of events; a call that takes several rows is a slice from its first to its
last row. With a kernel, each event also says what that kernel decided, and the events at which it differs from what was
recorded stand once more on a track of their own; so do those of which the trace says too little to be decided.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from replay.kernel.poison_types import ActionType
from replay.kernel.registry import CHECK_NAMES
from replay.session import run
from replay.trace.batch import Batch
from replay.trace.outcomes import CHECK_NONE, CHECK_SEVERAL
from replay.trace.poison import ActionResult
from replay.trace.reader import TraceFile
from replay.trace.schema import KINDS, LOOKUPS, POISON_CALLS, EventKind, Phase

from .output import complete_file

__all__ = ("TRACKS", "write_perfetto")

_ROWS = 1 << 14
_PROCESS = 1
_NOT_COMPARED = 255
# First kind of each track, ascending.
TRACKS = (
    (EventKind.PFN_VALID, "lookups"),
    (EventKind.ADD_MEMORY, "hotplug and device mappings"),
    (EventKind.PAGE_STATE, "pages, tasks, sysctls"),
    (EventKind.MEMORY_FAILURE, "errors"),
    (EventKind.DAX_REGION, "devices"),
    (EventKind.MARK, "marks and dumps"),
)
_DIFFERS = len(TRACKS) + 1
_HEXADECIMAL = frozenset(
    ("pfn", "start", "size", "vaddr", "altmap_base", "recorded_bits", "recorded_addr", "flags", "page_flags")
)


def write_perfetto(
    trace: TraceFile, output: str, profile: str | None = None, progress: Callable[[int, int], None] | None = None
) -> int:
    """Write the events of a trace; returns how many there are.

    Args:
        trace: the trace.
        output: the file.
        profile: name of a kernel whose verdicts are shown.
        progress: is told rows done and rows in all.

    Raises:
        UsageError: an unknown kernel, or one that cannot replay this machine.
    """
    written = 0
    with TemporaryDirectory(prefix="replay-perfetto-") as folder, complete_file(output) as temporary:
        verdicts = None
        if profile is not None:
            path = os.path.join(folder, "outcomes.arrow")
            profile = run(trace.path, profile, outcomes=path).profile.name
            verdicts = pa.ipc.open_file(pa.memory_map(path))
        with open(temporary, "w", encoding="ascii") as file:
            file.write(
                '{"displayTimeUnit":"ns","otherData":' + json.dumps(_other(trace, profile)) + ',"traceEvents":[\n'
            )
            file.write(",\n".join(json.dumps(event) for event in _tracks(trace, profile)))
            for event in _events(trace, verdicts, progress):
                file.write(",\n" + event)
                written += 1
            file.write("\n]}\n")
    return written


def _other(trace: TraceFile, profile: str | None) -> dict[str, str]:
    facts = {"trace": trace.digest, "recorded on": trace.machine.kernel, "source": trace.provenance.source}
    return facts | ({"verdicts of": profile} if profile is not None else {})


def _tracks(trace: TraceFile, profile: str | None) -> Iterator[dict[str, object]]:
    name = trace.provenance.name or os.path.basename(trace.path)
    yield {"ph": "M", "pid": _PROCESS, "name": "process_name", "args": {"name": name}}
    names = [track for _, track in TRACKS] + ([f"{profile}: not the recorded answer"] if profile is not None else [])
    for number, track in enumerate(names, 1):
        yield {"ph": "M", "pid": _PROCESS, "tid": number, "name": "thread_name", "args": {"name": track}}
        yield {"ph": "M", "pid": _PROCESS, "tid": number, "name": "thread_sort_index", "args": {"sort_index": number}}


def _events(trace: TraceFile, verdicts: Any, progress: Callable[[int, int], None] | None) -> Iterator[str]:  # noqa: ANN401
    first: int | None = None
    answers = _answers(verdicts)
    for batch in trace.batches(max_rows=_ROWS):
        columns = {name: (batch.column(name).tolist(), _given(batch, name)) for name in trace.columns}
        times, kinds = columns["time"][0], columns["kind"][0]
        first = times[0] if first is None else first
        for row, (time, kind) in enumerate(zip(times, kinds, strict=True)):
            ts = f"{(time - first) // 1000}.{(time - first) % 1000:03d}"
            args = _arguments(columns, row, trace.strings)
            answer = next(answers) if verdicts is not None else None
            if answer is not None:
                args["verdict"] = _verdict(kind, answer)
            yield _event(ts, kind, args, columns, row)
            if answer is not None and _differs(kind, answer, args, columns, row):
                yield _line("i", ts, KINDS[kind], _DIFFERS, args)
        if progress is not None:
            progress(batch.row + len(batch), trace.rows)


def _given(batch: Batch, name: str) -> list[bool]:
    return [bool(there) for there in np.broadcast_to(np.asarray(batch.given(name)), len(batch))]


def _answers(verdicts: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a reader of Arrow
    for number in range(verdicts.num_record_batches if verdicts is not None else 0):
        yield from verdicts.get_batch(number).to_pylist()


def _arguments(columns: dict[str, tuple[list[int], list[bool]]], row: int, strings: tuple[str, ...]) -> dict[str, Any]:
    args: dict[str, Any] = {}
    for name, (values, given) in columns.items():
        if given[row] and name not in {"time", "kind"}:
            value = values[row]
            args[name] = strings[value] if name == "label" else hex(value) if name in _HEXADECIMAL else value
    return args


def _event(ts: str, kind: int, args: dict[str, Any], columns: dict[str, tuple[list[int], list[bool]]], row: int) -> str:
    track = sum(kind >= first for first, _ in TRACKS)
    name = args["label"] if kind == EventKind.MARK else KINDS[kind]
    phase = columns["phase"][0][row] if "phase" in columns else Phase.WHOLE
    if phase == Phase.WHOLE or "call" not in args:
        return _line("i", ts, name, track, args)
    if phase == Phase.BEGIN:
        return _line("b", ts, name, track, args, call=args["call"])
    if phase == Phase.DONE:
        return _line("e", ts, name, track, args, call=args["call"])
    return _line("n", ts, name, track, args | {"phase": Phase(phase).name}, call=args["call"])


def _line(ph: str, ts: str, name: str, track: int, args: dict[str, Any], call: int | None = None) -> str:
    """Return an event; its time is text in JSON's form of a number, because a float would lose nanoseconds."""
    event: dict[str, Any] = {"ph": ph, "pid": _PROCESS, "tid": track, "name": name, "cat": "replay", "args": args}
    if ph == "i":
        event["s"] = "t"
    if call is not None:
        event["id"] = hex(call)  # text, as the format has it: loaders have dropped events whose id is a number
    return json.dumps(event)[:-1] + f', "ts": {ts}}}'


def _verdict(kind: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the kernel decided, in words."""
    check = answer["check"]
    told: dict[str, Any] = {}
    if check == CHECK_SEVERAL:
        told["check"] = "several"
    elif check != CHECK_NONE:
        told["check"] = CHECK_NAMES[check]
    if kind in LOOKUPS:
        told["pages"] = answer["pages"]
        told |= {name: answer[name] for name in ("false_online", "false_offline") if answer[name]}
    elif answer["ret"] or check != CHECK_NONE or kind in POISON_CALLS:
        told["ret"] = answer["ret"]
    if kind in POISON_CALLS:
        if answer["action"] != _NOT_COMPARED:
            told["action"] = ActionType(answer["action"]).display
        if answer["result"] != _NOT_COMPARED:
            told["result"] = ActionResult(answer["result"]).name.lower()
        told["poisoned"], told["counted"] = answer["poisoned"], answer["counted"]
        told["signals"] = answer["signals"]
    return told


def _differs(
    kind: int, answer: dict[str, Any], args: dict[str, Any], columns: dict[str, tuple[list[int], list[bool]]], row: int
) -> bool:
    """Return whether a return value was recorded that this kernel does not give."""
    if "recorded_ret" not in args:
        return False
    calls = columns["nr_pages"][0][row] if kind in LOOKUPS and "nr_pages" in columns else 1
    return bool(answer["match"] + answer["race"] < calls)
