"""The peak is the process's own: a small child of a large parent is small, and what was freed still counts."""

import subprocess
import sys

import numpy as np
import pytest

from tests.benchmarks import ROOT
from tests.benchmarks.resident import peak_resident

CODE = "from tests.benchmarks.resident import peak_resident; print(peak_resident())"


@pytest.mark.slow
def test_a_child_does_not_inherit_its_parents_peak():
    np.ones(50_000_000)  # 400 MB that are freed at once
    assert peak_resident() > 400_000_000
    child = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(child.stdout) < 150_000_000
