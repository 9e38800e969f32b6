"""A small fleet of traces, and what replaying them one after the other gives."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import replay
from replay.errors import InputError
from replay.trace.schema import EventKind
from tests.trace.build import MACHINE, PROVENANCE, lookup, write


def alive() -> list[BaseProcess]:
    """Worker processes of the runner; a Dask cluster on this machine has some of its own."""
    return [child for child in multiprocessing.active_children() if child.name == "replay worker"]


def plain(results: Iterable[replay.Run | InputError]) -> list[Any]:
    """What a user sees of results, without the wall clock."""
    return [
        f"{type(r).__name__}: {r}" if isinstance(r, InputError) else {**r.to_dict(), "seconds": None} for r in results
    ]


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five traces, the third of them damaged."""
    folder = tmp_path_factory.mktemp("fleet")
    paths = []
    for number in range(5):
        pfns = np.random.default_rng(number).integers(0x100, 0x150000, 40).tolist()
        rows = [lookup(pfn, recorded_ret=number % 2) for pfn in pfns]
        rows.append({"kind": EventKind.ADD_MEMORY, "pfn": 0x140000, "nr_pages": 0x8000, "label": 0})
        rows += [lookup(pfn, nr_pages=3) for pfn in pfns]
        paths.append(
            write(folder / f"{number}.arrow", *rows, strings=["System RAM"], machine=MACHINE, provenance=PROVENANCE)
        )
    content = bytearray(paths[2].read_bytes())
    content[len(content) // 3] ^= 0xFF
    paths[2].write_bytes(content)
    return paths


@pytest.fixture(scope="session")
def sequential(fleet: list[Path]) -> list[Any]:
    """Results of the fleet through two kernels, done one after the other."""
    results = plain(replay.run_many(fleet, ["v5.11", "v6.1"]))
    assert len(results) == 9
    assert isinstance(results[4], str)
    return results
