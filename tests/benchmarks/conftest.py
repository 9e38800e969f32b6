"""What the micro benchmarks share. In a normal test run each runs once, on few rows; `make bench` times it on many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from replay.kernel.profiles import profile

KERNEL = "v6.1"


@pytest.fixture
def rows(benchmark) -> Callable[..., int]:
    """How many rows to take: few, or as many as a timing needs."""
    return lambda timed, few=256: timed if benchmark.enabled else few


@pytest.fixture
def note(benchmark) -> Callable[..., None]:
    """Store beside the timing what was timed: events, kernel, and a digest of the result."""

    def noted(events: int, result: Any, kernel: str = KERNEL) -> None:
        text = json.dumps(result, sort_keys=True, default=str)
        benchmark.extra_info |= {
            "events": events,
            "profile": kernel,
            "features": profile(kernel).digest,
            "digest": "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        }

    return noted
