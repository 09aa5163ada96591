"""How unusual is one score among reference scores? The share of the reference that is as high, never 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.statistics.arguments import check_scores


def exceedance_p_values(scores: ArrayLike, reference_scores: ArrayLike) -> NDArray[np.float64]:
    """The probability of a score so high for something exchangeable with the reference; **higher = more unusual**.

    `(1 + number of reference scores as high or higher) / (1 + number of reference scores)`: at most x with probability
    at most x, for any distribution of scores.

    Args:
        scores: shape (n,), finite.
        reference_scores: shape (m,), finite.

    Returns:
        float64 (n,), in [1 / (m + 1), 1]; not corrected for the number of scores.

    Raises:
        UsageError: scores that are empty or not finite.

    Source: Implements the conformal p-value of Vovk, Gammerman and Shafer 2005, chapter 2.
    """
    values, reference = check_scores("scores", scores), np.sort(check_scores("reference_scores", reference_scores))
    as_high = reference.size - np.searchsorted(reference, values, side="left")
    return np.asarray((1.0 + as_high) / (1.0 + reference.size), dtype=np.float64)
