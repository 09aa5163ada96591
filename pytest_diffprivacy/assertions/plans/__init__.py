"""What will a claim cost, and what can its probes show? The plan of every public claim; no model is asked."""

from pytest_diffprivacy.assertions.plans.epsilon import planned_epsilon
from pytest_diffprivacy.assertions.plans.means import planned_difference, planned_effect
from pytest_diffprivacy.assertions.plans.mitigations import planned_mitigation
from pytest_diffprivacy.assertions.plans.planned import Planned, sides
from pytest_diffprivacy.assertions.plans.prompts import planned_prompt_table, planned_prompts
from pytest_diffprivacy.assertions.plans.ranking import planned_auroc
from pytest_diffprivacy.assertions.plans.searches import evaluations_a_step, planned_search
from pytest_diffprivacy.assertions.plans.shares import planned_rate, planned_tpr

__all__ = [
    "Planned",
    "evaluations_a_step",
    "planned_auroc",
    "planned_difference",
    "planned_effect",
    "planned_epsilon",
    "planned_mitigation",
    "planned_prompt_table",
    "planned_prompts",
    "planned_rate",
    "planned_search",
    "planned_tpr",
    "sides",
]
