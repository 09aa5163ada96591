"""Shadow models: fair halves, one stored unit each, and no evidence counted twice."""

import dataclasses

import numpy as np
import pytest
import torch

from pytest_diffprivacy.engine import Engine, Work
from pytest_diffprivacy.errors import AuditError, EvidenceError, ModelError, UsageError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.membership.shadow import (
    Measure,
    Shadow,
    ShadowScores,
    check_asked,
    digests_of,
)
from pytest_diffprivacy.membership.shadow_training import score_shadows, shadow_splits, train_shadows
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.probes import ImageSet
from tests.models.builders import binary_images

IMAGES = binary_images(10, 3, side=4)


def pool(images=IMAGES):
    return ImageSet.of(images.numpy(), "shadow pool")


def distances(model, images, *, batch_size, power):
    """How far the images are from what the model knows: a measure that costs nothing."""
    known = (model.density.tensors()["points"] + 1.0) / 2.0
    return torch.cdist(images.double().flatten(1), known).min(1).values.pow(power).numpy()


MEASURE = Measure("distance", 1, distances, {"power": 2}, 1)
OTHER = Measure("distance", 1, distances, {"power": 1}, 1)


class Training:
    """A training function that counts its calls and can be killed in one of them."""

    def __init__(self, killed_in=None):
        self.calls, self.killed_in = [], killed_in

    def __call__(self, indices, seed):
        if len(self.calls) + 1 == self.killed_in:
            raise KeyboardInterrupt
        self.calls.append((indices.tolist(), seed))
        return ideal_denoiser(IMAGES[indices])


def table(**changes):
    fields = {
        "values": np.arange(12.0).reshape(4, 3),
        "membership": shadow_splits(3, 4, 0),
        "digests": [bytes([i]) * 32 for i in range(3)],
        "models": [f"model {m}" for m in range(4)],
        "measure": MEASURE,
    }
    return ShadowScores(**(fields | changes))


@pytest.mark.parametrize("images", [2, 7, 10])
def test_every_image_is_in_exactly_half_of_the_models_and_every_model_has_half_of_the_images(images):
    splits = shadow_splits(images, 8, seed=1)
    assert splits.shape == (8, images)
    assert (splits.sum(axis=0) == 4).all()
    assert (abs(splits.sum(axis=1) - images / 2) <= 0.5).all()
    assert len({row.tobytes() for row in splits}) > 1


def test_a_split_depends_on_digests_and_seed_and_not_on_order_or_on_the_number_of_models():
    images = pool()
    splits = shadow_splits(images, 4, seed=1)
    assert np.array_equal(splits, shadow_splits(images.digests, 4, seed=1))
    assert np.array_equal(splits[:, ::-1], shadow_splits(images.digests[::-1], 4, seed=1))
    assert np.array_equal(splits, shadow_splits(images, 16, seed=1)[:4])
    assert not np.array_equal(splits, shadow_splits(images, 4, seed=2))


def test_membership_of_two_images_is_independent_over_pairs_of_models():
    inside = shadow_splits(400, 2, seed=3)[0]
    assert abs(np.corrcoef(inside[:-1], inside[1:])[0, 1]) < 0.15
    assert inside.sum() == 200


@pytest.mark.parametrize(("images", "models"), [(10, 3), (10, 0), (1, 4)])
def test_a_split_that_cannot_be_fair_is_refused(images, models):
    with pytest.raises(UsageError, match="`models` must be an even" if images > 1 else "`images` must be at least 2"):
        shadow_splits(images, models, seed=0)


def test_a_membership_list_is_images_or_their_digests(tmp_path):
    np.savez(tmp_path / "members.npz", images=IMAGES[:4].numpy())
    model, digests = ideal_denoiser(IMAGES[:4]), digests_of(IMAGES[:4])
    as_bytes = (IMAGES[:4].numpy() * 255).astype(np.uint8)
    for members in (IMAGES[:4], as_bytes, pool(IMAGES[:4]), digests, set(digests), tmp_path / "members.npz"):
        shadow = Shadow.of(model, members)
        assert shadow.members == frozenset(digests)
        assert shadow.name == "ideal denoiser"


@pytest.mark.parametrize("members", [[], [1, 2], ["a" * 32], [b"short"], 7, None])
def test_a_membership_list_of_something_else_is_refused(members):
    with pytest.raises(UsageError, match="`members` must be the shadow's training images"):
        Shadow.of(ideal_denoiser(IMAGES), members)


