"""Every error a user can meet, with the exit code of the command line.

Exit codes: 0 fine, 1 verdicts differ or a regression was found, 2 usage, 3 bad input file,
4 internal invariant broken. A message says where it happened, what was found, what was needed and what to do.
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Callable, Iterable

__all__ = (
    "CandidateError",
    "InputError",
    "InvariantError",
    "ReplayError",
    "TraceError",
    "UndecidedError",
    "UnknownNameError",
    "UsageError",
    "WorkerError",
    "did_you_mean",
    "did_you_mean_file",
)

_MOST_FILES = 2000  # of a folder, looked at for a name like the one that was given


class ReplayError(Exception):
    """Root of all errors of this package; ``exit_code`` is what the command line returns for it."""

    exit_code = 4

    def __reduce__(self) -> tuple[Callable[..., ReplayError], tuple[object, ...], dict[str, object]]:
        """Survive the way between processes, where the arguments of the constructor are no longer known."""
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[ReplayError], args: tuple[object, ...]) -> ReplayError:
    error = kind.__new__(kind)
    error.args = args
    return error


class UsageError(ReplayError):
    """The request itself cannot be carried out: an unknown name, options that exclude each other."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A profile, feature, column or event kind that does not exist."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.name = name
        message = f"unknown {what} {name!r}{did_you_mean(name, known)}"
        super().__init__(f"{message}; {hint}" if hint else message)


class CandidateError(UsageError):
    """A candidate that cannot be used.

    Args:
        where: file and line of the candidate.
        what: what is wrong, and what would be right.
    """

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        super().__init__(f"{where}: {what}")


class InputError(ReplayError):
    """An input (trace, recording, machine description) that cannot be used.

    Args:
        where: file, and row and column where they are known.
        found: what is there.
        needed: what would have been right.
        hint: what to do about it, if anything can be said.
    """

    exit_code = 3

    def __init__(self, where: object, found: str, needed: str, hint: str = "") -> None:
        self.where, self.found, self.needed, self.hint = str(where), found, needed, hint
        message = f"{where}: found {found}; needed {needed}"
        super().__init__(f"{message}; {hint}" if hint else message)


class TraceError(InputError):
    """A trace file that is damaged, or whose content contradicts the format."""


class WorkerError(InputError):
    """A task that was given up because each worker that took it was lost: a failure of that task's trace."""


class InvariantError(ReplayError):
    """Something that cannot happen did: a defect of this tool, never of the input."""

    exit_code = 4


class UndecidedError(InvariantError):
    """The checks of a function leave a state undecided: a defect of this tool, unless a candidate changed the function."""


def did_you_mean_file(path: str | os.PathLike[str]) -> str:
    """Return ``did you mean ...?`` with files of the folder that a path which leads nowhere nearly names, or ``""``."""
    folder, name = os.path.split(os.fspath(path))
    try:
        with os.scandir(folder or ".") as entries:
            known = [entry.name for entry in itertools.islice(entries, _MOST_FILES)]
    except OSError:
        return ""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {', '.join(os.path.join(folder, one) for one in close)}?" if close and name else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``' (did you mean ...?)'`` with the closest known names, or ``''``."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (did you mean {', '.join(close)}?)" if close else ""
