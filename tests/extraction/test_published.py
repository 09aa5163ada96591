"""The catalogue of methods has a row for everything that this room finds out."""

from pytest_diffprivacy.extraction.generate_and_filter import GENERATE_AND_FILTER
from pytest_diffprivacy.extraction.prompt_search import PROMPTED_SEARCH
from pytest_diffprivacy.extraction.reconstruction import RECONSTRUCTION
from pytest_diffprivacy.extraction.replication import REPLICATION
from pytest_diffprivacy.methods import Access, Kind, catalogue


def test_extraction_by_seed_and_by_prompt_reconstruction_and_closeness_have_rows():
    rows = {row.name: row for row in catalogue() if row.kind is Kind.EXTRACTION}
    for published in (GENERATE_AND_FILTER, PROMPTED_SEARCH, RECONSTRUCTION, REPLICATION):
        assert rows[published.name] is published
        assert published.source
        assert published.built_by.startswith("assert_")
    assert RECONSTRUCTION.access is Access.GREY_BOX
    assert GENERATE_AND_FILTER.access is PROMPTED_SEARCH.access is REPLICATION.access is Access.BLACK_BOX


def test_a_method_asks_the_question_of_its_kind_or_its_own():
    assert GENERATE_AND_FILTER.question == PROMPTED_SEARCH.question == Kind.EXTRACTION.question
    assert len({GENERATE_AND_FILTER.question, RECONSTRUCTION.question, REPLICATION.question}) == 3
