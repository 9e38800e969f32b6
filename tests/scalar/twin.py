"""The vector engine beside a scalar machine: what a test tells the one, the other is told as rows of a trace."""

from __future__ import annotations

from typing import Any

import pytest

from replay.engine.poison_call import Decided
from replay.engine.replay import Replayer
from replay.kernel.poison_types import ActionType
from replay.kernel.profiles import Profile
from replay.scalar import PoisonResult, ScalarMachine
from replay.trace.header import MachineDescription
from replay.trace.poison import NO_ACTION
from replay.trace.schema import EventKind
from tests.property.engines import as_batch

K = EventKind


class Twin:
    """Rows of all that one scalar machine was told, and what it said of the poison calls among them."""

    def __init__(self, description: MachineDescription, features: frozenset[str]) -> None:
        self.description, self.profile = description, Profile("twin", features)
        self.rows: list[dict[str, int]] = []
        self.said: list[PoisonResult] = []

    def add(self, kind: EventKind, **fields: int | None) -> None:
        given = {name: int(value) for name, value in fields.items() if value is not None}
        self.rows.append({"kind": kind, "time": len(self.rows), **given})

    def check(self) -> None:
        """Replay the rows and compare."""
        found: list[Decided] = []
        replayer = Replayer(self.description, self.profile, ("System RAM",), log=found.append)
        replayer.feed(as_batch(self.rows))
        replayer.finish()
        displayed = "poison-2009" in self.profile.features  # its scalar rules give display strings: dirty is not said
        for vector, scalar in zip(map(vector_says, found), map(scalar_says, self.said), strict=True):
            if displayed:
                vector["event"] = vector["event"].removeprefix("DIRTY_")
            assert vector == scalar, f"vector {vector}, scalar {scalar}, rows {self.rows}"


def vector_says(call: Decided) -> dict[str, Any]:
    event = "" if call.action == NO_ACTION else f"{ActionType(call.action).name}:{'IFDR'[call.result]}"
    signals = sorted((s.task, s.signal, s.code, s.addr, s.lsb) for s in call.signals)
    return {"ret": call.ret, "event": event, "counted": call.counted, "poisoned": call.poisoned, "signals": signals}


def scalar_says(result: PoisonResult) -> dict[str, Any]:
    event = (
        f"{result.action}:{result.result}".upper().replace(" ", "_") if result.action else ""
    )  # 2.6.32: as displayed
    signals = sorted(tuple(s) for s in result.signals)
    return {
        "ret": result.ret,
        "event": event,
        "counted": result.counted,
        "poisoned": result.poisoned,
        "signals": signals,
    }


def attach(patch: pytest.MonkeyPatch) -> list[Twin]:
    """Give every scalar machine that is made from now on a twin; return the list that they go to."""
    twins: list[Twin] = []
    of: dict[int, Twin] = {}
    init = ScalarMachine.__init__

    def made(
        self: ScalarMachine, description: MachineDescription, features: frozenset[str], *args: Any, **more: Any
    ) -> None:
        init(self, description, features, *args, **more)
        twins.append(Twin(description, features))
        of[id(self)] = twins[-1]
        self.twin = twins[-1]  # type: ignore[attr-defined]  # keeps the id in use

    def follow(name: str, tell: Any) -> None:
        method = getattr(ScalarMachine, name)

        def told(self: ScalarMachine, *args: Any, **more: Any) -> Any:
            twin = of[id(self)]
            tell(twin, *args, **more)
            answer = method(self, *args, **more)
            if isinstance(answer, PoisonResult):
                twin.said.append(answer)
            return answer

        patch.setattr(ScalarMachine, name, told)

    patch.setattr(ScalarMachine, "__init__", made)
    for name, tell in TELL.items():
        follow(name, tell)
    return twins


def _memremap(t: Twin, pgmap: int, ranges: Any, *, altmap: Any = None, pgmap_type: int = 0) -> None:
    ((pfn, nr_pages),) = ranges
    base, reserve, free = altmap or (None, None, None)
    more = {"altmap_base": base, "altmap_reserve": reserve, "altmap_free": free}
    t.add(K.MEMREMAP_PAGES, pgmap=pgmap, pfn=pfn, nr_pages=nr_pages, pgmap_type=pgmap_type, **more)


def _page(t: Twin, pfn: int, nr_pages: int, kind: int, *, flags: int = 0, **fields: int) -> None:
    t.add(K.PAGE_STATE, pfn=pfn, nr_pages=nr_pages, page_kind=kind, page_flags=flags, **fields)


def _map(t: Twin, pfn: int, nr_pages: int, task: int, vaddr: int, *, shift: int | None = None, flags: int = 0) -> None:
    t.add(K.MAP_PAGES, pfn=pfn, nr_pages=nr_pages, task=task, vaddr=vaddr, map_shift=shift, flags=flags)


def _failure(t: Twin, pfn: int, flags: int = 0, *, task: int | None = None, context: int = 0) -> None:
    t.add(K.MEMORY_FAILURE, pfn=pfn, flags=flags, task=task, context=context)


TELL: dict[str, Any] = {
    "add_memory": lambda t, pfn, n: t.add(K.ADD_MEMORY, pfn=pfn, nr_pages=n, label=0, node=0),
    "remove_memory": lambda t, pfn, n: t.add(K.REMOVE_MEMORY, pfn=pfn, nr_pages=n),
    "online_pages": lambda t, pfn, n: t.add(K.ONLINE_PAGES, pfn=pfn, nr_pages=n),
    "offline_pages": lambda t, pfn, n: t.add(K.OFFLINE_PAGES, pfn=pfn, nr_pages=n),
    "memremap_pages": _memremap,
    "page_state": _page,
    "map_pages": _map,
    "memory_failure": _failure,
    "task_state": lambda t, task, flags, space=None: t.add(K.TASK_STATE, task=task, flags=flags, value=space),
    "sysctl": lambda t, key, value: t.add(K.SYSCTL, key=key, value=value),
    "soft_offline_page": lambda t, pfn, flags=0, value=0: t.add(K.SOFT_OFFLINE_PAGE, pfn=pfn, flags=flags, value=value),
    "unpoison_memory": lambda t, pfn: t.add(K.UNPOISON_MEMORY, pfn=pfn),
    "clear_error": lambda t, pfn, n=1: t.add(K.CLEAR_ERROR, pfn=pfn, nr_pages=n),
}
