"""Where units of work run: in this process, in several, or on a Ray cluster; stored as soon as they are finished."""

from pytest_diffprivacy.engine.budget import Budget
from pytest_diffprivacy.engine.chosen import current_engine, session_engine
from pytest_diffprivacy.engine.cluster import RayWorkers
from pytest_diffprivacy.engine.local import LocalEngine
from pytest_diffprivacy.engine.pool import PooledEngine
from pytest_diffprivacy.engine.processes import ProcessWorkers
from pytest_diffprivacy.engine.tasks import GenerationTask, ScoreTask, generation_units, score_units
from pytest_diffprivacy.engine.units import Engine, Identified, Unit, Work

__all__ = [
    "Budget",
    "Engine",
    "GenerationTask",
    "Identified",
    "LocalEngine",
    "PooledEngine",
    "ProcessWorkers",
    "RayWorkers",
    "ScoreTask",
    "Unit",
    "Work",
    "current_engine",
    "generation_units",
    "score_units",
    "session_engine",
]
