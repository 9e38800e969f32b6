"""Damaged input never crashes an import: it gives rows, rejects, or one of our errors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import InputError, UsageError
from replay.sources.importers.events.kernel_log import import_log
from replay.sources.importers.events.machine import MachineSource
from replay.sources.importers.events.text import EventOptions
from replay.sources.importers.rejects import Rejects
from replay.trace.reader import TraceFile
from tests.sources.importers.events.imported import data, import_bytes

CASES = [
    ("6.1.192/tc-report.txt.gz", "ftrace"), ("7.2.13/tc-report-raw.txt.gz", "ftrace"),
    ("6.1.192/trace-tgid.txt.gz", "ftrace"), ("7.2.13/trace-option-fields.txt.gz", "ftrace"),
    ("7.2.13/trace-dax.txt.gz", "ftrace"),
    ("6.1.192/perf-script.txt.gz", "perf"), ("6.1.192/perf-lost.txt.gz", "perf"), ("7.2.13/dmesg-raw.txt", "log"),
    ("7.2.13/dmesg-ctime.txt", "log"), ("7.2.13/journal-export.gz", "log"), ("7.2.13/journal-json.gz", "log"),
]  # fmt: skip
FIRST = {"7.2.13/trace-dax.txt.gz": 135}  # where a pagemap is made; its pages are poisoned behind that
SAMPLES = {
    name: b"".join(data(name).splitlines(keepends=True)[FIRST.get(name, 0) : FIRST.get(name, 0) + 40])
    for name, _ in CASES
}
PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from((b"\n", b"\x00", b"\xff\xfe", b" ", b"-", b":", b"[", b"]", b"=", b"0x", b"99999999999999999999",
                     b"pfn=0x", b"\r\n", b"\xc3\x28", b"#", b"LOST 5 EVENTS", b"\xed\xa0\x80", b"ffffffffffffffff",
                     b"dax page", b"range_end=0xffffffffffffffff", b"nr_range=4294967295")),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, text: bytes) -> bytes:
    """Some bytes replaced, inserted or removed; maybe cut; maybe in another encoding."""
    result = bytearray(text)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(result)))
        gone = draw(st.integers(0, 20))
        result[at : at + gone] = draw(PIECES)
    if draw(st.booleans()):
        del result[draw(st.integers(0, len(result))) :]
    if draw(st.integers(0, 9)) == 0:
        return bytes(result).decode("latin-1").encode("utf-16")
    return bytes(result)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), CASES, ids=[name for name, _ in CASES])
def test_damage_is_never_a_crash(name: str, form: str) -> None:
    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(st.data(), st.sampled_from((500, 1 << 20)))
    def check(draw: st.DataObject, size: int) -> None:
        text = draw.draw(mutated(SAMPLES[name]))
        table = Rejects("x")
        with tempfile.TemporaryDirectory() as folder:
            out, error = Path(folder) / "t.arrow", None
            try:
                if form == "log":
                    (Path(folder) / "log").write_bytes(text)
                    options = EventOptions(MachineSource(kernel="7.2.13"))
                    report = import_log(Path(folder) / "log", out, options, table)
                else:
                    report = import_bytes(text, out, form, size=size, rejects=table)
            except (InputError, UsageError) as raised:
                error = raised
            if not out.exists():
                assert error is not None
                assert "\n" not in str(error)
            else:
                assert error is None
                with TraceFile.open(out) as trace:  # whatever came in, what comes out is a sound trace
                    assert sum(len(batch) for batch in trace.batches()) == report.rows
            table.write(Path(folder) / "rejects.arrow")
            table.write(Path(folder) / "rejects.csv")

    check()
