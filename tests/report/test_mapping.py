"""What a run is evidence for in other texts, and what three readers find on one screen."""

from __future__ import annotations

import re

import pytest

from pytest_diffprivacy.declaration import FIELDS
from pytest_diffprivacy.report.formats.html import render
from pytest_diffprivacy.report.mapping import ATLAS, PLACES, bearings, claim_rows
from pytest_diffprivacy.report.readers import RELEASE, board, engineer, officer
from pytest_diffprivacy.report.threats import threats
from pytest_diffprivacy.statistics import Verdict

MOST_WORDS = 230
"""Of one reader: what a desk's screen shows in a third of its width, and a phone's two screens."""


def test_a_place_names_its_claims_and_what_is_missing(run):
    for bearing in bearings(run):
        kinds = {claim.kind for claim in run.claims if claim.node_id not in run.expected_failures}
        assert (bearing.evidence == "none") == (not kinds & set(bearing.place.kinds))
        for name in bearing.place.declared:
            assert name in FIELDS
            assert f"declared {name.replace('_', ' ')}" in bearing.missing
        assert bearing.place.read


def test_each_judged_claim_names_the_places_it_is_evidence_for(run):
    judged = [claim for claim in run.claims if claim.node_id not in run.expected_failures]
    rows = claim_rows(run)
    assert [(verdict, sentence) for verdict, sentence, _ in rows] == [(c.verdict, c.sentence) for c in judged]
    for claim, (_, _, told) in zip(judged, rows, strict=True):
        assert all((place.where in told) == (claim.kind in place.kinds) for place in PLACES if "AML" in place.where)
    many = claim_rows(run.model_copy(update={"claims": run.claims * 60}))
    assert len(many) == 101
    assert many[-1][1] == f"and {60 * len(judged) - 100} more claims"


def test_techniques_of_atlas_are_places_too():
    assert {technique for technique, _ in ATLAS.values()} == {p.where for p in PLACES if p.text == "MITRE ATLAS"}


def test_no_place_says_that_a_demand_is_met(run):
    page = re.sub(r"<[^>]+>", " ", render(run))
    assert not re.search(r"\b(?:complies|compliant|conforms to|fulfils)\b", page, re.IGNORECASE)


def test_the_engineer_is_told_what_to_do_for_each_claim_that_does_not_hold(run):
    steps = engineer(run)
    for claim in run.claims:
        told = [step for step in steps if claim.redo in step]
        judged = claim.node_id not in run.expected_failures
        assert len(told) == (judged and claim.verdict is not Verdict.PASS)
        if told and claim.verdict is Verdict.INCONCLUSIVE and claim.needed:
            assert claim.needed[:100] in told[0]


@pytest.mark.parametrize("verdict", RELEASE)
def test_the_board_reads_one_answer_and_that_it_is_no_decision(run, verdict):
    said = board(run.model_copy(update={"verdict": verdict}), threats(run))
    assert said[0] == RELEASE[verdict]
    assert said[0].startswith("Not ") == (verdict != "PASS")
    assert "evidence and no decision" in said[-1]


def test_only_a_pass_has_nothing_to_be_mended(run):
    held = tuple(claim for claim in run.claims if claim.verdict is Verdict.PASS)
    passed = run.model_copy(update={"verdict": "PASS", "claims": held, "missing": (), "policy": None})
    (told,) = engineer(passed)
    assert told.startswith("Nothing is to be mended")
    (told,) = engineer(passed.model_copy(update={"verdict": "INCOMPLETE"}))
    assert not told.startswith("Nothing")
    assert engineer(passed.model_copy(update={"claims": ()}))[0].startswith("Nothing was judged")


def test_the_officer_reads_what_it_serves_and_what_is_missing(run):
    rows = dict(officer(run, bearings(run)))
    assert "EDPB Opinion 28/2024: paragraph 43" in rows["It is evidence for"]
    assert rows["Not declared"].startswith("anything")
    declared = run.model_copy(update={"declared": dict.fromkeys(FIELDS, "") | {"auditor": "A. Example"}})
    rows = dict(officer(declared, bearings(declared)))
    assert "Purpose" in rows["Not declared"]
    assert "Auditor," not in rows["Not declared"]


def test_each_reader_has_one_screen(run):
    section = re.search(r'<section id="readers".*?</section>', render(run), re.DOTALL)
    assert section is not None
    readers = re.split(r'<div id="(?:engineer|board|officer)">', section[0])[1:]
    assert len(readers) == 3
    assert all(len(re.sub(r"<[^>]+>", " ", text).split()) <= MOST_WORDS for text in readers)
