"""Is the landscape needle-sharp here? Norms of the score and of its product with the Hessian; higher = sharper."""

from pytest_diffprivacy.sharpness.hessian_score import hessian_score_scores
from pytest_diffprivacy.sharpness.products import hessian_score_product, score
from pytest_diffprivacy.sharpness.score_norm import score_norm_scores

__all__ = ["hessian_score_product", "hessian_score_scores", "score", "score_norm_scores"]
