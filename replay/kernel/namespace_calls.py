"""Rows about namespaces of persistent memory as calls: put to use, given up (walk semantics 3.4, 3.5).

A namespace that is put to use anew gets a fresh info block, which stays on its medium. One that is put to use as it was
(``KEEP``) becomes what its info block says, if it has one that this kernel takes; if none, it is raw.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from replay.kernel.badblocks import has_bad, strike
from replay.kernel.calls import Call, Request, always, error, fact, ok
from replay.kernel.dax import Asked, DaxBus, Plan, map_without_bus, release, step_of
from replay.kernel.dax_rules import Outcome, Step, decide
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.kernel.device_calls import DeviceCall, take_away
from replay.kernel.memremap import MemremapPages, MemunmapPages
from replay.kernel.namespace import (
    ND_PFN_INIT,
    ND_PFN_VALIDATE,
    InfoBlock,
    Layout,
    Mode,
    Namespace,
    attach,
    create,
    info_span,
    unreadable,
)
from replay.machine.devices import Claim, DaxDevice, DaxRegion, NamespaceState
from replay.machine.geometry import SUBSECTION_SHIFT
from replay.machine.resources import Node
from replay.trace.schema import DaxAction, NamespaceFlags, PgmapType

__all__ = ("NAMESPACE", "NamespaceCall", "NamespaceFacts")

_NAME = re.compile(r"(?:namespace|dax)(\d+)\.(\d+)", re.ASCII)
_BLOCK = NamespaceFlags.FSDAX | NamespaceFlags.DEVDAX


@dataclass(frozen=True)
class NamespaceFacts:
    """A namespace is told of, to be used or given up: in use already; to be given up; told of only; claimed; not mapped."""

    known: Bools
    away: Bools
    told: Bools
    claimed: Bools
    failed: Bools


NAMESPACE: KernelFunction[NamespaceFacts] = KernelFunction(
    "namespace",
    (
        Check("told", lambda s: s.told, ok, why="what its info block says is told, not decided"),
        Check("exists", lambda s: s.known & ~s.away, error(errno.EBUSY), why="it is in use"),
        Check("unknown", lambda s: ~s.known & s.away, error(errno.ENODEV), why="it is not in use"),
        Check("claimed", lambda s: s.claimed, error(errno.EBUSY), why="something claims part of it"),
        Check("not-mapped", lambda s: s.failed, ok, why="memremap_pages refused", imposed=True),
        Check("changed", always, ok, why="in use, or given up"),
    ),
)


class NamespaceCall(DeviceCall):
    """A namespace is put to use (raw, fsdax, devdax) or given up, or a row says what its medium holds."""

    function = NAMESPACE

    def plan(self) -> Plan:
        """Put to use, or give up."""
        r, devices = self.request, self.machine.devices
        if r.key == DaxAction.INFO:
            devices.infos[self._medium] = self._told()
            step = self._step(told=True)
            return Outcome(step.ret, (step,))
        away = r.key == DaxAction.DELETE
        first = self._step(known=r.name in devices.namespaces, away=away)
        if first.ret:
            return Outcome(first.ret, (first,))
        steps = (yield from self._give_up()) if away else (yield from self._use())
        return Outcome(steps[-1].ret, tuple(steps))

    @property
    def _medium(self) -> tuple[str, int]:
        return self.request.name, self.request.first_byte

    def _told(self) -> InfoBlock:
        """Return the info block that the row tells of."""
        r, shift = self.request, self.machine.geometry.page_shift
        first = r.first_byte if r.altmap is None else r.altmap.base << shift
        data, end = r.start << shift, r.end << shift
        return InfoBlock(
            dataoff=data - first,
            start_pad=first - r.first_byte,
            end_trunc=r.last_byte + 1 - end,
            # Blocks before minor version 2 say no alignment; the largest power of two up to the offset counts then.
            align=r.value or 1 << max(data - first, 1).bit_length() - 1,
            mode=Mode.MEM if r.flags & NamespaceFlags.MAP_MEM else Mode.DEV,
            minor=4 if r.map_shift else 2 if r.value else 1,
            devdax=bool(r.flags & NamespaceFlags.DEVDAX),
            page_size=1 << r.map_shift if r.map_shift else None,
        )

    def _step(
        self, *, known: bool = False, away: bool = False, told: bool = False, claimed: bool = False, failed: int = 0
    ) -> Step:
        facts = NamespaceFacts(fact(known), fact(away), fact(told), fact(claimed), fact(failed))
        return decide(NAMESPACE, facts, self.kernel, imposed=failed)[1]

    def _give_up(self) -> Generator[Asked, Call, list[Step]]:
        state = self.machine.devices.namespaces.pop(self.request.name)
        steps: list[Step] = []
        if state.device is not None:
            steps += yield from take_away(self.machine, self.kernel, state.device)
            self.machine.devices.regions.pop(state.device.region.id, None)
        if state.pgmap:
            steps.append(step_of((yield Asked(MemunmapPages, Request(pgmap=state.pgmap)))))
        release(self.machine, *state.reserved)
        return [*steps, self._step(known=True, away=True)]

    def _use(self) -> Generator[Asked, Call, list[Step]]:
        r, m = self.request, self.machine
        stored = m.devices.infos.get(self._medium) if r.flags & NamespaceFlags.KEEP else None
        if r.flags & _BLOCK:
            return (yield from self._with_block(self._wanted(), stored))
        steps: list[Step] = []
        if stored is not None:
            # Nobody says what it is to be, so a block that this kernel takes decides alone.
            own = Namespace(r.first_byte, r.last_byte + 1 - r.first_byte, stored.mode, stored.align, stored.devdax)
            step, layout = self._validated(own, stored)
            steps.append(step)
            if layout is not None:
                return steps + (yield from self._mapped(own, stored, layout))
            if step.ret == -errno.EOPNOTSUPP:
                return steps
        return steps + (yield from self._raw())

    def _raw(self) -> Generator[Asked, Call, list[Step]]:
        r, m = self.request, self.machine
        unit, shift = (1 << SUBSECTION_SHIFT) - 1, m.geometry.page_shift
        legacy = r.flags & NamespaceFlags.LEGACY and not r.first_byte & unit and not (r.last_byte + 1) & unit
        pfns = ((r.first_byte >> shift, r.last_byte + 1 >> shift),)
        layout = Layout(pfns, None, pfns[0][0]) if legacy else None
        return (yield from self._block_device((r.first_byte, r.last_byte), layout))

    def _wanted(self) -> Namespace:
        """Return the namespace as the row asks for it."""
        r = self.request
        mode = Mode.MEM if r.flags & NamespaceFlags.MAP_MEM else Mode.DEV
        size, align = r.last_byte + 1 - r.first_byte, r.value or 1 << SUBSECTION_SHIFT
        return Namespace(r.first_byte, size, mode, align, bool(r.flags & NamespaceFlags.DEVDAX))

    def _validated(self, namespace: Namespace, info: InfoBlock) -> tuple[Step, Layout | None]:
        if self._unreadable():
            check, ret = unreadable(self.kernel)
            layout = None
        else:
            check, ret, layout = attach(self.machine.geometry, self.kernel, namespace, info)
        return _as_step(self.kernel.function(ND_PFN_VALIDATE), check, ret), layout

    def _unreadable(self) -> bool:
        return has_bad(self.machine, *info_span(self.request.first_byte))

    def _with_block(self, namespace: Namespace, stored: InfoBlock | None) -> Generator[Asked, Call, list[Step]]:
        """Put a namespace to use as fsdax or devdax, by the info block that it keeps or by a new one."""
        steps: list[Step] = []
        info = stored if stored is not None and stored.devdax == namespace.devdax else None
        if self._unreadable():
            check, ret = unreadable(self.kernel)
            return [_as_step(self.kernel.function(ND_PFN_VALIDATE), check, ret)]
        if info is None:
            check, ret, info = create(self.machine, self.kernel, namespace)
            steps.append(_as_step(self.kernel.function(ND_PFN_INIT), check, ret))
            if info is None:
                return steps
        step, layout = self._validated(namespace, info)
        steps.append(step)
        if layout is None:
            return steps
        return steps + (yield from self._mapped(namespace, info, layout))

    def _mapped(self, namespace: Namespace, info: InfoBlock, layout: Layout) -> Generator[Asked, Call, list[Step]]:
        """Map a namespace as its info block says; the memmap is new, so errors below it are cleared first."""
        m = self.machine
        m.devices.infos[self._medium] = info
        if info.mode is Mode.DEV:
            strike(m, info_span(namespace.start)[1], namespace.start + info.dataoff)
        if info.devdax:
            return (yield from self._dax_device(namespace, info, layout))
        return (yield from self._block_device((self.request.first_byte, self.request.last_byte), layout))

    def _block_device(self, span: tuple[int, int], layout: Layout | None) -> Generator[Asked, Call, list[Step]]:
        """Claim all of a namespace and map it, for raw and fsdax."""
        m, r = self.machine, self.request
        if not m.resources.insert(Node(*span, r.name, busy=True), nested=True):
            return [self._step(claimed=True)]
        state = NamespaceState(span)
        steps: list[Step] = []
        if layout is not None:
            call = yield Asked(MemremapPages, self._mapping(layout))
            steps.append(step_of(call))
            if call.ret:
                release(m, *span)
                return [*steps, self._step(failed=call.ret)]
            state.pgmap = call.request.pgmap
        m.devices.namespaces[r.name] = state
        return [*steps, self._step()]

    def _mapping(self, layout: Layout) -> Request:
        (start, end), *_ = layout.ranges
        return Request(
            start=start, end=end, pgmap=self.machine.pagemaps.fresh(), pgmap_type=PgmapType.FS_DAX, ranges=layout.ranges,
            altmap=layout.altmap, node=max(self.request.node, 0),
        )  # fmt: skip

    def _dax_device(self, namespace: Namespace, info: InfoBlock, layout: Layout) -> Generator[Asked, Call, list[Step]]:
        """Claim the metadata; what is left is a device on the dax bus, offered to the drivers."""
        m, r = self.machine, self.request
        first = namespace.start + info.start_pad
        metadata, data = (first, first + info.dataoff - 1), (first + info.dataoff, namespace.end - info.end_trunc - 1)
        if not m.resources.insert(Node(*metadata, r.name, busy=True), nested=True):
            return [self._step(claimed=True)]
        found = _NAME.fullmatch(r.name)
        number, index = (int(found[1]), int(found[2])) if found else (0, 0)
        region = DaxRegion(number, r.node, span=data, align=namespace.align)
        altmap = layout.altmap
        claim = Claim(layout.ranges, None if altmap is None else (altmap.base, altmap.reserve, altmap.free))
        device = DaxDevice(region, (data,), index, align=namespace.align, claim=claim)
        m.devices.regions[number] = region
        m.devices.namespaces[r.name] = NamespaceState(metadata, device)
        compat = self.kernel.has("dax-class-compat") and self.kernel.config.dax_compat
        if self.kernel.has("kmem-driver") and not compat:
            outcome = yield from DaxBus(m, self.kernel).adding(device)
            return [*outcome.steps, self._step()]
        device.on_bus = False
        outcome = yield from map_without_bus(m, self.kernel, device)
        if outcome.ret:
            del m.devices.namespaces[r.name], m.devices.daxes[device.name], m.devices.regions[number]
            release(m, *metadata)
            return list(outcome.steps)
        return [*outcome.steps, self._step()]


def _as_step(function: KernelFunction[Any], check: int, ret: int) -> Step:
    return Step(f"{function.name}/{function.checks[check].id}", ret, function, check)
