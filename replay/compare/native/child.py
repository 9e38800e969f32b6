"""The child process that runs a candidate: started, limited, asked, and its death explained."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import select
import signal
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from replay.compare.native.errors import CandidateError
from replay.compare.native.image import Image
from replay.compare.native.layout import CHUNK, WORK, Function
from replay.compare.native.toolchain import Build, line_of

__all__ = ("Child", "DiedError", "Limits", "Timed")

_COMMAND, _REPLY = struct.Struct("=4Q"), struct.Struct("=Qq")
_OP_START, _OP_MACHINE, _OP_CHECK, _OP_TIME = range(4)
_GRACE = 0.5  # seconds for a process that ran out of time to say where it is
_SAID = 4096  # bytes of its output that are kept
_PAGE = 4096
_STACK_STEP = 1 << 16  # further from the stack pointer no frame begins
_NOT_CANONICAL = 128  # si_code of a fault whose address x86 does not tell

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_MEANING = {
    signal.SIGSEGV: "invalid memory access",
    signal.SIGBUS: "invalid memory access",
    signal.SIGFPE: "division by zero, or another arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "abort(), as BUG_ON does",
    signal.SIGXFSZ: "too large a file written",
}


@dataclass(frozen=True)
class Limits:
    """What a candidate may take.

    Attributes:
        seconds: wall clock for 65,536 lookups.
        memory: bytes of address space beyond the machine itself.
    """

    seconds: float = 10.0
    memory: int = 1 << 30


@dataclass(frozen=True)
class Timed:
    """Samples of one piece of lookups.

    Attributes:
        nanoseconds: per call; rounds x contenders.
        cycles: per call, or None where the machine does not give them.
    """

    nanoseconds: NDArray[np.float64]
    cycles: NDArray[np.float64] | None


class DiedError(CandidateError):
    """The child process ended, or had to be ended.

    Attributes:
        at: lookup of the chunk that it was at, None outside of lookups.
    """

    at: int | None = None


class Child:
    """One process with a candidate, and perhaps a baseline.

    Args:
        build: what it runs.
        source: the candidate's file, for errors.
        limits: what it may take.
        swapped: let the baseline take the candidate's place, and the candidate the baseline's.

    Attributes:
        defines: functions that the first of the two defines.
        others: functions that the second defines.
        cycles_missing: why there are no cycles, or "".

    Raises:
        DiedError: it does not come up: code that runs before anything is asked for (constructors) fails.
    """

    def __init__(self, build: Build, source: object, limits: Limits, *, swapped: bool = False) -> None:
        self._objects = build.objects[::-1] if swapped else build.objects
        self._source, self._limits, self._target = source, limits, build.target
        self._image_fd, self._work_fd = os.memfd_create("machine"), os.memfd_create("work")
        self._image_size = 0
        self._told: list[int] = []  # commands that are not answered yet
        os.ftruncate(self._work_fd, WORK.itemsize)
        self._map = mmap.mmap(self._work_fd, WORK.itemsize)
        self._work = np.frombuffer(self._map, WORK)[0]
        theirs, self._commands = os.pipe()
        self._replies, answers = os.pipe()
        descriptors = (theirs, answers, self._image_fd, self._work_fd)
        self._said = bytearray()
        self._process = subprocess.Popen(  # noqa: S603 - what the user asked to have run
            [str(build.driver), *map(str, descriptors), *map(str, self._objects)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,
            bufsize=0,
        )
        os.close(theirs)
        os.close(answers)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._restrict(0)
        try:
            self._answer(_OP_START, limits.seconds)
        except BaseException:
            self.close()
            raise
        self.defines, self.others = (
            frozenset(f for f in Function if int(self._work["defines"][which]) >> f & 1) for which in (0, 1)
        )
        why = int(self._work["cycles_errno"])
        self.cycles_missing = f"perf_event_open: {os.strerror(why)}" if why else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def said(self) -> str:
        """The beginning of what the candidate printed."""
        return self._said.decode(errors="replace")

    def close(self) -> None:
        """End the process, and whatever it started."""
        self._kill()
        self._process.wait()
        self._reader.join(_GRACE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        for descriptor in (self._commands, self._replies, self._image_fd, self._work_fd):
            os.close(descriptor)

    def machine(self, image: Image) -> None:
        """Let the lookups that follow see this machine. It is built while they are made ready; nobody waits for it."""
        while self._told:  # it may be reading the image before
            self._answer(self._told.pop(0), self._limits.seconds)
        data = image.numbers.tobytes()
        if len(data) > self._image_size:
            self._image_size = len(data)
            os.ftruncate(self._image_fd, self._image_size)
            self._restrict(self._room_for(image))
        os.pwrite(self._image_fd, data, 0)
        self._tell(_OP_MACHINE, len(data), 0, 0)

    def check(self, function: Function, pfns: U64, pagemaps: U64 | None) -> tuple[U8, int]:
        """Let the candidate answer lookups.

        Args:
            function: which one.
            pfns: at most CHUNK of them.
            pagemaps: position in the image for each, where the function takes one.

        Returns:
            0 NULL or no, 1 page or yes, 2 a page of another pfn; a view that the next call overwrites. And how many
            pagemap references it kept (negative: gave back without having taken).

        Raises:
            DiedError: it did not survive, or took too long.
        """
        self._hand_over(pfns, pagemaps)
        kept = self._ask(_OP_CHECK, pfns.size, function, 0, self._limits.seconds)
        return self._work["answer"][: pfns.size], kept

    @property
    def nanoseconds(self) -> int:
        """What the last check took, roughly."""
        return int(self._work["nanoseconds"])

    def time(self, function: Function, pfns: U64, pagemaps: U64 | None, rounds: int) -> Timed:
        """Time lookups that ``check`` went through; ``rounds`` samples of each contender, one after the other by turns."""
        self._hand_over(pfns, pagemaps)
        limit = (3 * rounds + 6) * self._limits.seconds
        calls = self._ask(_OP_TIME, pfns.size, function, rounds, limit)
        cycles = None if self.cycles_missing else self._work["cycles"][:rounds] / calls
        if cycles is not None and not cycles.any():
            self.cycles_missing, cycles = "the cycle counter stands still", None
        return Timed(self._work["seconds"][:rounds] / calls * 1e9, cycles)

    def _hand_over(self, pfns: U64, pagemaps: U64 | None) -> None:
        assert pfns.size <= CHUNK
        self._work["pfn"][: pfns.size] = pfns
        if pagemaps is not None:
            self._work["pgmap"][: pfns.size] = pagemaps

    def _ask(self, op: int, count: int, function: int, rounds: int, seconds: float) -> int:
        self._tell(op, count, function, rounds)
        while len(self._told) > 1:
            self._answer(self._told.pop(0), self._limits.seconds)
        return self._answer(self._told.pop(), seconds)

    def _tell(self, op: int, count: int, function: int, rounds: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # its death shows when the answer does not come
            os.write(self._commands, _COMMAND.pack(op, count, function, rounds))
        self._told.append(op)

    def _answer(self, op: int, seconds: float) -> int:
        """Return the value of the reply to ``op``."""
        end = time.monotonic() + seconds
        got = b""
        while len(got) < _REPLY.size:
            left = max(end - time.monotonic(), 0)
            if not select.select([self._replies], [], [], left)[0]:
                raise self._too_slow(op, seconds)
            part = os.read(self._replies, _REPLY.size - len(got))
            if not part:
                raise self._died(op)
            got += part
        echo, value = _REPLY.unpack(got)
        if echo != op:
            hint = "it must leave descriptors alone that it did not open"
            raise self._explained(op, "an answer that makes no sense", hint)
        return int(value)

    def _too_slow(self, op: int, seconds: float) -> DiedError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGXCPU)  # it says where it is, and ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        return self._explained(op, f"no end after {seconds:g} s{self._place()}", "an endless loop? or give it longer")

    def _died(self, op: int) -> DiedError:
        gone, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        end = time.monotonic() + _GRACE
        while not gone:
            if time.monotonic() > end:
                return self._explained(op, "descriptors closed that it did not open", "")
            time.sleep(0.001)
            gone, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._reader.join(_GRACE)
        code = self._process.returncode
        if code >= 0:
            said = self.said.strip().splitlines()
            hint = f"it said: {said[-1][:200]}" if said else ""
            return self._explained(op, f"the process ended by itself, with exit code {code}", hint)
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        meaning = _MEANING.get(signal.Signals(-code), "") if -code in set(signal.Signals) else ""
        if -code in {signal.SIGSEGV, signal.SIGBUS} and int(self._work["signal"]) == -code:
            meaning = _access(*(int(self._work[name]) for name in ("code", "address", "stack")))
        hint = ""
        if usage.ru_maxrss << 10 > self._limits.memory // 2:
            limit, taken = self._limits.memory >> 20, usage.ru_maxrss >> 10
            hint = f"it had taken {taken} MiB; it may take {limit} MiB, then malloc returns NULL"
        return self._explained(op, f"{name}{f' ({meaning})' if meaning else ''}{self._place()}", hint)

    def _explained(self, op: int, found: str, hint: str) -> DiedError:
        error = DiedError(self._source, found, "code that answers every lookup", hint)
        if op == _OP_CHECK:
            error.at = int(self._work["at"])
        return error

    def _place(self) -> str:
        """Return `` at file:line`` of where a signal met the process, as far as that can be said."""
        instruction = int(self._work["instruction"])
        if not instruction:
            return ""
        for base, shared_object in zip(self._work["base"].tolist(), self._objects, strict=False):
            if base and instruction >= base and (line := line_of(shared_object, instruction - base)):
                return f" at {_shortened(line)}"
        return ""

    def _room_for(self, image: Image) -> int:
        """Return more bytes than the child needs to build a machine."""
        roots = min(int(image.numbers[0]), self._target.nr_roots)
        return 24 * self._image_size + 2 * roots * (1 << self._target.geometry.page_shift)

    def _restrict(self, extra: int) -> None:
        """Limit what the process may take."""
        own = 64 << 20  # section table, libraries, stacks
        limits = {
            resource.RLIMIT_AS: self._limits.memory + own + WORK.itemsize + extra,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: 16 << 20,
        }
        for what, value in limits.items():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _, most = resource.prlimit(self._process.pid, what)
                wanted = value if most == resource.RLIM_INFINITY else min(value, most)
                resource.prlimit(self._process.pid, what, (wanted, most))

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        """Keep the beginning of what it prints, and let the rest go: it must never have to wait for us."""
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while part := self._process.stdout.read(65536):
                self._said += part[: _SAID - len(self._said)]


def _access(code: int, address: int, stack: int) -> str:
    """Return what an access to an address means."""
    if code == _NOT_CANONICAL:
        return "an address that no memory can have; a struct page is an address only, with nothing in it"
    if address < _PAGE:
        return f"NULL pointer, address {address:#x}"
    if abs(address - stack) < _STACK_STEP:
        return "stack overflow"
    return f"invalid memory access, address {address:#x}; the machine can be read only"


def _shortened(line: str) -> str:
    """Return ``file:line`` with the path as one would type it."""
    path, _, number = line.rpartition(":")
    with contextlib.suppress(ValueError):
        path = str(Path(path).relative_to(Path.cwd()))
    return f"{path}:{number}"
