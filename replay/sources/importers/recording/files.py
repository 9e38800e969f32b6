"""Files of a recording folder: each may be plain, ``.gz`` or ``.xz``."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replay.errors import InputError

__all__ = ("Folder",)

_READERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}


class Folder:
    """A recording folder.

    Args:
        path: the folder.

    Raises:
        InputError: it is not a folder, or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise InputError(path, "no such folder", "a recording folder", "give the folder that holds trace.txt")
        self._names = sorted(p.name for p in path.iterdir())
        if not self._names:
            raise InputError(path, "an empty folder", "a recording folder", "give the folder that holds trace.txt")

    def find(self, name: str) -> Path | None:
        """Return the file of that name, compressed or not, or None."""
        for suffix in _READERS:
            if name + suffix in self._names:
                return self.path / (name + suffix)
        return None

    def matching(self, prefix: str, suffix: str) -> list[str]:
        """Return the names (without compression suffix) that start and end so, sorted."""
        plain = {n.removesuffix(".gz").removesuffix(".xz") for n in self._names}
        return sorted(n for n in plain if n.startswith(prefix) and n.endswith(suffix))

    def data(self, name: str, what: str) -> bytes:
        """Return the content of a file that a recording must have.

        Args:
            name: file name without compression suffix.
            what: what the file says, for the error.

        Raises:
            InputError: the file is missing or its compression is damaged.
        """
        path = self.find(name)
        if path is None:
            raise InputError(self.path / name, "no such file", what, "a recording without it cannot be imported")
        try:
            return _READERS[path.suffix if path.suffix in _READERS else ""](path.read_bytes())
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(path, f"damaged content ({error})", "a whole file", "copy the recording again") from None

    def text(self, name: str, what: str) -> str:
        """Return the text of a file that a recording must have."""
        return self.data(name, what).decode("utf-8", "replace")

    def optional(self, name: str) -> str:
        """Return the text of a file, or ``""`` where the recording does not have it."""
        return self.text(name, name) if self.find(name) else ""

    def json(self, name: str, what: str) -> dict[str, Any]:
        """Return the object in a JSON file that a recording must have."""
        try:
            value = json.loads(self.text(name, what))
        except (ValueError, RecursionError) as error:
            raise InputError(self.path / name, f"text that is not JSON ({error})", what) from None
        if not isinstance(value, dict):
            raise InputError(self.path / name, f"JSON of type {type(value).__name__}", "an object")
        return value
