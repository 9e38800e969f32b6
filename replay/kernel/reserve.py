"""Reservations in the resource tree that drivers and firmware make (request_region and its undoing)."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from replay.kernel.calls import Call, always, error, fact, ok
from replay.kernel.decision import Bools, Check, KernelFunction
from replay.machine.resources import Node
from replay.trace.schema import ResourceFlags

__all__ = ("RESOURCE_INSERT", "RESOURCE_REMOVE", "ReserveFacts", "ResourceInsert", "ResourceRemove")


@dataclass(frozen=True)
class ReserveFacts:
    """Whether the resource tree allows it: a place to nest, or an entry of exactly these bytes."""

    possible: Bools


RESOURCE_INSERT: KernelFunction[ReserveFacts] = KernelFunction(
    "resource_insert",
    (
        Check(
            "resource-conflict", lambda s: ~s.possible, error(errno.EBUSY), why="a resource claims part of the range"
        ),
        Check("inserted", always, ok, why="the range lies in free space or within an entry that is not busy"),
    ),
)
RESOURCE_REMOVE: KernelFunction[ReserveFacts] = KernelFunction(
    "resource_remove",
    (
        Check("unknown", lambda s: ~s.possible, error(errno.EINVAL), why="there is no entry of exactly these bytes"),
        Check("removed", always, ok, why="the entry goes, with everything below it"),
    ),
)


class ResourceInsert(Call):
    """A range of addresses is claimed."""

    function = RESOURCE_INSERT

    def begin(self) -> None:
        """Insert the entry if it has a place."""
        r, m = self.request, self.machine
        busy, ram = bool(r.flags & ResourceFlags.BUSY), bool(r.flags & ResourceFlags.RAM)
        done = m.resources.insert(Node(r.first_byte, r.last_byte, r.name, busy, ram), nested=True)
        self.decide(ReserveFacts(fact(done)))
        m.resources_changed(r.first_byte, r.last_byte)

    def apply(self, start: int, end: int) -> None:
        """Nothing: sections are not concerned."""


class ResourceRemove(Call):
    """A range of addresses is given back."""

    function = RESOURCE_REMOVE

    def begin(self) -> None:
        """Remove the entry if it is there."""
        r, m = self.request, self.machine
        self.decide(ReserveFacts(fact(m.resources.remove(r.first_byte, r.last_byte))))
        m.resources_changed(r.first_byte, r.last_byte)

    def apply(self, start: int, end: int) -> None:
        """Nothing: sections are not concerned."""
