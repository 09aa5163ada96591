from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    UsageError,
    Verdict,
    assert_mia_tpr_below,
    assert_sharpness_below,
)
from pytest_diffprivacy.audit import Claim as Unjudged
from pytest_diffprivacy.audit import Findings, Subject
from pytest_diffprivacy.engine import Engine, ScoreTask, Work
from pytest_diffprivacy.errors import InsufficientProbes
from pytest_diffprivacy.evidence import RunFolder, Store
from pytest_diffprivacy.evidence.arrays import read_arrays
from pytest_diffprivacy.evidence.records import Claim
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.statistics import RateEstimate, rate

IMAGES = np.random.default_rng(5).random((600, 1, 4, 4)).astype(np.float32)
HEADLINES = {verdict: f"headline of {verdict.value}" for verdict in Verdict}


SUBJECT = Subject(counts="3 of 100")


def question(limit: float = 0.1, sentence: str = "Rate is at most 0.1") -> Unjudged:
    return Unjudged(
        kind="membership", slug="rate", sentence=sentence, limit=limit, headlines=HEADLINES, confidence=0.95
    )


def measured(hits: int, trials: int) -> RateEstimate:
    return rate(hits, trials)


@pytest.fixture(scope="module")
def model() -> AnalyticDenoiser:
    return ideal_denoiser(torch.from_numpy(IMAGES[:300]))


def test_each_verdict_leaves_judge_in_its_own_way() -> None:
    judge = Auditor()
    assert judge.judge(question(), SUBJECT, lambda f: measured(0, 100)).verdict is Verdict.PASS
    with pytest.raises(PrivacyViolation, match="headline of FAIL"):
        judge.judge(question(sentence="b"), SUBJECT, lambda f: measured(50, 100))
    with pytest.raises(Inconclusive, match="headline of INCONCLUSIVE"):
        judge.judge(question(sentence="c"), SUBJECT, lambda f: measured(10, 100))
    assert [claim.verdict.value for claim in judge.claims] == ["PASS", "FAIL", "INCONCLUSIVE"]


def test_too_few_probes_are_inconclusive_and_a_failed_audit_is_an_error() -> None:
    def too_few(findings: Findings) -> RateEstimate:
        raise InsufficientProbes("at least 7 are needed", needed=7)

    def broken(findings: Findings) -> RateEstimate:
        raise AuditError("NaN")

    judge = Auditor()
    with pytest.raises(Inconclusive, match="at least 7 are needed"):
        judge.judge(question(), SUBJECT, too_few)
    with pytest.raises(AuditError, match="NaN"):
        judge.judge(question(sentence="b"), SUBJECT, broken)
    assert [(c.verdict.value, c.reason, c.estimate) for c in judge.claims] == [
        ("INCONCLUSIVE", "at least 7 are needed", None),
        ("ERROR", "NaN", None),
    ]


def test_an_error_of_another_kind_leaves_no_claim() -> None:
    def wrong(findings: Findings) -> RateEstimate:
        raise UsageError("`limit` must be finite")

    judge = Auditor()
    with pytest.raises(UsageError):
        judge.judge(question(), SUBJECT, wrong)
    assert judge.claims == []


def test_the_plan_is_made_only_where_it_is_shown() -> None:
    planned: list[str] = []

    def plan() -> str:
        planned.append("made")
        return "about 900 would decide"

    def measure(hits: int, findings: Findings) -> RateEstimate:
        findings.needed = plan
        return measured(hits, 100)

    judge = Auditor()
    assert judge.judge(question(), SUBJECT, lambda f: measure(0, f)).needed == ""
    assert planned == []
    with pytest.raises(Inconclusive, match="needed     about 900 would decide"):
        judge.judge(question(), SUBJECT, lambda f: measure(10, f))
    assert planned == ["made"]


def test_the_same_claim_of_the_same_test_is_replaced_and_another_subject_is_kept() -> None:
    judge = Auditor()
    first = judge.judge(question(), SUBJECT, lambda f: measured(0, 100))
    again = judge.judge(question(), SUBJECT, lambda f: measured(0, 100))
    assert judge.claims == [again]
    assert again.id == first.id

    def other(findings: Findings) -> RateEstimate:
        findings.arrays["scores"] = np.arange(3.0)
        return measured(0, 100)

    kept = judge.judge(question(), SUBJECT, other)
    assert judge.claims == [again, kept]
    assert kept.id == f"{first.id}-2"


