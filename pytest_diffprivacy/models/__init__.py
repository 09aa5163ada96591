"""How we speak to the model under audit: access protocols, noise schedules, adapters and analytic ground truth."""

from pytest_diffprivacy.models.analytic import AnalyticDenoiser, ideal_denoiser
from pytest_diffprivacy.models.ddim import ddim_invert, ddim_sample, ddim_step
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture, LeakDial
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.load import load_model
from pytest_diffprivacy.models.pixel import PixelDiffusion
from pytest_diffprivacy.models.prediction import PredictionType, eps_from, x0_from_eps
from pytest_diffprivacy.models.protocols import Denoiser, Generator, WhiteBoxDenoiser
from pytest_diffprivacy.models.schedule import NoiseSchedule, ReferenceTimestep

__all__ = [
    "AnalyticDenoiser",
    "Denoiser",
    "FiniteData",
    "GaussianMixture",
    "Generator",
    "LeakDial",
    "ModelIdentity",
    "NoiseSchedule",
    "PixelDiffusion",
    "PredictionType",
    "ReferenceTimestep",
    "WhiteBoxDenoiser",
    "ddim_invert",
    "ddim_sample",
    "ddim_step",
    "eps_from",
    "ideal_denoiser",
    "load_model",
    "x0_from_eps",
]
