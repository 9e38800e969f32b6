"""The distinct numbers of an array."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from replay.machine.distinct import distinct


@pytest.mark.parametrize("numbers", [[], [3], [3, 3], [2, 1, 2, 0, 1]])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_as_numpy_has_it(numbers: list[int], dtype: type) -> None:
    given = np.array(numbers, dtype)
    found = distinct(given)
    assert found.dtype == dtype
    assert found.tolist() == np.unique(given).tolist()


def test_masked_arrays_are_not_imported() -> None:
    """That is what it is for."""
    code = """
import sys
import numpy as np
from replay.machine.distinct import distinct
distinct(np.arange(3))
print("numpy.ma" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
