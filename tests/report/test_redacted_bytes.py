"""With images redacted, no document holds what could give a training image back: its pixels, its caption, its path."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_diffprivacy import Auditor, ProbeSet, assert_mia_tpr_below, assert_no_extraction, options
from pytest_diffprivacy.errors import ClaimNotProven, DiffPrivacyError
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.runs import PytestRun, conclude_run
from pytest_diffprivacy.models import ideal_denoiser
from pytest_diffprivacy.report.card import update_card
from pytest_diffprivacy.report.formats import formats
from pytest_diffprivacy.report.write import write_report

SIDE, COUNT = 24, 12
CAPTIONS = [f"portrait of person {number:03} in the red coat" for number in range(COUNT)]

OTHERS = [caption.replace("red", "blue") for caption in CAPTIONS]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Members and as many others, uint8 (2 COUNT, SIDE, SIDE)."""
    return np.random.default_rng(9).integers(0, 256, (2 * COUNT, SIDE, SIDE)).astype(np.uint8)


@pytest.fixture(scope="module")
def documents(images, tmp_path_factory) -> dict[str, bytes]:
    """Every format of a run on image files with captions: strips, a refused claim, and an exception that tells."""
    root = tmp_path_factory.mktemp("audit")
    for side, part in (("train", images[:COUNT]), ("heldout", images[COUNT:])):
        (root / side).mkdir()
        for number, image in enumerate(part):
            Image.fromarray(image).save(root / side / f"person-{number:03}.png")
    probes = ProbeSet(root / "train", root / "heldout", member_prompts=CAPTIONS, nonmember_prompts=OTHERS)
    model = ideal_denoiser(torch.from_numpy(images[:COUNT, None] / 255.0).float())
    run = RunFolder(root / "store", "run")
    judge = Auditor(run=run)

    def tells(model: object, batch: torch.Tensor) -> np.ndarray:
        raise RuntimeError(f"no idea about {CAPTIONS[3]!r} in {root / 'train' / 'person-003.png'}")

    def leave(claim) -> None:
        try:
            claim()
        except (ClaimNotProven, DiffPrivacyError):
            return

    leave(lambda: assert_no_extraction(
        model, probes, generations=8, steps=4, max_false_match_rate=0.45, max_rate=0.001, auditor=judge
    ))  # fmt: skip
    leave(lambda: assert_mia_tpr_below(model, probes, attack="drc", max_fpr=0.2, limit=0.5, auditor=judge))
    leave(lambda: assert_mia_tpr_below(model, probes, attack=tells, max_fpr=0.2, limit=0.5, auditor=judge))
    record = conclude_run(
        run,
        options.resolve({"members": str(root / "train"), "nonmembers": str(root / "heldout")}, {}, {}, ini_dir=root),
        PytestRun(started=datetime(2025, 3, 14, tzinfo=UTC), command="pytest audits"),
    )
    assert sum(bool(claim.strips) for claim in record.claims) >= 1
    assert any("no idea about" in claim.reason for claim in record.claims)
    for extension in formats():
        write_report(record, root / f"audit{extension}")
    update_card(record, root / "card.md")
    written = [root / f"audit{extension}" for extension in formats()] + [root / "card.md"]
    return {path.name: path.read_bytes() for path in written}


def contents(document: bytes) -> Iterator[bytes]:
    """The document, and everything that is packed in it: base64, and the streams of its pictures."""
    yield document
    for text in re.findall(rb"[A-Za-z0-9+/]{60,}={0,2}", document):
        inside = base64.b64decode(text[: len(text) - len(text) % 4])
        yield inside
        for start in (found.start() + 4 for found in re.finditer(b"IDAT", inside)):
            length = int.from_bytes(inside[start - 8 : start - 4], "big")
            yield zlib.decompress(inside[start : start + length])


@pytest.mark.slow
def test_no_picture_has_more_than_16_by_16_pixels(documents):
    sizes = []
    for name in ("audit.html", "audit.json"):
        for text in re.findall(rb"iVBORw0KGgo[A-Za-z0-9+/]+={0,2}", documents[name]):
            with Image.open(io.BytesIO(base64.b64decode(text))) as drawn:
                assert not drawn.info
                sizes.append(max(drawn.size))
    assert len(sizes) > 10
    assert max(sizes) <= 16


def test_no_row_of_a_training_image_is_in_any_document(documents, images):
    rows = {image[y, x : x + 6].tobytes() for image in images[:COUNT] for y in range(SIDE) for x in (0, 9, 18)}
    plain = base64.b64encode(images[0].tobytes())
    assert any(row in content for content in contents(plain) for row in rows)  # the search would see it
    for name, document in documents.items():
        for content in contents(document):
            assert not any(row in content for row in rows), name


def test_no_caption_and_no_path_is_in_any_document(documents):
    for name, document in documents.items():
        for text in (*CAPTIONS, *OTHERS, "person-0", "portrait of"):
            assert text.encode() not in document, (name, text)
        assert b"/train" not in document, name


def test_members_have_names_all_the_same(documents):
    assert re.search(rb"member [0-9a-f]{10}", documents["audit.html"])
    assert b"caption of member " in documents["audit.json"]
