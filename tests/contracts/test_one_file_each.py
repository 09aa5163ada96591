"""One attack, one claim and one report format, each the one file that docs/extending.md shows: all is there by name."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_diffprivacy.methods import Kind, registry
from pytest_diffprivacy.report import formats as found_in
from tests.plugin.conftest import MODEL, Project, Seen, project  # noqa: F401  # a fixture

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"
FILES = {
    block.partition("\n")[0].removeprefix("# "): block.partition("\n")[2]
    for block in re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
}
"""The files that the page shows, by their names."""

AUDITS = """
    import double_loss
    import ranked

    from pytest_diffprivacy import PrivacyViolation, ScoreTable, assert_mia_tpr_below

    def test_named(diffusion_model, probe_set):
        with pytest.raises(PrivacyViolation):
            assert_mia_tpr_below(diffusion_model, probe_set, attack="double_loss", max_fpr=0.05, limit=0.2)

    def test_family(diffusion_model, probe_set):
        with pytest.raises(PrivacyViolation):
            assert_mia_tpr_below(
                diffusion_model, probe_set, attack="double_loss", parameters={"timestep": [50, 100]}, max_fpr=0.05,
                limit=0.2,
            )

    def test_claim_of_a_model(diffusion_model, probe_set):
        with pytest.raises(PrivacyViolation):
            ranked.assert_ranked_below(diffusion_model, probe_set, attack=double_loss.double_loss(draws=1), limit=0.6)

    def test_claim_of_a_table(probe_set):
        ids = [f"member {i}" for i in range(600)] + [f"non-member {i}" for i in range(600)]
        scores = np.random.default_rng(1).normal(size=1200).tolist()
        ranked.assert_ranked_below(ScoreTable({"loss": dict(zip(ids, scores))}), probe_set, limit=0.6)

    def test_claim_of_arrays():
        rng = np.random.default_rng(2)
        ranked.assert_ranked_below(rng.normal(size=300), rng.normal(size=300), limit=0.6)
"""


@pytest.fixture
def extended(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:  # noqa: F811
    """A project with one more attack, claim and format, and audits that use them."""
    for name in ("double_loss.py", "ranked.py"):
        project.write(name, FILES[name])
    project.write("test_release.py", MODEL + AUDITS)
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "titles.py").write_text(FILES["titles.py"])
    monkeypatch.setattr(found_in, "__path__", [*found_in.__path__, str(folder)])
    monkeypatch.syspath_prepend(str(project.path))
    importlib.invalidate_caches()
    yield project
    registry._methods[Kind.MEMBERSHIP].pop("double_loss", None)
    for name in ("double_loss", "ranked", "test_release", f"{found_in.__name__}.titles"):
        sys.modules.pop(name, None)


def run(project: Project, *arguments: str) -> Seen:  # noqa: F811
    return project.run("-p", "no:randomly", *arguments)


def test_an_attack_a_claim_and_a_format_of_one_file_each_are_there_by_name(extended: Project) -> None:
    assert ".titles.txt)" in " ".join(run(extended, "--help").text.split())
    run(extended, "--diffprivacy-report", "audit.titles.txt", "--diffprivacy-report", "audit.json")
    record = json.loads((extended.path / "audit.json").read_text())
    claims = {claim["node_id"].partition("::")[2]: claim for claim in record["claims"]}
    named = claims["test_named"]
    assert [method["name"] for method in named["methods"]] == ["double_loss"]
    assert {control["kind"]: control["outcome"] for control in named["controls"]}["positive"] == "held"
    family = claims["test_family"]["methods"]
    assert [(method["label"], method["version"]) for method in family] == [("timestep 50", 1), ("timestep 100", 1)]
    assert claims["test_claim_of_a_model"]["sentence"] == "Ranks at most 0.6 (Double loss)"
    assert {claims[name]["verdict"] for name in ("test_claim_of_a_table", "test_claim_of_arrays")} == {"PASS"}
    assert "double_loss" in [row["name"] for row in record["catalogue"]]
    titles = (extended.path / "audit.titles.txt").read_text().splitlines()
    assert titles[0] == "Double loss"


def test_the_attack_and_the_claim_are_planned_without_asking_the_model(extended: Project) -> None:
    seen = run(extended, "--diffprivacy-plan", "-k", "named or claim_of_a_model")
    assert "TPR at FPR <= 0.05 is at most 0.2 (Double loss)" in seen.text
    assert "2 network evaluations an image, 2400 in all" in seen.text
    assert "Ranks at most 0.6 (Double loss)" in seen.text
