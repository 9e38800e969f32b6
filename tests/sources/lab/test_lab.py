"""The lab without a boot: what it refuses, what it puts into the guest. A boot is `make lab-smoke`."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from replay.errors import InputError, UnknownNameError
from replay.sources.lab import SCENARIOS, initramfs, run_lab
from replay.sources.lab.cpio import write_initramfs
from replay.sources.lab.initramfs import missing_programs
from replay.sources.lab.kernels import modules_folder, release_of
from replay.sources.lab.qemu import Boot
from replay.sources.lab.run import _finish, _unpack
from replay.sources.lab.scenarios import scenario, script


def image(path: Path, text: str = "6.1.0-56-amd64 (somebody@somewhere) #1 SMP") -> Path:
    """A file with the setup header of a bzImage."""
    data = bytearray(0x4000)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x3000 - 0x200)
    data[0x3000 : 0x3000 + len(text)] = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_release_is_in_the_image(tmp_path) -> None:
    assert release_of(image(tmp_path / "vmlinuz")) == "6.1.0-56-amd64"


@pytest.mark.parametrize(
    ("content", "found"), [(b"", "no setup header"), (b"x" * 0x4000, "no setup header"), (None, "No such file")]
)
def test_what_is_no_kernel(content, found, tmp_path) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=found):
        release_of(path)


def test_an_image_without_a_version(tmp_path) -> None:
    with pytest.raises(InputError, match="without a version"):
        release_of(image(tmp_path / "vmlinuz", ""))


def test_modules_are_found_beside_the_image_or_where_the_user_says(tmp_path) -> None:
    kernel = image(tmp_path / "root/boot/vmlinuz")
    with pytest.raises(InputError, match=r"no modules of 9\.9-none.*--modules"):
        modules_folder(kernel, "9.9-none", None)
    near = tmp_path / "root/lib/modules/9.9-none"
    (near / "kernel").mkdir(parents=True)
    assert modules_folder(kernel, "9.9-none", None) == near
    assert modules_folder(kernel, "9.9-none", near.parent) == near
    assert modules_folder(kernel, "9.9-none", near) == near


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_a_script_that_a_shell_can_read(name) -> None:
    done = subprocess.run(["sh", "-n", str(script(scenario(name)))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_scenario(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean s1-walk-boot"):
        run_lab(tmp_path / "vmlinuz", "s1-walk-bot", tmp_path / "out")


def test_missing_programs_are_named_with_the_packages(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(initramfs.shutil, "which", lambda _name: None)
    assert "qemu-system-x86_64" in missing_programs()
    with pytest.raises(InputError, match=r"no qemu-system-x86_64, .*apt-get install qemu-system-x86"):
        run_lab(image(tmp_path / "vmlinuz"), "s1-walk-boot", tmp_path / "out")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(initramfs.shutil, "which", lambda name: name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(InputError, match="not empty"):
        run_lab(image(tmp_path / "vmlinuz"), "s1-walk-boot", tmp_path / "out")


def test_the_archive_holds_the_folder(tmp_path) -> None:
    """Names, contents, links and modes; padded to 4 bytes; the same folder gives the same bytes."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"12345")
    (root / "bin/tool").chmod(0o755)
    (root / "bin/sh").symlink_to("tool")
    write_initramfs(root, tmp_path / "a.gz")
    write_initramfs(root, tmp_path / "b.gz")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    data, at, found = gzip.decompress((tmp_path / "a.gz").read_bytes()), 0, {}
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * k : at + 14 + 8 * k], 16) for k in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + length - 1].decode()
        at += (110 + length + 3) & ~3
        found[name] = (mode, data[at : at + size])
        at += (size + 3) & ~3
    assert list(found) == ["bin", "bin/sh", "bin/tool", "TRAILER!!!"]
    assert found["bin/tool"] == (0o100755, b"12345")
    assert found["bin/sh"] == (0o120777, b"tool")


def result(tmp_path: Path, console: str, *, timed_out: bool = False) -> Boot:
    return Boot(console, tmp_path / "out.img", timed_out, 12.34)


def test_a_guest_that_gave_nothing(tmp_path) -> None:
    """The error shows the end of the console, where the reason is."""
    with pytest.raises(InputError, match=r"(?s)it stopped before.*Kernel panic - not syncing"):
        _unpack(result(tmp_path, "boot\n[1.0] Kernel panic - not syncing: no init\n"), tmp_path / "rec", "6.1")
    with pytest.raises(InputError, match="did not end in time"):
        _unpack(result(tmp_path, "boot\n", timed_out=True), tmp_path / "rec", "6.1")


def test_a_tar_from_a_guest_is_not_trusted(tmp_path) -> None:
    """Members that lie outside of the folder are refused; links and devices are not made."""
    with tarfile.open(tmp_path / "out.img", "w") as tar:
        (tmp_path / "meta.json").write_text("{}")
        tar.add(tmp_path / "meta.json", "meta.json")
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    _unpack(result(tmp_path, "@@TAR-DONE 1"), tmp_path / "rec", "6.1")
    assert [p.name for p in (tmp_path / "rec").iterdir()] == ["meta.json"]
    with tarfile.open(tmp_path / "out.img", "w") as tar:
        tar.add(tmp_path / "meta.json", "../outside")
    with pytest.raises(InputError, match="cannot be unpacked"):
        _unpack(result(tmp_path, "@@TAR-DONE 1"), tmp_path / "rec2", "6.1")


def test_the_host_adds_what_the_guest_cannot_know(tmp_path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    (folder / "meta.json").write_text('{"complete": true, "lost_events": 3}')
    (folder / "trace.txt").write_text("x" * 100_000)
    (folder / "iomem.txt").write_text("short")
    report = _finish(folder, SCENARIOS["s0-smoke"], "6.1", result(tmp_path, "console"))
    assert (report.complete, report.lost_events, report.seconds) == (True, 3, 12.3)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["emulator"] == "qemu TCG"
    assert gzip.decompress((folder / "trace.txt.gz").read_bytes()) == b"x" * 100_000
    assert (folder / "iomem.txt").exists()
    assert not (folder / "trace.txt").exists()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_guest_tool_compiles_without_warnings(tmp_path) -> None:
    sources = sorted((Path(initramfs.__file__).parent / "guest/tool").glob("*.c"))
    words = ["gcc", "-fsyntax-only", "-Wall", "-Werror", *map(str, sources)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
