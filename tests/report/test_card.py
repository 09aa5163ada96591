"""A model card gets one block and results in its metadata, which later runs replace; everything else in it stays."""

import pytest
from huggingface_hub import ModelCard

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.options.outputs import withdraw_card
from pytest_diffprivacy.report import update_card
from pytest_diffprivacy.report.card import BEGIN, END, card_block

CARD = "---\nlicense: mit\n---\n# Digits\n\nA model.\n"


def test_a_block_is_appended_once_and_then_replaced(run, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(CARD)
    update_card(run, path)
    first = path.read_text()
    assert first.startswith("---\nlicense: mit\nmodel-index:")
    assert "---\n# Digits\n\nA model.\n" in first
    assert first.count(BEGIN) == first.count(END) == 1
    path.write_text(first + "\n## Below\n")
    update_card(run.model_copy(update={"verdict": "PASS"}), path)
    second = path.read_text()
    assert second.startswith("---\nlicense: mit\nmodel-index:")
    assert second.endswith("\n## Below\n")
    assert second.count(BEGIN) == 1
    assert "\nPASS: " in second
    assert "\nERROR: " not in second


def test_a_card_that_is_not_there_is_made(run, tmp_path):
    update_card(run, tmp_path / "new.md")
    assert (tmp_path / "new.md").read_text().partition("\n---\n")[2] == "\n" + card_block(run) + "\n"


def test_line_endings_are_kept(run, tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(CARD.replace("\n", "\r\n").encode())
    update_card(run, path)
    content = path.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n")


def test_it_names_attacks_verdicts_and_record(run):
    block = card_block(run)
    assert "SecMI\\, statistic" not in block
    assert "SecMI, statistic (grey box)" in block
    assert "FAIL, a demonstration" in block


@pytest.mark.parametrize("broken", [BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_broken_block_is_refused_and_the_file_left_alone(run, tmp_path, broken):
    path = tmp_path / "README.md"
    path.write_text(CARD + broken)
    with pytest.raises(UsageError, match=r"such marks in 'README\.md'"):
        update_card(run, path)
    assert path.read_text() == CARD + broken


def test_what_is_no_text_is_refused(run, tmp_path):
    (tmp_path / "card.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvidenceError, match=r"Cannot read '.*card\.md' as UTF-8 text"):
        update_card(run, tmp_path / "card.md")


RESULTS = """\
model-index:
- name: digits
  results:
  - task: {type: image-generation}
    dataset: {type: mnist, name: MNIST}
    metrics:
    - {type: fid, value: 3.5}  # of 50,000
"""
METADATA = "license: mit  # as agreed\ntags:\n- 'digits'\n"


def card_of(text):
    return ModelCard(text, ignore_metadata_errors=False)


def test_hugging_face_reads_the_verdicts_from_the_metadata(run, tmp_path):
    path = tmp_path / "README.md"
    update_card(run, path)
    data = card_of(path.read_text()).data
    assert data.model_name == "checkpoints/release-3"
    verdict, *metrics = data.eval_results
    assert (verdict.metric_type, verdict.metric_value) == ("verdict", "ERROR")
    assert verdict.metric_args["record_sha256"] == record_digest(run)
    judged = [claim for claim in run.claims if claim.node_id not in run.expected_failures]
    assert len(judged) < len(run.claims)
    assert sorted(m.metric_name for m in metrics) == sorted(claim.sentence for claim in judged)
    for claim in judged:
        (metric,) = [m for m in metrics if m.metric_name == claim.sentence]
        assert metric.metric_args["verdict"] == claim.verdict
        assert metric.metric_value == (claim.estimate.value if claim.estimate else claim.verdict)
        assert metric.metric_args["limit"] == claim.limit
        assert metric.dataset_name == "412 member, 409 non-member"
    again = card_of(str(card_of(path.read_text())))  # as its own writer has it
    assert again.data.eval_results == data.eval_results


@pytest.mark.parametrize("before", [METADATA, METADATA + RESULTS, RESULTS + METADATA, RESULTS])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_metadata_of_others_stay_and_ours_are_replaced(run, tmp_path, before, newline):
    path = tmp_path / "README.md"
    path.write_bytes(f"---\n{before}---\n# Digits\n".replace("\n", newline).encode())
    update_card(run, path)
    first = path.read_bytes().decode()
    assert all(line in first for line in METADATA.splitlines() if METADATA in before)
    update_card(run, path)
    assert path.read_bytes().decode() == first
    assert first.count("\n") == first.count(newline)
    results = [(r.dataset_type, r.metric_value) for r in card_of(first).data.eval_results]
    assert (("mnist", 3.5) in results) == (RESULTS in before)
    assert [dataset for dataset, _ in results].count("pytest-diffprivacy") == len(results) - (RESULTS in before)


def test_a_run_that_begins_takes_the_results_of_an_earlier_one_out(run, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"---\n{METADATA}{RESULTS}---\n# Digits\n")
    update_card(run, path)
    withdraw_card(str(path))
    assert [r.dataset_type for r in card_of(path.read_text()).data.eval_results] == ["mnist"]
    path.write_text(f"---\n{METADATA}---\n# Digits\n")
    update_card(run, path)
    withdraw_card(str(path))
    assert path.read_text().startswith(f"---\n{METADATA}---\n# Digits\n")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("a: [1\n", "must be YAML"),
        ("- a\n", "must be a YAML mapping, got list"),
        ("model-index: 3\n", "must be a list of entries with results, got 3"),
        ("model-index:\n- name: a\n", "must be a list of entries with results"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused_and_the_file_left_alone(run, tmp_path, metadata, message):
    path = tmp_path / "README.md"
    path.write_text(f"---\n{metadata}---\n# Digits\n")
    with pytest.raises(UsageError, match=message):
        update_card(run, path)
    assert path.read_text() == f"---\n{metadata}---\n# Digits\n"
