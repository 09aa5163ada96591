"""A run as an audit leaves it: a PASS with strips, an announced FAIL with pictures, an INCONCLUSIVE and an ERROR."""

import hashlib
from datetime import UTC, datetime

import numpy as np

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.evidence.pictures import difference_map, picture
from pytest_diffprivacy.evidence.records import (
    Adapter,
    Artifact,
    Claim,
    Comparison,
    ComparisonOutcome,
    Control,
    ControlOutcome,
    Curve,
    Estimate,
    Family,
    FamilyMember,
    Histogram,
    Images,
    KnownMethod,
    Method,
    Model,
    OptionValue,
    Policy,
    Run,
    Strip,
    TestOutcome,
    Timestep,
    Work,
)
from pytest_diffprivacy.statistics import Verdict, auroc, decide, rate, roc_band, roc_curve, score_histogram, tpr_at_fpr

FILE = "audits/test_release.py"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


MODEL = Model(
    name="checkpoints/release-3",
    family="DDPM (pixels, 1000 timesteps)",
    digest=sha256("model"),
    parameters=1_482_177,
    dtype="float32",
    device="cpu",
    access="white box",
    adapters=(Adapter(name="style", kind="LoRA", digest=sha256("style"), scale="0.8", parameters=1_024),),
)
PROBES = (
    Images(role="member", origin="data/train", count=412, total=540, shape=(1, 8, 8), digest=sha256("members")),
    Images(role="non-member", origin="data/heldout", count=409, total=409, shape=(1, 8, 8), digest=sha256("others")),
)
COUNTS = "412 members, 409 non-members"


CONTROLS = (
    Control(
        kind="split",
        name="Blind baseline",
        done="A classifier that never saw the model was fitted on the images, cross-fitted.",
        outcome=ControlOutcome.HELD,
        meaning="The sides do not differ without the model.",
    ),
    Control(
        kind="positive",
        name="Planted memorized set",
        done="64 images were memorized by a model made for this.",
        outcome=ControlOutcome.HELD,
        meaning="The attack finds a leak where there is one.",
    ),
    Control(
        kind="negative",
        name="Two halves of the non-members",
        done="The attack was asked to tell the halves apart.",
        outcome=ControlOutcome.NOT_APPLICABLE,
        meaning="There are too few non-members for this control.",
    ),
)


def known(kind, name, title, access=Access.GREY_BOX, **fields):
    about = {"question": f"Is {title} a question?", "source": f"{title} 2025"}
    return KnownMethod(kind=kind, name=name, title=title, access=access, **about, **fields)


CATALOGUE = (
    known("membership", "secmi", "SecMI (statistic)"),
    known("membership", "pian", "PIAN"),
    known("membership", "lira", "LiRA", needs=("shadow models",)),
    known("membership", "cdi", "CDI", claim="dataset_not_inferable"),
    known("extraction", "extraction-prompted", "Generate and filter by prompts", Access.BLACK_BOX),
    known("sharpness", "hessian_score", "Hessian-score product", Access.WHITE_BOX),
    known("memorization", "hessian_score", "Hessian-weighted score difference"),
    known(
        "attribute inference",
        "attribute-inference",
        "Attribute inference",
        missing="not in this package, as of 2025-03-01",
    ),
)


def estimated(name, measured, counts):
    return Estimate(
        name=name,
        value=measured.value,
        low=measured.low,
        high=measured.high,
        confidence=measured.confidence,
        counts=counts,
    )


def claim(test, kind, sentence, headline, measured, limit, *, counts="", name="", **fields):
    decision = None if measured is None else decide(measured, limit)
    fields = {
        "verdict": Verdict.ERROR if decision is None else decision.verdict,
        "reason": "" if decision is None else decision.reason,
        "rule": "PASS if the upper bound is at most the limit, FAIL if the lower bound is above it, else INCONCLUSIVE",
        "estimate": None if measured is None else estimated(name, measured, counts),
        "probes": PROBES,
        "seed": 17,
        "confidence": 0.95,
        "work": Work(units_computed=14, units_reused=3, seconds=84.25),
        "redo": f'pytest "{FILE}::{test}" --diffprivacy-seed=17',
        **fields,
    }
    return Claim(
        id=f"{kind}-{test}",
        node_id=f"{FILE}::{test}",
        kind=kind,
        sentence=sentence,
        headline=headline,
        limit=limit,
        model=MODEL,
        **fields,
    )


