"""Workloads that change the memory: blocks off and on, devices from one use to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from replay.errors import UsageError
from replay.sources.synthetic.devices import blocks_of, mapping, pgmap_id, plugging, unmapping, unplugging
from replay.sources.synthetic.layout import Device
from replay.sources.synthetic.machines import SyntheticMachine
from replay.sources.synthetic.places import marching, shuffled
from replay.sources.synthetic.rows import Part, Row, repeated
from replay.sources.synthetic.streams import Stream
from replay.trace.schema import EventKind

__all__ = ("churn", "device_of", "flips", "life_cycle")

_PERSISTENT = ("fsdax", "devdax", "raw", "kmem")


def churn(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return memory blocks that go offline in no order, and online again ``depth`` blocks later."""
    every = machine.whole_blocks
    wanted, depth, pages = values["blocks"], values["depth"], machine.geometry.pages_per_block
    if not 0 < depth < min(wanted, len(every)):
        raise UsageError(
            f"hotplug-churn: depth={depth} of blocks={wanted}: needed fewer than blocks, and the machine has "
            f"{len(every)} blocks that are all RAM; as depth={max(min(wanted, len(every)) // 2, 1)}"
        )
    chosen = every[-wanted:]
    order = shuffled([(block, block + pages) for block in chosen], stream, pages)(0, len(chosen))
    off = marching([(n, n + 1) for n in range(len(chosen))])
    row = {"pfn": 0, "nr_pages": pages}
    offline = {"kind": int(EventKind.MEMORY_BLOCK_OFFLINE), **row}
    online = {"kind": int(EventKind.MEMORY_BLOCK_ONLINE), **row}
    # At the start `depth` blocks are off already: those that come last in the order.
    front = [{**offline, "pfn": int(pfn)} for pfn in order[-depth:]]
    late = np.roll(order, depth)
    return repeated(
        "hotplug-churn",
        (offline, online),
        (lambda f, n: order[off(f, n).view(np.int64)], lambda f, n: late[off(f, n).view(np.int64)]),
        front=front,
        claims={"memory blocks"},
        passes=len(chosen),
    )


def flips(machine: SyntheticMachine, values: Mapping[str, Any], _stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return a device that is used as devdax and as RAM by turns."""
    device = device_of("kmem-flips", machine, values["device"])
    every = blocks_of(device, machine)
    if not every:
        pages = machine.geometry.pages_per_block
        raise UsageError(
            f"kmem-flips: device {device.number} holds no whole memory block; "
            f"needed a device of at least {2 * pages:,} pages"
        )
    blocks = every[: values["blocks"]]
    own = pgmap_id(device, machine)
    step = len(machine.devices)
    plug, unplug = list(plugging(device, machine, blocks)), list(unplugging(device, machine, blocks))
    if device.mode == "kmem":
        template: list[Row] = [
            *plug,
            *unplug,
            *mapping(device, machine, own, "devdax"),
            *unmapping(device, machine, own),
        ]
    else:
        template = [*unmapping(device, machine, own), *plug, *unplug, *mapping(device, machine, own + step, "devdax")]
    claims = {f"device {device.number}"}
    return repeated("kmem-flips", template, grows={"pgmap": step}, claims=claims, passes=1)


def life_cycle(machine: SyntheticMachine, values: Mapping[str, Any], _stream: Stream, slot: tuple[int, int]) -> Part:
    """Return a namespace that goes through all uses: devdax, raw, fsdax, disabled in between."""
    device = device_of("pmem-life-cycle", machine, values["device"])
    if device.mode == "kmem":
        raise UsageError(f"pmem-life-cycle: device {device.number} is used as RAM; needed fsdax, devdax or raw (modes)")
    uses, step = ("devdax", "raw", "fsdax"), len(machine.devices)
    number, of = slot
    calls = 2 * len(uses)
    first_call = 1 + number

    def rows() -> Iterator[Row]:
        for turn, use in enumerate(uses):
            ids = [first_call + (2 * turn + k) * of if values["phases"] else None for k in range(2)]
            yield from unmapping(device, machine, pgmap_id(device, machine, turn), ids[0])
            yield from mapping(device, machine, pgmap_id(device, machine, turn + 1), use, ids[1])

    grows = {"pgmap": step * len(uses), "call": calls * of}
    return repeated("pmem-life-cycle", list(rows()), grows=grows, claims={f"device {device.number}"}, passes=1)


def device_of(what: str, machine: SyntheticMachine, number: int) -> Device:
    """Return a persistent device.

    Raises:
        UsageError: there is no such device, or it is none that can be used another way.
    """
    fit = [d.number for d in machine.devices if d.mode in _PERSISTENT]
    if number not in fit:
        there = f"machine {machine.name} has {', '.join(map(str, fit))}" if fit else f"machine {machine.name} has none"
        raise UsageError(
            f"{what}: device={number}: needed a pmem device ({there}); add some with pmem=4G, or take machine server"
        )
    return machine.devices[number]
