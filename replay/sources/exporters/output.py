"""Files that appear under their name when they are complete, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from replay.errors import UsageError

__all__ = ("complete_file",)


@contextmanager
def complete_file(path: str) -> Iterator[str]:
    """Yield the name of a temporary file beside a path, which takes its place when the block ends without an error.

    Raises:
        UsageError: the file cannot be written there.
    """
    if os.path.lexists(path) and not os.path.isfile(path):
        raise UsageError(f"{path}: cannot be written (it is there and is no regular file)")
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
