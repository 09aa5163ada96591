"""What does a reader look up? File digests, the words of the field, and where other texts ask for such evidence."""

from __future__ import annotations

from typing import Final

from pytest_diffprivacy.evidence.records import Run, Table
from pytest_diffprivacy.report.text import whole

MOST_FILES: Final = 300

GLOSSARY: Final = (
    ("Member", "An image that was in the training set."),
    ("Non-member", "An image of the same kind that was not in the training set."),
    ("Probe set", "The images and prompts that the audit asks the model about."),
    ("Score", "One number for an image or prompt; higher means more likely a member, or memorized."),
    ("Distance", "RMS difference of two images with pixels in [0, 1]; lower means closer."),
    (
        "TPR at FPR",
        "Share of members that an attack recognises while it accuses at most this share of the others.",
    ),
    ("AUROC", "Chance that a random member scores above a random non-member; 0.5 is guessing."),
    ("Bounds", "One-sided confidence bounds: each one misses with a probability of at most one minus its confidence."),
    ("Limit", "The largest value that the policy allows."),
    ("PASS", "The upper bound is at most the limit."),
    ("FAIL", "The lower bound is above the limit."),
    ("INCONCLUSIVE", "Neither bound decides, there are too few probes, or the split is confounded."),
    ("ERROR", "The audit could not judge: a control failed, scores are not numbers, the model did not answer."),
    ("INCOMPLETE", "Of a run: an audit test left no record."),
    ("Positive control", "A planted leak that the same code must find."),
    ("Negative control", "A question without a leak, at which the same code must stay silent."),
    ("Black, grey, white box", "Access to images only; to the network's predictions; to its weights and derivatives."),
    ("Evidence", "The stored record that lets another person redo the verdict."),
)

# Only names of places, and which part of this page is about the same matter: no reading of these texts is given here.
MAPPING: Final = (
    (
        "EDPB Opinion 28/2024",
        "paragraphs 43, 55, 58",
        "What was tested; Threat model; Claims in detail; Appendix",
    ),
    ("NIST AI 600-1", "MS-2.10-001", "Claims in detail: extraction, membership, memorization"),
    ("ISO/IEC 27559", "8.2.3", "Threat model; Claims in detail: membership"),
    (
        "General-purpose AI code of practice",
        "copyright measure",
        "Claims in detail: extraction, memorization",
    ),
)


def file_rows(run: Run) -> Table:
    """The sha256 of every file that the record names."""
    rows = [(artifact.path, artifact.sha256) for claim in run.claims for artifact in claim.artifacts]
    rows += [(f"runs/{run.run_id}/{name}", sha256) for name, sha256 in sorted(run.seals.items())]
    left = len(rows) - MOST_FILES
    caption = "Files below the evidence folder"
    if left > 0:
        caption += f", the first {MOST_FILES}; {whole(left)} more are in the JSON report"
    return Table(caption=caption, columns=("File", "sha256"), rows=tuple(rows[:MOST_FILES]))
