"""The examples that every command's help shows: they run as they are printed, in a folder that has what they name."""

from __future__ import annotations

import glob
import gzip
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from replay.cli import compare
from replay.cli.main import app, main
from replay.trace.reader import TraceFile
from replay.trace.schema import COLUMNS, EventKind
from replay.trace.writer import TraceWriter
from tests.compare.c_files import needs_compiler, online
from tests.sources.importers.rasdaemon.build import failures
from tests.trace.build import lookup, write

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "tests/sources/importers"
ROWS = {
    "6.1.192-s4-kmem": 4104,
    "6.1.192-s3-hotplug": 304,
    "6.1.192-s2a-pmem-collision": 1800,
}  # others: as many as need to be there
HOST = "ras-mc_event.db --layout format.txt --machine machine.arrow"
NOT_HERE = {
    "replay run fleet/ 'more/**/*.arrow' --scheduler tcp://host:8786": "needs a cluster; tests/fleet has one",
    "replay lab --kernel /boot/vmlinuz-6.1.0-56-amd64 --scenario s2a-pmem-collision -o collision": "boots a kernel",
    "replay record -o host.arrow --duration 60s": "needs tracefs and root",
    "replay record -o offline.arrow --walks --command 'echo offline > /sys/devices/system/memory/memory42/state'": (
        "needs tracefs and root"
    ),
    "replay record --check": "says what this host lacks",
    "replay import recording recordings/6.1.192/s2a-pmem-collision -o collision.arrow": "needs a recording",
    "replay import trace-cmd trace.dat -o host.arrow": "needs trace-cmd; test_import_events.py has a stand-in",
    "replay generate covering -o traces/synthetic": "takes minutes; test_covering.py does it by night",
    "replay generate covering -o traces/synthetic --page docs/coverage.md --with traces/recorded": "takes minutes",
    "replay generate covering --profile v6.12 --profile v7.2 -o covering --unreachable": "takes a while",
    "replay generate fleet --machines 1000 -o fleet/ -m server -m guest --kernel 6.1 --kernel 6.12 --workload errors": (
        "a thousand files"
    ),
    "replay generate dimm-storm -o storm.arrow --machine server --param dimm=16G --events 4194304": "large",
    "replay generate amplify walks.arrow -o endless.arrow --times 100000 --in-place": "large",
    f"replay import rasdaemon {HOST} --decoded types.csv -o errors.arrow": "needs files of a host",
    "replay native v5.12 --states 10000000": "takes a while",
    "replay generate damon -o damon.arrow --machine server --events 10000000": "large",
    "replay generate fleet --machines 64 -o fleet/": "large",
    "replay generate fleet --machines 64 -o fleet/ --events 100000": "large",
}


def examples(command: object, name: str = "replay") -> Iterator[tuple[str, str]]:
    """Yield (command, example) of a command and all below."""
    for sub, inner in getattr(command, "commands", {}).items():
        yield from examples(inner, f"{name} {sub}")
    for line in (getattr(command, "help", None) or "").splitlines():
        if line.strip().startswith("replay ") or " | replay " in line:
            yield name, line.strip()


EXAMPLES = list(examples(typer.main.get_command(app)))
# Importers that read a pipe have tests of their own.
HERE = [example for _, example in EXAMPLES if example not in NOT_HERE and " | " not in example]


def test_every_command_has_examples_of_itself() -> None:
    def leaves(command: object, name: str) -> Iterator[str]:
        below = getattr(command, "commands", {})
        for sub, inner in below.items():
            yield from leaves(inner, f"{name} {sub}")
        if not below:
            yield name

    without = set(leaves(typer.main.get_command(app), "replay")) - {name for name, _ in EXAMPLES}
    assert not without
    for name, example in EXAMPLES:
        same = name.removesuffix(" workload")  # which is not said
        assert f"{same} " in f"{example} " or name == "replay lab", (name, example)  # what it made is replayed


def test_what_is_not_run_here_is_still_in_the_help() -> None:
    assert NOT_HERE.keys() <= {example for _, example in EXAMPLES}


@pytest.mark.parametrize("example", [example for _, example in EXAMPLES])
def test_an_example_has_only_options_that_exist(example: str) -> None:
    """Those that are not run, too."""
    command, words = typer.main.get_command(app), shlex.split(example.rpartition(" | ")[2])[1:]
    context = None
    while hasattr(command, "commands"):
        context = command.make_context("replay", words, parent=context)
        _, command, words = command.resolve_command(context, words)
    command.make_context("replay", words, parent=context)


