"""Members that an attack scores above every non-member, by id, so that a run can say whom any of its attacks finds."""

from __future__ import annotations

from typing import Final

import numpy as np

from pytest_diffprivacy.audit import Findings
from pytest_diffprivacy.evidence.records import Recognised
from pytest_diffprivacy.sources.source import Places, Scores, Source
from pytest_diffprivacy.sources.subjects import SubjectScores

UNTOLD: Final = (
    "Whom the attack recognises at an observed FPR of 0 is not listed: that threshold would depend on when the looks "
    "ended."
)


def note_looked(findings: Findings, source: Source, scores: Scores, queues: Places) -> None:
    """What a claim that ended early says beside its scores, as one does that scored all images.

    Args:
        findings: the claim's.
        source: of the scores.
        scores: of those of both sides that were scored.
        queues: places of the images of each side in the order in which they were scored.
    """
    (pair,) = scores.values()
    places = queues[0][: len(pair[0])], queues[1][: len(pair[1])]
    source.beside(findings, scores, places)
    if source.split is not None:
        source.split.compare(findings, "", *pair, places=places)
        findings.notes.append(UNTOLD)


def note_recognised(findings: Findings, source: Source, scores: Scores) -> None:
    """Record whom each attack recognises at an observed FPR of 0; nothing where members have no ids.

    Args:
        findings: the claim's.
        source: of the scores.
        scores: of both sides, all of them; **higher = more likely a member**.
    """
    if isinstance(source, SubjectScores):
        ids = source.member_ids
    else:
        ids = [] if source.split is None else source.split.probes.members.ids()
    for name, (members, nonmembers) in scores.items():
        if len(ids) == len(members):
            found = np.flatnonzero(members > nonmembers.max()).tolist()
            findings.recognised.append(
                Recognised(
                    attack=source.titles.get(name, name),
                    ids=tuple(ids[place] for place in found),
                    members=len(members),
                    nonmembers=len(nonmembers),
                )
            )
