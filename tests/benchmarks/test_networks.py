"""What the overhead benchmarks compare with: calls of networks as they were seen, and the same calls alone."""

import pytest
import torch

from tests.benchmarks import timing
from tests.benchmarks.full_architectures import filled
from tests.benchmarks.networks import DENOISER, bare_evaluations, shares, watched
from tests.benchmarks.timing import compared


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, time, *, told=None):
        self.seen.append((len(x), time, told))
        return x


def test_the_bare_side_makes_the_declared_rows_of_the_first_call_and_the_other_calls_as_they_were():
    networks = {DENOISER: Counting(), "text": Counting()}
    with watched(networks) as calls:
        networks["text"](torch.zeros(3, 1), 0)
        networks[DENOISER](torch.zeros(4, 1), 7, told="a")
        networks[DENOISER](torch.zeros(8, 1), 9, told="b")
    assert (calls[DENOISER].rows, calls["text"].rows) == (12, 3)
    for network in networks.values():
        network.seen.clear()
    bare_evaluations(networks, calls, rows=12)()
    assert networks[DENOISER].seen == [(4, 7, "a")] * 3
    assert networks["text"].seen == [(3, 0, None)]
    with pytest.raises(ValueError, match="no multiple"):
        bare_evaluations(networks, calls, rows=10)


def test_nothing_is_watched_after_the_block():
    networks = {DENOISER: Counting()}
    with watched(networks) as calls:
        pass
    networks[DENOISER](torch.zeros(4, 1), 0)
    assert calls[DENOISER].rows == 0


def test_shares_of_the_time_add_up():
    networks = {DENOISER: Counting(), "text": Counting()}
    with watched(networks) as calls:
        calls[DENOISER].seconds, calls["text"].seconds = 6.0, 1.0
    assert shares(calls, 10.0) == {"network %": 60.0, "other networks %": 10.0, "rest %": 30.0}


def test_both_sides_take_turns_and_each_goes_first_as_often(monkeypatch):
    order = []

    def side(name):
        order.append(name)
        sum(range(10_000))  # long enough for the clock

    monkeypatch.setattr(timing, "SECONDS", 0.0)
    found = compared(lambda: side("bare"), lambda: side("work"), pairs=2)
    assert order == ["bare", "work", *["work", "bare", "bare", "work"] * 2]
    assert found.ratio > 0.0


def test_a_pair_lasts_and_its_seconds_are_those_of_a_call(monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr(timing.time, "process_time", lambda: clock["now"])

    def takes(seconds):
        clock["now"] += seconds

    monkeypatch.setattr(timing, "SECONDS", 1.0)
    found = compared(lambda: takes(0.25), lambda: takes(0.5), pairs=1)
    assert (found.bare, found.work, found.ratio) == (0.25, 0.5, 2.0)
    assert clock["now"] == 0.75 + 4 * 0.75  # the first calls, and four turns until the shorter side has had its second


def test_random_weights_are_finite_and_the_same_again_and_positions_count():
    def build():
        layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
        layer.register_buffer("position_ids", torch.arange(5)[None])
        return layer

    one, other = filled(build), filled(build)
    for tensor, again in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, again, rtol=0, atol=0)
    assert one[0].weight.abs().max() < 0.2
    assert one[0].weight.std() > 0.0
    assert one[0].bias.tolist() == [0.0, 0.0]
    assert one[1].weight.tolist() == [1.0, 1.0]
    assert one.position_ids.tolist() == [[0, 1, 2, 3, 4]]
