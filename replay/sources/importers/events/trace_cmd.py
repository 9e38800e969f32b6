"""trace.dat of trace-cmd -> a trace file, by way of what ``trace-cmd report`` prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from replay.errors import InputError, UsageError
from replay.sources.importers.rejects import Rejects
from replay.sources.importers.streaming import Block, blocks_of

from .assembly import ImportReport
from .text import EventOptions, import_text_blocks

__all__ = ("import_trace_cmd",)

_MAGIC = b"\x17\x08\x44tracing"
_UNAME = re.compile(r"^Linux \S+ (\d\S{0,63}) (\S+)", re.M)
_UNAME_BYTES = 1 << 16


def import_trace_cmd(
    path: Path,
    output: str | os.PathLike[str],
    options: EventOptions,
    rejects: Rejects,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Turn a trace.dat into a trace.

    Args:
        path: the file.
        output: the trace file.
        options: see there.
        rejects: takes what is not used.
        progress: is told bytes of text that were read.

    Raises:
        InputError: it is no trace.dat, or trace-cmd cannot read it.
        UsageError: trace-cmd is not installed, or nobody says which kernel it is of.
    """
    with open(path, "rb") as file:
        begin = file.read(len(_MAGIC))
    if begin != _MAGIC:
        raise InputError(path, f"a file that begins with {begin!r}", "a trace.dat of trace-cmd",
                         "text goes to `replay import ftrace`")  # fmt: skip
    program = shutil.which("trace-cmd")
    if program is None:
        raise UsageError(
            "trace-cmd is not installed; install it, or run `trace-cmd report FILE` where it is and give the text to "
            "`replay import ftrace`"
        )
    release = _release(program, path)
    with tempfile.TemporaryFile() as errors:
        # -t: all digits of the time. The file's name cannot be taken for an option behind -i.
        command = [program, "report", "-t", "-i", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL) as process:  # noqa: S603
            assert process.stdout is not None
            try:
                report = import_text_blocks(
                    _checked(process, path, rejects, errors), str(path), output, "ftrace", options, rejects, progress,
                    source="trace-cmd", release=release,
                )  # fmt: skip
            finally:
                process.kill()
    return report


def _checked(process: subprocess.Popen[bytes], path: Path, rejects: Rejects, errors: IO[bytes]) -> Iterator[Block]:
    """Yield what the program prints; its failure is an error, although there were lines before it."""
    assert process.stdout is not None
    yield from blocks_of(process.stdout, rejects)
    if process.wait():
        errors.seek(0)
        said = " ".join(errors.read(1000).decode("utf-8", "replace").split())
        raise InputError(path, f"a file that trace-cmd fails on (exit code {process.returncode}: {said or 'no message'})",
                         "a whole trace.dat", "copy it again, or use a newer trace-cmd")  # fmt: skip


def _release(program: str, path: Path) -> str:
    """Return uname -r of the machine that a file was recorded on, or "" where it does not say."""
    command = [program, "report", "--uname", "-i", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        assert process.stdout is not None
        text = process.stdout.read(_UNAME_BYTES)
        process.kill()
    found = _UNAME.search(text.decode("utf-8", "replace"))
    return found[1] if found else ""
