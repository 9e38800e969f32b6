"""A numeric field of many events: at once where it ends the line, by expression where it does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replay.sources.importers.recording.ftrace import Bytes, Events, Ints

from .functions import fields

__all__ = ("Unsigned", "hex_before", "read_field")

Unsigned = npt.NDArray[np.uint64]
_HEX = np.full(256, 255, np.uint8)
_HEX[ord("0") : ord("9") + 1] = np.arange(10)
_HEX[ord("a") : ord("f") + 1] = np.arange(10, 16)
_HEX[ord("A") : ord("F") + 1] = np.arange(10, 16)
_MASK = (1 << 64) - 1


def read_field(
    events: Events, index: Ints, names: tuple[str, ...], ends: Ints | None = None
) -> tuple[Unsigned, npt.NDArray[np.bool_]]:
    """Return the values of a field of some events, and which of them have it; a negative one as 64 bits.

    Args:
        events: the events.
        index: which of them.
        names: what the field may be called; the first that an event has counts.
        ends: offsets at which the field is expected to end; default the ends of the lines.
    """
    buffer = np.frombuffer(events.data, np.uint8)
    value, good = hex_before(buffer, events.end[index] if ends is None else ends, names[0].encode())
    for i in np.flatnonzero(~good).tolist():
        event = int(index[i])
        given = fields(events.data[int(events.payload[event]) : int(events.end[event])])
        name = next((name for name in names if name in given), None)
        if name is not None and -(1 << 63) <= given[name] <= _MASK:
            value[i], good[i] = given[name] & _MASK, True
    return value, good


def hex_before(buffer: Bytes, ends: Ints, name: bytes) -> tuple[Unsigned, npt.NDArray[np.bool_]]:
    """Read `` NAME=0x…`` before each of some offsets."""
    value, count = np.zeros(len(ends), np.uint64), np.zeros(len(ends), np.int64)
    active = np.ones(len(ends), bool)
    for place in range(16):
        nibble = _HEX[buffer[ends - 1 - place]]
        active &= nibble < 16
        if not active.any():
            break
        value |= np.where(active, nibble, 0).astype(np.uint64) << np.uint64(4 * place)
        count += active
    prefix = b" " + name + b"=0x"
    begin = ends - count - len(prefix)
    good = (count > 0) & (begin >= 0)
    for place, byte in enumerate(prefix):
        good &= buffer[begin + place] == byte
    return value, good
