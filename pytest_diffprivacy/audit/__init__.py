"""The audit: attack -> statistic -> verdict -> evidence, the same way for every claim."""

from pytest_diffprivacy.audit.auditor import Auditor
from pytest_diffprivacy.audit.claim import Claim, Findings, Named, Subject
from pytest_diffprivacy.audit.current import current_auditor
from pytest_diffprivacy.audit.recording import estimate

__all__ = ["Auditor", "Claim", "Findings", "Named", "Subject", "current_auditor", "estimate"]
