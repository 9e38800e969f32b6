"""The recorded traces: how many answers differ from the real kernel's, and on how many rows two kernels part.

The traces are those of the working tree, the same for every commit that is measured. They are replayed once per commit; in a
smoke run one of each scenario is, since all of them would take longer than everything else together.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from . import ROOT
from .common import PROFILES, SMOKE, Measured, needed

FOLDER = ROOT / "traces" / "recorded"


def _traces(*, smoke: bool) -> tuple[str, ...]:
    """Return the names of all recordings; for a smoke run of the smallest one of each scenario."""
    paths = sorted(FOLDER.glob("*.arrow"))
    if smoke:  # kernel-scenario-about.arrow
        by_size = sorted(paths, key=lambda path: path.stat().st_size, reverse=True)
        paths = sorted({path.stem.split("-")[1]: path for path in by_size}.values())
    return tuple(path.stem for path in paths)


TRACES = _traces(smoke=SMOKE)
PAIRS = tuple(f"{a}..{b}" for a, b in pairwise(PROFILES))

# What a kernel says, as against how it came to it or whether a recording agrees.
_VERDICT = ("pages", "ret", "slow_pages", "action", "result", "poisoned", "counted", "signals")


class _Recordings(Measured):
    """Everything that is replayed, once for all that is counted."""

    def setup_cache(self) -> dict[str, dict[str, Any]]:
        """Replay everything; what went wrong with a trace is told by its own benchmarks."""
        found: dict[str, dict[str, Any]] = {}
        for trace in TRACES:
            try:
                found[trace] = {**_agreement(trace), "apart": _apart(trace)}
            except NotImplementedError:
                found[trace] = {}
            except Exception as error:
                found[trace] = {"error": f"{type(error).__name__}: {error}"}
        return found

    setup_cache.timeout = 900.0  # type: ignore[attr-defined]

    def _of(self, found: dict[str, dict[str, Any]], trace: str) -> dict[str, Any]:
        if not found[trace]:
            raise NotImplementedError("this commit cannot replay traces of this format")
        if "error" in found[trace]:
            raise AssertionError(found[trace]["error"])
        return found[trace]


class Agreement(_Recordings):
    """Each trace replayed by the kernel that it was recorded on."""

    params = (TRACES,)
    param_names = ("trace",)

    def setup(self, found: dict[str, dict[str, Any]], trace: str) -> None:
        self.found = self._of(found, trace)

    def track_disagreements(self, found: dict[str, dict[str, Any]], trace: str) -> int:
        """Recorded answers that the replay does not give. 0, or something is broken."""
        return int(self.found["differed"])

    track_disagreements.unit = "disagreements"  # type: ignore[attr-defined]

    def track_compared(self, found: dict[str, dict[str, Any]], trace: str) -> int:
        """Recorded answers that were held against the replay's: no disagreement counts for nothing if these shrink."""
        return int(self.found["compared"])

    track_compared.unit = "calls"  # type: ignore[attr-defined]


class Neighbours(_Recordings):
    """Each trace replayed by two kernels that follow each other."""

    params = (TRACES, PAIRS)
    param_names = ("trace", "kernels")

    def setup(self, found: dict[str, dict[str, Any]], trace: str, pair: str) -> None:
        self.found = self._of(found, trace)

    def track_differing_rows(self, found: dict[str, dict[str, Any]], trace: str, pair: str) -> int:
        """Rows with another verdict: pages, return code, action, result, flag, counter or signals."""
        return int(self.found["apart"][pair])

    track_differing_rows.unit = "rows"  # type: ignore[attr-defined]


def _agreement(trace: str) -> dict[str, int]:
    aspects = needed("replay.session", "run")(FOLDER / f"{trace}.arrow").tally.agreement.values()
    if not aspects:
        raise AssertionError("nothing was compared")
    return {"differed": sum(a.differed for a in aspects), "compared": sum(a.compared for a in aspects)}


def _apart(trace: str) -> dict[str, int]:
    """Return the number of rows that differ, per pair of kernels."""
    verdicts = [_verdicts(trace, kernel) for kernel in PROFILES]
    return {
        pair: int((first != second).any(axis=0).sum())
        for pair, (first, second) in zip(PAIRS, pairwise(verdicts), strict=True)
    }


def _verdicts(trace: str, kernel: str) -> Any:
    """Return what a kernel says, int64 of (columns, rows)."""
    kept: list[dict[str, Any]] = []
    with needed("replay.trace.reader", "TraceFile").open(FOLDER / f"{trace}.arrow") as opened:
        needed("replay.engine.replay", "replay_trace")(
            opened, needed("replay.kernel.profiles", "profile")(kernel), sink=kept.append
        )
        rows = opened.rows
    table = np.array([np.concatenate([outcomes[name] for outcomes in kept]).astype(np.int64) for name in _VERDICT])
    if table.shape != (len(_VERDICT), rows):
        raise AssertionError(f"outcomes of {rows} rows were needed, of {table.shape[1]} there are some")
    return table
