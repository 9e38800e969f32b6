"""Who gets a signal for a poisoned page: the decision per mapping task (poison semantics 3 and 8.5), and for the accessor.

Receiver: ``receivers``. Address: that of the page in the task; of a DAX page with a GENERIC pagemap and 2 MiB entries, the
start of the mapping. si_addr_lsb: the page shift; 12 + folio order of a folio that was not split; the shift of the mapping
for DAX and hugetlb (3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from replay.kernel.calls import always
from replay.kernel.decision import Answer, Bools, Check, KernelFunction
from replay.kernel.poison_state import Ints, PoisonState

__all__ = (
    "BUS_AO",
    "BUS_AR",
    "KILL",
    "KILL_ACCESSING_PROCESS",
    "KILL_PROCS",
    "KILL_PROCS_2009",
    "NOSIG",
    "KillState",
    "MappingFacts",
    "Receiver",
    "Signal",
    "accessor_signals",
    "receivers",
)


class Signal(IntEnum):
    """What a task gets."""

    NOSIG = 0
    BUS_AR = 1  # SIGBUS, BUS_MCEERR_AR (code 4)
    BUS_AO = 2  # SIGBUS, BUS_MCEERR_AO (code 5)
    KILL = 3  # SIGKILL


NOSIG = Answer("no-signal", Signal.NOSIG)
BUS_AR = Answer("SIGBUS-AR", Signal.BUS_AR)
BUS_AO = Answer("SIGBUS-AO", Signal.BUS_AO)
KILL = Answer("SIGKILL", Signal.KILL)


class Receiver(IntEnum):
    """Which thread of the task a signal goes to."""

    NONE = 0
    MAIN = 1  # the main thread
    EARLY = 2  # the first thread, in thread order, whose policy asks for it
    CURRENT = 3  # the calling thread


@dataclass(frozen=True)
class MappingFacts:
    """What a mapping task adds to the state of the page; arrays of one shape, or of none.

    Attributes:
        own: its address space is that of the calling task.
        main_p: the main thread has a policy of its own.
        main_e: and it is early kill.
        any_e: some thread has early kill as its own policy.
        has_def: some thread has no policy of its own.
        mapped_here: a page table entry of the task maps the page.
        covers: a VMA of the task covers the page's offset in its file.
        addr_ok: the address of the page in the task is known.
        shift: log2 of the bytes that the page table entry maps, 0 for none.
    """

    own: Bools
    main_p: Bools
    main_e: Bools
    any_e: Bools
    has_def: Bools
    mapped_here: Bools
    covers: Bools
    addr_ok: Bools
    shift: Ints

    @classmethod
    def of(cls, **attributes: object) -> MappingFacts:
        """Return facts with the ordinary values: another task without a policy that maps a 4 KiB page."""
        ordinary: dict[str, object] = dict.fromkeys(("own", "main_p", "main_e", "any_e"), False)
        ordinary |= dict.fromkeys(("has_def", "mapped_here", "covers", "addr_ok"), True)
        facts = {
            name: np.asarray(value, np.bool_) for name, value in (ordinary | attributes).items() if name != "shift"
        }
        return cls(**facts, shift=np.asarray(attributes.get("shift", 12), np.uint8))


@dataclass(frozen=True)
class KillState:
    """One mapping task of one page, or arrays of such pairs.

    Attributes:
        AR: the error was consumed by the calling task.
        es: sysctl vm.memory_failure_early_kill.
        mp: the page is mapped when tasks are collected.
        anon: it is anonymous: the task must really map it. Otherwise a VMA over the offset is enough.
        ksm: shared by KSM.
        drop: clean all over, unmapped to be read again.
        forced: signalled even if clean: the page is dirty, or MUST.
        ufail: unmapping fails.
        unmapped_dax: DAX only: a VMA covers the page, nothing is mapped there.
        task: the mapping task.
    """

    AR: Bools
    es: Bools
    mp: Bools
    anon: Bools
    ksm: Bools
    drop: Bools
    forced: Bools
    ufail: Bools
    unmapped_dax: Bools
    task: MappingFacts

    @classmethod
    def of(cls, pages: PoisonState, task: MappingFacts) -> KillState:
        """Return the state for pages of RAM (``Kills.MAPPERS``): one page for each task, or one for all."""
        forced = pages.dirty2 | pages.MUST
        no = np.asarray(False)
        return cls(pages.AR, pages.es, pages.mp, pages.anon, pages.ksm, pages.drop, forced, pages.ufail, no, task)

    @classmethod
    def unsplit(cls, pages: PoisonState, task: MappingFacts) -> KillState:
        """Return the state for folios that were not split (``Kills.UNSPLIT``): forced, and nothing is unmapped."""
        no, yes = np.asarray(False), np.asarray(True)
        return cls(pages.AR, pages.es, pages.mp, pages.anon, pages.ksm, pages.drop, yes, no, no, task)

    @classmethod
    def dax(cls, pages: PoisonState, task: MappingFacts) -> KillState:
        """Return the state for pages of a pagemap or pfn space (``Kills.DAX``, ``Kills.PFN_SPACE``).

        AR and MUST are forced, and the address is always known. Kernels that collect the size of the mapping look at the
        page tables; the others do not notice an empty one.
        """
        no, yes = np.asarray(False), np.asarray(True)
        unmapped = (task.shift == 0) & pages.has("dax-mapping-size")
        task = MappingFacts(**{**vars(task), "addr_ok": yes})
        return cls(yes, pages.es, yes, no, no, no, yes, no, unmapped, task)

    @property
    def here(self) -> Bools:
        """The task has the page, as far as the kernel looks."""
        return np.where(self.anon, self.task.mapped_here, self.task.covers)

    @property
    def early(self) -> Bools:
        """Before thread by thread: a thread asks for it, or the sysctl, even over an explicit late."""
        return self.task.any_e | self.es

    @property
    def early_thread(self) -> Bools:
        """Thread by thread: one asks for it, or has no policy of its own and the sysctl does."""
        return self.task.any_e | (self.es & self.task.has_def)

    @property
    def early_main(self) -> Bools:
        """v2.6.32: the policy of the main thread, else the sysctl."""
        return np.where(self.task.main_p, self.task.main_e, self.es)


def _late(s: KillState) -> Bools:
    return ~s.AR & ~s.early


_NOT_MAPPED: Check[KillState] = Check(
    "not-mapped", lambda s: ~s.mp, NOSIG, why="nothing maps the page any more when tasks are collected"
)
_NOT_HERE: Check[KillState] = Check(
    "not-here",
    lambda s: ~s.here,
    NOSIG,
    why="the task does not map the page (a file: no VMA of it covers the offset)",
)
_NO_ADDRESS: Check[KillState] = Check(
    "no-address", lambda s: ~s.task.addr_ok, KILL, why="the address is unknown, so a SIGBUS would say nothing"
)

KILL_PROCS: KernelFunction[KillState] = KernelFunction(
    "kill_procs",
    (
        _NOT_MAPPED,
        Check("ksm", lambda s: s.ksm, NOSIG, unless=("ksm-poison",), why="KSM pages are given up before"),
        Check(
            "clean-drop",
            lambda s: s.drop,
            NOSIG,
            unless=("collect-on-clean-drop",),
            why="clean: it is read again from its file, and nobody is collected",
        ),
        _NOT_HERE,
        Check(
            "dax-not-mapped",
            lambda s: s.unmapped_dax,
            NOSIG,
            unless=("dax-shift-zero-kill",),
            why="a VMA covers the page, but nothing is mapped there",
        ),
        Check(
            "address-needed",
            lambda s: ~s.task.addr_ok,
            NOSIG,
            needs=("collect-needs-address",),
            why="tasks without an address are not collected",
        ),
        Check(
            "late",
            _late,
            NOSIG,
            unless=("early-kill-per-thread",),
            why="no thread asks for early kill, and the sysctl does not either",
        ),
        Check(
            "late-thread",
            lambda s: ~s.AR & ~s.early_thread,
            NOSIG,
            needs=("early-kill-per-thread",),
            why="no thread asks for early kill, by its policy or, without one, by the sysctl",
        ),
        Check(
            "other-task",
            lambda s: s.AR & ~s.task.own,
            NOSIG,
            needs=("early-kill-per-thread",),
            unless=("early-kill-others",),
            why="consumed poison concerns the consumer's address space only",
        ),
        Check(
            "other-task-late",
            lambda s: s.AR & ~s.task.own & ~s.early_thread,
            NOSIG,
            needs=("early-kill-per-thread", "early-kill-others"),
            why="not the consumer's address space, and no thread asks for early kill",
        ),
        Check(
            "clean",
            lambda s: ~s.forced & ~s.ufail,
            NOSIG,
            why="collected, but the page is clean and unmapped: nothing is lost",
        ),
        Check(
            "clean-unmap-failed",
            lambda s: ~s.forced,
            NOSIG,
            unless=("unmap-failure-forces-kill",),
            why="collected, but the page is clean, even if it could not be unmapped",
        ),
        Check(
            "unmap-failed",
            lambda s: s.ufail,
            KILL,
            unless=("unmap-failure-sigbus",),
            why="the page is still mapped, so the task must go",
        ),
        _NO_ADDRESS,
        Check(
            "dax-not-mapped-kill",
            lambda s: s.unmapped_dax,
            KILL,
            needs=("dax-shift-zero-kill",),
            why="nothing is mapped there, which is taken for an unknown address",
        ),
        Check("consumer", lambda s: s.AR & s.task.own, BUS_AR, why="the task consumed the poison"),
        Check("mapper", always, BUS_AO, why="the task maps the page and asks, or is asked, to know early"),
    ),
)

KILL_PROCS_2009: KernelFunction[KillState] = KernelFunction(
    "kill_procs_2009",
    (
        _NOT_MAPPED,
        Check("ksm", lambda s: s.ksm, NOSIG, why="KSM pages are not looked up in page tables"),
        Check("clean-drop", lambda s: s.drop, NOSIG, why="clean: it is read again from its file"),
        _NOT_HERE,
        Check("late", lambda s: ~s.early_main, NOSIG, why="neither the main thread nor the sysctl asks for early kill"),
        Check("clean", lambda s: ~s.forced, NOSIG, why="collected, but the page is clean"),
        Check("unmap-failed", lambda s: s.ufail, KILL, why="the page is still mapped, so the task must go"),
        _NO_ADDRESS,
        Check("mapper", always, BUS_AO, why="the task maps the page and asks, or is asked, to know early"),
    ),
)

_FOUND = Answer("-EHWPOISON", -133)
_EFAULT = Answer("-EFAULT", -14)

KILL_ACCESSING_PROCESS: KernelFunction[PoisonState] = KernelFunction(
    "kill_accessing_process",
    (
        Check("not-consumed", lambda s: ~s.AR, _FOUND, why="nobody is consuming it right now: nobody to signal"),
        Check("no-mm", lambda s: s.nomm, _EFAULT, why="the calling task has no address space"),
        Check("found", lambda s: s.curpt, _FOUND, why="the calling task maps it, or did: SIGBUS-AR to it"),
        Check(
            "not-found-efault",
            always,
            _EFAULT,
            needs=("accessor-not-found-efault",),
            why="the calling task does not map it: no signal",
        ),
        Check("not-found", always, Answer("0", 0), why="the calling task does not map it: no signal, and no error"),
    ),
)


def accessor_signals(pages: PoisonState) -> Bools:
    """Return where an already poisoned page makes the calling task get SIGBUS-AR (``Kills.ACCESSOR``)."""
    return pages.AR & ~pages.nomm & pages.curpt


def receivers(signal: NDArray[np.int32], state: KillState, features: frozenset[str]) -> NDArray[np.uint8]:
    """Return the Receiver of each signal that ``KILL_PROCS`` (or the rules of v2.6.32) decided on.

    The calling thread for AR to its own task; the thread whose policy asked for it; else the main thread.
    """
    if "poison-2009" in features:
        thread = np.asarray(Receiver.MAIN)
    elif "early-kill-per-thread" in features:
        thread = np.where(state.AR & state.task.own, Receiver.CURRENT, Receiver.EARLY)
    else:
        early = np.where(state.task.any_e & ~state.AR, Receiver.EARLY, Receiver.MAIN)
        thread = np.where(signal == Signal.BUS_AR, Receiver.CURRENT, early)
    return np.where(signal == Signal.NOSIG, Receiver.NONE, thread).astype(np.uint8)
