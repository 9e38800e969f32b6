"""The log that a replay prints is the log that the recorded kernel printed.

``dmesg/*.txt.gz`` hold the "Memory failure" lines about actions and signals of each recording; the name of a task, which
a trace does not carry, is "task".
"""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from replay.report.kernel_log import dmesg_lines
from replay.session import run
from tests.recorded.replayed import FOLDER, NAMES

RECORDED = Path(__file__).parent / "dmesg"
WITH_LOG = tuple(name for name in NAMES if (RECORDED / f"{name}.txt.gz").exists())


def emitted(name: str, kernel: str | None = None) -> Counter[str]:
    lines: Counter[str] = Counter()
    run(
        FOLDER / f"{name}.arrow",
        kernel,
        log=lambda used, names, call: lines.update(dmesg_lines(call, used.features, names)),
    )
    return lines


def recorded(name: str) -> Counter[str]:
    return Counter(gzip.decompress((RECORDED / f"{name}.txt.gz").read_bytes()).decode().splitlines())


def test_there_are_logs() -> None:
    assert len(WITH_LOG) == 37
    assert sum(recorded(name).total() for name in WITH_LOG) == 8312


@pytest.mark.parametrize("name", WITH_LOG)
def test_same_lines(name: str) -> None:
    assert emitted(name) == recorded(name)


def test_another_kernel_prints_other_lines() -> None:
    """What makes the comparison above able to fail."""
    assert emitted("5.10.223-s2p-raw", "v6.12") != recorded("5.10.223-s2p-raw")
