"""The public sentences: one claim a file. Each judges, records, and raises unless the claim holds.

Every claim must be verifiable without the model: before it returns its measurement, `measure` puts what decides into
`findings.arrays` and a `records.Recipe` into `findings.recipe`, which names a statistic of
`statistics.STATISTICS`, the stored arrays by their role, and the remaining arguments. A claim with a new
statistic adds a function there that turns arrays and arguments into the same `Measured`; `python -m pytest_diffprivacy
verify` and the test `tests/assertions/test_recipes.py` then redo it. A PASS or FAIL without a recipe does not verify.
"""

from pytest_diffprivacy.assertions.auroc import assert_mia_auroc_below
from pytest_diffprivacy.assertions.dataset import assert_dataset_not_inferable
from pytest_diffprivacy.assertions.epsilon import assert_epsilon_lower_bound_below
from pytest_diffprivacy.assertions.extraction import assert_no_extraction
from pytest_diffprivacy.assertions.finetune import assert_finetune_adds_no_leak
from pytest_diffprivacy.assertions.membership import assert_mia_tpr_below
from pytest_diffprivacy.assertions.memorized_prompts import assert_no_memorized_prompts
from pytest_diffprivacy.assertions.mitigation import (
    assert_mitigation_keeps_alignment,
    assert_mitigation_reduces_copies,
    compare_mitigations,
)
from pytest_diffprivacy.assertions.reconstruction import assert_no_reconstruction
from pytest_diffprivacy.assertions.replication import assert_not_closer_to_members
from pytest_diffprivacy.assertions.sharpness import assert_sharpness_below

__all__ = [
    "assert_dataset_not_inferable",
    "assert_epsilon_lower_bound_below",
    "assert_finetune_adds_no_leak",
    "assert_mia_auroc_below",
    "assert_mia_tpr_below",
    "assert_mitigation_keeps_alignment",
    "assert_mitigation_reduces_copies",
    "assert_no_extraction",
    "assert_no_memorized_prompts",
    "assert_no_reconstruction",
    "assert_not_closer_to_members",
    "assert_sharpness_below",
    "compare_mitigations",
]
