"""The public sentences: one claim a file. Each judges, records, and raises unless the claim holds.

A claim is a sentence with a limit, a source of numbers, a statistic that is judged, and what a reader sees beside it;
`claim.conclude` plans or judges it. What decides goes through `Findings.measure`, so that every verdict can be had
again from the record alone, by `python -m pytest_diffprivacy verify` and in tests/claims/test_recipes.py.
"""

from pytest_diffprivacy.claims.closeness import assert_not_closer_to_members
from pytest_diffprivacy.claims.dataset import assert_dataset_not_inferable
from pytest_diffprivacy.claims.epsilon import assert_epsilon_lower_bound_below
from pytest_diffprivacy.claims.erasure import assert_erased
from pytest_diffprivacy.claims.extraction import assert_no_extraction
from pytest_diffprivacy.claims.finetune import assert_finetune_adds_no_leak
from pytest_diffprivacy.claims.finetune_extraction import assert_finetune_not_extractable
from pytest_diffprivacy.claims.memorized_prompts import assert_no_memorized_prompts
from pytest_diffprivacy.claims.mia_auroc import assert_mia_auroc_below
from pytest_diffprivacy.claims.mia_tpr import assert_mia_tpr_below
from pytest_diffprivacy.claims.mitigation import (
    assert_mitigation_keeps_alignment,
    assert_mitigation_reduces_copies,
    compare_mitigations,
)
from pytest_diffprivacy.claims.reconstruction import assert_no_reconstruction
from pytest_diffprivacy.claims.sharpness import assert_sharpness_below
from pytest_diffprivacy.claims.usage_share import assert_usage_share_below

__all__ = [
    "assert_dataset_not_inferable",
    "assert_epsilon_lower_bound_below",
    "assert_erased",
    "assert_finetune_adds_no_leak",
    "assert_finetune_not_extractable",
    "assert_mia_auroc_below",
    "assert_mia_tpr_below",
    "assert_mitigation_keeps_alignment",
    "assert_mitigation_reduces_copies",
    "assert_no_extraction",
    "assert_no_memorized_prompts",
    "assert_no_reconstruction",
    "assert_not_closer_to_members",
    "assert_sharpness_below",
    "assert_usage_share_below",
    "compare_mitigations",
]
