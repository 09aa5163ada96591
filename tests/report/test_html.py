import itertools
import re
from pathlib import Path

import pytest

import pytest_diffprivacy.report
from pytest_diffprivacy.declaration import FIELDS
from pytest_diffprivacy.evidence.records import Estimate, Family, FamilyMember, Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.report.apart import beside, told_apart
from pytest_diffprivacy.report.formats.html import render as render_html
from pytest_diffprivacy.report.plain import MOST_WORDS, plain_summary
from pytest_diffprivacy.report.sections import bounds_bar
from pytest_diffprivacy.report.threats import threats
from pytest_diffprivacy.statistics import Verdict
from tests.report.reading import Page

TEMPLATES = Path(pytest_diffprivacy.report.__file__).parent / "templates"


@pytest.fixture(scope="module")
def document(run):
    return render_html(run)


@pytest.fixture(scope="module")
def page(document):
    return Page(document)


def changed(run: Run, **fields) -> Run:
    return run.model_copy(update=fields)


def test_verdicts_come_before_details(page):
    sections = [element.attributes["id"] for element in page.all("section")]
    assert sections == [
        "verdicts", "readers", "tested", "threats", "controls", "claims", "worst", "comparison", "incidents",
        "limitations", "sign-off", "appendix",
    ]  # fmt: skip
    named = [link.attributes["href"].lstrip("#") for link in page.all("a") if "nav" in link.inside]
    assert named == sections
    verdicts = page.all("section")[0].words
    for word in ("ERROR", "1 PASS", "1 FAIL (a demonstration)", "1 INCONCLUSIVE", "1 ERROR"):
        assert word in verdicts


def test_every_claim_is_in_the_table_and_leads_to_its_section(run, page):
    table = next(element for element in page.all("table") if "claims" in element.attributes["class"])
    anchors = {element.attributes["id"] for element in page.all("article")}
    links = [element for element in page.all("a") if element.attributes["href"].startswith("#claim-")]
    for claim in run.claims:
        assert claim.headline in table.words
        assert claim.sentence in table.words
    assert {link.attributes["href"].lstrip("#") for link in links} == anchors
    assert len(anchors) == len(run.claims)


def test_a_failure_that_its_test_announced_is_shown_as_such(run, page):
    failed = next(article for article in page.all("article") if "SecMI" in article.words)
    assert "FAIL (a demonstration)" in failed.words
    surprised = changed(run, tests=tuple(t.model_copy(update={"expected_failure": False}) for t in run.tests))
    assert "(a demonstration)" not in render_html(surprised)


def test_a_pass_whose_test_expected_a_failure_stays_a_pass(run):
    tests = tuple(t.model_copy(update={"expected_failure": True}) for t in run.tests)
    words = Page(render_html(changed(run, tests=tests))).all("section")[0].words
    assert "1 PASS" in words
    assert words.count("(a demonstration)") == 2  # the banner's count and the table's badge


def test_an_incomplete_run_lists_the_missing_tests(run):
    missing = ("audits/test_release.py::test_deselected", "audits/test_release.py::test_died")
    incomplete = changed(run, verdict="INCOMPLETE", verdict_reason="2 tests left no record", missing=missing)
    words = Page(render_html(incomplete)).all("section")[0].words
    assert all(node in words for node in missing)
    assert "INCOMPLETE" in words


def test_everything_that_redoes_a_verdict_is_there(run, page):
    words = page.all("main")[0].words
    for claim in run.claims:
        for text in (claim.reason, claim.rule, claim.needed, claim.redo, claim.node_id, *claim.notes, *claim.incidents):
            assert text in words
        for artifact in claim.artifacts:
            assert artifact.sha256 in words
    for probes in run.claims[0].probes:
        assert probes.digest in words
    for text in (run.command, run.run_id, run.platform, *run.versions, *run.versions.values()):
        assert text in words
    assert "2025-03-14 09:26:53 UTC" in words
    assert "matched by signal-to-noise ratio" in words


def section(page: Page, name: str) -> str:
    return next(element for element in page.all("section") if element.attributes["id"] == name).words


def test_the_threat_model_says_what_ran_and_what_did_not_and_why(run, page):
    words = section(page, "threats")
    ran, rest = words.split("Known attacks that did not run")
    assert "SecMI" in ran
    assert "Generate and filter with an adaptive distance" in ran
    assert "PIAN" in rest
    assert "no audit test asked for it; it needs shadow models" in rest
    grey = tuple(c.model_copy(update={"model": c.model.model_copy(update={"access": "grey box"})}) for c in run.claims)
    words = section(Page(render_html(changed(run, claims=grey))), "threats")
    assert "it needs white box access, and the model offers grey box" in words


