"""What stands for shadow models while an audit is planned? Their number and what they would be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.membership.shadow import Measure


@dataclass(frozen=True, slots=True)
class PlannedShadows:
    """Shadow models that are neither trained nor asked.

    Attributes:
        models: how many.
        asked: what they would be asked, and the target as well.
        digest: of their values, which there are none of.
    """

    models: int
    asked: Measure
    digest: str = "planned"

    def __len__(self) -> int:
        return self.models


def planned_scores(*_: Any, **__: Any) -> Any:
    """The scores of an attack with shadow models that are planned.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        "Shadow models are not trained while an audit is planned, got a question to them. Leave out --diffprivacy-plan "
        "to train and ask them."
    )
