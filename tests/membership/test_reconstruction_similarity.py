from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pytest_diffprivacy import AuditError, Auditor, PrivacyViolation, ProbeSet, UsageError, assert_mia_auroc_below
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.membership import fitted_similarity_scores, reconstruction, reconstruction_similarity
from pytest_diffprivacy.models import CallableGenerator
from pytest_diffprivacy.sources.black_box import shifted

GOLDEN = Path(__file__).parents[1] / "golden" / "black_box"
INPUTS, EXPECTED = (load_file(GOLDEN / f"{name}.safetensors") for name in ("inputs", "expected"))
TOLERANCES = json.loads((GOLDEN / "expected.json").read_text())["tolerances"]


@pytest.mark.parametrize("metric", ["cosine", "manhattan"])
@pytest.mark.parametrize("axis", [1, 2])
def test_similarities_agree_with_the_authors_code(metric: str, axis: int) -> None:
    key = f"recon.{metric}.dim{axis}"
    found = reconstruction_similarity(INPUTS["recon_query"], INPUTS["recon_generated"], axis, metric=metric)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, EXPECTED[key], **TOLERANCES[key])
    if metric == "cosine":
        key = f"formula_recon.score.cosine.dim{axis}"
        np.testing.assert_allclose(found.mean(1), EXPECTED[key], **TOLERANCES[key])


@pytest.mark.parametrize(("form", "key"), [("threshold-max", "threshold"), ("distribution", "distribution")])
def test_fitted_scores_agree_with_the_authors_code(form: str, key: str) -> None:
    target = np.concatenate([INPUTS["recon_feat_target_member"], INPUTS["recon_feat_target_nonmember"]])
    shadow = INPUTS["recon_feat_shadow_member"], INPUTS["recon_feat_shadow_nonmember"]
    found = fitted_similarity_scores(target, *shadow, form=form)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, EXPECTED[f"recon.{key}.scores"], **TOLERANCES[f"recon.{key}.scores"])


def test_a_threshold_without_the_maximum_is_the_mean_of_the_text() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, (50, 4)), rng.normal(0, 1, (50, 4))
    found = fitted_similarity_scores(np.concatenate([inside, outside]), inside, outside, form="threshold")
    assert found[:50].mean() > 0 > found[50:].mean()


def test_one_token_cannot_be_compared_along_the_tokens() -> None:
    with pytest.raises(UsageError, match="`axis` must not be 1"):
        reconstruction_similarity(np.ones((2, 1, 5)), np.ones((2, 3, 1, 5)), 1)


COUNT = 40
PICTURES = np.random.default_rng(1).random((2 * COUNT, 1, 8, 8)).astype(np.float32)
CAPTIONS = [f"picture number {i}" for i in range(2 * COUNT)]


def memory(known: int, share: float, name: str) -> CallableGenerator:
    """Generates the picture of a caption among the first `known`, mixed with noise; noise alone for the others."""

    def images(prompts: Sequence[str | int] | None, seeds: Sequence[int]) -> np.ndarray:
        made = []
        for prompt, seed in zip(prompts or [], seeds, strict=True):
            number = int(str(prompt).rpartition(" ")[2])
            noise = np.random.default_rng(seed % 2**32).random((1, 8, 8)).astype(np.float32)
            made.append(share * PICTURES[number] + (1 - share) * noise if number < known else noise)
        return np.stack(made)

    return CallableGenerator(images, name=name, version=f"{known} {share}")


def probes() -> ProbeSet:
    return ProbeSet(
        PICTURES[:COUNT], PICTURES[COUNT:], member_prompts=CAPTIONS[:COUNT], nonmember_prompts=CAPTIONS[COUNT:]
    )


OWN = {"generations": 2, "guidance_scale": None}


