"""The second lock of a redacted record: large pictures, captions and paths do not get through."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.evidence.pictures import picture, redacted_claim, redacted_command
from pytest_diffprivacy.evidence.records import Picture, Strip, Table
from tests.report.finished import finished_run

CAPTION = "portrait of Ann, 4 May 1987"
SECRETS = [
    (CAPTION, "caption of member 1a2b"),
    ("/data/train/ann.png", "member 1a2b"),
    ("ann.png", "member 1a2b"),
    ("a", "b"),
]
LARGE = np.random.default_rng(0).uniform(size=(3, 40, 64))


def leaky():
    strip = Strip(
        pictures=(picture(LARGE, f"nearest: {CAPTION}", redacted=False),),
        caption="ann.png",
        mark="match",
        conspicuous=True,
    )
    table = Table(caption="Prompts", columns=("prompt", "score"), rows=((CAPTION, "0.3"),))
    claim = finished_run().claims[0]
    return claim.model_copy(
        update={
            "strips": (strip,),
            "tables": (table,),
            "reason": f"ValueError: no such prompt: {CAPTION!r} in /data/train/ann.png",
        }
    )


def size(shown: Picture) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(shown.png_base64))) as drawn:
        assert not drawn.info
        return drawn.size


def test_captions_and_paths_become_ids_wherever_they_stand():
    claim = redacted_claim(leaky(), SECRETS, "redacted")
    text = claim.model_dump_json()
    assert not any(secret in text for secret in (CAPTION, "ann.png", "/data/train"))
    assert claim.reason == "ValueError: no such prompt: 'caption of member 1a2b' in member 1a2b"
    assert claim.tables[0].rows == (("caption of member 1a2b", "0.3"),)
    assert claim.strips[0].pictures[0].label == "nearest: caption of member 1a2b"
    assert claim.strips[0].caption == "member 1a2b"


def test_a_picture_that_shows_more_becomes_one_grey():
    (strip,) = redacted_claim(leaky(), (), "redacted").strips
    assert size(strip.pictures[0]) == (2, 2)
    assert (strip.pictures[0].width, strip.pictures[0].height) == (2, 2)
    assert strip.pictures[0].png_base64 == picture(LARGE, "", redacted=True).png_base64


def test_pictures_that_are_small_enough_stay_as_they_are():
    claim = finished_run().claims[0]
    assert redacted_claim(claim, SECRETS, "redacted") == claim


@pytest.mark.parametrize("content", ["", "x", base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()])
def test_what_is_no_picture_is_taken_out(content):
    claim = leaky()
    broken = claim.strips[0].pictures[0].model_copy(update={"png_base64": content})
    claim = claim.model_copy(update={"strips": (claim.strips[0].model_copy(update={"pictures": (broken,)}),)})
    assert redacted_claim(claim, (), "redacted").strips[0].pictures[0].png_base64 == ""


def test_none_keeps_no_picture_and_full_changes_nothing():
    assert redacted_claim(leaky(), SECRETS, "none").strips == ()
    assert CAPTION not in redacted_claim(leaky(), SECRETS, "none").model_dump_json()
    assert redacted_claim(leaky(), SECRETS, "full") == leaky()


def test_the_command_names_no_place_of_training_data():
    typed = [
        "pytest", "audits", "--diffprivacy-members", "/secret/a/train", "--diffprivacy-nonmembers=/secret/b/",
        "-o", "diffprivacy_members=/secret/c", "--diffprivacy-model=/models/x", "--diffprivacy-seed", "3",
    ]  # fmt: skip
    assert redacted_command(typed) == (
        "pytest audits --diffprivacy-members train --diffprivacy-nonmembers=b -o diffprivacy_members=c "
        "--diffprivacy-model=x --diffprivacy-seed 3"
    )


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("-k fast -x -vv --api-key SECRET --token=SECRET audits", "-k fast -x -vv --api-key *** --token=*** audits"),
        ("--cred user SECRET --junitxml=/home/ann/j.xml", "--cred *** *** --junitxml=j.xml"),
        ("-o api_key=SECRET --override-ini=a=SECRET", "-o api_key=*** --override-ini=a=***"),
        ("-n4 -kfast -odiffprivacy_model=/home/ann/m", "-n*** -kfast -odiffprivacy_model=m"),
        ("--diffprivacy-engine=ray://ann:SECRET@host:1?key=SECRET", "--diffprivacy-engine=ray://***@host:1?***"),
        ("/home/ann/ward7/test_a.py::test_x[a/b] ../ward7/b.py", "test_a.py::test_x[a/b] b.py"),
        (r"C:\\ward7\\a.py audits/test_a.py::test_x[/a]", "a.py audits/test_a.py::test_x[/a]"),
    ],
)
def test_the_command_shows_values_of_known_options_only(typed, shown):
    known = {"-k", "-x", "-v", "--junitxml"}
    assert redacted_command(["pytest", *typed.split(" ")], known) == f"pytest {shown}"
