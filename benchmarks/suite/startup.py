"""What a user waits for before anything is replayed: imports and commands, in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import ROOT
from .common import Timed, needed

TRACE = ROOT / "traces" / "recorded" / "5.10.223-s1-walk-boot.arrow"
_MAIN = "import sys; from replay.cli.main import main; main(sys.argv[1:])"


def _share_package() -> None:
    """Let fresh processes import the package that this one imports, also where another is installed."""
    os.environ["PYTHONPATH"] = str(Path(needed("replay", "__file__")).parents[1])


class Imports(Timed):
    """Import statements, each timed in a process of its own; the interpreter's own start is not in it."""

    def setup(self) -> None:
        needed("replay.session", "run")
        _share_package()

    def timeraw_replay(self) -> str:
        return "import replay"

    def timeraw_session(self) -> str:
        return "import replay.session"


class Commands(Timed):
    """Commands from a cold interpreter to the exit code."""

    def setup(self) -> None:
        needed("replay.cli.main", "main")
        _share_package()

    def time_help(self) -> None:
        self._command("--help", says="validate")

    def time_run(self) -> None:
        self._command("run", str(TRACE), says="compared")

    def _command(self, *arguments: str, says: str) -> None:
        done = subprocess.run([sys.executable, "-c", _MAIN, *arguments], capture_output=True, text=True, check=True)
        if says not in done.stdout:
            raise AssertionError(f"{arguments}: {done.stdout[:200]!r} says nothing of {says!r}")