def test_controls_comparison_family_and_policy_are_shown(page):
    controls = section(page, "controls")
    for text in ("Blind baseline", "held", "not applicable", "too few non-members", "Holm's correction", "0.0012"):
        assert text in controls
    comparison = section(page, "comparison")
    for text in ("worse (the run fails on it): the lower bound", "AUROC of SecMI", "0.7 / 0.86", "3 / 61, p = 1e-06"):
        assert text in comparison
    verdicts = section(page, "verdicts")
    assert "memorization_below: no claim covers it" in verdicts
    assert "mia_tpr_below: limit at most 0.02" in verdicts
    assert "Worker gw1 was lost and replaced." in section(page, "incidents")


def test_a_section_without_content_says_that_nothing_was_run(run):
    bare = tuple(c.model_copy(update={"controls": (), "comparison": None, "strips": ()}) for c in run.claims)
    page = Page(render_html(changed(run, claims=bare, family=None, policy=None, incidents=())))
    assert "Not run: no claim of this run recorded a control." in section(page, "controls")
    assert "Not run: no earlier release was given" in section(page, "comparison")
    assert "No claim marked a single image or prompt." in section(page, "worst")


def test_worst_cases_are_listed(page):
    assert "RMS distance 0.043, seen 16 times" in section(page, "worst")
    assert "seen once" not in section(page, "worst")


def test_limitations_are_those_of_this_run(run, page):
    words = section(page, "limitations")
    assert "2 claims are INCONCLUSIVE or ERROR" in words
    assert "For 2 of 3 claims no positive control held or applied" in words
    assert "For 3 of 3 claims no negative control held or applied" in words
    assert "known attacks did not run" in words
    assert "made elsewhere" not in words
    without = tuple(c.model_copy(update={"model": None}) for c in run.claims)
    assert "The scores of 4 claims were made elsewhere" in section(
        Page(render_html(changed(run, claims=without))), "limitations"
    )


def test_a_membership_claim_on_a_distilled_model_is_said_to_mean_little(run, page):
    assert "means little" not in section(page, "limitations")
    (first, *rest) = run.claims
    model = first.model.model_copy(update={"family": "LatentConsistencyModelPipeline"})
    changed_claims = (first.model_copy(update={"kind": "membership", "model": model}), *rest)
    assert "a PASS means little" in section(Page(render_html(changed(run, claims=changed_claims))), "limitations")


def test_the_appendix_holds_configuration_files_glossary_and_other_texts(run, page):
    words = section(page, "appendix")
    assert "modelcheckpoints/release-3ini file" in words
    for claim in run.claims:
        for artifact in claim.artifacts:
            assert f"{artifact.path}{artifact.sha256}" in words


def test_other_texts_are_mapped_claim_by_claim_with_what_is_missing(run, page):
    words = section(page, "appendix")
    assert "NIST AI 600-1MS-2.7-007" in words
    for place in ("paragraph 43", "paragraph 55", "paragraph 58", "measure 1.4", "Annex XI", "8.2.3", "AML.T0024.000"):
        assert place in words
    kept = [c for c in run.claims if c.node_id not in run.expected_failures and c.kind == "extraction"]
    assert f"{kept[0].verdict.value}{kept[0].sentence}EDPB Opinion 28/2024: paragraph 43" in words
    assert "claims about memorization" in words
    assert "declared personal data" in words
    assert "complies" not in page.words


def test_the_plain_summary_says_what_was_asked_found_and_not_asked_in_120_words(run):
    asked, found, left = plain_summary(run, threats(run))
    assert "checkpoints/release-3" in asked
    assert "412 member images and 409 non-member images" in asked
    assert "Of 3 claims, 1 could not be judged, 1 is undecided and 1 holds." in found
    assert "Taken together: ERROR." in found
    assert "known attacks" in left
    assert "was not declared" in left
    crowded = tuple(c.model_copy(update={"kind": f"a kind of its own {i}"}) for i, c in enumerate(run.claims * 20))
    for text in (run, changed(run, claims=crowded), changed(run, claims=()), changed(run, claims=crowded, tests=())):
        assert len(" ".join(plain_summary(text, threats(text))).split()) <= MOST_WORDS


def test_what_is_declared_is_shown_and_what_is_not_is_missing(run, page):
    assert "Auditormissing Organisationmissing" in section(page, "tested")
    declared = dict.fromkeys(FIELDS, "") | {"auditor": "A. Example", "training_images": "540", "base_model": "base-1"}
    told = Page(render_html(changed(run, declared=declared)))
    words = section(told, "tested")
    assert "AuditorA. Example Organisationmissing" in words
    assert "2745 (1,482,177 parameters)" in words or "2.74e+03 (1,482,177 parameters)" in words
    assert "Whatever the base model (base-1) gives away is inherited." in section(told, "threats")
    assert record_digest(run) != record_digest(changed(run, declared=declared))


