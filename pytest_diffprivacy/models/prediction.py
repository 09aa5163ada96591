"""What does the network predict? Exact conversions between noise, clean image, v and flow velocity."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor


class PredictionType(StrEnum):
    """What a network returns at (x_t, t); the values are diffusers' names where it has one."""

    EPS = "epsilon"
    X0 = "sample"
    V = "v_prediction"
    FLOW = "flow"


def eps_from(prediction: Tensor, x_t: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """The noise eps that a prediction implies.

    Args:
        prediction: network output, same shape as x_t.
        x_t: alpha * x0 + sigma * eps.
        alpha: signal factor at this timestep.
        sigma: noise factor at this timestep, > 0.
        kind: what the network predicts.

    Source: Implements the conversion table of METHODS 0.3; v of Salimans and Ho 2022, flow of Liu et al. 2022.
    """
    match kind:
        case PredictionType.EPS:
            return prediction
        case PredictionType.X0:
            return (x_t - alpha * prediction) / sigma
        case PredictionType.V:  # v = alpha eps - sigma x0 with alpha^2 + sigma^2 = 1
            return sigma * x_t + alpha * prediction
        case PredictionType.FLOW:  # u = eps - x0 with alpha = 1 - sigma
            return x_t + alpha * prediction


def prediction_from_eps(eps: Tensor, x_t: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """The inverse of `eps_from`: what a network of this kind would have returned for this eps."""
    x0 = x0_from_eps(eps, x_t, alpha, sigma)
    match kind:
        case PredictionType.EPS:
            return eps
        case PredictionType.X0:
            return x0
        case PredictionType.V:
            return alpha * eps - sigma * x0
        case PredictionType.FLOW:
            return eps - x0


def x0_from_eps(eps: Tensor, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
    """The clean image that eps implies: (x_t - sigma eps) / alpha; never clipped."""
    return (x_t - sigma * eps) / alpha
