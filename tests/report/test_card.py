"""A model card gets one block, which later runs replace; everything else in it stays."""

import pytest

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.report import update_card
from pytest_diffprivacy.report.write import BEGIN, END, card_block

CARD = "---\nlicense: mit\n---\n# Digits\n\nA model.\n"


def test_a_block_is_appended_once_and_then_replaced(run, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(CARD)
    update_card(run, path)
    first = path.read_text()
    assert first.startswith(CARD)
    assert first.count(BEGIN) == first.count(END) == 1
    path.write_text(first + "\n## Below\n")
    update_card(run.model_copy(update={"verdict": "PASS"}), path)
    second = path.read_text()
    assert second.startswith(CARD)
    assert second.endswith("\n## Below\n")
    assert second.count(BEGIN) == 1
    assert "\nPASS: " in second
    assert "\nERROR: " not in second


def test_a_card_that_is_not_there_is_made(run, tmp_path):
    update_card(run, tmp_path / "new.md")
    assert (tmp_path / "new.md").read_text() == card_block(run) + "\n"


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
