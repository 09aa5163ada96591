"""`@method`: a formula of one file becomes a registered method. Its signature is the table of parameters and defaults.

What every score of images needs is written here once: the check of access, images, prompts and noise, batches,
conditioning, precision, finiteness, and those parts of the docstring that say so.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial, wraps
from typing import Any, Final, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_diffprivacy.evidence.access import Access
from pytest_diffprivacy.methods.method import (
    EvidenceHook,
    Kind,
    Method,
    Need,
    Scores,
    named_timesteps,
)
from pytest_diffprivacy.methods.registry import register
from pytest_diffprivacy.models.protocols import require_denoiser, require_white_box
from pytest_diffprivacy.models.scoring import BATCH_SIZE, finite_scores, image_batches


def documented(
    text: str, *, before: Mapping[str, str], after: Mapping[str, str], returns: str, raises: Mapping[str, str]
) -> str:
    """A docstring with the arguments, results and errors that all share; what it says of one of them itself stands.

    Shared arguments stand `before` or `after` its own, by name; `raises` says when, by class.
    """
    parts = re.split(r"^(Args|Returns|Raises|Warns|Source):", inspect.cleandoc(text), flags=re.MULTILINE)
    own = dict(zip(parts[1::2], (part.rstrip() for part in parts[2::2]), strict=True))

    def beside(section: str, shared: Mapping[str, str]) -> str:
        said = re.findall(r"^    (\w+):", own.get(section, ""), flags=re.MULTILINE)
        return "".join(f"\n    {name}: {words}" for name, words in shared.items() if name not in said)

    sections = {
        "Args": beside("Args", before) + own.get("Args", "") + beside("Args", after),
        "Returns": own.get("Returns", f"\n    {returns}"),
        "Raises": own.get("Raises", "") + beside("Raises", raises),
        "Warns": own.get("Warns", ""),
        "Source": own.get("Source", ""),
    }
    return parts[0] + "\n\n".join(f"{section}:{body}" for section, body in sections.items() if body)


Formula: TypeAlias = Callable[..., Any]
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])
Noise: TypeAlias = Literal["", "draws", "a draw a timestep"]
NOT_PARAMETERS: Final = ("model", "images", "batch", "noise", "seed", "prompts", "batch_size")
NOISE = """replaces the draws: (draws, n, *model.sample_shape), or (n, *model.sample_shape) for one draw."""
SEED = "seed of the draws; each image's noise also depends on its own digest."
PROMPTS = "one prompt an image for conditional models; None is the unconditional branch."

_GIVEN = inspect.Parameter.POSITIONAL_OR_KEYWORD
_NAMED = inspect.Parameter.KEYWORD_ONLY


def method(
    *,
    title: str,
    access: Access,
    source: str,
    version: int | None,
    kind: Kind = Kind.MEMBERSHIP,
    called: str = "",
    name: str = "",
    evaluations: Callable[[Mapping[str, Any]], int] | None = None,
    timesteps: Callable[[Mapping[str, Any]], tuple[int, ...]] = named_timesteps,
    needs: Collection[Need] = (),
    noise: Noise = "",
    decides_at_timestep: bool = False,
    uncontrolled: str = "",
    evidence: EvidenceHook | None = None,
) -> Callable[[Formula], Method]:
    """Register a formula (batch, *, parameters with their defaults) -> scores (batch,) as a method.

    `.scores` of the method is the formula as a function of a model and images, with the parameters of the formula,
    `prompts`, `batch_size`, and `noise` and `seed` where it draws noise. What is no formula of a batch is given as
    such a function itself, (model, images, *, parameters, seed, prompts, batch_size) -> float64 (images,).

    Args:
        title: what the paper calls it.
        access: the access it needs; derivatives only with white-box access.
        source: the citation.
        version: raised whenever the same parameters would give other scores; None: never answered from the store.
        kind: what it finds out.
        called: what messages call it; the title where left out.
        name: its name; the formula's where left out.
        evaluations: all parameters -> network evaluations an image costs; None: unknown.
        timesteps: all parameters -> the timesteps to be matched; those called so where left out.
        needs: what it needs besides the model and the images.
        noise: "draws" where it draws noise, "a draw a timestep" where draw j belongs to timestep j.
        decides_at_timestep: see Method.
        uncontrolled: see Method.
        evidence: see Method.

    Raises:
        UsageError: another method has this name.
    """
    wrap = score_function(access=access, called=called or title, kind=kind, noise=noise)

    def registered(formula: Formula) -> Method:
        given = inspect.signature(formula).parameters
        table = [p for p in given.values() if p.name not in NOT_PARAMETERS]
        whole = "model" in given
        found = Method(
            name=name or formula.__name__,
            title=title,
            access=access,
            source=source,
            kind=kind,
            needs=frozenset(needs),
            scores=formula if whole else wrap(formula),
            defaults={p.name: p.default for p in table if p.default is not p.empty},
            required=tuple(p.name for p in table if p.default is p.empty),
            version=version,
            seeded="seed" in given if whole else bool(noise),
            evaluations=evaluations,
            timesteps=timesteps,
            decides_at_timestep=decides_at_timestep,
            uncontrolled=uncontrolled,
            evidence=evidence,
        )
        if not whole:
            found.scores.__qualname__ = f"{formula.__qualname__}.scores"  # where pickle finds it
        register(found)
        return found

    return registered


def score_function(
    *,
    access: Access,
    called: str,
    kind: Kind = Kind.MEMBERSHIP,
    noise: Noise = "",
    what: str = "the model's output is",
) -> Callable[[Formula], Scores]:
    """Make a function (model, images, *, ...) -> float64 (images, ...) of a formula of a batch, as `method` does.

    Args:
        access: the access it needs; derivatives only with white-box access.
        called: what messages call it.
        kind: what it finds out, for the docstring.
        noise: as for `method`.
        what: what messages say is not finite.
    """
    drawn = [_common("noise", None, "Tensor | None"), _common("seed", 0, "int")] if noise else []
    shared = [*drawn, _common("prompts", None, "Sequence[Prompt] | None"), _common("batch_size", BATCH_SIZE, "int")]
    asked = [inspect.Parameter("model", _GIVEN, annotation="Denoiser"), inspect.Parameter("images", _GIVEN)]
    require = require_white_box if access is Access.WHITE_BOX else require_denoiser

    def wrapped(formula: Formula) -> Scores:
        own = list(inspect.signature(formula).parameters.values())[1:]
        signature = inspect.Signature([*asked, *own, *shared], return_annotation="NDArray[np.float64]")

        @wraps(formula)
        def scores(*args: Any, **given: Any) -> NDArray[np.float64]:
            bound = signature.bind(*args, **given)
            bound.apply_defaults()
            chosen = bound.arguments
            model, images = require(chosen.pop("model"), called), chosen.pop("images")
            batches = image_batches(model, images, **{p.name: chosen.pop(p.name) for p in shared})
            # Derivatives need their graph; nothing else does.
            with torch.set_grad_enabled(access is Access.WHITE_BOX and torch.is_grad_enabled()):
                parts = list(map(partial(formula, **chosen), batches))
            return finite_scores(parts, called=called, what=what)

        scores.__doc__ = _documented(formula.__doc__ or "", access, kind, noise)
        scores.__dict__["__signature__"] = signature
        return scores

    return wrapped


def with_parameters_of(other: Callable[..., Any]) -> Callable[[Wrapped], Wrapped]:
    """Show in the place of a function's `**` the parameters of another one, or a dataclass, to which it hands them."""

    def shown(function: Wrapped) -> Wrapped:
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        handed = [p for p in inspect.signature(other).parameters.values() if p.name not in own.parameters]
        table = [p for p in kept if p.kind is _GIVEN] + [p.replace(kind=_NAMED) for p in handed]
        signature = own.replace(parameters=[*table, *(p for p in kept if p.kind is _NAMED)])
        function.__dict__["__signature__"] = signature
        return function

    return shown


def _common(name: str, default: Any, annotation: str) -> inspect.Parameter:
    return inspect.Parameter(name, _NAMED, default=default, annotation=annotation)


def _documented(text: str, access: Access, kind: Kind, noise: str) -> str:
    """A formula's docstring with what holds for every score of images: arguments, what is returned and raised."""
    drawn = {"noise": NOISE, "seed": SEED} if noise else {}
    if noise == "a draw a timestep":
        drawn = {
            "noise": "replaces the draws: (timesteps, n, *model.sample_shape), row j for timesteps[j].",
            "seed": "seed of the draws; draw j of the image's own stream belongs to timesteps[j].",
        }
    higher = "sharper" if kind is Kind.SHARPNESS else "more likely member"
    return documented(
        text,
        before={
            "model": f"{access.replace(' ', '-')} access.",
            "images": "(n, channels, height, width) in [0, 1].",
        },
        after={**drawn, "prompts": PROMPTS, "batch_size": "images in one network call."},
        returns=f"float64 (n,), higher = {higher}.",
        raises={
            "UsageError": "bad images, noise or prompts.",
            "AuditError": "the model's output is not finite.",
        },
    )