def test_a_shadow_must_be_a_model():
    with pytest.raises(ModelError, match="A shadow model needs grey-box access"):
        Shadow.of(object(), IMAGES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros(3)}, "`values` must be numbers"),
        ({"values": np.zeros((4, 0))}, "`values` must be numbers"),
        ({"values": np.full((4, 3), np.nan)}, "`values` must be finite, got 12"),
        ({"membership": np.ones((3, 4), dtype=bool)}, "`membership` must be bool"),
        ({"membership": np.ones((4, 3))}, "`membership` must be bool"),
        ({"digests": [b"a", b"b"]}, "`digests` must hold 3 digests, got 2"),
        ({"digests": [b"a", b"b", b"a"]}, "`digests` must be distinct, got 1 repeated"),
        ({"models": ["a", "b", "c", "c"]}, "`models` must be distinct, got 1 repeated"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        table(**changes)


def test_losses_are_not_features():
    assert table().losses.shape == (4, 3)
    assert table(values=np.zeros((4, 3, 2))).features.shape == (4, 3, 2)
    with pytest.raises(UsageError, match="must have measured features"):
        table().features  # noqa: B018
    with pytest.raises(UsageError, match="one loss an image, got 2 features"):
        table(values=np.zeros((4, 3, 2))).losses  # noqa: B018


def test_images_are_joined_by_digest_and_a_mismatch_names_its_size():
    scores = table()
    assert scores.positions([scores.digests[2], scores.digests[0]]).tolist() == [2, 0]
    with pytest.raises(UsageError, match="got 2 of 3 that are not"):
        scores.positions([b"x" * 32, scores.digests[1], b"y" * 32])


def test_leaving_a_model_out_leaves_the_others_as_they_are():
    rest = table().without(1)
    assert rest.models == ("model 0", "model 2", "model 3")
    assert np.array_equal(rest.values, table().values[[0, 2, 3]])
    assert np.array_equal(rest.membership, table().membership[[0, 2, 3]])


def test_the_digest_covers_everything():
    digests = {
        table().digest,
        table(values=np.ones((4, 3))).digest,
        table(membership=~table().membership).digest,
        table(digests=[b"a", b"b", b"c"]).digest,
        table(models=list("abcd")).digest,
        table(measure=OTHER).digest,
        table(measure=None).digest,
    }
    assert len(digests) == 7
    assert table().digest == table().digest


def test_parameters_other_than_the_shadows_are_refused():
    check_asked({"power": 2}, {"power": 2})
    with pytest.raises(UsageError, match=r"`power` must be that of the shadow models, 2, got 3"):
        check_asked({"power": 3}, {"power": 2})
    with pytest.raises(UsageError, match="`colour` must be left out"):
        check_asked({"colour": 3}, {"power": 2})


def test_each_shadow_is_trained_on_its_half_with_its_own_seed_and_measured_on_all_images():
    training, images = Training(), pool()
    (scores,) = train_shadows(images, training, [MEASURE], recipe="ideal", models=6, seed=5)
    splits = shadow_splits(images, 6, seed=5)
    assert [indices for indices, _ in training.calls] == [np.flatnonzero(row).tolist() for row in splits]
    assert len({seed for _, seed in training.calls}) == 6
    assert all(0 <= seed < 2**31 for _, seed in training.calls)
    assert np.array_equal(scores.membership, splits)
    assert np.array_equal(scores.values == 0.0, splits)
    assert list(scores.digests) == images.digests
    assert scores.models[0] == ideal_denoiser(IMAGES[splits[0]]).identity.digest


def test_a_killed_run_continues_with_the_shadow_that_was_not_finished(tmp_path):
    killed, done = Training(killed_in=3), Work()
    with pytest.raises(KeyboardInterrupt):
        train_shadows(pool(), killed, [MEASURE], recipe="ideal", models=6, engine=Engine(Store(tmp_path)))
    assert len(killed.calls) == 2

    resumed, whole = Training(), Training()
    (scores,) = train_shadows(
        pool(), resumed, [MEASURE], recipe="ideal", models=6, engine=Engine(Store(tmp_path)), work=done
    )
    (expected,) = train_shadows(pool(), whole, [MEASURE], recipe="ideal", models=6)
    assert resumed.calls == whole.calls[2:]
    assert (done.reused, done.computed) == (2, 4)
    assert scores.digest == expected.digest


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "ideal, version 2"},
        {"seed": 1},
        {"measures": [OTHER]},
        {"measures": [dataclasses.replace(MEASURE, version=2)]},
        {"images": pool(IMAGES[:9])},
    ],
)
def test_nothing_is_reused_where_something_differs(tmp_path, change):
    arguments = {"images": pool(), "measures": [MEASURE], "recipe": {"kind": "ideal"}, "models": 2, "seed": 0}
    train_shadows(train=Training(), engine=Engine(Store(tmp_path)), **arguments)
    again = Training()
    train_shadows(train=again, engine=Engine(Store(tmp_path)), **arguments)
    assert again.calls == []
    train_shadows(train=again, engine=Engine(Store(tmp_path)), **(arguments | change))
    assert len(again.calls) == 2


