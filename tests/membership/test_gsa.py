"""GSA: the authors' gradient norms, a model left as it was found, and a classifier that knows shadow models only."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors import safe_open
from safetensors.torch import load_file

from pytest_diffprivacy.errors import AuditError, ModelError, UsageError
from pytest_diffprivacy.evidence import fingerprint
from pytest_diffprivacy.membership.gsa import GsaClassifier, gsa_attack, gsa_features, gsa_measure
from pytest_diffprivacy.membership.shadow_training import shadow_splits, train_shadows
from pytest_diffprivacy.models import PixelDiffusion, ideal_denoiser
from pytest_diffprivacy.models.noise import probe_noise
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.statistics import auroc
from tests.membership.subspace import Subspace
from tests.models.builders import GOLDEN, golden_images, golden_model, smooth_images, tiny_unet

SHAPE = (1, 8, 8)
TIMES = (99, 499, 899)
IMAGES = smooth_images(3, 1)


def tiny_model(seed=0, **options):
    return PixelDiffusion(tiny_unet(seed, **options), DDPMScheduler(), name=f"tiny {seed}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.slow
def test_features_agree_with_the_authors_code(dtype):
    golden, suffix = load_file(GOLDEN / "gsa.safetensors"), "_float64" if dtype == torch.float64 else ""
    with safe_open(GOLDEN / "gsa.safetensors", framework="numpy") as file:
        tolerances, names = (json.loads(file.metadata()[key]) for key in ("tolerances", "parameter_names"))
    model = golden_model(dtype)
    assert [name for name, _ in model.named_parameters()] == names
    for variant in (1, 2):
        features = gsa_features(model, golden_images(), variant=variant, noise=golden["gsa_noise"])
        expected, atol = golden[f"gsa{variant}{suffix}"].double().numpy(), tolerances[f"gsa{variant}"][f"atol{suffix}"]
        np.testing.assert_allclose(features, expected, rtol=0.0, atol=atol)


def naive_gradient_norms(unet, image, times, noise):
    """One loss over the timesteps in one batch, `.backward()`, and `.grad` of every parameter."""
    unet.requires_grad_(True)
    unet.zero_grad()
    abar = DDPMScheduler().alphas_cumprod.double()[list(times)][:, None, None, None]
    x_t = abar.sqrt() * (2.0 * image.double() - 1.0) + (1.0 - abar).sqrt() * noise
    predicted = unet(x_t, torch.tensor(times)).sample
    torch.nn.functional.mse_loss(predicted, noise).backward()
    return np.array([float(parameter.grad.norm()) for parameter in unet.parameters()])


@pytest.mark.parametrize("squared", [False, True])
def test_features_agree_with_a_naive_twin(squared):
    noise = torch.from_numpy(np.random.default_rng(2).standard_normal((3, 3, *SHAPE)))
    model, power = PixelDiffusion(tiny_unet(), DDPMScheduler(), dtype=torch.float64), 2 if squared else 1
    arguments = {"timesteps": TIMES, "noise": noise, "squared": squared}
    one, two = (gsa_features(model, IMAGES, variant=variant, **arguments) for variant in (1, 2))
    unet = tiny_unet().double()
    for i, image in enumerate(IMAGES):
        assert one[i] == pytest.approx(naive_gradient_norms(unet, image, TIMES, noise[i]) ** power, rel=1e-8, abs=1e-12)
        each = [naive_gradient_norms(unet, image, (t,), noise[i, j : j + 1]) ** power for j, t in enumerate(TIMES)]
        assert two[i] == pytest.approx(np.mean(each, axis=0), rel=1e-8, abs=1e-12)


def test_the_model_is_left_as_it_was_found():
    model = tiny_model()
    parameters = dict(model.named_parameters())
    parameters["conv_in.bias"].requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in parameters.items()}
    with torch.no_grad():
        gsa_features(model, IMAGES[:1], timesteps=TIMES)
    assert [name for name, tensor in parameters.items() if tensor.requires_grad] == ["conv_in.bias"]
    assert all(tensor.grad is None and torch.equal(tensor, before[name]) for name, tensor in parameters.items())


def test_an_images_features_do_not_depend_on_its_company_and_its_noise_is_its_own():
    model = tiny_model()
    together = gsa_features(model, IMAGES, timesteps=TIMES, seed=4)
    assert np.array_equal(gsa_features(model, IMAGES[[2, 0]], timesteps=TIMES, seed=4, batch_size=64), together[[2, 0]])
    noise = probe_noise(IMAGES, 3, SHAPE, seed=4).transpose(0, 1)
    assert np.array_equal(gsa_features(model, IMAGES, timesteps=TIMES, noise=noise), together)
    assert not np.allclose(gsa_features(model, IMAGES, timesteps=TIMES, seed=5), together)


def test_a_conditional_model_is_asked_with_its_labels():
    model = tiny_model(classes=3)
    features = [gsa_features(model, IMAGES, timesteps=(99,), prompts=labels) for labels in ([0, 1, 2], [0, 2, 2])]
    assert np.array_equal(features[0][[0, 2]], features[1][[0, 2]])
    assert not np.allclose(features[0][1], features[1][1])
    with pytest.raises(ModelError, match="needs its class index"):
        gsa_features(model, IMAGES, timesteps=(99,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": 3}, "`variant` must be 1"),
        ({"noise": torch.zeros(3, 2, *SHAPE)}, "`noise` must have shape"),
        ({"noise": torch.zeros(3)}, "`noise` must have shape"),
        ({"timesteps": ()}, "`timesteps` must be at least one"),
        ({"timesteps": (5, 5)}, "`timesteps` must be at least one and distinct"),
        ({"timesteps": (1000,)}, "`timesteps` must be between 0 and 999"),
        ({"images": IMAGES * 3}, "`images` must lie in"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        gsa_features(tiny_model(), **({"images": IMAGES, "timesteps": TIMES} | arguments))


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ModelError, match="GSA needs a model with parameters, but ideal denoiser has none"):
        gsa_features(ideal_denoiser(IMAGES), IMAGES)


def test_a_model_with_less_access_is_refused():
    with pytest.raises(ModelError, match="GSA needs white-box access"):
        gsa_features(object(), IMAGES)


def test_a_model_whose_prediction_cannot_be_differentiated_is_refused_and_left_as_it_was():
    model = Subspace(torch.eye(16))
    model.predict_eps = torch.no_grad()(model.predict_eps)
    with pytest.raises(ModelError, match="can be differentiated by the parameters, but subspace's cannot"):
        gsa_features(model, smooth_images(1, 1, side=4))
    assert not any(tensor.requires_grad for _, tensor in model.named_parameters())


def test_a_model_that_returns_nan_is_an_error():
    unet = tiny_unet()
    with torch.no_grad():
        unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(AuditError, match="not finite for 3 of 3 images"):
        gsa_features(PixelDiffusion(unet, DDPMScheduler()), IMAGES, timesteps=(99,))


POOL = smooth_images(16, 7, side=4)


def train_subspace(indices, seed):
    return Subspace((POOL[indices] * 2.0 - 1.0).flatten(1))


@pytest.fixture(scope="module")
def shadows():
    images = ImageSet.of(POOL.numpy(), "shadow pool")
    measures = [gsa_measure(variant=1), gsa_measure(variant=2)]
    return train_shadows(images, train_subspace, measures, recipe="subspace", models=6, seed=1)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.slow
def test_members_of_an_overfitted_target_are_recognised_and_a_stranger_gives_nothing_away(shadows, variant):
    attack, members = gsa_attack(shadows[variant - 1]), shadow_splits(16, 2, seed=9)[0]
    scores = attack.scores(train_subspace(np.flatnonzero(members), 0), POOL, **attack.defaults)
    assert auroc(scores[members], scores[~members]).value > 0.9
    others = smooth_images(8, 8, side=4)
    stranger = attack.scores(Subspace((others * 2.0 - 1.0).flatten(1)), POOL)
    assert abs(auroc(stranger[members], stranger[~members]).value - 0.5) < 0.25


def test_the_attack_fits_the_audit(shadows):
    one, two = (gsa_attack(table) for table in shadows)
    assert one.evaluations(one.defaults) == 10
    assert one.timesteps(one.defaults) == tuple(range(99, 1000, 100))
    assert one.defaults["shadows"] == shadows[0].digest
    assert fingerprint(one.defaults) != fingerprint(two.defaults)
    assert not one.seeded


def test_the_attack_refuses_its_own_shadows_other_parameters_and_other_architectures(shadows):
    attack, member = gsa_attack(shadows[0]), np.flatnonzero(shadows[0].membership[3])
    with pytest.raises(UsageError, match="`shadows` must not contain the target, got 'subspace' as shadow 3"):
        attack.scores(train_subspace(member, 0), POOL)
    target = train_subspace(range(8), 0)
    with pytest.raises(UsageError, match="`variant` must be that of the shadow models, 1, got 2"):
        attack.scores(target, POOL, **(attack.defaults | {"variant": 2}))
    with pytest.raises(UsageError, match="`features` must be 10 an image, as the shadow models gave"):
        attack.scores(PixelDiffusion(tiny_unet(side=8), DDPMScheduler()), IMAGES[:1])


def test_losses_are_no_features_for_gsa(shadows):
    losses = type(shadows[0])(
        shadows[0].values[:, :, 0], shadows[0].membership, shadows[0].digests, shadows[0].models, gsa_measure()
    )
    with pytest.raises(UsageError, match="must have measured features"):
        gsa_attack(losses)


def table(rows=80, seed=3):
    """Features of which the first tells members from others, on a scale far from the second's."""
    rng, membership = np.random.default_rng(seed), np.arange(rows) % 2 == 0
    return np.column_stack([rng.normal(size=rows) - 3.0 * membership, 1e4 * rng.normal(size=rows)]), membership


