"""What does the same command compute the second time, after success, after a kill, after damage?"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.plugin.conftest import MODEL, Project

AUDIT = """
    def test_members_hidden(diffusion_model, probe_set):
        assert_mia_tpr_below(
            diffusion_model, probe_set, attack="loss", parameters={"draws": 1}, max_fpr=0.05, limit=0.2
        )
"""
SPLIT = "split validity"
UNITS = [
    SPLIT,
    *("loss, planted images 0-49", "loss, other images 0-49"),
    *("loss, members 0-255", "loss, members 256-511", "loss, members 512-599"),
    *("loss, non-members 0-255", "loss, non-members 256-511", "loss, non-members 512-599"),
]


@pytest.fixture
def audited(project: Project) -> Project:
    project.write("test_release.py", MODEL, AUDIT)
    return project


@pytest.mark.slow
def test_the_second_run_of_a_command_reuses_every_unit(audited: Project) -> None:
    audited.run()
    first, first_scores = audited.claim(), audited.scores()
    assert audited.units() == [("computed", label) for label in UNITS]
    audited.run()
    second = audited.claim()
    assert audited.units() == [("reused", label) for label in UNITS]
    assert (second.work.units_computed, second.work.units_reused) == (0, 6)
    assert second.model_dump(exclude={"work", "artifacts"}) == first.model_dump(exclude={"work", "artifacts"})
    for name, scores in audited.scores().items():
        np.testing.assert_array_equal(scores, first_scores[name])


@pytest.mark.slow
def test_fresh_computes_again(audited: Project) -> None:
    audited.run()
    audited.run("--diffprivacy-fresh")
    assert audited.units() == [("computed", label) for label in UNITS]
    audited.run()
    assert audited.units() == [("reused", label) for label in UNITS]


@pytest.mark.slow
def test_a_killed_run_is_continued_and_concludes_as_an_uninterrupted_one(audited: Project) -> None:
    audited.stores_of_one_secret("uninterrupted", ".diffprivacy")
    uninterrupted = audited.run("--diffprivacy-cache-dir=uninterrupted")
    killed = audited.run_alone(environment={"DIE_AFTER_CALLS": "4"})
    assert killed.exit_code == -9
    assert audited.units() == [("computed", label) for label in UNITS[:7]]
    continued = audited.run()
    assert audited.units() == [("reused", label) for label in UNITS[:7]] + [("computed", label) for label in UNITS[7:]]
    assert continued.exit_code == uninterrupted.exit_code
    assert continued.last == uninterrupted.last
    one, other = audited.claim(), audited.claim("uninterrupted")
    assert one.model_dump(exclude={"work", "artifacts"}) == other.model_dump(exclude={"work", "artifacts"})
    for name, scores in audited.scores().items():
        np.testing.assert_array_equal(scores, audited.scores("uninterrupted")[name])


@pytest.mark.parametrize("damage", ["truncated", "changed"])
@pytest.mark.slow
def test_a_damaged_result_is_an_error_that_names_the_file_and_the_cure(audited: Project, damage: str) -> None:
    audited.run()
    path = _largest(audited.path / ".diffprivacy" / "cache")
    content = path.read_bytes()
    path.write_bytes(content[:-40] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    seen = audited.run()
    assert seen.exit_code == 1
    assert seen.line("EvidenceError: ").startswith(f"EvidenceError: Stored result {str(path)!r} is damaged: ")
    assert seen.line("EvidenceError: ").endswith("Delete the file, or run with --diffprivacy-fresh.")
    assert seen.tracebacks_into_us == []
    assert audited.record().verdict == "INCOMPLETE"
    path.unlink()
    assert audited.run().line("run ").startswith("run           FAIL")
    assert Counter(kind for kind, _ in audited.units()) == {"reused": 8, "computed": 1}


@pytest.mark.slow
def test_another_seed_shares_the_check_of_the_split_alone(audited: Project) -> None:
    audited.run()
    audited.run("--diffprivacy-seed=1")
    assert audited.units() == [("reused" if label == SPLIT else "computed", label) for label in UNITS]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scores_wherever_they_are_computed(audited: Project) -> None:
    audited.run("--diffprivacy-cache-dir=alone")
    audited.run("--diffprivacy-cache-dir=xdist", "-n", "2")
    audited.run("--diffprivacy-cache-dir=batches", "--diffprivacy-batch-size=37")
    audited.run("--diffprivacy-cache-dir=seed", "--diffprivacy-seed=1")
    reference = audited.scores("alone")
    assert sorted(reference) == ["member_scores", "nonmember_scores"]
    for name, scores in reference.items():
        assert audited.scores("xdist")[name].tobytes() == scores.tobytes()
        np.testing.assert_allclose(audited.scores("batches")[name], scores, rtol=1e-5)
        assert not np.any(audited.scores("seed")[name] == scores)
    assert audited.units("xdist") == [("computed", label) for label in UNITS]


def _largest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_named_without_a_traceback(
    audited: Project, workers: tuple[str, ...]
) -> None:
    audited.write("taken", "no folder")
    seen = audited.run_alone(*workers, "--diffprivacy-cache-dir=taken/evidence")
    said = r"Cannot write to the evidence folder '.*taken.evidence': .*\. Set diffprivacy_cache_dir to a writable"
    assert re.search(said, seen.text + seen.errors)
    assert seen.exit_code != 0
    assert "INTERNALERROR" not in seen.text + seen.errors
    assert "Traceback" not in seen.text + seen.errors
    assert seen.tracebacks_into_us == []
