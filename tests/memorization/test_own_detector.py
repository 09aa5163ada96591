"""A user's own detector: one file makes it a method with a name, and its edition decides what the store may answer."""

import importlib
import inspect
import sys

import numpy as np
import pytest

from pytest_diffprivacy.engine import Engine, Work
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.memorization import PromptSampling
from pytest_diffprivacy.memorization.detector import find_detector
from pytest_diffprivacy.memorization.watch import joined_units, prompt_units
from pytest_diffprivacy.methods import Kind, registry
from pytest_diffprivacy.probes import PromptSet
from tests.models.text_builders import prompted_mixtures

OWN = """
from pytest_diffprivacy.memorization import detector
from pytest_diffprivacy.memorization.observation import Observation, first_step, once
from pytest_diffprivacy.methods import Access


@detector(title="Own", access=Access.GREY_BOX, source="these tests", version={version})
def own_pull(*, power: float = 1.0) -> Observation:
    \"\"\"Score prompts by a mean.

    Args:
        power: of the pull.

    Source: ours.
    \"\"\"

    def pull(step):
        return {{"pull": {factor} * step.pull.double().abs().flatten(1).mean(1) ** power}}

    return Observation(at=first_step, observe=pull, formula=lambda arrays: arrays["pull"].mean(1), kept=once)


own_pull_scores = own_pull.scores
"""
TEXTS = ["needle", "broad"]
SAMPLING = PromptSampling(2, 4, 1.0)


@pytest.fixture
def edition(tmp_path, monkeypatch):
    """Writes the file, imports it, and forgets the edition before."""
    monkeypatch.setitem(registry._methods, Kind.MEMORIZATION, dict(registry._methods[Kind.MEMORIZATION]))
    monkeypatch.syspath_prepend(tmp_path)

    def write(**made):
        sys.modules.pop("own_pull", None)
        (tmp_path / "own_pull.py").write_text(OWN.format(**made), "utf-8")
        importlib.invalidate_caches()
        return importlib.import_module("own_pull")

    yield write
    sys.modules.pop("own_pull", None)


def observed(engine, detector):
    work, prompts = Work(), PromptSet(TEXTS, "prompt")
    units = prompt_units(prompts, {"own": detector}, SAMPLING)
    parts = engine.run(prompted_mixtures(shape=(1, 4, 4)), units, title="own", work=work)
    return detector.scores(joined_units(parts)["own"]), work.computed


def test_it_has_a_name_a_public_function_and_its_documentation(edition):
    module = edition(version=1, factor=1)
    assert find_detector("own_pull") is module.own_pull
    assert list(inspect.signature(module.own_pull_scores).parameters)[:4] == ["model", "prompts", "power", "latents"]
    assert "power: of the pull." in module.own_pull_scores.__doc__
    assert "latents: x_T" in module.own_pull_scores.__doc__
    scores = module.own_pull_scores(prompted_mixtures(shape=(1, 4, 4)), TEXTS, images_per_prompt=2, sampling_steps=4)
    assert scores[0] > scores[1] > 0


@pytest.mark.parametrize(("version", "again"), [(1, 0), (None, 1)])
def test_it_is_stored_only_with_a_version(edition, tmp_path, version, again):
    engine, detector = Engine(Store(tmp_path / "store")), edition(version=version, factor=1).own_pull()
    assert [observed(engine, detector)[1] for _ in range(2)] == [1, again]


def test_an_edited_one_is_not_answered_by_its_former_edition(edition, tmp_path):
    engine = Engine(Store(tmp_path / "store"))
    first, _ = observed(engine, edition(version=1, factor=1).own_pull())
    second, computed = observed(engine, edition(version=1, factor=3).own_pull())
    assert computed == 1
    np.testing.assert_allclose(second, 3 * first)
