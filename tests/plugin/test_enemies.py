"""What does somebody do who wants the green light? Hooks, attributes, options, links and marks that hide an audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_diffprivacy.evidence.records import Run
from tests.plugin.conftest import MODEL, SCORES, Project

HOLDS = "def test_holds():\n    assert_mia_tpr_below(*HIDDEN, max_fpr=0.05, limit=0.2)\n"
LEAKS = "def test_leaks():\n    assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)\n"
AS_CLASS = "class TestLeaks:\n    def test_it(self):\n        assert_mia_tpr_below(*LEAKING, max_fpr=0.05, limit=0.2)\n"
UNITTEST = f"import unittest\n{AS_CLASS.replace('class TestLeaks', 'class Leaks(unittest.TestCase)')}"
LEAKING_FILE = "def pytest_{0}: \n    return {1}\n"


def missing(project: Project, *arguments: str | Path) -> list[str]:
    """What a run lacks; it is INCOMPLETE and red."""
    seen = project.run("--diffprivacy-report=audit.json", *arguments)
    assert (project.record().verdict, seen.exit_code) == ("INCOMPLETE", 1)
    return [text.rpartition(", no claim")[0] for text in project.record().missing]


@pytest.mark.parametrize(
    ("audit", "hidden"),
    [
        (LEAKS + "test_leaks.__test__ = False", "test_leaks"),
        (AS_CLASS + "    __test__ = False", "TestLeaks::test_it"),
        (AS_CLASS + "    test_it.__test__ = False", "TestLeaks::test_it"),
        (UNITTEST + "    __test__ = False", "Leaks::test_it"),
    ],
    ids=["function", "class", "method", "unittest"],
)
def test_an_audit_that_says_it_is_no_test_is_missed(project: Project, audit: str, hidden: str) -> None:
    project.write("test_a.py", SCORES, HOLDS, audit)
    assert missing(project) == [f"test_a.py::{hidden}: not collected"]


@pytest.mark.parametrize(
    ("hook", "body", "lacking"),
    [
        ("pycollect_makeitem(name)", "[] if name == 'test_leaks' else None", "test_a.py::test_leaks: not collected"),
        ("ignore_collect(collection_path)", "collection_path.name == 'test_b.py' or None", "test_b.py: not collected"),
        (
            "collection_modifyitems(items)",
            "items[:] and items.__setitem__(slice(None), [i for i in items if i.name != 'test_leaks'])",
            "test_a.py::test_leaks: deselected",
        ),
        (
            "collection_finish(session)",
            "session.items.__setitem__(slice(None), [i for i in session.items if i.name != 'test_leaks'])",
            "test_a.py::test_leaks: selected",
        ),
        ("runtest_protocol(item)", "item.name == 'test_leaks' or None", "test_a.py::test_leaks: selected"),
    ],
)
def test_an_audit_that_a_hook_takes_away_is_missed(project: Project, hook: str, body: str, lacking: str) -> None:
    project.write("conftest.py", LEAKING_FILE.format(hook, body))
    project.write("test_a.py", SCORES, HOLDS, LEAKS if "test_a" in lacking else "")
    if "test_b" in lacking:
        project.write("test_b.py", SCORES, LEAKS)
    assert missing(project) == [lacking]


@pytest.mark.parametrize(
    "arguments",
    [("-o", "python_functions=test_h*"), ("-o", "python_files=test_a.py"), ("-opython_classes=Nothing",)],
    ids=lambda arguments: arguments[-1],
)
def test_options_that_change_which_tests_there_are_make_no_pass(project: Project, arguments: tuple[str, ...]) -> None:
    project.write("test_a.py", SCORES, HOLDS)
    project.write("test_b.py", SCORES, HOLDS, LEAKS if "python_functions" in arguments[-1] else "")
    assert f"-o {arguments[-1].removeprefix('-o')}: changes which tests there are" in missing(project, *arguments)


def test_what_lies_behind_a_link_is_missed_like_what_lies_there(project: Project) -> None:
    project.write("elsewhere/test_leaks.py", SCORES, LEAKS)
    project.write("audits/test_a.py", SCORES, HOLDS)
    (project.path / "audits" / "more").symlink_to(project.path / "elsewhere")
    (project.path / "audits" / "loop").symlink_to(project.path / "audits")
    lacking = missing(project, "audits", "--ignore=audits/more", "--ignore=audits/loop")
    assert lacking == ["audits/more/test_leaks.py: not collected"]


@pytest.mark.parametrize("ending", ["pytest.exit('done', returncode=0)", "import os; os._exit(0)"])
@pytest.mark.slow
def test_a_run_that_ends_itself_with_0_leaves_no_pass(project: Project, ending: str) -> None:
    project.write("test_a.py", SCORES, HOLDS, f"def test_end():\n    {ending}", LEAKS)
    project.write("audit.json", "PASS")
    seen = project.run_alone("--diffprivacy-report=audit.json")
    if "os._exit" in ending:
        assert not (project.path / "audit.json").exists()
    else:
        assert (project.record().verdict, seen.exit_code) == ("INCOMPLETE", 1)


@pytest.mark.parametrize("asked", ["--help", "--markers", "--fixtures", "--collect-only", "--setup-only"])
@pytest.mark.slow
def test_a_run_that_runs_nothing_leaves_no_pass(project: Project, asked: str) -> None:
    project.ini(diffprivacy_report="audit.json")
    project.write("test_a.py", SCORES, HOLDS)
    project.write("audit.json", "PASS")
    project.run(asked)
    left = project.path / "audit.json"
    assert not left.exists() or Run.model_validate_json(left.read_bytes()).verdict == "INCOMPLETE"


DECLARED = """
    @pytest.mark.diffprivacy(demonstration="it is meant to leak")
    def test_shows(diffusion_model, probe_set):
        assert_mia_tpr_below(diffusion_model, probe_set, attack="loss", max_fpr=0.05, limit=0.4)

    def test_release({model}, probe_set):
        assert_mia_tpr_below({model}, probe_set, attack="loss", max_fpr=0.05, limit=0.45)

    @pytest.fixture
    def clean_model():
        others = np.random.default_rng(9).random((600, 1, 4, 4)).astype(np.float32)
        return ideal_denoiser(torch.from_numpy(others), name="clean")
