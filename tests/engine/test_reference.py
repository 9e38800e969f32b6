"""The scalar reference as an engine: its verdicts under the names that the kernel functions have."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.compare.reference import _step
from replay.errors import TraceError, UsageError
from replay.kernel.profiles import PRESETS, profile
from replay.kernel.registry import FUNCTIONS
from replay.session import run
from replay.trace.schema import EventKind
from tests.trace.build import lookup, machine, write

KERNELS = [name for name, preset in PRESETS.items() if not preset.poison_only]


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_active_check_has_its_own_name(kernel: str) -> None:
    """A check of a kernel is found by its own id."""
    features = profile(kernel).features
    for kind, function in FUNCTIONS.items():
        for _, check in function.active(features):
            assert _step(kind, check.id, features) is check


# The documents ask one question where the functions have a check for each answer.
QUESTIONS = {
    (EventKind.MEMREMAP_PAGES, "range"): {"v4.18": -4096, "v5.4": -4096, "v5.10": -7, "v5.12": -22, "v7.2": -22},
    (EventKind.ADD_MEMORY, "bounds"): {"v4.18": -4096, "v5.4": -4096, "v5.10": -7, "v5.12": -7},
    (EventKind.WALK_SYSTEM_RAM_RANGE, "nothing"): {"v4.19": -1, "v5.1": -22, "v7.2": -22},
    (EventKind.ONLINE_PAGES, "no-ram"): {"v4.19": -1, "v5.1": -22, "v5.4": -22},
    (EventKind.ONLINE_PAGES, "alignment"): {"v5.10": -22, "v6.1": -22},
    (EventKind.REMOVE_MEMORY, "online"): {"v5.1": -4097, "v5.3": -16},
}


@pytest.mark.parametrize(
    ("kind", "question"), QUESTIONS, ids=lambda v: v.name.lower() if isinstance(v, EventKind) else v
)
def test_questions_have_the_answer_of_the_version(kind: EventKind, question: str) -> None:
    for kernel, answer in QUESTIONS[kind, question].items():
        assert _step(kind, question, profile(kernel).features).answer.value == answer, kernel


def test_it_refuses_what_the_vector_engine_refuses(tmp_path: Path) -> None:
    """A machine that never was, a kernel of another section size, a kernel without a walk: the same errors."""
    arm = machine(arch="aarch64", section_size_bits=30, max_physmem_bits=48, memory_block_bytes=1 << 30, kernel="5.11")
    odd = machine(max_physmem_bits=48)
    cases = (
        (write(tmp_path / "arm", lookup(1), machine=arm), "v6.1", UsageError),
        (write(tmp_path / "odd", lookup(1), machine=odd), "v6.1", TraceError),
        (write(tmp_path / "old", lookup(1)), "v2.6.32", UsageError),
    )
    for path, kernel, error in cases:
        messages = set()
        for engine in ("vector", "scalar"):
            with pytest.raises(error) as caught:
                run(path, kernel, engine=engine)
            messages.add(str(caught.value))
        assert len(messages) == 1