def artifact(name, **arrays):
    return Artifact(
        name=name, path=f"runs/20250314T092653Z-1f/evidence/{name}.safetensors", sha256=sha256(name), arrays=arrays
    )


def extraction_claim(random):
    bins = np.linspace(0.0, 0.6, 31)
    strips = []
    for matched in (True, False, False):
        image = random.uniform(size=(1, 8, 8))
        near = np.clip(image + random.normal(scale=0.05 if matched else 0.4, size=image.shape), 0, 1)
        pictures = (
            picture(near, "generation 1207, pixelated", redacted=True),
            picture(image, "member 88, pixelated", redacted=True),
            difference_map(near, image, "agreement, white = equal"),
        )
        caption = "RMS distance 0.043, seen 16 times" if matched else "RMS distance 0.231, seen once"
        mark = "match" if matched else "no match"
        strips.append(Strip(pictures=pictures, caption=caption, mark=mark, conspicuous=matched))
    return claim(
        "test_no_training_image_comes_back",
        "extraction",
        "At most 0.2% of generations are within 0.15 of a training image",
        "Training images do not come back more often than allowed",
        rate(1, 4096),
        0.002,
        name="Extraction rate",
        counts="1 of 4096 generations",
        methods=(
            Method(
                name="adaptive",
                title="Generate and filter with an adaptive distance",
                access="black box",
                source="Implements Carlini et al. 2023, section 5.1",
                parameters={"generations": "4096", "delta": "0.15", "neighbours": "50"},
                label_use="only to say which training image is nearest",
                threshold="fixed before the run: delta = 0.15",
            ),
        ),
        histograms=(
            Histogram(
                title="Distance of each generation to its nearest image",
                label="RMS distance to the nearest image, lower = closer",
                edges=tuple(bins.tolist()),
                groups={
                    "to members": tuple(np.histogram(random.normal(0.31, 0.07, 4096), bins)[0].tolist()),
                    "to held-out images": tuple(np.histogram(random.normal(0.33, 0.07, 4096), bins)[0].tolist()),
                },
                mark=0.15,
                mark_label="match below",
            ),
        ),
        strips=tuple(strips),
        notes=("Members that occur several times in the training set are counted once.",),
        artifacts=(artifact("extraction", distances="float64 (4096,)", nearest="int64 (4096,)"),),
    )


def membership_claim(random):
    members, others = random.normal(1.6, 1.0, 412), random.normal(0.0, 1.0, 409)
    measured = tpr_at_fpr(members, others, max_fpr=0.01)
    curve = roc_curve(members, others).thinned()
    band = roc_band(members, others, max_fprs=np.geomspace(0.01, 0.99, 60))
    counts = score_histogram(members, others, bins=40)
    return claim(
        "test_members_hidden",
        "membership",
        "The TPR of SecMI at FPR <= 1% is at most 0.02",
        "Members can be recognised more often than allowed",
        measured,
        0.02,
        name="TPR at FPR <= 0.01",
        counts=COUNTS,
        methods=(
            Method(
                name="secmi",
                title="SecMI, statistic",
                access="grey box",
                source="Implements Duan et al. 2023, equations 8-10, with the timestep of the authors' code",
                parameters={"timestep": "90", "step": "10"},
                timesteps=(
                    Timestep(requested=90, index=90, requested_log_snr=3.214, log_snr=3.214, matched=False),
                    Timestep(requested=100, index=94, requested_log_snr=3.021, log_snr=3.0188, matched=True),
                ),
                evaluations_per_image=11,
                label_use="only to evaluate the scores",
                threshold="from the non-members' scores; its error is part of the bounds",
            ),
        ),
        also_measured=(estimated("AUROC", auroc(members, others), COUNTS),),
        curves=(
            Curve(
                confidence=0.95,
                title="SecMI, all thresholds",
                fpr=tuple(curve.fpr.tolist()),
                tpr=tuple(curve.tpr.tolist()),
                band_fpr=tuple(band.max_fpr.tolist()),
                band_low=tuple(band.low.tolist()),
                band_high=tuple(band.high.tolist()),
                working_fpr=0.01,
                limit=0.02,
                smallest_fpr=1 / 409,
            ),
        ),
        histograms=(
            Histogram(
                title="Scores of members and non-members",
                label="SecMI score, higher = more likely a member",
                edges=tuple(counts.edges.tolist()),
                groups={"members": tuple(counts.members.tolist()), "non-members": tuple(counts.nonmembers.tolist())},
                mark=float(np.quantile(others, 0.99)),
                mark_label="threshold at FPR <= 0.01",
            ),
        ),
        incidents=("Out of memory at batch size 256; went on with 128.",),
        controls=CONTROLS,
        p_value=0.0003,
        comparison=Comparison(
            baseline_run="20250201T000000Z-aa",
            baseline_model=sha256("last model"),
            measured="AUROC of SecMI",
            outcome=ComparisonOutcome.WORSE,
            reason="the lower bound of the increase is above 0",
            margin=0.02,
            old=0.7,
            new=0.86,
            increase=estimated("Increase", rate(160, 1000), "821 images, paired"),
            old_only=3,
            new_only=61,
            p_worse=1e-6,
            fails=True,
        ),
        artifacts=(artifact("mia-secmi", members="float64 (412,)", nonmembers="float64 (409,)"),),
    )


