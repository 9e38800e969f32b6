"""Names that come from outside (files, provenance) are shown as they are, whatever the output library makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from replay.cli.main import main
from replay.trace import Provenance
from tests.trace.build import lookup, machine, write

NAMES = ("[red]x.arrow", "[", ":smile:.arrow", "%s {} \\.arrow", "ü ∞.arrow", "[bold", "-p.arrow", "[/]")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert err == ""
    return int(str(stop.value.code)), out


@pytest.mark.parametrize("command", ["run", "info", "validate"])
@pytest.mark.parametrize("name", NAMES)
def test_file_names(tmp_path: Path, capsys, command: str, name: str) -> None:
    """Square brackets, colons and percent signs are no markup, no emoji and no format."""
    folder = tmp_path / "[bold]"
    folder.mkdir()
    path = write(folder / "a", lookup(0x100, recorded_ret=1)).rename(folder / name.replace("/", "∕"))
    code, out = answer(capsys, command, str(path))
    assert code == 0
    assert str(path) in out


def test_a_path_that_closes_markup(tmp_path: Path, capsys) -> None:
    (tmp_path / "[").mkdir()
    path = write(tmp_path / "[" / "bold].arrow", lookup(0x100, recorded_ret=1))
    for command in ("run", "info", "validate"):
        code, out = answer(capsys, command, str(path))
        assert code == 0
        assert "[/bold].arrow" in out
    code, out = answer(capsys, "run", str(path), str(path), "-p", "v5.11", "-p", "v5.12", "-p", "v6.1")
    assert code == 0
    assert "[/bold].arrow" in out


def test_what_a_trace_says_about_itself(tmp_path: Path, capsys) -> None:
    """Provenance and machine strings are any text."""
    odd = "[/red] :smile: [bold]"
    provenance = Provenance(odd, odd, odd, odd, unused={odd: 1}, command=odd, notes=(odd,))
    path = write(tmp_path / "a.arrow", lookup(1), provenance=provenance, machine=machine(release=odd))
    code, out = answer(capsys, "info", str(path))
    assert code == 0
    assert out.count(odd) == 8


def test_a_terminal_of_few_characters(tmp_path: Path) -> None:
    """An output encoding without our characters is no error: they are replaced."""
    path = write(tmp_path / "ü.arrow", lookup(0x9F, recorded_ret=0))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    script = "from replay.cli.main import main; main()"
    for arguments, code in ((["run", str(path)], 1), (["info", str(path)], 0), (["run", str(tmp_path / "∞")], 3)):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
        assert done.stdout.isascii()


@pytest.mark.parametrize("arguments", [["features", "--json"], ["--version"]], ids=["much", "little"])
def test_a_reader_that_stops_early(arguments: list[str]) -> None:
    """`replay features --json | head -1`: no traceback, and not the exit code of verdicts that differ."""
    script = "from replay.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=60)
    assert (process.returncode, errors) == (0, b"")
