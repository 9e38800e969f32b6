"""Runs capture.sh on this machine and imports what it wrote."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from replay.errors import InputError

__all__ = ("CAPTURE", "Check", "check_machine", "record")

CAPTURE = Path(__file__).parent / "capture.sh"
_LOST = 4  # exit status of capture.sh: recorded, but events were lost
_ESSENTIAL = ("root", "lockdown", "tracefs")  # without these no event can be recorded
_USELESS = ("btf",)  # of no use without events


@dataclass(frozen=True)
class Check:
    """One thing that a recording needs.

    Attributes:
        what: its name.
        state: "ok" or "missing".
        detail: why it is missing, or where it is.
    """

    what: str
    state: str
    detail: str


def check_machine() -> list[Check]:
    """Return what capture.sh can use on this machine, and what it cannot; records nothing."""
    done = subprocess.run(["sh", str(CAPTURE), "check"], capture_output=True, text=True, check=False)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [Check(*row) for row in rows if len(row) == 3]


def record(
    folder: Path,
    *,
    seconds: int | None = None,
    walks: bool = False,
    images: bool = False,
    buffer_kb: int | None = None,
    name: str = "",
    command: Sequence[str] = (),
    say: Callable[[str], None] = lambda _line: None,
) -> None:
    """Record until the command ends, the time is over, or Ctrl-C.

    Args:
        folder: recording folder to write; must not exist or be empty.
        seconds: how long.
        walks: record pfn lookups too.
        images: copy /proc/kpageflags and /proc/kpagecount before and after.
        buffer_kb: ring buffer per cpu; default: what capture.sh finds fit.
        name: what the recording is called.
        command: program and arguments to run meanwhile.
        say: called with each line that the recorder, or the command, writes.

    Raises:
        InputError: this machine cannot be recorded. The message says what is missing and what can be had.
    """
    refuse_unless_recordable(check_machine())
    words = ["sh", str(CAPTURE), "-o", str(folder)]
    for option, value in (("-d", seconds), ("-b", buffer_kb), ("-n", name or None)):
        words += [] if value is None else [option, str(value)]
    words += [option for option, wanted in (("-w", walks), ("-k", images)) if wanted]
    with subprocess.Popen([*words, "--", *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        said = _follow(run, say)
    if run.returncode not in (0, _LOST) and not (folder / "meta.json").exists():
        raise InputError(
            "this machine", f"a recorder that stopped with status {run.returncode}: {said[-300:].strip()}",
            "a recording", "the lines above the last say which probes were refused",
        )  # fmt: skip


def refuse_unless_recordable(checks: Sequence[Check]) -> None:
    """Raise an InputError when no event can be recorded, with what is missing and what can still be captured."""
    missing = [check for check in checks if check.state != "ok"]
    if checks and not any(check.what in _ESSENTIAL for check in missing):
        return
    rest = [check.what for check in checks if check.state == "ok" and check.what not in _ESSENTIAL + _USELESS]
    raise InputError(
        "this machine",
        "; ".join(f"no {check.what}: {check.detail}" for check in missing) or "a recorder that does not run",
        "root, tracefs with kprobe_events, and a kernel that is not locked down",
        f"still to be had without events: {', '.join([*rest, 'iomem', 'zones', 'sysctls'])}, by "
        f"`sh {CAPTURE} -s -o FOLDER`",
    )


def _follow(run: subprocess.Popen[str], say: Callable[[str], None]) -> str:
    """Pass on what the recorder says until it ends. Ctrl-C reaches it by itself; it then closes the recording."""
    said = ""
    assert run.stderr is not None
    while True:
        with suppress(KeyboardInterrupt):
            for line in run.stderr:
                said += line
                say(line.rstrip("\n"))
            run.wait()
            return said
