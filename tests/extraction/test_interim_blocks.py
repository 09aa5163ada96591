import numpy as np
import pytest

from pytest_diffprivacy.extraction.generate_and_filter import interim_blocks


def blocks(*sizes):
    start = 0
    for size in sizes:
        yield np.arange(start, start + size)[:, None, None, None].astype(np.float32)
        start += size


@pytest.mark.parametrize("growing", [True, False])
@pytest.mark.parametrize("most", [1, 5, 100])
def test_every_image_is_handed_on_once_and_in_order(growing, most):
    looks = list(interim_blocks(blocks(3, 3, 1, 4, 2), most=most, growing=growing))
    assert np.concatenate(looks).ravel().tolist() == list(range(13))


def test_as_many_as_memory_holds():
    assert [len(look) for look in interim_blocks(blocks(*[4] * 5), most=9, growing=False)] == [8, 8, 4]


def test_a_search_that_may_stop_looks_whenever_there_is_a_quarter_more():
    sizes = [len(look) for look in interim_blocks(blocks(*[2] * 40), most=1000, growing=True)]
    assert sizes[:4] == [2, 2, 2, 2]
    done = np.cumsum(sizes)[:-1]
    assert all(size <= 0.25 * before + 2 for size, before in zip(sizes[1:], done, strict=True))
    assert sizes[-2] >= 10
