import numpy as np
import pytest

from pytest_diffprivacy.extraction.generate_and_filter import interim_blocks


def blocks(*sizes):
    start = 0
    for size in sizes:
        yield np.arange(start, start + size)[:, None, None, None].astype(np.float32)
        start += size


@pytest.mark.parametrize("looks", [(), (3, 7, 12, 13)])
@pytest.mark.parametrize("most", [1, 5, 100])
def test_every_image_is_handed_on_once_and_in_order(looks, most):
    found = list(interim_blocks(blocks(3, 3, 1, 4, 2), most=most, looks=looks))
    assert np.concatenate(found).ravel().tolist() == list(range(13))


def test_as_many_as_memory_holds():
    assert [len(look) for look in interim_blocks(blocks(*[4] * 5), most=9, looks=())] == [8, 8, 4]


def test_a_search_that_may_stop_looks_when_it_should():
    sizes = [len(look) for look in interim_blocks(blocks(*[2] * 10), most=9, looks=(4, 6, 18, 20))]
    assert np.cumsum(sizes).tolist() == [4, 6, 14, 18, 20]
