"""Replay pfn walks, memory hotplug and memory poison as each Linux kernel decides them.

    >>> import replay
    >>> result = replay.run("trace.arrow", "v6.1")          # doctest: +SKIP
    >>> result.tally.agreement["pfn_to_online_page"]        # doctest: +SKIP

Names are imported when they are first used, so that ``replay --help`` loads neither pyarrow nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.errors import ReplayError as ReplayError
    from replay.fleet.corpus import Corpus as Corpus
    from replay.fleet.corpus import find_traces as find_traces
    from replay.fleet.corpus import run_many as run_many
    from replay.fleet.shards import run_sharded as run_sharded
    from replay.kernel.features import FEATURES as FEATURES
    from replay.kernel.profiles import PRESETS as PRESETS
    from replay.kernel.profiles import Profile as Profile
    from replay.kernel.profiles import profile as profile
    from replay.session import Run as Run
    from replay.session import run as run
    from replay.trace.header import MachineDescription as MachineDescription
    from replay.trace.header import Provenance as Provenance
    from replay.trace.reader import TraceFile as TraceFile
    from replay.trace.writer import TraceWriter as TraceWriter
    from replay.trace.writer import write_trace as write_trace

__version__ = "0.1.0"

_HOME = {
    "Corpus": "replay.fleet.corpus",
    "FEATURES": "replay.kernel.features",
    "MachineDescription": "replay.trace.header",
    "PRESETS": "replay.kernel.profiles",
    "Profile": "replay.kernel.profiles",
    "Provenance": "replay.trace.header",
    "ReplayError": "replay.errors",
    "Run": "replay.session",
    "TraceFile": "replay.trace.reader",
    "TraceWriter": "replay.trace.writer",
    "find_traces": "replay.fleet.corpus",
    "profile": "replay.kernel.profiles",
    "run": "replay.session",
    "run_many": "replay.fleet.corpus",
    "run_sharded": "replay.fleet.shards",
    "write_trace": "replay.trace.writer",
}

__all__ = (
    "FEATURES",
    "PRESETS",
    "Corpus",
    "MachineDescription",
    "Profile",
    "Provenance",
    "ReplayError",
    "Run",
    "TraceFile",
    "TraceWriter",
    "find_traces",
    "profile",
    "run",
    "run_many",
    "run_sharded",
    "write_trace",
)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOME:
        raise AttributeError(f"module 'replay' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found
