"""Lines of every layout, and lines that must not be passed over in silence."""

from __future__ import annotations

import pytest

from replay.errors import InputError
from replay.sources.importers.recording.ftrace import Events, read_events

KNOWN = frozenset({"pfn_to_online_page", "memory_failure"})
STANDARD = "             lab-149     [001] .....    11.182910: "
CALL = "pfn_to_online_page: (pfn_to_online_page+0x0/0x120) pfn=0x11bbb4"


def read(*lines: str) -> Events:
    return read_events("".join(f"{line}\n" for line in lines).encode(), "trace.txt", KNOWN)


def fields(events: Events) -> list[tuple[object, ...]]:
    return [
        (int(e[0]), int(e[1]), int(e[2]), events.names[int(e[3])], events.text(i))
        for i, e in enumerate(zip(events.time, events.pid, events.task, events.kind, strict=True))
    ]


PADDING = [STANDARD + CALL] * 3  # so that the line under test is not the last: that one is read another way


@pytest.mark.parametrize(
    ("line", "time", "pid", "task"),
    [
        (STANDARD + CALL, 11_182_910_000, 149, 149),
        ("    kworker/u4:0-7       [000] d..1.    12.000001: " + CALL, 12_000_001_000, 7, 7),
        ("   my task - 3-b-42      [000] .....    12.000001: " + CALL, 12_000_001_000, 42, 42),
        ("           <...>-4194303 [001] .N...    12.000001: " + CALL, 12_000_001_000, 4194303, 4194303),
        ("             lab-12345678 [001] .....    12.000001: " + CALL, 12_000_001_000, 12345678, 12345678),
        ("             lab-149     [001] ..... 123456.000001: " + CALL, 123_456_000_001_000, 149, 149),
        ("             lab-149     [001] ....    12.000001: " + CALL, 12_000_001_000, 149, 149),
        ("             lab-149     (    149) [001] .....    12.000001: " + CALL, 12_000_001_000, 149, 149),
        ("             lab-149     [001] (    149) .....    12.000001: " + CALL, 12_000_001_000, 149, 149),
        ("lab-149 [001] ..... 12.000001: " + CALL, 12_000_001_000, 149, 149),
        ("          <idle>-0       [001] .....    12.000001: " + CALL, 12_000_001_000, 0, -9),
        ("             lab-149     [001] d.h..    12.000001: " + CALL, 12_000_001_000, 149, -11),
    ],
)
def test_layouts(line: str, time: int, pid: int, task: int) -> None:
    expected = [(11_182_910_000, 149, 149, "pfn_to_online_page", CALL.split(": ")[1])]
    found = (time, pid, task, "pfn_to_online_page", CALL.split(": ")[1])
    assert fields(read(PADDING[0], line, *PADDING)) == [
        *expected, found, *((max(time, 11_182_910_000), *e[1:]) for e in expected * 3)
    ]  # fmt: skip
    assert fields(read(line, *PADDING))[0] == found


def test_a_file_of_four_flags() -> None:
    line = "             lab-149     [001] d.s.    11.182910: " + CALL
    assert fields(read(*[line] * 4)) == [(11_182_910_000, 149, -10, "pfn_to_online_page", CALL.split(": ")[1])] * 4


def test_events_of_any_name_are_told_apart() -> None:
    names = ["add_memory_driver_managed__return", "a", "pfn_to_online_page", "pfn_to_online_page__return", "x" * 60]
    events = read(*(f"{STANDARD}{name}: pfn=0x1" for name in names), *PADDING)
    assert [events.names[int(kind)] for kind in events.kind[:5]] == names
    assert [events.text(i) for i in range(5)] == ["pfn=0x1"] * 5
    assert events.of("a", "x" * 60).tolist() == [1, 4]


def test_time_never_decreases() -> None:
    assert read(PADDING[0].replace("11.18", "11.99"), *PADDING).time.tolist() == [11_992_910_000] * 4


def test_lost_lines_are_counted() -> None:
    events = read("# entries-in-buffer/entries-written: 4/10   #P:2", PADDING[0], "CPU:1 [LOST 7 EVENTS]", *PADDING)
    assert events.lost == {"header": 6, "lines": 7}
    assert len(events) == 4


def test_lines_that_are_no_events_are_counted() -> None:
    events = read(PADDING[0], "Dump of something", "", "##### CPU 1 buffer started ####", *PADDING)
    assert events.unused == {"line that is no event": 1}
    assert [int(line) for line in events.line] == [1, 5, 6, 7]


@pytest.mark.parametrize(
    "line",
    [
        "lab-149 [001] 11.182910: " + CALL,
        " pfn_to_online_page__return: (a <- b) page=0x0",
        "garbage memory_failure: (memory_failure+0x0/0x1) pfn=0x1 flags=0x0",
    ],
)
def test_a_damaged_line_with_an_event_of_ours_is_refused(line: str) -> None:
    with pytest.raises(InputError, match=r"trace\.txt:2"):
        read(PADDING[0], line, *PADDING)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b" \n\n", "an empty file"),
        (b"# tracer: nop\n", "no event"),
        ((STANDARD + CALL).encode(), "a last line that does not end"),
        (f"# entries-in-buffer/entries-written: 2/2\n{STANDARD}{CALL}\n".encode(), "1 lines for 2 events"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(InputError, match=found):
        read_events(data, "trace.txt", KNOWN)


def test_numbers() -> None:
    events = read(
        STANDARD + "pfn_to_online_page__return: (a <- b) page=0xffafae0b846eed00",
        STANDARD + "pfn_to_online_page__return: (a <- b) page=0x0",
        *PADDING,
    )
    values, begin = events.numbers(events.of("pfn_to_online_page__return"), b" page=0x")
    assert values.tolist() == [0xFFAFAE0B846EED00, 0]
    assert [events.data[b : b + 8] for b in begin.tolist()] == [b" page=0x"] * 2


@pytest.mark.parametrize("field", ["pfn=0x", "pfn=0x11bbb4 more", "pfn=4", "page=0x1", "pfn=0x" + "1" * 17])
def test_a_field_that_is_not_there_is_refused(field: str) -> None:
    events = read(PADDING[0], f"{STANDARD}pfn_to_online_page: (pfn_to_online_page+0x0/0x120) {field}", *PADDING)
    with pytest.raises(InputError, match=r"trace\.txt:2"):
        events.numbers(events.of("pfn_to_online_page"), b") pfn=0x")
