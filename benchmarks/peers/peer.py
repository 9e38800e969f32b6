"""What a peer is: something that answers the rows of a case, and can say which workloads it cannot."""

from __future__ import annotations

from typing import Protocol

from benchmarks.peers.case import Case
from benchmarks.peers.verdicts import Counts

__all__ = ("Pass", "Peer", "Unavailable")


class Unavailable(Exception):  # noqa: N818 - a state of this machine, not an error
    """A peer cannot run here: a compiler or a package is missing."""


class Pass(Protocol):
    """One pass over a case, everything prepared that need not be timed.

    Attributes:
        seconds: what the pass took by its own clock; None: take the time around ``run``.
    """

    seconds: float | None

    def run(self) -> None:
        """Answer all rows. This is what is timed."""
        ...

    def counts(self) -> Counts | None:
        """Return what was answered; None: a peer that answers nothing, such as a copy."""
        ...


class Peer(Protocol):
    """A way to answer the rows.

    Attributes:
        name: as on the command line and in tables.
        about: one line.
        coarse: answers no finer than page or NULL.
        by_page: its cost goes with the pages of a run, not with the rows.
    """

    name: str
    about: str
    coarse: bool
    by_page: bool

    def refuses(self, workload: str) -> str | None:
        """Return why it cannot answer a workload, None if it can."""
        ...

    def prepare(self, case: Case) -> Pass:
        """Return a fresh pass.

        Raises:
            Unavailable: it cannot run on this machine.
        """
        ...