def test_images_alone_show_that_a_generator_brings_its_members_back() -> None:
    with pytest.raises(PrivacyViolation) as caught:
        assert_mia_auroc_below(
            memory(COUNT, 0.6, "leaky"), probes(), attack="reconstruction", limit=0.7, parameters=OWN,
            auditor=Auditor(),
        )  # fmt: skip
    claim = caught.value.claim
    assert claim.methods[0].access == "black box"
    assert claim.model is not None
    assert claim.model.access == "black box"
    assert [c.outcome for c in claim.controls if c.kind == "positive"] == ["held"]
    (others,) = [one for one in claim.also_measured if one.name.startswith("AUROC with captions of others")]
    assert others.high < claim.low  # what captions of others bring back is not this image


def test_captions_are_exchanged_so_that_none_stays_where_it_was() -> None:
    assert shifted(["a", "b", "c"]) == ["b", "c", "a"]
    told = ["b", "a", "a", "b", "c", "a"]
    found = shifted(told)
    assert found is not None
    assert sorted(found) == sorted(told)
    assert all(one != own for one, own in zip(found, told, strict=True))
    assert shifted(["a", "a", "b"]) is None
    assert shifted([]) is None


def test_a_generator_that_knows_nothing_holds_the_claim() -> None:
    claim = assert_mia_auroc_below(
        memory(0, 0.6, "quiet"), probes(), attack="reconstruction", limit=0.75, parameters=OWN, auditor=Auditor()
    )
    assert 0.25 < claim.value < 0.75


def test_the_base_is_taken_off_with_the_same_seeds() -> None:
    model, base = memory(COUNT, 0.3, "tuned"), memory(0, 0.3, "base")
    images = torch.from_numpy(PICTURES)
    alone = reconstruction.scores(model, images, prompts=CAPTIONS, **OWN)
    less = reconstruction.scores(model, images, prompts=CAPTIONS, base=base, **OWN)
    np.testing.assert_allclose(less[COUNT:], 0.0, atol=1e-12)
    assert (less[:COUNT] > 0).mean() > 0.9
    assert np.ptp(alone[COUNT:]) > 0.05
    with pytest.raises(PrivacyViolation):
        assert_mia_auroc_below(
            model, probes(), attack="reconstruction", limit=0.8, parameters=OWN | {"base": base}, auditor=Auditor()
        )


def test_an_encoder_of_tokens_or_of_one_vector_may_see_the_images() -> None:
    images, model = torch.from_numpy(PICTURES[:4]), memory(4, 1.0, "copies")
    tokens = Embedding.of(lambda x: x.flatten(2).transpose(1, 2).repeat(1, 1, 2), name="tokens", version="1")
    vector = Embedding.of(lambda x: x.flatten(1), name="vector", version="1")
    for embedding in (tokens, vector):
        found = reconstruction.scores(model, images, prompts=CAPTIONS[:4], embedding=embedding, **OWN)
        np.testing.assert_allclose(found, 1.0, atol=1e-4)
    broken = Embedding.of(lambda x: x.flatten(1) * float("nan"), name="broken", version="1")
    with pytest.raises(AuditError, match="must give finite features"):
        reconstruction.scores(model, images, prompts=CAPTIONS[:4], embedding=broken, **OWN)


def test_captions_are_needed_and_the_network_is_not() -> None:
    bare = ProbeSet(PICTURES[:COUNT], PICTURES[COUNT:])
    with pytest.raises(UsageError, match="needs the images' captions"):
        assert_mia_auroc_below(memory(0, 0.5, "x"), bare, attack="reconstruction", limit=0.8, parameters=OWN)
    with pytest.raises(UsageError, match="beside attacks on the network"):
        assert_mia_auroc_below(memory(0, 0.5, "x"), probes(), attack=["reconstruction", "loss"], limit=0.8)  # type: ignore[arg-type]


def test_200_generators_without_a_leak_are_refuted_at_most_as_often_as_the_confidence_says() -> None:
    """Similarities of queries that the generator never saw, by the same formula."""
    from pytest_diffprivacy.statistics import auroc

    rng, refuted = np.random.default_rng(3), 0
    for _ in range(200):
        sides = [
            reconstruction_similarity(rng.normal(size=(40, 6, 4)), rng.normal(size=(40, 3, 6, 4))).mean(1)
            for _ in range(2)
        ]
        refuted += auroc(*sides).low > 0.5
    assert refuted <= 18
