"""The runner of the benchmarks: what it reads, what it says of the last results, and what it does not count as met."""

import json
import sys

import pytest

from tests.benchmarks import __main__ as runner
from tests.benchmarks.readme import README, readme_text
from tests.benchmarks.suite import COSTS, RESULTS, Outcome, as_json, committed, keep, lines, run
from tests.benchmarks.table import Figure, conclude

SCRIPT = """
import sys
from pathlib import Path
from tests.benchmarks.table import Figure, conclude
figures = [Figure("time over bare", {value}, 1.05), Figure("speed", 0.95, 0.9, "at least")]
sys.exit(conclude("Fast?", ("a",), [{{"a": 1.5}}], {{"sound": True}}, json_path=Path(sys.argv[2]), figures=figures))
"""


def outcome(*figures, targets=None, name="fast"):
    reached = dict(targets or {}) | {f"{f.what}: {f.target}": f.met for f in figures}
    stored = [{"what": f.what, "value": f.value, "limit": f.limit, "bound": f.bound} for f in figures]
    return Outcome(name, content={"question": "Fast?", "rows": [], "targets": reached, "figures": stored})


def script(value):
    return [sys.executable, "-c", SCRIPT.format(value=value)]


def test_a_figure_is_met_on_its_own_side_of_the_target_and_nan_never():
    assert Figure("a", 1.05, 1.05).met
    assert not Figure("a", 1.06, 1.05).met
    assert Figure("a", 1.06, 1.05, "at least").met
    assert not Figure("a", 1.04, 1.05, "at least").met
    assert not Figure("a", float("nan"), 1.0).met
    assert not Figure("a", float("nan"), 1.0, "at least").met


@pytest.mark.parametrize(("value", "met"), [(1.01, True), (1.2, False)])
def test_a_script_s_figures_are_read_whether_or_not_they_meet_their_targets(value, met):
    found = run("fast", script(value))
    assert found.problem == ""
    assert found.figures == [Figure("time over bare", value, 1.05), Figure("speed", 0.95, 0.9, "at least")]
    assert found.other_targets == {"sound": True}
    assert found.met is met


def test_a_script_that_cannot_run_here_is_shown_with_its_reason_and_is_not_met():
    found = run("ray", [sys.executable, "-c", "raise SystemExit('needs the extra [ray]')"])
    assert not found.met
    (line,) = lines(found, committed("ray"))
    assert line == {"benchmark": "ray", "figure": "could not run: needs the extra [ray]", "state": "not met"}
    assert not as_json([found], [found], "a machine")["met"]


def test_the_lines_say_what_changed_since_the_committed_run():
    last = outcome(Figure("a", 1.0, 1.05), Figure("b", 1.0, 1.05), Figure("c", 1.2, 1.05), targets={"d": False})
    now = outcome(
        Figure("a", 1.04, 1.05), Figure("b", 1.2, 1.05), Figure("c", 1.0, 1.05), Figure("e", 0.0, 1.0), targets={"d": 1}
    )
    changes = {line["figure"]: (line["state"], line["change"]) for line in lines(now, last)}
    assert changes == {
        "a": ("met", "+4.0 %"),
        "b": ("MISSED", "now MISSED"),
        "c": ("met", "now met"),
        "e": ("met", "new"),
        "d": ("met", "now met"),
    }


def test_a_last_figure_of_zero_has_no_relative_change():
    zero = outcome(Figure("heavy libraries", 0.0, 0.0))
    assert [line["change"] for line in lines(zero, zero)] == ["same"]


def test_results_are_kept_and_read_again_and_a_failed_run_replaces_none(tmp_path):
    kept = outcome(Figure("a", 1.0, 1.05))
    keep(kept, tmp_path)
    keep(Outcome("fast", problem="needs a GPU"), tmp_path)
    assert committed("fast", tmp_path).figures == kept.figures
    assert committed("slow", tmp_path).problem == "no result is committed"


def test_the_runner_ends_with_1_when_a_figure_misses_and_writes_both_results(tmp_path, monkeypatch, capsys):
    last = outcome(Figure("a", 1.0, 1.05), name="import_time")
    monkeypatch.setattr(runner, "committed", lambda name: last)
    for value, code in ((1.04, 0), (1.10, 1)):
        monkeypatch.setattr(runner, "run", lambda name, value=value: outcome(Figure("a", value, 1.05), name=name))
        assert runner.main(["--only", "import_time", "--json", str(tmp_path / "costs.json")]) == code
    written = json.loads((tmp_path / "costs.json").read_text("utf-8"))
    (line,) = written["table"]
    assert (line["measured"], line["last"], line["change"]) == (1.1, 1.0, "now MISSED")
    assert "import_time  a       1.1       at most 1.05  MISSED  1     now MISSED" in capsys.readouterr().out


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        runner.main(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_a_place_for_the_results_that_does_not_exist_is_refused_before_anything_is_measured(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(runner, "run", lambda name: pytest.fail("measured"))
    with pytest.raises(SystemExit):
        runner.main(["--only", "import_time", "--json", str(tmp_path / "none" / "costs.json")])
    assert f"--json must be a file in a folder that exists, got {str(tmp_path / 'none' / 'costs.json')!r}" in (
        capsys.readouterr().err
    )


def test_every_benchmark_of_the_suite_is_a_script():
    assert all((RESULTS.parent / f"{name}.py").is_file() for name in COSTS)


def test_a_script_s_json_has_its_targets_with_and_without_a_figure(tmp_path, capsys):
    path = tmp_path / "result.json"
    figures = [Figure("a", 2.0, 1.0)]
    assert conclude("Fast?", ("x",), [{"x": 1}], {"b": True}, json_path=path, figures=figures) == 1
    assert json.loads(path.read_text("utf-8"))["targets"] == {"b": True, "a: at most 1": False}
    assert "MISSED  a: at most 1: 2" in capsys.readouterr().out


def test_the_page_shows_the_committed_results(tmp_path):
    keep(outcome(Figure("a | b", 1.0, 1.05), targets={"sound": False}, name="import_time"), tmp_path)
    page = readme_text(tmp_path)
    assert "| import_time | a \\| b | 1 | at most 1.05 | met |" in page
    assert "| import_time | sound |  |  | MISSED |" in page
    assert "| report_speed | no result is committed |  |  | not met |" in page


def test_the_committed_page_is_what_the_committed_results_give():
    assert README.read_text("utf-8") == readme_text(), "run python -m tests.benchmarks --readme"
