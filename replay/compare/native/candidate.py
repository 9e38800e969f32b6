"""A candidate in C: compiled for the machine of a trace, checked against a kernel's tables, timed against another form."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from replay.compare.native.child import Child, DiedError, Limits
from replay.compare.native.errors import CandidateError
from replay.compare.native.layout import Function, Target
from replay.compare.native.pieces import Piece, Source, kernel_function
from replay.compare.native.report import ANSWERS, FunctionReport, NativeDifference, NativeReport
from replay.compare.native.stream import TraceLookups
from replay.compare.native.timing import Sample, time_calls
from replay.compare.native.toolchain import BUILT_IN, Build, Compiler
from replay.engine.tally import MAX_DIFFERENCES
from replay.errors import UsageError
from replay.kernel.config import KernelConfig
from replay.kernel.profiles import Profile, profile
from replay.machine.geometry import Geometry
from replay.trace.reader import TraceFile

__all__ = ("NativeCandidate", "built_in_for")

# Built-in C forms by the features that bring checks of pfn_to_online_page in.
_FORMS = {
    frozenset[str](): "v4.18",
    frozenset({"pfn-valid-within"}): "v5.11",
    frozenset({"online-page-subsection-validity", "taint-zone-device"}): "v5.12",
}
_TELL_APART = frozenset().union(*_FORMS)
_MOST_SECONDS = 20.0  # that timing should take, roughly
_X86 = Geometry("x86_64", 12, 27, 46, 1 << 27)


def built_in_for(kernel: Profile) -> str | None:
    """Return the built-in C form that decides as a kernel does, None if there is none."""
    return _FORMS.get(kernel.features & _TELL_APART)


class NativeCandidate:
    """A file in C that defines lookups of the kernel.

    Nothing is compiled before it is needed: it takes the machine of a trace to do so.

    Args:
        source: the file, or the name of a built-in form ("v5.11", "v5.12").
        limits: what its code may take.

    Raises:
        UsageError: no such file, or no compiler.
    """

    def __init__(self, source: str | os.PathLike[str], *, limits: Limits | None = None) -> None:
        self.name = os.fspath(source)
        self.limits = limits or Limits()
        self._path = _path_of(self.name)
        self._compiler = Compiler.find()
        self._builds: dict[tuple[Target, str], Build] = {}

    @classmethod
    def compile(cls, source: str | os.PathLike[str], *, limits: Limits | None = None) -> NativeCandidate:
        """Return a candidate after compiling it for an x86-64 machine, so that errors show at once.

        Raises:
            UsageError: no such file, or no compiler.
            CompileError: it does not compile.
            CandidateError: it defines nothing, or its constructors fail.
        """
        candidate = cls(source, limits=limits)
        target = Target.of(_X86, KernelConfig(), profile("v5.12").features)
        with candidate._child(candidate._build(target, "")):
            return candidate

    def check(
        self,
        trace: TraceFile | str | os.PathLike[str],
        kernel: Profile | str | None = None,
        *,
        baseline: str | os.PathLike[str] | None = None,
        processes: int = 12,
        rounds: int = 5,
        most: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> NativeReport:
        """Check the candidate on every lookup of a trace, and time it.

        Args:
            trace: an open trace, or its path.
            kernel: whose tables say what is right, and who carries out the transitions; None: the trace's own.
            baseline: file or built-in form to time against; None: the form that decides as the kernel does.
            processes: to time in; 0 times nothing. Intervals are over processes; 8 are the fewest with which
                a difference can be significant.
            rounds: samples of candidate and baseline by turns, in each process.
            most: stop after so many lookups, or a few more; None: never. What was left out is said.
            progress: is told (rows done, rows in all).

        Raises:
            UsageError: the profile cannot replay this machine.
            TraceError: the trace is damaged.
            CompileError: candidate or baseline does not compile.
            CandidateError: its code dies, or does not end; or it defines none of the functions.
        """
        if not isinstance(trace, TraceFile):
            with TraceFile.open(trace) as opened:
                return self.check(
                    opened,
                    kernel,
                    baseline=baseline,
                    processes=processes,
                    rounds=rounds,
                    most=most,
                    progress=progress,
                )
        chosen = kernel if isinstance(kernel, Profile) else profile(kernel or trace.machine.kernel)
        lookups = TraceLookups(trace, chosen, progress)
        report = self.check_source(lookups, chosen, baseline=baseline, processes=processes, rounds=rounds, most=most)
        report.digest = trace.digest
        return report

    def check_source(
        self,
        source: Source,
        kernel: Profile,
        *,
        baseline: str | os.PathLike[str] | None = None,
        processes: int = 0,
        rounds: int = 5,
        most: int | None = None,
    ) -> NativeReport:
        """Check the candidate on lookups from anywhere; arguments and errors as for ``check``."""
        started = time.perf_counter()
        against = os.fspath(baseline) if baseline is not None else built_in_for(kernel) or ""
        build = self._build(source.target, against if processes else "")
        compiled = time.perf_counter()
        with self._child(build) as child:
            checked = _Checked(self.name, source, child, most)
            report = NativeReport(
                source=source.name,
                digest="",
                profile=kernel.name,
                candidate=self.name,
                baseline=against if processes else "",
                compiler=self._compiler.version,
                functions=checked.functions,
                not_asked=source.absent,
                references_kept=checked.references_kept,
                first_kept=checked.first_kept,
                complete=checked.complete,
                warnings=build.warnings,
                said=child.said,
            )
            others = child.others
        done = time.perf_counter()
        if processes:
            timings = time_calls(
                checked.samples,
                partial(self._timed_child, build),
                others,
                processes=processes,
                rounds=rounds,
                budget=_MOST_SECONDS,
                nanoseconds=checked.nanoseconds,
            )
            for function, timing in timings.items():
                report.functions[function].timing = timing
        report.seconds = {
            "compile": compiled - started,
            "check": done - compiled,
            "time": time.perf_counter() - done,
        }
        return report

    def _build(self, target: Target, baseline: str) -> Build:
        build = self._builds.get((target, baseline))
        if build is None:
            sources = [self._path, _path_of(baseline)] if baseline else [self._path]
            build = self._builds[target, baseline] = Build(sources, target, self._compiler)
        return build

    def _child(self, build: Build) -> Child:
        """Return a process to check with."""
        child = Child(build, self.name, self.limits)
        if not child.defines:
            child.close()
            names = " or ".join(f.name.lower() for f in Function)
            raise CandidateError(self.name, "none of the functions that can be checked", f"a definition of {names}")
        return child

    def _timed_child(self, build: Build, swapped: bool) -> Child:
        return Child(build, self.name, self.limits, swapped=swapped and len(build.objects) > 1)


def _path_of(source: str) -> Path:
    path = BUILT_IN.get(source) or Path(source)
    if not path.is_file():
        raise UsageError(f"{source}: no such file, nor a built-in form (there are {', '.join(BUILT_IN)})")
    return path


class _Checked:
    """All lookups of a source, answered by a candidate and compared."""

    def __init__(self, name: str, source: Source, child: Child, most: int | None) -> None:
        self.functions = {f: FunctionReport(f) for f in sorted(child.defines)}
        self.samples = {f: Sample() for f in self.functions}
        self.references_kept = 0
        self.first_kept: tuple[int, int] | None = None
        self.complete = True
        self._nanoseconds = 0
        loaded = None
        for piece in source.pieces(child.defines):
            if most is not None and self.lookups >= most:
                self.complete = False
                break
            if piece.image is not loaded:
                child.machine(piece.image)
                loaded = piece.image
            self._take(name, piece, child)

    @property
    def lookups(self) -> int:
        """Calls made."""
        return sum(f.lookups for f in self.functions.values())

    @property
    def nanoseconds(self) -> float:
        """What a call took, roughly."""
        return self._nanoseconds / max(self.lookups, 1)

    def _take(self, name: str, piece: Piece, child: Child) -> None:
        try:
            answers, kept = child.check(piece.function, piece.pfns, piece.positions)
        except DiedError as error:
            raise _located(name, error, piece) from None
        self._nanoseconds += child.nanoseconds
        if kept:
            self.first_kept = self.first_kept or (int(piece.rows[0]), int(piece.pfns[0]))
            self.references_kept += kept
        report = self.functions[piece.function]
        report.lookups += len(piece)
        self.samples[piece.function].offer(piece)
        self._count(report, piece, answers)

    @staticmethod
    def _count(report: FunctionReport, piece: Piece, answers: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        """Count verdicts, and note the lookups that differ."""
        words, checks = ANSWERS[piece.function], kernel_function(piece.function).checks
        keys = piece.check.astype(np.int64) << 8 | piece.yes << 4 | answers
        for key, n in enumerate(np.bincount(keys).tolist()):
            if n:
                report.verdicts[checks[key >> 8].id, words[key >> 4 & 15], words[key & 15]] += n
        wrong = np.flatnonzero(piece.yes != answers)
        if not wrong.size:
            return
        rows, pfns, kinds = piece.rows[wrong], piece.pfns[wrong], keys[wrong]
        joined = (rows[1:] == rows[:-1]) & (pfns[1:] == pfns[:-1] + np.uint64(1)) & (kinds[1:] == kinds[:-1])
        starts = np.flatnonzero(np.append(True, ~joined))
        ends = np.append(starts[1:], wrong.size) - 1
        counts = ends - starts + 1
        report.ranges.add_many(pfns[starts], pfns[ends], counts, piece.places(pfns[starts]))
        for at in range(min(starts.size, MAX_DIFFERENCES - len(report.differences))):
            low, high, key = int(starts[at]), int(ends[at]), int(kinds[starts[at]])
            report.differences.append(
                NativeDifference(
                    row=int(rows[low]),
                    first=int(pfns[low]),
                    last=int(pfns[high]),
                    check=checks[key >> 8].id,
                    expected=words[key >> 4 & 15],
                    got=words[key & 15],
                    count=int(counts[at]),
                )
            )


def _located(name: str, error: DiedError, piece: Piece) -> CandidateError:
    """Return the error with the lookup that the candidate was at."""
    if error.at is None or error.at >= len(piece):
        return error
    row, pfn = int(piece.rows[error.at]), int(piece.pfns[error.at])
    where = f"{name}: {piece.function.name.lower()}, row {row}, pfn {pfn:#x}"
    return CandidateError(where, error.found, error.needed, error.hint, row=row, pfn=pfn)
