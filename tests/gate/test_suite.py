"""The asv suite, without asv: versions, parameters, sizes, and what the configuration pins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks.gate.declared import declared
from benchmarks.suite import common, recordings
from benchmarks.workloads import WORKLOADS
from replay.kernel.profiles import PRESETS

ROOT = Path(__file__).parents[2]
DECLARED = list(declared())
CONFIG = json.loads((ROOT / "asv.conf.json").read_text())


def test_the_suite_is_there() -> None:
    names = [name for name, _, _ in DECLARED]
    assert len(names) == len(set(names)) >= 16
    kinds = {method.split("_")[0] for _, _, method in DECLARED}
    assert kinds == {"time", "timeraw", "peakmem", "track"}


@pytest.mark.parametrize(("owner", "method"), [d[1:] for d in DECLARED], ids=[d[0] for d in DECLARED])
def test_every_benchmark(owner: type, method: str) -> None:
    """A version set by hand; tracked values have a unit; timings have 6 samples at least, in several rounds."""
    version = getattr(owner, "version", None)
    assert isinstance(version, str)
    assert re.fullmatch(r"\d+", version)
    assert owner.timeout <= 900
    assert len(getattr(owner, "params", ())) == len(getattr(owner, "param_names", ()))
    assert all(owner.params) if hasattr(owner, "params") else True
    if method.startswith("track_"):
        assert getattr(owner, method).unit in {"disagreements", "calls", "rows", "states", "bytes", "bytes/event"}
    if method.startswith("time"):
        assert owner.rounds >= 2
        assert owner.rounds * owner.repeat[0] >= 6


def test_every_workload_has_a_size() -> None:
    assert common.SIZES.keys() == WORKLOADS.keys()
    for name, size in common.SIZES.items():
        assert size.passes == 1 or not size.changes, name
    assert set(common.PROFILES) <= set(PRESETS)


def test_sizes_can_be_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(common.MAX_ROWS, raising=False)
    assert common.size("random") == common.SIZES["random"]
    monkeypatch.setenv(common.MAX_ROWS, "100")
    assert common.size("random").events == 100


def test_a_smoke_run_replays_every_scenario_once() -> None:
    """Fewer recordings, none of them of a scenario that is there already, and all of them in a real run."""
    everything, few = recordings._traces(smoke=False), recordings._traces(smoke=True)
    assert len(everything) == len(list(recordings.FOLDER.glob("*.arrow")))
    scenarios = [name.split("-")[1] for name in few]
    assert len(set(scenarios)) == len(scenarios)
    assert set(scenarios) == {name.split("-")[1] for name in everything}
    assert everything == recordings.TRACES


def test_what_a_commit_does_not_have_is_skipped() -> None:
    """asv takes NotImplementedError for "skip"."""
    for module, name in (("replay.nothing", "run"), ("replay.session", "nothing")):
        with pytest.raises(NotImplementedError, match="this commit has no replay"):
            common.needed(module, name)


def test_every_dependency_is_pinned() -> None:
    """A dependency that is not in the matrix would be missing: wheels are installed without theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in needed}
    assert names == CONFIG["matrix"]["req"].keys()
    assert all(re.fullmatch(r"[\d.]+", v) for versions in CONFIG["matrix"]["req"].values() for v in versions)


def test_threads_are_pinned() -> None:
    """By asv's environments, and by the suite itself before anything is imported."""
    names = CONFIG["matrix"]["env_nobuild"]
    assert set(names) >= {"POLARS_MAX_THREADS", "OMP_NUM_THREADS", "ARROW_NUM_THREADS"}
    assert all(values == ["1"] for values in names.values())
    code = f"import os, benchmarks.suite; print([os.environ[n] for n in {sorted(names)!r}])"
    environment = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(["1"] * len(names))


def test_the_suite_is_listed_as_asv_does_it(tmp_path: Path) -> None:
    """As the package ``suite``, the folder above not on the path: everything imports, ``replay`` is not imported yet."""
    code = f"""
import importlib, pkgutil, sys
from importlib.machinery import PathFinder
class Only:
    def find_spec(name, path, target):
        return PathFinder.find_spec(name, [{str(ROOT / "benchmarks")!r}], target) if name == "suite" else None
sys.meta_path.insert(0, Only)
import suite
modules = [importlib.import_module("suite." + m.name) for m in pkgutil.iter_modules(suite.__path__)]
print(len(modules), "replay" in sys.modules, "benchmarks" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = len({name.split(".")[0] for name, _, _ in DECLARED}) + 1  # and common
    assert done.stdout.split() == [str(modules), "False", "True"]
