"""The claim "no prompt brings a training image back": many generations a prompt, and whether they are one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.assertions.evidence import method_record
from pytest_diffprivacy.audit import Auditor, Findings, Question, estimate
from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.evidence.pictures import difference_map, picture
from pytest_diffprivacy.evidence.records import Claim, Recipe, Strip, Table
from pytest_diffprivacy.extraction import PromptSearch, choose_prompts, search_generations
from pytest_diffprivacy.extraction.prompt_search import PromptFindings, SearchedPrompt
from pytest_diffprivacy.models.protocols import Generator
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.statistics import Measured, PromptRate, Verdict, prompt_rate, rate, trials_needed
from pytest_diffprivacy.statistics.rate import more_trials

COMPARED: Mapping[Verdict, str] = {
    Verdict.PASS: "Prompts bring training images back no more often than allowed.",
    Verdict.FAIL: "Prompts bring training images back more often than allowed.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how often training images come back.",
    Verdict.ERROR: "Extraction by prompts could not be judged.",
}
ALONE: Mapping[Verdict, str] = {
    Verdict.PASS: "Prompts bring one and the same image back no more often than allowed.",
    Verdict.FAIL: "Prompts bring one and the same image back more often than allowed.",
    Verdict.INCONCLUSIVE: "These prompts do not decide how often one and the same image comes back.",
    Verdict.ERROR: "Extraction by prompts could not be judged.",
}
STRIPS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Case:
    """What is asked of whom, and what may be compared."""

    generator: Generator
    probes: ProbeSet | None
    search: PromptSearch
    asked: Sequence[SearchedPrompt]
    delta: float
    steps: int
    confidence: float


def judge_prompted(
    judge: Auditor,
    generator: Generator,
    probes: ProbeSet | None,
    search: PromptSearch,
    *,
    delta: float,
    max_rate: float,
    steps: int,
    confidence: float,
) -> Claim:
    """Judge the share of prompts that bring a training image back, or, where none are known, one image at all.

    Arguments, result and errors are those of `assert_no_extraction`.
    """
    if probes is not None:
        probes.check_split()
    asked = choose_prompts(search, None if probes is None else probes.members)
    question = Question(
        kind="extraction",
        slug="extraction-prompted",
        sentence=prompted_sentence(max_rate, known=probes is not None),
        limit=max_rate,
        headlines=ALONE if probes is None else COMPARED,
        model=generator.identity,
        probes=probes,
        counts=f"{len(asked)} prompts, {search.images} generations at each of {len(search.guidance_scales)} guidances",
        confidence=confidence,
        name="no_extraction",
        terms={"delta": delta},
    )
    case = _Case(generator, probes, search, asked, delta, steps, confidence)

    def measure(findings: Findings) -> Measured:
        _describe(findings, case)
        found = [_ask(judge, case, number, findings) for number in range(len(asked))]
        measured = _report(findings, judge, case, found)
        findings.needed = lambda: _needed(measured, max_rate)
        return measured

    return judge.judge(question, measure)


def prompted_sentence(max_rate: float, *, known: bool) -> str:
    """The claim, where the training set is known or not."""
    what = "a training image" if known else "one and the same image"
    return f"Share of prompts that bring {what} back is at most {max_rate:.4g}"


def _ask(judge: Auditor, case: _Case, number: int, findings: Findings) -> list[PromptFindings]:
    """One prompt at every guidance scale."""
    asked, members, unseen = case.asked[number], None, None
    if case.probes is not None:
        members = case.probes.members
        unseen = _as_many_unseen(case.probes, len(asked.images) or len(members), judge.seed, number)
    results = []
    for scale in case.search.guidance_scales:
        blocks = judge.generations(
            case.generator,
            case.search.images,
            steps=case.steps,
            work=findings.work,
            prompt=asked.prompt,
            guidance_scale=scale,
            label=f"prompt {number}, guidance {scale:g}, generations",
        )
        images = np.concatenate([block for _, block in blocks])
        if case.probes is not None and images.shape[1:] != case.probes.image_shape:
            raise ModelError(
                f"The model generates images of shape {images.shape[1:]}, the probes have {case.probes.image_shape}. "
                "Resize the probes as the training pipeline did."
            )
        results.append(search_generations(images, case.search, asked, members, unseen))
    return results


def _as_many_unseen(probes: ProbeSet, count: int, seed: int, number: int) -> ImageSet:
    """As many unseen images as a prompt has training images, drawn for this prompt."""
    order = np.random.default_rng([seed, 3, number]).permutation(len(probes.nonmembers))
    return probes.nonmembers.subset(np.sort(order[:count]).tolist())


def _describe(findings: Findings, case: _Case) -> None:
    search, compared = case.search, case.probes is not None
    rule = f"tiled l2 at most {search.edge_threshold:g} for each pair in a clique of {search.clique_size}" + (
        f", RMS distance to a training image of the prompt at most {case.delta:g}" if compared else ""
    )
    findings.methods = [
        method_record(
            name="extraction-prompted",
            title="Generate and filter by prompts, cliques in tiled l2",
            access="black box",
            source="Carlini et al. 2023, section 4.2; exact cliques, control with unseen images",
            parameters={
                "prompts": len(case.asked),
                "chosen": "given" if search.prompts is not None else "captions of the most duplicated members",
                "images": search.images,
                "guidance_scales": list(search.guidance_scales),
                "steps": case.steps,
                "edge_threshold": search.edge_threshold,
                "clique_size": search.clique_size,
                "tile": search.tile,
            }
            | ({"delta": case.delta} if compared else {}),
            threshold=f"{rule}; fixed before any generation was seen",
            label_use="captions choose the prompts; training and unseen images enter the comparison only"
            if compared
            else "none: nothing of the training set is known",
        )
    ]


def _report(findings: Findings, judge: Auditor, case: _Case, found: list[list[PromptFindings]]) -> PromptRate:
    """Measure, and leave tables, arrays and pictures behind."""
    flagged, undecided, l2, control_l2 = (
        np.array([[getattr(f, name) for f in row] for row in found])
        for name in ("flagged", "undecided", "l2", "control_l2")
    )
    mean_distance = np.array([[f.clique.mean_distance for f in row] for row in found])
    compared = case.probes is not None
    hits, false = (flagged & (l2 <= case.delta), flagged & (control_l2 <= case.delta)) if compared else (flagged, None)
    measured = prompt_rate(hits, undecided, false, confidence=case.confidence)
    cliques = rate(int(flagged.any(1).sum()), len(found), confidence=case.confidence)
    counts = f"{int(flagged.any(1).sum())} of {len(found)} prompts"
    findings.also_measured.append(estimate("Prompts with a clique of equal generations", cliques, counts))
    findings.tables += [
        _by_guidance(case, flagged, undecided, hits, false),
        _ranking(case, found, hits, mean_distance),
    ]
    findings.notes += _notes(measured, compared, int(flagged.any(1).sum()))
    findings.arrays |= {
        "flagged": flagged,
        "undecided": undecided,
        "clique_size": np.array([[len(f.clique.nodes) for f in row] for row in found]),
        "clique_mean_distance": mean_distance,
        "l2": l2,
        "control_l2": control_l2,
        "nearest_member": np.array([[f.nearest for f in row] for row in found]),
        "duplicates": np.array([asked.duplicates for asked in case.asked]),
        "guidance_scales": np.asarray(case.search.guidance_scales, dtype=np.float64),
    }
    findings.recipe = Recipe(
        statistic="prompt_rate",
        arrays={name: (name,) for name in ("flagged", "undecided", "l2", "control_l2")},
        arguments={"delta": case.delta, "confidence": case.confidence, "compared": int(compared)},
    )
    if judge.images != "none":
        findings.strips_title = "Prompts that bring one image back"
        findings.strips += _strips(judge, case, found, hits, mean_distance)
    return measured


def _notes(measured: PromptRate, compared: bool, cliques: int) -> list[str]:
    notes = []
    if not compared:
        notes.append(
            "Nothing is known of the training set: a clique shows that a prompt always brings back the same image, "
            "which is evidence of memorization, but not that this image was in the training set."
        )
    else:
        notes += [
            f"{cliques} prompts bring back one image again and again; {measured.hits} of these images lie near a "
            "training image.",
            f"{measured.false_matches} of them lie as near to one of as many unseen images.",
        ]
    if measured.undecided:
        notes.append(
            f"Of {measured.undecided} prompts the search for a clique was given up; they count as hits in the upper "
            "bound and as none in the lower. Raise cliques_tried, or lower edge_threshold."
        )
    return notes


def _needed(measured: PromptRate, limit: float) -> str:
    if measured.undecided:
        return f"{measured.undecided} prompts were left undecided: raise cliques_tried, or lower edge_threshold"
    if measured.false_matches is None:
        decided = trials_needed(measured.value, limit, confidence=measured.confidence)
        return f"about {decided or 'more than 10 million'} prompts would decide at the observed rate"
    return more_trials(measured, measured.false_matches / measured.prompts, limit, trials="prompts")


def _by_guidance(
    case: _Case,
    flagged: NDArray[np.bool_],
    undecided: NDArray[np.bool_],
    hits: NDArray[np.bool_],
    false: NDArray[np.bool_] | None,
) -> Table:
    """What each guidance scale found; on small models guidance can hide every copy (METHODS 9, T12)."""
    columns = ["guidance scale", "prompts with a clique", "undecided"]
    columns += [] if false is None else ["training images back", "unseen images matched"]
    rows = []
    for place, scale in enumerate(case.search.guidance_scales):
        counts = [flagged[:, place], undecided[:, place]] + ([] if false is None else [hits[:, place], false[:, place]])
        rows.append((f"{scale:g}", *(str(int(count.sum())) for count in counts)))
    return Table(caption="Prompts by guidance scale", columns=tuple(columns), rows=tuple(rows))


def _ranked(mean_distance: NDArray[np.float64]) -> list[tuple[int, int]]:
    """(prompt, guidance) of the flagged prompts, each at its closest clique, the closest first."""
    best = mean_distance.argmin(1)
    closest = mean_distance[np.arange(len(best)), best]
    order = np.argsort(closest, kind="stable")
    return [(int(number), int(best[number])) for number in order if np.isfinite(closest[number])]


def _ranking(
    case: _Case, found: list[list[PromptFindings]], hits: NDArray[np.bool_], mean_distance: NDArray[np.float64]
) -> Table:
    """Flagged prompts by the mean distance inside their clique; prompts by number, since their texts are private."""
    rows = []
    for number, place in _ranked(mean_distance)[:STRIPS_SHOWN]:
        one = found[number][place]
        distance = f"{one.l2:.4f}" if np.isfinite(one.l2) else "not compared"
        rows.append(
            (
                f"prompt {number}",
                f"{case.search.guidance_scales[place]:g}",
                f"{len(one.clique.nodes)} of {case.search.images}",
                f"{one.clique.mean_distance:.4f}",
                distance,
                "yes" if case.probes is not None and hits[number].any() else "no",
                str(case.asked[number].duplicates or "not known"),
            )
        )
    return Table(
        caption="Prompts with the closest cliques",
        columns=(
            "prompt",
            "guidance scale",
            "generations in the clique",
            "mean distance in it",
            "RMS to the training image",
            "training image back",
            "near-copies in the training set",
        ),
        rows=tuple(rows),
    )


def _strips(
    judge: Auditor,
    case: _Case,
    found: list[list[PromptFindings]],
    hits: NDArray[np.bool_],
    mean_distance: NDArray[np.float64],
) -> list[Strip]:
    """The image that each of these prompts brings back, beside its training image where one is known."""
    redacted, strips = judge.images == "redacted", []
    for number, place in _ranked(mean_distance)[:STRIPS_SHOWN]:
        one, copied = found[number][place], case.probes is not None and bool(hits[number, place])
        if one.image is None:
            continue
        seed = judge.generation_seed(one.clique.medoid)
        pictures = [picture(one.image, f"generation, seed {seed}", redacted=redacted)]
        if case.probes is not None:
            training = case.probes.members.load([one.nearest])[0]
            pictures += [
                picture(training, f"nearest: {case.probes.members.ids()[one.nearest]}", redacted=redacted),
                difference_map(one.image, training, "where they agree (white)"),
            ]
        distance = f", RMS distance {one.l2:.4f}" if case.probes is not None else ""
        caption = (
            f"prompt {number}, guidance {case.search.guidance_scales[place]:g}: {len(one.clique.nodes)} of "
            f"{case.search.images} generations are one image{distance}"
        )
        mark = "match" if copied else "one image"
        strips.append(Strip(pictures=tuple(pictures), caption=caption, mark=mark, conspicuous=copied))
    return strips
