"""Does the table of families (docs/models.md, made from CASES) name every pipeline that is loaded?"""

import pytest

from pytest_diffprivacy.models.load import PIPELINES
from tests.models.families.table import CASES


def test_the_table_of_families_says_something_in_every_cell():
    assert all(len(cell) > 0 for case in CASES for cell in case.row)


@pytest.mark.slow
def test_every_pipeline_that_is_loaded_is_a_family_of_the_table():
    assert {type(case.build()).__name__ for case in CASES} == set(PIPELINES)
