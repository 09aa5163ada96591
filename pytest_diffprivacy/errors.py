"""Errors of an audit, as one small tree.

    DiffPrivacyError                 anything this project raises on purpose
    ├── UsageError (ValueError)      an argument or option is wrong; the message names it and the remedy
    │   ├── ModelError               the model cannot be loaded, or offers less access than the attack needs
    │   └── ProbeError               an image, folder or array cannot be used; the message names it
    ├── EvidenceError                a stored file is corrupt, or the store cannot be written
    ├── AuditError                   the audit could not judge: NaN scores, failed control (verdict ERROR)
    ├── InsufficientProbes           a statistic is undefined for so few probes; carries how many are needed
    └── ClaimNotProven (AssertionError)
        ├── PrivacyViolation         the lower bound is above the limit (verdict FAIL)
        ├── Regression               the claim holds, but the model leaks more than the last release
        └── Inconclusive             neither bound decides (verdict INCONCLUSIVE)
            └── BudgetSpent          the audit's time is over before the claim is decided; carries what is missing

Beside the tree four warnings: PromptTruncated, prompts are longer than the text encoder takes; CaptionsNotCleaned, they
reach the model otherwise than in training; DerivativeFallback, a network has no forward derivative, so finite
differences are taken; SharedDevice, several workers share one GPU.

Argument errors read "`<name>` must be <condition>, got <value!r>. <What to do.>".
"""

from __future__ import annotations

from typing import Any


class DiffPrivacyError(Exception):
    """Base of everything that pytest-diffprivacy raises on purpose."""


class UsageError(DiffPrivacyError, ValueError):
    """An argument or option is wrong; the message names the value and the remedy."""


class ModelError(UsageError):
    """The model cannot be loaded, or offers less access than an attack needs."""


class ProbeError(UsageError):
    """An image, a folder or an array cannot serve as probes; the message names it."""


class EvidenceError(DiffPrivacyError):
    """A stored file is corrupt, or the evidence store cannot be written."""


class AuditError(DiffPrivacyError):
    """The audit could not judge: NaN scores, a failed control, a model that does not answer."""


class InsufficientProbes(DiffPrivacyError):
    """A statistic is undefined for so few probes.

    Attributes:
        needed: the smallest number of probes for which it is defined.
    """

    def __init__(self, message: str, *, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class ClaimNotProven(DiffPrivacyError, AssertionError):
    """A claim did not hold; the message is the aligned block that the terminal shows.

    Attributes:
        claim: the evidence.records.Claim that was judged.
    """

    def __init__(self, message: str, claim: Any = None) -> None:
        super().__init__(message)
        self.claim = claim


class PrivacyViolation(ClaimNotProven):
    """The lower confidence bound is above the limit: the claim is refuted."""


class Regression(ClaimNotProven):
    """The claim holds, but the paired comparison with the last release came out as the run asked to fail on."""


class Inconclusive(ClaimNotProven):
    """Neither confidence bound decides; the message says how many probes would."""


class BudgetSpent(Inconclusive):
    """The audit's time is over before the claim is decided.

    Attributes:
        units: units of work that are missing at least.
        seconds: how long they would take; None where it is not known.
    """

    def __init__(self, message: str, *, units: int, seconds: float | None) -> None:
        super().__init__(message)
        self.units, self.seconds = units, seconds


class PromptTruncated(UserWarning):
    """Prompts hold more tokens than the text encoder takes; the rest does not reach the model."""


class CaptionsNotCleaned(UserWarning):
    """Captions were cleaned in training and are not here, as the libraries for it are not installed."""


class DerivativeFallback(UserWarning):
    """A network has no forward-mode derivative; finite differences stand in for it."""


class SharedDevice(UserWarning):
    """Several pytest-xdist workers put a model each on one GPU."""
