"""Facts about a kernel image that can be told without booting it."""

from __future__ import annotations

import struct
from pathlib import Path

from replay.errors import InputError

__all__ = ("modules_folder", "release_of")

# The setup header of a bzImage: where its magic and the pointer to the version text are.
_MAGIC_AT, _MAGIC, _VERSION_AT, _TEXT_BASE = 0x202, b"HdrS", 0x20E, 0x200


def release_of(image: Path) -> str:
    """Return the release of a bzImage, as ``uname -r`` would say it.

    Raises:
        InputError: the file cannot be read or is no bzImage.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise InputError(image, error.strerror or str(error), "a kernel image (bzImage)") from None
    if head[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise InputError(image, "no setup header", "a kernel image (bzImage) for x86", "give the file called vmlinuz")
    (offset,) = struct.unpack_from("<H", head, _VERSION_AT)
    text = head[_TEXT_BASE + offset :].split(b"\0", 1)[0].decode("ascii", "replace").split()
    if not offset or not text:
        raise InputError(image, "a setup header without a version", "a kernel image that says its release")
    return text[0]


def modules_folder(image: Path, release: str, given: Path | None) -> Path:
    """Return the folder that holds ``kernel/`` with the modules of a release.

    Args:
        image: the kernel image.
        release: its release.
        given: what the user gave: that folder, or one that holds it by its release.

    Raises:
        InputError: there is no such folder.
    """
    near = [image.parent.parent / "lib/modules", image.parent.parent / "usr/lib/modules", Path("/lib/modules")]
    tried = [given] if given else near
    for folder in tried:
        for candidate in (folder / release, folder):
            if (candidate / "kernel").is_dir() and (candidate.name == release or given):
                return candidate
    raise InputError(
        given or near[0], f"no modules of {release}", f"a folder {release}/kernel",
        "give it with --modules; distributions ship it in the kernel's package",
    )  # fmt: skip
