"""Work that asks no model, as units: computed once, stored by what it depends on, stopped when the time is over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.distances.bounds import Pixels
from pytest_diffprivacy.engine import Unit, Work
from pytest_diffprivacy.evidence import Arrays
from pytest_diffprivacy.extraction import AdaptiveMatches, adaptive_distances
from pytest_diffprivacy.extraction.adaptive import ALPHA, DUPLICATE_DELTA, NEIGHBOURS, Search
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.probes import ImageSet

SEARCH_VERSION = 2


@dataclass(frozen=True, slots=True)
class NoModel:
    """Stands where a model stands: what is asked depends on none."""

    identity: ModelIdentity = field(
        default_factory=lambda: ModelIdentity("no model", "none", "", 0, "float64", "cpu", "none")
    )


def stored(
    auditor: Auditor, work: Work, label: str, depends: Mapping[str, Any], compute: Callable[[], Arrays], items: int
) -> Arrays:
    """What a function gives, from the store where it is there.

    Raises:
        BudgetSpent: the time is over, and it is not there.
    """
    unit = Unit(label, depends, partial(_computed, compute), items, here=True)
    (arrays,) = auditor.engine.run(NoModel(), [unit], title=label, work=work)
    return arrays


def _computed(compute: Callable[[], Arrays], model: Any, batch_size: int) -> Arrays:
    return compute()


def stored_search(auditor: Auditor, work: Work) -> Search:
    """`adaptive_distances` whose results are stored."""

    def search(queries: Pixels | ImageSet, training: ImageSet) -> AdaptiveMatches:
        asked = queries.digest if isinstance(queries, ImageSet) else _digest(queries)
        depends = {
            "method": "adaptive distances",
            "version": SEARCH_VERSION,
            "queries": asked,
            "training": training.digest,
            "settings": [NEIGHBOURS, ALPHA, DUPLICATE_DELTA],
        }
        label = f"comparing {len(queries)} images with {len(training)} {training.role}s"
        arrays = stored(auditor, work, label, depends, partial(_matches, queries, training), len(queries))
        named = {name: array for name, array in arrays.items() if name != "neighbours"}
        return AdaptiveMatches(**named, neighbours=int(arrays["neighbours"][0]))

    return search


def _matches(queries: Pixels | ImageSet, training: ImageSet) -> Arrays:
    found = adaptive_distances(queries, training)
    arrays = {name: getattr(found, name) for name in ("nearest", "l2", "adaptive", "literal")}
    return arrays | {"neighbours": np.array([found.neighbours])}


def _digest(images: NDArray[Any]) -> str:
    content = hashlib.sha256(f"{images.dtype.str}{images.shape}".encode())
    content.update(np.ascontiguousarray(images).data)
    return content.hexdigest()
