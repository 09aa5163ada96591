"""JSON: the whole record, byte for byte that in the run's folder; `Run.model_validate_json` gives it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Run

ORDER: Final = 2
EXTENSION: Final = ".json"
HELP: Final = "machines: the whole record, from which every other format can be made again"


def render(run: Run) -> str:
    """The run as JSON."""
    from pytest_diffprivacy.evidence.seals import record_json

    return record_json(run)
