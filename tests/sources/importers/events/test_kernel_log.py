"""Kernel logs in every form that tools print give the same rows; every form of a line is in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.errors import InputError, TraceError, UsageError
from replay.sources.importers.events.kernel_log import import_log
from replay.sources.importers.events.log_forms import FORMS, Role, form_of
from replay.sources.importers.events.log_lines import BOOT, CALENDAR, read_line
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions
from replay.sources.importers.rejects import Rejects
from replay.trace.reader import TraceFile
from tests.sources.importers.events.imported import DATA, calls, data, rows

KERNELS = ("6.1.192", "7.2.13")
FORMS_OF_DMESG = ("default", "ctime", "levels", "iso", "delta", "reltime", "notime")
JOURNAL = ("export", "json", "short", "iso", "mono")


def imported(path: Path, out: Path, kernel: str | None = None, *, rejects: Rejects | None = None, **more):
    table = Rejects(path.name) if rejects is None else rejects
    options = EventOptions(MachineSource(kernel=kernel), strict=more.pop("strict", False))
    return import_log(path, out, options, table, **more)


def text(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "log"
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("form", FORMS_OF_DMESG)
def test_all_forms_of_dmesg_give_the_same_rows(tmp_path, kernel: str, form: str) -> None:
    report = imported(DATA / kernel / "dmesg-raw.txt", tmp_path / "raw.arrow")
    expected = calls(tmp_path / "raw.arrow")
    assert len(expected) > 30
    assert not report.rejected
    report = imported(DATA / kernel / f"dmesg-{form}.txt", tmp_path / "t.arrow")
    assert calls(tmp_path / "t.arrow") == expected
    assert not report.rejected
    with TraceFile.open(tmp_path / "t.arrow") as trace:
        assert trace.machine.kernel == kernel  # from the log's first line
        clock = {"default": "printk", "levels": "printk", "delta": "printk", "ctime": "realtime", "iso": "realtime"}
        assert trace.provenance.clock == clock.get(form, "")
    times = [row["time"] for row in rows(tmp_path / "t.arrow")]
    if form in {"default", "levels", "delta"}:
        assert times == [row["time"] for row in rows(tmp_path / "raw.arrow")]
    elif form in {"reltime", "notime"}:
        assert set(times) == {0}
        assert any("no times" in note for note in report.warnings)


@pytest.mark.parametrize("form", JOURNAL)
def test_all_formats_of_journalctl_give_the_same_rows(tmp_path, form: str) -> None:
    report = imported(DATA / "7.2.13" / f"journal-{form}.gz", tmp_path / "t.arrow")
    imported(DATA / "7.2.13" / "dmesg-raw.txt", tmp_path / "raw.arrow")
    expected = [row for row in rows(tmp_path / "raw.arrow") if row["time"] <= 50 * 10**9]
    got = rows(tmp_path / "t.arrow")
    for row in (*got, *expected):
        row.pop("time")
        row.pop("flags", None)  # told by what comes later in the log, and the journal ends earlier
    assert got == expected
    assert len(got) > 10
    assert not report.rejected
    if form in {"export", "json"}:  # the program that imitates the kernel, and the message that is no text
        assert report.unused["entry that is not of the kernel"] == data(f"7.2.13/journal-{form}.gz").count(b"stdout")


def test_the_exports_have_the_kernels_own_time(tmp_path) -> None:
    for form in ("export", "json"):
        imported(DATA / "7.2.13" / f"journal-{form}.gz", tmp_path / "t.arrow")
        imported(DATA / "7.2.13" / "dmesg-raw.txt", tmp_path / "raw.arrow")
        expected = [row["time"] for row in rows(tmp_path / "raw.arrow") if row["time"] <= 50 * 10**9]
        assert [row["time"] for row in rows(tmp_path / "t.arrow")] == expected


@pytest.mark.parametrize(
    ("line", "time", "clock"),
    [
        ("[    5.335078] M", 5335078000, BOOT),
        ("[   12.345678][  T123] M", 12345678000, BOOT),
        ("[   12.345678] [    C0] M", 12345678000, BOOT),
        ("<3>[   12.345678] M", 12345678000, BOOT),
        ("kern  :err   : [   12.345678] M", 12345678000, BOOT),
        ("3,1234,12345678,-;M", 12345678000, BOOT),
        ("3,1234,12345678,-,caller=T1;M", 12345678000, BOOT),
        ("Nov 21 13:06:38 host kernel: [   12.345678] M", 12345678000, BOOT),
        ("[Sat Nov 21 13:06:38 2026] M", 1795266398 * 10**9, CALENDAR),
        ("2026-11-21T13:06:38,335078+00:00 M", 1795266398335078000, CALENDAR),
        ("2026-11-21T14:06:38.335078+0100 host kernel: M", 1795266398335078000, CALENDAR),
        ("[  +0.900975] M", None, ""),
        ("[Nov21 13:06] M", None, ""),
        ("M", None, ""),
        ("[Sat Feb 31 13:06:38 2026] M", None, ""),
    ],
)
def test_what_stands_in_front_of_a_message(line: str, time: int | None, clock: str) -> None:
    entry = read_line(7, line)
    assert (entry.line, entry.time, entry.clock) == (7, time, clock)
    assert entry.message == (line if "Feb 31" in line else "M")


@pytest.mark.parametrize(
    ("message", "kind", "values"),
    [
        ("Memory failure: 0x10: recovery action for dax page: Recovered", "memory_failure",
         {"recorded_type": 17, "recorded_result": 3}),
        ("Memory failure: 0x10: already hardware poisoned", "memory_failure", {"recorded_type": 255}),
        ("Memory failure: 0x10: memory outside kernel control", "memory_failure",
         {"recorded_type": 255, "recorded_ret": -6}),
        ("Injecting memory failure for pfn 0x10 at process virtual address 0x7f", "memory_failure", {}),
        ("Injecting memory failure at pfn 0x10", "memory_failure", {}),
        ("Soft offlining pfn 0x10 at process virtual address 0x7f", "soft_offline_page", {}),
        ("soft_offline_page: 0x10 page already poisoned", "soft_offline_page", {"recorded_ret": 0}),
        ("soft offline: 0x10 page already poisoned", "soft_offline_page", {}),  # refused until v5.9
        ("Soft offline: 0x10: page already poisoned", "soft_offline_page", {"recorded_ret": 0}),
        ("soft_offline: 0x10: invalidated", "soft_offline_page", {"recorded_ret": 0}),
        ("Soft offline: 0x10: page migration failed 1, type 0x5(referenced|uptodate)", "soft_offline_page",
         {"value": 1, "recorded_ret": -16}),
        ("soft offline: 0x10: hugepage migration failed -12, type 17ffffc (head)", "soft_offline_page",
         {"value": -12, "recorded_ret": -12}),
        ("soft offline: 0x10: migration failed 1, type 17ffffc (head)", "soft_offline_page", {"value": 1}),
        ("soft_offline_page: 0x10: unknown page type: fffffc0001000 (reserved)", "soft_offline_page",
         {"recorded_ret": -5}),
        ("soft offline: 0x10: non anonymous thp", "soft_offline_page", {"recorded_ret": -16}),
        ("Unpoison: Software-unpoisoned page 0x10", "unpoison_memory", {"recorded_ret": 0}),
        ("Unpoison: Software-unpoisoned free page 0x10", "unpoison_memory", {"recorded_ret": 0}),
        ("Unpoison: 0x10: software-unpoisoned page", "unpoison_memory", {"recorded_ret": 0}),
        ("Unpoison: Page was already unpoisoned 0x10", "unpoison_memory", {}),
        ("Unpoison: 0x10: page was already unpoisoned", "unpoison_memory", {}),
        ("Unpoison: the hwpoison page has non-NULL mapping 0x10", "unpoison_memory", {}),
        ("Unpoison: 0x10: huge zero page is not supported", "unpoison_memory", {"recorded_ret": -95}),
        ("MCE 0x10: dirty LRU page recovery: Recovered", "memory_failure", {"recorded_type": 13, "recorded_result": 3}),
    ],
)  # fmt: skip
def test_forms_of_lines(tmp_path, message: str, kind: str, values: dict[str, int]) -> None:
    imported(text(tmp_path, f"[    1.000000] {message}"), tmp_path / "t.arrow", "6.1.192")
    assert calls(tmp_path / "t.arrow") == [{"kind": kind, "pfn": 0x10, **values}]


@pytest.mark.parametrize(
    "message",
    [
        "Memory failure: 0x10: Sending SIGBUS to with: colon:123 due to hardware memory corruption",
        "Memory failure: 0x10: Killing qemu:123 due to hardware memory corruption",
        "Memory failure: 0x10: corrupted page was clean: dropped without side effects",
        "Memory failure: 0x10: reserved kernel page still referenced by 1 users",
        "Memory failure: 0x10: unhandlable page.",
        "Memory Failure: 0x10: non anonymous thp",
        "MCE: Killing v0-shmem:10 due to hardware memory corruption fault at 7f0000",
    ],
)
def test_lines_that_tell_more_about_a_call_make_no_row(tmp_path, message: str) -> None:
    report = imported(text(tmp_path, message), tmp_path / "t.arrow", "6.1.192")
    assert (report.rows, report.unused) == (0, {"line that tells more about a call": 1})


def test_forms_that_were_seen_are_in_the_logs_of_these_kernels() -> None:
    """At least the usual ones are in the samples here; which form a line takes is the first that fits."""
    reached = set()
    for kernel in KERNELS:
        for line in data(f"{kernel}/dmesg-default.txt").decode().splitlines():
            if known := form_of(read_line(1, line).message):
                reached.add(known[0])
    assert len(reached) >= 8
    assert all(form.seen for form in reached)
    assert {form.role for form in reached} == {Role.BEGIN, Role.END, Role.DETAIL, Role.KERNEL}
    assert sum(not form.seen for form in FORMS) < len(FORMS) // 2


def test_a_line_of_an_unknown_form_is_rejected_not_dropped(tmp_path) -> None:
    table = Rejects("log")
    path = text(tmp_path, "[    1.000000] Memory failure: 0x10: eaten by a yak", "[    2.000000] eth0: up")
    report = imported(path, tmp_path / "t.arrow", "6.1.192", rejects=table)
    assert dict(table.by_reason) == {"a line about memory errors in a form that is not known": 1}
    assert report.unused == {"other line": 1}
    with pytest.raises(TraceError, match="log:1"):
        imported(path, tmp_path / "t.arrow", "6.1.192", rejects=Rejects("log", strict=True))


def test_an_announced_call_is_one_row_with_its_result(tmp_path) -> None:
    path = text(
        tmp_path,
        "[    1.000000] Injecting memory failure for pfn 0x10 at process virtual address 0x7f",
        "[    1.100000] Memory failure: 0x10: recovery action for huge page: Failed",
        "[    1.200000] Memory failure: 0x10: already hardware poisoned",
        "[    1.300000] Injecting memory failure at pfn 0x20",
        "[   60.000000] Memory failure: 0x20: recovery action for huge page: Recovered",  # too late: another call's
    )
    imported(path, tmp_path / "t.arrow", "6.1.192")
    assert [(row["time"] // 10**8, row["pfn"], row.get("recorded_type"), row.get("recorded_result"))
            for row in rows(tmp_path / "t.arrow")] == [
        (10, 0x10, 4, 1), (12, 0x10, 255, None), (13, 0x20, None, None), (600, 0x20, 4, 3),
    ]  # fmt: skip


def test_kernels_that_say_already_poisoned_twice_made_one_call(tmp_path) -> None:
    path = text(
        tmp_path,
        "[    1.000000] Memory failure: 0x10: already hardware poisoned",
        "[    1.000001] Memory failure: 0x10: recovery action for already poisoned: Failed",
        "[    2.000000] Memory failure: 0x10: already hardware poisoned",
        "[    2.000001] Memory failure: 0x10: recovery action for huge page: Failed",
        "[    3.000000] Memory failure: 0x10: memory outside kernel control",
        "[    3.000001] Memory failure: 0x10: recovery action for already poisoned: Failed",
    )
    imported(path, tmp_path / "t.arrow", "6.12")
    assert [row.get("recorded_type") for row in calls(tmp_path / "t.arrow")] == [19, 255, 3, 255, 19]


def test_what_was_unpoisoned_shows_that_errors_were_injected(tmp_path) -> None:
    """A kernel that has seen a real error refuses to unpoison; so the flag of simulated errors was set before that."""
    error = "[    1.000000] Memory failure: 0x{:x}: recovery action for huge page: Failed"
    path = text(
        tmp_path,
        error.format(1),
        error.format(2),
        "[    2.000000] Unpoison: Software-unpoisoned page 0x1",
        error.format(3),
    )
    report = imported(path, tmp_path / "t.arrow", "6.1.192")
    assert [row.get("flags") for row in calls(tmp_path / "t.arrow")] == [32, 32, None, None]
    assert any("injected" in note for note in report.warnings)
    report = imported(text(tmp_path, error.format(1)), tmp_path / "t.arrow", "6.1.192")
    assert [row.get("flags") for row in calls(tmp_path / "t.arrow")] == [None]
    assert not any("injected" in note for note in report.warnings)


def test_lines_that_the_kernel_did_not_print_are_a_loss(tmp_path) -> None:
    path = text(
        tmp_path, "[    1.000000] unpoison_memory: 29 callbacks suppressed", "[ 2.000000] Missed 4 kernel messages"
    )
    report = imported(path, tmp_path / "t.arrow", "6.1.192")
    assert report.lost_events == 33
    with pytest.raises(InputError, match="33 lines that were not printed"):
        imported(path, tmp_path / "t.arrow", "6.1.192", strict=True)


def test_several_boots(tmp_path) -> None:
    first = "Nov 21 13:06:38 host kernel: [    0.000000] Linux version 6.1.192 (a@b) #1"
    event = "Nov 21 13:06:38 host kernel: [    1.000000] Memory failure: 0x{:x}: recovery action for huge page: Failed"
    path = text(tmp_path, event.format(1), first, event.format(2), first, event.format(3))
    with pytest.raises(InputError, match="log:2: found the beginning of another boot"):
        imported(path, tmp_path / "t.arrow")
    for boot in (1, 2, 3):
        with pytest.raises(UsageError, match="--kernel VERSION"):  # the log may name that of another boot first
            imported(path, tmp_path / "t.arrow", boot=boot)
        report = imported(path, tmp_path / "t.arrow", "6.1.192", boot=boot)
        assert [row["pfn"] for row in calls(tmp_path / "t.arrow")] == [boot]
        assert report.unused["line of another boot"] >= 2


def test_a_machine_with_another_kernel_is_told(tmp_path) -> None:
    imported(DATA / "6.1.192" / "dmesg-raw.txt", tmp_path / "old.arrow")
    table = Rejects("x")
    options = EventOptions(MachineSource(trace=tmp_path / "old.arrow"))
    report = import_log(DATA / "7.2.13" / "dmesg-raw.txt", tmp_path / "t.arrow", options, table)
    assert any("7.2.13+deb14-amd64, the machine of kernel 6.1.192" in note for note in report.warnings)
    assert any("no action type 'already poisoned page'" in note for note in report.warnings)


def test_a_release_that_is_no_version(tmp_path) -> None:
    path = text(tmp_path, "[    0.000000] Linux version mine (a@b) #1")
    with pytest.raises(UsageError, match="--kernel VERSION"):
        imported(path, tmp_path / "t.arrow")
    assert imported(path, tmp_path / "t.arrow", "6.1.192").rows == 0


def test_the_kernel_and_the_format_must_be_known(tmp_path) -> None:
    with pytest.raises(UsageError, match="--kernel VERSION"):
        imported(text(tmp_path, "nothing"), tmp_path / "t.arrow")
    with pytest.raises(UsageError, match="auto, text, export, json"):
        imported(text(tmp_path, "nothing"), tmp_path / "t.arrow", form="xml")


def test_dmesg_as_json(tmp_path) -> None:
    """As `dmesg -J` of util-linux 2.38 prints it."""
    path = text(
        tmp_path, "{", '   "dmesg": [', "      {", '         "pri": 5,', '         "time":     0.000000,',
        '         "msg": "Linux version 7.2.13 (a@b) #1 SMP"', "      },{", '         "pri": 3,',
        '         "time":    12.345678,', '         "msg": "Memory failure: 0x10: recovery action for huge page: Failed"',
        "      }", "   ]", "}",
    )  # fmt: skip
    imported(path, tmp_path / "t.arrow")
    assert [(row["time"], row["pfn"]) for row in rows(tmp_path / "t.arrow")] == [(12345678000, 0x10)]


def test_damaged_exports(tmp_path) -> None:
    whole = data("7.2.13/journal-export.gz")
    path = tmp_path / "export"
    for cut in (len(whole) - 1, len(whole) - 30, 2000):
        path.write_bytes(whole[:cut])
        table = Rejects("x")
        imported(path, tmp_path / "t.arrow", "7.2.13", rejects=table)
        assert table.count == 1
    binary = b"__CURSOR=1\n_TRANSPORT=kernel\nMESSAGE\n" + (1 << 60).to_bytes(8, "little") + b"short"
    path.write_bytes(binary)
    table = Rejects("x")
    imported(path, tmp_path / "t.arrow", "7.2.13", rejects=table)
    assert dict(table.by_reason) == {"a binary field that is cut": 1}


def test_a_pfn_that_is_none_is_rejected(tmp_path) -> None:
    """However large: one of 64 bits is no signed number either."""
    log = b"[    1.000001] Memory failure: 0x%s: recovery action for dirty LRU page: Recovered\n"
    path = tmp_path / "log"
    path.write_bytes(b"".join(log % pfn for pfn in (b"f" * 16, b"10000000000000", b"77")))
    table = Rejects("log")
    report = import_log(path, tmp_path / "t.arrow", EventOptions(MachineSource(kernel="6.1.192")), table)
    assert (table.count, report.events) == (2, {"memory_failure": 1})


def test_what_is_no_log_at_all(tmp_path) -> None:
    """Everything was rejected: that is no log without memory errors."""
    (tmp_path / "log").write_bytes(bytes(100_000))
    with pytest.raises(InputError, match="a kernel log"):
        import_log(
            tmp_path / "log", tmp_path / "t.arrow", EventOptions(MachineSource(kernel="6.1.192")), Rejects("log")
        )
    assert not (tmp_path / "t.arrow").exists()
