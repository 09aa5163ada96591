"""Audits of image diffusion models for leakage of their training data.

A table of contents: names are imported when they are first used, so that `import pytest_diffprivacy` costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_diffprivacy.audit import Auditor as Auditor
    from pytest_diffprivacy.claims import assert_dataset_not_inferable as assert_dataset_not_inferable
    from pytest_diffprivacy.claims import assert_epsilon_lower_bound_below as assert_epsilon_lower_bound_below
    from pytest_diffprivacy.claims import assert_erased as assert_erased
    from pytest_diffprivacy.claims import assert_finetune_adds_no_leak as assert_finetune_adds_no_leak
    from pytest_diffprivacy.claims import assert_finetune_not_extractable as assert_finetune_not_extractable
    from pytest_diffprivacy.claims import assert_mia_auroc_below as assert_mia_auroc_below
    from pytest_diffprivacy.claims import assert_mia_tpr_below as assert_mia_tpr_below
    from pytest_diffprivacy.claims import assert_mitigation_keeps_alignment as assert_mitigation_keeps_alignment
    from pytest_diffprivacy.claims import assert_mitigation_reduces_copies as assert_mitigation_reduces_copies
    from pytest_diffprivacy.claims import assert_no_extraction as assert_no_extraction
    from pytest_diffprivacy.claims import assert_no_memorized_prompts as assert_no_memorized_prompts
    from pytest_diffprivacy.claims import assert_no_reconstruction as assert_no_reconstruction
    from pytest_diffprivacy.claims import assert_not_closer_to_members as assert_not_closer_to_members
    from pytest_diffprivacy.claims import assert_sharpness_below as assert_sharpness_below
    from pytest_diffprivacy.claims import assert_usage_share_below as assert_usage_share_below
    from pytest_diffprivacy.claims import compare_mitigations as compare_mitigations
    from pytest_diffprivacy.errors import AuditError as AuditError
    from pytest_diffprivacy.errors import DiffPrivacyError as DiffPrivacyError
    from pytest_diffprivacy.errors import Inconclusive as Inconclusive
    from pytest_diffprivacy.errors import PrivacyViolation as PrivacyViolation
    from pytest_diffprivacy.errors import UsageError as UsageError
    from pytest_diffprivacy.models import load_model as load_model
    from pytest_diffprivacy.probes import CanarySet as CanarySet
    from pytest_diffprivacy.probes import ProbeSet as ProbeSet
    from pytest_diffprivacy.probes import PromptSet as PromptSet
    from pytest_diffprivacy.probes import ScoreTable as ScoreTable
    from pytest_diffprivacy.probes import find_duplicates as find_duplicates
    from pytest_diffprivacy.probes import plant_canaries as plant_canaries
    from pytest_diffprivacy.statistics import Verdict as Verdict
else:
    from pytest_diffprivacy.lazy import names_of

    __getattr__, __dir__ = names_of(__name__)
