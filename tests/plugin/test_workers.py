"""A whole audit in several workers: not a line of its file changes, and neither does what it concludes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_diffprivacy.evidence.records import Claim
from tests.claims import prompted
from tests.plugin.conftest import Project

AUDIT = """
    import os
    from pathlib import Path
    import numpy as np
    import pytest
    import torch
    from prompted import BROADS, NEEDLES, REFERENCE, prompted_model
    from pytest_diffprivacy import (
        ProbeSet, assert_mia_tpr_below, assert_no_extraction, assert_no_memorized_prompts, assert_sharpness_below
    )
    from pytest_diffprivacy.membership import lira_attack, loss_measure, train_shadows
    from pytest_diffprivacy.models import ideal_denoiser
    from pytest_diffprivacy.probes import ImageSet

    torch.set_num_threads(1)  # alike alone and in workers
    IMAGES = np.random.default_rng(3).random((1400, 1, 4, 4)).astype(np.float32)
    CHEAP = {"draws": 1, "timesteps": (100,)}

    def train(indices, seed):
        folder = Path(os.environ["TRAININGS"])
        (folder / f"{seed} {len(list(folder.iterdir()))}").touch()
        return ideal_denoiser(torch.from_numpy(IMAGES[:600][indices]))

    def error_at_once(model, images):
        x0 = model.encode(images)
        alpha, sigma = model.schedule.at(100)
        x_t = alpha * x0 + sigma * torch.ones_like(x0)
        eps = model.predict_eps(x_t.to(model.dtype), 100, model.condition(None, len(x_t)))
        return -(eps.double() - 1.0).square().flatten(1).mean(1).numpy()

    @pytest.fixture(scope="session")
    def diffusion_model():
        return ideal_denoiser(torch.from_numpy(IMAGES[:300]))

    @pytest.fixture(scope="session")
    def probe_set():
        return ProbeSet(IMAGES[:300], IMAGES[300:600])

    @pytest.fixture(scope="session")
    def shadows():
        pool = ImageSet.of(IMAGES[:600], "image")
        return train_shadows(pool, train, [loss_measure(draws=1), loss_measure(draws=2)], recipe="ideal", models=4)[0]

    def test_no_training_image_comes_back(diffusion_model):
        probes = ProbeSet(IMAGES[:300], IMAGES[600:])
        assert_no_extraction(diffusion_model, probes, generations=600, delta=0.1, max_rate=0.9, steps=4)

    def test_members_hidden(diffusion_model, probe_set):
        assert_mia_tpr_below(
            diffusion_model, probe_set, attack=["loss", "secmi", error_at_once],
            parameters={"loss": CHEAP}, max_fpr=0.05, limit=0.2,
        )

    def test_members_hidden_from_lira(diffusion_model, probe_set, shadows):
        assert_mia_tpr_below(diffusion_model, probe_set, attack=lira_attack(shadows), max_fpr=0.05, limit=0.2)

    def test_no_prompt_brings_back_one_image():
        assert_no_memorized_prompts(
            prompted_model(), NEEDLES + BROADS, reference=REFERENCE, detector="score_difference",
            reference_quantile=0.9, limit=0.6, images_per_prompt=2, sampling_steps=4, guidance_scale=1.0,
        )

    def test_landscape_is_flat(diffusion_model, probe_set):
        assert_sharpness_below(diffusion_model, probe_set, statistic="score_norm", reference_quantile=0.9, limit=0.9)
"""


@pytest.fixture
def audited(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    project.write("audits/prompted.py", Path(prompted.__file__).read_text())
    project.write("audits/test_release.py", AUDIT)
    for store in ("alone", "shared"):
        (project.path / f"{store} trainings").mkdir()
    monkeypatch.setenv("TRAININGS", str(project.path / "alone trainings"))
    return project


def claims(project: Project, store: str) -> dict[str, Claim]:
    folder = project.run_folders(store)[-1] / "claims"
    return {path.stem: Claim.model_validate_json(path.read_bytes()) for path in folder.iterdir()}


def check_alike(audited: Project, *options: str) -> None:
    """The same audit alone and with these options: the same claims and evidence, and all work done by two workers."""
    audited.stores_of_one_secret("alone", "shared")
    alone = audited.run("--diffprivacy-cache-dir=alone")
    shared = audited.run_alone(
        "--diffprivacy-cache-dir=shared", *options, environment={"TRAININGS": str(audited.path / "shared trainings")}
    )
    assert (shared.exit_code, shared.last) == (alone.exit_code, alone.last), shared.text
    ours, theirs = claims(audited, "shared"), claims(audited, "alone")
    assert ours.keys() == theirs.keys()
    assert len(ours) == 5
    for name, claim in ours.items():
        assert claim.incidents == ()
        assert claim.work.units_computed == theirs[name].work.units_computed > 0
        assert claim.model_dump(exclude={"work", "artifacts"}) == theirs[name].model_dump(exclude={"work", "artifacts"})
        hashes = [artifact.sha256 for artifact in claim.artifacts]
        assert hashes == [artifact.sha256 for artifact in theirs[name].artifacts]
        assert len(hashes) == 1

    events = (audited.run_folders("shared")[-1] / "events.jsonl").read_text().splitlines()
    units = [event for event in map(json.loads, events) if "unit" in event]
    assert {event["event"] for event in units} == {"computed", "reused"}
    computed = [event for event in units if event["event"] == "computed"]
    here = {event["unit"].split(" ")[0] for event in computed if "worker" not in event}
    assert here == {"split", "comparing", "near-copies"}  # what asks no model
    assert {event["worker"] for event in computed if "worker" in event} == {0, 1}
    assert sorted(audited.units("alone")) == sorted(audited.units("shared"))
    trained = [seeds_trained(audited.path / f"{store} trainings") for store in ("alone", "shared")]
    assert len(set(trained[0])) == 4
    assert trained[0] == trained[1]


def seeds_trained(folder: Path) -> list[str]:
    """The seed of every training, each of which left a file."""
    return sorted(path.name.split()[0] for path in folder.iterdir())


@pytest.mark.slow
def test_two_processes_conclude_what_one_does(audited: Project) -> None:
    check_alike(audited, "--diffprivacy-workers=2")


# Looked for and not imported: what a test imports beside pytester is forgotten, and Ray cannot be imported twice.
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install pytest-diffprivacy[ray]")
@pytest.mark.slow
def test_a_ray_cluster_concludes_what_one_process_does(audited: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # no politer than the tests
    monkeypatch.setenv("RAY_ADDRESS", "local")  # a cluster of its own, whatever runs on this machine
    check_alike(audited, "--diffprivacy-engine=ray", "--diffprivacy-workers=2")
