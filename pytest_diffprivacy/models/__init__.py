"""How we speak to the model under audit: access protocols, noise schedules, adapters and analytic ground truth."""

from pytest_diffprivacy.models.analytic import AnalyticDenoiser, AnalyticPrompts, ideal_denoiser
from pytest_diffprivacy.models.attention import AttentionRecord
from pytest_diffprivacy.models.class_conditional import ClassToImage, PixelDiffusion
from pytest_diffprivacy.models.conditioning import Conditioning
from pytest_diffprivacy.models.ddim import GuidedStep, ddim_invert, ddim_sample, ddim_step, guided_ddim
from pytest_diffprivacy.models.densities import FiniteData, GaussianMixture, LeakDial
from pytest_diffprivacy.models.generators import CallableGenerator, PipelineGenerator
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.models.load import load_model
from pytest_diffprivacy.models.network import NetworkDenoiser, flow_network, karras_denoiser
from pytest_diffprivacy.models.prediction import PredictionType, eps_from, x0_from_eps
from pytest_diffprivacy.models.protocols import (
    CrossAttention,
    Denoiser,
    Generator,
    PromptedDenoiser,
    Vocabulary,
    WhiteBoxDenoiser,
)
from pytest_diffprivacy.models.schedule import NoiseSchedule, ReferenceTimestep
from pytest_diffprivacy.models.text_to_image import TextToImage

StableDiffusion = TextToImage
"""The name from the time when there was one family."""

__all__ = [
    "AnalyticDenoiser",
    "AnalyticPrompts",
    "AttentionRecord",
    "CallableGenerator",
    "ClassToImage",
    "Conditioning",
    "CrossAttention",
    "Denoiser",
    "FiniteData",
    "GaussianMixture",
    "Generator",
    "GuidedStep",
    "LeakDial",
    "ModelIdentity",
    "NetworkDenoiser",
    "NoiseSchedule",
    "PipelineGenerator",
    "PixelDiffusion",
    "PredictionType",
    "PromptedDenoiser",
    "ReferenceTimestep",
    "StableDiffusion",
    "TextToImage",
    "Vocabulary",
    "WhiteBoxDenoiser",
    "ddim_invert",
    "ddim_sample",
    "ddim_step",
    "eps_from",
    "flow_network",
    "guided_ddim",
    "ideal_denoiser",
    "karras_denoiser",
    "load_model",
    "x0_from_eps",
]
