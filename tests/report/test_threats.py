"""The threat model says of every known method whether it ran: by kind and name, never by a name alone."""

from __future__ import annotations

import pytest

from pytest_diffprivacy.evidence.records import Claim, Method, Run
from pytest_diffprivacy.report.formats.html import render
from pytest_diffprivacy.report.threats import Threat, threats
from tests.report.reading import Page


def made(run: Run, method: Method | None = None, **fields) -> Run:
    """The run with one claim, which rests on one method or on none that is known."""
    claim: Claim = run.claims[0].model_copy(update={"methods": () if method is None else (method,), **fields})
    return run.model_copy(update={"claims": (claim,)})


def row(run: Run, title: str) -> Threat:
    (found,) = [threat for threat in threats(run) if threat.title == title]
    return found


@pytest.fixture
def method(run) -> Method:
    return run.claims[0].methods[0]


def test_a_mitigation_is_not_listed_among_the_attacks(run, method):
    defence = method.model_copy(update={"name": "sail", "title": "SAIL"})
    for kind, listed in (("mitigation", False), ("extraction", True)):
        rows = threats(made(run, defence, kind=kind))
        assert ("SAIL" in [row.title for row in rows]) == listed


def test_an_attack_at_several_timesteps_is_one_attack_that_ran(run, method):
    secmi = [
        method.model_copy(update={"name": f"secmi timestep {t}", "label": f"timestep {t}", "kind": "membership"})
        for t in (50, 90)
    ]
    several = made(run).claims[0].model_copy(update={"methods": tuple(secmi), "kind": "membership"})
    found = row(run.model_copy(update={"claims": (several,)}), "SecMI (statistic)")
    assert (found.ran, found.why) == ("in 1 claim", "")
    assert len(threats(run.model_copy(update={"claims": (several,)}))) == len(run.catalogue)


def test_extraction_by_prompts_is_said_to_have_run(run, method):
    prompted = method.model_copy(update={"name": "extraction-prompted"})
    assert row(made(run, prompted), "Generate and filter by prompts").why == ""
    assert row(made(run), "Generate and filter by prompts").why == "no audit test asked for it"


def test_a_detector_did_not_run_the_sharpness_measure_that_shares_its_name(run, method):
    detector = method.model_copy(update={"name": "hessian_score", "kind": "memorization"})
    judged = made(run, detector, kind="sharpness")  # sharpness judged by prompts
    assert row(judged, "Hessian-weighted score difference").why == ""
    assert row(judged, "Hessian-score product").why == "no audit test asked for it"


def test_a_record_whose_methods_name_no_kind_is_read_by_the_kind_of_its_claim(run, method):
    score = method.model_copy(update={"name": "hessian_score"})
    assert row(made(run, score, kind="sharpness"), "Hessian-score product").ran == "in 1 claim"
    assert row(made(run, score, kind="memorization"), "Hessian-weighted score difference").ran == "in 1 claim"


def test_a_claim_that_is_a_method_ran_it_whatever_it_was_judged_from(run, method):
    features = method.model_copy(update={"name": "features", "access": "chosen by the caller"})
    judged = made(run, features, kind="membership", name="dataset_not_inferable")
    assert row(judged, "CDI").why == ""
    assert row(made(run), "CDI").why == "no audit test asked for it"


def test_an_attack_of_the_caller_s_own_is_a_row_even_if_it_has_a_known_name_of_another_kind(run, method):
    own = method.model_copy(update={"name": "secmi", "title": "An extraction named secmi"})
    judged = made(run, own, kind="extraction")
    assert row(judged, "An extraction named secmi").ran == "in 1 claim"
    assert row(judged, "SecMI (statistic)").ran == "no"


@pytest.mark.slow
def test_published_methods_that_this_package_lacks_are_dated_rows(run):
    assert row(run, "Attribute inference").why == "not in this package, as of 2025-03-01"
    assert "not in this package, as of 2025-03-01" in Page(render(run)).words


def test_a_record_without_a_catalogue_lists_what_ran_and_says_so(run):
    bare = run.model_copy(update={"catalogue": ()})
    assert {threat.why for threat in threats(bare)} == {""}
    assert "This record holds no list of known attacks" in Page(render(bare)).words
    assert "This record holds no list of known attacks" not in Page(render(run)).words
