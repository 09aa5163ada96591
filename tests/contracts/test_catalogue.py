"""The catalogue in a run's record names what the project has, and what it has not."""

from __future__ import annotations

import re

import pytest

from pytest_diffprivacy import membership, memorization, methods, sharpness
from pytest_diffprivacy.audit.catalogue import MISSING, known_methods
from pytest_diffprivacy.methods import Access, Kind

ROWS = {(row.kind, row.name): row for row in known_methods()}
BUILT = {
    "lira": "lira_attack",
    "ratio": "ratio_attack",
    "gsa": "gsa_attack",
    "quantile": "quantile_attack",
    "ramia": "range_attack",
}


def of(kind: str) -> set[str]:
    return {name for found, name in ROWS if found == kind and not ROWS[found, name].missing}


def test_no_method_is_listed_twice() -> None:
    assert len(ROWS) == len(known_methods())


def test_every_membership_attack_has_a_row() -> None:
    assert of("membership") == set(membership.ATTACKS) | set(BUILT) | {"cdi", "finetune", "usage_share"}
    assert all(getattr(membership, function) for function in BUILT.values())


@pytest.mark.parametrize("name", membership.ATTACKS)
def test_a_membership_row_says_what_the_attack_says(name: str) -> None:
    attack, row = membership.ATTACKS[name], ROWS["membership", name]
    assert (row.title, row.access, row.source) == (attack.title, attack.access, attack.source)
    assert ("the images' prompts" in row.needs) == attack.needs_prompts


def test_every_sharpness_statistic_and_every_detector_has_a_row() -> None:
    assert of("sharpness") == set(sharpness.STATISTICS)
    assert of("memorization") == set(memorization.DETECTORS)
    assert all(ROWS["sharpness", name].access == found.access for name, found in sharpness.STATISTICS.items())
    assert ROWS["memorization", "bright_ending"].needs == ("cross-attention maps",)


def test_extraction_reconstruction_closeness_and_epsilon_have_rows() -> None:
    assert of("extraction") == {"extraction", "extraction-prompted", "finextract", "reconstruction", "replication"}
    assert of("differential privacy") == {"epsilon"}


def test_what_this_package_does_not_have_is_a_dated_row() -> None:
    assert all(re.fullmatch(r"not in this package, as of \d{4}-\d\d-\d\d", row.missing) for row in MISSING)
    assert {"attribute-inference", "model-inversion", "mofit"} <= {row.name for row in MISSING}
    titles = [row.title for row in known_methods()]
    assert sorted(titles) == sorted(set(titles))  # nothing is here and missing at once


def test_mitigations_are_no_attacks() -> None:
    assert not of("mitigation")


def test_a_method_that_is_registered_later_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        methods.registry, "_built", {kind: dict(found) for kind, found in methods.registry._built.items()}
    )
    methods.register(
        methods.Published(
            name="mine",
            title="Mine",
            access=Access.WHITE_BOX,
            source="ours",
            kind=Kind.EXTRACTION,
            built_by="mine(...)",
        )
    )
    (row,) = [row for row in known_methods() if row.name == "mine"]
    assert (row.kind, row.title, row.access, row.question) == (
        "extraction", "Mine", "white box", "Can training images be drawn out again?",
    )  # fmt: skip
