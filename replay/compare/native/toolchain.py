"""The system's C compiler: finding it, compiling with it, and saying what it said."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from replay.compare.native.errors import CompileError
from replay.compare.native.layout import Target
from replay.errors import UsageError

__all__ = ("BUILT_IN", "FLAGS", "Build", "Compiler", "line_of")

_HERE = Path(__file__).with_name("c")
BUILT_IN = {name: _HERE / f"{name}.c" for name in ("v4.18", "v5.11", "v5.12")}
# As a kernel is compiled where it matters: O2, no type-based aliasing, signed overflow wraps.
FLAGS = ("-O2", "-g", "-std=gnu11", "-fno-strict-aliasing", "-fwrapv", "-fno-semantic-interposition", "-Wall")
_NOT_ONLY_WARNINGS = ("implicit-function-declaration", "implicit-int", "int-conversion", "return-type")
_COMPILE_SECONDS = 60.0
_SHOWN = 4000  # characters of the compiler's output that are kept


@dataclass(frozen=True)
class Compiler:
    """A C compiler.

    Attributes:
        command: its words, options of ``$CC`` included.
        version: the first line that it says of itself.
    """

    command: tuple[str, ...]
    version: str

    @classmethod
    def find(cls) -> Compiler:
        """Return ``$CC``, or the first of cc, gcc and clang that there is.

        Raises:
            UsageError: there is none.
        """
        own = os.environ.get("CC", "").strip()
        for words in [shlex.split(own)] if own else [["cc"], ["gcc"], ["clang"]]:
            if path := shutil.which(words[0]):
                return _asked((path, *words[1:]))
        tried = f"$CC is {own!r}, which is not there" if own else "neither cc nor gcc nor clang is in PATH"
        raise UsageError(f"a candidate in C needs a C compiler, and {tried}; install gcc or clang, or set CC")

    def run(self, arguments: list[str], source: object) -> str:
        """Compile; return the warnings.

        Args:
            arguments: of the compiler.
            source: file to name in errors.

        Raises:
            CompileError: it fails.
        """
        process = subprocess.Popen(  # noqa: S603 - the user's compiler, asked for by the user
            [*self.command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        try:
            _, answer = process.communicate(timeout=_COMPILE_SECONDS)
        except BaseException as stop:
            os.killpg(process.pid, signal.SIGKILL)  # compilers start others, which would go on
            process.communicate()
            if isinstance(stop, subprocess.TimeoutExpired):
                raise CompileError(source, f"no end of compiling after {_COMPILE_SECONDS:g} s", "") from None
            raise
        said = answer.decode(errors="replace").strip()
        if process.returncode:
            lines = [
                line
                for line in said.splitlines()
                if re.search(r"error: |undefined reference|multiple definition", line)
            ]
            first = (lines or said.splitlines() or [f"exit code {process.returncode} of {self.command[0]}"])[0]
            raise CompileError(source, first.strip(), said[:_SHOWN])
        return said[:_SHOWN]


@cache
def _asked(command: tuple[str, ...]) -> Compiler:
    done = subprocess.run(  # noqa: S603
        [*command, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_COMPILE_SECONDS, check=False
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or not lines:
        raise UsageError(f"{' '.join(command)} does not work as a C compiler: --version fails")
    return Compiler(command, lines[0])


class Build:
    """A candidate and perhaps a baseline, compiled for one machine.

    It is in a temporary folder that goes away with this object.

    Args:
        sources: the candidate's file, and the baseline's.
        target: machine and kernel.
        compiler: to compile with.

    Attributes:
        target: as given.
        driver: the executable of the child process.
        objects: the shared objects, in the order of the sources.
        warnings: what the compiler said about the candidate.

    Raises:
        CompileError: the compiler refuses a file.
    """

    def __init__(self, sources: list[Path], target: Target, compiler: Compiler) -> None:
        self.target = target
        folder = Path(tempfile.mkdtemp(prefix="replay-native-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        machine = folder / "machine.h"
        machine.write_text(target.header())
        strict = [f"-Werror={name}" for name in _NOT_ONLY_WARNINGS]
        common = [*FLAGS, *strict, f"-I{_HERE}", "-include", str(machine)]
        said = []
        self.objects: list[Path] = []
        for number, source in enumerate(sources):
            made = folder / f"{number}.so"
            linked = ["-fPIC", "-shared", "-Wl,-z,defs", "-Wl,-z,now", "-o", str(made)]
            said.append(compiler.run([*common, *linked, "-x", "c", _as_path(source), str(_HERE / "glue.c")], source))
            self.objects.append(made)
        self.warnings = said[0]
        self.driver = folder / "driver"
        compiler.run([*common, "-o", str(self.driver), str(_HERE / "driver.c"), "-ldl"], "driver.c")


def _as_path(source: Path) -> str:
    """Return a path that no compiler takes for an option."""
    return f"./{source}" if str(source).startswith("-") else str(source)


def line_of(shared_object: Path, offset: int) -> str:
    """Return ``file:line`` of an instruction in a shared object, or ``""`` where that cannot be said."""
    tool = shutil.which("addr2line")
    if tool is None:
        return ""
    done = subprocess.run(  # noqa: S603
        [tool, "-e", str(shared_object), hex(offset)], capture_output=True, timeout=_COMPILE_SECONDS, check=False
    )
    said = done.stdout.decode(errors="replace").strip().partition(" (")[0]
    return "" if done.returncode or said.startswith("??") or said.endswith((":?", ":0")) else said
