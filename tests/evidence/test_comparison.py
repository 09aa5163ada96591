"""Which claims are compared with the last release, by what, and what is said of those that are not?"""

import numpy as np
import pytest

from pytest_diffprivacy import Auditor, ScoreTable, assert_no_memorized_prompts, assert_sharpness_below
from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.baseline import (
    PAIRED,
    STANDINGS,
    UNPAIRED,
    Baseline,
    Standing,
    is_of,
    read_baseline,
    standing,
    why_unpaired,
    write_baseline,
)
from pytest_diffprivacy.evidence.comparison import LastRelease, compare
from pytest_diffprivacy.evidence.records import Recipe
from pytest_diffprivacy.options import CompareRule
from pytest_diffprivacy.statistics import auroc_difference
from pytest_diffprivacy.statistics.statistic import STATISTICS
from tests.claims.prompted import BROADS, NEEDLES, REFERENCE, prompted_model

PROMPTS, OTHERS = [f"a photo of {i}" for i in range(120)], [f"a drawing of {i}" for i in range(199)]
RULE = CompareRule("never", 0.0)


def table(leak):
    """Scores of one release; the first 30 prompts are memorized as far as the leak goes."""
    hard = np.random.default_rng(2).normal(size=319)
    hard[:30] += leak
    return ScoreTable({"mine": dict(zip(PROMPTS + OTHERS, hard.tolist(), strict=True))})


def prompts(auditor, leak=0.0, audited=PROMPTS, reference=OTHERS):
    return assert_no_memorized_prompts(
        table(leak), audited, reference=reference, detector="mine", reference_quantile=0.95, limit=0.6, auditor=auditor
    )


def sharp(auditor, above=1e6):
    audited = NEEDLES + BROADS
    return assert_sharpness_below(prompted_model(), audited, sharp_above=above, limit=0.6, auditor=auditor)


@pytest.fixture
def release(tmp_path_factory):
    """What a claim leaves behind, as the last release."""

    def judged(claim, **arguments):
        run = RunFolder(tmp_path_factory.mktemp("run"), "last")
        claim(Auditor(run=run, last_release=LastRelease(None, RULE, update=True)), **arguments)
        files = sorted((run.folder / STANDINGS).glob("*.json"))
        standings = tuple(Standing.model_validate_json(file.read_bytes()) for file in files)
        return LastRelease(Baseline(run_id="last", claims=standings), RULE)

    return judged


def test_prompts_are_compared_by_their_scores_and_no_estimated_threshold(release):
    found = prompts(Auditor(last_release=release(prompts)), leak=3.0).comparison
    old, new = (table(leak).of(PROMPTS + OTHERS, "mine") for leak in (0.0, 3.0))
    expected = auroc_difference((new[:120], new[120:]), (old[:120], old[120:]))
    assert found.outcome == "worse"
    assert (found.increase.low, found.increase.high) == pytest.approx((expected.low, expected.high))
    assert (found.old_only, found.new_only, found.p_worse) == (None, None, None)
    assert found.increase.counts == "the same 120 members and 199 non-members"


def test_exchangeable_releases_are_seldom_worse():
    """Flags by each release's own threshold said "worse" in 8-22 %."""
    rng, wrong, runs = np.random.default_rng(5), np.zeros(2), 2000
    for _ in range(runs):
        hard = rng.normal(size=(1, 200))
        old, new = hard + rng.normal(size=(2, 200))
        found = auroc_difference((new[:100], new[100:]), (old[:100], old[100:]))
        wrong += [found.low > 0.0, found.high < 0.0]
    assert (wrong / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)).all()


def test_flags_that_an_older_release_left_are_not_compared(release):
    last = release(prompts)
    old = last.baseline.claims[0].model_copy(update={"ranked": {}, "flagged": (False,) * 120})
    last = LastRelease(last.baseline.model_copy(update={"claims": (old,)}), RULE)
    found = prompts(Auditor(last_release=last)).comparison
    assert found.outcome == "not comparable"
    assert "prompts are compared by their scores" in found.reason


