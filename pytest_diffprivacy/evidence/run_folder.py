"""Run folder: an append-only events file, a line a finished unit, and the records of its claims."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from filelock import FileLock

from pytest_diffprivacy.errors import EvidenceError
from pytest_diffprivacy.evidence.arrays import Arrays, write_arrays, write_bytes
from pytest_diffprivacy.evidence.records import Artifact, Claim, read_record
from pytest_diffprivacy.evidence.seals import file_digest, record_json
from pytest_diffprivacy.evidence.store import prepare


@final
class RunFolder:
    """`runs/<run id>/` of the evidence folder; parallel workers of one run share it.

    Args:
        root: the evidence folder.
        run_id: starts with the UTC time, so that runs sort by age.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root, self.run_id = root, run_id
        self.folder = root / "runs" / run_id

    def event(self, kind: str, **fields: Any) -> None:
        """Append a line to events.jsonl and force it to disk.

        Raises:
            EvidenceError: the file cannot be written.
        """
        line = json.dumps({"time": datetime.now(UTC).isoformat(), "event": kind, **fields}, default=str) + "\n"
        path = self.folder / "events.jsonl"
        try:
            prepare(self.root)
            self.folder.mkdir(parents=True, exist_ok=True)
            # A line that another worker is writing must not be taken for one that was cut off.
            with FileLock(self.root / "locks" / "events.lock"):
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    _append(descriptor, line.encode())
                finally:
                    os.close(descriptor)
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EvidenceError(
                f"Cannot write {str(path)!r}: {reason}. Free space or change diffprivacy_cache_dir."
            ) from error

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind so far, in order."""
        path = self.folder / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [event for event in map(_event, lines) if event.get("event") == kind]

    def keep_arrays(self, name: str, arrays: Arrays, description: Mapping[str, Any]) -> Artifact:
        """Store the arrays that a verdict was computed from."""
        prepare(self.root)
        relative = Path("runs") / self.run_id / "evidence" / f"{name}.safetensors"
        sha256 = write_arrays(self.root / relative, arrays, description)
        shapes = {key: f"{array.dtype} {tuple(array.shape)}" for key, array in sorted(arrays.items())}
        return Artifact(name=name, path=relative.as_posix(), sha256=sha256, arrays=shapes)

    def keep_claim(self, claim: Claim) -> None:
        """Store the record of a claim; a rerun of the same test replaces it."""
        prepare(self.root)
        write_bytes(self.folder / "claims" / f"{claim.id}.json", record_json(claim).encode("ascii"))

    def claims(self) -> list[Claim]:
        """All records of the run, in the order of their names.

        Raises:
            EvidenceError: one is damaged.
        """
        return [read_record(Claim, path) for path in sorted((self.folder / "claims").glob("*.json"))]

    def seals(self) -> dict[str, str]:
        """The sha256 of the events and of every claim's record, by path below the run's folder."""
        paths = [self.folder / "events.jsonl", *sorted((self.folder / "claims").glob("*.json"))]
        return {path.relative_to(self.folder).as_posix(): file_digest(path) for path in paths if path.exists()}


def evidence_name(artifact: Artifact) -> str:
    """The path of a stored file below its run's folder; its record names it below the evidence folder."""
    parts = artifact.path.split("/")
    return "/".join(parts[2:]) if parts[0] == "runs" and len(parts) > 2 else artifact.path


def _append(descriptor: int, line: bytes) -> None:
    """Write a whole line; where a full disk takes only a part of it, that is an error, and the next line is its own."""
    size = os.fstat(descriptor).st_size
    cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    content = b"\n" + line if cut else line
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


def _event(line: str) -> dict[str, Any]:
    """The event of a line; nothing where the disk was full and its writer failed in the middle of it."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
