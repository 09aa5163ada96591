"""The project's policy: limits that no audit may exceed, kept in pyproject.toml beside the audits that it binds.

    [tool.diffprivacy.policy]
    no_extraction = { limit = 0.001, delta = 0.15 }
    mia_tpr_below = [{ max_fpr = 0.01, limit = 0.05 }, { max_fpr = 0.001, limit = 0.01 }]

    seed = 0
    model_digest = "..."                    # or a list; of the model under audit, as its record names it
    probes_digest = ["...", "..."]          # of members, non-members or prompts
    least = { member = 1000, non-member = 1000 }
    sha256 = "..."                          # of the table without this line

A key is the name of an assertion without "assert_", or one of these pins; `limit` is the largest value that its claim
allows. A claim *covers* an entry if it is at least as strict in every term. A test whose claim covers no entry of its
name is looser than the policy and refused; an entry that no claim about a model under audit covers, as the pins demand
it, was not audited, and the run fails. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import UsageError

TABLE: Final = "tool.diffprivacy.policy"
SMALLER_IS_STRICTER: Final = frozenset(
    {"limit", "reference_quantile", "sharp_above", "margin", "max_copies", "copy_from"}
)
SMALLER_THERE: Final = frozenset({("epsilon_lower_bound_below", "delta")})
"""Terms that are stricter the smaller they are in one claim, and the larger elsewhere: delta is no distance there."""

LARGER_IS_STRICTER: Final = frozenset({"confidence", "max_fpr", "delta"})
PINS: Final = frozenset({"model_digest", "probes_digest", "least", "seed"})
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
            if name not in terms or (terms[name] > value if self._smaller(name) else terms[name] < value)
        ]

    def _smaller(self, name: str) -> bool:
        return name in SMALLER_IS_STRICTER or (self.claim, name) in SMALLER_THERE


@dataclass(frozen=True, slots=True)
class Pins:
    """What a claim must be about to cover an entry; what is empty may be anything.

    Attributes:
        models: digests; each is a model under audit.
        probes: digests of image or prompt sets, all of which it must have used.
        least: role of a set -> distinct images or prompts that it must have had.
        seed: of the run.
    """

    models: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    least: tuple[tuple[str, int], ...] = ()
    seed: int | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each pin as a reader of the report sees it."""
        pinned = [f"model_digest {digest}" for digest in self.models]
        pinned += [f"probes_digest {digest}" for digest in self.probes]
        pinned += [f"least {count} {role}" for role, count in self.least]
        return (*pinned, *([] if self.seed is None else [f"seed {self.seed}"]))

    def met(self, sides: Iterable[tuple[str, str, int]], seed: int) -> bool:
        """Whether a claim on these sets (digest, role, count) with this seed is as it is pinned; models aside."""
        digests, counts = set(), {}
        for digest, role, count in sides:
            digests.add(digest)
            counts[role] = count
        enough = all(counts.get(role, 0) >= count for role, count in self.least)
        return enough and digests.issuperset(self.probes) and self.seed in (None, seed)


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that bind every audit of a project.

    Attributes:
        origin: the file.
        entries: in the order of the file.
        sha256: of the table in canonical JSON, without its own `sha256`.
        pins: what a claim must be about.
        above: where a policy above this one is stricter, and in what; empty: nowhere.
    """

    origin: Path
    entries: tuple[Entry, ...]
    sha256: str
    pins: Pins = Pins()
    above: tuple[str, ...] = ()

    def looser_than(self, other: Policy) -> str:
        """In what this policy is looser than another one; empty where it is in nothing."""
        lacking = [entry.sentence for entry in other.lacking((own.claim, own.terms) for own in self.entries)]
        lacking += [pin for pin in other.pins.sentences if pin not in self.pins.sentences]
        return "; ".join(lacking)

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

    The search ends at the top of a repository, and at the root of the file system. Where one further up is stricter,
    the one that binds says so.

    Raises:
        UsageError: a policy cannot be read.
    """
    for folder in folders:
        nearest: Policy | None = None
        for place in (folder, *folder.parents):
            found = read_policy(place / "pyproject.toml")
            if nearest is None:
                nearest = found
            elif found is not None and (looser := nearest.looser_than(found)):
                name = f"{nearest.origin.parent.name}/{nearest.origin.name}"
                text = f"The policy of {name} bound the run; it is looser than that of {place.name} above it: {looser}."
                nearest = replace(nearest, above=(*nearest.above, text))
            if (place / ".git").exists():
                break
        if nearest is not None:
            return nearest
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
    kept = {name: value for name, value in table.items() if name != "sha256"}
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"), default=str)
    own = hashlib.sha256(canonical.encode()).hexdigest()
    if table.get("sha256", own) != own:
        raise UsageError(f"[{TABLE}] must have the sha256 that it names, got {own}. It was changed: have it approved.")
    claims = {name: given for name, given in kept.items() if name not in PINS}
    entries = tuple(entry for claim, given in claims.items() for entry in _entries(claim, given))
    return Policy(path, entries, own, _pins(kept))


def _pins(table: Mapping[str, Any]) -> Pins:
    least, seed = table.get("least", {}), table.get("seed")
    if not isinstance(least, dict) or any(type(count) is not int for count in least.values()):
        raise UsageError(f"[{TABLE}] least must be a table of roles and whole numbers, got {least!r}.")
    if seed is not None and type(seed) is not int:
        raise UsageError(f"[{TABLE}] seed must be a whole number, got {seed!r}.")
    models, probes = (_digests(name, table.get(name, [])) for name in ("model_digest", "probes_digest"))
    return Pins(models, probes, tuple(least.items()), seed)


def _digests(name: str, given: object) -> tuple[str, ...]:
    digests: list[Any] = given if isinstance(given, list) else [given]
    if not all(isinstance(digest, str) and digest for digest in digests):
        raise UsageError(f"[{TABLE}] {name} must be a digest or a list of such, got {given!r}.")
    return tuple(digest.removeprefix("sha256:").lower() for digest in digests)


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
