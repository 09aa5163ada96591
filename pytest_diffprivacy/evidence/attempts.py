"""Attempts at a claim: the runs that judged it about one model on other probes, other seeds or more generations.

Whoever judges until a bound decides is wrong more often than any one of the bounds. So attempts share one error:
attempt k >= 2 has the part 2^-k of it, and the first one all of it, or half where attempts were declared before it.
What was judged is kept in the evidence folder, a file for each claim and model; where the folder was deleted, or the
test has another name, the count starts anew, and the record says what it counted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

from filelock import FileLock

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence import records
from pytest_diffprivacy.evidence.store import prepare

FOLDER: Final = "attempts"


@dataclass(frozen=True, slots=True)
class Judged:
    """An attempt.

    Attributes:
        run: the run that judged.
        asked: digest of everything that was fixed before: probes, prompts, counts, seed. The same again is no attempt.
        counts: the sizes behind the estimate.
        verdict: what came of it.
        confidence: of its bounds.
    """

    run: str
    asked: str
    counts: str
    verdict: str
    confidence: float


def share(number: int, *, declared: bool) -> float:
    """The part of a claim's error that an attempt may spend: all of them together at most 1 if declared, else 1.5.

    Args:
        number: of the attempt, from 1.
        declared: whether several attempts were declared before the first.

    Source: Implements METHODS 7.9, "Running again".
    """
    return 1.0 if number == 1 and not declared else 2.0**-number


@final
class Attempts:
    """The attempts at one claim about one model that an evidence folder knows.

    Args:
        root: the evidence folder.
        claim: what is claimed, where and about whom: the same texts, the same claim.
        declared: as in `share`.

    Raises:
        EvidenceError: the file is damaged or cannot be read.
    """

    def __init__(self, root: Path, claim: tuple[str, ...], *, declared: bool) -> None:
        self._root, self._declared = root, declared
        name = hashlib.sha256(json.dumps(claim).encode()).hexdigest()[:32]
        self._path = root / FOLDER / f"{name}.jsonl"
        self._known = tuple(self._read())

    def number(self, run: str, asked: str) -> int:
        """Which attempt this is; those of the same run are about other subjects of one test."""
        earlier = self._before(run, asked)
        return 1 + len({one.asked for one in earlier})

    def confidence(self, confidence: float, number: int) -> float:
        """The confidence of an attempt's bounds, where that of a whole claim is `confidence`."""
        part = share(number, declared=self._declared)
        return confidence if part == 1.0 else 1.0 - (1.0 - confidence) * part

    def record(self, run: str, asked: str, confidence: float) -> records.Attempt:
        """What a record says of this attempt and those before it."""
        number, earlier = self.number(run, asked), self._before(run, asked)
        spent = sum(share(k, declared=self._declared) for k in range(1, number + 1))
        return records.Attempt(
            number=number,
            earlier=tuple(
                f"{one.run}: {one.verdict} at confidence {one.confidence:.6g}, {one.counts}" for one in earlier
            ),
            confidence=self.confidence(confidence, number),
            confidence_of_all=1.0 - (1.0 - confidence) * spent,
        )

    def keep(self, judged: Judged) -> None:
        """Add an attempt, unless the same was judged already.

        Raises:
            EvidenceError: the file cannot be written.
        """
        try:
            prepare(self._root)
            with FileLock(self._root / "locks" / "attempts.lock"):
                if any(one.asked == judged.asked for one in self._read()):
                    return
                self._path.parent.mkdir(exist_ok=True)
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    os.write(descriptor, (json.dumps(asdict(judged)) + "\n").encode())
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except (OSError, NotImplementedError) as error:
            raise EvidenceError(
                f"Cannot write {str(self._path)!r}: {error}. Free space or change the folder."
            ) from error

    def _before(self, run: str, asked: str) -> list[Judged]:
        """Attempts of other runs up to the one that was the same."""
        found = []
        for one in self._known:
            if one.asked == asked:
                break
            if one.run != run:
                found.append(one)
        return found

    def _read(self) -> Iterator[Judged]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield Judged(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise EvidenceError(
                    f"{str(self._path)!r} is damaged: {line[:60]!r} is no attempt. Restore it, or remove it: attempts "
                    "at this claim are then counted anew."
                ) from error


def attempt_notes(attempt: records.Attempt) -> tuple[str, ...]:
    """What a reader must know of the attempts before; nothing of a first one."""
    if not attempt.earlier:
        return ()
    return (
        f"Attempt {attempt.number} at this claim about this model, judged at confidence {attempt.confidence:.6g}; "
        f"before it {'; '.join(attempt.earlier)}. That none of them decided wrongly has confidence "
        f"{attempt.confidence_of_all:.6g}. Attempts are those that the evidence folder knows.",
    )
