"""How do models, images, prompts and measurements look in a record? Without texts, names and pixels."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_diffprivacy.audit.question import Question
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.models.identity import ModelIdentity
from pytest_diffprivacy.probes import ProbeSet, PromptSet
from pytest_diffprivacy.statistics import Measured


def estimate(name: str, measured: Measured, counts: str) -> records.Estimate:
    """A measurement as a record."""
    return records.Estimate(
        name=name,
        value=float(measured.value),
        low=float(measured.low),
        high=float(measured.high),
        confidence=float(measured.confidence),
        counts=counts,
    )


def model_record(identity: ModelIdentity) -> records.Model:
    """A model's identity as a record."""
    return records.Model(
        name=identity.name,
        family=identity.family,
        digest=identity.digest,
        parameters=identity.parameters,
        dtype=identity.dtype,
        device=identity.device,
        access=identity.access,
        adapters=tuple(
            records.Adapter(name=a.name, kind=a.kind, digest=a.digest, scale=a.scale, parameters=a.parameters)
            for a in identity.adapters
        ),
        layout=identity.layout,
        deviation=identity.deviation,
    )


def probe_records(probes: ProbeSet | None) -> tuple[records.Images, ...]:
    """Both sides of a probe set as records."""
    if probes is None:
        return ()
    sides = [probes.members, *([probes.nonmembers] if probes.has_nonmembers else [])]
    return tuple(
        records.Images(
            role=side.role,
            origin=side.origin,
            count=len(side),
            total=int(side.repetitions.sum()),
            shape=side.image_shape,
            digest=side.digest,
        )
        for side in sides
    )


def prompt_records(prompts: tuple[PromptSet, ...]) -> tuple[records.Prompts, ...]:
    """Prompt sets as records, without their texts."""
    return tuple(
        records.Prompts(role=side.role, origin=side.origin, count=len(side), total=side.total, digest=side.digest)
        for side in prompts
    )


def private_texts(question: Question) -> Iterator[tuple[str, str]]:
    """Names, captions and prompts, which a redacted record may not hold, and the ids in their place."""
    for side in question.prompts:
        yield from side.private_texts()
    probes = question.probes
    if probes is not None:
        yield from probes.members.private_texts()
        if probes.has_nonmembers:
            yield from probes.nonmembers.private_texts()
