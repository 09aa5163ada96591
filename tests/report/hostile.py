"""Texts that people, files and models may bring along, each of which has broken some report somewhere."""

from __future__ import annotations

from typing import Any

from pytest_diffprivacy.evidence.records import Run

CORPUS = (
    "<script>document.title = 'executed'</script>",
    "\"'><img src=x onerror=\"document.title = 'executed'\">",
    "</style></title></svg></template>--><!--]]>&lt;&#0;",
    "javascript:document.title='executed'",
    "\x00\x1b[31m\x9b2J\x07\x7f",
    "\u202e\u2066\u200b\u200f\ufeff\u2028\u2029",
    "{{ 7 * 7 }}{% raw %}${jndi:x}",
    "$\\frac{$ ^_{ \\",
    "=cmd()|'/c x'!A1",
    "| **bold** | [text](https://example.invalid) @somebody #1 `code` ~~~",
    "::error::stop ##vso[task.complete]",
    b"caf\xe9 \xff\xfe".decode("utf-8", "surrogateescape"),
    "漢字 ε 😀 e\u0301" + "\u0300" * 40,
    "a\r\nb\tc\vd",
)
HOSTILE = " ".join(CORPUS)
LONG = "long " * 4_000 + "L" * 20_000
OURS = {"png_base64", "started", "finished", "images", "sha256", "statistic"}
FOREIGN_KEYS = {"parameters", "groups", "arrays", "versions"}


def with_text(run: Run, text: str) -> Run:
    """The same run with a text at the end of every field that can carry one."""
    before = run.model_dump(mode="json")
    after = _appended(before, text)
    for claim, original, test in zip(after["claims"], before["claims"], after["tests"], strict=True):
        claim["verdict"] = original["verdict"]
        test["node_id"] = claim["node_id"]
        if claim["comparison"]:
            claim["comparison"]["outcome"] = original["comparison"]["outcome"]
        for control, one in zip(claim["controls"], original["controls"], strict=True):
            control |= {"kind": one["kind"], "outcome": one["outcome"]}
    for row, one in zip(after["catalogue"], before["catalogue"], strict=True):
        row["access"] = one["access"]
    after["missing"] = [text]
    return Run.model_validate(after)


def _appended(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, dict):
        foreign = key in FOREIGN_KEYS
        return {(name + text if foreign else name): _appended(item, text, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_appended(item, text, key) for item in value]
    return value + text if isinstance(value, str) and key not in OURS else value
