"""``replay import machine``: a file that others take with --machine."""

from __future__ import annotations

from pathlib import Path

from replay.trace.reader import TraceFile

DATA = Path(__file__).parents[1] / "sources" / "importers" / "machine" / "data"
KMEM = DATA / "6.1.192-s4-kmem"


def test_answer(replay, tmp_path: Path) -> None:
    """A trace without rows; what is assumed is told, what is doubtful is a warning."""
    answer = replay(
        "import", "machine", "--kernel", "6.1.0-32-amd64", "--iomem", KMEM / "iomem.txt",
        "--memory-blocks", KMEM / "memory_blocks.txt", "--ndctl", KMEM / "ndctl.txt", "-o", tmp_path / "m.arrow",
    )  # fmt: skip
    assert answer.code == 0
    assert "x86_64, kernel 6.1, 2,047 MiB in 2 ranges, 47 resources, 4 devices" in answer.out
    assert "assumed: memory blocks of 128 MiB" in answer.out
    assert "2 memory blocks are not online" in answer.err
    with TraceFile.open(tmp_path / "m.arrow") as trace:
        assert (trace.rows, trace.machine.release) == (0, "6.1.0-32-amd64")
    assert replay("info", tmp_path / "m.arrow").code == 0
    assert replay("validate", tmp_path / "m.arrow").code == 0


def test_json(replay, tmp_path: Path) -> None:
    answer = replay(
        "import",
        "machine",
        "--kernel",
        "6.1",
        "--lsmem",
        DATA / "lsmem-2.38.1.json",
        "-o",
        tmp_path / "m.arrow",
        "--json",
    )
    data = answer.json["data"]
    assert data["machine"]["memory_block_bytes"] == 128 << 20
    assert "46 physical address bits" in data["assumed"]


def test_refused(replay, tmp_path: Path) -> None:
    zeros = tmp_path / "iomem"
    zeros.write_text("00000000-00000000 : System RAM\n")
    answer = replay("import", "machine", "--kernel", "6.1", "--iomem", zeros, "-o", tmp_path / "m.arrow")
    assert answer.code == 3
    assert "as root" in answer.error
    assert replay("import", "machine", "--kernel", "6.1", "-o", tmp_path / "m.arrow").code == 2
    extra = tmp_path / "d"
    extra.write_text("hello\n[]\n")
    arguments = ("import", "machine", "--kernel", "6.1", "--lsmem", DATA / "lsmem-2.38.1.json", "--daxctl", extra)
    assert replay(*arguments, "-o", tmp_path / "m.arrow", "--strict").code == 3
    assert "1 rejected (text beside the JSON)" in replay(*arguments, "-o", tmp_path / "m.arrow").err
