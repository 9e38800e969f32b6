"""Puts together what the guest runs: busybox, the tools, the recorder, the scenario, kernel modules."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from replay.errors import InputError
from replay.sources.lab.cpio import write_initramfs
from replay.sources.lab.scenarios import Scenario, script

__all__ = ("PACKAGES", "build_initramfs", "missing_programs")

_GUEST = Path(__file__).parent / "guest"
_RECORDER = Path(__file__).parent.parent / "record" / "capture.sh"
PACKAGES = "qemu-system-x86 busybox-static kmod ndctl daxctl e2fsprogs gcc libc6-dev"
_HOST = ("qemu-system-x86_64", "busybox", "gcc", "depmod", "mkfs.ext4")
_TOOLS = (
    "ndctl",
    "daxctl",
    "mkfs.ext4",
    "mkfs.xfs",
    "kmod",
    "stty",
    "mawk",
)  # copied into the guest, where there are any
_MODULES = (
    "virtio_pci", "virtio_blk", "virtio_mem", "libnvdimm", "nd_btt", "nd_pmem", "nd_e820", "nfit", "dax", "dax_pmem",
    "dax_pmem_core", "device_dax", "kmem", "dax_hmem", "hwpoison_inject", "ext4", "crc32c_generic", "libcrc32c",
    "crc16", "mbcache", "jbd2", "crc32c_intel",
)  # fmt: skip
_FOLDERS = "bin sbin lib lib64 usr/bin usr/sbin etc proc sys dev tmp out mnt scn run var/run root"
_COMPRESSED = (".ko.xz", ".ko.zst", ".ko.gz")


def missing_programs() -> list[str]:
    """Return the programs that the lab needs on this machine and that are not installed."""
    return [name for name in _HOST if shutil.which(name) is None]


def build_initramfs(work: Path, release: str, modules: Path, chosen: Scenario) -> Path:
    """Build the initramfs for a kernel and a scenario.

    Args:
        work: folder for intermediate and resulting files.
        release: of the kernel.
        modules: its modules folder.
        chosen: the scenario.

    Returns:
        The archive.

    Raises:
        InputError: a program fails, or a module cannot be read.
    """
    root = work / "root"
    for folder in _FOLDERS.split():
        (root / folder).mkdir(parents=True, exist_ok=True)
    _copy_program("busybox", root)
    (root / "bin/sh").symlink_to("busybox")
    for tool in _TOOLS:
        if shutil.which(tool):
            _copy_program(tool, root)
    (root / "sbin/modprobe").symlink_to("../bin/kmod")
    _run("gcc", "-static", "-O2", "-o", root / "bin/lab", *sorted((_GUEST / "tool").glob("*.c")))
    (root / "etc/mtab").touch()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    if Path("/etc/mke2fs.conf").exists():
        shutil.copy("/etc/mke2fs.conf", root / "etc")
    shutil.copy(_GUEST / "init", root / "init")
    (root / "init").chmod(0o755)
    shutil.copy(_RECORDER, root / "capture.sh")
    for file in (_GUEST / "lib.sh", _GUEST / "run", *script(chosen).parent.glob("*.sh")):
        shutil.copy(file, root / "scn")
    _copy_modules(modules, release, root, (*_MODULES, *chosen.modules))
    archive = work / "initramfs.gz"
    write_initramfs(root, archive)
    return archive


def _run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(words[0], f"exit status {done.returncode}: {done.stderr.strip()[-300:]}", "exit status 0")
    return done.stdout


def _copy_program(name: str, root: Path) -> None:
    """Copy a program and the libraries it is linked with."""
    found = Path(shutil.which(name) or name).resolve()
    shutil.copy(found, root / "bin" / name)
    linked = subprocess.run(["ldd", str(found)], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", linked):
        target = root / library.lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(library).resolve(), target)


def _copy_modules(source: Path, release: str, root: Path, wanted: Iterable[str]) -> None:
    """Copy modules and what they depend on, uncompressed, and index them."""
    stage = root.parent / "modules" / "lib/modules" / release
    stage.mkdir(parents=True, exist_ok=True)
    for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        if (source / name).exists():
            shutil.copy(source / name, stage)
    # depmod reads every module that it is shown: only those that may be needed.
    drivers = r"drivers/((nvdimm|dax|acpi|virtio|block|cxl|pci|char|gpu/drm/vgem)(/|$)|gpu/drm$)"
    near = re.compile(rf"kernel/({drivers}|(fs|lib|crypto|arch|mm)(/|$))")
    for path in source.rglob("*.ko*"):
        if near.search(str(path.relative_to(source).parent)):
            target = stage / path.relative_to(source).parent / (path.name.split(".ko")[0] + ".ko")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_module(path))
    _run("depmod", "-b", root.parent / "modules", release)
    needs = dict(line.split(":", 1) for line in (stage / "modules.dep").read_text().splitlines() if ":" in line)
    by_name = {Path(path).stem.replace("-", "_"): path for path in needs}
    chosen = {by_name[name] for name in wanted if name in by_name}
    chosen |= {need for path in tuple(chosen) for need in needs[path].split()}
    target = root / "lib/modules" / release
    for module in chosen:
        (target / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(stage / module, target / module)
    for file in stage.glob("modules.*"):
        if file.name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
            shutil.copy(file, target)
    _run("depmod", "-b", root, release)


def _module(path: Path) -> bytes:
    """Return the content of a module file, which may be compressed."""
    data = path.read_bytes()
    if path.name.endswith(".xz"):
        return lzma.decompress(data)
    if path.name.endswith((".zst", ".gz")):
        import pyarrow as pa

        with pa.input_stream(pa.BufferReader(data), compression="zstd" if path.suffix == ".zst" else "gzip") as stream:
            return bytes(stream.read())
    return data
