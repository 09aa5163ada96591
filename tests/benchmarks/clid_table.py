"""What does CLiD find in a model that knows its images' labels, and is it more than the loss finds?

A class-conditional model of the 8x8 digits, trained here (about 3 minutes on one quiet core): 600 members, null label
in a tenth of the batches, 4,000 steps of 64, channels 16 and 32, averaged weights. A label is the prompt, so the only
reduced prompt of CLiD is the null label. Judged are 600 members and 900 non-members with their own labels; the scale of
CLiD comes from the 297 other non-members, without any labels of membership.

Target: CLiD's AUROC is above 0.5 with its lower bound.

    python -m tests.benchmarks.clid_table --json tests/benchmarks/results/clid_table.json
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np
import torch
from build_digits import digit_images, make_scheduler, update_average
from build_digits_classes import DROPPED, NULL, class_unet
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from pytest_diffprivacy.membership import clid_scores, clid_terms, fit_clid_scale, loss_scores
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from tests.benchmarks.table import arguments, bounds, conclude

MEMBERS, OTHERS = 600, 900
STEPS, BATCH = 4000, 64
COLUMNS = ("attack", "members", "others", "AUROC", "TPR at 1 %", "evaluations")


def trained(images: torch.Tensor, labels: torch.Tensor) -> PixelDiffusion:
    """The averaged weights after minimizing the DDPM loss on images with their labels."""
    torch.manual_seed(21)
    generator = torch.Generator().manual_seed(21)
    unet = class_unet().train()
    scheduler, averaged = make_scheduler(), copy.deepcopy(unet).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=0.0)
    decay_to_zero = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(images), (BATCH,), generator=generator)
        dropped = torch.rand(BATCH, generator=generator) < DROPPED
        told = torch.where(dropped, torch.full_like(labels[rows], NULL), labels[rows])
        timesteps = torch.randint(1000, (BATCH,), generator=generator)
        noise = torch.randn(images[rows].shape, generator=generator)
        predicted = unet(scheduler.add_noise(images[rows], noise, timesteps), timesteps, class_labels=told).sample
        loss = torch.nn.functional.mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay_to_zero.step()
        update_average(averaged, unet, min(0.999, step / (step + 10)))
        if step % 500 == 0:
            print(f"step {step}  loss {loss.item():.4f}", file=sys.stderr, flush=True)
    return PixelDiffusion(averaged, scheduler, name="digits with labels", null_label=NULL)


def row(attack: str, members: NDArray[np.float64], others: NDArray[np.float64], evaluations: int) -> dict[str, Any]:
    """One line of the table from scores."""
    area, one = auroc(members, others), tpr_at_fpr(members, others, max_fpr=0.01)
    return {
        "attack": attack,
        "members": len(members),
        "others": len(others),
        "AUROC": bounds(area.value, area.low, area.high),
        "TPR at 1 %": bounds(one.value, one.low, one.high),
        "evaluations": evaluations,
        "low": area.low,
    }


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    order = np.random.default_rng(21).permutation(1797)
    images, labels = torch.from_numpy(digit_images()[order]), torch.from_numpy(load_digits().target[order])
    model = trained(images[:MEMBERS], labels[:MEMBERS])
    pixels, prompts = (images + 1.0) / 2.0, labels.tolist()
    inside, outside = slice(0, MEMBERS), slice(MEMBERS, MEMBERS + OTHERS)
    rest = slice(MEMBERS + OTHERS, None)
    scale = fit_clid_scale(clid_terms(model, pixels[rest], prompts=prompts[rest]))

    def both(attack: Any, told: bool = True, **parameters: Any) -> list[NDArray[np.float64]]:
        return [
            attack(model, pixels[part], prompts=prompts[part] if told else None, **parameters)
            for part in (inside, outside)
        ]

    rows = [
        row("CLiD, scale from other images", *both(clid_scores, scale=scale), 6),
        row("CLiD, unscaled", *both(clid_scores), 6),
        row("Denoising loss with the label", *both(loss_scores, draws=6), 6),
        row("Denoising loss without it", *both(loss_scores, told=False, draws=6), 6),
    ]
    targets = {"CLiD: AUROC above 0.5": rows[0]["low"] > 0.5}
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
