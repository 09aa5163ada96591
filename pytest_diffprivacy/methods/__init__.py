"""Methods: how a published attack, detector or score is registered, found, configured and run."""

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.methods.decorator import method, score_function, with_parameters_of
from pytest_diffprivacy.methods.method import (
    Configured,
    Kind,
    Method,
    MethodEvidence,
    Need,
    Published,
    ScoredProbes,
)
from pytest_diffprivacy.methods.registry import catalogue, find_method, methods_of, register
from pytest_diffprivacy.methods.resolve import ALL, MethodLike, family_task, left_out, notes_on_all, resolve
from pytest_diffprivacy.models.scoring import ImageBatch

__all__ = [
    "ALL",
    "Access",
    "Configured",
    "ImageBatch",
    "Kind",
    "Method",
    "MethodEvidence",
    "MethodLike",
    "Need",
    "Published",
    "ScoredProbes",
    "catalogue",
    "family_task",
    "find_method",
    "left_out",
    "method",
    "methods_of",
    "notes_on_all",
    "register",
    "resolve",
    "score_function",
    "with_parameters_of",
]
