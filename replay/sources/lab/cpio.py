"""Writes an initramfs: an archive in the "newc" form of cpio, which the kernel unpacks."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

__all__ = ("write_initramfs",)

_TRAILER = "TRAILER!!!"


def write_initramfs(root: Path, output: Path) -> None:
    """Pack a folder, in a fixed order and without times, so that the same folder gives the same bytes.

    Args:
        root: the folder that becomes ``/``; directories, regular files and symbolic links.
        output: the archive, compressed with gzip.
    """
    found = sorted(p for p in root.rglob("*"))
    with output.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as out:
        for number, path in enumerate(found, 1):
            mode = path.lstat().st_mode
            data = b""
            if stat.S_ISLNK(mode):
                data = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(mode):
                data = path.read_bytes()
            out.write(_entry(number, str(path.relative_to(root)), mode, data))
        out.write(_entry(0, _TRAILER, 0, b""))


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    encoded = os.fsencode(name) + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
