"""Models of other people's libraries: schedule and noise prediction are those of the library's own code."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import torch

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models import CallableGenerator, karras_denoiser
from pytest_diffprivacy.models.libraries import from_azula, from_denoising_diffusion_pytorch, from_flow_matching

SHAPE = (3, 8, 8)


class Tiny(torch.nn.Module):
    """A network of x and a vector of times."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.mix = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return self.mix(x) + torch.cos(t.to(x)).reshape(-1, 1, 1, 1)


def noisy(seed=0):
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def torchvision(monkeypatch):
    """What the training code of two libraries imports, where it is not installed; nothing here calls it."""
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError):
        names = ["torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.utils"]
        for name in names:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        for name in names[1:]:
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, sys.modules[name])


@pytest.fixture
def ddpm(torchvision):
    pytest.importorskip("ema_pytorch")
    return pytest.importorskip("denoising_diffusion_pytorch.denoising_diffusion_pytorch")


def gaussian_diffusion(library, objective="pred_noise", **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = library.Unet(dim=8, dim_mults=(1, 2), flash_attn=False)
    return library.GaussianDiffusion(network, image_size=8, objective=objective, sampling_timesteps=4, **settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_a_gaussian_diffusion_is_the_model_that_its_library_samples(ddpm, objective, schedule):
    diffusion = gaussian_diffusion(ddpm, objective, beta_schedule=schedule)
    model = from_denoising_diffusion_pytorch(diffusion)
    np.testing.assert_allclose(model.schedule.alphas**2, diffusion.alphas_cumprod.numpy(), rtol=0, atol=1e-12)
    x = noisy().float()
    for timestep in (200, 500, 900):
        with torch.no_grad():
            own = diffusion.model_predictions(x, torch.full((2,), timestep)).pred_noise
            error = (model.predict_eps(x, timestep) - own).norm() / own.norm()
        assert float(error) < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_librarys_own_sampler_is_a_generator(ddpm, capfd):
    diffusion = gaussian_diffusion(ddpm).eval()

    def sample(prompts, seeds):
        images = []
        for seed in seeds:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                images.append(diffusion.sample(batch_size=1)[0])
        return torch.stack(images)

    model = CallableGenerator(sample, name="faces", version="1")
    one, both = model.generate([5]), model.generate([4, 5])
    assert torch.equal(one[0], both[1])
    assert not torch.equal(both[0], both[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_diffusion_that_is_wired_otherwise_is_refused(ddpm):
    with pytest.raises(ModelError, match=r"must normalize its images to \[-1, 1\]"):
        from_denoising_diffusion_pytorch(gaussian_diffusion(ddpm, auto_normalize=False))
    with pytest.raises(ModelError, match=r"must be a GaussianDiffusion, got Tiny. Of an ElucidatedDiffusion"):
        from_denoising_diffusion_pytorch(Tiny())


@pytest.mark.parametrize("schedule", ["VESchedule", "VPSchedule", "CosineSchedule", "RectifiedSchedule"])
@pytest.mark.parametrize("kind", ["KarrasDenoiser", "SimpleDenoiser"])
def test_a_denoiser_of_azula_is_the_model_that_azula_samples(kind, schedule):
    azula = pytest.importorskip("azula")
    own = getattr(azula.denoise, kind)(Tiny().double(), getattr(azula.noise, schedule)())
    model = from_azula(own, SHAPE)
    times = torch.linspace(0, 1, 1000, dtype=torch.float64)
    alphas, sigmas = (part.numpy() for part in own.schedule(times))
    scale = np.hypot(alphas, sigmas)
    np.testing.assert_allclose(model.schedule.alphas, alphas / scale, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.schedule.sigmas, sigmas / scale, rtol=0, atol=1e-12)
    for timestep in (100, 500, 900):
        x = noisy() * float(scale[timestep])
        with torch.no_grad():
            eps = (x - float(alphas[timestep]) * own(x, times[timestep].expand(2)).mean) / float(sigmas[timestep])
            torch.testing.assert_close(model.predict_eps(noisy(), timestep), eps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["CondOTScheduler", "CosineScheduler", "VPScheduler"])
def test_a_velocity_of_flow_matching_is_the_model_that_its_solver_integrates(name):
    path = pytest.importorskip("flow_matching.path")
    scheduler = getattr(import_module("flow_matching.path.scheduler"), name)()
    own = path.AffineProbPath(scheduler)
    network = Tiny().double()
    model = from_flow_matching(network, SHAPE, scheduler=scheduler)
    for index in (100, 500, 900):
        t = torch.tensor((999 - index) / 1000, dtype=torch.float64)
        at = scheduler(t)
        scale = float(torch.hypot(at.alpha_t, at.sigma_t))
        assert model.schedule.at(index) == pytest.approx(
            (float(at.alpha_t) / scale, float(at.sigma_t) / scale), abs=1e-12
        )
        x = noisy() * scale
        with torch.no_grad():
            eps = own.velocity_to_epsilon(network(x, t.expand(2)), x, t)
            torch.testing.assert_close(model.predict_eps(noisy(), index), eps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["VDenoiser", "DiscreteEpsDDPMDenoiser", "Denoiser"])
def test_a_denoiser_of_k_diffusion_is_the_model_that_its_samplers_ask(name, torchvision, monkeypatch):
    for needed in ("torchsde", "torchdiffeq"):
        pytest.importorskip(needed)
    spec = import_module("importlib.util").find_spec("k_diffusion")
    if spec is None:
        pytest.skip("k-diffusion is not installed")
    alone = ModuleType("k_diffusion")  # its own __init__ loads what only evaluation and training need
    alone.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "k_diffusion", alone)
    if name == "Denoiser":
        pytest.importorskip("dctorch")
        own = import_module("k_diffusion.layers").Denoiser(Tiny().double(), sigma_data=0.5)
    elif name == "VDenoiser":
        own = import_module("k_diffusion.external").VDenoiser(Tiny().double())
    else:
        abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
        own = import_module("k_diffusion.external").DiscreteEpsDDPMDenoiser(Tiny().double(), abar, quantize=False)
    model = karras_denoiser(own, SHAPE)
    for index in (300, 500, 900):
        alpha, sigma = model.schedule.at(index)
        level = torch.full((2,), sigma / alpha, dtype=torch.float64)
        x = noisy() / alpha
        with torch.no_grad():
            eps = (x - own(x, level)) / level.reshape(-1, 1, 1, 1)
            torch.testing.assert_close(model.predict_eps(noisy(), index), eps, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_elucidated_diffusion_is_a_karras_denoiser(torchvision):
    pytest.importorskip("ema_pytorch")
    library = pytest.importorskip("denoising_diffusion_pytorch.elucidated_diffusion")
    unet = import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch").Unet
    network = unet(dim=8, dim_mults=(1, 2), random_fourier_features=True)
    own = library.ElucidatedDiffusion(network, image_size=8).double()
    model = karras_denoiser(own.preconditioned_network_forward, SHAPE, version="1", dtype=torch.float64)
    alpha, sigma = model.schedule.at(500)
    level, x = torch.full((2,), sigma / alpha, dtype=torch.float64), noisy() / alpha
    with torch.no_grad():
        eps = (x - own.preconditioned_network_forward(x, level)) / level.reshape(-1, 1, 1, 1)
        torch.testing.assert_close(model.predict_eps(noisy(), 500), eps, rtol=1e-5, atol=1e-5)
