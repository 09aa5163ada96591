"""NetworkDenoiser: a PyTorch function of (x, time) that is not diffusers', in its own parametrization, as a model.

The state that attacks see is at the scale of a variance-preserving schedule with the network's signal-to-noise ratios,
so that one model gives one score, whether it predicts eps, x0, v or a velocity, and however it scales its noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.codec import PixelCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_sample
from pytest_diffprivacy.models.denoising_network import DenoisingNetwork
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST, weights_digest
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.prediction import Direct, PredictionType
from pytest_diffprivacy.models.protocols import Prompt, Prompts
from pytest_diffprivacy.models.schedule import NoiseSchedule

Network: TypeAlias = Callable[..., Tensor]
Embedding: TypeAlias = Callable[[Sequence[Prompt]], Tensor]

EMBEDDING = "embedding"


@final
class NetworkDenoiser:
    """A function `network(x, times)` as a model; satisfies Generator and WhiteBoxDenoiser.

    Args:
        network: (x, times) -> its prediction in the shape of x; with `embed`, (x, times, embedding). A torch Module is
            put in eval mode and frozen. It must be differentiable where an attack takes derivatives.
        schedule: alpha and sigma of what the network is given, x = alpha x0 + sigma eps, at each index; not only
            variance-preserving ones.
        image_shape: (channels, height, width) of its images, which it sees in [-1, 1].
        predicts: "epsilon", "sample" (x0), "v_prediction" or "flow" (velocity eps - x0).
        times: (T,), its time at each index, as floats; None: the index itself, as integers.
        embed: texts or class indices to a tensor with a row for each; no prompt is the empty text. A Module is frozen
            and identified as the network is. None: the model is unconditional.
        name: what records call it.
        version: names what the prediction depends on besides the weights of Modules, e.g. the commit of its code. None:
            only weights and classes tell; where network or embed is a plain function, no result is then stored.
        device: where to run; the Module's own, or the CPU.
        dtype: precision to run in; the Module's own, or float32.

    Raises:
        ModelError: `predicts` is unknown or does not fit the schedule, or `times` has another length.

    Source: Implements the conversions of METHODS 0.3 and the change of state with equal signal-to-noise ratio.
    """

    def __init__(
        self,
        network: Network,
        schedule: NoiseSchedule,
        image_shape: tuple[int, int, int],
        *,
        predicts: str = "epsilon",
        times: ArrayLike | None = None,
        embed: Embedding | None = None,
        name: str = "network",
        version: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        own = None if times is None else np.asarray(times, dtype=np.float64)
        parametrization = Direct(_kind(predicts, schedule), own, schedule)
        if own is not None and own.shape != (len(schedule),):
            raise ModelError(f"`times` must hold one number for each of {len(schedule)} steps, got {own.shape}.")
        self._function, self._embed, self._name = network, embed, name
        self.conditional = embed is not None
        self.schedule = _variance_preserving(schedule)
        parts = [network, *([] if embed is None else [embed])]
        digest = _digest(parts, _facts(parametrization, schedule, image_shape), version)
        frozen = [part.eval().requires_grad_(False) for part in parts if isinstance(part, torch.nn.Module)]
        module = network if isinstance(network, torch.nn.Module) else None
        if module is not None:
            torch.nn.Module.to(module, device=device, dtype=dtype)
        first = next(module.parameters(), None) if module else None
        self.device = torch.device(device or "cpu") if first is None else first.device
        self.dtype = (dtype or torch.float32) if first is None else first.dtype
        self.image_shape = image_shape
        self.sample_shape: tuple[int, ...] = image_shape
        codec = PixelCodec(self.image_shape, self.device, self.dtype)
        held = DenoisingNetwork(module, self._output, self.condition, self.schedule, parametrization, codec)
        self.predict_eps, self.eps_jvp, self.named_parameters = held.predict_eps, held.eps_jvp, held.named_parameters
        self.encode, self.decode = codec.encode, codec.decode
        family = f"network, {parametrization.name}"
        self.identity = held.identity(name, family, digest, dtype=self.dtype, device=self.device, networks=frozen)

    def condition(self, prompts: Prompts, count: int) -> Conditioning | None:
        """What `embed` makes of the prompts, of the empty text where there are none.

        Raises:
            ModelError: prompts for an unconditional model, or another number of them.
        """
        if self._embed is None:
            if prompts is not None:
                raise ModelError(f"{self._name} is unconditional, but {len(prompts)} prompts were given. Give none.")
            return None
        texts = [""] * count if prompts is None else prompts
        embedding = self._embed(texts)
        if len(texts) != count or len(embedding) != count:
            raise ModelError(f"`prompts` must be {count}, with a row each, got {len(texts)} and {len(embedding)} rows.")
        return Conditioning({EMBEDDING: embedding.to(self.device)})

    @torch.no_grad()
    def generate(
        self, seeds: Sequence[int], *, prompts: Prompts = None, steps: int = 50, guidance_scale: float = 1.0
    ) -> Tensor:
        """Images by deterministic DDIM; image i depends on seeds[i] and prompts[i] alone.

        Raises:
            ModelError: guidance other than 1.
        """
        if guidance_scale != 1.0:
            raise ModelError(f"`guidance_scale` must be 1.0 for a network, got {guidance_scale!r}.")
        conditioning, x_T = self.condition(prompts, len(seeds)), start_noise(seeds, self.sample_shape)
        return self.decode(ddim_sample(self, x_T, steps=steps, conditioning=conditioning))

    def _output(self, x: Tensor, time: float, conditioning: Conditioning | None) -> Tensor:
        precision = None if isinstance(time, int) else x.dtype
        times = torch.full((len(x),), time, device=x.device, dtype=precision)
        given = () if conditioning is None else (conditioning[EMBEDDING],)
        output = self._function(x, times, *given)
        if not isinstance(output, Tensor):
            raise ModelError(
                f"{self._name} must return a tensor, got {type(output).__name__}. Hand on its prediction alone: "
                "lambda x, t: network(x, t).sample, [0], or by its key."
            )
        if output.shape != x.shape:
            raise ModelError(
                f"{self._name} must return the shape {tuple(x.shape)} that it is given, got "
                f"{tuple(output.shape)}. Cut off what else it predicts, such as a variance."
            )
        return output


def karras_denoiser(
    denoiser: Network, image_shape: tuple[int, int, int], *, sigmas: ArrayLike | None = None, **settings: object
) -> NetworkDenoiser:
    """A denoiser D(x, sigma) -> x0 of k-diffusion or EDM, preconditioning included, as a model.

    Args:
        denoiser: (x, sigma) -> x0 for x = x0 + sigma eps; sigma is a vector, one for each row.
        image_shape: (channels, height, width).
        sigmas: noise levels, growing; None: 1,000 from 0.002 to 80, spaced as EDM spaces them (rho = 7).
        settings: embed, name, version, device and dtype, as of a NetworkDenoiser.

    Source: Implements Karras et al. 2022 (EDM), section 2, with the levels of Eq. 5.
    """
    if sigmas is None:
        sigmas = np.linspace(0.002 ** (1 / 7), 80.0 ** (1 / 7), 1000) ** 7
    levels = np.asarray(sigmas, dtype=np.float64)
    schedule = NoiseSchedule(np.ones_like(levels), levels, "linspace")
    return NetworkDenoiser(denoiser, schedule, image_shape, predicts="sample", times=levels, **settings)  # type: ignore[arg-type]


def flow_network(
    network: Network, image_shape: tuple[int, int, int], *, times: ArrayLike | None = None, **settings: object
) -> NetworkDenoiser:
    """A rectified-flow network u(x, t) -> eps - x0 for x = (1 - t) x0 + t eps as a model.

    Args:
        network: (x, t) -> velocity from the image to the noise, t a vector in (0, 1), 1 = noise.
        image_shape: (channels, height, width).
        times: increasing, in (0, 1); None: 999 from 0.001 to 0.999. At t = 1 nothing is predicted: x is eps itself.
        settings: embed, name, version, device and dtype, as of a NetworkDenoiser.

    Source: Implements Liu et al. 2022 (rectified flow).
    """
    t = np.arange(1, 1000) / 1000.0 if times is None else np.asarray(times, dtype=np.float64)
    schedule = NoiseSchedule(1.0 - t, t, "trailing")
    return NetworkDenoiser(network, schedule, image_shape, predicts="flow", times=t, **settings)  # type: ignore[arg-type]


def _kind(predicts: str, schedule: NoiseSchedule) -> PredictionType:
    try:
        kind = PredictionType(predicts)
    except ValueError:
        known = ", ".join(PredictionType)
        raise ModelError(f"`predicts` must be one of {known}, got {predicts!r}.") from None
    alphas, sigmas = schedule.alphas, schedule.sigmas
    if kind is PredictionType.V and not np.allclose(np.hypot(alphas, sigmas), 1.0, atol=1e-6):
        raise ModelError("`schedule` must be variance-preserving for v_prediction, got another one.")
    if kind is PredictionType.FLOW and not np.allclose(alphas + sigmas, 1.0, atol=1e-6):
        raise ModelError("`schedule` must have alpha = 1 - sigma for flow, got another one. Use flow_network(...).")
    return kind


def _variance_preserving(schedule: NoiseSchedule) -> NoiseSchedule:
    """The schedule of the same signal-to-noise ratios with alpha^2 + sigma^2 = 1."""
    scales, end = np.hypot(schedule.alphas, schedule.sigmas), float(np.hypot(*schedule.final))
    final = (schedule.final[0] / end, schedule.final[1] / end)
    return replace(schedule, alphas=schedule.alphas / scales, sigmas=schedule.sigmas / scales, final=final)


def _facts(parametrization: Direct, schedule: NoiseSchedule, image_shape: tuple[int, ...]) -> dict[str, object]:
    """What a prediction depends on besides the network."""
    return {
        "image_shape": list(image_shape),
        "predicts": parametrization.name,
        "alphas": schedule.alphas.tolist(),
        "sigmas": schedule.sigmas.tolist(),
        "times": None if parametrization.times is None else parametrization.times.tolist(),
    }


def _digest(parts: Sequence[Network | Embedding], facts: dict[str, object], version: str | None) -> str:
    """Of the network and of what embeds its prompts; where one is no module, only `version` can tell its code."""
    modules = [part for part in parts if isinstance(part, torch.nn.Module)]
    if len(modules) < len(parts) and version is None:
        return UNKNOWN_DIGEST
    weights = ((f"{n}.{key}", tensor) for n, part in enumerate(modules) for key, tensor in part.state_dict().items())
    kinds = [f"{type(part).__module__}.{type(part).__qualname__}" for part in modules]
    return weights_digest(weights, {"version": version, "classes": kinds} | facts)
