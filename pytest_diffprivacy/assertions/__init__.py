"""The public sentences: one claim a file. Each judges, records, and raises unless the claim holds."""

from pytest_diffprivacy.assertions.dataset import assert_dataset_not_inferable
from pytest_diffprivacy.assertions.extraction import assert_no_extraction
from pytest_diffprivacy.assertions.membership import assert_mia_tpr_below
from pytest_diffprivacy.assertions.sharpness import assert_sharpness_below

__all__ = ["assert_dataset_not_inferable", "assert_mia_tpr_below", "assert_no_extraction", "assert_sharpness_below"]
