from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pytest_diffprivacy import options
from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.options import BY_NAME, OPTIONS, CompareRule, Option, resolve

GIVEN = {
    "model": ("/models/a", "/models/a"),
    "null-label": ("10", 10),
    "members": ("/images/a", "/images/a"),
    "nonmembers": ("/images/b", "/images/b"),
    "prompts": ("/prompts/a.txt", "/prompts/a.txt"),
    "captions": ("text", "text"),
    "subjects": ("person", "person"),
    "resize": ("512:bicubic", "512:bicubic"),
    "crop": ("512", 512),
    "device": ("cuda:0", "cuda:0"),
    "dtype": ("bfloat16", "bfloat16"),
    "channels-last": ("true", True),
    "compile": ("true", True),
    "batch-size": ("7", 7),
    "max-pixels": ("40000000", 40_000_000),
    "engine": ("ray://head:10001", "ray://head:10001"),
    "workers": ("2", 2),
    "budget": ("1.5h", 5400.0),
    "seed": ("17", 17),
    "confidence": ("0.99", 0.99),
    "attempts": ("shared", "shared"),
    "inconclusive": ("skip", "skip"),
    "incomplete": ("fail", "fail"),
    "cache-dir": ("/elsewhere", "/elsewhere"),
    "fresh": ("true", True),
    "cache-limit": ("1.5GB", 1_500_000_000),
    "report": ("/a.html", ("/a.html",)),
    "card": ("/README.md", "/README.md"),
    "images": ("none", "none"),
    "baseline": ("/baseline.json", "/baseline.json"),
    "compare-fail": ("worse:0.02", CompareRule("worse", 0.02)),
    "plan": ("true", True),
    "update-baseline": ("true", True),
}
BAD = {
    "resize": ("512x512", "a size such as 512 or 512:bicubic"),
    "crop": ("0", "a positive whole number"),
    "null-label": ("cat", "a whole number >= 0"),
    "dtype": ("float8", "one of float64, float32, bfloat16, float16"),
    "channels-last": ("perhaps", "true or false"),
    "compile": ("perhaps", "true or false"),
    "batch-size": ("0", "a positive whole number"),
    "engine": ("ray://head", "local, ray or ray://host:port"),
    "workers": ("0", "a positive whole number"),
    "budget": ("2 days", "a time such as 90s, 30m or 2h"),
    "seed": ("-1", "a whole number >= 0"),
    "confidence": ("0.05", "a number above 0.5 and below 1"),
    "attempts": ("second", "one of first, shared"),
    "inconclusive": ("ignore", "one of fail, warn, skip"),
    "fresh": ("perhaps", "true or false"),
    "cache-limit": ("20", "a size such as 500MB or 20GB"),
    "report": ("audit.docx", "a path that ends in .html, .json, .sarif, .md, .intoto.json or .pdf"),
    "images": ("all", "one of none, redacted, full"),
    "compare-fail": ("worse:2", "never, worse or undecided, and perhaps a margin below 1 such as worse:0.02"),
    "plan": ("perhaps", "true or false"),
    "update-baseline": ("perhaps", "true or false"),
}


def test_every_option_has_a_case_here() -> None:
    assert list(GIVEN) == [option.name for option in OPTIONS]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_flag_ini_and_environment_mean_the_same(option: Option) -> None:
    text, value = GIVEN[option.name]
    flag = True if option.switch else [text] if option.repeatable else text
    places = {
        "command line": resolve({option.name: flag}, {}, {}),
        "environment": resolve({}, {}, {option.env: text}),
        "ini file": resolve({}, {option.name: text}, {}),
    }
    for origin, settings in places.items():
        assert settings[option.name] == value
        assert settings.origin(option.name) == origin


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_flag_ini_key_and_variable_are_named_alike(option: Option) -> None:
    snake = option.name.replace("-", "_")
    assert (option.flag, option.ini, option.env) == (
        f"--diffprivacy-{option.name}",
        f"diffprivacy_{snake}",
        f"PYTEST_DIFFPRIVACY_{snake.upper()}",
    )


