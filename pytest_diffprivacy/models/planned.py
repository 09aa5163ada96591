"""What stands for a model while an audit is planned? Its name and family, read from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.parts import read_json
from pytest_diffprivacy.models.prompts import NULL_REMEDY


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model that is not loaded; it answers no question.

    Attributes:
        name: as the loaded model is called in records.
        family: the pipeline's class; empty where only a download would tell.
        facts: what a plan says of it besides.
    """

    name: str
    family: str
    facts: Mapping[str, str] = field(default_factory=dict)


def planned_model(source: str | Path, null_label: int | None = None) -> PlannedModel:
    """The stand-in of a folder written by `save_pretrained`, or of a model of the hub, which is not downloaded.

    Raises:
        ModelError: the folder holds no pipeline.
    """
    if str(source).startswith("hub:"):
        return PlannedModel(str(source).removeprefix("hub:").partition("@")[0].rpartition("/")[2], "")
    index = Path(source) / "model_index.json"
    if not index.is_file():
        raise ModelError(f"{str(source)!r} holds no model_index.json. Give a folder that save_pretrained() wrote.")
    classes, null = classes_of(Path(source))
    null_label = null if null_label is None else null_label
    facts = {}
    if classes is not None:
        facts["classes"] = f"{classes}, null label {null_label}"
        if null_label is None:
            facts["classes"] = (
                f"{classes} and no null label: every image is asked for with its class, without guidance; {NULL_REMEDY}"
            )
    return PlannedModel(Path(source).resolve().name, str(read_json(index).get("_class_name", "")), facts)


def classes_of(folder: Path) -> tuple[int | None, int | None]:
    """How many classes a folder's model has, and which label says "no class" where its kind tells; None: none."""
    index = folder / "model_index.json"
    transformer = index.is_file() and read_json(index).get("_class_name") == "DiTPipeline"
    part, key = ("transformer", "num_embeds_ada_norm") if transformer else ("unet", "num_class_embeds")
    path = folder / part / "config.json"
    count = read_json(path).get(key) if path.is_file() else None
    if count is None:
        return None, None
    return int(count), int(count) if transformer else None
