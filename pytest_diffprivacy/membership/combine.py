"""Combination of several attacks with the help of labels, cross-fitted: no image is scored by its own label."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_diffprivacy.errors import AuditError, UsageError

FOLDS = 5


def cross_fitted_scores(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, folds: int = FOLDS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Combine attacks by logistic regression, each fold scored by a model fitted on the others.

    Each fold's logits are standardized by the non-members that the fold's model was fitted on, so that the folds share
    one scale. The scores of two folds come from different models and are not independent of each other; the interval
    of a TPR computed from them is approximate.

    Args:
        member_scores: (members, attacks), higher = more likely member.
        nonmember_scores: (non-members, attacks).
        folds: number of folds, at least 2.
        seed: seed of the folds.

    Returns:
        Out-of-fold scores float64 (members,) and (non-members,), higher = more likely member.

    Raises:
        UsageError: shapes differ, fewer than 2 attacks, or fewer images than folds.
        AuditError: scores that are not finite.

    Source: Inspired by the score combination of Dubinski et al. 2025 (CDI); cross-fitting instead of one split is ours.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    members, nonmembers = np.asarray(member_scores, dtype=np.float64), np.asarray(nonmember_scores, dtype=np.float64)
    if members.ndim != 2 or nonmembers.ndim != 2 or members.shape[1] != nonmembers.shape[1] or members.shape[1] < 2:
        raise UsageError(
            f"Scores to combine must be (images, attacks) with at least 2 attacks, got {members.shape} and "
            f"{nonmembers.shape}."
        )
    if folds < 2 or min(len(members), len(nonmembers)) < folds:
        raise UsageError(f"`folds` must be at least 2 and at most the images of a side, got {folds!r}.")
    features = np.concatenate([members, nonmembers])
    if not np.isfinite(features).all():
        raise AuditError(
            f"{int((~np.isfinite(features)).sum())} of the scores to combine are not finite. Leave that attack out."
        )
    labels = np.repeat([1, 0], [len(members), len(nonmembers)])
    combined = np.empty(len(features))
    for fitted, scored in StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(features[fitted], labels[fitted])
        reference = model.decision_function(features[fitted][labels[fitted] == 0])
        spread = float(reference.std()) or 1.0
        combined[scored] = (model.decision_function(features[scored]) - reference.mean()) / spread
    return combined[: len(members)], combined[len(members) :]
