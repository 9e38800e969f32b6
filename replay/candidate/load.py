"""Candidate files: from ``patch.py`` or ``patch.py:name`` to a profile.

The file's code runs: only name a file that you would run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from replay.candidate.candidate import CHANGEABLE, Candidate
from replay.candidate.conditions import line_of
from replay.errors import CandidateError, ReplayError, UndecidedError, did_you_mean
from replay.kernel.config import KernelConfig
from replay.kernel.poison_calls import PoisonFunction
from replay.kernel.poison_state import PoisonState
from replay.kernel.profiles import Profile
from replay.kernel.walk import LOOKUP_FUNCTIONS, STATE_BITS, WalkState

__all__ = ("load",)

_LOOKUPS = {function.name for function in LOOKUP_FUNCTIONS}


def load(spec: str) -> Profile:
    """Return the profile of a candidate.

    Args:
        spec: ``file.py`` if it defines one candidate (or one called ``candidate``), or ``file.py:name``.

    Raises:
        CandidateError: the file cannot be read or run, has no such candidate, or its checks do not work; with the line.
    """
    path, _, name = spec.partition(".py:")
    path = f"{path.removesuffix('.py')}.py"
    if not Path(path).is_file():
        raise CandidateError(path, "found no such file; needed a Python file that defines a Candidate")
    candidates = _candidates(os.path.abspath(path), hashlib.sha256(Path(path).read_bytes()).hexdigest())
    chosen = _choose(path, candidates, name)
    return _profile(path, chosen, candidates[chosen])


class CandidateProfile(Profile):
    """The profile of a candidate; between processes goes its name, and the file is read again."""

    def __reduce__(self) -> tuple[Callable[[str, str, str], Profile], tuple[str, str, str]]:
        path = self.name.rpartition(":")[0]
        return _again, (os.path.abspath(path), self.name, self.digest)


def _again(path: str, name: str, digest: str) -> Profile:
    """Load a candidate in another process.

    Raises:
        CandidateError: the file is not there, or has another content.
    """
    found = load(f"{path}:{name.rpartition(':')[2]}")
    if found.digest != digest:
        raise CandidateError(path, "is not the file that was loaded at first; needed the same content for every worker")
    return replace(found, name=name)


@cache
def _candidates(full: str, digest: str) -> dict[str, Candidate]:
    """Return the candidates of a file of that content, by the names of their variables."""
    return {key: value for key, value in vars(_run(full, digest)).items() if isinstance(value, Candidate)}


def _profile(path: str, name: str, candidate: Candidate) -> Profile:
    digest = hashlib.sha256(Path(path).read_bytes() + name.encode()).hexdigest()
    built = candidate.profile(f"{path}:{name}", digest)
    found = CandidateProfile(built.name, built.features, built.poison_only, built.rules)
    _try(path, found)
    return found


def _run(full: str, digest: str) -> ModuleType:
    """Run the file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"replay_candidate_{digest[:12]}", full)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ReplayError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit() would be taken for the answer of the command
        raise CandidateError(
            line_of(error, full) or os.path.relpath(full), f"{type(error).__name__}: {error}"
        ) from error
    return module


def _choose(path: str, candidates: dict[str, Candidate], name: str) -> str:
    if not candidates:
        raise CandidateError(path, 'defines no candidate; needed a variable such as patch = Candidate("v6.12")')
    if name:
        if name not in candidates:
            hint = did_you_mean(name, candidates)
            raise CandidateError(path, f"has no candidate {name!r}{hint}; there are {', '.join(candidates)}")
        return name
    if len(candidates) == 1:
        return next(iter(candidates))
    if "candidate" in candidates:
        return "candidate"
    raise CandidateError(path, f"has several candidates; name one: {', '.join(f'{path}:{c}' for c in candidates)}")


def _try(path: str, candidate: Profile) -> None:
    """Evaluate the changed functions once, so that mistakes show before a trace is opened."""
    rules = candidate.rules
    codes = np.arange(1 << STATE_BITS + len(rules.marks), dtype=np.uint16)
    for name in rules.functions:
        function = rules.function(CHANGEABLE[name])
        try:
            if name in _LOOKUPS:
                states = WalkState(codes, KernelConfig(), candidate.features, rules)
                function.tabulate(states, codes.size, candidate.features)
            elif isinstance(function, PoisonFunction):
                function.tabulate(PoisonState.of(2, candidate.features), 2, candidate.features)
        except UndecidedError as error:
            raise CandidateError(path, f"{error}: the last check has to hold for all states") from error
