"""A scenario on a kernel -> a recording folder and a trace."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from replay.errors import InputError
from replay.sources.lab.initramfs import PACKAGES, build_initramfs, missing_programs
from replay.sources.lab.kernels import modules_folder, release_of
from replay.sources.lab.qemu import Boot, boot
from replay.sources.lab.scenarios import Scenario, scenario

__all__ = ("LabReport", "run_lab")

_DATA_DISK = 128 << 20
_KEEP_PLAIN = 60_000  # bytes of a text file that is not worth compressing
_LARGEST = 1 << 30  # of a file in the tar that the guest wrote


@dataclass(frozen=True)
class LabReport:
    """What a boot gave.

    Attributes:
        folder: the recording.
        release: of the kernel.
        seconds: wall time of the boot.
        complete: the scenario ran to its end, in time.
        lost_events: as the recorder counted them.
    """

    folder: str
    release: str
    seconds: float
    complete: bool
    lost_events: int


def run_lab(
    image: Path,
    name: str,
    output: Path,
    *,
    modules: Path | None = None,
    keep: bool = False,
    show: Callable[[str], None] | None = None,
) -> LabReport:
    """Boot a kernel, run a scenario in it, and fetch the recording.

    Args:
        image: kernel image.
        name: scenario.
        output: folder for the recording; must not exist or be empty.
        modules: folder of the kernel's modules; default: next to the image, where packages put it.
        keep: keep the working folder in ``output``/../``output``.work.
        show: called with lines on how far the guest is.

    Raises:
        InputError: a program is missing, an input is no kernel, or the guest gave no recording.
        UnknownNameError: there is no such scenario.
    """
    chosen = scenario(name)
    if missing := missing_programs():
        raise InputError(
            "this machine", f"no {', '.join(missing)}", "the programs that boot and fill a virtual machine",
            f"on Debian: apt-get install {PACKAGES}",
        )  # fmt: skip
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(output, "a file or a folder that is not empty", "a folder that does not exist yet")
    release = release_of(image)
    folder = modules_folder(image, release, modules)
    work = Path(tempfile.mkdtemp(prefix="replay-lab-"))
    try:
        archive = build_initramfs(work, release, folder, chosen)
        _data_disk(work / "data.img")
        result = boot(work, image, archive, chosen, show=show)
        _unpack(result, output, release)
        return _finish(output, chosen, release, result)
    finally:
        if keep:
            shutil.move(work, output.with_name(output.name + ".work"))
        else:
            shutil.rmtree(work, ignore_errors=True)


def _data_disk(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(_DATA_DISK)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True, capture_output=True)


def _unpack(result: Boot, output: Path, release: str) -> None:
    if "@@TAR-DONE" not in result.console:
        why = "did not end in time" if result.timed_out else "stopped"
        tail = "\n".join(result.console.strip().split("\n")[-12:])
        raise InputError(f"the guest with {release}", f"it {why} before it had written the recording:\n{tail}",
                         "a guest that runs to its end",
                         "a panic, or a kernel without what the scenario needs; -v shows how far it came")  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(result.disk, "r:") as tar:
            for member in tar:
                if member.isfile() and member.size <= _LARGEST:
                    tar.extract(member, output, filter="data")
    except tarfile.TarError as error:
        raise InputError(f"the guest with {release}", f"a tar that cannot be unpacked ({error})",
                         "the tar of the recording") from None  # fmt: skip


def _finish(output: Path, chosen: Scenario, release: str, result: Boot) -> LabReport:
    """Add what only the host knows, and compress what is large."""
    path = output / "meta.json"
    meta = json.loads(path.read_text("utf-8", "replace"))
    meta |= {"emulator": "qemu TCG", "qemu_memory_args": list(chosen.memory), "qemu_monitor_log": result.requests,
             "timed_out": result.timed_out, "wall_seconds": round(result.seconds, 1)}  # fmt: skip
    path.write_text(json.dumps(meta, indent=1) + "\n")
    (output / "console.txt").write_text(result.console)
    for file in output.iterdir():
        if file.name.startswith("walk-") and file.suffix == ".txt":
            _compress(file, lzma.compress(file.read_bytes()), ".xz")
        elif file.name != "meta.json" and file.suffix != ".gz" and file.stat().st_size > _KEEP_PLAIN:
            _compress(file, gzip.compress(file.read_bytes(), mtime=0), ".gz")
    return LabReport(str(output), release, round(result.seconds, 1), bool(meta.get("complete")) and not result.timed_out,
                     int(meta.get("lost_events", 0)))  # fmt: skip


def _compress(path: Path, data: bytes, suffix: str) -> None:
    path.with_name(path.name + suffix).write_bytes(data)
    path.unlink()
