"""A class-conditional model as a new user audits it: a folder of PNGs with labels, three ini lines, assertions."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.plugin.conftest import Project

EXAMPLES = Path(__file__).parents[2] / "example_audits"
sys.path.append(str(EXAMPLES))

from build_digits_classes import split  # noqa: E402  # and with it all that a run in this process would forget
from sklearn.datasets import load_digits  # noqa: E402

AUDITS = """
    from pytest_diffprivacy import assert_mia_auroc_below, assert_no_extraction
    from pytest_diffprivacy.extraction import PromptSearch

    def test_no_training_image_comes_back(diffusion_model, probe_set):
        assert_no_extraction(
            diffusion_model, probe_set, generations=64, steps=5, max_rate=0.1, max_false_match_rate=0.05
        )

    def test_members_are_hidden(diffusion_model, probe_set):
        assert_mia_auroc_below(diffusion_model, probe_set, attack="loss", parameters={"draws": 4}, limit=0.9)

    def test_no_class_brings_an_image_back(diffusion_model, probe_set):
        search = PromptSearch(prompts=[3, 7], images=20, edge_threshold=0.05, guidance_scales=(1.0,))
        assert_no_extraction(diffusion_model, probe_set, search=search, steps=5, max_rate=0.99)
"""
INI = """
    [pytest]
    addopts = -p no:cacheprovider
    filterwarnings = error
    diffprivacy_model = {model}
    diffprivacy_members = members
    diffprivacy_nonmembers = nonmembers
"""


@pytest.fixture
def labelled(project: Project) -> Project:
    """Images of either side with metadata.csv, and the three options."""
    digits = load_digits()
    for side, rows in zip(("members", "nonmembers"), split(), strict=True):
        folder = project.path / side
        folder.mkdir()
        with (folder / "metadata.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file_name", "label"])
            for row in rows[:150]:
                pixels = np.round(digits.images[row] * 255 / 16).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{row}.png")
                writer.writerow([f"{row}.png", digits.target[row]])
    project.write("test_release.py", AUDITS)
    project.write("pytest.ini", INI.format(model=EXAMPLES / "digits-classes"))
    return project


@pytest.mark.slow
def test_three_options_are_all_that_a_class_conditional_audit_needs(labelled: Project) -> None:
    report = labelled.path / "audit.json"
    result = labelled.run(f"--diffprivacy-report={report}")
    assert result.last.startswith("3 passed"), result.last
    claims = {claim["kind"] + claim["id"]: claim for claim in json.loads(report.read_text())["claims"]}
    told = [claim["asked"] for claim in claims.values()]
    assert sorted((one["conditioning"], one["prompts"], one["classes"]) for one in told) == [
        ("class", 2, 11), ("class", 10, 11), ("class", 10, 11)
    ]  # fmt: skip
    notes = " ".join(note for claim in claims.values() for note in claim["notes"])
    assert "1 of the model's 11 classes were not generated from, for no member has them (10)" in notes
    controls = [(c["kind"], c["outcome"]) for claim in claims.values() for c in claim["controls"]]
    assert controls.count(("wiring", "held")) == 5  # of the network in each claim, of seeds in those that generate


def test_a_plan_of_a_class_conditional_audit_says_that_there_is_no_null_label(labelled: Project) -> None:
    result = labelled.run("--diffprivacy-plan")
    assert "11 and no null label: every image is asked for with its class" in result.text


def test_without_labels_the_error_names_the_column_and_the_null_label(labelled: Project) -> None:
    for side in ("members", "nonmembers"):
        (labelled.path / side / "metadata.csv").unlink()
    result = labelled.run("-k", "comes_back")
    text = result.text
    assert "the members have no classes to generate from" in text
    assert "diffprivacy_captions = label" in text
    assert "diffprivacy_null_label" in text


def test_labels_of_one_side_alone_are_refused_where_both_are_compared(labelled: Project) -> None:
    (labelled.path / "nonmembers" / "metadata.csv").unlink()
    result = labelled.run("-k", "hidden")
    assert "The members have prompts and the non-members have none" in result.text
