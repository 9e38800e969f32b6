"""Numbers that are no pfns: what a kernel makes of them that asks about their address."""

from __future__ import annotations

import pytest

from replay.engine.replay import Replayer
from replay.errors import TraceError
from replay.kernel.profiles import profile
from replay.trace.header import BootRange, MachineDescription
from replay.trace.schema import EventKind as K
from tests.property.engines import as_batch

ARM = MachineDescription("aarch64", 12, 30, 48, 1 << 30, "4.18", memory=(BootRange(0x40000, 0x80000, 0),))
ALIAS = 1 << 52 | 0x40000


def replayed(version: str, *rows: dict[str, int]) -> list[int]:
    replayer = Replayer(ARM, profile(version), keep=True)
    replayer.feed(as_batch([{"time": i, **row} for i, row in enumerate(rows)]))
    replayer.finish()
    return [int(n) for n in next(iter(replayer.finished()))["pages"]]


@pytest.mark.parametrize(("version", "valid"), [("v4.18", 1), ("v4.19", 0), ("v5.4", 0)])
def test_pfn_valid_by_address(version: str, valid: int) -> None:
    """v4.18 of arm64 does not notice that the pfn has bits that no address has; the section's number always tells."""
    low, beyond = ALIAS & (1 << 52) - 1, 1 << 52 | 0x90000
    kinds = [(K.PFN_VALID, low), (K.PFN_VALID, ALIAS), (K.PFN_VALID, beyond), (K.PFN_TO_ONLINE_PAGE, ALIAS)]
    assert replayed(version, *({"kind": kind, "pfn": pfn} for kind, pfn in kinds)) == [1, valid, 0, 0]


def test_a_poison_call_is_refused_there() -> None:
    row = {"kind": K.UNPOISON_MEMORY, "pfn": ALIAS}
    replayed("v4.19", row)
    with pytest.raises(TraceError, match="trace: row 1, column pfn: found 0x10000000040000"):
        replayed("v4.18", {"kind": K.PFN_VALID, "pfn": 1}, row)
