"""What does a machine read? The whole record as JSON, from which every other view can be made again."""

from __future__ import annotations

from pytest_diffprivacy.evidence.records import Run
from pytest_diffprivacy.evidence.seals import record_json


def render_json(run: Run) -> str:
    """The run as JSON, byte for byte the record in the run's folder: `Run.model_validate_json` gives it back."""
    return record_json(run)
