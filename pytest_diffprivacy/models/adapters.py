"""Adapters on top of a pipeline: LoRA layers and textual inversions, each with its name, digest and scale.

An adapter belongs to the model's identity: base, base with adapter, and base with the adapter at another scale are
three models. Adapters that are loaded but switched off change no image and count for nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.identity import Adapter, weights_digest
from pytest_diffprivacy.models.running import refuse_autocast

BASE = "base_layer."
LORA, INVERSION = "LoRA", "textual inversion"


def base_tensors(network: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a network as if no adapter were there; merged adapters are part of its weights."""
    layers = dict(_layers(network))
    for key, tensor in network.state_dict().items():
        owner = _owner(key, layers)
        if owner is None:
            yield key, tensor
        elif key[len(owner) + 1 :].startswith(BASE):
            yield f"{owner}.{key[len(owner) + 1 + len(BASE) :]}", tensor


def adapter_facts(parts: Mapping[str, Any]) -> list[dict[str, object]]:
    """What a model's digest must hold of its adapters: their weights and the scale in every layer, not their names."""
    facts: list[dict[str, object]] = [{"digest": lora.digest, "scales": scales} for lora, scales in _loras(parts)]
    return sorted(facts, key=lambda fact: str(fact["digest"]))


@final
class AdapterGuard:
    """Remembers which adapters a pipeline's parts held when it was identified, and refuses to answer for another one.

    Attributes:
        loaded: the adapters that it held, LoRA first.
    """

    def __init__(self, parts: Mapping[str, Any], name: str) -> None:
        self._parts, self._name = dict(parts), name
        self.loaded = (*(lora for lora, _ in _loras(parts)), *_inversions(parts))
        self._before = self._state()

    def check(self) -> None:
        """Refuse a pipeline whose adapters were loaded, switched or scaled since, and one that autocast runs.

        Raises:
            ModelError: its answers are not those of the model that records name, or not in its precision.
        """
        refuse_autocast(self._name)
        if self._state() != self._before:
            raise ModelError(
                f"The adapters of {self._name} were changed after load_model(...): its digest and stored results are "
                "those of another model. Call load_model again, and give base and adapter pipelines of their own."
            )

    def _state(self) -> Hashable:
        layers = tuple(
            (where, tuple(_switched_on(layer)), tuple(layer.merged_adapters), tuple(_scales(layer).items()))
            for where, layer in _all_layers(self._parts)
        )
        return layers, tuple((name, len(tokenizer)) for name, tokenizer in _tokenizers(self._parts).items())


def _loras(parts: Mapping[str, Any]) -> Iterator[tuple[Adapter, dict[str, float]]]:
    """The adapters that are switched on in any layer, in the order of their first layer, and their factors in each."""
    scales: dict[str, dict[str, float]] = {}
    for where, layer in _all_layers(parts):
        for name in _switched_on(layer):
            scales.setdefault(name, {})[where] = float(_scales(layer).get(name, 1.0))
    for name, factors in scales.items():
        tensors, several = _lora_tensors(parts, name), sorted(set(factors.values()))
        scale = f"{several[0]:g}" if len(several) == 1 else f"{several[0]:g} to {several[-1]:g}"
        parameters = sum(tensor.numel() for tensor in tensors.values())
        yield Adapter(name, LORA, weights_digest(tensors.items(), {}), scale, parameters), factors


def _inversions(parts: Mapping[str, Any]) -> Iterator[Adapter]:
    """A token of several vectors (`<cat>`, `<cat>_1`, ...) is one adapter."""
    for part, tokenizer in _tokenizers(parts).items():
        encoder = parts.get(part.replace("tokenizer", "text_encoder"))
        if not isinstance(encoder, torch.nn.Module):
            continue
        rows = encoder.get_input_embeddings().weight  # type: ignore[operator]  # a transformers model's own method
        special = set(tokenizer.all_special_tokens)
        added = {t: i for t, i in tokenizer.get_added_vocab().items() if t not in special and i < len(rows)}
        tokens: dict[str, list[int]] = {}
        for token, row in sorted(added.items(), key=lambda item: item[1]):
            stem = re.sub(r"_\d+$", "", token)
            tokens.setdefault(stem if stem in added else token, []).append(row)
        for token, places in tokens.items():
            vectors = rows[places]
            digest = weights_digest([("vectors", vectors)], {})
            yield Adapter(f"{token} ({part})", INVERSION, digest, "", vectors.numel())


def _tokenizers(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name.startswith("tokenizer") and part is not None}


def _layers(network: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers of a network that peft wrapped, by name; a network without adapters needs no peft."""
    if "peft" not in sys.modules:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    if _holds(network, BaseTunerLayer):
        for name, module in network.named_modules():
            if isinstance(module, BaseTunerLayer):
                yield name, module


def _holds(network: torch.nn.Module, kind: type) -> bool:
    """Whether a layer is of that kind: run at every evaluation, so without the names, which take most of the time."""
    left = [network]
    while left:
        module = left.pop()
        if isinstance(module, kind):
            return True
        left += [child for child in module._modules.values() if child is not None]
    return False


def _all_layers(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part, network in parts.items():
        if isinstance(network, torch.nn.Module):
            for name, layer in _layers(network):
                yield f"{part}.{name}", layer


def _switched_on(layer: Any) -> list[str]:
    if layer.disable_adapters or layer.merged:
        return []
    held = set(_scales(layer))
    return [name for name in layer.active_adapters if not held or name in held]


def _scales(layer: Any) -> dict[str, float]:
    """Factor of each adapter; layers of other kinds than LoRA have none."""
    return dict(getattr(layer, "scaling", {}))


def _lora_tensors(parts: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The tensors of one adapter, under names without its own."""
    found = {}
    for where, layer in _all_layers(parts):
        for key, tensor in layer.state_dict().items():
            steps = key.split(".")
            if not key.startswith(BASE) and name in steps:
                found[".".join([where, *(step for step in steps if step != name)])] = tensor
    return found


def _owner(key: str, layers: Mapping[str, Any]) -> str | None:
    """The wrapped layer that a tensor stands in."""
    place = key
    while "." in place:
        place = place.rpartition(".")[0]
        if place in layers:
            return place
    return None
