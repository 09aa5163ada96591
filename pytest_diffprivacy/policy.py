"""The project's policy: limits that no audit may exceed, kept in pyproject.toml beside the audits that it binds.

    [tool.diffprivacy.policy]
    no_extraction = { limit = 0.001, delta = 0.15 }
    mia_tpr_below = [{ max_fpr = 0.01, limit = 0.05 }, { max_fpr = 0.001, limit = 0.01 }]

A key is the name of an assertion without "assert_"; `limit` is the largest value that its claim allows. A claim
*covers* an entry if it is at least as strict in every term. A test whose claim covers no entry of its name is looser
than the policy and refused; an entry that no claim of a run covers was not audited, and the run fails. Standard
library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import UsageError

TABLE: Final = "tool.diffprivacy.policy"
SMALLER_IS_STRICTER: Final = frozenset({"limit", "reference_quantile"})
LARGER_IS_STRICTER: Final = frozenset({"confidence", "max_fpr", "delta", "margin"})
TERMS: Final = tuple(sorted(SMALLER_IS_STRICTER | LARGER_IS_STRICTER))


@dataclass(frozen=True, slots=True)
class Entry:
    """One limit of the policy.

    Attributes:
        claim: name of the assertion without "assert_".
        terms: what a claim must be as strict as.
    """

    claim: str
    terms: Mapping[str, float]

    @property
    def sentence(self) -> str:
        """The entry as a reader of the report sees it."""
        return f"{self.claim}: " + ", ".join(f"{name} {value:g}" for name, value in self.terms.items())

    def looser(self, terms: Mapping[str, float]) -> list[str]:
        """The terms in which a claim is looser than this entry, each with both numbers; empty: it covers the entry."""
        return [
            f"{name} {terms[name]:g} (policy: {value:g})" if name in terms else f"no {name} (policy: {value:g})"
            for name, value in self.terms.items()
            if name not in terms or (terms[name] > value if name in SMALLER_IS_STRICTER else terms[name] < value)
        ]


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that bind every audit of a project.

    Attributes:
        origin: the file.
        entries: in the order of the file.
        sha256: of the table in canonical JSON.
    """

    origin: Path
    entries: tuple[Entry, ...]
    sha256: str

    def check(self, claim: str, terms: Mapping[str, float]) -> None:
        """Refuse a claim that is looser than the policy.

        Raises:
            UsageError: it covers no entry of its name; the message names both numbers.
        """
        own = [entry for entry in self.entries if entry.claim == claim]
        looser = [entry.looser(terms) for entry in own]
        if own and all(looser):
            raise UsageError(
                f"`{claim}` must be at least as strict as [{TABLE}] in {self.origin.name}, got "
                f"{'; or '.join(', '.join(terms) for terms in looser)}. Tighten the test, or change the policy."
            )

    def lacking(self, claims: Iterable[tuple[str, Mapping[str, float]]]) -> tuple[Entry, ...]:
        """The entries that none of these claims (name, terms) covers."""
        judged = list(claims)
        return tuple(
            entry
            for entry in self.entries
            if not any(name == entry.claim and not entry.looser(terms) for name, terms in judged)
        )


def find_policy(*folders: Path) -> Policy | None:
    """The policy that binds what lies in these folders: of the first pyproject.toml that has one, from each upward.

    The search ends at the top of a repository, and at the root of the file system.

    Raises:
        UsageError: a policy cannot be read.
    """
    for folder in folders:
        for above in (folder, *folder.parents):
            found = read_policy(above / "pyproject.toml")
            if found is not None:
                return found
            if (above / ".git").exists():
                break
    return None


def read_policy(path: Path) -> Policy | None:
    """The policy of a pyproject.toml; None where there is no such file or table.

    Raises:
        UsageError: the table is not one of claims and their terms; the message names what is wrong.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # /dev/null may stand for an ini file
        return None
    if b"diffprivacy" not in content:
        return None
    try:
        tool: Any = tomllib.loads(content.decode()).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} cannot be read as TOML: {error}. Correct it.") from None
    table = tool.get("diffprivacy", {}).get("policy")
    if table is None:
        return None
    if not isinstance(table, dict):
        raise UsageError(f"[{TABLE}] must be a table of claims, got {table!r}.")
    entries = tuple(entry for claim, given in table.items() for entry in _entries(claim, given))
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return Policy(path, entries, hashlib.sha256(canonical.encode()).hexdigest())


def _entries(claim: str, given: object) -> list[Entry]:
    tables: list[Any] = given if isinstance(given, list) else [given]
    if not claim.isidentifier() or claim.startswith("assert_"):
        raise UsageError(f"[{TABLE}] must name claims like mia_tpr_below, got {claim!r}. Leave out 'assert_'.")
    if not tables or not all(isinstance(terms, dict) and "limit" in terms for terms in tables):
        raise UsageError(f"[{TABLE}] {claim} must be a table with a `limit`, or a list of such, got {given!r}.")
    return [Entry(claim, {name: _number(claim, name, value) for name, value in terms.items()}) for terms in tables]


def _number(claim: str, name: str, value: object) -> float:
    if name not in TERMS:
        raise UsageError(f"[{TABLE}] {claim} must use the terms {', '.join(TERMS)}, got {name!r}.")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"[{TABLE}] {claim}.{name} must be a finite number, got {value!r}.")
    return float(value)
