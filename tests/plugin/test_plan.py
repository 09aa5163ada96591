"""What does a plan say, and what does it leave alone?"""

from __future__ import annotations

import json
import re
import textwrap

import numpy as np
import pytest

import pytest_diffprivacy
from tests.plugin.conftest import MODEL, Project

AUDITS = """
    from pytest_diffprivacy import assert_finetune_adds_no_leak
    from pytest_diffprivacy import assert_mia_tpr_below, assert_no_extraction, assert_sharpness_below

    def test_extraction(diffusion_model, probe_set):
        assert_no_extraction(diffusion_model, probe_set, generations=1000, max_rate=0.001, max_false_match_rate=0.1)

    def test_members_and_landscape(diffusion_model, probe_set):
        claim = assert_mia_tpr_below(diffusion_model, probe_set, attack="secmi", max_fpr=0.05, limit=0.3)
        assert claim.value is None
        assert_sharpness_below(diffusion_model, probe_set, images_per_prompt=4, reference_quantile=0.95, limit=0.4)
        assert_finetune_adds_no_leak(diffusion_model, diffusion_model, probe_set, max_fpr=0.05, limit=0.1)
"""

ALL_IMPORTS = """
    import numpy as np
    from pytest_diffprivacy import *
    from pytest_diffprivacy.extraction import PromptSearch
    from pytest_diffprivacy.membership import loss_measure, train_shadows
    from pytest_diffprivacy.mitigation import DelayedGuidance
    from pytest_diffprivacy.probes.canaries import toss
"""
PROMPTS = "[f'a picture of {i}' for i in range(90)]"
OTHERS = "[f'a drawing of {i}' for i in range(100)]"
COMPARED = f"""
comparison = compare_mitigations(
    diffusion_model, {PROMPTS}[:12], [np.zeros((1, 4, 4), np.float32)] * 11 + [None],
    mitigations=[DelayedGuidance()], alignment=probe_set.members, images_per_prompt=2,
)
"""
CLAIMS = [  # a claim, its plan's first line, and what the plan must say
    (
        "assert_no_extraction(diffusion_model, probe_set, generations=10, max_rate=0.001)",
        "Share of generations that copy a training image is at most 0.001",
        [
            "to pass  undefined, because 90 non-members calibrate no copy rule",
            "of 0.01: at least 598 non-members are needed",
        ],
    ),
    (
        "assert_no_extraction(diffusion_model, probe_set, generations=1000, max_rate=0.001, max_false_match_rate=0.1)",
        "Share of generations that copy a training image is at most 0.001",
        ["2995 generations without a copy are needed", "50 network evaluations a generation, 50000 in all"],
    ),
    (
        "assert_no_extraction(diffusion_model, probe_set, max_rate=0.01, max_false_match_rate=0.1)",
        "Share of generations that copy a training image is at most 0.01",
        [
            "at most 4096 generations, 80 members",
            "343 generations without a copy are needed, after which generating stops",
            "50 network evaluations a generation, 17150 if nothing leaks, at most 204800 in all",
        ],
    ),
    (
        f"search = PromptSearch(edge_threshold=0.1, prompts={PROMPTS}, images=20)\n"
        "assert_no_extraction(diffusion_model, probe_set, search=search, steps=10, max_rate=0.05)",
        "Share of prompts that bring a training image back is at most 0.05",
        ["68 prompts that bring nothing back are needed", "40800 if nothing leaks, at most 54000 in all"],
    ),
    (
        f"assert_no_memorized_prompts(diffusion_model, {PROMPTS}, reference={OTHERS}, reference_quantile=0.95,"
        " detector='score_difference', limit=0.2)",
        "Share of prompts above the 0.95 quantile of reference prompts is at most 0.2",
        ["90 prompts, 100 reference prompts", "at least 59 reference prompts; the smallest share that these show"],
    ),
    (
        f"assert_sharpness_below(diffusion_model, {PROMPTS}, reference={OTHERS}, reference_quantile=0.95, limit=0.2)",
        "Share of prompts where the landscape is sharper than the 0.95 quantile of reference prompts",
        ["90 prompts, 100 reference prompts", "at least 59 reference prompts; the smallest share that these show"],
    ),
    (
        "assert_sharpness_below(diffusion_model, probe_set, sharp_above=2.0, limit=0.05)",
        "Share of training images sharper than 2 is at most 0.05",
        ["59 members none of which is sharper are needed", "8 network evaluations an image, 640 in all"],
    ),
    (
        "assert_no_reconstruction(diffusion_model, probe_set, images=40, draws=10, limit=0.02)",
        "Hidden parts (left) of members are restored better than those of non-members by at most 0.02 RMS",
        ["40 members, 40 non-members", "in RMS it is undefined until they are measured", "700 network evaluations an"],
    ),
    (
        "assert_not_closer_to_members(diffusion_model, probe_set, generations=400, limit=0.6)",
        "Share of generations nearer to the training set than to as many unseen images is at most 0.6",
        [
            "400 generations, 80 members, 90 non-members",
            "a model without a leak passes with probability",
            "as 114 if all records are nearest",
        ],
    ),
    (
        "assert_dataset_not_inferable(diffusion_model, probe_set, max_effect=0.5)",
        "As a set, members stand out from non-members by at most 0.5 standard deviations (CDI)",
        ["half of each as controls", "at least 20 of each; the smallest effect that these show", "backward passes an"],
    ),
    (
        "assert_dataset_not_inferable(diffusion_model, probe_set)",
        "As a set, members stand out from non-members by at most 0 standard deviations (CDI)",
        ["no number of images passes: no sample shows that an effect is 0"],
    ),
    (
        "assert_mia_tpr_below(diffusion_model, probe_set, max_fpr=0.05, limit=0.3)",
        "TPR at FPR <= 0.05 is at most 0.3 (SecMI (statistic))",
        ["at least 59 non-members; the smallest share that these show", "11 network evaluations an image, 1870 in all"],
    ),
    (
        "assert_mia_tpr_below(np.arange(80.0), np.arange(90.0), max_fpr=0.05, limit=0.3)",
        "TPR at FPR <= 0.05 is at most 0.3 (scores made elsewhere)",
        ["80 members, 90 non-members", "no network evaluation: the scores were made elsewhere"],
    ),
    (
        "assert_mia_auroc_below(diffusion_model, probe_set, limit=0.6)",
        "AUROC is at most 0.6 (SecMI (statistic))",
        ["of each pass with probability 0.8", "at least 6 of each; the smallest AUROC that these show"],
    ),
    (
        "assert_mia_auroc_below(diffusion_model, probe_set, limit=0.6, sequential=True)",
        "AUROC is at most 0.6 (SecMI (statistic), judged in few looks)",
        ["looks after 16, 32, 48, 64, 80 of each, at the first", "a model without a leak passes after 80 in half"],
    ),
    (
        "canaries = CanarySet(np.random.default_rng(1).random((200, 1, 4, 4), dtype=np.float32), toss(200, 5), 5)\n"
        "assert_epsilon_lower_bound_below(diffusion_model, canaries, claimed_epsilon=1.0, delta=0.0)",
        "The lower bound of epsilon at delta 0 is at most the claimed 1 (Denoising loss)",
        ["200 canaries, 40 of them guessed", "right guesses of 40, and the bound can reach 2.5", "4000 in all"],
    ),
    (
        "canaries = CanarySet(np.random.default_rng(1).random((20, 1, 4, 4), dtype=np.float32), toss(20, 5), 5)\n"
        "assert_epsilon_lower_bound_below(diffusion_model, canaries, claimed_epsilon=8.0, delta=0.0)",
        "The lower bound of epsilon at delta 0 is at most the claimed 8 (Denoising loss)",
        ["undefined, because nothing could be refuted", "impossible: if every guess is right the bound is 0"],
    ),
    (
        "assert_finetune_adds_no_leak(diffusion_model, diffusion_model, probe_set, max_fpr=0.05, limit=0.1)",
        "TPR of the increase at FPR <= 0.05 is at most 0.1 above chance (Denoising loss)",
        ["at least 59 non-members", "40 network evaluations an image, 6800 in all"],
    ),
    (
        "assert_erased(diffusion_model, forget=probe_set.members, never_seen=probe_set.nonmembers)",
        "Forgotten images are as unknown as images never seen, within 0.1 (Denoising loss)",
        ["80 images to be forgotten, 90 never seen", "20 network evaluations an image, 3400 in all"],
    ),
    (
        "assert_finetune_not_extractable(diffusion_model, diffusion_model, probe_set, limit=0.1)",
        "Share of fine-tuning images that can be drawn out is at most 0.1",
        ["80 fine-tuning images, 90 others as control", "100 network evaluations a generation, 400000 in all"],
    ),
    (
        "assert_usage_share_below(\n"
        "    diffusion_model, probe_set.members, limit=0.4,\n"
        "    references=train_shadows(probe_set.members, None, [loss_measure(draws=2)], recipe='v1', models=4)[0],\n"
        ")",
        "At most 0.4 of the suspects was used for training (Usage share (DUCI), 4 reference models)",
        ["80 suspects", "0.3 at 0.9 of TPR - FPR", "4 network evaluations an image, 320 in all"],
    ),
    (
        f"{COMPARED}assert_mitigation_reduces_copies(comparison, 'delayed')",
        "Delayed guidance (Jain) leaves at most 0.5 of the copies",
        [
            "11 prompts with 2 images each, 1 left out without training image",
            "8 prompts without a copy left are needed",
        ],
    ),
    (
        f"{COMPARED}assert_mitigation_keeps_alignment(comparison, 'delayed')",
        "Delayed guidance (Jain) loses at most 0.05 of the prompt alignment",
        [
            "as a share it is undefined until they are measured",
            "at least 100 network evaluations an image, 4400 in all",
        ],
    ),
]
ASSERTIONS = [name for name in pytest_diffprivacy.__all__ if name.startswith("assert_")]
LABELS = ["  probes", "  to pass", "  to fail", "  cost"]


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
    assert "at least 59 non-members; the smallest share that these show with probability 0.8 is" in text
    assert "11 network evaluations an image, 1870 in all" in text
    assert "Share of training images sharper than the 0.95 quantile" in text
    assert "TPR of the increase at FPR <= 0.05 is at most 0.1 above chance (Denoising loss)" in text
    assert "40 network evaluations an image, 6800 in all" in text
    assert not (unread.path / ".diffprivacy").exists()


