"""One boot of a kernel under qemu, and the conversation with the guest: hotplug requests go to the monitor."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from replay.sources.lab.scenarios import Scenario

__all__ = ("Boot", "boot")

# vendor: machine checks are graded the way of the other large maker, whose grades qemu can raise.
_MACHINE = ("-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max,vendor=GenuineIntel", "-machine", "q35,nvdimm=on")
_DISKS = {"out": 2 << 30, "data": 0, "swap": 256 << 20}  # in this order: vda, vdb, vdc; data is made elsewhere
_PROMPT = b"(qemu) "
_TRIES = 200  # of a look at what a processor is doing


@dataclass
class Boot:
    """What a boot left behind.

    Attributes:
        console: text of the serial console.
        disk: the raw disk that holds the tar of the recording.
        timed_out: the guest did not power off in time and was stopped.
        seconds: wall time.
        requests: what the guest asked of the monitor, and the replies.
    """

    console: str
    disk: Path
    timed_out: bool
    seconds: float
    requests: list[dict[str, object]] = field(default_factory=list)


def boot(
    work: Path, image: Path, initramfs: Path, chosen: Scenario, *, show: Callable[[str], None] | None = None
) -> Boot:
    """Boot a kernel and wait until it powers off.

    Args:
        work: folder with ``data.img``; everything else of the boot is written there.
        image: the kernel.
        initramfs: what it runs.
        chosen: the scenario, which says what machine it needs.
        show: called with lines of the console that begin with ``@@``.
    """
    for name, size in _DISKS.items():
        if size:
            with (work / f"{name}.img").open("wb") as file:
                file.truncate(size)
    # tsc=reliable: a busy host makes the clock stand still, and a kernel that then calls it unstable patches itself.
    words = (f"console=ttyS0 panic=-1 quiet log_buf_len=16M tsc=reliable lab.scn={chosen.script or chosen.name} "
             f"lab.name={chosen.name} lab.deadline={chosen.deadline} {chosen.kernel}")  # fmt: skip
    # A socket's path may have 107 bytes at most; a folder that the user chose may be longer.
    with tempfile.TemporaryDirectory(prefix="lab") as sockets:
        control, monitor = Path(sockets) / "control", Path(sockets) / "monitor"
        arguments = [
            "qemu-system-x86_64", *_MACHINE, *chosen.memory, "-display", "none", "-no-reboot", "-net", "none",
            "-kernel", str(image), "-initrd", str(initramfs), "-append", words.strip(),
            "-serial", f"file:{work}/console.txt", "-serial", f"unix:{control},server=on,wait=off",
            "-monitor", f"unix:{monitor},server=on,wait=off", *chosen.devices,
        ]  # fmt: skip
        for name in _DISKS:
            arguments += ["-drive", f"file={work}/{name}.img,if=virtio,format=raw,cache=unsafe"]
        return _run(arguments, work, control, monitor, chosen.deadline + 900, show or (lambda _line: None))


def _run(
    arguments: list[str], work: Path, control: Path, monitor: Path, limit: float, show: Callable[[str], None]
) -> Boot:
    begun, requests, stop = time.monotonic(), list[dict[str, object]](), threading.Event()
    console = work / "console.txt"
    with (work / "qemu.txt").open("wb") as log:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        talk = threading.Thread(target=_talk, args=(control, monitor, requests, stop), daemon=True)
        talk.start()
        shown, timed_out = 0, False
        try:
            while process.poll() is None:
                if time.monotonic() - begun > limit:
                    timed_out = True
                    process.kill()
                time.sleep(0.5)
                shown = _show_news(console, shown, show)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            stop.set()
            talk.join(5)
    text = console.read_text("utf-8", "replace") if console.exists() else ""
    if process.returncode and not timed_out:
        text += (work / "qemu.txt").read_text("utf-8", "replace")
    return Boot(text, work / "out.img", timed_out, time.monotonic() - begun, requests)


def _show_news(console: Path, shown: int, show: Callable[[str], None]) -> int:
    if not console.exists():
        return shown
    lines = console.read_text("utf-8", "replace").split("\n")[:-1]
    for line in lines[shown:]:
        if line.startswith("@@"):
            show(line.strip())
    return len(lines)


def _talk(control: Path, monitor: Path, requests: list[dict[str, object]], stop: threading.Event) -> None:
    """Answer the guest, line by line: ``hmp COMMAND`` goes to the monitor, ``user CPU COMMAND`` at a chosen moment."""
    begun = time.monotonic()
    while not control.exists() and not stop.is_set():
        time.sleep(0.1)
    try:
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(control))
            guest.settimeout(1)
            pending = b""
            while not stop.is_set():
                try:
                    data = guest.recv(4096)
                except TimeoutError:
                    continue
                if not data:
                    return
                pending += data
                while b"\n" in pending:
                    line, pending = pending.split(b"\n", 1)
                    request = line.decode("utf-8", "replace").strip("\r\0 ")
                    if request:
                        reply = _answer(monitor, request)
                        requests.append(
                            {"t_host": round(time.monotonic() - begun, 3), "request": request, "reply": reply}
                        )
                        guest.sendall(reply.encode()[:4000] + b"\n")
    except OSError:
        return  # the machine is gone


def _answer(monitor: Path, request: str) -> str:
    word, _, rest = request.partition(" ")
    try:
        if word == "hmp":
            with _connected(monitor) as connection:
                return _reply(_ask(connection, rest))
        if word == "user":
            cpu, _, command = rest.partition(" ")
            return _when_in_user_code(monitor, cpu, command)
    except OSError as error:
        return f"ERR {error}"
    return "ERR unknown"


def _when_in_user_code(monitor: Path, cpu: str, command: str) -> str:
    """Give a command while that processor runs a task's own code: a machine check that hits the kernel is a panic.

    The machine is stopped, looked at, and let go again where the processor was elsewhere.
    """
    with _connected(monitor) as connection:
        _ask(connection, f"cpu {cpu}")
        for _ in range(_TRIES):
            _ask(connection, "stop")
            there = "CPL=3" in _ask(connection, "info registers")
            text = _ask(connection, command) if there else ""
            _ask(connection, "cont")
            if there:
                return _reply(text)
            time.sleep(0.01)
    return f"ERR cpu {cpu} was never in the code of a task"


def _reply(text: str) -> str:
    return "OK " + " | ".join(line for line in text.split("\n")[1:] if line and not line.startswith("(qemu)"))


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        _read_prompt(connection)
        yield connection


def _ask(connection: socket.socket, command: str) -> str:
    connection.sendall(command.encode() + b"\n")
    text = _read_prompt(connection).decode("utf-8", "replace")
    return re.sub(r"\x1b\[[A-Z0-9;]*", "", text).replace("\r", "")


def _read_prompt(connection: socket.socket) -> bytes:
    read = b""
    while not read.endswith(_PROMPT):
        data = connection.recv(65536)
        if not data:
            break
        read += data
    return read
