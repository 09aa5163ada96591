"""Prompts that bring an image back: many generations a prompt, and whether they are one image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, Subject, estimate
from pytest_diffprivacy.distances.squares import floats_of
from pytest_diffprivacy.engine import Work
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.evidence.pictures import difference_map, picture
from pytest_diffprivacy.evidence.records import Strip, Table
from pytest_diffprivacy.extraction import PromptSearch, choose_prompts, search_generations
from pytest_diffprivacy.extraction.prompt_search import (
    DUPLICATE_DELTA,
    PROMPTED_SEARCH,
    PromptFindings,
    SearchedPrompt,
    near_copies,
)
from pytest_diffprivacy.models.protocols import Generator, require_generator
from pytest_diffprivacy.probes import ImageSet, ProbeSet
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.generations import Request, evaluations_a_step, generated, stops_early
from pytest_diffprivacy.sources.looks import DECIDED, kept, show_looks
from pytest_diffprivacy.sources.method_records import published_record
from pytest_diffprivacy.sources.seeds import seed_control
from pytest_diffprivacy.sources.wiring import generator_wiring
from pytest_diffprivacy.sources.without_model import stored
from pytest_diffprivacy.statistics import Measured, PromptRate, Verdict, decide, rate
from pytest_diffprivacy.statistics.early_plan import share_at_zero
from pytest_diffprivacy.statistics.prompt_rate import PromptRateStatistic

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


@final
class PromptedCopies:
    """Prompts that bring a training image back, or, where none are known, one and the same image.

    Args:
        auditor: generates.
        model: a generator that takes prompts.
        probes: the training set, and unseen images as the control; None: nothing is known of the training set.
        search: which prompts, and what makes their generations one image.
        delta: largest RMS distance of a copy.
        steps: sampling steps.
        limit: the largest rate allowed.
        early_stop: as in `assert_no_extraction`.
        confidence: of each bound.
    """

    title, slug, unit = "", "extraction-prompted", "a prompt"

    def __init__(
        self,
        auditor: Auditor,
        model: object,
        probes: ProbeSet | None,
        search: PromptSearch,
        *,
        delta: float,
        steps: int,
        limit: float,
        early_stop: bool | None,
        confidence: float,
    ) -> None:
        self._auditor, self.model, self._probes, self._search = auditor, model, probes, search
        self._delta, self._steps = delta, steps
        known = probes is not None
        self.headlines = COMPARED if known else ALONE
        self.share = f"prompts that bring {'a training image' if known else 'one and the same image'} back"
        self.terms = {"delta": delta}
        self.evaluations = search.images * steps * sum(evaluations_a_step(scale) for scale in search.guidance_scales)
        self._limit, count = limit, self.counts[0]
        self.statistic = PromptRateStatistic(
            delta=delta,
            confidence=confidence,
            compared=int(known),
            planned=count if stops_early(model, early_stop) else 0,
            at_zero=share_at_zero(limit, count, confidence=confidence),
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """Prompts, generations and guidance scales; members and non-members where they are known."""
        search, probes = self._search, self._probes
        if search.prompts is not None:
            prompts = len(search.prompts)
        else:
            prompts = 0 if probes is None else min(search.most, probes.members.source_prompts)
        sides = () if probes is None else (probes.members.source_count, probes.nonmembers.source_count)
        return prompts, search.images, len(search.guidance_scales), *sides

    @property
    def units(self) -> int:
        """Prompts."""
        return self.counts[0]

    @cached_property
    def _generator(self) -> Generator:
        return require_generator(self.model, "Extraction")

    @cached_property
    def _prompts(self) -> list[SearchedPrompt]:
        return choose_prompts(self._search, None if self._probes is None else self._probes.members, self._near_copies)

    def _near_copies(self, members: ImageSet, asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """As `near_copies`, stored."""
        depends = {
            "method": "near-copies of prompted images",
            "version": 1,
            "training": members.digest,
            "images": hashlib.sha256(asked.tobytes()).hexdigest(),
            "delta": DUPLICATE_DELTA,
        }

        def compute() -> Arrays:
            return {"counts": near_copies(members, asked)}

        label = f"near-copies of {len(asked)} prompted images"
        return stored(self._auditor, Work(), label, depends, compute, len(asked))["counts"]

    @cached_property
    def _equal(self) -> tuple[NDArray[np.int64], ImageSet]:
        """As many members as unseen images, by position, and these; drawn once for all prompts."""
        assert self._probes is not None, "asked where training images are known"
        members, others = self._probes.members, self._probes.nonmembers
        rng = np.random.default_rng([self._auditor.seed, 3])
        size = min(len(members), len(others))
        places, unseen = (np.sort(rng.permutation(len(side))[:size]) for side in (members, others))
        return places, others.subset(unseen.tolist())

    @property
    def subject(self) -> Subject:
        """The generator, the probes where they are known, and how much is asked."""
        identity = self._generator.identity
        if self._probes is not None:
            self._probes.check_split()
        scales = len(self._search.guidance_scales)
        most = "at most " if self.statistic.planned else ""
        counts = f"{most}{len(self._prompts)} prompts, {self._search.images} generations at each of {scales} guidances"
        prompts = [one.prompt for one in self._prompts]
        told = asked(self._generator, prompts, guidance=self._search.guidance_scales)
        return Subject(model=identity, probes=self._probes, counts=counts, asked=told)

    def measure(self, findings: Findings, limit: float) -> Measured:
        """Search prompts at every guidance scale until they decide, and compare the cliques."""
        self._describe(findings)
        asked = self._prompts[self._order[0]].prompt
        first = Request(self._search.images, self._steps, asked, self._search.guidance_scales[0])
        seed_control(self._auditor, self._generator, first, findings)
        unseen = None if self._probes is None else self._probes.nonmembers
        generator_wiring(self._auditor, self._generator, unseen, findings)
        found = list[list[PromptFindings]]()
        images = 0 if self._probes is None else len(self._equal[0])
        own = replace(self.statistic, planned=len(self._prompts) if self.statistic.planned else 0, images=images)
        statistic = findings.at_attempt(own)
        for number in self._order:
            found.append(self._ask(number, findings))
            if statistic.planned and decide(statistic.measure(kept(_named(found))), limit).verdict in DECIDED:
                break
        judged = _named(found)
        arrays = {role: named[role] for role, named in judged.items()}
        if statistic.planned:
            looks = range(1, len(self._prompts) + 1)
            judged |= show_looks(findings, statistic, kept(judged), looks, limit, items="prompts")
        measured = findings.measure(statistic, judged, limit)
        flagged = arrays["flagged"]
        assert isinstance(measured, PromptRate)
        cliques = int(flagged.any(1).sum())
        bounds = rate(cliques, len(found), confidence=self.statistic.confidence)
        title = "Prompts with a clique of equal generations"
        findings.also_measured.append(estimate(title, bounds, f"{cliques} of {len(found)} prompts"))
        findings.notes += _notes(measured, self._probes is not None, cliques)
        if self._probes is not None:
            findings.notes.append(self._whose(found))
        self._show(findings, found, arrays)
        return measured

    @cached_property
    def _order(self) -> list[int]:
        """In which order prompts are asked: drawn where the first may decide, since the most repeated lead."""
        count = len(self._prompts)
        if not self.statistic.planned:
            return list(range(count))
        return [int(i) for i in np.random.default_rng([self._auditor.seed, 4]).permutation(count)]

    def _ask(self, number: int, findings: Findings) -> list[PromptFindings]:
        """One prompt at every guidance scale."""
        asked, members, unseen, compared = self._prompts[number], None, None, np.zeros(0, dtype=np.int64)
        if self._probes is not None:
            members, (compared, unseen) = self._probes.members, self._equal
        results = []
        for scale in self._search.guidance_scales:
            label = f"prompt {number}, guidance {scale:g}, generations"
            request = Request(self._search.images, self._steps, asked.prompt, scale, label)
            blocks = generated(self._auditor, self._generator, [request], self._probes, findings)
            images = floats_of(np.concatenate(list(blocks)))
            results.append(search_generations(images, self._search, asked, members, unseen, compared))
        return results

    def _whose(self, found: list[list[PromptFindings]]) -> str:
        """Whose training images came back, and how many are compared with as many unseen ones."""
        hits = [[one for one in row if one.flagged and one.l2 <= self._delta] for row in found]
        own = [
            any(one.nearest in self._prompts[n].images for one in row)
            for n, row in zip(self._order, hits, strict=False)
        ]
        back, size = sum(map(bool, hits)), len(self._equal[0])
        return (
            f"{sum(own)} of {back} prompts that bring a training image back bring one of their own, the others another "
            f"prompt's. The control is {len(self._equal[1])} unseen images beside {size} training images, "
            "a prompt's own among them."
        )

    def _describe(self, findings: Findings) -> None:
        search, compared = self._search, self._probes is not None
        rule = f"tiled l2 at most {search.edge_threshold:g} for each pair in a clique of {search.clique_size}" + (
            f", RMS distance to a training image at most {self._delta:g}" if compared else ""
        )
        parameters = {
            "prompts": len(self._prompts),
            "chosen": "given" if search.prompts is not None else "captions of the most duplicated members",
            "images": search.images,
            "guidance_scales": list(search.guidance_scales),
            "steps": self._steps,
            "edge_threshold": search.edge_threshold,
            "clique_size": search.clique_size,
            "tile": search.tile,
        } | ({"early_stop": "as soon as PASS or FAIL is certain"} if self.statistic.planned else {})
        findings.methods = [
            published_record(
                PROMPTED_SEARCH,
                parameters | ({"delta": self._delta} if compared else {}),
                threshold=f"{rule}; fixed before any generation was seen",
                label_use="captions choose the prompts; training and unseen images enter the comparison only"
                if compared
                else "none: nothing of the training set is known",
            )
        ]

    def _show(self, findings: Findings, found: list[list[PromptFindings]], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Tables, arrays and pictures of the prompts."""
        mean_distance = np.array([[f.clique.mean_distance for f in row] for row in found])
        flagged, undecided = arrays["flagged"], arrays["undecided"]
        hits, false = flagged, None
        if self._probes is not None:
            hits, false = (flagged & (arrays[name] <= self._delta) for name in ("l2", "control_l2"))
        findings.tables += [
            self._by_guidance(flagged, undecided, hits, false),
            self._ranking(found, hits, mean_distance),
        ]
        findings.arrays |= {
            "clique_size": np.array([[len(f.clique.nodes) for f in row] for row in found]),
            "clique_medoid": np.array(  # -1: no two of its generations are alike
                [[f.clique.medoid if len(f.clique.nodes) else -1 for f in row] for row in found]
            ),
            "clique_mean_distance": mean_distance,
            "nearest_member": np.array([[f.nearest for f in row] for row in found]),
            "prompt": np.array(self._order[: len(found)]),
            "duplicates": np.array([self._prompts[number].duplicates for number in self._order[: len(found)]]),
            "guidance_scales": np.asarray(self._search.guidance_scales, dtype=np.float64),
        }
        if self._auditor.images != "none":
            findings.strips_title = "Prompts that bring one image back"
            findings.strips += self._strips(found, hits, mean_distance)

    def _by_guidance(
        self,
        flagged: NDArray[np.bool_],
        undecided: NDArray[np.bool_],
        hits: NDArray[np.bool_],
        false: NDArray[np.bool_] | None,
    ) -> Table:
        """What each guidance scale found; on small models guidance can hide every copy (METHODS 9, T12)."""
        columns = ["guidance scale", "prompts with a clique", "undecided"]
        columns += [] if false is None else ["training images back", "unseen images matched"]
        rows = []
        for place, scale in enumerate(self._search.guidance_scales):
            counts = [flagged[:, place], undecided[:, place]] + (
                [] if false is None else [hits[:, place], false[:, place]]
            )
            rows.append((f"{scale:g}", *(str(int(count.sum())) for count in counts)))
        return Table(caption="Prompts by guidance scale", columns=tuple(columns), rows=tuple(rows))

    def _ranking(
        self, found: list[list[PromptFindings]], hits: NDArray[np.bool_], mean_distance: NDArray[np.float64]
    ) -> Table:
        """Flagged prompts by the mean distance inside their clique; by number, since their texts are private."""
        rows = []
        for row, place in _ranked(mean_distance)[:STRIPS_SHOWN]:
            one, number = found[row][place], self._order[row]
            distance = f"{one.l2:.4f}" if np.isfinite(one.l2) else "not compared"
            rows.append(
                (
                    f"prompt {number}",
                    f"{self._search.guidance_scales[place]:g}",
                    f"{len(one.clique.nodes)} of {self._search.images}",
                    f"{one.clique.mean_distance:.4f}",
                    distance,
                    "yes" if self._probes is not None and hits[row].any() else "no",
                    str(self._prompts[number].duplicates or "not known"),
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
        self,
        found: list[list[PromptFindings]],
        hits: NDArray[np.bool_],
        mean_distance: NDArray[np.float64],
    ) -> list[Strip]:
        """The image that each of these prompts brings back, beside its training image where one is known."""
        redacted, strips = self._auditor.images == "redacted", []
        for row, place in _ranked(mean_distance)[:STRIPS_SHOWN]:
            one, copied = found[row][place], self._probes is not None and bool(hits[row, place])
            if one.image is None:
                continue
            pictures = [picture(one.image, "generation", redacted=redacted)]
            if self._probes is not None:
                training = self._probes.members.load([one.nearest])[0]
                pictures += [
                    picture(training, f"nearest image: {self._probes.members.ids()[one.nearest]}", redacted=redacted),
                    difference_map(one.image, training, "where they agree (white)", redacted=redacted),
                ]
            distance = f", RMS distance {one.l2:.4f}" if self._probes is not None else ""
            caption = (
                f"prompt {self._order[row]}, guidance {self._search.guidance_scales[place]:g}: "
                f"{len(one.clique.nodes)} of {self._search.images} generations are one image{distance}"
            )
            mark = "match" if copied else "one image"
            strips.append(Strip(pictures=tuple(pictures), caption=caption, mark=mark, conspicuous=copied))
        return strips


def _named(found: list[list[PromptFindings]]) -> dict[str, dict[str, NDArray[Any]]]:
    """What is judged of the prompts so far, (prompts, guidance scales) each."""
    names = ("flagged", "undecided", "l2", "compared_l2", "nearest_compared", "own", "control_l2", "nearest_control")
    return {name: {name: np.array([[getattr(f, name) for f in row] for row in found])} for name in names}


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


def _ranked(mean_distance: NDArray[np.float64]) -> list[tuple[int, int]]:
    """(row, guidance) of the flagged prompts, each at its closest clique, the closest first."""
    best = mean_distance.argmin(1)
    closest = mean_distance[np.arange(len(best)), best]
    order = np.argsort(closest, kind="stable")
    return [(int(number), int(best[number])) for number in order if np.isfinite(closest[number])]
