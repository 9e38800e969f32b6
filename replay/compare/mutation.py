"""The mutation score: of the small mistakes that a kernel function could have, how many do these traces notice?

A mutant is noticed when some state that the traces meet is answered otherwise by it: up to the first such state the
machine is the same, so the replay of the mutant would differ there. One that no state at all tells apart from the kernel,
which is proven over the whole state space, is equivalent and does not count. Neither does one that is out of reach: it shows
only in states in which no machine is, or that no trace can say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replay.compare.diagrams import EMPTY
from replay.compare.met import Met, States
from replay.compare.mutants import Mutant
from replay.compare.noticing import Noticing
from replay.compare.reach import Reach, Unreachable

__all__ = ("FunctionScore", "score_functions")


@dataclass(frozen=True)
class FunctionScore:
    """How the mutants of one function fared.

    Attributes:
        name: under which its calls are counted.
        noticed: mutants that some trace notices.
        equivalent: mutants that answer every state as the kernel does.
        unreachable: words of the mutants that no trace at all notices, each with the reason.
        survived: the others: some trace would notice them, none of these does.
        states: different states that the traces meet.
    """

    name: str
    noticed: Sequence[Mutant]
    equivalent: Sequence[Mutant]
    unreachable: Sequence[Unreachable]
    survived: Sequence[Mutant]
    states: int

    @property
    def score(self) -> float:
        """Noticed mutants among those that some trace can notice, 1.0 if there are none."""
        return _share(len(self.noticed), len(self.survived))

    @property
    def score_of_all(self) -> float:
        """Noticed mutants among all that are not equivalent, those out of reach too."""
        return _share(len(self.noticed), len(self.survived) + len(self.unreachable))


def score_functions(
    met: Met, names: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> list[FunctionScore]:
    """Return the score of functions, for the traces that were met.

    Args:
        met: what traces ask the kernel.
        names: of functions.
        progress: is told (functions done, in all).
    """
    found = []
    reach = Reach(met.kernel)
    for number, name in enumerate(names):
        found.append(_score(met, name, reach))
        if progress is not None:
            progress(number + 1, len(names))
    return found


def _score(met: Met, name: str, reach: Reach) -> FunctionScore:
    states = met.states.get(name) or States()
    noticing = Noticing(met.kernel, name)
    noticed = noticing.noticed(states) if states.rows else []
    seen = {mutant.words for mutant in noticed}
    left = [mutant for mutant in noticing.mutants if mutant.words not in seen]
    shows = {mutant.words: reach.of(name).notices(mutant) for mutant in left}
    equivalent = [mutant for mutant in left if shows[mutant.words] == EMPTY]
    unreachable = reach.unreachable(name, shows)
    beyond = {one.what for one in unreachable} | {mutant.words for mutant in equivalent}
    survived = [mutant for mutant in left if mutant.words not in beyond]
    return FunctionScore(name, noticed, equivalent, unreachable, survived, len(states.rows))


def _share(noticed: int, missed: int) -> float:
    return noticed / (noticed + missed) if noticed + missed else 1.0
