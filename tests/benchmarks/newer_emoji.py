"""Cases of `newer_attacks` on the emoji models: filter and mask, a LoRA that gives its pictures back, a black box."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from emoji_probes import LEAKY, RELEASE, emoji_pictures
from numpy.typing import NDArray

from pytest_diffprivacy import (
    Auditor,
    Inconclusive,
    PrivacyViolation,
    ProbeSet,
    assert_finetune_not_extractable,
    load_model,
)
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.membership import ATTACKS, FrequencyFilter, LatentMask
from pytest_diffprivacy.membership.reconstruction_similarity import reconstruction_scores
from pytest_diffprivacy.statistics import auroc, rate
from tests.benchmarks.newer_cases import Case, Pair, all_known, area, gain_row, kept
from tests.benchmarks.table import bounds
from tests.claims.lora import emoji_pipeline, train_lora

Pictures = tuple[NDArray[np.float32], list[str]]
BAND: Final = 0.5
"""Of Nyquist: 2 of 4 frequencies on each side of the 8x8 latents. Fixed before any score was seen."""
DRAWS: Final[dict[str, dict[str, Any]]] = {"loss": {"draws": 2}, "secmi": {}, "pia": {}, "sima": {}}
UNFILTERED: Final = frozenset({"sima"})
PROBES: Final = 250
TUNED, STYLE, ASKED = 10, 60, 80
PROMPT: Final = "a picture of the new style"
LORA_STEPS: Final = 250
BLACK: Final[dict[str, Any]] = {"generations": 2, "steps": 15, "guidance_scale": 1.0, "batch_size": 64}


def drawn(name: str, count: int, seed: int, *, distinct: bool = False) -> Pictures:
    """Pictures (n, 3, 64, 64) in [0, 1] of a set with their prompts, in an order of the seed."""
    images, prompts = emoji_pictures(name)
    rows = np.random.default_rng(seed).permutation(len(prompts))
    if distinct:
        rows = rows[np.sort(np.unique(np.asarray(prompts)[rows], return_index=True)[1])]
    chosen = rows[:count]
    pixels = images[chosen].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255.0)
    return pixels, [prompts[row] for row in chosen]


def weighed() -> Case:
    """Filter and mask against plain on `emoji-leaky`: pictures seen once against others of the same prompts."""
    model = load_model(LEAKY, dtype="float32")
    sides = [drawn("many", PROBES, 1831), drawn("heldout", PROBES, 1832)]

    def scored(attack: str, changed: str, **more: Any) -> Pair:
        inside, outside = (
            kept(
                f"weighed-{attack}-{changed}-{number}",
                partial(ATTACKS[attack].scores, model, torch.from_numpy(images), prompts=told, **DRAWS[attack], **more),
            )
            for number, (images, told) in enumerate(sides)
        )
        return inside, outside

    rows = []
    for name in DRAWS:
        plain = scored(name, "plain")
        if name not in UNFILTERED:
            filtered = scored(name, "filtered", frequency_filter=FrequencyFilter(band=BAND))
            rows.append(gain_row(name, f"filter, band {BAND:g}", filtered, plain))
        for choice in ("stretched",) if name == "secmi" else ("stretched", "random", "inverse"):
            masked = scored(name, f"mask-{choice}", latent_mask=LatentMask(choice=choice))
            rows.append(gain_row(name, f"mask, {choice}", masked, plain))
    return Case(rows, all_known(rows))


def finetune() -> Case:
    """A LoRA of `emoji-release` on 10 pictures, and one on 10 others: whose pictures are drawn out?"""
    every, _ = drawn("heldout", 2 * TUNED + 2 * STYLE, 1841, distinct=True)
    shown, elsewhere, style, calibrating = np.split(every, [TUNED, 2 * TUNED, 2 * TUNED + STYLE])
    features = Embedding.of(_centred, name="centred pixels at 16x16", version="1")
    copy_from = _copy_from(features, calibrating)
    base = load_model(emoji_pipeline())
    tuned, other = (load_model(lora(images, name)) for images, name in ((shown, "shown"), (elsewhere, "elsewhere")))
    rows, targets = [], {}
    for name, members in (("its pictures", shown), ("pictures of the other LoRA", elsewhere)):
        judge = Auditor()
        with suppress(PrivacyViolation, Inconclusive):
            assert_finetune_not_extractable(
                base, tuned, ProbeSet(members, style), prompt=PROMPT, limit=0.2, copy_from=copy_from,
                embedding=features, control=other if members is shown else None, generations=ASKED, w=5.0, k=0.0,
                steps=20, auditor=judge,
            )  # fmt: skip
        (claim,) = judge.claims
        row = {"members": name, "verdict": claim.verdict.value, "share": bounds(claim.value, claim.low, claim.high)}
        row |= {one.name.split(": ")[1]: bounds(one.value, one.low, one.high) for one in claim.also_measured
                if one.name.startswith("Come back")}  # fmt: skip
        rows.append(row)
        targets[name] = claim.verdict.value
    plain = tuned.generate(range(ASKED), prompts=[PROMPT] * ASKED, steps=20, guidance_scale=3.0).numpy()
    nearest = (features.vectors(shown) @ features.vectors(plain).T).max(1)
    found = rate(int((nearest >= copy_from).sum()), TUNED, confidence=0.95)
    rows.append({"members": "its pictures, ordinary guidance 3, nearest of all generations",
                 "share": bounds(found.value, found.low, found.high)})  # fmt: skip
    return Case(
        rows,
        {
            "its pictures come back: FAIL": targets["its pictures"] == "FAIL",
            "those of the other LoRA do not: no FAIL": targets["pictures of the other LoRA"] != "FAIL",
        },
        {"copy_from": round(copy_from, 4), "generations": ASKED},
    )


def _centred(images: torch.Tensor) -> torch.Tensor:
    small = torch.nn.functional.interpolate(images, (16, 16), mode="area")
    return (small - small.mean((2, 3), keepdim=True)).flatten(1) + 1e-6


def _copy_from(features: Embedding, unseen: NDArray[np.float32]) -> float:
    """The cosine that only 1 % of further pictures of this style reach to any other of them."""
    vectors = features.vectors(unseen)
    apart = vectors @ vectors.T
    np.fill_diagonal(apart, -1.0)
    return float(min(0.999, max(0.7, np.quantile(apart.max(1), 0.99))))


def lora(images: NDArray[np.float32], name: str) -> StableDiffusionPipeline:
    """The released pipeline with a LoRA that saw these pictures at every noise level, with one prompt for all."""
    return train_lora(images, [PROMPT], name=name, seed=1842, steps=LORA_STEPS, rate=5e-3, times=(0, 1000))


def black_box() -> Case:
    """N7 on `emoji-leaky`, from images alone: pictures that it saw 60 times against some that it never saw.

    Controls: the same pictures with captions of others, and `emoji-release`, which saw them once, as if it were a base.
    """
    sides = [drawn("exact", ASKED, 1851), drawn("heldout", ASKED, 1852, distinct=True)]
    models = {name: load_model(folder, dtype="float32") for name, folder in (("leaky", LEAKY), ("release", RELEASE))}

    def scored(name: str, shift: int) -> Pair:
        inside, outside = (
            kept(
                f"black-{name}-{shift}-{number}",
                partial(
                    reconstruction_scores, models[name], torch.from_numpy(images),
                    prompts=told[shift:] + told[:shift], **BLACK,
                ),
            )
            for number, (images, told) in enumerate(sides)
        )  # fmt: skip
        return inside, outside

    own, shuffled, base = scored("leaky", 0), scored("leaky", 1), scored("release", 0)
    shuffled_base = scored("release", 1)
    rows = [
        {"scored": name, "members": ASKED, "others": ASKED, "AUROC": area(pair), "low": auroc(*pair).low,
         "high": auroc(*pair).high}
        for name, pair in {
            "emoji-leaky": own, "emoji-leaky, captions of others": shuffled, "emoji-release": base,
            "emoji-leaky minus emoji-release": _minus(own, base),
            "emoji-leaky minus emoji-release, captions of others": _minus(shuffled, shuffled_base),
        }.items()
    ]  # fmt: skip
    targets = {
        "emoji-leaky: AUROC above 0.5": rows[0]["low"] > 0.5,
        "minus emoji-release: AUROC above 0.5": rows[3]["low"] > 0.5,
        "captions of others: AUROC below that of the own ones": rows[1]["high"] < rows[0]["low"],
    }
    return Case(rows, targets)


def _minus(one: Pair, other: Pair) -> Pair:
    return one[0] - other[0], one[1] - other[1]