def test_the_command_line_goes_before_the_environment_before_the_ini_file_before_the_default() -> None:
    sources = {"command line": "1", "environment": "2", "ini file": "3"}
    for there in itertools.product([True, False], repeat=3):
        given = [origin for origin, present in zip(sources, there, strict=True) if present]
        settings = resolve(
            {"seed": sources["command line"] if there[0] else None},
            {"seed": sources["ini file"] if there[2] else ""},
            {"PYTEST_DIFFPRIVACY_SEED": sources["environment"]} if there[1] else {},
        )
        origin = given[0] if given else "default"
        assert (settings["seed"], settings.origin("seed")) == (int(sources.get(origin, "0")), origin)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_by_the_name_under_which_it_was_written(name: str) -> None:
    option, (text, condition) = BY_NAME[name], BAD[name]
    calls = {option.ini: ({}, {name: text}, {}), option.env: ({}, {}, {option.env: text})}
    if not option.switch:
        calls[option.flag] = ({name: [text] if option.repeatable else text}, {}, {})
    for origin, arguments in calls.items():
        with pytest.raises(UsageError) as caught:
            resolve(*arguments)
        assert str(caught.value) == f"{origin} must be {condition}, got {text!r}."


def test_a_number_that_is_none_is_refused() -> None:
    for name in ("batch-size", "seed", "confidence"):
        for text in ("many", "nan", ""):
            with pytest.raises(UsageError, match=f"--diffprivacy-{name} must be .*, got {text!r}"):
                resolve({name: text}, {}, {})


@pytest.mark.parametrize("text", ["1", "true", "Yes", "on"])
def test_a_switch_is_on_by_these_words(text: str) -> None:
    assert resolve({}, {"fresh": text}, {})["fresh"] is True


@pytest.mark.parametrize("text", ["0", "false", "No", "off"])
def test_a_switch_is_off_by_these_words(text: str) -> None:
    assert resolve({}, {"fresh": text}, {})["fresh"] is False


def test_relative_paths_are_relative_to_where_they_were_written(tmp_path: Path) -> None:
    settings = resolve(
        {"model": "m", "report": ["a.html", "/b.json"]},
        {"members": "train", "nonmembers": "/held/out", "cache-dir": "../store"},
        {},
        invocation_dir=tmp_path / "here",
        ini_dir=tmp_path / "project",
    )
    assert settings["model"] == str(tmp_path / "here" / "m")
    assert settings.paths("report") == (tmp_path / "here" / "a.html", Path("/b.json"))
    assert settings["members"] == str(tmp_path / "project" / "train")
    assert settings["nonmembers"] == "/held/out"
    assert settings["cache-dir"] == str(tmp_path / "project" / "../store")
    assert resolve({}, {}, {}, ini_dir=tmp_path)["cache-dir"] == str(tmp_path / ".diffprivacy")


def test_a_hub_id_is_no_path(tmp_path: Path) -> None:
    assert resolve({"model": "hub:owner/name@v1"}, {}, {}, invocation_dir=tmp_path)["model"] == "hub:owner/name@v1"


def test_several_reports_in_one_line_are_parted_by_spaces(tmp_path: Path) -> None:
    settings = resolve({}, {"report": "a.html b.json"}, {}, ini_dir=tmp_path)
    assert settings.paths("report") == (tmp_path / "a.html", tmp_path / "b.json")
    assert resolve({}, {}, {}).paths("report") == ()


def test_a_session_put_in_place_of_another_gives_it_back() -> None:
    before = options.active()
    inner = options.Session(resolve({}, {}, {}), "inner")
    assert options.activate(inner) is before
    assert options.active() is inner
    assert options.activate(before) is inner
    assert options.active() is before