def test_claims_of_one_kind_are_told_apart_by_what_differs(run):
    claim = next(c for c in run.claims if c.methods and c.methods[0].parameters)
    name = next(iter(claim.methods[0].parameters))
    other = claim.methods[0].model_copy(update={"parameters": claim.methods[0].parameters | {name: "77"}})
    pair = (claim, claim.model_copy(update={"id": "other", "methods": (other, *claim.methods[1:])}))
    first, second = told_apart(pair)
    assert first != second
    assert second.endswith(f"{name} 77")
    assert told_apart(pair[:1]) == (", ".join(m.title for m in claim.methods),)


def test_bars_of_one_kind_have_one_scale(run):
    claim = next(c for c in run.claims if c.estimate is not None)
    wide = claim.model_copy(update={"name": "same", "limit": 1.0})
    narrow = claim.model_copy(update={"name": "same", "limit": 0.05})
    bars = [bounds_bar(one, (0.0, 1.0)) for one in (wide, narrow)]
    assert bars[0].value == bars[1].value
    assert bars[0].limit != bars[1].limit


def test_the_auroc_is_said_where_it_contradicts_the_impression(run):
    def judged(verdict, low, high):
        area = Estimate(name="AUROC", value=(low + high) / 2, low=low, high=high, confidence=0.95, counts="many")
        fields = {"name": "mia_tpr_below", "verdict": verdict, "also_measured": (area,)}
        return run.claims[0].model_copy(update=fields)

    assert "members rank clearly above others" in beside(judged(Verdict.PASS, 0.8, 0.9))
    assert "hardly rank above others" in beside(judged(Verdict.FAIL, 0.48, 0.55))
    assert beside(judged(Verdict.PASS, 0.48, 0.55)) == beside(judged(Verdict.FAIL, 0.8, 0.9)) == ""


def test_a_claim_that_the_correction_spared_says_what_settles_it(run):
    claims = tuple(c.model_copy(update={"verdict": Verdict.FAIL}) for c in run.claims[:1])
    member = FamilyMember(claim=claims[0].id, p_value=0.02, adjusted=0.06, refuted=False)
    family = Family(audits=3, size=3, significance=0.05, correction="Holm", members=(member,))
    spared = changed(run, claims=claims, tests=(), family=family)
    assert (
        "refuted on its own, and not after the correction for 3 claims (adjusted p = 0.06"
        in Page(render_html(spared)).words
    )


def test_a_run_without_claims_is_a_page_too(run):
    assert "No claim was judged" in render_html(changed(run, claims=(), tests=(), options=(), versions={}))


def test_nothing_is_loaded_and_nothing_runs(page, document):
    policy = next(e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    for element in page.elements:
        assert element.tag not in {"script", "iframe", "object", "embed", "form", "base"}
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href", "srcset"}:
                assert value.startswith(("#", "data:image/png;base64,", "data:,")), value
    assert not re.search(r"@import|url\((?!#)", document)
    assert "<!DOCTYPE svg" not in document
    assert "<?xml" not in document
    assert not page.comments


def test_ids_are_unique_and_every_reference_has_its_target(page, document):
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r"url\(#([^)]+)\)", document))
    for element in page.elements:
        if element.attributes.get("href", "").startswith("#"):
            targets.add(element.attributes["href"].lstrip("#"))
        for name in ("aria-labelledby", "aria-describedby"):
            targets |= set(element.attributes.get(name, "").split())
    assert targets <= set(ids)


def test_every_picture_has_a_name_for_those_who_do_not_see_it(page):
    assert page.all("img")
    assert all(element.attributes["alt"].strip() for element in page.all("img"))
    drawings = page.all("svg")
    assert sum("viewbox" in drawing.attributes for drawing in drawings) == 3
    for drawing in drawings:
        if drawing.attributes.get("aria-hidden") != "true":
            assert drawing.attributes["role"] == "img"
            assert drawing.attributes["aria-label"].strip()


def test_headings_tables_and_landmarks_are_in_order(page):
    levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.attributes.get("scope") in {"row", "col"} for cell in page.all("th"))
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("a")[0].attributes["href"] == "#verdicts"


def test_numbers_behind_a_picture_are_a_short_table(page):
    details = page.all("details")
    assert len(details) == 3
    rows = [e for e in page.all("tr") if "details" in e.inside]
    assert 3 * 10 < len(rows) <= 4 * 26


def test_the_report_never_calls_a_model_good(document):
    assert not re.search(r"\b(safe|safely|anonymous|compliant|certified|guaranteed?)\b", document, re.IGNORECASE)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_have_enough_contrast(scheme):
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[scheme]))
    texts = [(tone, ground) for tone in ("ink", "soft", "link") for ground in ("ground", "paper")]
    for tone in ("pass", "fail", "inconclusive", "error", "incomplete"):
        texts += [(tone, "ground"), (tone, f"{tone}-tint"), ("ink", f"{tone}-tint"), ("soft", f"{tone}-tint")]
    for text, ground in texts:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in ("first", "second", "edge"):
        assert contrast(colours[mark], colours["ground"]) >= 3.0, mark
