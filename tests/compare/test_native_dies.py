"""Whatever a candidate's code does, the tool says what, and where, and goes on."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from replay.compare.native import CandidateError, CompileError, NativeCandidate
from replay.compare.native.child import Limits
from replay.errors import UsageError
from tests.compare.c_files import BOOT, needs_compiler, online

pytestmark = needs_compiler


def run(tmp_path: Path, text: str, **limits: float) -> NativeCandidate:
    path = tmp_path / "my.c"
    path.write_text(text)
    seconds, memory = float(limits.get("seconds", 10.0)), int(limits.get("memory", 1 << 30))
    return NativeCandidate(path, limits=Limits(seconds, memory))


def death(tmp_path: Path, text: str, **limits: float) -> CandidateError:
    """Return the error of a candidate that does not survive; no process of it is left."""
    candidate = run(tmp_path, text, **limits)
    with pytest.raises(CandidateError) as error:
        candidate.check(BOOT, processes=0)
    assert not _children()
    return error.value


def _children() -> list[str]:
    """Driver processes that are still there."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, parent = re.search(r"\((.*)\) . (\d+)", status.read_text()).groups()
        except (OSError, AttributeError):
            continue
        if name == "driver" and int(parent) == os.getpid():
            found.append(status.parent.name)
    return found


def test_segfault_names_address_line_row_and_pfn(tmp_path: Path) -> None:
    body = "\tstruct mem_section *ms = NULL;\n\tif (pfn >= 0x1000)\n\t\tms->section_mem_map++;\n\treturn NULL;"
    error = death(tmp_path, online(body))
    assert "SIGSEGV (NULL pointer, address 0x0)" in error.found
    assert (error.row, error.pfn) == (30, 0x100B)
    assert "row 30, pfn 0x100b" in error.where
    if _has_addr2line():
        assert error.found.endswith("my.c:7")


def _has_addr2line() -> bool:
    import shutil

    return shutil.which("addr2line") is not None and os.uname().machine in {"x86_64", "aarch64"}


def test_division_by_zero(tmp_path: Path) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("only x86 has a signal for it")
    error = death(tmp_path, online("\tvolatile unsigned long zero = pfn - pfn;\n\treturn pfn_to_page(pfn / zero);"))
    assert "SIGFPE (division by zero" in error.found
    assert error.row == 29


def test_abort(tmp_path: Path) -> None:
    error = death(tmp_path, online("\tBUG_ON(pfn == 0x12);\n\treturn NULL;"))
    assert "SIGABRT (abort(), as BUG_ON does)" in error.found
    assert error.pfn == 0x12


def test_endless_loop_is_ended_and_located(tmp_path: Path) -> None:
    started = time.monotonic()
    error = death(tmp_path, online("\tvolatile int x = 0;\n\twhile (pfn)\n\t\tx++;\n\treturn NULL;"), seconds=0.5)
    assert time.monotonic() - started < 30  # the default limit would be 10 s, the loop has none
    assert "no end after 0.5 s" in error.found
    assert error.pfn == 1
    if _has_addr2line():
        assert re.search(r"my\.c:[67]$", error.found)


def test_a_loop_that_takes_no_signals_is_ended_too(tmp_path: Path) -> None:
    body = "\tsigset_t all;\n\tsigfillset(&all);\n\tsigprocmask(SIG_SETMASK, &all, NULL);\n\tfor (;;)\n\t\tbarrier();"
    error = death(tmp_path, "#include <signal.h>\n" + online(body), seconds=0.5)
    assert "no end after 0.5 s" in error.found


def test_endless_recursion(tmp_path: Path) -> None:
    body = "\tvolatile char frame[4000];\n\n\tframe[pfn % 4000] = 1;\n"
    body += "\tstruct page *page = pfn_to_online_page(pfn + 1);\n\n\treturn frame[0] ? page : NULL;"
    assert "SIGSEGV (stack overflow)" in death(tmp_path, online(body)).found


def test_memory_is_limited(tmp_path: Path) -> None:
    body = "\tfor (;;) {\n\t\tchar *more = malloc(1 << 20);\n\n\t\tmemset(more, 1, 1 << 20);\n\t}"
    error = death(tmp_path, online(body), memory=32 << 20, seconds=60.0)
    assert "SIGSEGV" in error.found
    assert "it may take 32 MiB" in error.hint


def test_the_machine_cannot_be_written_to(tmp_path: Path) -> None:
    body = "\t__pfn_to_section(pfn)->section_mem_map |= SECTION_IS_ONLINE;\n\treturn pfn_to_page(pfn);"
    assert "the machine can be read only" in death(tmp_path, online(body)).found