@pytest.mark.parametrize("assertion", ASSERTIONS)
def test_every_public_claim_is_among_the_planned_ones(assertion: str) -> None:
    assert any(f"{assertion}(" in call for call, _, _ in CLAIMS), f"{assertion} has no plan: add its claim here"


def test_every_public_claim_is_planned_with_what_decides_and_what_it_costs(unread: Project) -> None:
    bodies = [textwrap.indent(call, "    ") for call, _, _ in CLAIMS]
    tests = [f"def test_{i}(diffusion_model, probe_set):\n{body}" for i, body in enumerate(bodies)]
    unread.write("test_release.py", ALL_IMPORTS, *tests)
    seen = unread.run("--diffprivacy-plan")
    assert (seen.exit_code, seen.last) == (0, f"{len(CLAIMS)} planned"), seen.text
    for number, (_, sentence, said) in enumerate(CLAIMS):
        plan = seen.text.partition(f"test_release.py::test_{number} ")[2].partition("____ test_release")[0]
        assert sentence in plan
        assert [label for label in LABELS if label not in plan] == [], plan
        assert [words for words in said if words not in plan] == [], plan
        assert "unknown: neither" not in plan
        assert "nan" not in plan
    assert not (unread.path / ".diffprivacy").exists()


@pytest.mark.slow
def test_alone_and_with_two_workers_the_plans_are_the_same(unread: Project) -> None:
    def plans(text: str) -> list[str]:
        return sorted(re.findall(r"(?:Share|TPR|  to pass|  to fail|  cost).*", text))

    assert plans(unread.run("--diffprivacy-plan").text) == plans(unread.run("--diffprivacy-plan", "-n", "2").text)


