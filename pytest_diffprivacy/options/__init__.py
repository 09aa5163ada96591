"""Options: which there are, and what they are set to.

A flag `--diffprivacy-x-y` equals the ini key `diffprivacy_x_y` and the environment variable
`PYTEST_DIFFPRIVACY_X_Y`. Precedence: command line > call argument > environment > ini > default. Standard library
only: the plugin imports this room in suites that have no audit at all.
"""

from pytest_diffprivacy.options.declared import BY_NAME, OPTIONS, Option
from pytest_diffprivacy.options.session import Session, activate, active, planning
from pytest_diffprivacy.options.settings import Settings, resolve
from pytest_diffprivacy.options.values import CompareRule

__all__ = [
    "BY_NAME",
    "OPTIONS",
    "CompareRule",
    "Option",
    "Session",
    "Settings",
    "activate",
    "active",
    "planning",
    "resolve",
]
