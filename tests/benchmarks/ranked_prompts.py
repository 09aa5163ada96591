"""How precise is prompted extraction, when prompts are ranked by how alike their generations are?

80 prompts of a memorized picture, 40 of a memorized half and 80 others; 10 generations each, whose
tiled distances are searched for cliques. Prompts with a clique come first, ranked by the mean distance inside it. Right
is a prompt whose clique lies within RMS 0.15 of its training picture; and, in a second count, one that was planted to
be memorized, whole or in part, which a human would see. About 3 minutes on a quiet core.

Target: the first half of what is flagged is planted, all of it (Carlini et al. 2023, Figure 4).

    python -m tests.benchmarks.ranked_prompts --json tests/benchmarks/results/ranked_prompts.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from emoji_probes import V_PREDICTION, emoji_pictures

from pytest_diffprivacy import load_model
from pytest_diffprivacy.distances import pairwise_tiled_l2
from pytest_diffprivacy.extraction.cliques import CliqueOutcome, find_cliques
from pytest_diffprivacy.statistics import rate
from tests.benchmarks.emoji_prompts import floats
from tests.benchmarks.table import arguments, bounds, conclude

IMAGES, STEPS, GUIDANCE, CHUNK = 10, 20, 2.0, 8
EDGE, CLIQUE, DELTA = 0.15, 4, 0.15
PROMPTS = {"exact": 80, "partial": 40, "many": 80}


def asked() -> list[tuple[str, str, np.ndarray]]:
    """Prompts, what was planted there, and the training pictures (n, 3, height, width) of each."""
    found = []
    for kind, count in PROMPTS.items():
        pictures, prompts = emoji_pictures(kind)
        names = list(dict.fromkeys(prompts))
        own = {name: [i for i, prompt in enumerate(prompts) if prompt == name] for name in names}
        found += [(name, kind, floats(pictures[own[name]])) for name in names[:count]]
    return found


def looked_at(generations: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """Mean distance in the prompt's best clique (infinite: none), and its RMS distance to the training pictures."""
    cliques = find_cliques(pairwise_tiled_l2(generations, tile="grid4"), edge_threshold=EDGE, size=CLIQUE)
    found = [clique for clique in cliques if clique.outcome is CliqueOutcome.FOUND]
    if not found:
        return {"distance": np.inf, "l2": np.inf}
    best = min(found, key=lambda clique: clique.mean_distance)
    errors = np.sqrt(((training - generations[best.medoid]) ** 2).mean((1, 2, 3)))
    return {"distance": best.mean_distance, "l2": float(errors.min())}


def curve(flagged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Precision after each flagged prompt, in their order, by both counts."""
    extracted = np.cumsum([row["l2"] <= DELTA for row in flagged])
    planted = np.cumsum([row["kind"] != "many" for row in flagged])
    count = np.arange(1, len(flagged) + 1)
    return [
        {"flagged": int(n), "extracted": int(e), "planted": int(p), "precision": e / n, "precision, planted": p / n}
        for n, e, p in zip(count, extracted, planted, strict=True)
    ]


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, default=V_PREDICTION, help="a text-to-image model of the examples")
    given = parser.parse_args()
    model, prompts = load_model(given.model, dtype="float32"), asked()
    rows: list[dict[str, Any]] = []
    for start in range(0, len(prompts), CHUNK):
        part = prompts[start : start + CHUNK]
        texts = [text for text, _, _ in part for _ in range(IMAGES)]
        seeds = list(range(IMAGES)) * len(part)
        made = model.generate(seeds, prompts=texts, steps=STEPS, guidance_scale=GUIDANCE).numpy()
        for place, (_, kind, training) in enumerate(part):
            rows.append({"kind": kind, **looked_at(made[place * IMAGES : (place + 1) * IMAGES], training)})
        print(f"{len(rows)} of {len(prompts)} prompts", file=sys.stderr, flush=True)
    flagged = sorted((row for row in rows if np.isfinite(row["distance"])), key=lambda row: row["distance"])
    points = curve(flagged)
    table = []
    for kind in PROMPTS:
        own = [row for row in rows if row["kind"] == kind]
        shares = {
            "flagged": rate(sum(np.isfinite(row["distance"]) for row in own), len(own)),
            "extracted": rate(sum(row["l2"] <= DELTA for row in own), len(own)),
        }
        shown = {name: bounds(share.value, share.low, share.high) for name, share in shares.items()}
        table.append({"prompts": kind, "count": len(own), **shown})
    half = points[: max(1, len(points) // 2)]
    clean = bool(half) and half[-1]["planted"] == half[-1]["flagged"]
    targets = {"the first half of what is flagged is planted": clean}
    facts = {"model": given.model.name, "images a prompt": IMAGES, "guidance": GUIDANCE, "clique": [EDGE, CLIQUE]}
    facts |= {"delta": DELTA, "curve": points}
    columns = ("prompts", "count", "flagged", "extracted")
    return conclude(__doc__ or "", columns, table, targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
