"""How often the states in which two kernels differ occur in a trace.

The trace is replayed by one of the two kernels, whose machine has the states: the one that keeps more of them. Lookups are
counted by giving that kernel, for each function, checks that decide as its own do, but tell the groups apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.compare.diff import Difference
from replay.compare.diff_groups import Group, groups
from replay.compare.diff_lookups import LookupSpace
from replay.compare.diff_sides import SUBJECTS, Side
from replay.engine.poison_call import Decided
from replay.engine.replay import Replay, replay_trace
from replay.errors import UsageError
from replay.kernel.calls import fact
from replay.kernel.config import config_for
from replay.kernel.decision import Answer, Check, KernelFunction
from replay.kernel.poison_state import DEFAULTS
from replay.kernel.profiles import Profile
from replay.kernel.resource_queries import PGMAP_PFN_VALID, MetadataFacts
from replay.kernel.walk import LOOKUP_FUNCTIONS, WalkState
from replay.trace.poison import PageKind
from replay.trace.reader import TraceFile
from replay.trace.schema import KINDS

__all__ = ("Occurrences", "counting_kernel", "occurrences")

_KEPT = ("subsection-hotplug", "section-early", "taint-zone-device")
# Groups of a function told apart in one replay: each takes up to four of the checks that the engine has room for.
_AT_ONCE = 2
_NO_GROUP = -1
_LOOKUPS = {function.name: function for function in LOOKUP_FUNCTIONS}
_POISON = {s.name for s in SUBJECTS if s.area == "errors"}


@dataclass(frozen=True)
class Occurrences:
    """Counted calls.

    Attributes:
        kernel: name of the kernel whose machine had the states.
        calls: for each group, by its place in ``groups``: trace to number of calls (pfns of lookups). Groups of functions
            other than lookups and poison calls are left out.
    """

    kernel: str
    calls: Mapping[int, Mapping[str, int]]


def counting_kernel(kernels: tuple[Profile, Profile]) -> Profile:
    """Return the kernel whose machine keeps more of the states; the second one if both keep the same."""
    kept = [len(k.features.intersection(_KEPT)) + len(k.rules.marks) for k in kernels]
    return kernels[int(kept[1] >= kept[0])]


def occurrences(found: Difference, kernels: tuple[Profile, Profile], traces: Sequence[str]) -> Occurrences:
    """Count the calls that meet states in which two kernels differ.

    Args:
        found: their difference.
        kernels: the two.
        traces: paths.

    Raises:
        UsageError: a trace is of a machine that was not compared.
        TraceError: a trace is damaged.
    """
    kernel, numbered = counting_kernel(kernels), dict(enumerate(groups(found.compared)))
    counts: dict[int, dict[str, int]] = {}
    for path in traces:
        with TraceFile.open(path) as trace:
            for at, count in _count(found, kernel, numbered, trace).items():
                counts.setdefault(at, {})[path] = count
    return Occurrences(kernel.name, counts)


def _count(found: Difference, kernel: Profile, numbered: Mapping[int, Group], trace: TraceFile) -> dict[int, int]:
    """Return the calls of each group in one trace."""
    split = _Split(found, kernel, trace)
    poison = {at: group for at, group in numbered.items() if group.function in _POISON}
    calls: Counter[int] = Counter(dict.fromkeys(poison, 0))
    known: dict[tuple[object, ...], list[int]] = {}

    def take(call: Decided) -> None:
        key = (call.kind, *call.attributes.values())
        if key not in known:
            here = [at for at, group in poison.items() if group.function == KINDS[call.kind]]
            known[key] = [at for at in here if _meets(poison[at], call.attributes)]
        calls.update(known[key])

    counts: dict[int, int] = {}
    for turn, functions in enumerate(split.rounds({at: g for at, g in numbered.items() if g.function in _LOOKUPS})):
        rules = replace(kernel.rules, functions={**kernel.rules.functions, **functions})
        replayed = replay_trace(trace, replace(kernel, rules=rules), log=take if turn == 0 else None)
        counts |= _told_apart(replayed, functions)
        metadata = _metadata(kernel, replayed)
        for at, group in numbered.items():
            if group.function == PGMAP_PFN_VALID.name and metadata is not None:
                counts[at] = sum(n for facts, n in metadata.items() if group.space.diagrams.at(group.states, facts))
    return counts | dict(calls)


def _told_apart(replayed: Replay, functions: Mapping[str, KernelFunction[Any]]) -> dict[int, int]:
    """Return the calls of the groups that these functions tell apart."""
    counts: Counter[int] = Counter()
    for name, function in functions.items():
        decided: Mapping[str, int] = replayed.tally.checks.get(name, Counter())
        for check in function.checks:
            counts[int(check.id.split("/")[0])] += decided.get(check.id, 0)
    del counts[_NO_GROUP]
    return counts


def _meets(group: Group, attributes: Mapping[str, object]) -> bool:
    """Return whether a call meets a state of a group; of an unknown page, whatever page it may be."""
    space = group.space
    state = [variable.number(attributes.get(variable.name, DEFAULTS[variable.name])) for variable in space.variables]
    kind = space.number["kind"]
    kinds = [state[kind]]
    if attributes["kind"] == PageKind.UNKNOWN:
        kinds = list(range(len(space.variables[kind].values)))
    states = [[*state[:kind], n, *state[kind + 1 :]] for n in kinds]
    possible = [s for s in states if space.diagrams.at(space.possible, s)]
    return bool(possible) and all(space.diagrams.at(group.states, s) for s in possible)


def _metadata(kernel: Profile, replayed: Replay) -> dict[tuple[int, int], int] | None:
    """Return the calls of pgmap_pfn_valid by facts (inside, data); None where the kernel's answers do not tell them."""
    function = kernel.rules.function(PGMAP_PFN_VALID)
    facts: dict[str, tuple[int, int]] = {}
    for inside, data in ((0, 0), (1, 0), (1, 1)):
        check = function.checks[function.decide(MetadataFacts(fact(inside), fact(data)), kernel.features)].id
        if check in facts:
            return None
        facts[check] = (inside, data)
    return {facts[check]: n for check, n in replayed.tally.checks.get(function.name, Counter()).items()}


