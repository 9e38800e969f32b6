"""Candidates in C: compiled with the system's compiler, run in a child process over a trace's lookups, checked and timed."""

from replay.compare.native.candidate import NativeCandidate
from replay.compare.native.errors import CandidateError, CompileError
from replay.compare.native.report import NativeReport

__all__ = ("CandidateError", "CompileError", "NativeCandidate", "NativeReport")