def test_more_models_reuse_those_there_are(tmp_path):
    engine, more = Engine(Store(tmp_path)), Training()
    train_shadows(pool(), Training(), [MEASURE], recipe="ideal", models=2, engine=engine)
    train_shadows(pool(), more, [MEASURE], recipe="ideal", models=6, engine=engine)
    assert len(more.calls) == 4


def test_a_second_measure_costs_no_second_training():
    training = Training()
    squares, roots = train_shadows(pool(), training, [MEASURE, OTHER], recipe="ideal", models=4)
    assert len(training.calls) == 4
    assert squares.measure == MEASURE
    assert np.allclose(squares.values, roots.values**2)


def test_memory_that_runs_out_while_measuring_costs_no_second_training():
    sizes, training = [], Training()

    def hungry(model, images, *, batch_size):
        sizes.append(batch_size)
        if batch_size > 4:
            raise torch.OutOfMemoryError
        return distances(model, images, batch_size=batch_size, power=1)

    measure = Measure("hungry", 1, hungry, {}, 1)
    train_shadows(pool(), training, [measure], recipe="ideal", models=2, engine=Engine(batch_size=8))
    assert sizes == [8, 4, 4]
    assert len(training.calls) == 2


def test_memory_that_runs_out_while_training_is_the_training_functions_affair():
    calls = []

    def train(indices, seed):
        calls.append(seed)
        raise MemoryError

    with pytest.raises(AuditError, match="Training shadow model 0 ran out of memory"):
        train_shadows(pool(), train, [MEASURE], recipe="ideal", models=2)
    assert len(calls) == 1


def test_a_training_function_that_ignores_its_indices_is_found_out():
    with pytest.raises(UsageError, match="does the training function use its indices"):
        train_shadows(pool(), lambda indices, seed: ideal_denoiser(IMAGES), [MEASURE], recipe="ideal", models=4)


def test_a_training_function_must_return_a_model():
    with pytest.raises(ModelError, match="Shadow model 0 needs grey-box access"):
        train_shadows(pool(), lambda indices, seed: None, [MEASURE], recipe="ideal", models=2)


def test_shadow_models_must_have_one_architecture():
    ragged = Measure("ragged", 1, lambda m, x, *, batch_size: np.zeros((len(x), int(m.identity.digest[:4], 16))), {}, 1)
    with pytest.raises(UsageError, match="Shadow models must have one architecture"):
        train_shadows(pool(), Training(), [ragged], recipe="ideal", models=2)


@pytest.mark.parametrize("recipe", ["", {}, None, 7])
def test_a_recipe_is_required(recipe):
    with pytest.raises(UsageError, match="`recipe` must be a text or a mapping"):
        train_shadows(pool(), Training(), [MEASURE], recipe=recipe)


def test_a_recipe_that_a_text_does_not_define_is_refused_before_anything_is_trained():
    training = Training()
    with pytest.raises(EvidenceError, match="Cannot fingerprint a function"):
        train_shadows(pool(), training, [MEASURE], recipe={"loss": pool})
    assert training.calls == []


@pytest.mark.parametrize("measures", [[], [MEASURE, OTHER, MEASURE]])
def test_measures_must_be_some_and_distinct(measures):
    with pytest.raises(UsageError, match="`measures` must be at least one and distinct"):
        train_shadows(pool(), Training(), measures, recipe="ideal", models=2)


def test_given_checkpoints_measure_what_trained_shadows_do(tmp_path):
    images, engine = pool(), Engine(Store(tmp_path))
    (trained,) = train_shadows(images, Training(), [MEASURE], recipe="ideal", models=4, seed=2)
    halves = shadow_splits(images, 4, seed=2)
    shadows = [Shadow.of(ideal_denoiser(IMAGES[half]), IMAGES[half], f"shadow {i}") for i, half in enumerate(halves)]
    (given,) = score_shadows(shadows, images, [MEASURE], engine=engine)
    assert given.digest == trained.digest

    done = Work()
    score_shadows(shadows, images, [MEASURE, OTHER], engine=engine, work=done)
    assert (done.reused, done.computed) == (4, 4)


def test_the_same_checkpoint_twice_is_no_second_shadow():
    shadow = Shadow.of(ideal_denoiser(IMAGES), IMAGES)
    with pytest.raises(UsageError, match="`models` must be distinct, got 1 repeated"):
        score_shadows([shadow, shadow], pool(), [MEASURE])


def test_no_checkpoints_are_refused():
    with pytest.raises(UsageError, match="`shadows` must hold at least one model"):
        score_shadows([], pool(), [MEASURE])


def test_a_target_among_its_shadows_is_refused():
    half = Shadow.of(ideal_denoiser(IMAGES[:5]), IMAGES[:5])
    (scores,) = score_shadows([half], pool(), [MEASURE])
    scores.check_target(ideal_denoiser(IMAGES[5:]))
    with pytest.raises(UsageError, match="`shadows` must not contain the target, got 'ideal denoiser' as shadow 0"):
        scores.check_target(half.model)
