"""What the commands share: the JSON envelope, errors, progress, numbers."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from replay.errors import InputError, ReplayError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = (
    "ENVELOPE_VERSION",
    "Diagnostics",
    "add_command",
    "console",
    "count_of",
    "emit_json",
    "number",
    "progress_on_stderr",
    "refuse_same_file",
    "warn",
)

ENVELOPE_VERSION = 1


def add_command(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Register a command under a name, with its docstring as help.

    The first paragraph also stands in the list of commands. Indented paragraphs are examples: they are not wrapped, so
    that they can be copied. Help is plain text, because what draws boxes takes as long to load as all the rest.
    """
    paragraphs = re.sub(r"\[/?bold\]", "", inspect.getdoc(function) or "").split("\n\n")
    text = "\n\n".join(f"\b\n{part}" if part.startswith(" ") else part for part in paragraphs)
    app.command(name, help=text, short_help=paragraphs[0])(function)


def console() -> Console:
    """Return the console for answers (stdout); colours only on a terminal, and not with NO_COLOR."""
    from rich.console import Console

    # Without a terminal there is no width to keep to: tables are printed as wide as they are.
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False, soft_wrap=False)


def number(what: str, text: str) -> int:
    """Return a number given as decimal or with 0x.

    Raises:
        UsageError: it is no such number.
    """
    try:
        found = int(text, 0)
    except ValueError:
        found = -1
    if found < 0:
        raise UsageError(f"{what} {text!r}; needed a number such as 74 or 0x11c000")
    return found


def count_of(option: str, given: str) -> int:
    """Return a number of workers or threads; 0 stands for one per core."""
    if given == "auto":
        return 0
    if not given.isdecimal():
        raise UsageError(f"--{option} {given}: needed a number, or auto for one per core")
    return int(given)


def refuse_same_file(outputs: Mapping[str, Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write over what is read, or two things to the same file.

    Args:
        outputs: option to the file that is written, None if it is not given.
        inputs: files, "-" for standard input, names of kernels: those of candidates are files too; None is nothing.

    Raises:
        UsageError: an output is one of the inputs, or another output, by whatever name.
    """
    read = [str(one) for one in inputs if one is not None]
    read += [name.rpartition(":")[0] for name in read if ".py:" in name]
    seen: dict[str, str] = {}
    for option, output in outputs.items():
        if output is None:
            continue
        for one in read:
            if output.exists() and os.path.exists(one) and output.samefile(one):
                raise UsageError(f"{option} {output} is a file that is read ({one}); give it a file of its own")
        other = seen.setdefault(os.path.realpath(output), option)
        if other != option:
            raise UsageError(f"{option} and {other} are the same file ({output}); give each one of its own")


def warn(text: str) -> None:
    """Print a warning to stderr."""
    print(f"replay: warning: {text}", file=sys.stderr)


class Diagnostics:
    """What should be known beside the answer: a list for ``--json``, lines on stderr for people."""

    def __init__(self) -> None:
        self.found: list[dict[str, object]] = []

    @classmethod
    def of(cls, error: ReplayError) -> Diagnostics:
        """Return an error alone."""
        found = cls()
        found.error(error)
        return found

    def warning(self, where: object, message: str) -> None:
        """Note what may make the answer less than it seems, and the file or kernel that it is about."""
        self.found.append({"level": "warning", "message": message, "where": str(where)})

    def warnings(self, where: object, messages: Iterable[str]) -> None:
        """Note several of them about the same file or kernel."""
        for message in messages:
            self.warning(where, message)

    def error(self, error: ReplayError) -> None:
        """Note what could not be done, as an input could not be used while others could."""
        message = " ".join(str(error).split())
        where = error.where if isinstance(error, InputError) else ""
        self.found.append({"level": "error", "message": message, "where": where})

    def errors(self, errors: Iterable[InputError]) -> None:
        """Note several of them."""
        for error in errors:
            self.error(error)

    def passed_over(self, files: Mapping[str, str]) -> None:
        """Note files in folders that are no traces: path to what they are."""
        for path, what in files.items():
            self.warning(path, f"passed over: {what}")

    def lost(self, trace: str, events: int) -> None:
        """Note that the recorder of a trace lost events."""
        if events:
            self.warning(trace, f"the recorder lost {events} events; what depends on them may be wrong")

    def tell(self) -> None:
        """Print them to stderr."""
        for one in self.found:
            # The message of an error says where by itself.
            text = one["message"] if one["level"] == "error" else f"{one['where']}: {one['message']}"
            print(f"replay: {one['level']}: {text}", file=sys.stderr)


def emit_json(command: str, status: str, data: Any, diagnostics: Diagnostics | None = None) -> None:  # noqa: ANN401
    """Print the envelope that every command with ``--json`` answers with.

    Args:
        command: name of the command.
        status: "ok", "differs" or "error".
        data: the answer.
        diagnostics: what else should be known.
    """
    envelope = {
        "version": ENVELOPE_VERSION,
        "command": command,
        "status": status,
        "data": data,
        "diagnostics": [] if diagnostics is None else diagnostics.found,
    }
    json.dump(envelope, sys.stdout, indent=2)
    sys.stdout.write("\n")


@contextmanager
def progress_on_stderr(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr if that is a terminal; yields a function to be told (done, in all)."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1)
        yield lambda done, total: bar.update(task, completed=done, total=max(total, 1))
