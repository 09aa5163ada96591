"""Refusals of what is given to `load_model` and cannot be audited: why, and what to give in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, NoReturn

from safetensors import SafetensorError, safe_open

from pytest_diffprivacy.errors import ModelError
from pytest_diffprivacy.models.parts import PICKLE_SUFFIXES, read_json

EDITING: Final = {
    "fills parts of a given image": ("Inpaint", "Fill", "RePaint", "PaintByExample"),
    "starts from a given image": ("Img2Img", "Image2Image", "Depth2Img"),
    "edits a given image": ("InstructPix2Pix", "Kontext", "Edit", "Pix2Pix", "CycleDiffusion"),
    "enlarges a given image": ("Upscale", "SuperResolution"),
    "follows a given image": ("Control", "Adapter"),
    "varies a given image": ("Variation", "Redux"),
}
"""What pipelines do with an image of the user's that they need, and words in the names of their classes."""

HALVES: Final = {
    "KandinskyV22Pipeline": "makes images of embeddings alone",
    "KandinskyPipeline": "makes images of embeddings alone",
    "KandinskyV22PriorPipeline": "makes embeddings of prompts alone",
    "KandinskyPriorPipeline": "makes embeddings of prompts alone",
}
"""Pipelines that do half of the way from a prompt to an image, and which."""

LORA, INVERSION, LYCORIS = "load_lora_weights", "load_textual_inversion", "LyCORIS"
ADAPTERS: Final = {
    LORA: ("pytorch_lora_weights*", "adapter_config.json", "adapter_model*"),
    INVERSION: ("learned_embeds*",),
}
"""Files of what is loaded on top of a pipeline, by the pipeline's method that does it."""
ADAPTER_TENSORS: Final = {
    LYCORIS: (".hada_w1", ".lokr_w", ".oft_", ".on_input", ".glora_"),
    LORA: ("lora_unet_", "lora_te", "lora_transformer_", ".lora_down.", ".lora_A.", ".lora.down.", "_lora."),
}
"""Parts of the names of their tensors, as kohya, Civitai, PEFT and diffusers name them; the first that fits."""
INVERSIONS: Final = ("emb_params", "clip_l", "clip_g", "<*>")
"""Names of all tensors of a textual inversion."""

GENERATOR: Final = ("identity", "generate")
DENOISER: Final = ("schedule", "sample_shape", "image_shape", "device", "dtype", "predict_eps", "condition", "encode",
                   "decode")  # fmt: skip


def refuse_editing(kind: str) -> None:
    """Refuse a class of pipelines that do not generate from noise and a prompt alone."""
    for does, words in EDITING.items():
        if any(word in kind for word in words):
            raise ModelError(
                f"A {kind} cannot be audited: it {does}, and what it returns is not the model's memory alone. Audit "
                "the text-to-image pipeline with the same weights, AutoPipelineForText2Image.from_pipe(pipeline), "
                "unless its network is made for editing only."
            )
    if kind in HALVES:
        raise ModelError(
            f"A {kind} cannot be audited: it {HALVES[kind]}. Audit both halves as one, as "
            "AutoPipelineForText2Image.from_pretrained(...) loads them (KandinskyV22CombinedPipeline)."
        )


def refuse_file(path: Path) -> None:
    """Refuse a checkpoint in one file, with the command that makes a folder of it."""
    refuse_adapter(path, [path])
    convert = (
        'python -c "from diffusers import StableDiffusionPipeline as P; '
        f"P.from_single_file('{path.name}').save_pretrained('converted', safe_serialization=True)\", "
        "and audit the folder."
    )
    if path.suffix in PICKLE_SUFFIXES:
        raise ModelError(
            f"{str(path)!r} is a pickle, which can run code when it is loaded. Convert it on a machine you trust: "
            f"{convert}"
        )
    raise ModelError(
        f"{str(path)!r} is a file. Give the folder that pipeline.save_pretrained(...) wrote; of a checkpoint in one "
        f"file, pass config= the folder of a pipeline of its kind (load_model(..., config=...)), or: {convert}"
    )


