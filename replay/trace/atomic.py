"""Arrow files that appear under their name when they are complete, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import pyarrow as pa

from replay.errors import UsageError

__all__ = ("AtomicArrowFile",)


class AtomicArrowFile:
    """An Arrow IPC file that is written beside its place, synced, and renamed.

    After any error the temporary file is gone, and this can be neither continued nor finished.

    Args:
        path: the file; an existing one is replaced at the end.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._temporary = ""
        self._file: IO[bytes] | None = None
        self._arrow: Any = None

    @property
    def is_open(self) -> bool:
        """Whether record batches can be written."""
        return self._file is not None

    def open(self, schema: pa.Schema, options: pa.ipc.IpcWriteOptions | None = None) -> None:
        """Begin the temporary file.

        Raises:
            UsageError: no file can be written there.
        """
        # Renaming over a device such as /dev/null would take it away.
        if os.path.lexists(self.path) and not os.path.isfile(self.path):
            raise UsageError(f"{self.path}: cannot be written (it is there and is no regular file)")
        folder, name = os.path.split(self.path)
        temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
        with self.guarded():
            self._file = open(temporary, "x+b")  # noqa: SIM115 - closed by finish or discard
            self._temporary = temporary
            self._arrow = pa.ipc.new_file(self._file, schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a record batch.

        Raises:
            UsageError: the system refuses, as on a full disk.
        """
        with self.guarded():
            self._arrow.write_batch(batch)

    def finish(self, complete: Callable[[IO[bytes], str], None] | None = None) -> None:
        """Put the file in its place, for good.

        Args:
            complete: is called with the Arrow file, complete but for what this changes in it, and its present name.

        Raises:
            UsageError: the system refuses, as on a full disk.
        """
        with self.guarded():
            arrow, self._arrow = self._arrow, None  # closing it twice would write a second footer
            arrow.close()
            assert self._file is not None
            self._file.flush()
            if complete is not None:
                complete(self._file, self._temporary)
                self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            self._temporary, self._file = "", None
            _sync_folder(os.path.dirname(self.path) or ".")

    def discard(self) -> None:
        """Remove what did not get to its place; nothing happens after ``finish``."""
        arrow, file, self._arrow, self._file = self._arrow, self._file, None, None
        if arrow is not None:
            with suppress(pa.lib.ArrowException, OSError, ValueError):
                arrow.close()
        if file is not None:
            with suppress(OSError):
                file.close()
        if self._temporary:
            with suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = ""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Discard the file if anything in here fails; what the system refuses becomes a UsageError."""
        try:
            yield
        except OSError as error:
            self.discard()
            raise UsageError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        except BaseException:
            self.discard()
            raise


def _sync_folder(path: str) -> None:
    """Make the renaming last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
