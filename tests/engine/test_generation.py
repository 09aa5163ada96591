"""What a generator is asked for, what its results are stored under, and what is no answer."""

import numpy as np
import pytest
import torch

from pytest_diffprivacy.engine import Engine, GenerationTask, Work
from pytest_diffprivacy.engine.tasks import generation_units
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.models import CallableGenerator


def grey(prompts, seeds):
    return np.stack([np.full((1, 2, 2), (seed % 10) / 10) for seed in seeds])


class Asked:
    """A generator that remembers what it was asked."""

    def __init__(self, version="1"):
        self.identity = CallableGenerator(grey, name="asked", version=version).identity
        self.calls = []

    def generate(self, seeds, **options):
        self.calls.append((list(seeds), options))
        return torch.from_numpy(grey(None, seeds))


def run(model, task, store=None, batch_size=256):
    done = Work()
    parts = Engine(store, batch_size=batch_size).run(model, generation_units(task), title="test", work=done)
    return np.concatenate([part["images"] for part in parts]), done


def test_without_a_prompt_the_model_is_left_its_own_defaults():
    model = Asked()
    images, _ = run(model, GenerationTask(range(3), 7))
    assert model.calls == [([0, 1, 2], {"steps": 7})]
    assert images[:, 0, 0, 0].tolist() == [0, 26, 51]  # 8 bits


def test_a_prompt_and_its_guidance_reach_the_model_with_every_batch():
    model = Asked()
    run(model, GenerationTask(range(3), 7, "a cat", 2.0), batch_size=2)
    told = {"steps": 7, "guidance_scale": 2.0}
    assert model.calls == [
        ([0, 1], {"prompts": ["a cat", "a cat"], **told}),
        ([2], {"prompts": ["a cat"], **told}),
    ]


@pytest.mark.parametrize(
    "other",
    [
        GenerationTask(range(3), 8, "a cat", 2.0),
        GenerationTask(range(3), 7, "a dog", 2.0),
        GenerationTask(range(3), 7, "a cat", 3.0),
        GenerationTask(range(3), 7, "a cat"),
        GenerationTask(range(3), 7),
        GenerationTask(range(1, 4), 7, "a cat", 2.0),
    ],
    ids=["steps", "prompt", "guidance", "no guidance", "no prompt", "seeds"],
)
def test_another_question_is_another_result(tmp_path, other):
    model, store = Asked(), Store(tmp_path)
    run(model, GenerationTask(range(3), 7, "a cat", 2.0, "first"), store)
    assert run(model, GenerationTask(range(3), 7, "a cat", 2.0, "other label"), store)[1].reused == 1
    assert run(model, other, store)[1].computed == 1


def test_a_class_and_a_text_that_reads_like_it_are_two_prompts(tmp_path):
    model, store = Asked(), Store(tmp_path)
    run(model, GenerationTask(range(3), 7, 5), store)
    assert run(model, GenerationTask(range(3), 7, "5"), store)[1].computed == 1


def test_no_label_tells_the_prompt():
    assert all("cat" not in unit.label for unit in generation_units(GenerationTask(range(600), 7, "a cat")))


def test_a_model_that_cannot_name_what_its_images_depend_on_is_asked_anew(tmp_path):
    model, store = Asked(version=None), Store(tmp_path)
    for _ in range(2):
        assert run(model, GenerationTask(range(3), 7), store)[1].computed == 1
    assert len(model.calls) == 2
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("shape", [(2, 1, 2, 2), (3, 2, 2)])
def test_another_number_of_images_than_seeds_is_no_answer(shape):
    model = Asked()
    model.generate = lambda seeds, **options: torch.zeros(shape)
    with pytest.raises(AuditError, match=r"must generate 3 images \(n, channels, height, width\), got shape"):
        run(model, GenerationTask(range(3), 7))
