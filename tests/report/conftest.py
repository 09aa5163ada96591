import pytest

from pytest_diffprivacy.evidence.records import Run
from tests.report.finished import finished_run


@pytest.fixture(scope="session")
def run() -> Run:
    return finished_run()
