"""How is a network audited that is not diffusers'? Any PyTorch function of (x, time), in its own parametrisation.

The state that attacks see is at the scale of a variance-preserving schedule with the network's signal-to-noise ratios,
so that one model gives one score, whether it predicts eps, x0, v or a velocity, and however it scales its noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.codec import PixelCodec
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import ddim_sample
from pytest_diffprivacy.models.derivatives import forward_jvp
from pytest_diffprivacy.models.identity import UNKNOWN_DIGEST, network_identity, weights_digest
from pytest_diffprivacy.models.noise import start_noise
from pytest_diffprivacy.models.prediction import PredictionType, eps_from
from pytest_diffprivacy.models.protocols import Prompt
from pytest_diffprivacy.models.schedule import NoiseSchedule

Network: TypeAlias = Callable[..., Tensor]
Embedding: TypeAlias = Callable[[Sequence[Prompt]], Tensor]

TOLD = "told"


@final
class NetworkDenoiser:
    """A function `network(x, times)` as a model; satisfies Generator and WhiteBoxDenoiser.

    Args:
        network: (x, times) -> its prediction in the shape of x; with `embed`, (x, times, told). A torch Module is put
            in eval mode and frozen. It must be differentiable where an attack asks for derivatives.
        schedule: alpha and sigma of what the network is given, x = alpha x0 + sigma eps, at each index; not only
            variance-preserving ones.
        image_shape: (channels, height, width) of its images, which it sees in [-1, 1].
        predicts: "epsilon", "sample" (x0), "v_prediction" or "flow" (velocity eps - x0).
        times: (T,), what it is told at each index, as floats; None: the index itself, as integers.
        embed: texts or class indices to a tensor with a row for each; no prompt is the empty text. None: the model is
            unconditional.
        name: what records call it.
        version: names what the prediction depends on besides a Module's weights, e.g. the commit of its code. None:
            only the weights and the class tell; results of a plain function are then never stored.
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
        self._kind = _kind(predicts, schedule)
        self._times = None if times is None else np.asarray(times, dtype=np.float64)
        if self._times is not None and self._times.shape != (len(schedule),):
            raise ModelError(
                f"`times` must hold one number for each of {len(schedule)} steps, got {self._times.shape}."
            )
        self._own, self._embed = schedule, embed
        self._scales = np.hypot(schedule.alphas, schedule.sigmas)
        end = float(np.hypot(*schedule.final))
        self.schedule = NoiseSchedule(
            schedule.alphas / self._scales,
            schedule.sigmas / self._scales,
            schedule.spacing,
            schedule.steps_offset,
            (schedule.final[0] / end, schedule.final[1] / end),
        )
        module = network if isinstance(network, torch.nn.Module) else None
        digest = _digest(network, self, version)
        if module is not None:
            torch.nn.Module.to(module.eval().requires_grad_(False), device=device, dtype=dtype)
        self._network, self._module = network, module
        first = next(module.parameters(), None) if module else None
        self.device = torch.device(device or "cpu") if first is None else first.device
        self.dtype = (dtype or torch.float32) if first is None else first.dtype
        self.image_shape = image_shape
        self.sample_shape: tuple[int, ...] = image_shape
        self._codec = PixelCodec(self.image_shape, self.device, self.dtype)
        self.identity = network_identity(
            name,
            f"network, {self._kind.value}",
            digest,
            [] if module is None else [module],
            dtype=self.dtype,
            device=self.device,
        )

    def facts(self) -> dict[str, object]:
        """What a prediction depends on besides the network."""
        return {
            "predicts": self._kind.value,
            "alphas": self._own.alphas.tolist(),
            "sigmas": self._own.sigmas.tolist(),
            "times": None if self._times is None else self._times.tolist(),
        }

    def predict_eps(self, x_t: Tensor, timestep: int, conditioning: Conditioning | None = None) -> Tensor:
        """The noise in x_t, converted from whatever the network predicts; never clipped."""
        alpha, sigma = self._own.at(timestep)
        x = float(self._scales[timestep]) * x_t
        rows = len(x_t)
        if self._times is None:
            times = torch.full((rows,), int(timestep), device=x_t.device)
        else:
            times = torch.full((rows,), float(self._times[timestep]), device=x_t.device, dtype=x_t.dtype)
        told = self.condition(None, rows) if conditioning is None else conditioning
        output = self._network(x, times) if told is None else self._network(x, times, told[TOLD])
        if output.shape != x.shape:
            raise ModelError(
                f"{self.identity.name} must return the shape {tuple(x.shape)} that it is given, got "
                f"{tuple(output.shape)}. Cut off what else it predicts, such as a variance."
            )
        return eps_from(output, x, alpha, sigma, self._kind)

    def eps_jvp(
        self, x_t: Tensor, timestep: int, tangent: Tensor, conditioning: Conditioning | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eps and J_eps @ tangent in one forward-mode pass."""
        return forward_jvp(lambda x: self.predict_eps(x, timestep, conditioning), x_t, tangent)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The network's parameters; none of a plain function."""
        if self._module is not None:
            yield from self._module.named_parameters()

    def condition(self, prompts: Sequence[Prompt] | None, count: int) -> Conditioning | None:
        """What `embed` makes of the prompts, of the empty text where there are none.

        Raises:
            ModelError: prompts for an unconditional model, or another number of them.
        """
        if self._embed is None:
            if prompts is not None:
                raise ModelError(f"{self.identity.name} is unconditional, but {len(prompts)} prompts were given.")
            return None
        texts = [""] * count if prompts is None else prompts
        told = self._embed(texts)
        if len(texts) != count or len(told) != count:
            raise ModelError(f"`prompts` must be {count}, with a row each, got {len(texts)} and {len(told)} rows.")
        return Conditioning({TOLD: told.to(self.device)})

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] to [-1, 1], on the model's device and in its precision.

        Raises:
            ModelError: the images have another shape than the model's.
        """
        return self._codec.encode(images)

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels in [-1, 1] to [0, 1], clamped."""
        return self._codec.decode(x0)

    @torch.no_grad()
    def generate(
        self,
        seeds: Sequence[int],
        *,
        prompts: Sequence[Prompt] | None = None,
        steps: int = 50,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """Images by deterministic DDIM; image i depends on seeds[i] and prompts[i] alone.

        Raises:
            ModelError: guidance other than 1.
        """
        if guidance_scale != 1.0:
            raise ModelError(f"`guidance_scale` must be 1.0 for a network, got {guidance_scale!r}.")
        told = self.condition(prompts, len(seeds))
        return self.decode(ddim_sample(self, start_noise(seeds, self.sample_shape), steps=steps, conditioning=told))


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
        times: increasing, in (0, 1); None: 999 from 0.001 to 0.999. At t = 1 nothing can be asked: x is eps itself.
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


def _digest(network: Network, model: NetworkDenoiser, version: str | None) -> str:
    if isinstance(network, torch.nn.Module):
        kind = type(network)
        facts = {"class": f"{kind.__module__}.{kind.__qualname__}", "version": version} | model.facts()
        return weights_digest(network.state_dict().items(), facts)
    return UNKNOWN_DIGEST if version is None else weights_digest((), {"version": version} | model.facts())
