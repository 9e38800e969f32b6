"""capture.sh: clean by shellcheck, the same under every POSIX shell, honest about what it cannot do."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from replay.errors import InputError
from replay.sources.importers.recording.dumps import parse_sections
from replay.sources.record import CAPTURE, Check, check_machine
from replay.sources.record.record import refuse_unless_recordable
from replay.trace.schema import SectionFlags

SHELLS = [words for words in (["dash"], ["busybox", "sh"]) if shutil.which(words[0])] or [["sh"]]
ids = [" ".join(words) for words in SHELLS]


def run(shell: list[str], *words: str | Path, cwd: Path, path: str = "/usr/bin:/bin:/usr/sbin:/sbin"):
    return subprocess.run(
        [*shell, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, timeout=60, env={"PATH": path}
    )


@pytest.fixture
def nobody(tmp_path: Path) -> str:
    """A PATH on which ``id`` says that we are not root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "id").write_text("#!/bin/sh\necho 1000\n")
    (folder / "id").chmod(0o755)
    return f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_is_clean() -> None:
    done = subprocess.run(["shellcheck", str(CAPTURE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "shell", [words for words in SHELLS if words[0] != "busybox"], ids=" ".join
)  # it has its own id
def test_without_root_it_records_nothing_and_says_what_is_left(shell, tmp_path, nobody) -> None:
    done = run(shell, CAPTURE, "-o", tmp_path / "out", cwd=tmp_path, path=nobody)
    assert done.returncode == 3
    assert "root: user id 1000" in done.stderr
    assert "what can still be captured:" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shell", SHELLS, ids=ids)
def test_copies_alone_need_no_tracing(shell, tmp_path) -> None:
    """-s writes the copies of /proc and /sys, and a meta.json that is JSON; a second run does not overwrite them."""
    out = tmp_path / "out"
    done = run(shell, CAPTURE, "-s", "-n", 'a "name" \\', "-o", out, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    meta = json.loads((out / "meta.json").read_text())
    assert meta["scenario"] == 'a "name" \\'
    assert meta["kernel"].split(".")[0].isdigit()
    assert meta["page_shift"] >= 12
    for name in ("iomem.txt", "iomem-end.txt", "memory_blocks.txt", "zoneinfo.txt", "vmstate.txt", "uname_r.txt"):
        assert (out / name).exists(), name
    again = run(shell, CAPTURE, "-s", "-o", out, cwd=tmp_path)
    assert again.returncode == 2
    assert "not an empty folder" in again.stderr


@pytest.mark.parametrize("shell", SHELLS, ids=ids)
def test_a_tar_stream(shell, tmp_path) -> None:
    done = subprocess.run([*shell, str(CAPTURE), "-s", "-o", "-"], capture_output=True, check=False, cwd=tmp_path)
    (tmp_path / "r.tar").write_bytes(done.stdout)
    names = subprocess.run(["tar", "tf", "r.tar"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "./meta.json" in names.splitlines()
    assert list(tmp_path.iterdir()) == [tmp_path / "r.tar"]


@pytest.mark.parametrize("shell", SHELLS, ids=ids)
def test_the_status_of_a_command_is_handed_on(shell, tmp_path) -> None:
    done = run(shell, CAPTURE, "-s", "-o", tmp_path / "out", "--", "sh", "-c", "echo hello; exit 7", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "hello\n")


@pytest.mark.parametrize("words", [["-d", "x"], ["-b", "-1"], ["-Z"], ["mark", "x"]], ids=" ".join)
def test_wrong_usage(words, tmp_path) -> None:
    assert run(["sh"], CAPTURE, *words, cwd=tmp_path).returncode == 2


def test_steps_of_a_command(tmp_path) -> None:
    """A command marks its steps; they end up in meta.json with times and status, and with copies after each."""
    script = tmp_path / "work.sh"
    script.write_text('c() { sh "$REPLAY_CAPTURE" "$@"; }\nc step-begin one; c step-end 3 do it "now"\nc state later\n'
                      "c step-begin two; c step-end 0 -q quiet\n")  # fmt: skip
    done = run(["sh"], CAPTURE, "-s", "-o", tmp_path / "out", "--", "sh", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    one, two = json.loads((tmp_path / "out/meta.json").read_text())["steps"]
    assert (one["n"], one["name"], one["rc"], one["command"]) == (1, "one", 3, "do it now")
    assert (two["n"], two["rc"]) == (2, 0)
    assert one["begin"] <= one["end"] <= two["begin"]
    assert (tmp_path / "out/iomem-01-one.txt").exists()
    assert not (tmp_path / "out/iomem-02-two.txt").exists()
    assert [line.split()[1] for line in (tmp_path / "out/vmstate.txt").read_text().splitlines() if line[:2] == "=="] == [
        "start", "later", "end",
    ]  # fmt: skip


# ---- kernel memory and type information, made up ---------------------------------------------------------------------

BASE = 0xFF27_7800_0000_0000
BITS = [0xFFFF_FFFF_FFFF_FFFF, 0x0000_0000_FFFF_0001, 0x8000_0000_0000_0000]


def functions(folder: Path, *parts: tuple[str, str]) -> str:
    """The functions of capture.sh between two lines each, with ``folder`` in the place of /proc."""
    text = CAPTURE.read_text()
    found = ["number() { case ${1:-x} in *[!0-9]*) return 1 ;; esac; }"]
    found += [text[text.index(begin) : text.index(end)] for begin, end in parts]
    return "\n".join(found).replace("/proc/", f"{folder}/").replace("/sys/kernel/btf/", f"{folder}/")


def core(folder: Path) -> None:
    """An ELF file like /proc/kcore with three sections, of which the last is hot-added and offline."""
    memory = bytearray(1 << 18)

    def put(address: int, value: int) -> None:
        struct.pack_into("<Q", memory, address - BASE, value)

    symbols = {"mem_section": BASE + 0x100, "vmemmap_base": BASE + 0x108, "max_pfn": BASE + 0x110}
    table, root, usage = BASE + 0x1000, BASE + 0x3000, BASE + 0x8FC8  # the second usage lies across a page border
    for name, value in (("mem_section", table), ("vmemmap_base", 0xFFDE_7000_0000_0000), ("max_pfn", 0x18000)):
        put(symbols[name], value)
    put(table, root)
    for number, flags in enumerate((0xF, 0x1F, 0x3)):
        put(root + 32 * number, 0xFFDE_7000_0000_0000 | flags)
        put(root + 32 * number + 8, usage + 48 * number)
        put(usage + 48 * number + 16, BITS[number])
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    note = struct.pack("<IIQQQQQQ", 4, 0, 0x200, 0, 0, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, BASE, 0, len(memory), len(memory), 4096)
    (folder / "kcore").write_bytes((head + note + load).ljust(0x1000, b"\0") + memory)
    (folder / "kallsyms").write_text("".join(f"{at:x} B {name}\n" for name, at in symbols.items()))
    (folder / "iomem").write_text("00000000-17ffffff : System RAM\ne0000000-fffffffff : PCI Bus 0000:00\n")


@pytest.mark.parametrize("shell", SHELLS, ids=ids)
def test_the_section_table_is_read_from_kernel_memory(shell, tmp_path) -> None:
    """Addresses have the top bit set, which no shell can write as a positive number."""
    core(tmp_path)
    (tmp_path / "layout").write_text(
        "mem_section_usage=24\nmem_section=32\nmem_section.usage=8\nmem_section_usage.subsection_map=16\n"
    )
    script = functions(tmp_path, ("\nlayout()", "# ---- copies of"))
    script += f"\nWORK={tmp_path} SECTION_BITS=27 PAGE_SHIFT=12\n"
    script += f"read_symbols && read_segments && dump_sections {tmp_path}/out\n"
    (tmp_path / "t.sh").write_text(script)
    done = run(shell, tmp_path / "t.sh", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    table = parse_sections((tmp_path / "out").read_text(), "out")
    early = SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP | SectionFlags.ONLINE | SectionFlags.EARLY
    assert table.vmemmap_base == 0xFFDE_7000_0000_0000
    assert table.sections == (
        (0, early, BITS[0]),
        (0x8000, early | SectionFlags.TAINT_ZONE_DEVICE, BITS[1]),
        (0x10000, SectionFlags.PRESENT | SectionFlags.HAS_MEM_MAP, BITS[2]),
    )


def type_information() -> bytes:
    """BTF of two structs, one with a union that has no name, and of two functions."""
    names = b"\0"
    offsets: dict[str, int] = {"": 0}
    for name in ("int", "dev_pagemap", "type", "nr_range", "mem_section", "usage", "nid", "start",
                 "try_remove_memory", "arch_remove_memory"):  # fmt: skip
        offsets[name] = len(names)
        names += name.encode() + b"\0"

    def entry(name: str, kind: int, count: int, size: int, *rest: int) -> bytes:
        return struct.pack(f"<{3 + len(rest)}I", offsets[name], kind << 24 | count, size, *rest)

    o = offsets
    types = entry("int", 1, 0, 4, 32)  # 1
    types += entry("", 5, 1, 16, o["start"], 1, 0)  # 2: the union
    types += entry("dev_pagemap", 4, 3, 96, o["type"], 1, 64 * 8, o["nr_range"], 1, 72 * 8, 0, 2, 80 * 8)  # 3
    types += entry("mem_section", 4, 1, 32, o["usage"], 1, 8 * 8)  # 4
    types += entry("", 13, 2, 1, o["nid"], 1, o["start"], 1) + entry("", 13, 1, 1, o["start"], 1)  # 5, 6
    types += entry("try_remove_memory", 12, 1, 5) + entry("arch_remove_memory", 12, 1, 6)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names


@pytest.mark.parametrize("shell", SHELLS, ids=ids)
def test_layouts_come_from_type_information(shell, tmp_path) -> None:
    (tmp_path / "vmlinux").write_bytes(type_information())
    (tmp_path / "t.sh").write_text(
        functions(tmp_path, ("btf_layout()", "\nlayout()")) + f"\nWORK={tmp_path}\nbtf_layout\n"
    )
    done = run(shell, tmp_path / "t.sh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        "dev_pagemap=96", "dev_pagemap.type=64", "dev_pagemap.nr_range=72", "dev_pagemap.range=80", "mem_section=32",
        "mem_section.usage=8", "try_remove_memory(nid)", "arch_remove_memory()",
    }  # fmt: skip


# ---- replay record ---------------------------------------------------------------------------------------------------


def test_check_names_everything_that_a_recording_needs() -> None:
    found = {check.what: check.state for check in check_machine()}
    assert set(found) == {"root", "lockdown", "tracefs", "btf", "kcore", "kpageflags", "kpagecount", "memory_blocks"}
    assert set(found.values()) <= {"ok", "missing"}


def test_a_machine_that_cannot_be_recorded() -> None:
    """The error has every reason, and what is left; what events do not need is no reason to refuse."""
    ok = [Check(what, "ok", "") for what in ("root", "lockdown", "tracefs", "kpageflags")]
    refuse_unless_recordable([*ok, Check("kcore", "missing", "cannot be read")])
    with pytest.raises(
        InputError, match=r"no tracefs: not mounted; no kcore: cannot be read.*kpageflags, iomem.*-s -o"
    ):
        refuse_unless_recordable(
            [ok[0], Check("tracefs", "missing", "not mounted"), Check("kcore", "missing", "cannot be read"), ok[3]]
        )
