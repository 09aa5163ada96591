"""Does the README's table of families say what the tests of the families run?"""

from pathlib import Path

import pytest

from pytest_diffprivacy.models.load import PIPELINES
from tests.models.families.table import CASES

README = Path(__file__).parents[3] / "README.md"
HEAD = "| family | extraction | membership | detectors | mitigation |\n|---|---|---|---|---|\n"


def test_the_table_of_families_is_what_the_tests_run():
    rows = README.read_text(encoding="utf-8").split(HEAD)[1].split("\n\n")[0].splitlines()
    assert rows == ["| " + " | ".join(case.row) + " |" for case in CASES]
    assert all(len(cell) > 0 for case in CASES for cell in case.row)


@pytest.mark.slow
def test_every_pipeline_that_is_loaded_is_a_family_of_the_table():
    assert {type(case.build()).__name__ for case in CASES} == set(PIPELINES)
