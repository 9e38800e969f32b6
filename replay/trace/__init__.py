"""The trace file: schema, reading, validation, digest, writing. Knows bytes, not what Linux does."""

from replay.trace.batch import Batch
from replay.trace.header import BootRange, MachineDescription, Provenance, Resource
from replay.trace.reader import TraceFile
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
