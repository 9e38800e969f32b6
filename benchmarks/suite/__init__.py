"""The asv suite: how long, how much memory, and whether the answers are still right.

asv imports this folder alone, as the package ``suite`` and with the commit under test installed; the folder above it is not
on ``sys.path``, because it holds another ``replay``. The workloads are up there, so that package is made known by hand.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# One thread, whatever the environment says nothing about: set before numpy, polars or Arrow are imported.
for _name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def _make_known() -> None:
    folder = ROOT / "benchmarks"
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)


if "benchmarks" not in sys.modules:
    _make_known()
