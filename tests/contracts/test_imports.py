"""Does the plugin cost people anything who merely have it installed?"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pytest_diffprivacy

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "scipy", "diffusers", "transformers", "sklearn", "matplotlib", "jinja2", "pydantic", "PIL")
REPORT = f"""
import sys
loaded = [name for name in {HEAVY} if name in sys.modules]
print("LOADED", *loaded)
"""
COLLECT = """
import pytest
code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "test_unrelated.py"])
assert code == 0, code
"""


def loaded_by(code: str, folder: Path) -> list[str]:
    """Which of the heavy libraries a new interpreter has loaded after running this code."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    return line.split()[1:]


@pytest.fixture
def unrelated(tmp_path: Path) -> Path:
    """A suite that knows nothing of audits."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_unrelated.py").write_text("def test_sum():\n    assert 1 + 1 == 2\n")
    return tmp_path


def test_importing_package_and_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    assert (
        loaded_by("import pytest_diffprivacy, pytest_diffprivacy.plugin, pytest_diffprivacy.options\n", tmp_path) == []
    )


def test_bounds_load_of_scipy_what_they_need(tmp_path: Path) -> None:
    """scipy.stats takes half a second, and `verify` reads bounds of a few special functions."""
    code = "import sys, pytest_diffprivacy.statistics\nassert 'scipy.stats' not in sys.modules\n"
    assert loaded_by(code, tmp_path) == ["numpy", "scipy"]


@pytest.mark.slow
def test_collecting_an_unrelated_suite_loads_nothing_heavy(unrelated: Path) -> None:
    assert loaded_by(COLLECT + "import sys\nassert 'pytest_diffprivacy.plugin' in sys.modules\n", unrelated) == []


@pytest.mark.slow
def test_the_check_sees_what_is_loaded(unrelated: Path) -> None:
    assert loaded_by("from pytest_diffprivacy import Verdict\n", unrelated)[:2] == ["numpy", "scipy"]
    (unrelated / "test_unrelated.py").write_text("import numpy\n\ndef test_sum(): ...\n")
    assert loaded_by(COLLECT, unrelated) == ["numpy"]


def test_the_directions_of_import_are_written_down_for_every_room() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    package = Path(pytest_diffprivacy.__file__).parent
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    rooms |= {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    assert named == {f"pytest_diffprivacy.{room}" for room in rooms}
    forbidden = {frozenset(c["forbidden_modules"]) for c in settings["contracts"] if c["type"] == "forbidden"}
    assert frozenset({"pytest", "_pytest"}) in forbidden
    assert any("torch" in modules for modules in forbidden)
