"""The benchmarks that the suite declares: counted without asv, so that asv can be held against it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

__all__ = ("declared",)

_BENCHMARK = re.compile(r"(time|timeraw|mem|peakmem|track)_.+")


def declared() -> Iterator[tuple[str, type, str]]:
    """Yield name as asv has it, class and method of every benchmark in ``benchmarks.suite``."""
    suite = importlib.import_module("benchmarks.suite")
    for found in pkgutil.iter_modules(suite.__path__):
        module = importlib.import_module(f"benchmarks.suite.{found.name}")
        for class_name, owner in inspect.getmembers(module, inspect.isclass):
            if owner.__module__ == module.__name__ and not class_name.startswith("_"):
                for method, _ in inspect.getmembers(owner, inspect.isfunction):
                    if _BENCHMARK.fullmatch(method):
                        yield f"{found.name}.{class_name}.{method}", owner, method
