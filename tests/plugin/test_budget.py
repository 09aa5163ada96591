"""What does a user see when the time of an audit is over, and what does the next run do?"""

from __future__ import annotations

import pytest

from pytest_diffprivacy.engine.recorder import Budget
from tests.plugin.conftest import MODEL, Project

AUDIT = """
    def test_members_hidden(diffusion_model, probe_set):
        assert_mia_tpr_below(
            diffusion_model, probe_set, attack="loss", parameters={"draws": 1}, max_fpr=0.05, limit=0.2
        )
"""


@pytest.mark.slow
def test_an_audit_whose_time_is_over_is_inconclusive_and_continues(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("test_release.py", MODEL, AUDIT)
    project.stores_of_one_secret("uninterrupted", ".diffprivacy")
    uninterrupted = project.run("--diffprivacy-cache-dir=uninterrupted")
    looks = iter(range(1000))
    with monkeypatch.context() as patch:  # half a minute from one look at the clock to the next
        patch.setattr(
            "pytest_diffprivacy.engine.engine.Budget",
            lambda seconds, started: Budget(seconds, 0.0, lambda: 30.0 * next(looks)),
        )
        stopped = project.run("--diffprivacy-budget=2m")
    claim, done = project.claim(), project.units()
    assert (stopped.exit_code, project.record().verdict) == (1, "INCONCLUSIVE")
    assert stopped.last == "1 inconclusive"
    assert claim.verdict == "INCONCLUSIVE"
    assert claim.reason.startswith("The time budget of 2 min is spent and the claim is not decided: at least ")
    assert claim.reason == claim.needed
    assert claim.estimate is None
    assert len(done) == 5  # the check of the split, which is brief, and one at each of four looks
    continued = project.run()
    assert [kind for kind, _ in project.units()] == ["reused"] * 5 + ["computed"] * 4
    assert (continued.exit_code, continued.last) == (uninterrupted.exit_code, uninterrupted.last)
    one, other = project.claim(), project.claim("uninterrupted")
    assert one.model_dump(exclude={"work", "artifacts"}) == other.model_dump(exclude={"work", "artifacts"})
