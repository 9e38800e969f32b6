"""Workloads of memory errors: how DRAM and pmem fail, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.errors import UsageError
from replay.sources.synthetic.devices import data_of
from replay.sources.synthetic.machines import SyntheticMachine
from replay.sources.synthetic.pages import described_devices, described_ram
from replay.sources.synthetic.places import random_in, shuffled
from replay.sources.synthetic.rows import Part, Row, repeated
from replay.sources.synthetic.streams import Stream
from replay.trace.poison import MfFlag
from replay.trace.schema import EventKind

__all__ = ("background", "bursts", "clear_errors", "hot_pages", "soft_offline", "storm", "unpoison")

_FAILURE = int(EventKind.MEMORY_FAILURE)
_TASK = 4242  # whoever consumes an error; it has no policy of its own and maps nothing
_BUSY, _NO_MEMORY = 1, -12  # what migration returns: some pages stayed, -ENOMEM


def _in_front(machine: SyntheticMachine, values: Mapping[str, Any]) -> list[Row]:
    return [*described_ram(machine, values["seed"]), *described_devices(machine)]


def _consumed(values: Mapping[str, Any], stream: Stream) -> dict[str, Any]:
    """Return what chooses the flags: a share of the errors is consumed, the scrubber finds the others."""
    bound = int(values["consumed"] * 1_000_000)

    def flags(first: int, count: int) -> NDArray[np.uint64]:
        hit = stream.below(first, count, 1_000_000) < np.uint64(bound)
        return hit.astype(np.uint64) * np.uint64(MfFlag.ACTION_REQUIRED)

    return {"flags": flags}


def background(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return bit flips: single pages anywhere, in RAM and on devices."""
    spans = [*machine.ram, *(data_of(d, machine) for d in machine.devices if d.mode != "kmem")]
    return repeated(
        values["name"],
        [{"kind": _FAILURE, "pfn": 0, "flags": 0, "task": _TASK}],
        random_in(sorted(spans), stream),
        choose=_consumed(values, Stream(values["seed"], values["name"], "consumed")),
        front=_in_front(machine, values),
    )


def bursts(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return failures of a DRAM row or column: pages at a fixed distance, one after the other."""
    pages, stride = values["pages"], values["stride"]
    reach = (pages - 1) * stride + 1
    spans = [(start, end - reach + 1) for start, end in machine.ram if end - start >= reach]
    if not spans:
        longest = max(end - start for start, end in machine.ram)
        raise UsageError(
            f"{values['name']}: {pages} pages at a distance of {stride} reach over {reach:,} pages; "
            f"needed at most {longest:,}, the longest range of RAM, as stride={max((longest - 1) // max(pages - 1, 1), 1)}"
        )
    return repeated(
        values["name"],
        [{"kind": _FAILURE, "pfn": k * stride, "flags": 0, "task": _TASK} for k in range(pages)],
        random_in(spans, stream),
        choose=_consumed(values, Stream(values["seed"], values["name"], "consumed")),
        front=_in_front(machine, values),
    )


def storm(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return a DIMM that fails as a whole: each page of a stretch of RAM once, in no order; then all again."""
    pages = values["dimm"] >> machine.geometry.page_shift
    longest = max(machine.ram, key=lambda span: span[1] - span[0])
    if not 0 < pages <= longest[1] - longest[0]:
        most = (longest[1] - longest[0] << machine.geometry.page_shift) >> 20
        raise UsageError(f"dimm-storm: dimm of {pages:,} pages; needed a page to {most}M, the longest range of RAM")
    return repeated(
        "dimm-storm",
        [{"kind": _FAILURE, "pfn": 0, "flags": 0, "task": _TASK}],
        shuffled([(longest[1] - pages, longest[1])], stream),
        choose=_consumed(values, Stream(values["seed"], "dimm-storm", "consumed")),
        front=_in_front(machine, values),
        passes=pages,
    )


def hot_pages(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return a few broken pages that tasks run into again and again."""
    chosen = random_in(machine.ram, Stream(values["seed"], "hot pages"))(0, values["pages"])
    number = random_in([(0, values["pages"])], stream)
    return repeated(
        "repeated-consumption",
        [
            {"kind": _FAILURE, "pfn": 0, "flags": int(MfFlag.ACTION_REQUIRED), "task": _TASK},
            {"kind": int(EventKind.ACCESS), "pfn": 0, "task": _TASK, "vaddr": 1 << 32},
        ],
        lambda first, count: chosen[number(first, count).view(np.int64)],
        front=_in_front(machine, values),
    )


def soft_offline(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return pages taken out of use because their corrected errors have reached a threshold."""
    failing = int(values["failing"] * 1_000_000)
    words = Stream(values["seed"], "soft-offline", "migration")

    def returned(first: int, count: int) -> NDArray[np.int64]:
        word = words.below(first, count, 1_000_000)
        bad = np.where(word % np.uint64(2) == 0, _BUSY, _NO_MEMORY)
        return np.where(word < np.uint64(failing), bad, 0).astype(np.int64)

    return repeated(
        "soft-offline",
        [{"kind": int(EventKind.SOFT_OFFLINE_PAGE), "pfn": 0, "value": 0}],
        shuffled(machine.ram, stream),
        choose={"value": returned},
        front=_in_front(machine, values),
        passes=sum(end - start for start, end in machine.ram),
    )


def unpoison(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return errors that a test injects and takes back."""
    return repeated(
        "unpoison",
        [
            # Simulated: kernels that have seen an error of the hardware refuse to unpoison.
            {"kind": _FAILURE, "pfn": 0, "flags": int(MfFlag.SW_SIMULATED)},
            {"kind": int(EventKind.UNPOISON_MEMORY), "pfn": 0},
        ],
        random_in(machine.ram, stream),
        front=_in_front(machine, values),
    )


def clear_errors(machine: SyntheticMachine, values: Mapping[str, Any], stream: Stream, _slot: tuple[int, int]) -> Part:
    """Return errors of pmem that a write clears again."""
    spans = [data_of(d, machine) for d in machine.devices if d.mode in {"fsdax", "devdax", "raw"}]
    if not spans:
        raise UsageError(
            f"clear-error: machine {machine.name} has no pmem that is not used as RAM; add some: --set pmem=4G"
        )
    pages = values["pages"]
    short = [(start, end - pages + 1) for start, end in spans if end - start >= pages]
    if not short:
        raise UsageError(
            f"clear-error: pages={pages}: needed at most {max(e - s for s, e in spans)}, the data of the largest device"
        )
    clear: Row = {"kind": int(EventKind.CLEAR_ERROR), "pfn": 0, "nr_pages": pages}
    errors = [{"kind": _FAILURE, "pfn": k, "flags": 0, "task": _TASK} for k in range(pages)]
    return repeated(
        "clear-error",
        [*errors, clear],
        random_in(sorted(short), stream),
        choose=_consumed(values, Stream(values["seed"], "clear-error", "consumed")),
        front=_in_front(machine, values),
    )
