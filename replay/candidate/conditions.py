"""Conditions and hooks of a candidate, guarded: what goes wrong in them is told with the candidate's own line."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from replay.errors import CandidateError

__all__ = ("guarded", "line_of")

_HINT = "; conditions work on many states at once: join them with & | ~ and parentheses instead of and, or, not, if"


def guarded(condition: Callable[[Any], Any], what: str, *, boolean: bool = True) -> Callable[[Any], Any]:
    """Return the function with its errors told as errors of the candidate.

    Args:
        condition: written by the user.
        what: what it is, for messages.
        boolean: it answers with booleans; anything else is refused.
    """
    file, line = condition.__code__.co_filename, condition.__code__.co_firstlineno

    @functools.wraps(condition)
    def call(state: Any) -> Any:
        try:
            answer = condition(state)
        except CandidateError:
            raise
        except (Exception, SystemExit) as error:  # sys.exit() would be taken for the answer of the command
            hint = _HINT if isinstance(error, ValueError) and "truth value" in str(error) else ""
            place = line_of(error, file) or _at(file, line)
            raise CandidateError(place, f"{what}: {type(error).__name__}: {error}{hint}") from error
        if boolean and not (isinstance(answer, bool | np.bool_) or getattr(answer, "dtype", None) == np.bool_):
            found = getattr(answer, "dtype", type(answer).__name__)
            raise CandidateError(
                _at(file, line), f"{what} answers with {found}; needed a boolean for each state{_HINT}"
            )
        return np.asarray(answer) if boolean else answer

    return call


def line_of(error: BaseException, file: str) -> str:
    """Return the last line of a file that an error went through, as "file:line", or ""."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return _at(file, error.lineno or 1)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return _at(file, frames[-1].lineno or 1) if frames else ""


def _at(file: str, line: int) -> str:
    return f"{os.path.relpath(file)}:{line}"