def test_the_order_of_prompts_does_not_matter_and_other_prompts_are_not_compared(release):
    last = release(prompts)
    assert prompts(Auditor(last_release=last), audited=PROMPTS[::-1]).comparison.increase.value == 0.0
    found = prompts(Auditor(last_release=last), audited=PROMPTS[1:], reference=OTHERS + PROMPTS[:1]).comparison
    assert found.outcome == "not comparable"
    assert "the probes are not the same" in found.reason


def test_a_baseline_of_prompts_holds_ranks_and_no_prompt(release):
    (left,) = release(prompts).baseline.claims
    (ranked,) = left.ranked.values()
    assert (left.flagged, len(ranked.members), len(ranked.nonmembers), left.copies) == ((), 120, 199, ())
    assert "a photo" not in left.model_dump_json()


def test_an_absolute_limit_is_compared_as_long_as_it_is_the_same(release):
    last = release(sharp)
    assert len(last.baseline.claims[0].flagged) == len(NEEDLES + BROADS)
    assert sharp(Auditor(last_release=last)).comparison.increase.value == 0.0
    other = sharp(Auditor(last_release=last), above=2e6).comparison
    assert "parameters or the seed are not the same" in other.reason


def test_sharpness_beside_reference_prompts_is_compared_too(release):
    def claim(auditor):
        return assert_sharpness_below(
            prompted_model(), BROADS, reference=REFERENCE, reference_quantile=0.9, limit=0.6, auditor=auditor
        )

    found = claim(Auditor(last_release=release(claim))).comparison
    assert found.measured.startswith("AUROC of ")
    assert found.increase.counts == f"the same {len(BROADS)} members and {len(REFERENCE)} non-members"


def test_gains_of_reconstruction_are_compared_by_rank_on_the_images_that_were_restored():
    digests = [[bytes([side, i]) for i in range(20)] for side in range(2)]
    recipe = Recipe(
        statistic="mean_difference",
        arrays={"first": ("member_gains",), "second": ("nonmember_gains",)},
        arguments={"confidence": 0.95},
    )
    claim = prompts(Auditor()).model_copy(update={"recipe": recipe, "prompts": ()})
    rng, left = np.random.default_rng(3), []
    hard = rng.normal(size=(2, 20))
    for gain in (0.0, 2.0):
        arrays = {"member_gains": hard[0] + gain, "nonmember_gains": hard[1]}
        left.append(standing(claim, "key", arrays, digests))
    found = compare(*left, run_id="last", rule=RULE, confidence=0.95)
    assert (found.outcome, found.measured) == ("worse", f"AUROC of {claim.methods[0].name}")
    assert found.increase.counts == "the same 20 members and 20 non-members"
    assert standing(claim, "key", arrays, [digests[0][:10], digests[1]]) is None


def test_every_statistic_is_paired_or_says_why_not():
    assert PAIRED.keys() | UNPAIRED.keys() == STATISTICS.keys()


def test_a_claim_judged_in_another_way_is_gone():
    ids = "mia-secmi-0123abcd", "mia-secmi-0123abcd-2", "mia-secmi-sequential-0123abcd", "mia-secmi-seq-12"
    assert [is_of("mia-secmi", one) for one in ids] == [True, True, False, False]


@pytest.mark.parametrize("statistic", sorted(UNPAIRED))
def test_a_claim_that_cannot_be_paired_says_why(statistic):
    assert statistic in STATISTICS
    claim = prompts(Auditor())
    changed = claim.model_copy(update={"recipe": claim.recipe.model_copy(update={"statistic": statistic})})
    assert why_unpaired(changed) == UNPAIRED[statistic]


def test_a_baseline_that_was_edited_is_refused_and_one_of_before_there_were_seals_is_read(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, "last", [])
    assert read_baseline(path).seal
    text = path.read_text()
    path.write_text(text.replace('"last"', '"list"'))
    with pytest.raises(EvidenceError, match=r"'baseline\.json' is not what was sealed: it was changed"):
        read_baseline(path)
    path.write_text('{"version": 1, "run_id": "last", "claims": []}')
    assert read_baseline(path).run_id == "last"