def head(source: Path, target: Path, rows: int) -> None:
    """Write the first rows of a trace."""
    with TraceFile.open(source) as trace:
        options = {"machine": trace.machine, "provenance": trace.provenance, "strings": trace.strings}
        with TraceWriter(target, columns=trace.columns, **options) as writer:
            for batch in trace.batches(max_rows=rows // 8 * 8):
                given = {name: np.broadcast_to(batch.given(name), len(batch)) for name in trace.columns}
                writer.write({name: (np.array(batch.column(name)), given[name].copy()) for name in trace.columns})
                return


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the examples name; traces are cut short."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("traces/recorded", "traces/synthetic", "fleet", "more", "docs"):
        (folder / name).mkdir(parents=True)
    named = {Path(word).stem for e in HERE for word in shlex.split(e) if word.startswith("traces/recorded/")} - {"*"}
    for name in sorted(named):
        head(
            REPOSITORY / f"traces/recorded/{name}.arrow", folder / f"traces/recorded/{name}.arrow", ROWS.get(name, 256)
        )
    collision = folder / "traces/recorded/6.1.192-s2a-pmem-collision.arrow"
    head(REPOSITORY / "traces/recorded" / collision.name, folder / "trace.arrow", 1800)
    for name in ("huge", "fleet/a", "fleet/b", "more/c", "traces/synthetic/a"):
        shutil.copy(collision, folder / f"{name}.arrow")
    shutil.copy(folder / "traces/recorded/6.1.192-s5-poison-ram.arrow", folder / "fleet/c.arrow")
    shutil.copy(collision, folder / "collision.arrow")
    shutil.copy(folder / "traces/recorded/6.1.192-s3-hotplug.arrow", folder / "recorded.arrow")
    lookups = [lookup(0x100000 + n, EventKind.PFN_TO_ONLINE_PAGE) for n in range(1200)]
    write(folder / "walks.arrow", *lookups, lookup(0x100000, nr_pages=0x4000), columns=tuple(COLUMNS))
    shutil.copytree(REPOSITORY / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    patch = (REPOSITORY / "examples/candidates/forgets_altmap.py").read_text()
    (folder / "patch.py").write_text(patch.replace("broken", "mine"))
    for name in ("mine.c", "my.c", "before.c"):
        (folder / name).write_text(online("return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL;"))
    shutil.copy(DATA / "events/data/6.1.192/trace-tgid.txt.gz", folder / "trace.txt.gz")
    (folder / "script.txt").write_bytes(gzip.decompress((DATA / "events/data/6.1.192/perf-script.txt.gz").read_bytes()))
    for name in ("iomem.txt", "memory_blocks.txt"):
        shutil.copy(DATA / "machine/data/6.1.192-s4-kmem" / name, folder / name.replace("memory_blocks", "blocks"))
    (folder / "ndctl.json").write_text((DATA / "machine/data/6.1.192-s4-kmem/ndctl.txt").read_text())
    shutil.copy(DATA / "machine/data/lsmem-2.38.1.json", folder / "lsmem.json")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for made in (
            "import machine --kernel 6.1 --iomem iomem.txt --memory-blocks blocks.txt -o machine.arrow",
            "convert trace.arrow trace.csv.zst",
        ):
            with pytest.raises(SystemExit, match="0"):
                main(made.split())
    failures(folder / "ras-mc_event.db", ("2024-01-01 00:00:00 +0000", "0x101000", "dirty LRU page", "Recovered"))
    return folder


def expanded(example: str) -> list[str]:
    """Return the words of an example as a shell would make them, in the present folder."""
    example = example.replace('"$(uname -r)"', "6.1.0-32-amd64").replace("/proc/iomem", "iomem.txt")
    words: list[str] = []
    for word in shlex.split(example, posix=False):
        plain = shlex.split(word)[0]
        found = sorted(glob.glob(plain)) if "*" in plain and word == plain else []
        words += found or [plain]
    return words[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", [pytest.param(e, marks=needs_compiler) if ".c" in shlex.split(e)[-1] else e for e in HERE]
)
def test_it_runs(example: str, room: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(room)
    monkeypatch.setattr(compare, "_BUDGET", 0.0)  # no timing
    if "--expect accepted.json" in example:
        Path("accepted.json").write_text('{"version": 2, "differences": []}')
    before = {path: path.read_bytes() for path in room.rglob("*.arrow")}
    with pytest.raises(SystemExit) as stop:
        main(expanded(example))
    out, err = capsys.readouterr()
    assert stop.value.code in {0, 1}, err
    assert "error" not in err
    assert out
    output = [words[n + 1] for words in [shlex.split(example)] for n, w in enumerate(words) if w in {"-o", "--output"}]
    for name in output:
        assert os.path.exists(name)
    for path, content in before.items():
        assert path.read_bytes() == content or path.name in output, path
        path.write_bytes(content)
    for path in set(room.rglob("*.arrow")) - before.keys():  # what it made is not there for the next one
        path.unlink()