def test_the_classifier_learns_what_members_look_like_and_scores_rows_alone():
    classifier, (features, membership) = GsaClassifier.fit(*table()), table(seed=4)
    scores = classifier.scores(features)
    assert auroc(scores[membership], scores[~membership]).value > 0.9
    assert np.array_equal(classifier.scores(features[5:6]), scores[5:6])
    assert np.array_equal(GsaClassifier.fit(*table()).scores(features), scores)


def test_the_classifier_finds_nothing_where_labels_mean_nothing():
    features, membership = np.random.default_rng(5).normal(size=(400, 4)), np.arange(400) % 2 == 0
    scores = GsaClassifier.fit(features[:200], membership[:200]).scores(features[200:])
    assert abs(auroc(scores[membership[200:]], scores[~membership[200:]]).value - 0.5) < 0.12


@pytest.mark.parametrize(
    ("features", "membership", "message"),
    [
        (np.zeros((4, 2)), np.zeros(4), "`membership` must be bool"),
        (np.zeros((4, 2)), np.zeros(3, dtype=bool), "`membership` must be bool"),
        (np.zeros((4, 2)), np.arange(4) < 1, "at least 2 members and 2 non-members, got 1 and 3"),
        (np.full((4, 2), np.nan), np.arange(4) < 2, "`features` must be finite numbers"),
        (np.zeros(4), np.arange(4) < 2, "`features` must be finite numbers"),
    ],
)
def test_a_classifier_needs_features_and_members_and_others(features, membership, message):
    with pytest.raises(UsageError, match=message):
        GsaClassifier.fit(features, membership)
