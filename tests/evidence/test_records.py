"""Records hold finite numbers, known fields, and do not change."""

import json

import pytest
from pydantic import ValidationError

from pytest_diffprivacy.evidence.records import Control, ControlOutcome, Estimate, Run, Work
from pytest_diffprivacy.evidence.seals import record_json
from tests.report.finished import finished_run

ESTIMATE = {"name": "AUROC", "value": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.95, "counts": "9 + 9"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["value", "low", "high", "confidence"])
def test_a_number_that_is_not_finite_is_refused(field, value):
    with pytest.raises(ValidationError, match="finite number"):
        Estimate(**(ESTIMATE | {field: value}))


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Estimate(**ESTIMATE, p_value=0.1)


def test_a_missing_field_is_refused():
    with pytest.raises(ValidationError, match="Field required"):
        Work(units_computed=1, units_reused=0)


def test_a_record_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Estimate(**ESTIMATE).value = 0.9


def test_a_record_survives_json():
    record = Estimate(**(ESTIMATE | {"value": 0.1 + 0.2}))
    assert Estimate.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(("field", "value"), [("outcome", "passed"), ("kind", "neutral")])
def test_a_control_has_one_of_the_known_kinds_and_outcomes(field, value):
    known = {"kind": "negative", "name": "halves", "done": "split", "outcome": "held", "meaning": "nothing separates"}
    assert Control(**known).outcome is ControlOutcome.HELD
    with pytest.raises(ValidationError, match="Input should be"):
        Control(**(known | {field: value}))


def test_bytes_that_are_no_text_are_written_out():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    record = Estimate(**(ESTIMATE | {"name": name, "counts": "漢字"}))
    assert record.name == "caf\\udce9"
    assert record.counts == "漢字"
    assert Estimate.model_validate_json(record.model_dump_json()) == record


def test_a_record_of_an_earlier_version_keeps_its_text_and_so_its_digest() -> None:
    made = finished_run()
    whole = json.loads(record_json(made))
    assert record_json(Run.model_validate_json(record_json(made))) == record_json(made)
    earlier = {key: value for key, value in whole.items() if key != "catalogue"}
    for claim in earlier["claims"]:
        for method in claim["methods"]:
            del method["label"], method["function"]
    read = Run.model_validate_json(json.dumps(earlier))
    assert json.loads(record_json(read)) == earlier
    assert read.catalogue == ()
