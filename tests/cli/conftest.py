"""The command line, run in process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from replay.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What one command gave.

    Attributes:
        code: exit code.
        out: stdout.
        err: stderr.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON document that stdout is, after checking the envelope."""
        envelope = json.loads(self.out)  # refuses a second document
        assert list(envelope) == ["version", "command", "status", "data", "diagnostics"]
        assert envelope["version"] == 1
        for diagnostic in envelope["diagnostics"]:
            assert set(diagnostic) == {"level", "message", "where"}
            assert diagnostic["level"] in {"warning", "error"}
            assert len(diagnostic["message"].splitlines()) == 1
        assert isinstance(envelope, dict)
        return envelope

    @property
    def error(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.splitlines()
        assert line.startswith("replay: error: ")
        return line


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Return a function that runs the command line; whatever happens, there is no traceback."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert isinstance(stop.value.code, int)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "replay: internal error" not in out + err
        assert stop.value.code in {0, 1, 2, 3}
        return Answer(stop.value.code, out, err)

    return run
