"""The split check: whether a claim about members may be judged on these probes at all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor, Findings, estimate
from pytest_diffprivacy.engine import Unit, Work
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.evidence.records import Control, ControlOutcome, Table
from pytest_diffprivacy.probes import BlindBaseline, ProbeSet, SplitValidity
from pytest_diffprivacy.sources.without_model import NoModel
from pytest_diffprivacy.statistics import auroc_difference
from pytest_diffprivacy.statistics.arguments import IntArray

VERSION = 4
BRIEF_VALUES = 2**28
LISTED = 20
NAME: Final = "Split: members and non-members without the model"
DONE: Final = (
    "Four classifiers that never see the model (linear and trees, on image statistics and on {seen}) were cross-fitted "
    "to tell members from non-members; the best was judged against 199 shuffles of the labels, the whole procedure run "
    "again for each."
)


@dataclass(frozen=True, slots=True)
class JudgedSplit:
    """Probes without near-copies across the split, and what was found about them.

    Attributes:
        probes: what the claim is judged on.
        found: near-copies and blind baseline.
        removed: ids of the images that were taken out because of near-copies across the split.
    """

    probes: ProbeSet
    found: SplitValidity
    removed: tuple[str, ...]

    @property
    def counts(self) -> str:
        """The sizes of both sides."""
        return f"{len(self.probes.members)} members, {len(self.probes.nonmembers)} non-members"

    @property
    def orders(self) -> tuple[IntArray, IntArray]:
        """Places of the images by their digests, which do not depend on the order of the files."""
        members, nonmembers = (np.array(side.digest_order) for side in (self.probes.members, self.probes.nonmembers))
        return members, nonmembers

    def note(self, findings: Findings, *, decides: bool = True) -> None:
        """Put the outcome into a claim: its control, what was removed, and whether no verdict may follow.

        Args:
            findings: the claim's.
            decides: whether a confounded split leaves no verdict; not where a reference cancels what the images differ
                in.
        """
        findings.controls.append(self._control())
        if self.removed:
            findings.notes.append(
                f"{len(self.found.removed_members)} members and {len(self.found.removed_nonmembers)} non-members are "
                f"near-copies of each other (RMS pixel difference at most {self.probes.near:g}) and were left out on "
                "both sides."
            )
            shown = tuple((name,) for name in self.removed[:LISTED])
            more = f", the first {LISTED}" if len(self.removed) > LISTED else ""
            findings.tables.append(Table(caption=f"Near-copies across the split{more}", columns=("image",), rows=shown))
        repeated = len(self.found.repeated_members), len(self.found.repeated_nonmembers)
        if any(repeated):
            findings.notes.append(
                f"{repeated[0]} members and {repeated[1]} non-members are near-copies of another image of their own "
                f"side (RMS pixel difference at most {self.probes.near:g}) and were left out: near-copies are no "
                "independent probes, so each cluster of them counts once."
            )
        baseline = self.found.baseline
        if decides and baseline is not None and baseline.confounded:
            findings.confounded = confounded_reason(baseline)

    def compare(
        self,
        findings: Findings,
        title: str,
        members: NDArray[np.float64],
        nonmembers: NDArray[np.float64],
        *,
        places: tuple[IntArray, IntArray] | None = None,
    ) -> None:
        """Record how much better the attack separates than the blind baseline does on the same images.

        Args:
            findings: the claim's.
            title: of the attack, in the name of the difference.
            members: scores of the attack.
            nonmembers: the same.
            places: of the images that were scored, where they are not all.
        """
        blind = self.found.baseline
        if blind is None:
            return
        looked, own = (blind.members, blind.nonmembers), (blind.member_scores, blind.nonmember_scores)
        given = (members, nonmembers)
        scored = tuple(np.arange(len(side)) for side in given) if places is None else places
        both = [np.intersect1d(*side, return_indices=True)[1:] for side in zip(scored, looked, strict=True)]
        members, nonmembers = (side[at] for side, (at, _) in zip(given, both, strict=True))
        if min(len(members), len(nonmembers)) < 2:
            findings.notes.append("The blind baseline saw too few of the images that were scored to be compared.")
            return
        first, second = (side[at] for side, (_, at) in zip(own, both, strict=True))
        difference = auroc_difference((members, nonmembers), (first, second))
        counts = f"{len(members)} members, {len(nonmembers)} non-members, paired"
        findings.also_measured.append(estimate(f"AUROC{title} minus that of the blind baseline", difference, counts))

    def _control(self) -> Control:
        baseline = self.found.baseline
        done = DONE.format(seen=self.probes.embedding.name if self.probes.embedding else "pixels")
        if baseline is None:
            return Control(
                kind="split",
                name=NAME,
                done=done,
                outcome=ControlOutcome.NOT_APPLICABLE,
                meaning="Fewer than 20 images or subjects a side: no classifier could say whether they differ.",
            )
        counts = f"{len(baseline.member_scores)} members, {len(baseline.nonmember_scores)} non-members"
        honest = (
            f"They look alike (permutation p = {baseline.p_value:.2g}). A difference of AUROC "
            f"{baseline.detectable:.3f} would have been found with probability 0.8, at an error rate of 1 %."
        )
        return Control(
            kind="split",
            name=NAME,
            done=done,
            outcome=ControlOutcome.FAILED if baseline.confounded else ControlOutcome.HELD,
            meaning=confounded_reason(baseline) if baseline.confounded else honest,
            estimate=estimate(f"Blind AUROC ({baseline.classifier})", baseline.area, counts),
        )


def judged_split(judge: Auditor, probes: ProbeSet) -> JudgedSplit:
    """Check a split, once for all claims on it: the result is stored by the digests of everything that it depends on.

    Raises:
        ProbeError: an image stands on both sides, or the sides have two image sizes.
    """
    probes.check_split()
    probes.check_prompts()
    (arrays,) = judge.engine.run(NoModel(), [_unit(probes)], title="checking the split", work=Work())
    found = SplitValidity.from_arrays(arrays)
    sides = ((probes.members, found.removed_members), (probes.nonmembers, found.removed_nonmembers))
    removed = [images.ids()[position] for images, gone in sides for position in gone.tolist()]
    return JudgedSplit(probes.without(found), found, tuple(removed))


def confounded_reason(baseline: BlindBaseline) -> str:
    """Why no verdict follows, and what differs."""
    area = baseline.area
    differ = "; ".join(
        f"{d.name} {d.members:.4g} against {d.nonmembers:.4g} (AUROC {d.auroc:.2f})" for d in baseline.differences
    )
    return (
        f"split confounded: members and non-members differ without the model (blind AUROC {area.value:.3f}, bounds "
        f"[{area.low:.3f}, {area.high:.3f}], {baseline.classifier}, permutation p = {baseline.p_value:.2g}). They "
        f"differ most in: {differ}. Draw both from one source and treat them alike"
    )


def _unit(probes: ProbeSet) -> Unit:
    sides = (probes.members, probes.nonmembers)
    depends: dict[str, Any] = {
        "method": "split validity",
        "version": VERSION,
        "images": [_depends(side) for side in sides],
        "near": float(probes.near),
        "embedding": probes.embedding.digest if probes.embedding else "",
    }
    count = sum(map(len, sides))
    brief = count * math.prod(probes.image_shape) <= BRIEF_VALUES
    return Unit("split validity", depends, partial(_validity, probes), count, brief=brief)


def _validity(probes: ProbeSet, model: Any, batch_size: int) -> Arrays:
    return probes.validity.arrays()


def _depends(side: Any) -> Sequence[Any]:
    facts = side.file_facts()
    subjects = side.subjects(range(len(side)))
    told = [] if subjects is None else [hashlib.sha256("\n".join(subjects).encode()).hexdigest()]
    return [side.part_digest(0, len(side)), [] if facts is None else facts[1].tolist(), *told]


def no_split_control(findings: Findings) -> None:
    """Record that nobody looked whether members and non-members differ without the model: there are no images."""
    findings.controls.append(
        Control(
            kind="split",
            name=NAME,
            done="Classifiers that never see the model try to tell members from non-members.",
            outcome=ControlOutcome.NOT_APPLICABLE,
            meaning="Scores were given without their images: what else members and non-members differ in is unknown. "
            "A ScoreTable with a ProbeSet has it checked.",
        )
    )
