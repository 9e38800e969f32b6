"""Calls about poisoned pages -> rows: the calls, with everything that their decisions look at before them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from replay.trace.poison import NO_ACTION, CallContext
from replay.trace.schema import EventKind

from .boot import Boot
from .calls import POISON_CALLS, Call, Calls
from .counters import counter_rows, parse_vmstate, place_blocks, sysctl_rows
from .devices import Devices
from .dumps import action_types
from .evidence import Evidence, read_evidence
from .files import Folder
from .ftrace import Events
from .lookups import Lookups
from .rows import Order, Row
from .signals import signal_rows
from .states import PageStates
from .tasks import DaxFiles, task_rows
from .transitions import OWNERS
from .victims import parse_victims
from .visits import Joined, Phase, Visit, visits

__all__ = ("PoisonReader",)

_PRESENT = 1 << 63  # of a pagemap entry
_FRAME = (1 << 55) - 1


@dataclass(frozen=True)
class PoisonReader:
    """Reads everything about poison of one recording.

    Attributes:
        files: the recording.
        events: its trace.
        calls: the calls in it.
        lookups: the lookups in it.
        ids: per entry event of an owning call, its id.
        devices: its pagemaps and dax devices.
        boot: the machine.
        unused: counts the action reports that belong to no call, or that a later one of the same call replaces.
        warn: takes what had to be assumed.
    """

    files: Folder
    events: Events
    calls: Calls
    lookups: Lookups
    ids: dict[int, int]
    devices: Devices
    boot: Boot
    unused: Counter[str]
    warn: list[str]

    def read(self) -> list[Row]:
        """Return the rows.

        Raises:
            InputError: victims.jsonl cannot be read.
        """
        log = self.files.optional("dmesg.txt")
        evidence = read_evidence(self.events, self.calls, self.lookups, self.ids, log, self.unused)
        victims = parse_victims(self.files.optional("victims.jsonl"), self.files.path / "victims.jsonl")
        poison = [call for call in self.calls.calls if call.name in POISON_CALLS]
        seen, joined = visits(self.events, victims, poison)
        shift, start = self.boot.machine.page_shift, dict(self.boot.machine.sysctls)
        meta = self.files.json("meta.json", "the description of the recording")
        blocks = place_blocks(self.events, parse_vmstate(self.files.optional("vmstate.txt"), shift), meta)
        rows = sysctl_rows(blocks, seen, start) + counter_rows(blocks)
        rows += self._call_rows(poison, evidence, joined)
        dax_files = DaxFiles()
        for visit in seen:
            rows += task_rows(visit, self.devices, dax_files)
        rows += signal_rows(self.calls, seen, evidence, self.ids, self.unused)
        return rows

    def _call_rows(self, poison: list[Call], evidence: dict[int, Evidence], joined: Joined) -> list[Row]:
        types = action_types(self.files.optional("memory_failure_event.format"))
        traced = any(
            call.name == "unpoison_memory" and evidence[call.begin].reference is not None for call in poison
        )  # fmt: skip
        states, rows = PageStates(self.boot.machine.kernel, self.devices, reference_traced=traced), list[Row]()
        for call in poison:
            visit, phase = joined.get(call.begin, (None, Phase.INJECT))
            known = evidence[call.begin]
            state = states.row(call, known, visit, phase)
            rows += [] if state is None else [state]
            rows.append(self._row(call, known, visit, types, states.after(call, known, visit, phase)))
        self._notes(len(poison), len(poison) - len(joined), states.counts)
        return rows

    def _row(
        self, call: Call, known: Evidence, visit: Visit | None, types: dict[str, int], hwpoison: int | None
    ) -> Row:
        kind = OWNERS[call.name]
        values = {"pfn": call.given["pfn"], "call": self.ids[call.begin], "task": call.pid}
        if "flags" in call.given:
            values["flags"] = call.given["flags"]
        if call.ret is not None:
            values["recorded_ret"] = call.ret
        if known.action is not None:
            if known.action.result is not None:
                values["recorded_result"] = known.action.result
            if known.action.page_type in types:
                values["recorded_type"] = types[known.action.page_type]
        elif call.returned:
            values["recorded_type"] = NO_ACTION
        if hwpoison is not None:
            values["recorded_hwpoison"] = hwpoison
        if known.migration is not None and kind == EventKind.SOFT_OFFLINE_PAGE:
            values["value"] = known.migration
        if kind == EventKind.MEMORY_FAILURE and visit is not None and _maps(call, visit):
            values["context"] = CallContext.HAS_ENTRY
        return Row(call.begin, Order.EVENT, kind, values)

    def _notes(self, calls: int, loose: int, counts: Counter[str]) -> None:
        if loose:
            self.warn.append(f"{loose} of {calls} poison calls have no line in victims.jsonl: no page is known")
        for key, text in (
            ("nested", "the page of {} of {} poison calls was told by what the call itself did"),
            ("given", "the HWPoison flag of the page of {} of {} poison calls was changed by something else before"),
            ("unknown", "the page of {} of {} poison calls is not described: kpageflags has no entry for it"),
        ):
            if counts[key]:
                self.warn.append(text.format(counts[key], calls))
        if calls and not any(point.name == "signal_generate" for point in self.calls.points) and loose:
            self.warn.append("signals not recorded")


def _maps(call: Call, visit: Visit) -> bool:
    """Return whether the calling process is a victim whose page tables held the page."""
    victim = visit.victim
    first = victim.sharers[0].pid if victim.sharers else None
    return call.pid == first and bool(victim.pagemap & _PRESENT) and victim.pagemap & _FRAME == victim.pfn
