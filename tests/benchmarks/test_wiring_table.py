"""The committed table of the wiring control: every family that is audited as a grey box, and each other library."""

import json

import pytest

from tests.benchmarks.suite import RESULTS
from tests.benchmarks.wiring_table import NOT_ASKED, WRONG
from tests.models.families.table import CASES

ROWS = {row["family or library"]: row for row in json.loads((RESULTS / "wiring_table.json").read_text("utf-8"))["rows"]}
LIBRARIES = (
    "denoising-diffusion-pytorch",
    "azula",
    "flow_matching",
    "k-diffusion",
    "EDM",
    "rectified flow",
    "your own",
)


UNNOTICED = {("Stable Diffusion 3", "time x 1000")}
"""Asked so, its tiny network errs up to twice as much and yet loses to the blur by far at no timestep."""


def test_every_family_and_library_has_a_row():
    assert [case.name for case in CASES if case.name not in ROWS] == []
    assert [name for name in LIBRARIES if not any(row.startswith(name) for row in ROWS)] == []


@pytest.mark.parametrize("name", ROWS)
def test_the_right_wiring_is_held_and_no_wrong_one_passes_unnoticed(name):
    row = ROWS[name]
    if row["right"] == NOT_ASKED:
        assert name == "Kandinsky 2.2"
        return
    assert row["right"] == "held"
    passed = {(name, wrong) for wrong in WRONG if not row[wrong].startswith(("caught", "blur", "harmless"))}
    assert passed <= UNNOTICED