"""


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("diffusion_model", "run           FAIL: 2 of 2 claims are refuted"),
        ("clean_model", "run           PASS: all 1 claims hold; 1 more refuted as demonstrations"),
    ],
)
@pytest.mark.slow
def test_no_demonstration_is_made_of_a_model_under_audit(project: Project, model: str, said: str) -> None:
    project.write("test_a.py", MODEL, DECLARED.format(model=model))
    assert project.run("--diffprivacy-report=audit.json").line("run ") == said
    record, under_audit = project.record(), model == "diffusion_model"
    incident = "test_a.py::test_shows is declared a demonstration, of a model that is under audit here: it counts."
    assert (incident in record.incidents) == under_audit
    assert bool(record.expected_failures) != under_audit


def test_a_class_that_others_inherit_hides_nothing(project: Project) -> None:
    base = AS_CLASS.replace("LEAKING", "HIDDEN").replace("TestLeaks", "TestBase") + "    __test__ = False\n"
    project.write("test_a.py", SCORES, base, "class TestOwn(TestBase):\n    __test__ = True\n")
    assert project.run("--diffprivacy-report=audit.json").line("run ") == "run           PASS: all 1 claims hold"


def test_a_test_that_is_declared_to_be_no_audit_is_said(project: Project) -> None:
    project.write("test_a.py", SCORES, HOLDS, "@pytest.mark.diffprivacy(audit=False)\n@pytest.mark.skip\n" + LEAKS)
    project.run()
    assert project.record().incidents == ("test_a.py::test_leaks could judge a claim and is declared to be no audit.",)


def test_an_ini_file_and_a_root_elsewhere_do_not_lead_past_the_policy(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "pytest.ini").write_text("[pytest]\n")
    project.write("pyproject.toml", "[tool.diffprivacy.policy]\nmia_tpr_below = {limit = 0.1, max_fpr = 0.05}\n")
    project.write("audits/test_a.py", SCORES, HOLDS)
    arguments = ("-c", elsewhere / "pytest.ini", f"--rootdir={elsewhere}", "--diffprivacy-report=audit.json")
    seen = project.run(*arguments, project.path / "audits")
    assert seen.exit_code == 1
    assert "must be at least as strict as [tool.diffprivacy.policy]" in seen.text


def test_far_code_of_a_project_hides_no_near_assertion(project: Project) -> None:
    far = (
        "class Far: ...\n"
        + "\n".join(f"def far_{n}(): return Far, far_{n + 1}" for n in range(6000))
        + "\nfar_6000 = 1"
    )
    project.write("far.py", far)
    project.write("test_a.py", SCORES, "from far import far_0", HOLDS)
    project.write(
        "test_b.py",
        SCORES,
        "from far import far_0",
        HOLDS.replace("test_holds():", "test_it():\n    if far_0():\n        return"),
    )
    assert missing(project) == ["test_b.py::test_it: passed"]
