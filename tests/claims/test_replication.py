from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    UsageError,
    Verdict,
    assert_not_closer_to_members,
)
from pytest_diffprivacy.distances import pixel_embedding
from pytest_diffprivacy.models import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.statistics import DcrShare, dcr_share_of_counts, trials_needed
from pytest_diffprivacy.statistics.dcr import generations_needed
from pytest_diffprivacy.statistics.sample_size import HINT
from tests.claims.conftest import smooth_images

FEW: dict[str, Any] = {"generations": 512, "steps": 8}


def test_a_model_with_perfect_memory_is_closer_to_its_members(memorizing: AnalyticDenoiser, probes: ProbeSet) -> None:
    judge = Auditor()
    with pytest.raises(PrivacyViolation, match="closer to the training set than to images the model never saw"):
        assert_not_closer_to_members(memorizing, probes, limit=0.6, auditor=judge, **FEW)
    (claim,) = judge.claims
    assert claim.value == 1.0
    measured = {estimate.name: estimate for estimate in claim.also_measured}
    names = list(measured)
    assert names[:4] == [
        "Minus Meehan's C_T (above 3: copying; far below 0: underfitting)",
        "Generations that are not authentic (1 - AuthPct)",
        "The same of unseen images",
        "AUROC of minus the kNN ratio, generations against unseen images",
    ]
    assert measured[names[0]].value > 3.0
    assert measured[names[1]].value > 0.9 > 0.7 > measured[names[2]].value
    assert measured[names[3]].value > 0.95
    (table,) = claim.tables
    assert [row[0] for row in table.rows] == [
        "generations to training images",
        "unseen images to training images",
        "training images to other training images",
    ]
    assert any("p = 0.0001" in note for note in claim.notes)


def test_a_model_that_generalizes_passes(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    claim = assert_not_closer_to_members(population, probes, limit=0.65, **FEW)
    assert claim.verdict is Verdict.PASS
    assert claim.value == pytest.approx(0.5, abs=0.15)  # the luck of the split
    assert len(claim.histograms) == 2
    assert "200 training and 200 unseen images" in (claim.estimate.counts if claim.estimate else "")


@pytest.mark.slow
def test_unseen_images_by_the_hundred_set_the_floor_of_similarity() -> None:
    images = smooth_images(7, 640)
    probes, model = ProbeSet(images[:320], images[320:]), ideal_denoiser(torch.from_numpy(images[:320]))
    with pytest.raises(PrivacyViolation) as caught:
        assert_not_closer_to_members(model, probes, limit=0.6, **FEW)
    floor = caught.value.claim.also_measured[-1]
    assert floor.name.startswith("Generations more alike to a training image than 0.9")
    assert floor.value > 0.9
    assert "calibrated on 320 unseen images" in "".join(caught.value.claim.notes)


def test_an_embedding_is_recorded(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    embedding = pixel_embedding(16)
    claim = assert_not_closer_to_members(population, probes, limit=0.7, embedding=embedding, **FEW)
    parameters = claim.methods[0].parameters
    assert parameters["distance"] == embedding.name
    assert parameters["embedding_digest"] == embedding.digest


def test_few_generations_are_inconclusive_and_the_message_says_how_many_would_do(
    population: AnalyticDenoiser, probes: ProbeSet
) -> None:
    with pytest.raises(Inconclusive, match=r"never count as more than .* independent ones: more members"):
        assert_not_closer_to_members(population, probes, limit=0.5, generations=128, steps=8)


def test_the_number_said_counts_how_generations_share_their_nearest_records() -> None:
    records, rng = 400, np.random.default_rng(0)
    law = rng.dirichlet(np.full(2 * records, 2.0))
    law[:records] *= 0.62 / law[:records].sum()
    law[records:] *= 0.38 / law[records:].sum()

    def drawn(count: int) -> DcrShare:
        found = rng.multinomial(count, law)
        return dcr_share_of_counts(found[:records], found[records:])

    found = drawn(500)
    said = re.match("about ([0-9]+) generations, or more members", generations_needed(found, 0.5))
    assert said
    needed = trials_needed(found.value, 0.5, power=HINT)
    assert needed
    assert drawn(int(said[1])).effective == pytest.approx(needed, rel=0.2)
    one = dcr_share_of_counts(np.array([300.0] + [0.0] * 9), np.zeros(10))
    assert "never count as more than 1 independent ones" in generations_needed(one, 0.55)


def test_generations_nearer_to_unseen_images_beyond_chance_are_no_pass(
    memorizing: AnalyticDenoiser, probes: ProbeSet
) -> None:
    swapped = ProbeSet(probes.nonmembers.load(range(200)), probes.members.load(range(len(probes.members))))
    with pytest.raises(AuditError, match=r"so a low share proves nothing\. Are members and non-members swapped"):
        assert_not_closer_to_members(memorizing, swapped, **FEW)


class Prompted:
    """A generator that notes what it was asked for."""

    def __init__(self, inner: AnalyticDenoiser) -> None:
        self.identity, self._inner, self.asked = inner.identity, inner, list[tuple[str, int, float]]()

    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[str] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> torch.Tensor:
        assert prompts is not None
        self.asked += [(prompt, seed, guidance_scale) for prompt, seed in zip(prompts, seeds, strict=True)]
        return self._inner.generate(seeds, steps=steps)


def test_prompts_are_shared_out_among_the_generations(population: AnalyticDenoiser, probes: ProbeSet) -> None:
    model, judge = Prompted(population), Auditor(seed=1)
    with contextlib.suppress(Inconclusive):
        assert_not_closer_to_members(
            model, probes, generations=23, steps=4, prompts=["a", "b", "c"], guidance_scale=3.0, auditor=judge
        )
    counts = {prompt: sum(asked == prompt for asked, _, _ in model.asked) for prompt in "abc"}
    assert counts == {"a": 8 + 4, "b": 8, "c": 7}  # four show that the same seed gives the same image
    assert {guidance for _, _, guidance in model.asked} == {3.0}
    (claim,) = judge.claims
    assert claim.methods[0].parameters["prompts"] == "3 of the caller's"
    assert claim.asked is not None
    assert claim.asked.sentence == "with 3 prompts, guidance 3"
    assert "23 generations" in (claim.estimate.counts if claim.estimate else "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": []}, "`prompts` must be at least one and distinct, got 0"),
        ({"prompts": ["a", "a"]}, "must be at least one and distinct"),
        ({"limit": 0.4}, "`limit` must be at least 0.5 and below 1, got 0.4"),
        ({"limit": 1.0}, "got 1.0"),
        ({"generations": 0}, "`generations` must be a whole number of at least 1"),
        ({"steps": 0}, "`steps` must be a whole number"),
    ],
)
def test_bad_arguments_are_refused(
    population: AnalyticDenoiser, probes: ProbeSet, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        assert_not_closer_to_members(population, probes, **arguments)


def test_probes_must_be_a_probe_set(population: AnalyticDenoiser) -> None:
    with pytest.raises(UsageError, match="`probes` must be a ProbeSet, got list"):
        assert_not_closer_to_members(population, [])  # type: ignore[arg-type]
