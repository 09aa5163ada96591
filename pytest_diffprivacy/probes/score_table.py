"""Score table: external scores of images, prompts or generations by id; what does not match is refused."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from pytest_diffprivacy.errors import UsageError
from pytest_diffprivacy.probes.image_set import ImageSet
from pytest_diffprivacy.probes.probe_set import ProbeSet
from pytest_diffprivacy.probes.tables import Unreadable, some, table_rows

ID = "id"
NO_SCORES = ("", "index", "row", "label", "labels", "class", "target", "split", "member", "is_member", "membership")
KINDS = {".csv": "CSV", ".json": "JSON", ".parquet": "parquet"}


@final
class ScoreTable:
    """Scores by id, one column an attack; **a higher score means more likely a member, or memorized**.

    An id is the sha256 of an image's decoded pixels (as in `ImageSet.digests`, hexadecimal), its path or the end of it
    where the probes come from a folder, or "member 0", "non-member 0", ... by its position in the source. Prompts are
    their own ids. Claims about generations have ids of the caller's own; the one about reconstruction takes errors,
    lower = restored better.

    Args:
        scores: column -> id -> score.
        origin: what a record calls the table.
        sha256: of the file it was read from; empty for a table made in memory.
    """

    def __init__(self, scores: Mapping[str, Mapping[str, float]], origin: str = "table", sha256: str = "") -> None:
        if not scores:
            raise UsageError("`scores` must have at least one column besides the id, got none.")
        self._scores, self.origin, self.sha256 = {name: dict(column) for name, column in scores.items()}, origin, sha256
        for name, column in self._scores.items():
            broken = [repr(key) for key, value in column.items() if not math.isfinite(value)]
            if broken:
                raise UsageError(
                    f"Column {name!r} of {origin} must be finite, got {len(broken)} of {len(column)} that are not: "
                    f"{some(broken)}. Score these again, or take them out of the probes."
                )

    @classmethod
    def read(cls, path: str | Path) -> ScoreTable:
        """Read a CSV, JSON (a list of objects) or parquet file with a column `id`; every other column holds scores.

        Raises:
            UsageError: no such file, no id, an id twice, or a score that is no finite number.
        """
        file = Path(path)
        if not file.is_file():
            raise UsageError(f"`path` must be a score table, got {str(path)!r}. No such file.")
        if file.suffix not in KINDS:
            raise UsageError(f"`path` must end in .csv, .json or .parquet, got {file.name!r}.")
        try:
            rows = table_rows(file)
        except Unreadable as error:
            how = " Save it as UTF-8." if file.suffix == ".csv" else ""
            raise UsageError(f"{file.name} cannot be read as {KINDS[file.suffix]}: {error}.{how}") from None
        names = [name for name in dict.fromkeys(itertools.chain.from_iterable(rows)) if name != ID]
        lacking = next((row for row in rows if ID not in row), None)
        if not rows or not names or lacking is not None:
            raise UsageError(
                f"{file.name} must have a column `id` and at least one of scores, got the row {lacking or rows[:1]!r}."
            )
        ids = [str(row[ID]) for row in rows]
        twice = sorted(repr(key) for key, times in Counter(ids).items() if times > 1)
        if twice:
            raise UsageError(f"{file.name} must hold every id once, got {len(twice)} more than once: {some(twice)}.")
        scores = {
            name: {key: _number(file.name, key, name, row.get(name)) for key, row in zip(ids, rows, strict=True)}
            for name in names
        }
        return cls(scores, file.name, hashlib.sha256(file.read_bytes()).hexdigest())

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the scores."""
        return tuple(self._scores)

    def select(self, column: str) -> ScoreTable:
        """The same table with one of its columns, e.g. of scores of several models that one file holds.

        Raises:
            UsageError: there is no such column.
        """
        if column not in self._scores:
            raise UsageError(
                f"`column` must be among the columns of {self.origin} ({', '.join(self.columns)}), got {column!r}."
            )
        return ScoreTable({column: self._scores[column]}, self.origin, self.sha256)

    @property
    def only(self) -> str:
        """The name of the only column.

        Raises:
            UsageError: there are several.
        """
        if len(self._scores) > 1:
            raise UsageError(
                f"{self.origin} must have one column here, got {', '.join(self.columns)}. Choose: table.select("
                f"{self.columns[0]!r})."
            )
        return self.columns[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the first column, in its order."""
        return tuple(next(iter(self._scores.values())))

    def choose_one(self, wanted: object, default: str, argument: str) -> str:
        """The column that an argument of this name names, as `choose` reads it.

        Raises:
            UsageError: it names several.
        """
        (column, *others) = self.choose(wanted, default)
        if others:
            raise UsageError(f"`{argument}` must name one column of {self.origin}, got {(column, *others)!r}.")
        return column

    def choose(self, wanted: object, default: str) -> tuple[str, ...]:
        """The columns that an argument names: itself, a list, "all", or the only one where it was left at its default.

        Raises:
            UsageError: there is no such column, or it counts rows or labels them.
        """
        names = self._named(wanted, default)
        others = [name for name in names if _is_no_score(name, list(self._scores[name].values()))]
        if others:
            raise UsageError(
                f"Columns of {self.origin} must be scores, got {', '.join(map(repr, others))}, which count rows or say "
                "which side they are on. Leave them out (pandas: to_csv(index=False)), or name the scores: "
                f"attack={[name for name in self.columns if name not in others]!r}."
            )
        return names

    def _named(self, wanted: object, default: str) -> tuple[str, ...]:
        if wanted == "all" or (wanted == default and default not in self._scores and len(self._scores) == 1):
            return self.columns
        names = tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)
        if not names or any(name not in self._scores for name in names):
            raise UsageError(
                f"`attack` or `statistic` must be among the columns of {self.origin} ({', '.join(self.columns)}), "
                f"got {wanted!r}. Name one."
            )
        return names

    def join(
        self, probes: ProbeSet, column: str, *, kept: ProbeSet | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of members and of non-members, float64 (n1,) and (n0,), in the order of the probes.

        Args:
            probes: whom the ids must match, one and all.
            column: which scores.
            kept: those of the probes whose scores are wanted; None: all.

        Raises:
            UsageError: an id that is no probe, a probe without a score, or one with two; with counts and examples.
        """
        inside, outside = self._matched((probes.members, probes.nonmembers), column)
        wanted = probes if kept is None else kept
        return (
            np.array([inside[digest] for digest in wanted.members.digests]),
            np.array([outside[digest] for digest in wanted.nonmembers.digests]),
        )

    def of_images(self, images: ImageSet, column: str) -> NDArray[np.float64]:
        """Scores of one set of images, float64 (n,), in their order.

        Raises:
            UsageError: as `join`.
        """
        (found,) = self._matched((images,), column)
        return np.array([found[digest] for digest in images.digests])

    def _matched(self, sides: Sequence[ImageSet], column: str) -> list[dict[bytes, float]]:
        """Of each set: digest of an image -> its score; every image has one, and every score an image."""
        owners: dict[str, set[tuple[int, bytes]]] = {}
        for side, images in enumerate(sides):
            for key, digest in _keys(images):
                owners.setdefault(key, set()).add((side, digest))
        found: list[dict[bytes, float]] = [{} for _ in sides]
        unknown: list[str] = []
        ambiguous: list[str] = []
        contradicted: list[str] = []
        for key, score in self._scores[column].items():
            match list(owners.get(key, ())):
                case [(side, digest)]:
                    if found[side].setdefault(digest, score) != score:
                        contradicted.append(key)
                case several:
                    (ambiguous if several else unknown).append(key)
        missing = [
            name
            for images, scores in zip(sides, found, strict=True)
            for name, digest in zip(images.ids(), images.digests, strict=True)
            if digest not in scores
        ]
        self._refuse(column, unknown, "are no probes")
        self._refuse(column, ambiguous, "fit several probes; give more of their path, or the sha256 of their pixels")
        self._refuse(column, contradicted, "give another score to an image that has one")
        self._refuse(column, missing, "are probes without a score")
        return found

    def of(self, ids: Sequence[str], column: str) -> NDArray[np.float64]:
        """Scores of these ids, e.g. of prompts, float64 (n,), in their order.

        Raises:
            UsageError: an id without a score, or a score without an id; with counts and examples.
        """
        scores = self._scores[column]
        self._refuse(column, sorted(set(scores) - set(ids)), "are not asked about")
        self._refuse(column, [key for key in ids if key not in scores], "have no score")
        return np.array([scores[key] for key in ids])

    def _refuse(self, column: str, ids: Sequence[str], what: str) -> None:
        if ids:
            raise UsageError(
                f"Column {column!r} of {self.origin} must hold one score for each probe, but {len(ids)} ids {what}: "
                f"{some([repr(key) for key in ids])}. Bring table and probes to the same images."
            )


def _keys(images: ImageSet) -> Iterator[tuple[str, bytes]]:
    """Everything an id may be, with the digest of its image."""
    yield from ((digest.hex(), digest) for digest in images.digests)
    for position, (name, digest) in enumerate(images.sources()):
        yield f"{images.role} {position}", digest
        parts = Path(name).parts
        yield from (("/".join(parts[start:]), digest) for start in range(len(parts)))


def _is_no_score(name: str, values: Sequence[float]) -> bool:
    """Whether a column is an index or a label: by its name, or because it counts the rows."""
    if name.strip().lower() in NO_SCORES or name.startswith("Unnamed:"):
        return True
    return len(values) > 2 and values[0] in (0, 1) and list(values) == [values[0] + k for k in range(len(values))]


def _number(file: str, key: str, column: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is, it is asked to be a number
    except (TypeError, ValueError):
        raise UsageError(f"{file} must hold numbers, got {value!r} for {key!r} in column {column!r}.") from None
