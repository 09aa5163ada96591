"""Would an audit of a model of full size fit into memory? Counted on tensors without values, so that any machine can.

The architectures of Stable Diffusion 1.5 and XL from their public configurations: the bytes that are alive at the peak
of what detectors and attacks ask of the networks for one image, above the weights of all networks. Kernels' workspaces
are not in it. The forward derivative is counted in float32 only: in bfloat16 PyTorch cannot walk it without values.

Targets: networks of the published size; nothing of 1.5 above 16 GiB.

    python -m tests.benchmarks.full_size_memory --json tests/benchmarks/results/full_size_memory.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytest_diffprivacy.engine.batches import peak_bytes
from pytest_diffprivacy.models.denoising_network import forward_jvp
from tests.benchmarks.full_architectures import (
    CLIP_G,
    CLIP_L,
    PARAMETERS,
    UNET_15,
    UNET_XL,
    autoencoder_on_meta,
    text_encoder_on_meta,
    unet_on_meta,
)
from tests.benchmarks.table import Figure, arguments, conclude

GIB = 2.0**30
TOKENS = 77
LIMIT = 16.0
COLUMNS = ("model", "what", "precision", "network rows", "weights GiB", "peak GiB")


class FusedAttention(TorchFunctionMode):
    """Attention that allocates what a fused kernel does, its output; forward-mode differentiation knows none."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


def counted_rows() -> tuple[list[dict[str, Any]], dict[str, int]]:
    """A line for what an audit asks of each architecture in each precision; and the networks' parameters."""
    described = {
        "Stable Diffusion 1.5": (UNET_15, 512, (CLIP_L,), (torch.float32,)),
        "Stable Diffusion XL": (UNET_XL, 1024, (CLIP_L, CLIP_G), (torch.float32, torch.bfloat16)),
    }
    rows, parameters = [], {}
    for model, (settings, side, texts, dtypes) in described.items():
        unet, autoencoder = unet_on_meta(settings), autoencoder_on_meta(side)
        parts = [unet, autoencoder, *(text_encoder_on_meta(config) for config in texts)]
        parameters[model] = sum(p.numel() for p in unet.parameters())
        for dtype in dtypes:
            for part in parts:
                torch.nn.Module.to(part, dtype)  # diffusers' own warns of layers kept in float32, of which are none
            weights = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
            for what, count, work in _asked(unet, autoencoder, side, dtype):
                rows.append(
                    {
                        "model": model,
                        "what": what,
                        "precision": str(dtype).removeprefix("torch."),
                        "network rows": count,
                        "weights GiB": round(weights / GIB, 2),
                        "peak GiB": round((weights + peak_bytes(work)) / GIB, 2),
                    }
                )
    return rows, parameters


def _asked(unet: Any, autoencoder: Any, side: int, dtype: torch.dtype) -> list[tuple[str, int, Callable[[], object]]]:
    """What detectors and attacks ask of the networks for one image: a name, the rows of the UNet, and the work."""

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta", dtype=dtype)

    time = torch.zeros((), device="meta")

    def predict(x: Tensor) -> Tensor:
        rows = len(x)
        added = {"text_embeds": empty(rows, 1280), "time_ids": empty(rows, 6)}
        told = added if unet.config.addition_embed_type else None
        text = empty(rows, TOKENS, unet.config.cross_attention_dim)
        output: Tensor = unet(x, time, encoder_hidden_states=text, added_cond_kwargs=told, return_dict=False)[0]
        return output

    def fused(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad(), FusedAttention():
                work()

        return run

    def rows(count: int) -> Tensor:
        return empty(count, 4, side // 8, side // 8)

    asked: list[tuple[str, int, Callable[[], object]]] = [
        ("both branches of one image", 2, fused(lambda: predict(rows(2)))),
        ("central difference with its error", 4, fused(lambda: predict(rows(4)))),
        ("encoding an image", 0, fused(lambda: autoencoder.encode(empty(1, 3, side, side)))),
        ("decoding an image", 0, fused(lambda: autoencoder.decode(rows(1)))),
    ]
    if dtype == torch.float32:  # below it, the derivative's formulas mix precisions on the meta device
        asked.append(("forward derivative of both branches", 2, lambda: forward_jvp(predict, rows(2), rows(2))))
    return asked


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    rows, parameters = counted_rows()
    targets = {f"{name} has {count:,} parameters": parameters[name] == count for name, count in PARAMETERS.items()}
    figures = [
        Figure(f"{row['model']}, {row['what']}, {row['precision']}: peak GiB", row["peak GiB"], LIMIT)
        for row in rows
        if row["model"] == "Stable Diffusion 1.5"
    ]
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
