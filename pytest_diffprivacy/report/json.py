"""What does a machine read? The whole record as JSON, from which every other view can be made again."""

from __future__ import annotations

import json

from pytest_diffprivacy.evidence.records import Run


def render_json(run: Run) -> str:
    """The run as JSON in ASCII: `Run.model_validate_json` gives the same run back.

    Whatever a terminal or browser could act on (control characters, text-direction marks) is written as an escape.
    """
    return json.dumps(run.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, indent=1) + "\n"
