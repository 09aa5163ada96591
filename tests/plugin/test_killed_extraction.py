"""Does a run of 2,000 generations that was killed three times end like one that was never killed?"""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugin.conftest import MODEL, Project

STEPS, UNITS = 4, 15  # eight of generations; the check of seeds, calibration, planted copies, searches, what came back

AUDIT = f"""
    from pytest_diffprivacy import assert_no_extraction

    def test_no_image_comes_back(diffusion_model, probe_set):
        assert_no_extraction(
            diffusion_model, probe_set, generations=2000, steps={STEPS}, max_rate=0.01, early_stop=False
        )
"""


@pytest.mark.slow
def test_a_run_that_was_killed_three_times_ends_like_one_that_never_was(project: Project) -> None:
    project.write("test_release.py", MODEL, AUDIT)
    project.stores_of_one_secret("uninterrupted", ".diffprivacy")
    uninterrupted = project.run("--diffprivacy-cache-dir=uninterrupted")
    moments = np.random.default_rng(5).integers(STEPS + 1, 2 * STEPS + STEPS // 2, 3)  # in the 2nd or 3rd unit of each
    done = 0
    for moment in moments:
        killed = project.run_alone(environment={"DIE_AFTER_CALLS": str(moment)})
        assert killed.exit_code == -9
        units = project.units()
        assert [kind for kind, _ in units] == ["reused"] * done + ["computed"] * (len(units) - done)
        assert len(units) > done
        done = len(units)
    continued = project.run()
    assert [kind for kind, _ in project.units()] == ["reused"] * done + ["computed"] * (UNITS - done)
    assert (continued.exit_code, continued.last) == (uninterrupted.exit_code, uninterrupted.last)
    one, other = project.claim(), project.claim("uninterrupted")
    assert one.verdict == "FAIL"
    assert one.model_dump(exclude={"work", "artifacts"}) == other.model_dump(exclude={"work", "artifacts"})
    stored = project.scores("uninterrupted")
    assert len(stored["l2"]) == 2000
    for name, values in project.scores().items():
        np.testing.assert_array_equal(values, stored[name])
