"""Benchmarks: a script a question. They use the model builders of the example audits, which are scripts in a folder."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "example_audits"))
