"""The counts of the benchmark of real sizes, on few and small files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pytest_diffprivacy import options
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.probes.validity import split_validity
from tests.benchmarks import real_size


@pytest.fixture(autouse=True)
def own_session(tmp_path) -> Iterator[None]:
    before = options.activate(None)
    real_size.in_session(tmp_path / "evidence")
    yield
    options.activate(before)


@pytest.mark.slow
def test_an_extraction_reads_the_training_set_three_times_and_then_never(tmp_path):
    members, others = real_size.folders(tmp_path, 90, 50, 96)
    made = np.stack(list(real_size.photographs(12, 96, 3))).transpose(0, 3, 1, 2)
    made[0] = ImageSet.of(members, "member").pixels([4])[0]
    real_size.in_session(tmp_path / "other evidence")
    (probes, found), _, decodes = real_size.measured(lambda: real_size.extraction(tmp_path, members, others, made))
    assert len(probes.members) == 99
    assert (found.copies.tolist()[0], found.matches.nearest[0]) == (True, 4)
    assert real_size.readings(decodes, members, 99) <= 3.6  # near-copies are looked at once more
    (_, again), _, decodes = real_size.measured(lambda: real_size.extraction(tmp_path, members, others, made))
    assert not decodes.total() - real_size.readings(decodes, others, 1)
    np.testing.assert_array_equal(again.matches.adaptive, found.matches.adaptive)


@pytest.mark.slow
def test_near_copies_of_a_split_cost_hardly_a_decode(tmp_path):
    members, others = real_size.folders(tmp_path, 60, 19, 96)
    sides = ImageSet.of(members, "member"), ImageSet.of(others, "non-member")
    assert [len(side) for side in sides] == [66, 19]
    found, _, decodes = real_size.measured(lambda: split_validity(*sides, near=0.02))
    assert len(found.repeated_members) >= 4
    assert decodes.total() < 40


@pytest.mark.slow
def test_neighbours_are_those_of_all_products():
    assert real_size.same_neighbours()
