"""Seed control: a generator that does not hear its seeds is an error, or passes nothing."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.models import CallableGenerator
from pytest_diffprivacy.probes import StoredGenerations
from pytest_diffprivacy.sources.generations import Request
from pytest_diffprivacy.sources.seeds import seed_control

SHAPE = (1, 6, 6)


def drawn(seed, count=1):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def controlled(function, count=20, prompt=None):
    findings = Findings()
    seed_control(
        Auditor(seed=3), CallableGenerator(function, name="mine", version=None), Request(count, 4, prompt), findings
    )
    (control,) = findings.controls
    return control.outcome.value, findings.cannot_pass


def each(prompts, seeds):
    return torch.cat([drawn(seed) for seed in seeds])


def nearly_each(prompts, seeds):
    """What another batch rounds differently."""
    return (each(prompts, seeds) + 0.004 * torch.arange(len(seeds)).reshape(-1, 1, 1, 1)).clamp(0, 1)


@pytest.mark.parametrize("function", [each, nearly_each])
def test_images_by_their_own_seeds_hold(function):
    assert controlled(function) == ("held", "")


@pytest.mark.parametrize(
    "function",
    [
        lambda _, seeds: torch.rand(len(seeds), *SHAPE),
        lambda _, seeds: drawn(seeds[0], len(seeds)),  # the seed of the first image for all
        lambda _, seeds: drawn(7, len(seeds)),  # the place in the batch
    ],
)
def test_another_image_for_the_same_seed_is_an_error_that_names_the_remedy(function):
    with pytest.raises(AuditError, match=r"differ by RMS 0\.\d+.*|manual_seed\(seeds\[i\]\)") as failed:
        controlled(function)
    assert "probes.StoredGenerations" in str(failed.value)


def test_one_image_for_every_seed_passes_nothing():
    outcome, cannot_pass = controlled(lambda _, seeds: torch.full((len(seeds), *SHAPE), 0.3))
    assert outcome == "held"
    assert "one and the same image for 8 different seeds" in cannot_pass


def test_two_equal_images_are_no_proof_that_seeds_are_not_heard():
    def mostly(prompts, seeds):
        return torch.stack([torch.full(SHAPE, 0.1 if seed % 2**32 < 3 else 0.9) for seed in seeds])

    assert controlled(mostly) == ("held", "")


def test_four_images_are_asked_for_and_one_of_a_claim_of_one():
    asked = []

    def counted(prompts, seeds):
        asked.append((prompts, list(seeds)))
        return each(prompts, seeds)

    assert controlled(counted, prompt="a cat") == ("held", "")
    first = 3 * 2**32
    assert asked == [(["a cat"] * 2, [first, first + 1]), (["a cat"] * 2, [first + 1, first])]
    asked.clear()
    assert controlled(counted, count=1) == ("held", "")
    assert [seeds for _, seeds in asked] == [[first], [first]]


def test_stored_generations_are_those_of_their_places():
    findings, stored = Findings(), StoredGenerations(each(None, range(3)).numpy().astype(np.float32))
    seed_control(Auditor(), stored, Request(3, 4), findings)
    assert findings.controls[0].outcome.value == "held"
