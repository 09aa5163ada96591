"""What do a pipeline's images depend on? Its networks, schedulers and tokenizers, and one digest over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.adapters import adapter_facts, base_tensors
from pytest_diffprivacy.models.identity import public, weights_digest
from pytest_diffprivacy.models.running import refuse_offloaded, refuse_unreadable, tiled

NOTHING_LEFT_OUT: Final[Mapping[str, Any]] = MappingProxyType({})
"""Every part of the pipeline is part of the model under audit."""
DEPENDENT = ("dtype", "torch_dtype", "transformers_version", "architectures")
"""Entries of a transformers configuration that depend on how it was loaded."""

CAPTURING: Final = "transformers.utils.output_capturing"
CAPTURES: Final = "_output_capturing_hooks_installed"


def networks_of(pipeline: Any, left_out: Mapping[str, Any] = NOTHING_LEFT_OUT) -> dict[str, Any]:
    """The parts with weights that images depend on, by name."""
    parts = {name: part for name, part in pipeline.components.items() if name not in left_out}
    return {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}


def refuse_incomplete(pipeline: Any, left_out: Mapping[str, Any]) -> None:
    """Refuse a text-to-image pipeline that lacks a part which it needs.

    Raises:
        ModelError: a part is None; the third text encoder of Stable Diffusion 3 may be.
    """
    optional = {*left_out, "image_encoder", "feature_extractor", "text_encoder_3", "tokenizer_3"}
    lacking = [name for name, part in pipeline.components.items() if part is None and name not in optional]
    if lacking:
        raise ModelError(
            f"`pipeline` must hold all of its parts, got a {type(pipeline).__name__} with None as "
            f"{', '.join(sorted(lacking))}. Load the whole pipeline."
        )


def settle_networks(networks: Mapping[str, Any], device: Any, dtype: torch.dtype | None) -> None:
    """Freeze networks in eval mode, and bring them to a device and precision where one is given.

    Raises:
        ModelError: a precision for a quantized network, or networks in several precisions and none to bring them to.
    """
    refuse_unreadable(networks, dtype)
    for network in networks.values():
        torch.nn.Module.to(network.eval().requires_grad_(False), device=device, dtype=dtype)
    plain = {name: network.dtype for name, network in networks.items() if not getattr(network, "is_quantized", False)}
    if len(set(plain.values())) > 1:
        found = ", ".join(f"{name} in {str(one).removeprefix('torch.')}" for name, one in plain.items())
        raise ModelError(
            f"The pipeline's networks must run in one precision, got {found} (transformers loads that of the file, "
            "diffusers float32). Give load_model(..., dtype='float32'), or load the pipeline with torch_dtype=..."
        )


def without_capture(networks: Mapping[str, Any]) -> None:
    """Take off what transformers hangs on a text encoder that was asked for hidden states, which cannot be pickled.

    It comes back by itself when they are asked for again.
    """
    for network in networks.values():
        for module in network.modules():
            for key, hook in list(module._forward_hooks.items()):
                if getattr(hook, "__module__", "") == CAPTURING:
                    del module._forward_hooks[key]
            if CAPTURES in module.__dict__:
                setattr(module, CAPTURES, False)


def pipeline_digest(
    pipeline: Any,
    left_out: Mapping[str, Any] = NOTHING_LEFT_OUT,
    *,
    settings: tuple[str, ...] = (),
    resolution: int | None = None,
) -> str:
    """sha256 over the weights and configurations of all parts, tokenizers and schedulers included.

    Raises:
        ModelError: a part is offloaded, or quantized so that its weights have no digest.
    """
    networks = networks_of(pipeline, left_out)
    refuse_offloaded(networks)
    refuse_unreadable(networks, None)
    tensors = ((f"{name}.{key}", t) for name, part in networks.items() for key, t in base_tensors(part))
    configuration: dict[str, Any] = {}
    for name, network in networks.items():
        # A transformers configuration is an object, one of diffusers a mapping.
        described = isinstance(network.config, Mapping)
        configuration[name] = dict(network.config) if described else _architecture(network.config.to_dict())
    for name, part in pipeline.components.items():
        if part is not None and name.endswith("scheduler"):
            configuration[name] = dict(part.config)
        if part is not None and "tokenizer" in name:
            configuration[name] = {
                "vocabulary": part.get_vocab(),
                "special": {k: str(v) for k, v in part.special_tokens_map.items()},
                "length": part.model_max_length,
            }
    configuration |= {name: pipeline.config[name] for name in settings}
    if resolution is not None:
        configuration["resolution"] = resolution
    if tiled(networks):
        configuration["tiles"] = tiled(networks)
    facts = adapter_facts(pipeline.components)
    if facts:
        configuration["adapters"] = facts
    return weights_digest(tensors, public(configuration))


def _architecture(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in DEPENDENT}
