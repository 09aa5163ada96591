"""The count of live bytes on tensors without values, against sums done by hand."""

import torch

from tests.benchmarks.live_bytes import peak_bytes

ELEMENTS = 1000
BYTES = 4 * ELEMENTS


def empty():
    return torch.empty(ELEMENTS, device="meta")


def test_what_is_freed_before_the_next_allocation_does_not_count():
    def chain():
        x = empty()
        for _ in range(5):
            x = x + 1.0  # the old one lives until the new one is there

    assert peak_bytes(chain) == 2 * BYTES


def test_what_is_kept_adds_up():
    kept = []

    def collect():
        kept.extend(empty() * 2.0 for _ in range(3))

    assert peak_bytes(collect) == 4 * BYTES  # three products and the latest factor


def test_views_and_operations_in_place_take_nothing():
    x = empty()

    def work():
        x.view(10, -1).transpose(0, 1)
        x.add_(1.0)

    assert peak_bytes(work) == 0


def test_precision_counts():
    assert peak_bytes(lambda: empty().to(torch.bfloat16)) == BYTES + BYTES // 2
