"""A project with audits, what the user sees when it runs, and what is on disk afterwards."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.evidence.arrays import read_arrays
from pytest_diffprivacy.evidence.private_ids import SECRET_BYTES, SECRET_FILE
from pytest_diffprivacy.evidence.records import Claim, Run

SURVIVE = (
    "pytest_diffprivacy.claims",
    "pytest_diffprivacy.evidence.runs",
    "pytest_diffprivacy.report.sections",
    "pytest_diffprivacy.report.write",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.pipeline",
)
for name in SURVIVE:  # a run in this process forgets the modules that it was the first to import
    import_module(name)

INI = "[pytest]\naddopts = -p no:cacheprovider\nfilterwarnings = error\n"

SCORES = """
    import numpy as np
    import pytest
    from pytest_diffprivacy import PrivacyViolation, assert_mia_tpr_below

    def scores(shift, members=400, nonmembers=400):
        rng = np.random.default_rng(7)
        return rng.normal(shift, 1.0, members), rng.normal(0.0, 1.0, nonmembers)

    HIDDEN, LEAKING = scores(0.0), scores(3.0)
"""

MODEL = """
    import os
    import signal
    import numpy as np
    import pytest
    import torch
    from pytest_diffprivacy import ProbeSet, assert_mia_tpr_below
    from pytest_diffprivacy.models import ideal_denoiser

    torch.set_num_threads(1)  # alike alone and in workers, and faster for models this small
    IMAGES = np.random.default_rng(3).random((1200, 1, 4, 4)).astype(np.float32)

    @pytest.fixture(scope="session")
    def diffusion_model():
        model = ideal_denoiser(torch.from_numpy(IMAGES[:600]))
        honest, calls = model.predict_eps, []

        def predict_eps(x_t, timestep, conditioning=None):
            calls.append(timestep)
            if len(calls) > int(os.environ.get("DIE_AFTER_CALLS", 1_000_000)):
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(x_t, timestep, conditioning)

        model.predict_eps = predict_eps
        return model

    @pytest.fixture(scope="session")
    def probe_set():
        return ProbeSet(IMAGES[:600], IMAGES[600:])
"""


def source(*parts: str) -> str:
    """Python source from indented parts, each dedented on its own."""
    return "\n".join(textwrap.dedent(part) for part in parts)


@dataclass(frozen=True)
class Seen:
    """One finished run: exit code, what it printed, and what went to stderr (progress and usage errors)."""

    exit_code: int
    text: str
    errors: str

    @property
    def lines(self) -> list[str]:
        """The terminal, a line a line."""
        return self.text.splitlines()

    @property
    def last(self) -> str:
        """The last line without its rule and its time."""
        return self.lines[-1].strip("= ").rpartition(" in ")[0]

    def line(self, start: str) -> str:
        """The only line that starts like this, leading spaces left aside."""
        found = [line.strip() for line in self.lines if line.strip().startswith(start)]
        assert len(found) == 1, (start, found, self.text)
        return found[0]

    @property
    def tracebacks_into_us(self) -> list[str]:
        """Lines of the terminal that point into the package's own files."""
        return [line for line in self.lines if "pytest_diffprivacy/" in line and ".py:" in line]


class Project:
    """A folder with audits."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.path = pytester, pytester.path
        self.ini()

    def ini(self, **keys: str) -> None:
        """Write pytest.ini, with these keys besides the usual ones."""
        self.write("pytest.ini", INI + "".join(f"{key} = {value}\n" for key, value in keys.items()))

    def write(self, name: str, *parts: str) -> Path:
        """Write a file of the project."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source(*parts))
        return path

    def images(self, name: str, images: np.ndarray) -> Path:
        """Write grey images (n, h, w) in 0..255 as a folder of PNG files."""
        folder = self.path / name
        folder.mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image.astype(np.uint8)).save(folder / f"{index:03}.png")
        return folder

    def run(self, *arguments: str | Path) -> Seen:
        """`pytest ...` in this process."""
        result = self.pytester.runpytest_inprocess(*arguments)
        return Seen(int(result.ret), result.stdout.str(), result.stderr.str())

    def run_alone(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Seen:
        """`pytest ...` in a process of its own."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            result = self.pytester.runpytest_subprocess(*arguments)
        return Seen(int(result.ret), result.stdout.str(), result.stderr.str())

    def stores_of_one_secret(self, *stores: str) -> None:
        """Evidence folders that name the same image alike; each folder has a secret of its own otherwise."""
        for store in stores:
            (self.path / store).mkdir()
            (self.path / store / SECRET_FILE).write_bytes(bytes(SECRET_BYTES))

    def run_folders(self, store: str = ".diffprivacy") -> list[Path]:
        """The folders of all runs so far, oldest first."""
        return sorted((self.path / store / "runs").glob("*"), key=lambda path: path.stat().st_ctime_ns)

    def record(self, store: str = ".diffprivacy") -> Run:
        """The record of the last run."""
        return Run.model_validate_json((self.run_folders(store)[-1] / "run.json").read_bytes())

    def claim(self, store: str = ".diffprivacy") -> Claim:
        """The only claim of the last run."""
        (path,) = (self.run_folders(store)[-1] / "claims").glob("*.json")
        return Claim.model_validate_json(path.read_bytes())

    def units(self, store: str = ".diffprivacy") -> list[tuple[str, str]]:
        """(computed or reused, label) of every unit of the last run, in the order of the events file."""
        lines = (self.run_folders(store)[-1] / "events.jsonl").read_text().splitlines()
        return [(event["event"], event["unit"]) for event in map(json.loads, lines) if "unit" in event]

    def scores(self, store: str = ".diffprivacy") -> dict[str, np.ndarray]:
        """The stored scores behind the only claim of the last run."""
        (path,) = (self.run_folders(store)[-1] / "evidence").glob("*.safetensors")
        return read_arrays(path)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, on no particular machine: pytest and we say more where a CI system's variables are set."""
    ours = ("PYTEST_DIFFPRIVACY", "PYTEST_XDIST", "GITHUB_", "CI", "BUILD_NUMBER")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    return Project(pytester)
