"""The trace file: schema, reading, validation, digest, writing. Knows bytes, not what Linux does.

What reads and writes files is loaded when it is first asked for: whoever needs the schema only does without pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from replay.trace.batch import Batch
from replay.trace.header import BootRange, MachineDescription, Provenance, Resource
from replay.trace.schema import (
    COLUMNS,
    FORMAT_MAJOR,
    FORMAT_MINOR,
    KINDS,
    LOOKUPS,
    NEEDS,
    REQUIRED_COLUMNS,
    TRANSITIONS,
    AddFlags,
    Column,
    EventKind,
    PgmapType,
    Phase,
    ResourceFlags,
    SectionFlags,
    Zone,
)

if TYPE_CHECKING:
    from replay.trace.reader import TraceFile
    from replay.trace.validate import RowChecker, check_machine
    from replay.trace.writer import TraceWriter, write_trace

__all__ = (
    "COLUMNS",
    "FORMAT_MAJOR",
    "FORMAT_MINOR",
    "KINDS",
    "LOOKUPS",
    "NEEDS",
    "REQUIRED_COLUMNS",
    "TRANSITIONS",
    "AddFlags",
    "Batch",
    "BootRange",
    "Column",
    "EventKind",
    "MachineDescription",
    "PgmapType",
    "Phase",
    "Provenance",
    "Resource",
    "ResourceFlags",
    "RowChecker",
    "SectionFlags",
    "TraceFile",
    "TraceWriter",
    "Zone",
    "check_machine",
    "write_trace",
)

_MODULE_OF = {
    "RowChecker": "validate",
    "TraceFile": "reader",
    "TraceWriter": "writer",
    "check_machine": "validate",
    "write_trace": "writer",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
