"""The benchmark of a CUDA device compares what it says, and says plainly where there is none."""

import pytest
import torch

from tests.benchmarks import gpu


@pytest.mark.slow
def test_every_method_is_asked_on_both_sides():
    rows = gpu.compared("cpu", 4)
    assert [row["what"] for row in rows] == list(gpu.methods())
    assert all(row["largest deviation over the spread"] == 0.0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_without_a_device_it_says_so_and_has_no_figures(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match="There is no CUDA device on this machine"):
        gpu.main()