def refuse_adapter(given: Path, files: Iterable[Path]) -> None:
    """Refuse an adapter in the place of a pipeline, with how it is loaded on top of one."""
    for file in sorted(files):
        kind = next((kind for kind, names in ADAPTERS.items() if any(fnmatch(file.name, one) for one in names)), None)
        kind = kind or (_adapter_kind(file) if file.suffix == ".safetensors" else None)
        if kind == LYCORIS:
            raise ModelError(
                f"{str(given)!r} holds {file.name}, an adapter of LyCORIS and no model. Merge it into its base with "
                "the tool that made it, and give the merged model."
            )
        if kind is not None:
            raise ModelError(
                f"{str(given)!r} holds {file.name}, an adapter and no model. Load its base, then "
                f"pipeline.{kind}({str(file.parent)!r}, weight_name={file.name!r}, use_safetensors=True), and give the "
                "pipeline object."
            )


def _adapter_kind(file: Path) -> str | None:
    """How a file of safetensors is loaded on top of a pipeline, by the names of its tensors; None: it is no adapter."""
    try:
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
    except (OSError, SafetensorError):
        return None  # what cannot be read is refused as a model, by whoever reads it
    if names and all(any(fnmatch(name, one) for one in INVERSIONS) for name in names):
        return INVERSION
    kinds = ((kind, pattern) for kind, patterns in ADAPTER_TENSORS.items() for pattern in patterns)
    return next((kind for kind, pattern in kinds if any(pattern in name for name in names)), None)


def refuse_part(folder: Path) -> NoReturn:
    """Refuse a folder without a model_index.json: one part of a pipeline, an adapter, or something else."""
    refuse_adapter(folder, (path for path in folder.iterdir() if not path.name.startswith(".")))
    config = folder / "config.json"
    kind = read_json(config).get("_class_name") if config.is_file() else None
    if kind is not None:
        alone = (
            "load it with UNet2DModel.from_pretrained(...) and pass scheduler=... beside it"
            if kind == "UNet2DModel"
            else "give the folder of the whole pipeline"
        )
        raise ModelError(f"{str(folder)!r} holds one part of a pipeline, a {kind}, and no model_index.json: {alone}.")
    raise ModelError(
        f"{str(folder)!r} holds no model_index.json, so it is no diffusers pipeline. "
        "Save the whole pipeline with pipeline.save_pretrained(...)."
    )


def refuse_remote_code(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse a pipeline's folder whose class or that of a part comes from a file beside the weights."""
    asks = ""
    if isinstance(index.get("_class_name"), list):
        asks = f"its pipeline class is {'.'.join(map(str, index['_class_name']))}"
    for path in sorted(folder.glob("[!.]*/config.json")):
        if read_json(path).get("auto_map"):
            asks = asks or f"{path.parent.name}/config.json has an `auto_map`"
    if asks:
        raise ModelError(
            f"{str(folder)!r} asks for code of its own to be run (custom pipeline, trust_remote_code): {asks}. That is "
            "never done here. Load it yourself where you trust the code, and wrap it: models.NetworkDenoiser takes its "
            "network, models.CallableGenerator its images."
        )


def unknown_object(source: object, known: str) -> ModelError:
    """The error for an object that is none of what is known, naming what it lacks for each level of access."""
    has = set(dir(source))
    lacks = {"Generator": GENERATOR, "Denoiser": ("identity", *DENOISER)}
    missing = "; for ".join(
        f"models.{protocol} {', '.join(name for name in names if name not in has)}" for protocol, names in lacks.items()
    )
    return ModelError(
        f"Cannot audit an object of type {type(source).__name__}. Pass {known}, or one that satisfies a protocol; "
        f"for {missing} is missing. models.CallableGenerator makes a Generator of a function, models.NetworkDenoiser a "
        "Denoiser of a network."
    )
