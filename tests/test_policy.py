"""What does a policy bind, and what is a claim that is looser?"""

from __future__ import annotations

from pathlib import Path

import pytest

import pytest_diffprivacy
from pytest_diffprivacy.audit.claim import Claim
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.policy import find_policy, read_policy

TWO = """
[tool.diffprivacy.policy]
no_extraction = { limit = 0.001, delta = 0.15 }
mia_tpr_below = [{ max_fpr = 0.01, limit = 0.05 }, { max_fpr = 0.001, limit = 0.01 }]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    return path


def test_entries_are_read_in_order_and_the_hash_depends_on_their_content_alone(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, TWO))
    assert [entry.sentence for entry in policy.entries] == [
        "no_extraction: limit 0.001, delta 0.15",
        "mia_tpr_below: max_fpr 0.01, limit 0.05",
        "mia_tpr_below: max_fpr 0.001, limit 0.01",
    ]
    again = read_policy(written(tmp_path, "# a comment\n" + TWO.replace("{ limit = 0.001,", "{limit=1e-3,")))
    other = read_policy(written(tmp_path, TWO.replace("0.15", "0.1")))
    assert policy.sha256 == again.sha256 != other.sha256


@pytest.mark.parametrize("text", ["", "[tool.ruff]\n", "[tool.diffprivacy]\nx = 1\n"])
def test_without_a_table_there_is_no_policy(tmp_path: Path, text: str) -> None:
    assert read_policy(written(tmp_path, text)) is None
    assert read_policy(tmp_path / "none.toml") is None


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"limit": 0.001, "delta": 0.15}, None),
        ({"limit": 0.0005, "delta": 0.2}, None),  # fewer copies allowed, and more counted as copies
        ({"limit": 0.01, "delta": 0.15}, r"limit 0\.01 \(policy: 0\.001\)\. Tighten"),
        ({"limit": 0.001, "delta": 0.1}, r"got delta 0\.1 \(policy: 0\.15\)\. Tighten"),
        ({"limit": 0.001}, r"got no delta \(policy: 0\.15\)"),
    ],
)
def test_a_claim_may_be_stricter_and_not_looser(tmp_path: Path, terms: dict[str, float], message: str | None) -> None:
    policy = read_policy(written(tmp_path, TWO))
    if message is None:
        policy.check("no_extraction", terms)
    else:
        with pytest.raises(UsageError, match=message):
            policy.check("no_extraction", terms)


@pytest.mark.parametrize(
    ("claim", "term", "strict", "loose"),
    [
        ("erased", "margin", 0.05, 0.4),
        ("erased", "max_copies", 0.01, 0.5),
        ("erased", "delta", 0.2, 0.1),
        ("finetune_not_extractable", "copy_from", 0.9, 0.99),
        ("mia_tpr_below", "max_fpr", 0.01, 0.001),
        ("sharpness_below", "reference_quantile", 0.9, 0.999),
        ("sharpness_below", "sharp_above", 1.0, 100.0),
        ("epsilon_lower_bound_below", "delta", 0.125, 0.5),
        ("no_extraction", "delta", 0.5, 0.125),
    ],
)
def test_more_of_a_term_is_stricter_where_more_is_then_found(tmp_path, claim, term, strict, loose):
    entry = f"{claim} = {{ limit = 0.1, {term} = {(strict + loose) / 2} }}"
    policy = read_policy(written(tmp_path, f"[tool.diffprivacy.policy]\n{entry}"))
    policy.check(claim, {"limit": 0.1, term: strict})
    with pytest.raises(UsageError, match=f"{term} {loose:g} .policy"):
        policy.check(claim, {"limit": 0.1, term: loose})


def test_a_claim_has_no_term_of_which_a_policy_does_not_know_the_direction():
    with pytest.raises(UsageError, match="got tightness"):
        Claim(kind="x", slug="x", sentence="x", limit=0.1, headlines={}, confidence=0.95, terms={"tightness": 1.0})


def test_of_several_entries_a_claim_must_cover_one(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, TWO))
    policy.check("mia_tpr_below", {"limit": 0.05, "max_fpr": 0.01})
    policy.check("mia_tpr_below", {"limit": 0.01, "max_fpr": 0.001})
    with pytest.raises(UsageError, match=r"got max_fpr 0\.001 \(policy: 0\.01\); or limit 0\.05 \(policy: 0\.01\)"):
        policy.check("mia_tpr_below", {"limit": 0.05, "max_fpr": 0.001})
    policy.check("not_named_by_the_policy", {"limit": 9.0})


def test_what_no_claim_covers_is_lacking(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, TWO))
    strict = ("mia_tpr_below", {"limit": 0.01, "max_fpr": 0.01})
    lacking = [entry.sentence for entry in policy.lacking([strict])]
    assert lacking == ["no_extraction: limit 0.001, delta 0.15"]  # one strict claim covers both entries of its name
    assert len(policy.lacking([])) == 3


def test_every_claim_can_be_bound_by_its_name() -> None:
    folder = Path(pytest_diffprivacy.__file__).parent / "claims"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    claims = [name.removeprefix("assert_") for name in pytest_diffprivacy.__all__ if name.startswith("assert_")]
    assert claims
    assert [claim for claim in claims if f'"{claim}"' not in source] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("assert_mia_tpr_below = { limit = 0.1 }", "Leave out 'assert_'"),
        ("mia_tpr_below = 0.1", "must be a table with a `limit`"),
        ("mia_tpr_below = []", "must be a table with a `limit`"),
        ("mia_tpr_below = { max_fpr = 0.1 }", "must be a table with a `limit`"),
        ("mia_tpr_below = { limit = 0.1, fpr = 0.1 }", "must use the terms .*max_fpr.*, got 'fpr'"),
        ("mia_tpr_below = { limit = 'low' }", "must be a finite number, got 'low'"),
        ("mia_tpr_below = { limit = nan }", "must be a finite number, got nan"),
        ("mia_tpr_below = {", "cannot be read as TOML"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_policy(written(tmp_path, f"[tool.diffprivacy.policy]\n{line}\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed = 1.5", r"seed must be a whole number, got 1\.5"),
        ("least = 3", "least must be a table of roles and whole numbers, got 3"),
        ("model_digest = 3", "model_digest must be a digest or a list of such, got 3"),
        ('sha256 = "0"', r"must have the sha256 that it names, got [0-9a-f]{64}\. It was changed"),
    ],
)
def test_a_pin_that_cannot_be_kept_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_policy(written(tmp_path, f"[tool.diffprivacy.policy]\n{line}\n"))


def test_a_policy_can_pin_its_own_hash_and_what_a_claim_must_be_about(tmp_path: Path) -> None:
    pins = 'seed = 3\nmodel_digest = "sha256:AB"\nprobes_digest = ["cd"]\nleast = { member = 10 }\n'
    policy = read_policy(written(tmp_path, TWO + pins))
    assert read_policy(written(tmp_path, TWO + pins + f'sha256 = "{policy.sha256}"\n')).sha256 == policy.sha256
    assert policy.pins.sentences == ("model_digest ab", "probes_digest cd", "least 10 member", "seed 3")
    assert policy.pins.met([("cd", "member", 10)], 3)
    assert not policy.pins.met([("cd", "member", 10)], 4)
    assert not policy.pins.met([("cd", "member", 9)], 3)
    assert not policy.pins.met([("ef", "member", 10)], 3)


def test_a_nearer_and_looser_policy_is_named_beside_the_one_above_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    written(tmp_path, TWO + "seed = 0\n")
    below = tmp_path / "audits"
    below.mkdir()
    written(below, TWO.replace("0.001, delta", "0.1, delta"))
    found = find_policy(below)
    assert found.origin.parent == below
    assert found.above == (
        f"The policy of audits/pyproject.toml bound the run; it is looser than that of {tmp_path.name} above it: "
        "no_extraction: limit 0.001, delta 0.15; seed 0.",
    )
    written(below, TWO + "seed = 0\n")
    assert find_policy(below).above == ()
