from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pytest_diffprivacy import UsageError
from pytest_diffprivacy.extraction import ContrastedGenerator, contrasted_eps, contrasted_path, contrasted_walk
from pytest_diffprivacy.models import ideal_denoiser, load_model
from tests.models.text_builders import golden_pipeline

GOLDEN = Path(__file__).parents[1] / "golden" / "finetune"
INPUTS, SINGLE, DOUBLE = (
    load_file(GOLDEN / f"{name}.safetensors") for name in ("inputs", "expected", "expected_float64")
)
TOLD = json.loads((GOLDEN / "expected.json").read_text())
CASES, PROMPT = TOLD["finextract_cases"], TOLD["prompt"]
RUNS = [(case, torch.float32) for case in CASES] + [(case, torch.float64) for case in ("dreambooth", "lora")]


@cache
def model(tuned: str, dtype: torch.dtype) -> Any:
    pipeline = golden_pipeline()
    if tuned:
        for key, value in load_file(GOLDEN / f"tuned_{tuned}.safetensors").items():
            part, name = key.split(".", 1)
            getattr(pipeline, part).get_parameter(name).data.copy_(value)
    return load_model(pipeline, dtype=dtype, resolution=16)


def guidance(case: str) -> dict[str, Any]:
    told = CASES[case]
    without = told["k"] is None
    return {"w": told["w"], "k": 0.0 if without else told["k"], "base_prompt": PROMPT if without else None}


def assert_agrees(found: Any, key: str, dtype: torch.dtype) -> None:
    values = DOUBLE if dtype is torch.float64 and key in DOUBLE else SINGLE
    tolerance = TOLD["tolerances"][key]
    atol = tolerance.get("atol_float64", tolerance["atol"]) if values is DOUBLE else tolerance["atol"]
    np.testing.assert_allclose(np.asarray(found, np.float64), values[key].double().numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize(("case", "dtype"), RUNS)
def test_latents_and_noises_agree_with_the_authors_code(case: str, dtype: torch.dtype) -> None:
    models = model("", dtype), model(CASES[case]["tuned"], dtype)
    start = INPUTS["finextract_start"].to(dtype)
    after = list(contrasted_walk(*models, start, PROMPT, steps=5, last="published", **guidance(case)))
    assert_agrees(torch.stack([start, *after]), f"finextract.{case}.latents", dtype)
    times = [t for t, _ in contrasted_path(1000, 5)]
    assert times == TOLD["finextract_timesteps"]
    noises = [
        contrasted_eps(*models, x, t, PROMPT, **guidance(case))
        for x, t in zip([start, *after[:-1]], times, strict=True)
    ]
    assert_agrees(torch.stack(noises), f"finextract.{case}.eps_contrast", dtype)
    for weight, name in ((0.0, "eps_base"), (1.0, "eps_tuned")):
        key = f"finextract.{case}.{name}"
        if key in SINGLE:
            own = [
                contrasted_eps(*models, x, t, PROMPT, weight, 0.0)
                for x, t in zip([start, *after[:-1]], times, strict=True)
            ]
            assert_agrees(torch.stack(own), key, dtype)


@pytest.mark.slow
def test_fifty_steps_and_the_end_at_the_first_timestep_agree() -> None:
    models, start = (model("", torch.float32), model("dreambooth", torch.float32)), INPUTS["finextract_start"]
    own = guidance("dreambooth")
    after = list(contrasted_walk(*models, start, PROMPT, steps=50, last="published", **own))
    assert_agrees(after[-1], "finextract.dreambooth.final50", torch.float32)
    assert_agrees(torch.stack(after[-2:]), "finextract.dreambooth.step49_50", torch.float32)
    (*_, clean) = contrasted_walk(*models, start, PROMPT, steps=5, **own)
    assert_agrees(clean, "formula_finextract.dreambooth.last_step_to_final_alpha", torch.float32)


def test_guidance_past_the_fine_tune_ends_on_its_images_more_often() -> None:
    """Exact models: the base knows six pictures, the fine-tune those and one more."""
    pictures = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    base, tuned = ideal_denoiser(pictures[:6]), ideal_denoiser(pictures)
    shares = []
    for w in (0.0, 1.0, 3.0):
        made = ContrastedGenerator(base, tuned, None, w=w, k=0.0).generate(list(range(60)), steps=50).double()
        nearest = (made[:, None] - pictures[None]).square().sum((2, 3, 4)).argmin(1)
        shares.append((nearest == 6).double().mean().item())
    assert shares[0] == 0.0
    assert shares[2] > shares[1] + 0.2


def test_a_generator_takes_no_other_prompt_and_names_both_models() -> None:
    pictures = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    base, tuned = ideal_denoiser(pictures[:3]), ideal_denoiser(pictures)
    one, other = (ContrastedGenerator(base, tuned, None, w=w) for w in (3.0, 5.0))
    assert one.identity.digest != other.identity.digest
    with pytest.raises(UsageError, match="must be left out"):
        one.generate([1], prompts=["a cat"])
    with pytest.raises(UsageError, match="`base` must be"):
        ContrastedGenerator(ideal_denoiser(pictures[:, :, :2]), tuned, None)