class _Split:
    """Forms of the lookups that tell groups apart.

    Args:
        found: what was compared.
        kernel: replays the trace.
        trace: whose machine says which configuration it is.
    """

    def __init__(self, found: Difference, kernel: Profile, trace: TraceFile) -> None:
        space = next((c.space for c in found.compared if isinstance(c.space, LookupSpace)), None)
        self._space, self._kernel = space, kernel
        self._config = config_for(trace.machine, kernel.features)
        if space is not None:
            self._columns, inside = space.states_of(Side.of(kernel), self._config, found.scope.arch)
            if not inside:
                raise UsageError(
                    f"{trace.path} is of a machine ({trace.machine.arch}) whose configuration was not compared; "
                    "give --arch, or --all-configs"
                )

    def rounds(self, numbered: Mapping[int, Group]) -> list[dict[str, KernelFunction[Any]]]:
        """Return functions to replay the trace with, in as many rounds as it takes."""
        rounds: list[dict[str, KernelFunction[Any]]] = [{}]
        for name, function in _LOOKUPS.items():
            here = [(at, group) for at, group in numbered.items() if group.function == name]
            for turn in range(-(-len(here) // _AT_ONCE)):
                if turn == len(rounds):
                    rounds.append({})
                rounds[turn][name] = self._form(function, here[turn * _AT_ONCE : (turn + 1) * _AT_ONCE])
        return rounds

    def _form(self, function: KernelFunction[Any], here: Sequence[tuple[int, Group]]) -> KernelFunction[Any]:
        """Return a form of a function that answers as the kernel's does, with a check for each group and answer."""
        assert self._space is not None
        own = self._kernel.rules.function(function)
        codes = np.arange(self._columns[0].size, dtype=np.uint16)
        states = WalkState(codes, self._config, self._kernel.features, self._kernel.rules)
        decided = own.tabulate(states, codes.size, self._kernel.features)
        slow = np.isin(decided.check, [n for n, check in enumerate(own.checks) if check.slow])
        checks: list[Check[WalkState]] = []
        left = np.ones(codes.size, np.bool_)
        for at, group in [*here, (_NO_GROUP, None)]:
            region = left if group is None else self._space.diagrams.evaluate(group.states, self._columns) == 1
            for value in (1, 0):
                for way in (False, True):
                    table = left & region & (decided.value == value) & (slow == way)
                    if table.any():
                        answer = Answer("yes" if value else "no", value)
                        checks.append(Check(f"{at}/{value}/{way}", _lookup(table), answer, slow=way))
            left = left & ~region
        return replace(function, checks=tuple(checks))


def _lookup(table: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - the condition of a check
    return lambda s: table[s.code]
