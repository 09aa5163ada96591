"""Memory that an evaluation takes, measured on what is known, and the batch that fits."""

from types import SimpleNamespace

import pytest
import torch

from pytest_diffprivacy.engine import Engine, Unit, Work
from pytest_diffprivacy.engine.batches import (
    EVALUATIONS,
    SHARE,
    _free_memory,
    evaluation_bytes,
    fitting_batch,
    peak_bytes,
)
from tests.models.builders import golden_model, population_model

MEGABYTE = 250_000  # floats


def test_what_lives_at_once_counts_and_what_is_gone_does_not():
    def chain():
        x = torch.zeros(MEGABYTE)
        for _ in range(10):
            x = x + 1.0  # the old one lives until the new one is there
        return x

    def hoard():
        return [torch.zeros(MEGABYTE) for _ in range(10)]

    assert peak_bytes(chain) == 2_000_000
    assert peak_bytes(hoard) == 10_000_000


def test_views_changes_in_place_and_what_was_there_before_cost_nothing():
    weights = torch.ones(MEGABYTE)
    assert peak_bytes(lambda: weights.view(500, 500).t().add_(1.0)) == 0
    assert peak_bytes(lambda: [(y := torch.zeros(MEGABYTE)), y[1:], y.view(500, 500)]) == 1_000_000


def test_shapes_alone_are_enough():
    assert peak_bytes(lambda: torch.zeros(MEGABYTE, device="meta") * 2) == 2_000_000


def test_what_is_kept_outside_adds_up():
    kept = []

    def collect():
        kept.extend(torch.empty(MEGABYTE, device="meta") * 2.0 for _ in range(3))

    assert peak_bytes(collect) == 4_000_000  # three products and the latest factor


def test_precision_counts():
    assert peak_bytes(lambda: torch.empty(MEGABYTE, device="meta").to(torch.bfloat16)) == 1_500_000


def test_an_evaluation_takes_more_than_its_input_and_less_than_the_bound_that_is_not_measured():
    model = golden_model()
    each = evaluation_bytes(model)
    pixels = 4 * torch.Size(model.sample_shape).numel()
    assert 10 * pixels < each < 16384 * pixels


def free(monkeypatch, size):
    monkeypatch.setattr("pytest_diffprivacy.engine.batches.free_bytes", lambda device: size)


def test_the_batch_is_halved_until_its_evaluations_fit(monkeypatch):
    model = golden_model()
    each = EVALUATIONS * evaluation_bytes(model)
    free(monkeypatch, int(40 * each / SHARE))
    fitting = fitting_batch(model, 256)
    assert fitting.size == 32
    assert fitting.reason.startswith("Batch size lowered from 256 to 32: an attack takes ")
    assert fitting_batch(model, 256, sharing=3).size == 8
    assert "for 3 workers" in fitting_batch(model, 256, sharing=3).reason
    assert fitting_batch(model, 20) == fitting_batch(model, 20)
    assert fitting_batch(model, 20).reason == ""
    free(monkeypatch, 1)
    assert fitting_batch(model, 256).size == 1


def test_a_small_model_is_not_asked_at_all(monkeypatch):
    model = population_model()
    model.predict_eps = lambda *arguments: pytest.fail("asked")
    free(monkeypatch, 10**12)
    assert fitting_batch(model, 256).size == 256


def test_who_predicts_no_noise_and_where_nobody_knows_the_memory_nothing_is_lowered(monkeypatch):
    assert fitting_batch(SimpleNamespace(generate=None), 256).size == 256
    free(monkeypatch, None)
    assert fitting_batch(golden_model(), 256).size == 256


def test_the_record_says_that_the_batch_was_lowered(monkeypatch):
    model, sizes, done = golden_model(), [], Work()
    free(monkeypatch, int(9 * EVALUATIONS * evaluation_bytes(model) / SHARE))
    units = [Unit(f"unit {n}", None, lambda m, batch_size: sizes.append(batch_size) or {}, 1) for n in range(2)]
    list(Engine(batch_size=64).run(model, units, title="test", work=done))
    assert sizes == [8, 8]
    assert len(done.incidents) == 1
    assert done.incidents[0].startswith("Batch size lowered from 64 to 8: ")


def test_each_method_keeps_its_own_batch_size():
    model, sizes = population_model(), []

    def compute(name, fits, model, batch_size):
        sizes.append((name, batch_size))
        if batch_size > fits:
            raise MemoryError
        return {}

    def unit(name, fits):
        return Unit(name, {"method": name}, lambda model, size: compute(name, fits, model, size), 1)

    engine = Engine(batch_size=64)
    for asked in ([unit("gradients", 16)], [unit("loss", 64)], [unit("gradients", 16)]):
        list(engine.run(model, asked, title="test", work=Work()))
    assert sizes == [("gradients", 64), ("gradients", 32), ("gradients", 16), ("loss", 64), ("gradients", 16)]


def test_free_memory_is_what_the_container_leaves(tmp_path):
    assert _free_memory(tmp_path / "none", tmp_path) is None
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal:       100 kB\nMemAvailable:    50 kB\n")
    assert _free_memory(proc, tmp_path) == 50 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    for limit, left in (("max\n", 50 * 1024), ("21000\n", 20_000), ("9000000\n", 50 * 1024)):
        (tmp_path / "memory.max").write_text(limit)
        assert _free_memory(proc, tmp_path) == left
