"""How is a hosted model audited of which only images can be asked for? As a black box behind an HTTP address."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

from pytest_diffprivacy.models import CallableGenerator


def image_api(url: str, *, version: str | None = None) -> CallableGenerator:
    """An API that takes {"prompt": text or null, "seed": number} and answers with a PNG.

    Without a version that names what is served, no answer is stored and every run asks anew.
    """

    def picture(prompt: str | int | None, seed: int) -> np.ndarray:
        body = json.dumps({"prompt": prompt, "seed": seed}).encode()
        with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=60) as answer:
            pixels = np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))
        return pixels.transpose(2, 0, 1)

    def images(prompts: Sequence[str | int] | None, seeds: Sequence[int]) -> np.ndarray:
        texts = [None] * len(seeds) if prompts is None else prompts
        return np.stack([picture(prompt, seed) for prompt, seed in zip(texts, seeds, strict=True)])

    return CallableGenerator(images, name="my API", version=version)
