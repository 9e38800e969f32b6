"""The numbering of checks, and that every call has its function."""

from __future__ import annotations

from replay.kernel.registry import CALLS, CHECK_NAMES, DEVICE_CALL_TYPES, DEVICE_FUNCTIONS, FUNCTIONS, check_base
from replay.trace.outcomes import CHECK_NONE, CHECK_SEVERAL
from replay.trace.schema import DEVICE_CALLS, KINDS, LOOKUPS, TRANSITIONS, EventKind


def test_names_are_unique_and_fit_a_byte() -> None:
    assert len(set(CHECK_NAMES)) == len(CHECK_NAMES)
    assert len(CHECK_NAMES) < 250 < min(CHECK_NONE, CHECK_SEVERAL)


def test_numbers() -> None:
    """A function's checks are numbered in order from its base; the numbers of all functions do not overlap."""
    number = 0
    for function in (*FUNCTIONS.values(), *DEVICE_FUNCTIONS):
        assert check_base(function) == number
        for check in function.checks:
            assert CHECK_NAMES[number] == f"{function.name}/{check.id}"
            number += 1
    assert number == len(CHECK_NAMES)


def test_every_lookup_and_call_has_its_function() -> None:
    """By the kernel's own name, which is the event kind's; a further range of a pagemap is part of its memremap."""
    assert set(FUNCTIONS) >= LOOKUPS | TRANSITIONS - {EventKind.PGMAP_RANGE}
    assert set(CALLS) >= TRANSITIONS - {EventKind.PGMAP_RANGE}
    for kind in LOOKUPS | TRANSITIONS - {EventKind.PGMAP_RANGE}:
        assert FUNCTIONS[kind].name == KINDS[kind]
    for kind, call in CALLS.items():
        assert FUNCTIONS[kind] is call.function


def test_every_call_about_devices_has_its_type() -> None:
    """Their functions decide by turns; each of those has numbers of its own."""
    assert set(DEVICE_CALL_TYPES) == DEVICE_CALLS
    assert {call.function for call in DEVICE_CALL_TYPES.values()} <= set(DEVICE_FUNCTIONS)
    assert not set(DEVICE_FUNCTIONS) & set(FUNCTIONS.values())
