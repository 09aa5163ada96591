"""assert_no_memorized_prompts: planted prompts are found, named by digest, told apart and shown."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy import (
    AuditError,
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    PromptSet,
    UsageError,
    Verdict,
    assert_no_memorized_prompts,
)
from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.evidence import RunFolder, Store
from pytest_diffprivacy.evidence.records import Control, ControlOutcome
from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.sources import prompts
from pytest_diffprivacy.statistics.statistic import recompute
from tests.claims.prompted import BROADS, NEEDLES, REFERENCE, prompted_model
from tests.models.text_builders import golden_pipeline, text_inputs

CLAIM = {
    "reference": REFERENCE,
    "detector": "score_difference",
    "reference_quantile": 0.9,
    "limit": 0.3,
    "images_per_prompt": 2,
    "sampling_steps": 20,
    "guidance_scale": 1.0,
}


def judge(images="redacted"):
    return Auditor(images=images)


def violated(prompts, auditor=None, **changes):
    with pytest.raises(PrivacyViolation) as caught:
        assert_no_memorized_prompts(prompted_model(), prompts, auditor=auditor or judge(), **CLAIM | changes)
    return caught.value.claim


@pytest.fixture(scope="module")
def found():
    return violated(NEEDLES + BROADS[:6])


def test_planted_prompts_are_found_and_the_claim_says_how_many(found):
    assert found.verdict is Verdict.FAIL
    assert found.value == pytest.approx(12 / 18, abs=0.12)
    assert found.low > 0.3
    assert found.headline == "More prompts than allowed bring back single images."
    assert found.estimate.counts == "18 prompts, 60 reference prompts, 2 images each"
    assert found.also_measured[0].name == "AUROC"
    assert found.also_measured[0].low > 0.6


@pytest.fixture(scope="module")
def needles():
    """The ids of the planted prompts, under the secret that the claim was recorded with."""
    return set(PromptSet(NEEDLES).ids())


def test_the_found_prompts_are_listed_with_their_p_values_and_kinds(found, needles):
    (table,) = found.tables
    assert table.columns == ("Prompt", "Score", "p-value", "Kind", "Picture that agrees", "Bright area")
    listed = [row[0] for row in table.rows]
    assert needles <= set(listed)
    exact = [row for row in table.rows if row[0] in needles]
    assert {row[3] for row in exact} == {"exact"}
    assert {row[4] for row in exact} == {"100%"}
    assert all(float(row[2]) <= 0.1 for row in table.rows)
    assert f"; {len(listed)} are listed, so that at most 10% of the list" in " ".join(found.notes)


def test_a_record_holds_no_prompt_unless_images_are_shown_in_full(found):
    assert "the one picture" not in found.model_dump_json()
    shown = violated(NEEDLES, judge("full"))
    assert NEEDLES[3] in shown.model_dump_json()
    assert [prompts.role for prompts in shown.prompts] == ["prompt", "reference prompt"]
    assert violated(NEEDLES, judge("none")).strips == ()


def test_the_most_conspicuous_prompts_are_shown_with_their_training_image():
    images = np.random.default_rng(1).random((12, 1, 4, 4)).astype(np.float32)
    claim = violated(PromptSet(NEEDLES, images=images), judge("full"))
    strip = claim.strips[0]
    assert [p.label for p in strip.pictures] == ["training image", "generation 0", "generation 1"]
    assert strip.mark == "above threshold"
    assert strip.conspicuous
    assert "exact, 100% of the picture agrees" in strip.caption


def test_a_model_whose_prompts_are_like_the_reference_holds():
    claim = assert_no_memorized_prompts(prompted_model(), BROADS, auditor=judge(), **CLAIM | {"limit": 0.5})
    assert claim.verdict is Verdict.PASS
    assert claim.high <= 0.5
    assert [c.kind for c in claim.controls] == ["positive", "wiring", "negative"]
    assert {c.outcome for c in claim.controls} == {ControlOutcome.HELD}
    assert len(claim.strips) >= 1  # the most conspicuous prompt is shown all the same


def test_few_prompts_do_not_decide():
    with pytest.raises(Inconclusive, match=r"about \d+ prompts and as many reference prompts would decide"):
        assert_no_memorized_prompts(prompted_model(), BROADS[:3], auditor=judge(), **CLAIM | {"limit": 0.15})


def test_too_few_reference_prompts_are_said():
    message = r"0\.99 quantile of 60 reference prompts: at least 299 are needed\. Lower `reference_quantile` or add ref"
    with pytest.raises(Inconclusive, match=message):
        assert_no_memorized_prompts(prompted_model(), BROADS, auditor=judge(), **CLAIM | {"reference_quantile": 0.99})


def test_one_prompt_does_not_decide_and_has_no_area():
    with pytest.raises(Inconclusive, match="prompts and as many reference prompts would decide") as caught:
        assert_no_memorized_prompts(prompted_model(), BROADS[:1], auditor=judge(), **CLAIM)
    assert caught.value.claim.also_measured == ()


REVERSED = CLAIM | {"reference": NEEDLES, "reference_quantile": 0.5, "limit": 0.5}


def test_a_detector_that_ranks_the_prompts_last_may_not_pass_without_a_positive_control(monkeypatch):
    def uncontrolled(auditor, model, asked, sampling):
        return Control(kind="positive", name="", done="", outcome=ControlOutcome.NOT_APPLICABLE, meaning="")

    monkeypatch.setattr(prompts, "planted_prompts", uncontrolled)
    auditor = judge()
    with pytest.raises(
        AuditError, match=r"Score difference ranks the audited prompts last beyond chance.*another detec"
    ):
        assert_no_memorized_prompts(prompted_model(), BROADS, auditor=auditor, **REVERSED)
    assert auditor.claims[0].verdict is Verdict.ERROR


def test_with_one_the_reference_is_what_a_reader_is_warned_of():
    claim = assert_no_memorized_prompts(prompted_model(), BROADS, auditor=judge(), **REVERSED)
    assert claim.verdict is Verdict.PASS
    assert "ranks the audited prompts below the others beyond chance" in " ".join(claim.notes)


def test_the_verdict_follows_from_what_is_stored(tmp_path_factory):
    from pytest_diffprivacy.evidence.arrays import read_arrays

    root = tmp_path_factory.mktemp("store")
    run = RunFolder(root, "run")
    auditor = Auditor(run=run, engine=Engine(Store(root), run))
    claim = violated(NEEDLES + BROADS[:6], auditor)
    arrays = read_arrays(root / claim.artifacts[0].path)
    roles = {role: [arrays[name] for name in names] for role, names in claim.recipe.arrays.items()}
    again = recompute(claim.recipe.statistic, roles, claim.recipe.arguments)
    assert (again.value, again.low, again.high) == (claim.value, claim.low, claim.high)
    events = (run.folder / "events.jsonl").read_text("utf-8")
    assert "picture number" not in events
    second = Auditor(run=RunFolder(root, "again"), engine=Engine(Store(root)))
    reused = violated(NEEDLES + BROADS[:6], second)
    assert reused.work.units_computed == 0
    assert reused.value == claim.value


def test_prompts_may_come_from_a_file_or_a_probe_set(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("\n".join(NEEDLES), encoding="utf-8")
    for given in (path, str(path), ProbeSet(prompts=path)):
        assert violated(given).prompts[0].count == 12
    assert "picture" not in violated(path).prompts[0].origin


def test_cut_prompts_sampler_and_derivative_are_said():
    from diffusers import PNDMScheduler

    pipeline = golden_pipeline()
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    *short, long = text_inputs()["prompts"]
    with pytest.warns(UserWarning, match="longer than the 77 tokens"), pytest.raises(Inconclusive) as caught:
        assert_no_memorized_prompts(
            load_model(pipeline), [long, short[0]], reference=short[1:], reference_quantile=0.5, limit=0.5,
            images_per_prompt=1, sampling_steps=4, auditor=judge(),
        )  # fmt: skip
    said = " ".join(caught.value.claim.notes)
    assert "1 of 2 prompts are longer than the 77 tokens that the text encoder takes" in said
    assert "own scheduler is PNDMScheduler; detectors walk by deterministic DDIM" in said
    assert "Derivative: central differences with an RMS change of x of" in said
    assert [c.outcome for c in caught.value.claim.controls] == [
        ControlOutcome.HELD,
        *[ControlOutcome.NOT_APPLICABLE] * 2,
    ]
    assert caught.value.claim.methods[0].evaluations_per_image == 6


def test_a_model_that_answers_nan_is_an_error(monkeypatch):
    model = prompted_model()
    monkeypatch.setattr(model, "predict_eps", lambda x, t, c=None: torch.full_like(x, torch.nan))
    auditor = judge()
    with pytest.raises(AuditError, match="returns NaN or infinity"):
        assert_no_memorized_prompts(model, BROADS, auditor=auditor, **CLAIM)
    assert auditor.claims[0].verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "magic"}, "`detector` must be one of hessian_score"),
        ({"parameters": {"draws": 3}}, "`parameters` must be among steps, form for score_difference, got draws"),
        ({"parameters": {"steps": 21}}, "`steps` must be between 1 and `sampling_steps` = 20"),
        ({"reference": [*REFERENCE, BROADS[0]]}, "`reference` must hold none of the audited prompts, got 1 of 30"),
        ({"reference": 7}, "reference prompts must be a list of texts"),
        ({"reference": None}, "`reference` must be prompts known not to be memorized, got None"),
        ({"sampling_steps": "20"}, "`sampling_steps` must be a whole number of at least 1, got '20'"),
        ({"guidance_scale": float("nan")}, "`guidance_scale` must be a finite number, got nan"),
        ({"reference_quantile": 1.0}, r"`reference_quantile` must be in \[0.5, 1\), got 1.0"),
        ({"limit": "5%"}, "`limit` must be"),
        ({"images_per_prompt": 0}, "`images_per_prompt` must be"),
        ({"detector": "tiled_l2", "images_per_prompt": 1}, "at least 2 for Tiled distance"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(changes, message):
    with pytest.raises(UsageError, match=message):
        assert_no_memorized_prompts(prompted_model(), BROADS, auditor=judge(), **CLAIM | changes)


def test_a_model_without_texts_is_refused(population):
    with pytest.raises(ModelError, match=r"claim about prompts \(Score difference\) needs a text-to-image model"):
        assert_no_memorized_prompts(population, BROADS, auditor=judge(), **CLAIM)