def test_a_claim_and_its_arrays_are_on_disk_when_judge_returns(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "run")

    def measure(findings: Findings) -> RateEstimate:
        findings.arrays["scores"] = np.arange(3.0)
        return measured(50, 100)

    with pytest.raises(PrivacyViolation) as caught:
        Auditor(run=run).judge(question(), SUBJECT, measure)
    claim = caught.value.claim
    path = run.folder / "claims" / f"{claim.id}.json"
    assert Claim.model_validate_json(path.read_bytes()) == claim
    assert f"evidence   {path}" in str(caught.value)
    (artifact,) = claim.artifacts
    np.testing.assert_array_equal(read_arrays(tmp_path / artifact.path)["scores"], np.arange(3.0))
    assert "claim" in (run.folder / "events.jsonl").read_text()


def test_confidence_is_the_session_s_unless_the_call_says_otherwise_unless_it_is_pinned() -> None:
    assert Auditor(confidence=0.9).confidence(None) == 0.9
    assert Auditor(confidence=0.9).confidence(0.99) == 0.99
    assert Auditor(confidence=0.9, pinned=frozenset({"confidence"})).confidence(0.99) == 0.9


@pytest.mark.parametrize("bad", [0.5, 0.05, 1.0, 95, float("nan")])
def test_a_confidence_out_of_range_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match=r"`confidence` must be above 0\.5 and below 1"):
        Auditor().confidence(bad)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="`seed` must be a whole number >= 0, got -1"):
        Auditor(seed=-1)


def test_scores_are_those_of_the_function_whatever_the_units_and_batches(model: AnalyticDenoiser) -> None:
    def score(model: AnalyticDenoiser, images: torch.Tensor, *, batch_size: int, shift: float) -> np.ndarray:
        return images.double().mean(dim=(1, 2, 3)).numpy() + shift

    images = ImageSet.of(IMAGES, "member")
    task, work = ScoreTask("mean", 1, score, {"shift": 2.0}), Work()
    scores = Auditor().scores(model, images, task, work)
    np.testing.assert_allclose(scores, IMAGES.mean(axis=(1, 2, 3), dtype=np.float64) + 2.0, rtol=1e-12)
    assert scores.dtype == np.float64
    assert work.computed == 3


@pytest.mark.parametrize("change", ["name", "version", "parameters", "images", "model"])
def test_a_stored_score_is_reused_only_for_the_same_question(
    tmp_path: Path, model: AnalyticDenoiser, change: str
) -> None:
    def score(model: AnalyticDenoiser, images: torch.Tensor, *, batch_size: int, shift: float) -> np.ndarray:
        return np.full(len(images), shift)

    def computed(model: AnalyticDenoiser, images: np.ndarray, task: ScoreTask) -> int:
        work = Work()
        judge = Auditor(engine=Engine(Store(tmp_path)))
        judge.scores(model, ImageSet.of(images, "member"), task, work)
        return work.computed

    task = ScoreTask("constant", 1, score, {"shift": 1.0})
    assert computed(model, IMAGES[:10], task) == 1
    assert computed(model, IMAGES[:10], task) == 0
    changed = {
        "name": (model, IMAGES[:10], ScoreTask("other", 1, score, {"shift": 1.0})),
        "version": (model, IMAGES[:10], ScoreTask("constant", 2, score, {"shift": 1.0})),
        "parameters": (model, IMAGES[:10], ScoreTask("constant", 1, score, {"shift": 2.0})),
        "images": (model, IMAGES[1:11], task),
        "model": (ideal_denoiser(torch.from_numpy(IMAGES[:299])), IMAGES[:10], task),
    }[change]
    assert computed(*changed) == 1


def test_generations_have_seeds_of_their_own_and_eight_bits(model: AnalyticDenoiser) -> None:
    judge, work = Auditor(seed=3), Work()
    blocks = list(judge.generations(model, 300, steps=2, work=work))
    assert [len(part) for part, _ in blocks] == [256, 44]
    images = np.concatenate([block for _, block in blocks])
    assert images.dtype == np.uint8
    alone = model.generate([judge.generation_seed(299)], steps=2)
    np.testing.assert_allclose(images[299] / 255.0, alone[0].numpy(), atol=0.5 / 255 + 1e-6)
    assert judge.generation_seed(299) == 3 * 2**32 + 299


def test_an_auditor_serves_a_notebook(tmp_path: Path, model: AnalyticDenoiser) -> None:
    judge = Auditor(seed=1)
    probes = ProbeSet(IMAGES[:300], IMAGES[300:])
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_tpr_below(model, probes, attack="pia", max_fpr=0.05, limit=0.2, auditor=judge)
    claim = assert_sharpness_below(model, probes, statistic="score_norm", sharp_above=1e9, limit=0.2, auditor=judge)
    assert judge.claims == [caught.value.claim, claim]
    assert {claim.seed for claim in judge.claims} == {1}
    assert list(tmp_path.iterdir()) == []
