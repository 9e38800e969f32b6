"""All contenders, and how many rows each is given of each workload."""

from __future__ import annotations

from benchmarks.peers.c_loop import CLoop
from benchmarks.peers.engine import Engine
from benchmarks.peers.joins import DuckDb, Polars
from benchmarks.peers.limits import Limit
from benchmarks.peers.numba_peer import Numba
from benchmarks.peers.numpy_peer import Numpy
from benchmarks.peers.peer import Peer
from benchmarks.peers.scalar_peer import Scalar
from benchmarks.workloads import WORKLOADS

__all__ = ("BASE", "PEERS", "ROWS", "rows_of")

BASE = "engine"  # every ratio is to this one

_ALL: tuple[Peer, ...] = (
    Engine(),
    Engine(threads=2),
    Engine(compiled=False),
    Engine(keep=True),
    CLoop(),
    CLoop(plain=True),
    CLoop(by_section=True),
    Numba(),
    Numpy(),
    Polars(),
    DuckDb(),
    Scalar(),
    Limit(copy=True),
    Limit(copy=False),
)
PEERS = {peer.name: peer for peer in _ALL}

# Rows of a pass, so that a fast contender takes some 10 to 100 ms, and all of it together some five minutes.
ROWS = {
    "random": 16_000_000,
    "sequential": 16_000_000,
    "runs-1e3": 4_000_000,
    "runs-1e6": 4_000_000,
    "runs-1e9": 4_000_000,
    "mixed-1": 16_000_000,
    "mixed-10": 8_000_000,
    "pagemaps": 200_000,
    "storm": 8_000_000,
    "hot": 8_000_000,
    "production": 1_000_000,
}
assert ROWS.keys() == WORKLOADS.keys()

# Slow contenders get the first so many rows of the same, and their time per row is compared.
_BY_PAGE = {"runs-1e3": 100_000, "runs-1e6": 100, "runs-1e9": 1, "production": 100_000}
_AT_MOST = {
    "engine-rows": dict.fromkeys(WORKLOADS, 1_000_000),
    "c": _BY_PAGE,
    "numba": _BY_PAGE,
    "c-sections": {"runs-1e6": 100_000, "runs-1e9": 1_000},
    "numpy": {"random": 4_000_000, "sequential": 4_000_000, "runs-1e3": 2_000, "runs-1e6": 10}
    | {"mixed-1": 200_000, "mixed-10": 20_000},
    "polars": {"random": 2_000_000, "sequential": 2_000_000, "runs-1e3": 200_000, "runs-1e6": 10_000, "runs-1e9": 100},
    "duckdb": {"random": 2_000_000, "sequential": 2_000_000, "runs-1e3": 200_000, "runs-1e6": 10_000, "runs-1e9": 100},
    "scalar": {"runs-1e3": 3, "storm": 50, "hot": 50, "production": 50}
    | dict.fromkeys(("mixed-10", "pagemaps"), 1_000),
}
_SCALAR = 2_000


def rows_of(peer: str, workload: str, rows: int | None = None) -> int:
    """Return how many rows of a workload a contender is given, when ``rows`` (by default the table's) are asked for."""
    wanted = ROWS[workload] if rows is None else rows
    limit = _AT_MOST.get(peer, {}).get(workload, _SCALAR if peer == "scalar" else wanted)
    return min(wanted, limit)
