"""SARIF 2.1.0 for code scanning: refuted claims as errors, undecided ones as warnings; one run a model.

What GitHub documents for its code scanning is kept: places are relative to the repository's root, rules are described
in full, and an alert is known by its claim, so that another limit or another line is not another alert.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pytest_diffprivacy.visible import visible

if TYPE_CHECKING:
    from pytest_diffprivacy.evidence.records import Claim, Run

ORDER: Final = 3
EXTENSION: Final = ".sarif"
HELP: Final = (
    "code scanning: SARIF 2.1.0, one run a model: FAIL as error, INCONCLUSIVE as warning; a demonstration is a note, "
    "no alert"
)
SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
TAXONOMY: Final = "MITRE ATLAS"
LEVELS: Final[Mapping[str, str]] = {"FAIL": "error", "INCONCLUSIVE": "warning"}
RULES: Final[Mapping[str, tuple[str, str]]] = {
    "extraction": (
        "Training images come back",
        "The model generates, or restores, images of its training set more often than the audit allows.",
    ),
    "membership": (
        "Training images can be recognised",
        "Somebody with an image can tell from the model whether it was in the training set, more often than the audit "
        "allows.",
    ),
    "sharpness": (
        "The model's density is needle-sharp at training images",
        "The probability landscape of the model is sharper at training images than at others by more than the audit "
        "allows, which is a mark of memorization.",
    ),
    "memorization": (
        "A prompt brings back one image",
        "More of the prompts than the audit allows show the marks of memorization: whatever the seed, the model is "
        "drawn to one image.",
    ),
    "mitigation": (
        "A mitigation leaves copies of training images, or loses what the prompt asked for",
        "After a mitigation the model still copies training images, or no longer follows the prompt, by more than the "
        "audit allows.",
    ),
    "differential privacy": (
        "The model leaks more than its epsilon allows",
        "Planted canaries were recognised so often that epsilon must be larger than the audit allows.",
    ),
}
HELP_TEXT: Final = (
    "The result names the claim, what was measured with its bounds, and the command that judges it again. FAIL: the "
    "lower confidence bound is above the limit. INCONCLUSIVE: neither bound decides; the result says how many probes "
    "would. What to do: remove duplicates of training images, train for less time or with differential privacy, or "
    "filter the output; then audit again. A limit is not raised after its result was seen. The record with all "
    "evidence is checked by `python -m pytest_diffprivacy verify`."
)


def render(run: Run) -> str:
    """The run as SARIF 2.1.0: a result for every FAIL and INCONCLUSIVE, a notification for what was not judged.

    A failure that its test declares a demonstration is a notification as well, since GitHub opens an alert for every
    result, suppressed or not. Where there is one model only the category is left to whoever uploads the file.
    """
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in run.claims:
        model = claim.model
        groups.setdefault((model.name, model.digest) if model else ("scores", ""), []).append(claim)
    names = Counter(name for name, _ in groups)
    runs = []
    for (name, digest), claims in (groups or {("", ""): []}).items():
        part = _run(run, claims)
        if len(groups) > 1:
            category = name if names[name] == 1 else f"{name}/{digest[:12]}"
            part["automationDetails"] = {"id": visible(f"diffprivacy/{category}/{run.run_id}")}
        runs.append(part)
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": runs}, ensure_ascii=True, indent=1) + "\n"


def _run(run: Run, claims: Sequence[Claim]) -> dict[str, Any]:
    """The run as far as it is about one model."""
    from pytest_diffprivacy.evidence.seals import record_digest
    from pytest_diffprivacy.report.mapping import ATLAS

    found = [claim for claim in claims if claim.verdict in LEVELS and not _demonstrated(claim, run)]
    kinds = sorted({claim.kind for claim in found})
    driver: dict[str, Any] = {
        "name": "pytest-diffprivacy",
        "version": visible(run.versions.get("pytest-diffprivacy", "unknown")),
        "rules": [_rule(kind) for kind in kinds],
    }
    judged = run.verdict in ("PASS", "FAIL", "INCONCLUSIVE")
    taxa = dict(ATLAS[kind] for kind in kinds if kind in ATLAS)
    if taxa:
        driver["supportedTaxonomies"] = [{"name": TAXONOMY}]
    listed = [{"id": taxon, "name": name} for taxon, name in taxa.items()]
    return {
        "tool": {"driver": driver},
        "invocations": [
            {"executionSuccessful": judged, "toolExecutionNotifications": list(_notifications(run, claims))}
        ],
        "results": list(_results(run, found, kinds)),
        **({"taxonomies": [{"name": TAXONOMY, "taxa": listed}]} if listed else {}),
        "properties": {
            "run": visible(run.run_id),
            "verdict": visible(run.verdict),
            "recordSha256": record_digest(run),
        },
    }


def _rule(kind: str) -> dict[str, Any]:
    title, description = RULES.get(kind, (kind, f"A claim about {kind} is refuted or undecided."))
    return {
        "id": visible(f"diffprivacy/{kind}"),
        "name": visible(kind),
        "shortDescription": {"text": visible(title)},
        "fullDescription": {"text": visible(description)},
        "help": {"text": HELP_TEXT},
        "properties": {"tags": ["security", "privacy"], "precision": "high", "security-severity": "7.0"},
    }


def _results(run: Run, claims: Sequence[Claim], kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for claim in claims:
        reason = f"{claim.verdict.value}: {claim.headline} Claim: {claim.sentence}. {claim.reason}."
        fingerprint = _fingerprint(claim)
        seen[fingerprint] += 1
        yield {
            "ruleId": visible(f"diffprivacy/{claim.kind}"),
            "ruleIndex": kinds.index(claim.kind),
            "level": LEVELS[claim.verdict],
            "kind": "fail",
            "message": {"text": visible(reason + (f" Needed: {claim.needed}." if claim.needed else ""))},
            "locations": [_location(run, claim)],
            **_taxa(claim),
            "partialFingerprints": {"primaryLocationLineHash": f"{fingerprint}:{seen[fingerprint]}"},
            "properties": {"claim": visible(claim.id), "limit": claim.limit, "redo": visible(claim.redo)},
        }


def _taxa(claim: Claim) -> dict[str, Any]:
    """The technique of MITRE ATLAS that the claim is evidence about, where there is one."""
    from pytest_diffprivacy.report.mapping import ATLAS

    if claim.kind not in ATLAS:
        return {}
    return {"taxa": [{"id": ATLAS[claim.kind][0], "toolComponent": {"name": TAXONOMY}}]}


def _location(run: Run, claim: Claim) -> dict[str, Any]:
    """The line that made the claim, in its file below the repository's root."""
    name = claim.node_id.partition("::")[0]
    path = posixpath.normpath(posixpath.join(run.root, name)) if name else "unknown"
    uri = quote(path.encode("utf-8", "replace").decode("utf-8"), safe="/")
    return {
        "physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": claim.line or 1}},
        "logicalLocations": [{"fullyQualifiedName": visible(claim.node_id), "kind": "function"}],
    }


def _fingerprint(claim: Claim) -> str:
    """The same for the same claim of a later run, whatever its limit and its line."""
    subject = f"{claim.node_id}|{claim.kind}|{[method.name for method in claim.methods]}"
    return hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()[:16]


def _demonstrated(claim: Claim, run: Run) -> bool:
    return claim.verdict == "FAIL" and claim.node_id in run.expected_failures


def _notifications(run: Run, claims: Sequence[Claim]) -> Iterator[dict[str, Any]]:
    for claim in claims:
        error = claim.verdict == "ERROR"
        if error or _demonstrated(claim, run):
            text = f"{'Not judged' if error else 'Refuted, as a demonstration'}: {claim.sentence}. {claim.reason}"
            level = "error" if error else "note"
            yield {"level": level, "message": {"text": visible(text)}, "locations": [_location(run, claim)]}
    for text in run.missing:
        yield {"level": "error", "message": {"text": visible(f"No record of this audit test: {text}")}}
