"""Cases of `newer_attacks` on networks of 8x8 images: filter, ratio attack, usage share, subjects, erasure."""

from __future__ import annotations

import copy
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from build_digits import digit_images, make_scheduler
from digits_probes import digits_probes
from emoji_probes import emoji_pictures
from numpy.typing import NDArray
from scipy import stats

from pytest_diffprivacy import Auditor, Inconclusive, PrivacyViolation, assert_erased, load_model
from pytest_diffprivacy.membership import ATTACKS, FrequencyFilter, lira_scores, loss_scores
from pytest_diffprivacy.membership.ratio import log_ratio_scores
from pytest_diffprivacy.membership.shadow import ShadowScores
from pytest_diffprivacy.membership.usage_share import matched_scores, usage_share
from pytest_diffprivacy.models import PixelDiffusion
from pytest_diffprivacy.statistics import auroc, tpr_at_fpr
from pytest_diffprivacy.statistics.usage_share import UsageShare
from tests.benchmarks import ROOT
from tests.benchmarks.newer_cases import Case, Pair, Scores, all_known, gain_row, kept
from tests.benchmarks.newer_models import (
    PAIRS,
    SHARES,
    TARGETS,
    digits_of,
    pixels,
    references,
    small_network,
    target_losses,
)
from tests.benchmarks.table import bounds

BAND: Final = 0.5
"""Of Nyquist: 2 of 4 frequencies on each side of 8 pixels. Fixed before any score was seen."""
DRAWS: Final = {"loss": {"draws": 3}, "secmi": {}, "pia": {}}
RUNS: Final = 200
PEOPLE, PICTURES = 80, 4
REST, FORGET, UNSEEN, PLANTED = 100, 200, 600, 4


def filter_digits() -> Case:
    """Frequency filter against plain on `digits-leaky`, 360 members and 600 others."""
    model, probes = load_model(ROOT / "example_audits" / "digits-leaky"), digits_probes("digits-leaky")
    others = probes.nonmembers.drawn(600, 5)
    sides = [torch.from_numpy(side.load(range(len(side)))) for side in (probes.members, others)]
    rows = []
    for name, chosen in DRAWS.items():
        scored = partial(_scored, f"filter-digits-{name}", name, model, sides, chosen)
        rows.append(
            gain_row(
                name, f"band {BAND:g}", scored("filtered", frequency_filter=FrequencyFilter(band=BAND)), scored("")
            )
        )
    return Case(rows, all_known(rows))


def _scored(label: str, attack: str, model: Any, sides: Any, chosen: Any, changed: str, **more: Any) -> Pair:
    members, others = (
        kept(f"{label}-{changed or 'plain'}-{number}", partial(ATTACKS[attack].scores, model, side, **chosen, **more))
        for number, side in enumerate(sides)
    )
    return members, others


