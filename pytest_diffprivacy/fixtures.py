"""The fixtures of an audit: `diffusion_model`, `probe_set` and `diffprivacy`. Override the first two in conftest.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_diffprivacy import options
from pytest_diffprivacy.errors import UsageError

if TYPE_CHECKING:
    from pytest_diffprivacy.audit import Auditor
    from pytest_diffprivacy.probes import ProbeSet


@pytest.fixture(scope="session")
def diffusion_model() -> Any:
    """The model under audit: what the option `diffprivacy_model` names.

    Override it to audit a model of your own: return what `load_model(...)` returns, or an object that satisfies one of
    the protocols in pytest_diffprivacy.models.
    """
    settings = _settings()
    source = settings.text("model")
    if source is None:
        raise UsageError(_unset("model", "diffusion_model", "a diffusers folder"))
    from pytest_diffprivacy.models import load_model

    label = settings["null-label"]
    return load_model(
        source,
        null_label=None if label is None else settings.whole("null-label"),
        device=_device(settings),
        dtype=settings.text("dtype"),
        channels_last=bool(settings["channels-last"]),
        compile=bool(settings["compile"]),
    )


@pytest.fixture(scope="session")
def probe_set(request: pytest.FixtureRequest) -> ProbeSet:
    """What the audit asks about: images of `diffprivacy_members` and `_nonmembers`, prompts of `diffprivacy_prompts`.

    Whom the images show is known by `diffprivacy_subjects`.
    A class-conditional model is asked for the classes beside the images, unless `diffprivacy_captions` says otherwise.
    Override it to bring arrays or other sources: return a ProbeSet.
    """
    settings = _settings()
    members = settings.text("members")
    prompts = settings.text("prompts")
    if members is None and prompts is None:
        raise UsageError(_unset("members", "probe_set", "an image folder, .npz or .safetensors file"))
    from pytest_diffprivacy.probes import ProbeSet
    from pytest_diffprivacy.probes.tables import CLASSES

    captions, classes = settings["captions"], None
    if captions is None and members is not None:
        classes, null = _classes(settings.text("model"), request)
        captions = None if classes is None else CLASSES
    probes = ProbeSet(
        members,
        settings.text("nonmembers"),
        captions=captions if isinstance(captions, str) else bool(captions) and members is not None,
        prompts=prompts,
        resize=settings.text("resize"),
        crop=settings.text("crop"),
        subjects=settings["subjects"] if members is not None else None,
    )
    if classes is not None:
        _check_folders(probes.members.class_folders, classes, null, settings)
    return probes


@pytest.fixture(scope="session")
def diffprivacy() -> Auditor:
    """The session's Auditor, for claims that need more than an assertion."""
    from pytest_diffprivacy.audit import current_auditor

    return current_auditor()


def _classes(source: str | None, request: pytest.FixtureRequest) -> tuple[int | None, int | None]:
    """Classes and null label of the model under audit; one of the hub is loaded for that, as its audit needs it."""
    from pytest_diffprivacy.models.planned import classes_of
    from pytest_diffprivacy.models.prompts import class_labels

    if source is None:
        return None, None
    if source.startswith("hub:"):
        labels = class_labels(request.getfixturevalue("diffusion_model"))
        return (None, None) if labels is None else (labels.classes, labels.null)
    return classes_of(Path(source))


def _check_folders(folders: Sequence[str], classes: int, null: int | None, settings: options.Settings) -> None:
    """Refuse to take subfolders for classes where there are more or fewer of them than the model has."""
    given = null if settings["null-label"] is None else settings.whole("null-label")
    told = classes if given is None or given >= classes else classes - 1
    if folders and len(folders) not in {told, classes}:
        raise UsageError(
            f"`diffprivacy_members` holds its images in {len(folders)} subfolders and the model has {told} classes, so "
            "their places are not the classes. Give the classes beside the images, in a metadata.csv with a column "
            "`label`; or set `diffprivacy_captions` to folder index, if these are all the classes of training, to "
            "folder name, if the folders are named by class index, or to false, if they are no classes."
        )


def _settings() -> options.Settings:
    session = options.active()
    assert session is not None, "the plugin activates a session before any fixture runs"
    return session.settings


def _device(settings: options.Settings) -> str:
    """The device, after a first tensor was put on it."""
    import torch

    from pytest_diffprivacy.models.running import worker_device

    name = worker_device(str(settings["device"]), os.environ, torch.cuda.device_count())
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise UsageError(
            f"`{options.BY_NAME['device'].ini}` must be a device that torch can use here, such as cpu or cuda:0, got "
            f"{name!r}: {why}"
        ) from error
    return name


def _unset(name: str, fixture: str, kind: str) -> str:
    option = options.BY_NAME[name]
    return (
        f"No {name} to audit: set `{option.ini}` in pyproject.toml to {kind}, pass {option.flag}, or override the "
        f"fixture `{fixture}` in conftest.py."
    )
