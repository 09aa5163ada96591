"""The papers' page is what the committed results give, its pictures are theirs, and a killed run continues."""

import json
from pathlib import Path

import pytest

from pytest_diffprivacy.methods import catalogue
from tests.benchmarks.papers import __main__ as runner
from tests.benchmarks.papers.draw import made_of, made_of_drawn, picture
from tests.benchmarks.papers.figure import FOLDER, Estimate, Finding, Step, figures
from tests.benchmarks.papers.page import PAGE, PICTURES, committed, is_measured, page_text
from tests.benchmarks.suite import RESULTS

REDO = "run python -m tests.benchmarks.papers --page"


def test_the_page_is_what_the_committed_results_give():
    assert PAGE.read_text("utf-8") == page_text(committed()), REDO


def test_every_picture_is_of_the_committed_results_and_no_other_lies_there():
    results = committed()
    wanted = {f"{figure.anchor}.svg": made_of(figure, results) for figure in figures() if is_measured(figure, results)}
    assert {path.name: made_of_drawn(path) for path in PICTURES.glob("*.svg")} == wanted, REDO
    assert all(path.stat().st_size < 150_000 for path in PICTURES.glob("*.svg"))


def test_a_figure_is_a_file_and_its_methods_and_scripts_are_there():
    methods = {f"{method.kind}/{method.name}" for method in catalogue()}
    assert {figure.name for figure in figures()} == {path.stem for path in FOLDER.glob("[!_]*.py")}
    for figure in figures():
        assert set(figure.methods) <= methods, figure.name
        assert all((RESULTS.parent / f"{step.script}.py").is_file() for step in figure.steps), figure.name
    made = {step for figure in figures() for step in figure.steps}
    assert len({step.result for step in made}) == len(made), "a result is made in one way"


def test_a_picture_of_other_results_says_so_and_draws_them():
    figure = next(figure for figure in figures() if figure.name == "carlini_figure_5")
    results = committed()
    other = json.loads(json.dumps(results))
    row = next(row for row in other["extraction_curve"]["rows"] if row["what"].endswith("held 8 times"))
    row["value"] = "0.300 [0.087, 0.607]"
    assert made_of(figure, other) != made_of(figure, results)
    assert picture(figure, other) != picture(figure, results)
    assert "held at least" in page_text(other)
    assert "0.300 [0.087, 0.607]" in page_text(other)


def test_a_figure_without_its_results_says_how_to_measure_it():
    page = page_text({})
    assert "**Not measured here**: `python -m tests.benchmarks.papers --only carlini_figure_5`" in page
    assert "![" not in page


def test_a_disagreement_needs_its_reason():
    with pytest.raises(ValueError, match="`why` must say what explains the disagreement"):
        Finding("it grows", "it does not", False)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.047 [0.017, 0.098]", Estimate(0.047, 0.017, 0.098)),
        ("-0.007 [-0.096, 0.065]", Estimate(-0.007, -0.096, 0.065)),
        ("0.5 ± 0.25", Estimate(0.5, 0.25, 0.75)),
    ],
)
def test_estimates_are_read_as_tables_print_them(text, read):
    assert Estimate.read(text) == read


def test_what_is_no_estimate_is_refused():
    with pytest.raises(ValueError, match="got 'undefined'"):
        Estimate.read("undefined")


def test_a_killed_run_continues_where_it_was(tmp_path, monkeypatch):
    calls = []

    def call(command, **_):
        calls.append(command[1:])
        if "--json" in command:
            if len(calls) == 2:
                return type("Ended", (), {"returncode": 137})
            Path(command[-1]).write_text("{}")
        return type("Ended", (), {"returncode": 1})  # missed a target, and has a result

    step = Step("curve", "curve", ("{models}",), (("build.py", "--out", "{models}"),))
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(runner.subprocess, "run", call)
    assert "exit code 1" in runner.run(step, tmp_path / "work", results)  # the builder must succeed

    def built(command, **more):
        ended = call(command, **more)
        return ended if "--json" in command else type("Ended", (), {"returncode": 0})

    calls.clear()
    monkeypatch.setattr(runner.subprocess, "run", built)
    assert "exit code 137 and no figures" in runner.run(step, tmp_path / "work", results)
    assert runner.run(step, tmp_path / "work", results) == ""
    assert runner.run(step, tmp_path / "work", results) == ""
    models = str(tmp_path / "work" / "models")
    assert [call[:3] for call in calls] == [
        ["build.py", "--out", models],
        ["-m", "tests.benchmarks.curve", models],
        ["-m", "tests.benchmarks.curve", models],
    ]
    assert (results / "curve.json").read_text() == "{}"


def test_the_runner_ends_with_1_when_a_result_is_missing(monkeypatch, capsys):
    written = []
    monkeypatch.setattr(runner, "run", lambda step: "no model" if step.result == "leak_mnist" else "")
    monkeypatch.setattr(runner, "write", lambda: written.append(1))
    assert runner.main(["--only", "carlini_figure_5"]) == 0
    assert runner.main(["--only", "carlini_figure_11"]) == 1
    assert "leak_mnist: no model" in capsys.readouterr().err
    assert len(written) == 3
