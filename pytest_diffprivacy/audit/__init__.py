"""How does an attack become a verdict? Attack -> statistic -> verdict -> evidence, the same way for every claim."""

from pytest_diffprivacy.audit.auditor import Auditor
from pytest_diffprivacy.audit.current import current_auditor
from pytest_diffprivacy.audit.question import Findings, Question
from pytest_diffprivacy.audit.subjects import estimate

__all__ = ["Auditor", "Findings", "Question", "current_auditor", "estimate"]
