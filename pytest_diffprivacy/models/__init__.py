"""How we speak to the model under audit: access protocols, noise schedules, adapters and analytic ground truth.

Each name is imported when it is first used; what is not here is imported from its file.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_diffprivacy.models.analytic import AnalyticDenoiser as AnalyticDenoiser
    from pytest_diffprivacy.models.analytic import ideal_denoiser as ideal_denoiser
    from pytest_diffprivacy.models.class_conditional import ClassToImage as ClassToImage
    from pytest_diffprivacy.models.class_conditional import PixelDiffusion as PixelDiffusion
    from pytest_diffprivacy.models.conditioning import Conditioning as Conditioning
    from pytest_diffprivacy.models.generators import CallableGenerator as CallableGenerator
    from pytest_diffprivacy.models.generators import PipelineGenerator as PipelineGenerator
    from pytest_diffprivacy.models.identity import ModelIdentity as ModelIdentity
    from pytest_diffprivacy.models.libraries import from_azula as from_azula
    from pytest_diffprivacy.models.libraries import from_denoising_diffusion_pytorch as from_denoising_diffusion_pytorch
    from pytest_diffprivacy.models.libraries import from_flow_matching as from_flow_matching
    from pytest_diffprivacy.models.load import load_model as load_model
    from pytest_diffprivacy.models.network import NetworkDenoiser as NetworkDenoiser
    from pytest_diffprivacy.models.network import flow_network as flow_network
    from pytest_diffprivacy.models.network import karras_denoiser as karras_denoiser
    from pytest_diffprivacy.models.protocols import CrossAttention as CrossAttention
    from pytest_diffprivacy.models.protocols import Denoiser as Denoiser
    from pytest_diffprivacy.models.protocols import Generator as Generator
    from pytest_diffprivacy.models.protocols import LatentDenoiser as LatentDenoiser
    from pytest_diffprivacy.models.protocols import PromptedDenoiser as PromptedDenoiser
    from pytest_diffprivacy.models.protocols import Vocabulary as Vocabulary
    from pytest_diffprivacy.models.protocols import WhiteBoxDenoiser as WhiteBoxDenoiser
    from pytest_diffprivacy.models.schedule import NoiseSchedule as NoiseSchedule
    from pytest_diffprivacy.models.schedule import ReferenceTimestep as ReferenceTimestep
    from pytest_diffprivacy.models.text_to_image import StableDiffusion as StableDiffusion
    from pytest_diffprivacy.models.text_to_image import TextToImage as TextToImage
else:
    from pytest_diffprivacy.lazy import names_of

    __getattr__, __dir__ = names_of(__name__)
