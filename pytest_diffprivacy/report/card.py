"""A model card's part of an audit: a block of Markdown, and results in the metadata that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pytest_diffprivacy.errors import EvidenceError, UsageError
from pytest_diffprivacy.evidence.arrays import write_bytes
from pytest_diffprivacy.evidence.records import Claim, Images, Prompts, Run
from pytest_diffprivacy.evidence.seals import record_digest
from pytest_diffprivacy.options.model_index import OURS, with_results
from pytest_diffprivacy.options.outputs import BEGIN, END
from pytest_diffprivacy.report.formats.markdown import MEANING, claims_table, plain
from pytest_diffprivacy.report.text import one_line, utc, whole

LONGEST: Final = 200
TEXT_TO_IMAGE: Final = ("prompt", "empty prompt")


def update_card(run: Run, path: Path) -> None:
    """Write the audit into a model card: its block, in place of an earlier one or at the end, and its results.

    Args:
        run: the record.
        path: a Markdown file; made if there is none. Nothing outside the block and our results changes.

    Raises:
        UsageError: the file has one mark without the other, or one of them twice; its metadata cannot be read.
        EvidenceError: the file cannot be read as UTF-8 text, or not be written.
    """
    try:
        before = path.read_bytes().decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"Cannot read {str(path)!r} as UTF-8 text: {error}. Give a Markdown file.") from error
    card = with_results(before, card_results(run), model=_model(run), name=path.name)
    write_bytes(path, with_block(card, card_block(run), path.name).encode("utf-8"))


def card_block(run: Run) -> str:
    """The block, its marks included."""
    lines = [BEGIN, "## Training data leakage audit", "", f"{plain(run.verdict)}: {plain(run.verdict_reason)}.", ""]
    lines += [*claims_table(run, run.claims), "", *_methods(run.claims), ""]
    lines += [f"{MEANING} Run {plain(run.run_id)}, finished {plain(utc(run.finished))}, record sha256"]
    return "\n".join([*lines, f"`{record_digest(run)}`.", END])


def card_results(run: Run) -> list[dict[str, Any]]:
    """The verdict of the run, and each claim that is no demonstration, as results of a `model-index`."""
    verdict = {
        "type": "verdict",
        "name": "Training data leakage audit",
        "value": one_line(run.verdict, LONGEST),
        "args": {"run": one_line(run.run_id, LONGEST), "record_sha256": record_digest(run)},
    }
    results = [_result("image-generation", "all probes of the run", None, [verdict])]
    groups: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {}
    for claim in run.claims:
        if claim.node_id not in run.expected_failures:
            text = claim.asked is not None and claim.asked.conditioning in TEXT_TO_IMAGE
            group = "text-to-image" if text else "image-generation", *_probes(claim)
            groups.setdefault(group, []).append(_metric(claim))
    return results + [_result(*group, metrics) for group, metrics in groups.items()]


def _result(task: str, dataset: str, revision: str | None, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    named = {"type": OURS, "name": dataset, **({"revision": revision} if revision else {})}
    return {"task": {"type": task}, "dataset": named, "metrics": metrics}


def _probes(claim: Claim) -> tuple[str, str | None]:
    """What the claim was judged on, in words, and the digests of its sides, shortened."""
    asked: tuple[Images | Prompts, ...] = (*claim.probes, *claim.prompts)
    sides = [(f"{whole(side.count)} {one_line(side.role, 40)}", side.digest) for side in asked]
    words = ", ".join(words for words, _ in sides) or "scores made elsewhere"
    return words, "-".join(digest[:16] for _, digest in sides) or None


def _metric(claim: Claim) -> dict[str, Any]:
    estimate = claim.estimate
    attacks = dict.fromkeys(one_line(method.title, 60) for method in claim.methods)
    args = {
        "verdict": claim.verdict.value,
        "limit": claim.limit,
        **({} if estimate is None else {"lower_bound": estimate.low, "upper_bound": estimate.high}),
        "confidence": claim.confidence,
        **({"attacks": ", ".join(attacks)} if attacks else {}),
        **({"model": one_line(claim.model.name, LONGEST)} if claim.model else {}),
    }
    value = claim.verdict.value if estimate is None else estimate.value
    name = one_line(claim.sentence, LONGEST)
    return {"type": one_line(claim.name or claim.kind, 60), "name": name, "value": value, "args": args}


def _model(run: Run) -> str:
    """What the model under audit is called."""
    judged = (claim.model for claim in run.claims if claim.model and claim.node_id not in run.expected_failures)
    return next((one_line(model.name, LONGEST) for model in judged), "model")


def _methods(claims: Sequence[Claim]) -> list[str]:
    titles = dict.fromkeys(f"{method.title} ({method.access})" for claim in claims for method in claim.methods)
    return [f"Attacks that ran: {', '.join(plain(title) for title in titles)}."] if titles else ["No attack ran."]


def with_block(text: str, block: str, name: str) -> str:
    """The text with the block in the place of an earlier one, or at its end; line endings are kept.

    Raises:
        UsageError: one mark without the other, or one of them twice.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    block = block.replace("\n", newline)
    counts = text.count(BEGIN), text.count(END)
    if counts == (0, 0):
        gap = "" if not text else newline if text.endswith(newline) else 2 * newline
        return text + gap + block + newline
    start, stop = text.find(BEGIN), text.find(END)
    if counts != (1, 1) or stop < start:
        raise UsageError(
            f"`diffprivacy_card` must name a file with one block from {BEGIN!r} to {END!r} or none, got {counts[0]} "
            f"and {counts[1]} such marks in {name!r}. Remove the broken block."
        )
    return text[:start] + block + text[stop + len(END) :]
