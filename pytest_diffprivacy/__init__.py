"""Audits of image diffusion models for leakage of their training data.

A table of contents: names are imported when they are first used, so that `import pytest_diffprivacy` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_diffprivacy.assertions import (
        assert_epsilon_lower_bound_below,
        assert_finetune_adds_no_leak,
        assert_mia_auroc_below,
        assert_mia_tpr_below,
        assert_mitigation_keeps_alignment,
        assert_mitigation_reduces_copies,
        assert_no_extraction,
        assert_no_memorized_prompts,
        assert_no_reconstruction,
        assert_not_closer_to_members,
        assert_sharpness_below,
        compare_mitigations,
    )
    from pytest_diffprivacy.audit import Auditor
    from pytest_diffprivacy.errors import (
        AuditError,
        DiffPrivacyError,
        Inconclusive,
        PrivacyViolation,
        UsageError,
    )
    from pytest_diffprivacy.models import load_model
    from pytest_diffprivacy.probes import CanarySet, ProbeSet, ScoreTable, find_duplicates, plant_canaries
    from pytest_diffprivacy.statistics import Verdict

_WHERE = {
    "AuditError": "errors",
    "Auditor": "audit",
    "CanarySet": "probes",
    "DiffPrivacyError": "errors",
    "Inconclusive": "errors",
    "PrivacyViolation": "errors",
    "ProbeSet": "probes",
    "PromptSet": "probes",
    "ScoreTable": "probes",
    "UsageError": "errors",
    "Verdict": "statistics",
    "assert_dataset_not_inferable": "assertions",
    "assert_epsilon_lower_bound_below": "assertions",
    "assert_finetune_adds_no_leak": "assertions",
    "assert_mia_auroc_below": "assertions",
    "assert_mia_tpr_below": "assertions",
    "assert_mitigation_keeps_alignment": "assertions",
    "assert_mitigation_reduces_copies": "assertions",
    "assert_no_extraction": "assertions",
    "assert_no_memorized_prompts": "assertions",
    "assert_no_reconstruction": "assertions",
    "assert_not_closer_to_members": "assertions",
    "assert_sharpness_below": "assertions",
    "compare_mitigations": "assertions",
    "find_duplicates": "probes",
    "load_model": "models",
    "plant_canaries": "probes",
}

__all__ = [
    "AuditError",
    "Auditor",
    "CanarySet",
    "DiffPrivacyError",
    "Inconclusive",
    "PrivacyViolation",
    "ProbeSet",
    "PromptSet",
    "ScoreTable",
    "UsageError",
    "Verdict",
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
    "find_duplicates",
    "load_model",
    "plant_canaries",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
