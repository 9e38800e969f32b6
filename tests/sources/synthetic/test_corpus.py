"""The committed traces are what their generator makes of the line that stands in them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from replay.cli.main import main
from replay.trace.reader import TraceFile

FOLDER = Path(__file__).parents[3] / "traces" / "synthetic"
# Those of `replay generate covering` are made all at once, see test_covering.py.
FILES = sorted(f for f in FOLDER.glob("*.arrow") if not f.stem.startswith("covering-"))


def test_there_are_some_and_the_page_names_them() -> None:
    page = (FOLDER / "README.md").read_text()
    assert len(FILES) > 10
    assert [f.stem for f in FILES if f.stem not in page] == []
    assert sum(f.stat().st_size for f in FILES) < 1 << 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_line_in_the_file_makes_it_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TraceFile.open(path) as trace:
        words, digest = shlex.split(trace.provenance.command), trace.digest
        trace.verify()
    assert words[0] == "replay"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words[1:])
    assert stop.value.code == 0
    with TraceFile.open(tmp_path / "trace.arrow") as again:
        assert again.digest == digest
