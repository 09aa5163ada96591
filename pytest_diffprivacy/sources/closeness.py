"""Nearest records of generations: measured from a generator, or counted elsewhere as a table or as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, Protocol, final

import numpy as np

from pytest_diffprivacy.audit import Auditor, Findings, Subject
from pytest_diffprivacy.distances import Embedding
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.evidence.records import Table
from pytest_diffprivacy.extraction.replication import REPLICATION, equal_sides, measure_replication
from pytest_diffprivacy.models.protocols import Generator, require_generator
from pytest_diffprivacy.probes import ImageSet, ProbeSet, ScoreTable
from pytest_diffprivacy.sources.asked import asked
from pytest_diffprivacy.sources.closeness_metrics import measure_also, permutation_note
from pytest_diffprivacy.sources.controls import ELSEWHERE, no_positive_control
from pytest_diffprivacy.sources.generations import Request, evaluations_a_step, generated, unprompted
from pytest_diffprivacy.sources.method_records import external_method, published_record
from pytest_diffprivacy.sources.seeds import seed_control
from pytest_diffprivacy.sources.source import Audited, Pair, Vector, as_scores
from pytest_diffprivacy.sources.split import JudgedSplit, judged_split, no_split_control
from pytest_diffprivacy.sources.wiring import generator_wiring
from pytest_diffprivacy.sources.without_model import stored_search
from pytest_diffprivacy.statistics.dcr import DcrCountsStatistic, DcrShare, DcrShareStatistic

LISTED = 20
FACTS: Final = {
    "threshold": "none; a tie counts one half on each side",
    "label_use": "which records are training images decides the share; the p-value re-draws it",
}
UNKNOWN = (
    "The counts were made elsewhere. What this run cannot know: whether each generation was compared with all of these "
    "records and with no others, and whether the generations are independent draws of the audited model. C_T, the "
    "share that is not authentic, the kNN ratio and the floor of similarity need the distances and are not measured."
)


class ClosenessSource(Audited, Protocol):
    """The nearest records of generations among training and unseen images; counts generations, members, others."""

    @property
    def statistic(self) -> DcrShareStatistic | DcrCountsStatistic:
        """What is judged."""
        ...

    def measure(self, findings: Findings, limit: float) -> DcrShare:
        """The judged share; what a reader wants besides it goes into the findings."""
        ...


@final
class ModelCloseness:
    """Distances of a model's generations.

    Args:
        auditor: generates.
        model: a generator.
        probes: members and non-members of one kind.
        requests: what is asked for.
        embedding: decides what is near; None: pixels.
        confidence: of each bound.
    """

    title, slug, unit = "", "replication", "a generation"

    def __init__(
        self,
        auditor: Auditor,
        model: object,
        probes: ProbeSet,
        requests: Sequence[Request],
        embedding: Embedding | None,
        confidence: float,
    ) -> None:
        self._auditor, self.model, self._probes = auditor, model, probes
        self._requests, self._embedding = requests, embedding
        self._total = sum(request.count for request in requests)
        self.counts = self._total, probes.members.source_count, probes.nonmembers.source_count
        first = requests[0]
        scale = 1.0 if first.prompt is None else first.guidance_scale  # without a prompt there is nothing to guide
        self.evaluations = first.steps * evaluations_a_step(scale)
        self.statistic = DcrShareStatistic(records=0, confidence=confidence, seed=auditor.seed)

    @cached_property
    def _generator(self) -> Generator:
        return require_generator(self.model, "Closeness to the training set")

    @cached_property
    def _split(self) -> JudgedSplit:
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _asked(self) -> list[Request]:
        """The requests, as the model can answer them."""
        members, seed = self._split.probes.members, self._auditor.seed
        return [unprompted(self._generator, members, request, seed) for request in self._requests]

    @cached_property
    def _sides(self) -> tuple[ImageSet, ImageSet]:
        return equal_sides(self._split.probes, seed=self._auditor.seed)

    @property
    def subject(self) -> Subject:
        """The generator, and both sides at one size."""
        identity = self._generator.identity
        training, holdout = self._sides
        counts = f"{self._total} generations, {len(training)} training and {len(holdout)} unseen images"
        told = [prompt for request in self._asked for prompt in request.prompts]
        guidance = {request.guidance_scale for request in self._asked if request.guidance_scale is not None}
        own = asked(self._generator, told or None, guidance=sorted(guidance))
        return Subject(model=identity, probes=self._split.probes, counts=counts, asked=own)

    def measure(self, findings: Findings, limit: float) -> DcrShare:
        """Generate, find the nearest records, and measure the other metrics as well."""
        findings.methods = [
            published_record(
                REPLICATION, self._parameters, threshold="none; ties count one half", label_use=FACTS["label_use"]
            )
        ]
        self._split.note(findings)
        training, holdout = self._sides
        seed_control(self._auditor, self._generator, self._asked[0], findings)
        generator_wiring(self._auditor, self._generator, holdout, findings)
        images = generated(self._auditor, self._generator, self._asked, self._split.probes, findings)
        found = measure_replication(
            images, training, holdout, embedding=self._embedding, seed=self._auditor.seed,
            search=stored_search(self._auditor, findings.work),
        )  # fmt: skip
        ours, unseen = found.generations, found.unseen
        findings.arrays |= {
            "authentic": ours.authentic,
            "unseen_authentic": unseen.authentic,
            "ratios": ours.ratios,
            "unseen_ratios": unseen.ratios,
            "similarities": ours.similarities,
            "unseen_similarities": unseen.similarities,
        }
        arrays = {
            "training_distances": ours.distances,
            "holdout_distances": found.holdout_distances,
            "nearest_training": ours.nearest,
            "nearest_holdout": found.nearest_holdout,
        }
        statistic = replace(self.statistic, records=found.records)
        share = findings.measure(statistic, {name: {name: array} for name, array in arrays.items()}, limit)
        assert isinstance(share, DcrShare)
        measure_also(findings, found, share, statistic.confidence)
        return share

    @property
    def _parameters(self) -> dict[str, Any]:
        first, embedding = self._requests[0], self._embedding
        parameters: dict[str, Any] = {"generations": self._total, "steps": first.steps}
        if first.prompt is not None:
            parameters["prompts"] = f"{len(self._requests)} of the caller's"
        if first.guidance_scale is not None:
            parameters["guidance_scale"] = float(first.guidance_scale)
        parameters["distance"] = "pixels, RMS" if embedding is None else embedding.name
        return parameters if embedding is None else parameters | {"embedding_digest": embedding.digest}


@final
class TableCounts:
    """Counts in the only column of a table: to how many generations each member and non-member is the nearest.

    Args:
        auditor: checks the split.
        table: a row for each image, 0 where to none.
        probes: whom the ids must match, one and all; as many members as non-members.
        confidence: of each bound.
    """

    slug, evaluations, unit = "replication-table", 0, "a generation"

    def __init__(self, auditor: Auditor, table: ScoreTable, probes: ProbeSet, confidence: float) -> None:
        self._auditor, self.model, self._probes, self._column = auditor, table, probes, table.only
        self.title = f"{self._column}, counted elsewhere"
        given = round(sum(table.of(table.ids, self._column).tolist()))
        self.counts = max(1, given), probes.members.source_count, probes.nonmembers.source_count
        self.statistic = DcrCountsStatistic(confidence=confidence, seed=auditor.seed)

    @cached_property
    def _whole(self) -> Pair:
        pair = self.model.join(self._probes, self._column)
        _check_counts(pair, f"Column {self._column!r} of {self.model.origin}")
        return pair

    @cached_property
    def _split(self) -> JudgedSplit:
        return judged_split(self._auditor, self._probes)

    @cached_property
    def _pair(self) -> Pair:
        assert self._whole, "refused before the split is checked"
        pair = self.model.join(self._probes, self._column, kept=self._split.probes)
        if len(pair[0]) != len(pair[1]):
            raise UsageError(
                "`probes` must have as many members as non-members for a table of counts, got "
                f"{len(pair[0])} and {len(pair[1])} distinct images without near-copies across the split: the larger "
                "side is nearest more often by its size alone. Thin it at random, and count again."
            )
        return pair

    @property
    def subject(self) -> Subject:
        """The probes; a table that does not match them is refused here."""
        counts = _sizes(self._pair)
        return Subject(probes=self._split.probes, counts=counts)

    def measure(self, findings: Findings, limit: float) -> DcrShare:
        """The share by the counts."""
        table = self.model
        findings.methods = [
            external_method(
                self._column,
                f"{self._column} (nearest records counted elsewhere)",
                "the caller's own counts, joined by id; METHODS 6.2",
                {"table": table.origin, "sha256": table.sha256 or "made in memory"},
                **FACTS,
            )
        ]
        findings.notes = [UNKNOWN]
        self._split.note(findings)
        no_positive_control(self.title, ELSEWHERE, findings)
        lost = sum(float(side.sum()) for side in self._whole) - sum(float(side.sum()) for side in self._pair)
        if lost:
            findings.notes.append(
                f"{lost:g} generations are nearest to images that were left out, and were not counted."
            )
        share = _judged_counts(findings, self.statistic, self._pair, limit)
        findings.tables.append(_most_often_nearest(self._split.probes.members.ids(), self._pair[0]))
        return share


@final
class ArrayCounts:
    """Counts as two arrays, of as many training as unseen images."""

    slug, title, evaluations, unit, model = "replication-counts", "counted elsewhere", 0, "a generation", None

    def __init__(self, training: Any, holdout: Any, *, confidence: float, seed: int) -> None:
        self._pair = as_scores("training", training), as_scores("holdout", holdout)
        _check_counts(self._pair, "The counts")
        first, second = map(len, self._pair)
        if first != second:
            raise UsageError(
                f"`probes` must be as many counts as `model`, got {second} for {first}: the larger side is nearest "
                "more often by its size alone. Thin it at random, and count again."
            )
        self.counts = round(sum(float(side.sum()) for side in self._pair)), first, second
        self.statistic = DcrCountsStatistic(confidence=confidence, seed=seed)

    @property
    def subject(self) -> Subject:
        """Nobody is known besides the counts."""
        return Subject(counts=_sizes(self._pair))

    def measure(self, findings: Findings, limit: float) -> DcrShare:
        """The share by the counts."""
        title, source = "Nearest records counted elsewhere", "the caller's own counts; METHODS 6.2"
        findings.methods, findings.notes = [external_method("counts", title, source, {}, **FACTS)], [UNKNOWN]
        no_split_control(findings)
        no_positive_control(title, ELSEWHERE, findings)
        return _judged_counts(findings, self.statistic, self._pair, limit)


def _sizes(pair: Pair) -> str:
    count = float(pair[0].sum() + pair[1].sum())
    return f"{count:g} generations, {len(pair[0])} training and {len(pair[1])} unseen images"


def _judged_counts(findings: Findings, statistic: DcrCountsStatistic, pair: Pair, limit: float) -> DcrShare:
    names = ("training_counts", "holdout_counts")
    arrays = {name: {name: side} for name, side in zip(names, pair, strict=True)}
    share = findings.measure(statistic, arrays, limit)
    assert isinstance(share, DcrShare)
    findings.notes.append(permutation_note(share, float(pair[0].sum() + pair[1].sum())))
    return share


def _check_counts(counts: Pair, where: str) -> None:
    """Refuse what cannot be numbers of generations."""
    together = np.concatenate(counts)
    broken = together[(together < 0.0) | (2.0 * together != np.round(2.0 * together))]
    if len(broken):
        raise UsageError(
            f"{where} must count generations, a tie as one half, got {len(broken)} of {len(together)} that are no "
            f"counts, e.g. {broken[0]:g}. Give for each record the number of generations to which it is the nearest."
        )
    if not together.any():
        raise UsageError(f"{where} must count at least one generation, got only zeros.")


def _most_often_nearest(ids: Sequence[str], training: Vector) -> Table:
    """The training images that most generations are nearest to."""
    first = np.argsort(-training, kind="stable")[:LISTED]
    more = f", the first {LISTED} of {len(training)}" if len(training) > LISTED else ""
    return Table(
        caption=f"Training images by the generations that they are nearest to{more}",
        columns=("image", "generations"),
        rows=tuple((ids[i], f"{training[i]:g}") for i in first.tolist()),
    )
