"""Conditioning: several tensors that are chosen, repeated and joined as one."""

import pytest
import torch

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.models import Conditioning


def pair(start=0):
    return Conditioning({"text": torch.arange(start, start + 12.0).reshape(3, 2, 2), "pooled": torch.arange(3) + start})


def values(conditioning):
    return {name: tensor.tolist() for name, tensor in conditioning.items()}


def test_rows_are_chosen_from_every_tensor():
    assert values(pair().rows([2, 0])) == {"text": [[[8, 9], [10, 11]], [[0, 1], [2, 3]]], "pooled": [2, 0]}
    assert values(pair().rows(slice(1, 3)))["pooled"] == [1, 2]
    assert len(pair()) == 3


def test_each_row_is_repeated_in_succession():
    assert values(pair().repeated(2))["pooled"] == [0, 0, 1, 1, 2, 2]


def test_joining_keeps_the_order_of_the_parts():
    joined = Conditioning.joined([pair(10), pair()])
    assert joined["pooled"].tolist() == [10, 11, 12, 0, 1, 2]
    assert torch.equal(joined["text"][:3], pair(10)["text"])


def test_a_tensor_is_replaced_without_changing_the_original():
    original = pair()
    changed = original.replaced(pooled=torch.tensor([7, 7, 7]))
    assert changed["pooled"].tolist() == [7, 7, 7]
    assert original["pooled"].tolist() == [0, 1, 2]
    assert changed["text"] is original["text"]


@pytest.mark.parametrize(
    "tensors", [{}, {"a": torch.zeros(2), "b": torch.zeros(3)}, {"a": torch.tensor(1.0), "b": torch.zeros(1)}]
)
def test_tensors_without_common_rows_are_refused(tensors):
    with pytest.raises(UsageError, match="`tensors` must be at least one, all with the same number of rows first"):
        Conditioning(tensors)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(UsageError, match="`tensors` must be among text, pooled, got image"):
        pair().replaced(image=torch.zeros(3))
    for parts in ([], [pair(), Conditioning({"text": torch.zeros(1)})]):
        with pytest.raises(UsageError, match="`parts` must be at least one and hold the same tensors"):
            Conditioning.joined(parts)
