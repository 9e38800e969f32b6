"""What a command loads before it answers. Loading is most of what a short command takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trace.build import lookup, write

HEAVY = {"numpy", "pyarrow", "polars"}
CHILD = """
import sys
from replay.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print(stop.code, *sys.modules, file=sys.stderr)
"""


def loaded(*arguments: object, expected: str = "0") -> set[str]:
    """Return the modules that a command has loaded by its end, in a process of its own."""
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    code, *modules = child.stderr.splitlines()[-1].split()
    assert code == expected, child.stderr
    assert "replay.cli.main" in modules
    return set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["import", "recording", "-h"], ["--version"]])
def test_help_loads_nothing_that_only_commands_need(arguments) -> None:
    """Neither the array libraries, nor what draws tables, nor the package beyond its command line."""
    modules = loaded(*arguments)
    assert not modules & {*HEAVY, "rich"}
    ours = {name for name in modules if name.split(".")[0] == "replay"}
    assert {name for name in ours if not name.startswith("replay.cli")} == {"replay", "replay.errors"}


def test_run_loads_no_data_frames(tmp_path: Path) -> None:
    modules = loaded("run", write(tmp_path / "a.arrow", lookup(0x100, recorded_ret=1)))
    assert modules >= {"numpy", "pyarrow"}
    assert "polars" not in modules


def test_diff_loads_nothing_that_reads_traces() -> None:
    """Neither the file format nor the engine: comparing rules needs none of them, and loading took longer than comparing."""
    modules = loaded("diff", "v5.11", "v5.12", expected="1")
    assert not modules & {"pyarrow", "polars", "replay.trace.reader", "replay.session", "replay.engine"}
