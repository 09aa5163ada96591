"""The comparison: the same seeds for all methods, units that resume, and what is measured of the images."""

import importlib
import sys

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine
from pytest_diffprivacy.errors import AuditError, UsageError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.mitigation import DdimSampling, DelayedGuidance, PixelDistance, Unmitigated
from pytest_diffprivacy.mitigation.compare import ComparedPrompts, SharedSettings, image_seeds, run_comparison
from tests.mitigation.needles import OTHERS, PROMPTS, Brightness, Forgetful, needle_model, training_images

SAMPLING = DdimSampling(steps=6, guidance_scale=1.0)


@pytest.fixture(scope="module")
def model():
    return needle_model()


def compared(model, mitigations, *, engine=None, alignment=None, others=OTHERS, images=3):
    prompts = ComparedPrompts(tuple(PROMPTS), tuple(training_images()[:, None]), tuple(others), 0)
    shared = SharedSettings(
        sampling=SAMPLING,
        images_per_prompt=images,
        seed=5,
        closeness=PixelDistance(delta=0.02),
        alignment=alignment or Brightness(),
    )
    return run_comparison(model, prompts, mitigations, shared, engine or Engine())


def test_the_original_copies_and_a_method_that_forgets_does_not(model):
    found = compared(model, [Forgetful(), DelayedGuidance(until=300)])
    original, forgetful, delayed = found.outcomes
    assert original.copies.all()
    assert not forgetful.copies.any()
    assert delayed.copies.all()  # guidance 1 before and after is no change
    np.testing.assert_array_equal(delayed.memorized.images, original.memorized.images)
    np.testing.assert_array_equal(forgetful.others.images[0], original.others.images[0])
    assert original.memorized.distinct.tolist() == [1] * len(PROMPTS)
    assert forgetful.memorized.distinct.tolist() == [3] * len(PROMPTS)
    assert original.memorized.spread.max() < 0.01 < forgetful.memorized.spread.min()
    assert found.outcome("forgetful") is forgetful


def test_every_method_gets_the_same_seeds_and_each_prompt_its_own(model):
    found = compared(model, [Forgetful(kept=1)])
    expected = Unmitigated().sample(model, PROMPTS[2], image_seeds(PROMPTS[2], 3, 5), SAMPLING)
    np.testing.assert_allclose(found.original.memorized.images[2] / 255.0, expected.images.numpy(), atol=0.5 / 255)
    np.testing.assert_array_equal(found.outcomes[1].memorized.images[:, 0], found.original.memorized.images[:, 0])
    assert found.outcomes[1].copies.mean() == pytest.approx(1 / 3)
    assert image_seeds("a", 2, 5) == image_seeds("a", 3, 5)[:2]
    assert len({*image_seeds("a", 9, 5), *image_seeds("b", 9, 5), *image_seeds("a", 9, 6)}) == 27


def test_costs_are_counted_by_prompt(model):
    found = compared(model, [DelayedGuidance(until=300)])
    assert found.original.memorized.costs[:, 0].tolist() == [3 * 6] * len(PROMPTS)
    assert found.outcomes[1].memorized.cost.evaluations == 2 * 3 * 6 * len(PROMPTS)
    assert found.original.memorized.count == 3 * len(PROMPTS)
    assert (found.original.memorized.seconds > 0).all()


def test_finished_prompts_are_not_sampled_again(model, tmp_path):
    engine = Engine(Store(tmp_path))
    first = compared(model, [DelayedGuidance(until=300)], engine=engine)
    again = compared(model, [DelayedGuidance(until=300), DelayedGuidance.opposite()], engine=engine)
    prompts = len(PROMPTS) + len(OTHERS)
    assert (first.work.computed, first.work.reused) == (2 * prompts, 0)
    assert (again.work.computed, again.work.reused) == (prompts, 2 * prompts)
    np.testing.assert_array_equal(first.original.memorized.images, again.original.memorized.images)
    own = compared(model, [Forgetful()], engine=engine)
    assert compared(model, [Forgetful()], engine=engine).work.computed == own.work.computed == prompts


OWN = """
from dataclasses import dataclass

from pytest_diffprivacy.methods import Access
from pytest_diffprivacy.mitigation import Mitigation, Unmitigated, mitigation


@mitigation("own", "Own", access=Access.GREY_BOX, source="these tests", version={version})
@dataclass(frozen=True)
class Own(Mitigation):
    shift: int = 0

    def sample(self, model, prompt, seeds, sampling):
        return Unmitigated().sample(model, prompt, [seed + {added} for seed in seeds], sampling)
"""


def own(monkeypatch, folder, name, **made):
    """A user's own mitigation, in a file of its own."""
    (folder / f"{name}.py").write_text(OWN.format(**made), "utf-8")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(name).Own()


@pytest.mark.parametrize(("version", "reused"), [(None, False), (1, True)])
def test_a_user_s_own_mitigation_is_stored_only_with_a_version(model, tmp_path, monkeypatch, version, reused):
    engine, prompts = Engine(Store(tmp_path / "store")), len(PROMPTS) + len(OTHERS)
    for computed in (2 * prompts, 0 if reused else prompts):
        mitigation = own(monkeypatch, tmp_path, f"own_version_{version}", version=version, added=0)
        assert compared(model, [mitigation], engine=engine).work.computed == computed


def test_an_edited_mitigation_is_not_answered_by_its_former_edition(model, tmp_path, monkeypatch):
    """Its name, version, parameters and qualified name are the same."""
    engine, found = Engine(Store(tmp_path / "store")), []
    for added in (0, 1):
        mitigation = own(monkeypatch, tmp_path, "own_edited", version=1, added=added)
        found.append(compared(model, [mitigation], engine=engine))
        monkeypatch.delitem(sys.modules, "own_edited")
        importlib.invalidate_caches()
    assert found[1].work.computed == len(PROMPTS) + len(OTHERS)
    assert mitigation.card.parameters == {"shift": 0}
    first, second = (one.outcome("own").others.images for one in found)
    assert not np.array_equal(first, second)


def test_other_prompts_may_be_left_out(model):
    found = compared(model, [Forgetful()], others=())
    assert all(outcome.others is None for outcome in found.outcomes)


def test_what_cannot_be_compared_is_refused(model):
    with pytest.raises(UsageError, match="`mitigations` must have different names"):
        compared(model, [Forgetful(), Forgetful(kept=1)])
    with pytest.raises(UsageError, match="`mitigation` must be one of forgetful, got 'sail'"):
        compared(model, [Forgetful()]).outcome("sail")

    class Broken(Brightness):
        def scores(self, images, prompts):
            return np.full(len(images), np.nan)

    with pytest.raises(AuditError, match="alignment scorer must give 24 finite scores"):
        compared(model, [Forgetful()], alignment=Broken())


def test_a_method_that_loses_an_image_is_an_error(model):
    class Short(Forgetful):
        def sample(self, model, prompt, seeds, sampling):
            return super().sample(model, prompt, seeds[:-1], sampling)

    with pytest.raises(AuditError, match=r"Forgetful must generate 3 images .* got shape \(2, "):
        compared(model, [Short()])