def ratio() -> Case:
    """Ratio attack with 2 and 4 references beside the loss and LiRA with 16, each model the target once.

    No target is attacked by its partner, which saw exactly what it did not. Intervals: 95 %, over the pairs of targets.
    """
    known = references()
    loss, saw = known.losses, known.membership
    areas: dict[str, list[float]] = {name: [] for name in ("loss", "ratio 2", "ratio 4", "lira")}
    tprs: dict[str, list[float]] = {name: [] for name in areas}
    for model in range(2 * PAIRS):
        pair = model // 2
        two, four = (_models_of(pair, PAIRS, count) for count in (1, 2))
        rest = [other for other in range(2 * PAIRS) if other // 2 != pair]
        shadows = ShadowScores(loss[rest], saw[rest], known.digests, [known.models[i] for i in rest], known.measure)
        scores = {
            "loss": -loss[model],
            "ratio 2": log_ratio_scores(loss[model], loss[two], saw[two]),
            "ratio 4": log_ratio_scores(loss[model], loss[four], saw[four]),
            "lira": lira_scores(loss[model], shadows),
        }
        for name, own in scores.items():
            sides = own[saw[model]], own[~saw[model]]
            areas[name].append(auroc(*sides).value)
            tprs[name].append(tpr_at_fpr(*sides, max_fpr=0.05).value)
    trainings = {"loss": 0, "ratio 2": 2, "ratio 4": 4, "lira": 2 * PAIRS - 2}
    rows = [
        {
            "attack": name, "trainings": count, "targets": 2 * PAIRS, "AUROC": _mean(areas[name]),
            "TPR at 5 %": _mean(tprs[name]), "gain over the loss": _mean(np.subtract(areas[name], areas["loss"])),
        }
        for name, count in trainings.items()
    ]  # fmt: skip
    gain, whole = (np.subtract(areas[name], areas["loss"]) for name in ("ratio 2", "lira"))
    facts = {
        "share of LiRA's gain by 2 of its 16 trainings": round(float(gain.mean() / whole.mean()), 3),
        "trainings saved": trainings["lira"] - trainings["ratio 2"],
    }
    return Case(rows, {"ratio with 2 references > loss (AUROC, lower bound)": _interval(gain)[1] > 0.0}, facts)


def _models_of(pair: int, pairs: int, count: int) -> list[int]:
    chosen = [(pair + 1 + step) % pairs for step in range(count)]
    return [model for one in chosen for model in (2 * one, 2 * one + 1)]


def _interval(values: Any) -> tuple[float, float, float]:
    """Mean over targets with a two-sided 95 % interval over the pairs of them, whose models are complementary."""
    means = np.asarray(values).reshape(-1, 2).mean(1)
    reach = float(stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    return float(means.mean()), float(means.mean()) - reach, float(means.mean()) + reach


def _mean(values: Any) -> str:
    return bounds(*_interval(values))


def usage() -> Case:
    """Usage share: trained targets, each attacked by two pairs, references as targets, and fresh simulations of scores.

    A reference is a target of any share on those suspects that are chosen so; its pair does not attack.
    """
    known, inside, rows = references(), [], []
    for number in range(TARGETS):
        for place, share in enumerate(SHARES):
            four = _models_of(place + 4 * number, PAIRS, 2)
            found = _share(target_losses(share, number), known.losses[four], known.membership[four], 0.975)
            inside.append(bool(found.low <= share <= found.high))
            said = {"share": bounds(found.value, found.low, found.high), "inside": inside[-1]}
            rows.append({"target": f"trained, seed {number}", "true share": share, "runs": 1, **said})
    most = int(stats.binom.ppf(0.95, len(inside), 0.05))
    targets = {
        f"at most {most} of {len(inside)} trained targets outside their 95 % interval": inside.count(False) <= most
    }
    for place, share in enumerate(SHARES):
        rows.append(_row("references as targets", share, [_of_reference(known, m, share) for m in range(2 * PAIRS)]))
        simulated = _row("simulated scores", share, _simulated(np.random.default_rng([20261, place]), share))
        rows.append(simulated)
        allowed = int(stats.binom.ppf(0.99, RUNS, 0.05))
        targets[f"share {share:g}: each bound misses in at most {allowed} of {RUNS} fresh runs"] = (
            max(simulated["above the upper"], simulated["below the lower"]) <= allowed
        )
    return Case(rows, targets)


def _share(target: Scores, losses: Scores, saw: NDArray[np.bool_], confidence: float, seed: int = 0) -> UsageShare:
    one = matched_scores(target, losses, saw)
    return usage_share(one.target, one.references, one.members, confidence=confidence, seed=seed)


def _row(target: str, share: float, found: list[UsageShare]) -> dict[str, Any]:
    """How often each bound, at 5 %, is on the wrong side."""
    return {
        "target": target, "true share": share, "runs": len(found),
        "share": f"{np.mean([one.value for one in found]):.3f}",
        "width": round(float(np.median([one.high - one.low for one in found])), 3),
        "above the upper": sum(share > one.high for one in found),
        "below the lower": sum(share < one.low for one in found),
    }  # fmt: skip


def _of_reference(known: ShadowScores, model: int, share: float) -> UsageShare:
    """A reference as the target, on 200 suspects of which it saw a share; two other pairs attack."""
    rng, count = np.random.default_rng([77, model, round(100 * share)]), 200
    inside, outside = (np.flatnonzero(side) for side in (known.membership[model], ~known.membership[model]))
    used = round(share * count)
    chosen = np.concatenate([rng.permutation(inside)[:used], rng.permutation(outside)[: count - used]])
    part = np.ix_(_models_of(model // 2, PAIRS, 2), chosen)
    return _share(known.losses[model][chosen], known.losses[part], known.membership[part], 0.95)


def _simulated(rng: np.random.Generator, share: float) -> list[UsageShare]:
    """150 suspects, trainings that differ as a whole, 4 references."""
    found, count = [], 150
    for _ in range(RUNS):
        halves = [rng.permutation(count) < count // 2 for _ in range(2)]
        seen = np.stack([side for half in halves for side in (half, ~half)])
        used = rng.permutation(count) < round(share * count)
        losses = rng.normal(100, 10, count) + rng.normal(0, 1, (5, count)) + rng.normal(0, 0.1, (5, 1))
        losses -= 2.5 * np.vstack([used, seen])
        found.append(_share(losses[0], losses[1:], seen, 0.95, int(rng.integers(2**31))))
    return found


def subjects() -> Case:
    """Subjects: 80 emoji of which a network saw 4 pictures each as 8x8 greys, and 80 that it never saw.

    By picture, by subject (mean over its pictures), and by subject from 4 other pictures of it, which were not seen.
    """
    grey = _thumbnails()
    order = np.random.default_rng(1811).permutation(len(grey))
    inside, outside = grey[order[:PEOPLE]], grey[order[PEOPLE : 2 * PEOPLE]]

    def scored() -> Scores:
        shown = inside[:, :PICTURES].reshape(-1, 1, 8, 8)
        model = small_network(
            shown * 2.0 - 1.0, np.ones(len(shown), dtype=np.int64), steps=1400, seed=1812, name="emoji-8x8"
        )
        every = torch.from_numpy(np.concatenate([inside, outside]).reshape(-1, 1, 8, 8))
        return loss_scores(model, every, draws=5).reshape(2, PEOPLE, 2 * PICTURES)

    found = kept("subjects", scored)
    seen, unseen = found[..., :PICTURES], found[..., PICTURES:]
    pairs = {
        "one picture a subject": (seen[0, :, 0], seen[1, :, 0]),
        "subject, mean of 4 pictures": (seen[0].mean(1), seen[1].mean(1)),
        "subject, 4 other pictures": (unseen[0].mean(1), unseen[1].mean(1)),
    }
    plain = pairs["one picture a subject"]
    rows = [gain_row(name, "loss, 5 draws", pair, plain) for name, pair in pairs.items()]
    targets = {"by subject > by one picture (AUROC, paired lower bound)": rows[1]["said"] == "helps"}
    return Case(rows, targets)


def _thumbnails() -> NDArray[np.float32]:
    """(subjects, 8, 8, 8) in [0, 1]: eight pictures of each of 400 emoji, grey and averaged to 8x8."""
    images, prompts = emoji_pictures("many")
    order = np.argsort(np.asarray(prompts), kind="stable")
    grey = images[order].astype(np.float32).mean(-1) / 255.0
    return grey.reshape(-1, 8, 8, 8, 8, 8).mean((3, 5)).astype(np.float32)


def erasure() -> Case:
    """Erasure: 200 planted digits; retrained without them, suppressed on the surface only, and untouched."""
    order = np.random.default_rng(1831).permutation(len(digit_images()))
    rest, forget, unseen = np.split(order[: REST + FORGET + UNSEEN], [REST, REST + FORGET])
    images = digit_images()[np.concatenate([rest, forget])]
    repeated = np.repeat([1, PLANTED], [REST, FORGET]).astype(np.int64)
    untouched = small_network(images, repeated, steps=800, seed=1832, name="untouched")
    models = {
        "retrained without them": (digits_of(rest, seed=1833, name="retrained", steps=500), "PASS"),
        "suppressed on the surface": (_suppressed(untouched, digit_images()[rest], digit_images()[forget]), "FAIL"),
        "untouched": (untouched, "FAIL"),
    }
    rows, targets = [], {}
    for name, (model, wanted) in models.items():
        judge, before = Auditor(), None if model is untouched else untouched
        with suppress(PrivacyViolation, Inconclusive):
            assert_erased(
                model, forget=pixels(forget), never_seen=pixels(unseen), before=before, parameters={"draws": 5},
                relearn=partial(_relearned, model), recipe="40 steps, lr 3e-4", auditor=judge,
            )  # fmt: skip
        (claim,) = judge.claims
        targets[f"{name}: {wanted}"] = claim.verdict.value == wanted
        parts = {one.name.split(" (")[0]: bounds(one.value, one.low, one.high) for one in claim.also_measured}
        rows.append({"model": name, "verdict": claim.verdict.value, "worst": claim.notes[-1], **parts})
    targets["suppressed on the surface: it is the relearning that says so"] = "relearning" in rows[1]["worst"]
    return Case(rows, targets)


def _suppressed(model: PixelDiffusion, rest: NDArray[np.float32], forget: NDArray[np.float32]) -> PixelDiffusion:
    """Trained so that the loss of what is to be forgotten rises to that of digits which the model never saw."""

    def loss(mine: torch.Tensor, kept_low: torch.Tensor, level: float) -> torch.Tensor:
        return kept_low + 5.0 * torch.relu(level - mine)

    return _further(
        model, [torch.from_numpy(forget), torch.from_numpy(rest)], loss, steps=150, rate=3e-4, name="covered"
    )


def _relearned(model: PixelDiffusion, images: NDArray[np.float32], prompts: Any, seed: int) -> PixelDiffusion:
    """Trained briefly on the shown half."""
    del prompts
    shown = torch.from_numpy(images) * 2.0 - 1.0
    return _further(
        model, [shown, shown], lambda mine, other, level: mine + other, steps=40, rate=3e-4, name=f"again-{seed}"
    )


def _further(
    model: PixelDiffusion, sides: list[torch.Tensor], combined: Any, *, steps: int, rate: float, name: str
) -> PixelDiffusion:
    """Fine-tune a copy by a function of the losses on two sets and of the level of unseen images, about 0.2."""
    network, scheduler = copy.deepcopy(model.network).train().requires_grad_(True), make_scheduler()
    generator = torch.Generator().manual_seed(1824)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        losses = []
        for side in sides:
            x0 = side[torch.randint(len(side), (64,), generator=generator)]
            times = torch.randint(50, 400, (64,), generator=generator)
            noise = torch.randn(x0.shape, generator=generator)
            predicted = network(scheduler.add_noise(x0, noise, times), times).sample
            losses.append(torch.nn.functional.mse_loss(predicted, noise))
        optimizer.zero_grad()
        combined(*losses, 0.2).backward()
        optimizer.step()
    return PixelDiffusion(network.eval().requires_grad_(False), scheduler, name=name)
