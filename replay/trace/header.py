"""What a trace file says about itself: the machine at boot, where the trace comes from.

Everything is plain JSON in the Arrow schema metadata, keys ``replay.*``. Reading checks types, and says which field is
wrong; bounds and order are checked by ``validate.check_machine``, and whether the geometry fits the architecture by
``replay.machine.geometry``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from replay.errors import TraceError

__all__ = ("BootRange", "MachineDescription", "Provenance", "Resource", "from_json", "load_json", "to_json")

_T = TypeVar("_T")


@dataclass(frozen=True)
class BootRange:
    """Memory that the firmware reported and the kernel took over at boot (memblock.memory).

    Attributes:
        start: first pfn.
        end: pfn after the last, half open.
        node: NUMA node.
        nomap: reserved by firmware, no direct map (arm64); such pages do not count as mapped memory.
    """

    start: int
    end: int
    node: int = 0
    nomap: bool = False


@dataclass(frozen=True)
class Resource:
    """An entry of the resource tree (/proc/iomem) at boot; a child lies inside its parent and comes after it.

    Attributes:
        start: first byte.
        end: last byte, inclusive, as in /proc/iomem.
        name: as in /proc/iomem.
        busy: whether a driver or the system claims it exclusively.
        ram: whether the entry carries the System RAM flag.
    """

    start: int
    end: int
    name: str
    busy: bool = False
    ram: bool = False


@dataclass(frozen=True)
class MachineDescription:
    """The machine before the first event, and the facts of its kernel that a replay needs.

    Attributes:
        arch: as in uname -m (x86_64, aarch64, ppc64, s390x, riscv64, loongarch64).
        page_shift: log2 of the page size in bytes.
        section_size_bits: log2 of the section size in bytes.
        max_physmem_bits: physical address bits that the section table covers.
        memory_block_bytes: size of a memory block device.
        kernel: version that the trace was made on, as in a profile's name without the v ("6.1.192").
        release: uname -r.
        config: kernel configuration facts that differ from the architecture's default, by option name.
        sysctls: values at the start.
        memory: boot memory, ascending, not overlapping.
        resources: the resource tree in the order of /proc/iomem.
    """

    arch: str
    page_shift: int
    section_size_bits: int
    max_physmem_bits: int
    memory_block_bytes: int
    kernel: str
    release: str = ""
    config: Mapping[str, bool] = field(default_factory=dict)
    sysctls: Mapping[str, int] = field(default_factory=dict)
    memory: tuple[BootRange, ...] = ()
    resources: tuple[Resource, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Where a trace comes from.

    Attributes:
        source: "recording", "synthetic", "test" …
        name: what was recorded or generated.
        tool: name and version of the program that wrote the file.
        clock: clock of the time column.
        lost_events: events that the recorder lost; a replay of such a trace is not trusted.
        unused: counts of input records that the importer read and did not need, by kind.
        command: a line that makes the file again, where there is one.
        seed: seed of a generated trace.
        parameters: parameters of a generated trace.
        notes: anything else a reader should know.
    """

    source: str
    name: str = ""
    tool: str = ""
    clock: str = ""
    lost_events: int = 0
    unused: Mapping[str, int] = field(default_factory=dict)
    command: str = ""
    seed: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def to_json(value: object) -> bytes:
    """Return the canonical JSON (sorted keys, no spaces) of a header dataclass or plain value."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def from_json(cls: type[_T], data: bytes, where: str) -> _T:
    """Build a header dataclass from JSON, refusing unknown, missing and mistyped fields.

    Args:
        cls: MachineDescription or Provenance.
        data: JSON bytes.
        where: file and key, for the error.

    Raises:
        TraceError: the JSON is not what the class describes.
    """
    result = _build(cls, load_json(data, where), where)
    assert isinstance(result, cls)
    return result


def load_json(data: bytes, where: str) -> Any:  # noqa: ANN401 - JSON is of any type
    """Return the value of JSON bytes, refusing what two readers could understand differently.

    Args:
        data: JSON in UTF-8.
        where: file and key, for the error.

    Raises:
        TraceError: not JSON, a name that occurs twice in one object, or text that is not Unicode (lone surrogates).
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise TraceError(where, f"text that is not JSON ({error})", "JSON") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return result


def _build(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - walks type hints, whatever they are
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build_dataclass(hint, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), value, "a list", where)
        return tuple(_build(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is not None:  # Mapping[str, X]
        _expect(isinstance(value, dict), value, "an object", where)
        return {key: _build(args[1], item, _at(where, key)) for key, item in value.items()}
    if hint is int:
        _expect(isinstance(value, int) and not isinstance(value, bool), value, "an integer", where)
        _expect(-(1 << 63) <= value < 1 << 64, value, "an integer of 64 bits", where)
        return value
    _expect(isinstance(value, hint), value, f"a {hint.__name__}", where)
    return value


@cache  # evaluating the hints takes longer than everything else, and there are many resources
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _build_dataclass(cls: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    _expect(isinstance(value, dict), value, "an object", where)
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in value:
        _expect(key in fields, key, f"one of {', '.join(fields)}", where)
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise TraceError(where, "an object without it", f"field {name!r}")
    return cls(**{key: _build(hints[key], item, _at(where, key)) for key, item in value.items()})


def _at(where: str, key: str) -> str:
    # Keys of a mapping come from the file: never let one break a message into lines.
    return f"{where}.{key}" if key.isidentifier() else f"{where}[{key!r:.80}]"


def _expect(condition: bool, found: object, needed: str, where: str) -> None:
    if not condition:
        raise TraceError(where, repr(found)[:80], needed)
