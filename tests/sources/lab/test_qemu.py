"""The conversation with the monitor of the emulator, against one that answers as qemu's does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replay.sources.lab import qemu

PROMPT = b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) "


@contextmanager
def monitor(path: Path, rings: str) -> Iterator[list[str]]:
    """Listen at ``path``; the processor is in the rings of that text one after the other, and then in the last."""
    asked: list[str] = []
    left = list(rings)

    def answer(command: str) -> str:
        if command == "info registers":
            return f"RAX=0\r\nCPL={left.pop(0) if len(left) > 1 else left[0]} II=0 A20=1 SMM=0 HLT=0\r\n"
        return "done so\r\n" if command.startswith("mce") else ""

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(PROMPT)
            for line in lines:
                command = line.decode().strip()
                asked.append(command)
                connection.sendall(f"{command}\x1b[K\r\n{answer(command)}(qemu) ".encode())

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield asked
        thread.join(5)


def test_a_request_goes_to_the_monitor(tmp_path: Path) -> None:
    with monitor(tmp_path / "m", "0") as asked:
        assert qemu._answer(tmp_path / "m", "hmp mce -b 1") == "OK done so"
    assert asked == ["mce -b 1"]


def test_a_command_waits_until_the_processor_runs_a_task(tmp_path: Path) -> None:
    """The machine stands still between the look and the command, and runs again after each."""
    with monitor(tmp_path / "m", "003") as asked:
        assert qemu._answer(tmp_path / "m", "user 1 mce -b 1") == "OK done so"
    look = ["stop", "info registers"]
    assert asked == ["cpu 1", *look, "cont", *look, "cont", *look, "mce -b 1", "cont"]


def test_a_processor_that_never_runs_a_task(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(qemu, "_TRIES", 3)
    with monitor(tmp_path / "m", "0") as asked:
        assert qemu._answer(tmp_path / "m", "user 1 mce").startswith("ERR cpu 1 was never")
    assert "mce" not in asked
    assert asked.count("stop") == asked.count("cont") == 3


def test_what_cannot_be_answered(tmp_path: Path) -> None:
    assert qemu._answer(tmp_path / "nobody", "hmp info").startswith("ERR ")
    assert qemu._answer(tmp_path / "nobody", "dance") == "ERR unknown"
