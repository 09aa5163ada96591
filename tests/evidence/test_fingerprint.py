"""Two computations have one fingerprint exactly when nothing that they depend on differs."""

import itertools

import numpy as np
import pytest

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import fingerprint, library_versions
from pytest_diffprivacy.models import ReferenceTimestep

DIFFERENT = [
    {},
    {"a": None},
    {"a": "None"},
    {"a": 1},
    {"a": 1.0},
    {"a": "1"},
    {"a": True},
    {"a": b"1"},
    {"a": 0.0},
    {"a": -0.0},
    {"a": float("nan")},
    {"a": np.nextafter(1.0, 2.0)},
    {"a": ReferenceTimestep(1)},
    {"a": [1]},
    {"a": [[1]]},
    {"a": []},
    {"a": [1, 2]},
    {"a": [2, 1]},
    {"a": ["int", 1]},
    {"a": ["float", (1.0).hex()]},
    {"a": ["bytes", b"1".hex()]},
    {"a": ["list", 1]},
    {"a": {"b": 1}},
    {"a": {"b": 1, "c": 1}},
    {"b": 1},
]


def test_whatever_differs_makes_another_fingerprint():
    for (i, one), (j, other) in itertools.combinations(enumerate(DIFFERENT), 2):
        assert fingerprint(one) != fingerprint(other), (i, j)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({"a": range(3)}, {"a": [0, 1, 2]}),
        ({"a": np.int64(3)}, {"a": 3}),
        ({"a": np.float64(0.1)}, {"a": 0.1}),
    ],
)
def test_what_is_the_same_has_one_fingerprint(one, other):
    assert fingerprint(one) == fingerprint(other)


def test_a_fingerprint_is_the_same_in_every_process():
    assert fingerprint({"method": "secmi", "timestep": 90, "share": 0.5}) == (
        "f249e3571efaa9912ce5d7cac6eac5a929ae535f2fcb234e072cfa393b447197"
    )


@pytest.mark.parametrize("value", [len, object(), np.zeros(2), {1, 2}, lambda x: x])
def test_what_its_text_does_not_define_is_refused(value):
    with pytest.raises(EvidenceError, match=f"Cannot fingerprint a {type(value).__name__}"):
        fingerprint({"a": [value]})


def test_keys_that_are_no_texts_are_refused():
    with pytest.raises(EvidenceError, match=r"keys are no texts, got \[1\]"):
        fingerprint({"a": {1: 2}})


def test_versions_of_all_libraries_are_known():
    assert set(library_versions()) >= {"python", "pytest-diffprivacy", "torch", "diffusers", "numpy", "scipy"}
    assert "not installed" not in library_versions().values()