def test_a_plan_trains_no_shadow_model(unread: Project) -> None:
    unread.write(
        "test_release.py",
        """
        import pytest
        from pytest_diffprivacy import assert_mia_tpr_below
        from pytest_diffprivacy.membership import gsa_attack, gsa_measure, lira_attack, loss_measure, train_shadows
        from pytest_diffprivacy.probes import ImageSet


        def my_train(indices, seed):
            raise AssertionError("a plan trains nothing")


        @pytest.fixture(scope="module")
        def shadows():
            pool, measures = ImageSet.of("members", "image"), [loss_measure(draws=3), gsa_measure()]
            return train_shadows(pool, my_train, measures, recipe="v1", models=8)


        def test_lira(diffusion_model, probe_set, shadows):
            assert_mia_tpr_below(diffusion_model, probe_set, attack=lira_attack(shadows[0]), max_fpr=0.05, limit=0.3)


        def test_gsa(diffusion_model, probe_set, shadows):
            assert_mia_tpr_below(diffusion_model, probe_set, attack=gsa_attack(shadows[1]), max_fpr=0.05, limit=0.3)


        def test_nothing_is_known_of_them(shadows):
            with pytest.raises(Exception, match="Shadow models are not trained while an audit is planned"):
                lira_attack(shadows[0]).scores(None, None)
        """,
    )
    seen = unread.run("--diffprivacy-plan")
    assert seen.exit_code == 0, seen.text
    assert "TPR at FPR <= 0.05 is at most 0.3 (LiRA, 8 shadow models)" in seen.text
    assert "6 network evaluations an image, 1020 in all" in seen.text
    assert "8 shadow models)" in seen.text.partition("GSA, ")[2]


@pytest.mark.slow
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
