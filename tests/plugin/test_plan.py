"""What does a plan say, and what does it leave alone?"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.plugin.conftest import MODEL, Project

AUDITS = """
    from pytest_diffprivacy import assert_finetune_adds_no_leak
    from pytest_diffprivacy import assert_mia_tpr_below, assert_no_extraction, assert_sharpness_below

    def test_extraction(diffusion_model, probe_set):
        assert_no_extraction(diffusion_model, probe_set, generations=1000, max_rate=0.001)

    def test_members_and_landscape(diffusion_model, probe_set):
        claim = assert_mia_tpr_below(diffusion_model, probe_set, attack="secmi", max_fpr=0.05, limit=0.3)
        assert claim.value is None
        assert_sharpness_below(diffusion_model, probe_set, images_per_prompt=4, reference_quantile=0.95, limit=0.4)
        assert_finetune_adds_no_leak(diffusion_model, diffusion_model, probe_set, max_fpr=0.05, limit=0.1)
"""


@pytest.fixture
def unread(project: Project) -> Project:
    """A project whose model has no weights and whose images are none: whoever reads either fails."""
    (project.path / "model").mkdir()
    (project.path / "model" / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    for name, count in (("members", 80), ("heldout", 90)):
        folder = project.path / name
        folder.mkdir()
        for index in range(count):
            (folder / f"{index:03}.png").write_bytes(b"not an image")
    project.ini(diffprivacy_model="model", diffprivacy_members="members", diffprivacy_nonmembers="heldout")
    project.write("test_release.py", AUDITS)
    return project


def test_every_claim_has_a_plan_without_a_model_or_an_image_being_read(unread: Project) -> None:
    seen = unread.run("--diffprivacy-plan")
    assert seen.exit_code == 0
    assert seen.last == "2 planned"
    text = seen.text
    assert "Share of generations that copy a training image is at most 0.001" in text
    assert "1000 generations, 80 members, 90 non-members" in text
    assert "2995 generations without a copy are needed" in text
    assert "50 network evaluations a generation, 50000 in all; time unknown: no earlier run tells" in text
    assert "TPR at FPR <= 0.05 is at most 0.3 (SecMI (statistic))" in text
    assert "80 members, 90 non-members, duplicates counted" in text
    assert "at least 72 non-members; the smallest share that these show with probability 0.8 is" in text
    assert "11 network evaluations an image, 1870 in all" in text
    assert "Share of training images sharper than the 0.95 quantile" in text
    assert "TPR of the increase at FPR <= 0.05 is at most 0.1 above chance (Denoising loss)" in text
    assert "40 network evaluations an image, 6800 in all" in text
    assert not (unread.path / ".diffprivacy").exists()


def test_alone_and_with_two_workers_the_plans_are_the_same(unread: Project) -> None:
    def plans(text: str) -> list[str]:
        return sorted(re.findall(r"(?:Share|TPR|  to pass|  to fail|  cost).*", text))

    assert plans(unread.run("--diffprivacy-plan").text) == plans(unread.run("--diffprivacy-plan", "-n", "2").text)


def test_the_time_follows_from_earlier_runs(project: Project) -> None:
    project.write(
        "test_release.py",
        MODEL,
        """
        def test_members_hidden(diffusion_model, probe_set):
            assert_mia_tpr_below(
                diffusion_model, probe_set, attack="loss", parameters={"draws": 2}, max_fpr=0.05, limit=0.2
            )
        """,
    )
    project.run()
    claim = project.claim()
    seen = project.run("--diffprivacy-plan")
    each = claim.work.seconds / 2400
    assert (
        f"2 network evaluations an image, 2400 in all; about {claim.work.seconds:.1f} s at {each:.2g} s each"
        in seen.text
    )
    assert "a model without a leak passes with probability" in seen.text


def test_a_bad_argument_fails_in_a_plan_as_well(unread: Project) -> None:
    unread.write("test_release.py", AUDITS.replace('attack="secmi"', 'attack="secmy"'))
    seen = unread.run("--diffprivacy-plan")
    assert seen.exit_code == 1
    assert "UsageError: " in seen.text


def test_the_number_of_images_is_counted_without_reading(project: Project) -> None:
    from pytest_diffprivacy.probes import ImageSet

    folder = project.images("images", np.zeros((3, 4, 4)))
    images = ImageSet.of(folder, "member")
    assert (images.source_count, len(images)) == (3, 1)
