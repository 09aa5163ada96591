"""What do subtests (pytest's own since 9, pytest-subtests before) make of the claims in them?"""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.plugin.conftest import SCORES, Project

AUDIT = """
    def test_releases(subtests):
        for name, scores in ({}):
            with subtests.test(msg=name):
                given = scores if isinstance(scores, tuple) else scores("later")
                assert_mia_tpr_below(*given, max_fpr=0.05, limit=0.2)
                {}
"""
pytestmark = pytest.mark.skipif(
    pytest.version_tuple < (9, 0) and find_spec("pytest_subtests") is None, reason="no subtests in this pytest"
)


@pytest.mark.parametrize(
    ("subjects", "more", "verdicts", "run"),
    [
        ("('one', HIDDEN), ('two', HIDDEN)", "", ["PASS"], "PASS: all 1 claims hold"),
        ("('one', HIDDEN), ('two', LEAKING), ('one', HIDDEN)", "", ["PASS", "FAIL"], "FAIL: 1 of 2 claims are refuted"),
        ("('two', LEAKING), ('one', HIDDEN)", "", ["FAIL", "PASS"], "FAIL: 1 of 2 claims are refuted"),
        ("('one', HIDDEN),", "assert 1 == 2", ["PASS"], "ERROR: tests failed although their claims held"),
        ("('one', HIDDEN),", "pytest.skip('enough')", ["PASS"], "INCOMPLETE"),
        ("('one', HIDDEN), ('two', pytest.skip)", "", ["PASS"], "INCOMPLETE"),
    ],
    ids=["all hold", "one refuted", "first refuted", "one fails afterwards", "one ends in the middle", "one skipped"],
)
def test_every_claim_of_a_subtest_counts(
    project: Project, subjects: str, more: str, verdicts: list[str], run: str
) -> None:
    project.write("test_a.py", SCORES, AUDIT.format(subjects, more))
    seen = project.run("--diffprivacy-report=audit.json")
    assert seen.line("run ").startswith(f"run           {run}")
    assert sorted(claim.verdict.value for claim in project.record().claims) == sorted(verdicts)
    assert {claim.node_id for claim in project.record().claims} == {"test_a.py::test_releases"}
    assert seen.exit_code == (0 if run.startswith("PASS") else 1)


def test_a_subtest_of_unittest_that_is_skipped_is_no_pass(project: Project) -> None:
    project.write(
        "test_a.py",
        SCORES,
        """
        import unittest

        class Releases(unittest.TestCase):
            def test_it(self):
                for number in range(2):
                    with self.subTest(number=number):
                        if number:
                            self.skipTest("later")
                        assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)
        """,
    )
    seen = project.run("--diffprivacy-report=audit.json")
    assert (project.record().verdict, seen.exit_code) == ("INCOMPLETE", 1)