def undecided_claim():
    return claim(
        "test_nothing_copied_from_few_samples",
        "extraction",
        "At most 0.1% of generations are within 0.15 of a training image",
        "Too few generations to say whether training images come back",
        rate(0, 100),
        0.001,
        name="Extraction rate",
        counts="0 of 100 generations",
        needed="2995 generations without a match would decide for PASS",
        methods=(),
    )


def broken_claim():
    return claim(
        "test_landscape_is_flat",
        "sharpness",
        "The excess sharpness at members is at most 0.05",
        "The sharpness could not be judged",
        None,
        0.05,
        reason="The positive control failed: planted images were not caught (TPR 0.11, at least 0.5 is needed).",
        methods=(),
        incidents=("The positive control failed.",),
    )


def finished_run() -> Run:
    """Four claims, each with another verdict."""
    random = np.random.default_rng(7)
    claims = (extraction_claim(random), membership_claim(random), undecided_claim(), broken_claim())
    outcomes = ("passed", "xfailed", "failed", "error")
    return Run(
        run_id="20250314T092653Z-1f",
        started=datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC),
        finished=datetime(2025, 3, 14, 9, 31, 7, tzinfo=UTC),
        command="pytest audits --diffprivacy-report audit.html",
        verdict="ERROR",
        verdict_reason="1 of 4 claims could not be judged: test_landscape_is_flat",
        images="redacted",
        claims=claims,
        tests=tuple(
            TestOutcome(node_id=judged.node_id, outcome=outcome, expected_failure=outcome == "xfailed")
            for judged, outcome in zip(claims, outcomes, strict=True)
        ),
        family=Family(
            audits=4,
            size=4,
            significance=0.05,
            correction="Holm's correction over all claims.",
            members=(FamilyMember(claim=claims[1].id, p_value=0.0003, adjusted=0.0012, refuted=True),),
        ),
        policy=Policy(
            origin="policy.toml",
            sha256=sha256("policy"),
            entries=("mia_tpr_below: limit at most 0.02",),
            lacking={sha256("model"): ("memorization_below: no claim covers it",)},
        ),
        incidents=("Worker gw1 was lost and replaced.",),
        options=(
            OptionValue(name="model", value="checkpoints/release-3", origin="ini file"),
            OptionValue(name="seed", value="17", origin="command line"),
            OptionValue(name="images", value="redacted", origin="default"),
        ),
        versions={"python": "3.11.7", "pytest-diffprivacy": "0.1.0", "torch": "2.6.0", "numpy": "2.2.0"},
        platform="Linux x86_64, glibc 2.36",
        catalogue=CATALOGUE,
    )
