"""Results in the metadata of a model card: the `model-index` at its top, which the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pytest_diffprivacy.errors import UsageError

KEY: Final = "model-index"
OURS: Final = "pytest-diffprivacy"
"""Type of the dataset of our results: by it a later run finds them, also after another program wrote the metadata."""
FRONT: Final = re.compile(r"\A(\s*---[ \t]*\r?\n)(.*?)(?=^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)


def with_results(card: str, results: Sequence[dict[str, Any]], *, model: str = "", name: str = "README.md") -> str:
    """The card with these results in the place of those of an earlier run; without any, those are taken out.

    Args:
        card: Markdown, with or without metadata. Nothing but its `model-index` changes.
        results: each with `task`, `dataset` (of the type `OURS`) and `metrics`.
        model: what the model is called where the metadata do not say.
        name: of the file, for messages.

    Raises:
        UsageError: the metadata are no YAML mapping, or their `model-index` is no list of entries with results.
    """
    front = FRONT.match(card)
    if front is None:
        return card if not results else f"---\n{_written([{'name': model, 'results': [*results]}])}---\n{card}"
    if not results and OURS not in front[2]:
        return card
    newline = "\r\n" if "\r\n" in front[1] else "\n"
    start, end, entries = _found(front[2], name)
    entries = [{**entry, "results": [r for r in entry["results"] if not _is_ours(r)]} for entry in entries]
    if results and not entries:
        entries = [{"name": model, "results": []}]
    if results:
        entries[0]["results"] = [*entries[0]["results"], *results]
    written = _written([entry for entry in entries if entry["results"]]).replace("\n", newline)
    at = front.end(1)
    return card[: at + start] + written + card[at + end :]


def _is_ours(result: dict[str, Any]) -> bool:
    dataset = result.get("dataset")
    return isinstance(dataset, dict) and dataset.get("type") == OURS


def _written(entries: list[dict[str, Any]]) -> str:
    import yaml

    if not entries:
        return ""
    return str(yaml.safe_dump({KEY: entries}, sort_keys=False, allow_unicode=True, width=float("inf")))


def _found(metadata: str, name: str) -> tuple[int, int, list[dict[str, Any]]]:
    """Where `model-index` stands, whole lines, and its entries; the end and none where there is no such key."""
    import yaml

    try:
        root, whole = yaml.compose(metadata, yaml.SafeLoader), yaml.safe_load(metadata)
    except (yaml.YAMLError, ValueError) as error:
        told = " ".join(str(error).split())
        raise UsageError(f"The metadata at the top of {name!r} must be YAML, got {told}. Correct them.") from None
    if root is None:
        return len(metadata), len(metadata), []
    if not isinstance(whole, dict):
        raise UsageError(f"The metadata at the top of {name!r} must be a YAML mapping, got {type(whole).__name__}.")
    for key, value in root.value:
        if key.value == KEY:
            last = max((mark.index for mark in _ends(value)), default=key.end_mark.index)
            line_end = metadata.find("\n", last)
            return key.start_mark.index, len(metadata) if line_end < 0 else line_end + 1, _entries(whole[KEY], name)
    return len(metadata), len(metadata), []


def _ends(node: Any) -> Iterator[Any]:
    """The ends of what is written in a node; a block's own mark lies behind the comments that follow it."""
    if isinstance(node.value, str) or node.flow_style:
        yield node.end_mark
        return
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _ends(part)


def _entries(value: Any, name: str) -> list[dict[str, Any]]:
    entries = [] if value is None else value
    good = isinstance(entries, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("results"), list)
        and all(isinstance(result, dict) for result in entry["results"])
        for entry in entries
    )
    if not good:
        raise UsageError(f"`{KEY}` of {name!r} must be a list of entries with results, got {value!r:.80}. Correct it.")
    return list(entries)
