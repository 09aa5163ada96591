"""Which digits has each example model seen? The split that `build_digits.py` wrote, as a ProbeSet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from pytest_diffprivacy import ProbeSet

HERE = Path(__file__).parent


def digits_probes(model: str) -> ProbeSet:
    """Members as often as the training set holds them, and the digits that the model never saw."""
    images = (load_digits().images / 16.0).astype(np.float32)
    split = json.loads((HERE / "digits_splits.json").read_text())[model]
    members = np.repeat(images[split["members"]], split["repetitions"], axis=0)
    return ProbeSet(members, images[split["non_members"]])
