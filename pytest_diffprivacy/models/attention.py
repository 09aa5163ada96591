"""Cross-attention between positions and prompt tokens, read or edited while the network runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.compiled import as_it_is

Edit: TypeAlias = Callable[[Tensor], Tensor]
PLAIN = ("AttnProcessor", "AttnProcessor2_0")


@final
class AttentionRecord:
    """Cross-attention probabilities of the watched rows in the network's latest evaluation, averaged over heads.

    Attributes:
        tokens: float32 or float64 (layers, rows, tokens), averaged over positions as well; layers down, mid, up.
        maps: for each of the first `maps` layers (rows, positions, tokens).
    """

    def __init__(self, layers: int, maps: int) -> None:
        self._means: list[Tensor | None] = [None] * layers
        self._maps: list[Tensor | None] = [None] * maps

    @property
    def tokens(self) -> Tensor:
        """(layers, rows, tokens).

        Raises:
            ModelError: the network has not run since the record was opened.
        """
        return torch.stack(_seen(self._means))

    @property
    def maps(self) -> list[Tensor]:
        """(rows, positions, tokens) of each kept layer."""
        return _seen(self._maps)

    def keep(self, layer: int, probabilities: Tensor) -> None:
        """Take the probabilities (rows, heads, positions, tokens) of a layer."""
        if layer < len(self._maps):
            over_heads = self._maps[layer] = probabilities.mean(1)
            self._means[layer] = over_heads.mean(1)
        else:
            self._means[layer] = probabilities.mean((1, 2))


@contextmanager
def watch_cross_attention(
    unet: Any, *, maps: int = 0, edit: Edit | None = None, skip: int = 0
) -> Iterator[AttentionRecord]:
    """Read, and optionally edit, the cross-attention of a UNet2DConditionModel inside the block.

    Its processors are put back afterwards. Only cross-attention of the watched rows is computed step by step;
    self-attention and other rows keep their fused kernel. A compiled network runs as it is.

    Args:
        unet: a diffusers UNet2DConditionModel.
        maps: for how many of the first layers to keep positions.
        edit: (rows, heads, positions, tokens) logits -> logits, in every layer; None: read only.
        skip: how many of the first rows to leave alone, such as the unconditional half of a guided evaluation.

    Raises:
        ModelError: the network has no cross-attention, or it runs through processors other than diffusers' plain ones.
    """
    named = {f"{name}.processor": module for name, module in unet.named_modules() if name.endswith(".attn2")}
    layers = [named[name] for name in cross_attention_layers(named)]
    before = [module.get_processor() for module in layers]
    odd = sorted({type(processor).__name__ for processor in before} - set(PLAIN))
    if not layers or odd:
        reason = f"uses {', '.join(odd)}" if odd else "has none"
        raise ModelError(
            f"The network's cross-attention cannot be captured: it {reason}. Use diffusers' own attention processors "
            "(unet.set_default_attn_processor()) and merge adapters into the weights."
        )
    record = AttentionRecord(len(layers), maps)
    # A detector opens this block in every step, and diffusers' `set_attn_processor` would walk the whole network twice
    # each time: a tenth of a small network's evaluation.
    for layer, module in enumerate(layers):
        module.set_processor(_Watched(record, layer, edit, skip))
    try:
        with as_it_is():
            yield record
    finally:
        for module, processor in zip(layers, before, strict=True):
            module.set_processor(processor)


def cross_attention_layers(names: Iterable[str]) -> list[str]:
    """Names of the cross-attention processors in the order in which the network runs them: down, mid, up."""
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}

    def place(name: str) -> tuple[int, ...]:
        head, *rest = name.split(".")
        return order[head], *(int(part) for part in rest if part.isdigit())

    return sorted((name for name in names if name.split(".")[-2] == "attn2"), key=place)


@final
class _Watched:
    """Attention processor that shows its probabilities to a record."""

    def __init__(self, record: AttentionRecord, layer: int, edit: Edit | None, skip: int) -> None:
        self._record, self._layer, self._edit, self._skip = record, layer, edit, skip

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        residual = hidden_states
        assert encoder_hidden_states is not None, "cross-attention has something to attend to"
        if attn.norm_cross:
            encoder_hidden_states = attn.norm_encoder_hidden_states(encoder_hidden_states)
        query = _by_head(attn.to_q(hidden_states), attn.heads)
        key, value = (_by_head(project(encoder_hidden_states), attn.heads) for project in (attn.to_k, attn.to_v))
        mask = None
        if attention_mask is not None:
            mask = attn.prepare_attention_mask(attention_mask, key.shape[2], len(query))
            mask = mask.view(len(query), attn.heads, -1, key.shape[2])
        first, rest = slice(self._skip), slice(self._skip, None)
        masks = (None, None) if mask is None else (mask[first], mask[rest])
        mixed = self._watched(attn.scale, query[rest], key[rest], value[rest], masks[1])
        if self._skip:
            # As the network's own processor computes it.
            fused = torch.nn.functional.scaled_dot_product_attention(
                query[first], key[first], value[first], masks[0], scale=attn.scale
            )
            mixed = torch.cat([fused, mixed])
        mixed = mixed.transpose(1, 2).flatten(2)
        output = attn.to_out[1](attn.to_out[0](mixed))
        if attn.residual_connection:
            output = output + residual
        result: Tensor = output / attn.rescale_output_factor
        return result

    def _watched(self, scale: float, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention step by step, (rows, heads, positions, width), with its probabilities shown to the record."""
        # Half-precision logits overflow and entropies of half-precision probabilities underflow: at least float32.
        wide = torch.promote_types(query.dtype, torch.float32)
        logits = (query.to(wide) * scale) @ key.to(wide).transpose(-1, -2)
        if mask is not None:
            logits = logits + mask
        if self._edit is not None:
            logits = self._edit(logits)
        probabilities = logits.softmax(-1)
        self._record.keep(self._layer, probabilities.detach())
        return probabilities.to(value.dtype) @ value


def _by_head(states: Tensor, heads: int) -> Tensor:
    """(rows, positions, heads * width) -> (rows, heads, positions, width)."""
    rows, positions, width = states.shape
    return states.reshape(rows, positions, heads, width // heads).transpose(1, 2)


def _seen(values: Sequence[Tensor | None]) -> list[Tensor]:
    seen = [value for value in values if value is not None]
    if len(seen) != len(values):
        raise ModelError("No cross-attention was recorded: evaluate the model inside the block first.")
    return seen
