"""The detection table: nothing that is chosen rests on what is scored, and a stopped run goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_diffprivacy import load_model
from pytest_diffprivacy.memorization import DETECTORS, PromptSampling, watch_prompts
from tests.benchmarks import detection_watch
from tests.benchmarks.detection_paper import ENTRIES, PAPER, printed
from tests.benchmarks.detection_table import attention_layers, figures_of, halves
from tests.benchmarks.detection_watch import watched

PIPELINE = Path(__file__).parents[1] / "golden" / "text_to_image" / "pipeline"
PROMPTS = ["a cat", "a dog", "a cow"]
ASKED = {name: DETECTORS[name]() for name in ("score_difference", "bright_ending", "tiled_l2")}


def test_the_halves_share_no_prompt_and_leave_none_out():
    first, second = halves()
    assert not set(first.prompts) & set(second.prompts)
    assert [len(kind) for kind in (second.exact, second.partial, second.others)] == [60, 20, 300]
    assert len(set(first.prompts + second.prompts)) == 560
    assert second.prompts[: second.memorized] == second.exact + second.partial


def test_parts_give_what_one_run_gives_and_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(detection_watch, "CHUNK", 2)
    monkeypatch.setattr(detection_watch, "BLOCK", 2)
    model, sampling = load_model(PIPELINE, dtype="float32"), PromptSampling(4, 12, 7.5)
    whole = watch_prompts(model, PROMPTS, ASKED, sampling)
    parts = watched(model, PROMPTS, ASKED, sampling, tmp_path, what="test")
    for title, one in ASKED.items():
        np.testing.assert_allclose(one.scores(parts[title]), one.scores(whole[title]), rtol=1e-3)
    assert len(list(tmp_path.iterdir())) == 4
    monkeypatch.setattr(detection_watch, "watch_prompts", lambda *_, **__: pytest.fail("sampled again"))
    again = watched(model, PROMPTS, ASKED, sampling, tmp_path, what="test")
    assert all((again[t][key] == parts[t][key]).all() for t in parts for key in parts[t])


def test_layers_are_counted_where_the_detector_counts_them():
    model = load_model(PIPELINE, dtype="float32")
    count = attention_layers(model, "a cat")
    DETECTORS["layerwise_entropy"](layer=count - 1)
    assert count == sum(name.endswith("attn2") for name, _ in model.network.named_modules())


def test_the_paper_s_rows_are_ours():
    for rows in PAPER.values():
        assert {title for title, _ in rows} == set(ENTRIES) - {"anisotropy"}
    assert str(printed("v_prediction", "BE", 4)) == "0.990 / 0.945"
    assert printed("epsilon", "anisotropy", 4) is None


def test_jeon_is_held_against_the_lower_bound_of_wen():
    titles = ("BE", "AE", "tiled l2", "Wen, 1 step", "Wen, 50 steps", "Jeon, 1 step", "LE, layer 6")
    rows = [{"title": title, "n": 4, "auc": [0.95, 0.94, 0.96]} for title in titles]
    found = {figure.what: figure for figure in figures_of("m", {"LE, chosen layer": 6}, rows)}
    assert found["m: AUC of Jeon, 1 step, against Wen's lower bound, 4 images"].limit == 0.94
    assert not found["m: AUC of Wen, 1 step, 4 images"].met
    assert found["m: AUC of LE at the chosen layer, 4 images"].met
