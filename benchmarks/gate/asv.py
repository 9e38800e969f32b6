"""Running asv: nothing is asked, nothing is written outside of ``.asv/``, and its exit codes are told apart."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gate.results import NoResultsError

__all__ = ("FOLDER", "RESULTS", "ROOT", "SMOKE_RESULTS", "commit_of", "machine_name", "publish", "run_commits", "smoke")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".asv"
RESULTS = FOLDER / "results"
SMOKE_RESULTS = FOLDER / "smoke" / "results"
_CONFIG = ROOT / "asv.conf.json"
_SMOKE_ROWS = 256
_SOME_FAILED = 2  # asv's exit code; what failed is read from the results
_MACHINE = "REPLAY_BENCH_MACHINE"  # environment variable: what the results of this machine are filed under


def machine_name() -> str:
    """Return the name under which results of this machine are filed."""
    return os.environ.get(_MACHINE) or platform.node() or "machine"


def commit_of(revision: str) -> str:
    """Return the full hash of a commit.

    Raises:
        NoResultsError: there is no such commit.
    """
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoResultsError(f"{revision}: no such commit here (a shallow clone? {done.stderr.strip()})")
    return done.stdout.strip()


def smoke() -> None:
    """Run every benchmark once, with few rows, in the environment that this is running in; the working tree is measured.

    The results go to a folder of their own: they are no timings.
    """
    folder = SMOKE_RESULTS.parent
    folder.mkdir(parents=True, exist_ok=True)
    for old in SMOKE_RESULTS.rglob("*.json"):
        old.unlink()
    config: dict[str, Any] = json.loads(_CONFIG.read_text())
    config |= {
        "repo": str(ROOT),
        "benchmark_dir": str(ROOT / config["benchmark_dir"]),
        "results_dir": str(SMOKE_RESULTS),
    }
    config |= {"env_dir": str(folder / "env"), "html_dir": str(folder / "html")}
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(config))
    # Forked from one process that has imported the suite: nothing is timed, and a start each would take minutes.
    options = ["--environment", "existing:same", "--quick", "--launch-method", "forkserver", "--show-stderr"]
    options += ["--set-commit-hash", commit_of("HEAD"), "--machine", machine_name()]
    # The working tree's package, whatever else is installed here; asv takes no PYTHONPATH.
    _asv(["run", *options], path, {"REPLAY_BENCH_MAX_ROWS": str(_SMOKE_ROWS), "ASV_PYTHONPATH": str(ROOT)})


def run_commits(commits: Sequence[str], bench: Sequence[str] = ()) -> None:
    """Measure commits in one go, round by round by turns, so that a slow hour is shared by all of them."""
    FOLDER.mkdir(exist_ok=True)
    hashes = FOLDER / "commits"
    hashes.write_text("".join(f"{commit}\n" for commit in commits))
    options = ["--interleave-rounds", "--record-samples", "--show-stderr", "--machine", machine_name()]
    for pattern in bench:
        options += ["--bench", pattern]
    _asv(["run", f"HASHFILE:{hashes}", *options], _CONFIG)


def publish() -> None:
    """Write the history as HTML to ``.asv/html``."""
    _asv(["publish"], _CONFIG)


def _asv(arguments: Sequence[str], config: Path, extra: Mapping[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "asv", *arguments, "--config", str(config)]
    environment = _environment() | dict(extra or {})
    sys.stderr.flush()
    # Its progress goes to stderr: stdout is for what the gate finds.
    code = subprocess.run(command, env=environment, cwd=ROOT, stdout=sys.stderr, check=False).returncode
    if code not in (0, _SOME_FAILED):
        raise NoResultsError(f"asv {arguments[0]} ended with exit code {code}; its own words are above")


def _environment() -> dict[str, str]:
    """Return the environment of asv: its one file in the home folder (the machine's description) goes to ``.asv/home``."""
    home, true_home = FOLDER / "home", Path.home()
    home.mkdir(parents=True, exist_ok=True)
    name, memory = machine_name(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {"machine": name, "os": f"{platform.system()} {platform.release()}", "arch": platform.machine()}
    machine |= {"cpu": platform.processor() or platform.machine(), "num_cpu": str(os.cpu_count()), "ram": str(memory)}
    (home / ".asv-machine.json").write_text(json.dumps({name: machine, "version": 1}))
    environment = dict(os.environ)
    environment.setdefault("XDG_CACHE_HOME", str(true_home / ".cache"))
    environment.setdefault("XDG_CONFIG_HOME", str(true_home / ".config"))
    environment.setdefault("GIT_CONFIG_GLOBAL", str(true_home / ".gitconfig"))
    return environment | {"HOME": str(home)}