def test_a_struct_page_has_no_content(tmp_path: Path) -> None:
    error = death(tmp_path, online("\treturn pfn_to_page(pfn)->flags ? pfn_to_page(pfn) : NULL;"))
    assert "SIGSEGV" in error.found


def test_exit(tmp_path: Path) -> None:
    error = death(tmp_path, online('\tfprintf(stderr, "that is all\\n");\n\texit(3);'))
    assert "ended by itself, with exit code 3" in error.found
    assert "that is all" in error.hint


def test_killing_itself(tmp_path: Path) -> None:
    error = death(tmp_path, "#include <signal.h>\n" + online("\traise(SIGKILL);\n\treturn NULL;"))
    assert signal.SIGKILL.name in error.found


def test_closed_descriptors(tmp_path: Path) -> None:
    body = "\tfor (int i = 0; i < 200; i++)\n\t\tclose(i);\n\treturn NULL;"
    found = death(tmp_path, "#include <unistd.h>\n" + online(body)).found
    assert "descriptors closed" in found or "ended by itself" in found  # whichever is seen first


def test_closed_descriptors_and_no_end(tmp_path: Path) -> None:
    body = "\tfor (int i = 3; i < 200; i++)\n\t\tclose(i);\n\tfor (;;)\n\t\tbarrier();"
    error = death(tmp_path, "#include <unistd.h>\n" + online(body), seconds=5.0)
    assert "descriptors closed" in error.found


def test_constructors_that_do_not_end(tmp_path: Path) -> None:
    before = "static __attribute__((constructor)) void never_ends(void) { for (;;) barrier(); }"
    assert "no end after 0.5 s" in death(tmp_path, online("\treturn NULL;", before), seconds=0.5).found


def test_garbage_on_stdout_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    body = '\tprintf("%lx\\xff", pfn);\n\tfwrite("\\0\\1\\2", 1, 3, stdout);\n\tfputs("!", stderr);\n\treturn NULL;'
    report = run(tmp_path, online(body)).check(BOOT, processes=0)
    (found,) = report.functions.values()
    assert found.lookups == 185_761
    assert report.said.startswith("!") or report.said.startswith("0")
    assert capfd.readouterr() == ("", "")


def test_the_process_goes_when_its_reader_does(tmp_path: Path) -> None:
    candidate = run(tmp_path, online("\treturn NULL;"))
    candidate.check(BOOT, processes=2, rounds=1)
    assert not _children()


def test_compile_errors_name_the_line_of_the_users_file(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"my\.c:6:\d+: error: .*no_such") as error:
        run(tmp_path, online("\tint x;\n\treturn no_such(pfn);")).check(BOOT)
    assert "no_such" in error.value.output
    assert error.value.exit_code == 3


def test_unresolved_names_are_compile_errors(tmp_path: Path) -> None:
    body = "\textern struct page *elsewhere(unsigned long pfn);\n\n\treturn elsewhere(pfn);"
    with pytest.raises(CompileError, match=r"undefined reference to .elsewhere"):
        run(tmp_path, online(body)).check(BOOT)


def test_a_wrong_prototype_is_a_compile_error(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="conflicting types"):
        run(tmp_path, '#include "replay_pfn.h"\nint pfn_to_online_page(int pfn) { return 0; }\n').check(BOOT)


def test_warnings_are_kept(tmp_path: Path) -> None:
    report = run(tmp_path, online("\tint unused;\n\treturn NULL;")).check(BOOT, processes=0)
    assert "unused variable" in report.warnings
    assert "replay_pfn.h" not in report.warnings


@pytest.mark.parametrize("text", ["", '#include "replay_pfn.h"\nint x;\n', "int main(void) { return 0; }\n"])
def test_a_file_without_any_of_the_functions(tmp_path: Path, text: str) -> None:
    path = tmp_path / "none.c"
    path.write_text(text)
    with pytest.raises(CandidateError, match=r"none of the functions.*pfn_to_online_page"):
        NativeCandidate.compile(path)


def test_compile_answers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "my.c"
    path.write_text(online("\treturn NULL"))
    with pytest.raises(CompileError):
        NativeCandidate.compile(path)
    path.write_text(online("\treturn NULL;"))
    assert NativeCandidate.compile(path).check(BOOT, processes=0).functions


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="neither cc nor gcc nor clang is in PATH"):
        NativeCandidate("v5.12")
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    with pytest.raises(UsageError, match="no-such-compiler"):
        NativeCandidate("v5.12")


def test_no_file() -> None:
    with pytest.raises(UsageError, match=r"v5\.13: no such file, nor a built-in form"):
        NativeCandidate("v5.13")
