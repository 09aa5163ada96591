"""Does the report's list of known attacks name what the project has?"""

from __future__ import annotations

import pytest

from pytest_diffprivacy import membership, sharpness
from pytest_diffprivacy.evidence.catalogue import CATALOGUE, MEMBERSHIP, SHARPNESS, KnownAttack

ROWS = {attack.name: attack for attack in CATALOGUE}
BUILT = {"lira": "lira_attack", "gsa": "gsa_attack", "quantile": "quantile_attack", "cdi": "cdi_logits"}


def of(question: str) -> dict[str, KnownAttack]:
    return {name: attack for name, attack in ROWS.items() if attack.question == question}


def test_no_attack_is_listed_twice() -> None:
    assert len(ROWS) == len(CATALOGUE)


def test_every_membership_attack_has_a_row_in_evidence_catalogue() -> None:
    assert set(of(MEMBERSHIP)) == set(membership.ATTACKS) | set(BUILT)
    assert all(getattr(membership, function) for function in BUILT.values())


@pytest.mark.parametrize("name", membership.ATTACKS)
def test_a_membership_row_says_what_the_attack_says(name: str) -> None:
    attack = membership.ATTACKS[name]
    assert ROWS[name].access == attack.access
    assert ROWS[name].title.split()[0] in attack.title
    assert (ROWS[name].besides == "the images' prompts") == attack.needs_prompts


def test_every_sharpness_statistic_has_a_row_in_evidence_catalogue() -> None:
    assert set(of(SHARPNESS)) == set(sharpness.STATISTICS)
    assert all(of(SHARPNESS)[name].access == found.access for name, found in sharpness.STATISTICS.items())
