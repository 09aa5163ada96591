"""Where units of work run: in this process, in several, or on a Ray cluster; stored as soon as they are finished."""

from pytest_diffprivacy.engine.cluster import RayExecutor
from pytest_diffprivacy.engine.engine import Engine, current_engine
from pytest_diffprivacy.engine.processes import ProcessExecutor
from pytest_diffprivacy.engine.tasks import GenerationTask, ScoreTask
from pytest_diffprivacy.engine.units import Unit, Work

__all__ = [
    "Engine",
    "GenerationTask",
    "ProcessExecutor",
    "RayExecutor",
    "ScoreTask",
    "Unit",
    "Work",
    "current_engine",
]
