"""Source: where the numbers of a claim come from, whether a model is asked, a table is read or arrays are given.

A claim asks its source for the same things in the same order, and never what kind of source it is: while an audit is
planned for `title`, `counts` and `evaluations`, which read no image and ask no model; when it is judged for its
`subject`, its controls and its scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Findings, Subject
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.probes import ScoreTable
from pytest_diffprivacy.sources.method_records import BY_ORDER
from pytest_diffprivacy.sources.split import JudgedSplit
from pytest_diffprivacy.statistics.arguments import IntArray

Vector: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[Vector, Vector]
"""Scores of those whom the claim protects and of the others; higher = more likely a member, or memorized."""
Scores: TypeAlias = dict[str, Pair]
"""By the name of what scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a claim wants scored, and in which words.

    Attributes:
        kind: of the methods, e.g. "membership".
        attack: a name, a method, a callable, a list of them, or "all"; columns of a table; no part for arrays.
        default: what `attack` is where the caller left it out.
        parameters: of the attack that differ from its defaults.
        purpose: for which a model is needed, in the words of an error.
        confidence: of the claim.
        remedy: what to do where a method ranks members last.
        threshold: from what score on an image counts, and who set that.
        shown: further parameters that a reader wants to see.
        reference: what non-members are to the claim, behind their number.
        members_only: whether a model's scores are compared with no non-members.
        single: whether a table may have no more than one column judged.
        own_generations: how many images of the model's own are scored as a control against likelihood.
    """

    kind: str
    attack: Any
    default: str
    parameters: Mapping[str, Any] | None
    purpose: str
    confidence: float
    remedy: str = "Judge by another attack"
    threshold: str = BY_ORDER
    shown: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    members_only: bool = False
    single: bool = False
    own_generations: int = 0


Places: TypeAlias = tuple[IntArray, IntArray]
"""Of images among those of each group."""


class Audited(Protocol):
    """Whom a claim is about and what it costs: what every source says."""

    @property
    def title(self) -> str:
        """What scored, for the claim's sentence; empty where nobody says, or the claim itself does."""
        ...

    @property
    def slug(self) -> str:
        """Short name of it, for the record's id."""
        ...

    @property
    def counts(self) -> tuple[int, ...]:
        """The sizes that a plan speaks of, as far as they are known before anything is read; duplicates counted."""
        ...

    @property
    def evaluations(self) -> int | None:
        """Network evaluations a `unit`; 0: none; None: unknown."""
        ...

    @property
    def unit(self) -> str:
        """What one of them is for: "an image", "a generation" or "a prompt"."""
        ...

    @property
    def model(self) -> object:
        """Whose name a plan tells; it is asked nothing for that."""
        ...

    @property
    def subject(self) -> Subject:
        """Who is audited, on what; reads and checks the probes."""
        ...


class Source(Audited, Protocol):
    """Scores of two groups."""

    @property
    def label(self) -> str:
        """The title, with the words that it was made elsewhere where it was."""
        ...

    @property
    def remedy(self) -> str:
        """What to do where it ranks those first whom it should rank last."""
        ...

    @property
    def titles(self) -> Mapping[str, str]:
        """Name of each score -> what a reader calls it."""
        ...

    @property
    def split(self) -> JudgedSplit | None:
        """What was found about the images without the model; None where there are no images of two sides."""
        ...

    @property
    def orders(self) -> tuple[IntArray, ...]:
        """Places of each group's scores in an order that does not depend on that of the files."""
        ...

    def describe(self, findings: Findings) -> None:
        """Record the methods, the split and the positive controls.

        Raises:
            AuditError: a method does not find what is planted.
        """
        ...

    def scores(self, findings: Findings) -> Scores:
        """Scores of both groups, each float64 (n,)."""
        ...

    def beside(self, findings: Findings, scores: Scores, places: Places | None = None) -> None:
        """What a reader wants beside the scores, and the control against likelihood where one is asked for.

        `scores` does so itself; a claim that scores side by side does it at its end.

        Args:
            findings: the claim's.
            scores: of both groups.
            places: of the images that they are of, in each group; None: all.
        """
        ...

    def side(self, findings: Findings, side: int, places: Sequence[int] | None = None) -> Vector:
        """Scores of one side by the only method there is, of all its images or of some."""
        ...


class PromptSource(Source, Protocol):
    """Scores of audited and of reference prompts."""

    def examples(self, findings: Findings, threshold: float | None) -> None:
        """Show what the most conspicuous prompts generate, where a model can be asked."""
        ...


def is_array(value: object) -> bool:
    """Whether this is a caller's array of scores."""
    return isinstance(value, (np.ndarray, torch.Tensor, list, tuple))


def made_elsewhere(model: object) -> bool:
    """Whether numbers stand in the place of a model: no argument can say how it is asked."""
    return is_array(model) or isinstance(model, ScoreTable)


def as_scores(role: str, values: Any) -> Vector:
    """A caller's array as float64 (n,).

    Raises:
        UsageError: it holds no numbers, or is no vector.
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{role} scores must be real numbers, got dtype {array.dtype}. Give one float an image.")
    if array.ndim != 1 or len(array) == 0:
        raise UsageError(f"{role} scores must be a vector with at least one score, got shape {array.shape}.")
    return array.astype(np.float64)
